//! The runs under a folder, each known by the name of its own folder. A request names a run that was listed, and never a path.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use noprop_experiment::watch::Epoch;
use noprop_experiment::{Experiment, Info, Silent, card_body, compare};
use noprop_train::{Event, MetricsLog, RunDirectory};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::Refusal;
use crate::locked::locked;
use crate::stamp::Stamp;

/// The id of a run that was named by its path.
pub(crate) const NAMED: &str = "run";
/// The id of the pretrained model.
pub(crate) const PRETRAINED: &str = "pretrained";
/// The most runs that are listed, and the most that are compared.
const MOST_RUNS: usize = 10_000;
const MOST_COMPARED: usize = 100;
/// The most figures of a run, and the most bytes of one and of a model card.
const MOST_FIGURES: usize = 200;
const MAX_FIGURE: u64 = 32 << 20;
const MAX_CARD: u64 = 1 << 20;

/// The runs under a folder, and one that was named.
pub(crate) struct Runs {
    folder: PathBuf,
    named: Option<PathBuf>,
    /// What was read of each run, until its files change: a log may be long.
    known: Mutex<HashMap<PathBuf, (Stamp, Summary)>>,
}

/// A run in a list.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Summary {
    pub id: String,
    pub name: String,
    pub dataset: Option<String>,
    pub method: Option<String>,
    /// Of the test, 0..=1.
    pub accuracy: Option<f64>,
    /// Of the best epoch on held-out images, 0..=1.
    pub validation: Option<f64>,
    pub epochs: Option<u32>,
    pub epochs_done: usize,
    pub seconds: Option<f64>,
    pub seed: Option<u64>,
    pub encoder: Option<String>,
    pub state: Standing,
    pub error: Option<String>,
    /// Whether it has weights that classify.
    pub usable: bool,
}

/// The standing of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    Finished,
    /// It has not come to its end, and can go on.
    Saved,
    /// A process writes it.
    Running,
    /// Its settings or its log cannot be read.
    Damaged,
}

/// A figure of a run.
pub(crate) struct Figure {
    pub kind: &'static str,
    pub content: Vec<u8>,
}

impl Runs {
    pub fn new(folder: PathBuf, named: Option<PathBuf>) -> Self {
        Self { folder, named, known: Mutex::default() }
    }

    /// The folder that new runs are written into.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The ids and the folders of all runs that are there now.
    pub fn listed(&self) -> Vec<(String, PathBuf)> {
        let whole = |path: &Path| path.canonicalize().ok();
        let named = self.named.as_deref().and_then(whole);
        let of_named = self.named.iter().map(|path| (NAMED.to_owned(), path.clone()));
        // A folder that cannot be read has no runs.
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().take(MOST_RUNS);
        let mut found: Vec<(String, PathBuf)> = entries
            .filter_map(|entry| Some((id_of(entry.file_name().into_string().ok()?), entry.path())))
            .filter(|(_, path)| {
                // The named run is listed once.
                let again = || named.is_some() && whole(path) == named;
                RunDirectory::open(path).is_ok() && !again()
            })
            .collect();
        found.sort();
        of_named.chain(found).collect()
    }

    /// The folder of the run `id`.
    ///
    /// # Errors
    /// 404 if no run of that name is listed, or not any more.
    pub fn find(&self, id: &str) -> Result<PathBuf, Refusal> {
        let found = self.listed().into_iter().find(|(known, path)| known == id && path.is_dir());
        found.map(|(_, path)| path).ok_or_else(|| {
            Refusal::missing("there is no such run here; it may have been moved or deleted")
        })
    }

    /// A summary of every run.
    pub fn all(&self) -> Vec<Summary> {
        let listed = self.listed();
        let mut known = locked(&self.known);
        known.retain(|path, _| listed.iter().any(|(_, there)| there == path));
        let summaries = listed.into_iter().map(|(id, path)| {
            let stamp = Stamp::of(&[
                path.join("config.toml"),
                path.join("metrics.jsonl"),
                path.join("model.safetensors"),
            ]);
            let mut summary = match known.get(&path) {
                Some((then, summary)) if *then == stamp => summary.clone(),
                _ => Summary::of(&id, &path),
            };
            known.insert(path.clone(), (stamp, summary.clone()));
            let written = RunDirectory::open(&path).is_ok_and(|run| run.is_being_written());
            if written && summary.state != Standing::Damaged {
                summary.state = Standing::Running;
            }
            summary
        });
        summaries.collect()
    }

    /// A summary of the run `id`.
    pub fn summary(&self, id: &str) -> Result<Summary, Refusal> {
        self.all().into_iter().find(|summary| summary.id == id).ok_or_else(|| {
            Refusal::missing("there is no such run here; it may have been moved or deleted")
        })
    }

    /// Everything about the run `id` that is shown, its weights and figures apart.
    pub fn view(&self, id: &str) -> Result<Value, Refusal> {
        let summary = self.summary(id)?;
        let path = self.find(id)?;
        let experiment = Experiment::read(&path.join("config.toml")).ok();
        let events = MetricsLog::read(&path.join("metrics.jsonl")).unwrap_or_default();
        let info = if summary.usable { Info::of(&path).ok() } else { None };
        let mut view = json!(summary);
        view["settings"] = json!(experiment.map(|experiment| experiment.setup));
        view["parameters"] = json!(info.map(|info| info.parameters()));
        view["card"] = json!(text(&path.join("README.md")).as_deref().map(card_body));
        view["figures"] = json!(figures(&path));
        // In a list of runs it is their number, which is among the settings.
        view["epochs"] = json!(Epoch::of_log(&events));
        Ok(view)
    }

