//! Within a crate no file imports itself through others: files of a circle can only be understood, tested and moved together.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The crates whose files import each other in one direction.
const WITHOUT_CIRCLES: [&str; 14] = [
    "noprop-cli",
    "noprop-data",
    "noprop-experiment",
    "noprop-fetch",
    "noprop-files",
    "noprop-kernels",
    "noprop-method",
    "noprop-models",
    "noprop-onnx",
    "noprop-plot",
    "noprop-schedule",
    "noprop-serve",
    "noprop-tensorboard",
    "noprop-train",
];

/// Files that import each other can only be understood, tested and moved together.
#[test]
fn no_file_imports_itself_through_others() {
    let mut found = 0;
    for name in WITHOUT_CIRCLES {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut files = BTreeMap::new();
        read(&crates.join(name).join("src"), &[], &mut files);
        let imports: BTreeMap<&[String], BTreeSet<&[String]>> =
            files.iter().map(|(path, text)| (&**path, imported(path, text, &files))).collect();
        for start in imports.keys() {
            let (mut seen, mut next) = (BTreeSet::new(), vec![*start]);
            while let Some(file) = next.pop() {
                next.extend(imports[file].iter().filter(|import| seen.insert(**import)));
            }
            assert!(!seen.contains(start), "{name}: {} is in a circle: {seen:?}", start.join("::"));
        }
        found += imports.values().map(BTreeSet::len).sum::<usize>();
    }
    assert!(found > 200, "imports are not recognised: only {found}");
}

/// The text of every file below `folder`, whose modules lie in `parent`, by the path of its module.
fn read(folder: &Path, parent: &[String], files: &mut BTreeMap<Vec<String>, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let module = [parent, std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            read(&path, &module, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            // The root names every module.
            let is_root = parent.is_empty() && (name == "lib" || name == "main");
            let module = if name == "mod" { parent.to_vec() } else { module };
            if !is_root {
                files.insert(module, fs::read_to_string(&path).unwrap());
            }
        }
    }
}

/// The modules that a file names outside of its tests, without those inside of it.
fn imported<'a>(
    file: &[String],
    text: &str,
    files: &'a BTreeMap<Vec<String>, String>,
) -> BTreeSet<&'a [String]> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let code = &code.lines().filter(is_code).collect::<Vec<_>>().join("\n");
    let beside = &file[..file.len() - 1];
    let named = [("crate::", &[][..]), ("super::", beside), ("self::", file)];
    let paths = named.into_iter().flat_map(|(root, parent)| {
        code.split(root).skip(1).map(move |rest| {
            let is_path =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c);
            let end = rest.find(|c| !is_path(c)).unwrap_or(rest.len());
            let inner = rest[..end].split("::").filter(|name| !name.is_empty()).map(String::from);
            parent.iter().cloned().chain(inner).collect::<Vec<String>>()
        })
    });
    let module = |path: Vec<String>| {
        let longest = (1..=path.len()).rev().find_map(|end| files.get_key_value(&path[..end]));
        longest.map(|(module, _)| &**module)
    };
    paths.filter_map(module).filter(|module| !module.starts_with(file)).collect()
}
