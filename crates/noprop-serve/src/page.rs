//! The page: its files, which are part of the program.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// Lists files of the folder `page` by name.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../page/", $name)))),*]
    };
}

/// The names and the texts of the files.
const FILES: &[(&str, &str)] = files![
    "address.js",
    "chain.js",
    "chart.js",
    "classify.js",
    "dom.js",
    "download.js",
    "engine.js",
    "icon.svg",
    "index.html",
    "ink.js",
    "main.js",
    "markdown.js",
    "picture.js",
    "pixels.js",
    "player.js",
    "route.js",
    "runs.js",
    "server-engine.js",
    "start.js",
    "style.css",
    "train.js",
    "update.js",
    "wasm-engine.js",
    "worker.js",
];

/// The file at `path`, which begins with a slash; the address without a name is that of `index.html`.
pub(crate) fn file(path: &str) -> Option<Response> {
    let name = match path.strip_prefix('/')? {
        "" => "index.html",
        name => name,
    };
    let (name, text) = FILES.iter().find(|(known, _)| *known == name)?;
    Some(([(header::CONTENT_TYPE, kind(name))], *text).into_response())
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is not in the list would be missing from the page, and only from the program's.
    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/page");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(FILES.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
}
