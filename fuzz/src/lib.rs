//! The readers of files and requests, as functions of any bytes. A reader answers or refuses. It does not panic, and its memory is bounded.
//!
//! Each function is a fuzz target (`cargo +nightly fuzz run NAME`); the inputs in `corpus` go through the same functions in the workspace's tests.

mod two_ranks;

use std::cell::{Cell, OnceCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use noprop_data::cifar::{self, Labels};
use noprop_data::picture::{self, Polarity};
use noprop_data::{Augmentation, DatasetName, Half, Listing, idx};
use noprop_experiment::candle_core::Device;
use noprop_experiment::{
    AnswersFile, Backbone, Blocks, Classifier, Embedding, Experiment, LossWeight, MethodKind,
    Preset, Readout, ScheduleKind, Settings, Source, shell, watch,
};
use noprop_method::Part;
use noprop_serve::{Options, Server};
use noprop_train::{Evaluation, Existing, MetricsLog, Progress, RunDirectory, weights_of};
use tempfile::TempDir;
use tower::ServiceExt;

/// A reader of any bytes.
pub type Reader = fn(&[u8]);

/// Every target and its name, which is that of its folder in `corpus`.
pub const READERS: [(&str, Reader); 14] = [
    ("answers", answers),
    ("cifar", cifar),
    ("config", config),
    ("idx", idx),
    ("listing", listing),
    ("metrics", metrics),
    ("model", model),
    ("names", names),
    ("page", page),
    ("picture", picture),
    ("progress", progress),
    ("ranks", ranks),
    ("settings", settings),
    ("weights", weights),
];

/// The greatest length of a weights file, in bytes.
const MOST_BYTES: usize = 4 << 20;

thread_local! {
    /// Makes readers panic once they have accepted an input. It tests that a panic is noticed.
    pub static PLANTED: Cell<bool> = const { Cell::new(false) };
}

/// Notes that a reader has accepted an input.
fn accepted() {
    assert!(!PLANTED.get(), "planted");
}

/// The name that errors call an input by.
fn name() -> &'static Path {
    Path::new("input")
}

/// A file of MNIST.
pub fn idx(bytes: &[u8]) {
    if let Ok(images) = idx::images(name(), bytes) {
        assert_eq!(images.pixels.len(), images.count * images.height * images.width);
        accepted();
    }
    if let Ok(labels) = idx::labels(name(), bytes, 10) {
        assert!(labels.iter().all(|&label| label < 10));
    }
}

/// A file of CIFAR-10 or CIFAR-100.
pub fn cifar(bytes: &[u8]) {
    for (layout, classes) in [(Labels::One, 10), (Labels::CoarseAndFine, 100)] {
        let (mut labels, mut pixels) = (Vec::new(), Vec::new());
        match cifar::append(name(), bytes, layout, classes, &mut labels, &mut pixels) {
            Ok(count) => {
                assert_eq!((labels.len(), pixels.len()), (count, count * 3072));
                accepted();
            }
            Err(_) => assert!(labels.is_empty() && pixels.is_empty()),
        }
    }
}

/// A PNG or JPEG picture.
pub fn picture(bytes: &[u8]) {
    if let Ok(image) = picture::of_bytes(bytes, (1, 28, 28), Polarity::AsIs) {
        assert_eq!(image.dims(), [1, 1, 28, 28]);
        accepted();
    }
}

/// The tensors of a weights file or of a saved state.
pub fn weights(bytes: &[u8]) {
    if weights_of(name(), bytes).is_ok() {
        accepted();
    }
}

/// A weights file that carries the settings of its run. Inputs are short: zeros stand for the numbers of the tensors that one describes.
pub fn model(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let described = described(&bytes).unwrap_or(0).min(MOST_BYTES);
    bytes.resize(bytes.len().max(described), 0);
    if Classifier::of_weights("input", &bytes, &Device::Cpu).is_ok() {
        accepted();
    }
}

/// The length of a safetensors file by its header: eight bytes with the length of the header, the header, the tensors.
fn described(bytes: &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let tensors: serde_json::Value = serde_json::from_slice(header).ok()?;
    let end = |tensor: &serde_json::Value| tensor.get("data_offsets")?.get(1)?.as_u64();
    let most = tensors.as_object()?.values().filter_map(end).max()?;
    usize::try_from(most).ok()?.checked_add(8 + header.len())
}

/// A config file, of a person or of a run.
pub fn config(bytes: &[u8]) {
    with_file("config.toml", bytes, |path| {
        let _ = Settings::read(path);
        if let Ok(experiment) = Experiment::read(path)
            && experiment.network(experiment.setup.fresh(&Device::Cpu)).is_ok()
        {
            accepted();
        }
    });
}

/// The settings that a page sends.
pub fn settings(bytes: &[u8]) {
    if watch::settings(bytes).is_ok() {
        accepted();
    }
}

/// The progress of a saved state.
pub fn progress(bytes: &[u8]) {
    in_run(|run| {
        fs::write(run.join("config.toml"), "").expect("the file is written");
        fs::write(run.join("state/progress.json"), bytes).expect("the file is written");
        let run = RunDirectory::open(run).expect("the folder is a run");
        if Progress::read_if(&run, "", |_| true).is_ok() {
            accepted();
        }
    });
}

