//! A server with a run, and requests to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::request::Builder;
use axum::http::{HeaderMap, Request, StatusCode};
use noprop_experiment::candle_core::Device;
use noprop_experiment::{
    DatasetName, Ending, Existing, Layers, Means, NewRun, Settings, Silent, Source, train,
};
use noprop_serve::{Options, Server};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

/// The name of the run that every [`Home`] has.
pub const RUN: &str = "first";

/// A trained run, made once.
static TRAINED: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    train_run(Source::Known(DatasetName::MnistSample), Settings::default(), &dir.path().join(RUN));
    dir
});

/// Trains two blocks for an epoch, and draws the figures.
pub fn train_run(data: Source, settings: Settings, out: &Path) {
    let settings = Settings { dataset: Some(data), steps: Some(2), epochs: Some(1), ..settings };
    let new = NewRun {
        layers: Layers { settings, ..Layers::default() },
        data_dir: None,
        out: Some(out.into()),
        existing: Existing::Refuse,
    };
    let ending = train(&new, Means::on(&Device::Cpu), &mut Silent).unwrap();
    let Ending::Finished(finished) = ending else { unreachable!("nobody stops it") };
    finished.draw().unwrap();
}

/// A folder of runs, and a server that shows it.
pub struct Home {
    pub dir: TempDir,
    pub server: Server,
    pub router: Router,
    pub port: u16,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).map_err(|_| format!("{self:?}")).unwrap()
    }

    /// The sentence of a refusal, which has the status `expected`.
    pub fn refusal(&self, expected: u16) -> String {
        assert_eq!(self.status.as_u16(), expected, "{}", String::from_utf8_lossy(&self.body));
        let sentence = self.json()["error"].as_str().unwrap().to_owned();
        assert!(!sentence.is_empty() && !sentence.contains('\n'), "{sentence}");
        sentence
    }

    /// The JSON of an answer that is no refusal.
    pub fn fine(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

impl Home {
    /// A server for this machine alone.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A server that others reach by the name `host`.
    pub fn reached_as(host: &str) -> Self {
        Self::with(|options| options.host = Some(host.into()))
    }

    /// A server with other options than the usual ones.
    pub fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&TRAINED.path().join(RUN), &dir.path().join("runs").join(RUN));
        let mut options = Options {
            runs: dir.path().join("runs"),
            run: None,
            data_dir: dir.path().join("data"),
            folders: Vec::new(),
            host: None,
            port: 0,
            device: Device::Cpu,
        };
        change(&mut options);
        let server = Server::bind(options).unwrap();
        let address = server.address();
        let port = address.rsplit(':').next().unwrap();
        let port = port.split('/').next().unwrap().parse().unwrap();
        Self { dir, router: server.router(), server, port }
    }

    pub fn runs(&self) -> PathBuf {
        self.dir.path().join("runs")
    }

    /// A request by the page.
    pub fn request(&self, method: &str, address: &str) -> Builder {
        let host = format!("127.0.0.1:{}", self.port);
        Request::builder().method(method).uri(address).header("host", host)
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 64 << 20).await.unwrap().to_vec();
        Answer { status, headers, body }
    }

    pub async fn get(&self, address: &str) -> Answer {
        self.send(self.request("GET", address).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, address: &str, json: Value) -> Answer {
        let request = self.request("POST", address).header("content-type", "application/json");
        self.send(request.body(Body::from(json.to_string())).unwrap()).await
    }

    /// Classifies `bytes`.
    pub async fn classify(&self, id: &str, query: &str, bytes: impl Into<Body>) -> Answer {
        let address = format!("/api/models/{id}/classify?{query}");
        let request = self.request("POST", &address);
        let request = request.header("content-type", "application/octet-stream");
        self.send(request.body(bytes.into()).unwrap()).await
    }
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