    /// The figure `name` of the run `id`.
    pub fn figure(&self, id: &str, name: &str) -> Result<Figure, Refusal> {
        let path = self.find(id)?;
        let gone = || Refusal::missing("this run has no such figure");
        let name = figures(&path).into_iter().find(|known| known == name).ok_or_else(gone)?;
        let mut content = Vec::new();
        let file = File::open(path.join("figures").join(&name)).map_err(|_| gone())?;
        file.take(MAX_FIGURE).read_to_end(&mut content).map_err(Refusal::failed)?;
        let kind = if name.ends_with(".svg") { "image/svg+xml" } else { "image/png" };
        Ok(Figure { kind, content })
    }

    /// The runs `ids` side by side.
    pub fn compare(&self, ids: &[String]) -> Result<Value, Refusal> {
        if ids.is_empty() || ids.len() > MOST_COMPARED {
            return Err(Refusal::bad(format!("name between 1 and {MOST_COMPARED} runs")));
        }
        let paths = ids.iter().map(|id| self.find(id)).collect::<Result<Vec<_>, _>>()?;
        let found = compare(&paths, &mut Silent)?;
        let id = |path: &PathBuf| ids.get(paths.iter().position(|known| known == path)?);
        let lines = found.lines.iter().map(|line| {
            let names: Vec<&str> = line.runs.iter().filter_map(id).map(String::as_str).collect();
            let mut told = json!(line);
            told["name"] = names.join(", ").into();
            told
        });
        let unfinished = found.unfinished.iter().filter_map(|one| id(&one.run));
        Ok(json!({
            "markdown": found.markdown(),
            "lines": lines.collect::<Vec<_>>(),
            "unfinished": unfinished.collect::<Vec<_>>(),
        }))
    }
}

impl Summary {
    fn of(id: &str, path: &Path) -> Self {
        let name = path.file_name().map_or(id.into(), |name| name.to_string_lossy());
        let log = path.join("metrics.jsonl");
        let events = match log.exists() {
            true => MetricsLog::read(&log),
            // It was stopped before its first step.
            false => Ok(Vec::new()),
        };
        let mut summary = Self {
            id: id.into(),
            name: name.into_owned(),
            dataset: None,
            method: None,
            accuracy: None,
            validation: None,
            epochs: None,
            epochs_done: 0,
            seconds: None,
            seed: None,
            encoder: None,
            state: Standing::Saved,
            error: None,
            usable: path.join("model.safetensors").is_file(),
        };
        match Experiment::read(&path.join("config.toml")) {
            Ok(Experiment { setup, .. }) => {
                summary.dataset = Some(setup.dataset.name());
                summary.method = Some(setup.method.name.into());
                summary.epochs = Some(setup.epochs);
                summary.seed = Some(setup.seed);
                summary.encoder = Some(setup.encoder_words());
            }
            Err(error) => summary.damaged(error),
        }
        match events {
            Ok(events) => summary.read(&events),
            Err(error) => summary.damaged(error),
        }
        if summary.state == Standing::Finished && !summary.usable {
            summary.damaged("its weights are gone");
        }
        summary
    }

    fn damaged(&mut self, reason: impl ToString) {
        self.state = Standing::Damaged;
        self.error.get_or_insert(reason.to_string());
    }

    fn read(&mut self, events: &[Event]) {
        let mut accuracies = HashMap::new();
        let mut best = None;
        for event in events {
            if let Event::Epoch { epoch, validation_accuracy, best_epoch, total_seconds, .. } =
                event
            {
                accuracies.insert(*epoch, *validation_accuracy);
                best = Some(*best_epoch);
                self.seconds = Some(*total_seconds);
            }
        }
        self.epochs_done = accuracies.len();
        self.validation = best.and_then(|best| accuracies.get(&best).copied());
        if let Some(Event::Test { accuracy, .. }) = Event::final_test(events) {
            self.accuracy = Some(*accuracy);
        }
        if self.accuracy.is_some() && self.state != Standing::Damaged {
            self.state = Standing::Finished;
        }
    }
}

/// The id of the run in the folder `name`. No folder has a slash in its name, so none is taken for the named run or the pretrained model.
fn id_of(name: String) -> String {
    match name.as_str() {
        NAMED | PRETRAINED => format!("./{name}"),
        _ => name,
    }
}

/// The names of the figures of a run, each in its best form.
fn figures(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run.join("figures")).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.path().is_file());
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let is_figure = |name: &String| name.ends_with(".png") || name.ends_with(".svg");
    let mut names: Vec<String> = names.filter(is_figure).take(MOST_FIGURES).collect();
    names.sort();
    // A figure is there in two forms, and sharp in one.
    let sharp: HashSet<String> =
        names.iter().filter(|name| name.ends_with(".svg")).cloned().collect();
    let is_twin = |name: &String| {
        name.strip_suffix(".png").is_some_and(|stem| sharp.contains(&format!("{stem}.svg")))
    };
    names.retain(|name| !is_twin(name));
    names
}

/// The text of a file, if it is there and is text.
fn text(file: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(file).ok()?.take(MAX_CARD).read_to_string(&mut text).ok()?;
    Some(text)
}