/// The log of a run.
pub fn metrics(bytes: &[u8]) {
    with_file("metrics.jsonl", bytes, |path| {
        if MetricsLog::read(path).is_ok() {
            accepted();
        }
    });
}

/// The list of the files of a data set.
pub fn listing(bytes: &[u8]) {
    if Listing::default().read_lines(name(), Half::Train, bytes).is_ok() {
        accepted();
    }
}

/// Everything that is named in a flag or a setting, and text that is shown on a terminal. What is read prints as what is read again.
pub fn names(bytes: &[u8]) {
    fn round<T: FromStr + ToString>(text: &str) {
        if let Ok(value) = T::from_str(text) {
            let printed = value.to_string();
            assert!(T::from_str(&printed).is_ok(), "{text} prints as {printed}");
            accepted();
        }
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    round::<Augmentation>(text);
    round::<Backbone>(text);
    round::<DatasetName>(text);
    round::<Embedding>(text);
    round::<LossWeight>(text);
    round::<MethodKind>(text);
    round::<Part>(text);
    round::<Preset>(text);
    round::<Readout>(text);
    round::<ScheduleKind>(text);
    round::<Source>(text);
    let _ = (Blocks::from_str(text), Part::parse(text));
    assert!(!shell::shown(text).contains(['\u{1b}', '\n']));
}

/// Names of classes and pictures in a file of answers, separated by zero bytes. Another program reads the same names from it.
pub fn answers(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let names: Vec<String> = text.split('\0').map(str::to_owned).collect();
    let test = Evaluation {
        correct: 0,
        total: 1,
        per_block: Vec::new(),
        truth: vec![0],
        predictions: vec![names.len() as u32 - 1],
        probabilities: Some(vec![0.5; names.len()]),
        confusion: Vec::new(),
    };
    in_run(|run| {
        let path = run.join("answers.csv");
        let file = AnswersFile::new(&path).expect("the folder is there");
        file.write(&names, &test, &|_| text.to_owned()).expect("the file is written");
        let mut reader = csv::Reader::from_path(&path).expect("the file is there");
        let header = reader.headers().expect("the first line is read").clone();
        assert!(header.iter().skip(3).eq(names.iter().map(String::as_str)));
        let rows: Vec<_> = reader.records().map(|row| row.expect("every line is read")).collect();
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        let words = [text, &names[0], &names[names.len() - 1]];
        assert!(row.iter().take(3).eq(words) && row.len() == 3 + names.len());
        accepted();
    });
}

/// The messages of another rank of a training.
pub fn ranks(bytes: &[u8]) {
    in_run(|run| {
        if two_ranks::train(bytes, &run.with_file_name("ranks")) {
            accepted();
        }
    });
}

/// A request to the page: the first line is the method and the path, the rest is the body. Requests that begin trainings are left out.
pub fn page(bytes: &[u8]) {
    thread_local! {
        static SITE: OnceCell<(tokio::runtime::Runtime, Router, String)> = const { OnceCell::new() };
    }
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (line, body) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let Ok(line) = str::from_utf8(line) else { return };
    let Some((method, path)) = line.split_once(' ') else { return };
    if path.contains("training") {
        return;
    }
    SITE.with(|site| {
        let (runtime, router, host) = site.get_or_init(start);
        let request = Request::builder().method(method).uri(path).header("host", host);
        let request = request.header("content-type", "application/octet-stream");
        let Ok(request) = request.body(Body::from(body.to_vec())) else { return };
        runtime.block_on(async {
            let answer = router.clone().oneshot(request).await.expect("a router always answers");
            assert_ne!(answer.status().as_u16(), 500, "{line}");
            let is_answered = answer.status().is_success();
            let body = to_bytes(answer.into_body(), 64 << 20).await;
            body.expect("an answer is of a few megabytes");
            if is_answered {
                accepted();
            }
        });
    });
}

/// A server of a folder that does not exist, so that it shows the pretrained model alone.
fn start() -> (tokio::runtime::Runtime, Router, String) {
    let nowhere = PathBuf::from("/nowhere");
    let server = Server::bind(Options {
        runs: nowhere.clone(),
        run: None,
        data_dir: nowhere,
        folders: Vec::new(),
        host: None,
        port: 0,
        device: Device::Cpu,
    });
    let server = server.expect("a free port");
    let host = server.address();
    let host = host.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    (runtime.expect("a runtime"), server.router(), host)
}

/// Calls `f` with a run of this thread alone, in memory where there is such a disk.
fn in_run(f: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
    }
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| {
            let shared = Path::new("/dev/shm");
            let made =
                if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
            let made = made.expect("a folder for the run");
            RunDirectory::create(&made.path().join("run"), Existing::Refuse, "", &[])
                .expect("a run");
            fs::create_dir(made.path().join("run/state")).expect("a folder for the state");
            made
        });
        f(&folder.path().join("run"));
    });
}

/// Calls `f` with the path of a file of that run.
fn with_file(name: &str, bytes: &[u8], f: impl FnOnce(&Path)) {
    in_run(|run| {
        let path = run.join(name);
        fs::write(&path, bytes).expect("the file is written");
        f(&path);
    });
}
