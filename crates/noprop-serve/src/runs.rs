//! The runs under a folder, each known by the name of its own folder. A request names a run that was listed, and never a path.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

use noprop_experiment::watch::Epoch;
use noprop_experiment::{Experiment, Info, Observer, Progress, Remark, card_body, compare};
use noprop_files::{read_file, read_text};
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
/// The largest number up to which JavaScript tells all whole numbers apart.
const MOST_EXACT: u64 = (1 << 53) - 1;

/// The runs under a folder, and one that was named.
pub(crate) struct Runs {
    folder: PathBuf,
    named: Option<PathBuf>,
    /// The most runs that are listed.
    most: usize,
    /// What was read of each run, until its files change: a log may be long.
    known: Mutex<HashMap<PathBuf, (Stamp, Summary)>>,
}

/// The runs that are there now.
struct Listing {
    /// Their ids and their folders.
    runs: Vec<(String, PathBuf)>,
    /// The number of runs that are not among them.
    left_out: usize,
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
    /// As [`exact`] tells it.
    pub seed: Option<Value>,
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
        Self { folder, named, most: MOST_RUNS, known: Mutex::default() }
    }

    /// The folder that new runs are written into.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The runs that are there now: no more than are listed, in the order of their ids.
    fn listed(&self) -> Listing {
        let whole = |path: &Path| path.canonicalize().ok();
        let named = self.named.as_deref().and_then(whole);
        // The named run is listed once.
        let again = |path: &Path| named.is_some() && whole(path) == named;
        let mut found = Vec::new();
        let mut left_out = 0;
        // A folder that cannot be read has no runs.
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if RunDirectory::open(&path).is_err() || again(&path) {
                continue;
            }
            match entry.file_name().into_string() {
                Ok(name) => found.push((id_of(name), path)),
                // An address is text, so it cannot name this one.
                Err(_) => left_out += 1,
            }
        }
        found.sort();
        left_out += found.len().saturating_sub(self.most);
        found.truncate(self.most);
        let of_named = self.named.iter().map(|path| (NAMED.to_owned(), path.clone()));
        Listing { runs: of_named.chain(found).collect(), left_out }
    }

    /// The folder of the run `id`.
    ///
    /// # Errors
    /// 404 if there is no run of that name.
    pub fn find(&self, id: &str) -> Result<PathBuf, Refusal> {
        let path = match (id, &self.named) {
            (NAMED, named) => named.clone(),
            // A name in the folder, and no way out of it.
            (id, _) => {
                let name = id.strip_prefix("./").unwrap_or(id);
                let mut parts = Path::new(name).components();
                let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
                (is_name && id_of(name.to_owned()) == id).then(|| self.folder.join(name))
            }
        };
        path.filter(|path| RunDirectory::open(path).is_ok()).ok_or_else(|| {
            Refusal::missing("there is no such run here; it may have been moved or deleted")
        })
    }

    /// A summary of every run that is listed.
    pub fn all(&self) -> Vec<Summary> {
        self.summaries(self.listed().runs)
    }

    /// The list of the runs, where they are, and how many of them are left out.
    pub fn list(&self) -> Value {
        let Listing { runs, left_out } = self.listed();
        let folder = self.folder.to_string_lossy();
        json!({ "folder": folder, "runs": self.summaries(runs), "left_out": left_out })
    }

    fn summaries(&self, listed: Vec<(String, PathBuf)>) -> Vec<Summary> {
        let mut known = locked(&self.known);
        {
            let there: HashSet<&PathBuf> = listed.iter().map(|(_, path)| path).collect();
            known.retain(|path, _| there.contains(path));
        }
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
        view["settings"] = json!(experiment.map(|Experiment { setup, .. }| {
            let mut settings = json!(setup);
            settings["seed"] = exact(setup.seed);
            settings
        }));
        view["parameters"] = json!(info.map(|info| info.parameters()));
        view["card"] = json!(card(&path));
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
        let content = read_file(&path.join("figures").join(&name), MAX_FIGURE);
        let content = content.map_err(Refusal::failed)?;
        let kind = if name.ends_with(".svg") { "image/svg+xml" } else { "image/png" };
        Ok(Figure { kind, content })
    }

    /// The runs `ids` side by side.
    pub fn compare(&self, ids: &[String]) -> Result<Value, Refusal> {
        if ids.is_empty() || ids.len() > MOST_COMPARED {
            return Err(Refusal::bad(format!("name between 1 and {MOST_COMPARED} runs")));
        }
        let paths = ids.iter().map(|id| self.find(id)).collect::<Result<Vec<_>, _>>()?;
        let mut notes = Notes::default();
        let found = compare(&paths, &mut notes)?;
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
            "notes": notes.0,
        }))
    }
}

/// The remarks of a comparison, each a sentence without its full stop: on runs that have no line, such as copies.
#[derive(Default)]
struct Notes(Vec<String>);

impl Observer for Notes {}

impl Progress for Notes {
    fn remark(&mut self, remark: Remark) {
        self.0.push(remark.to_string());
    }
}

impl Summary {
    fn of(id: &str, path: &Path) -> Self {
        let name = path.file_name().map_or(id.into(), |name| name.to_string_lossy());
        let events = RunDirectory::open(path).and_then(|run| run.events());
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
                summary.seed = Some(exact(setup.seed));
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

/// A seed for a page: as text where JavaScript would round the number, and another training would be repeated.
fn exact(seed: u64) -> Value {
    if seed > MOST_EXACT { json!(seed.to_string()) } else { json!(seed) }
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

/// The card of the run in the folder `run`, if it can be read.
pub(crate) fn card(run: &Path) -> Option<String> {
    let text = read_text(&run.join("README.md"), MAX_CARD).ok()?;
    Some(card_body(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A person looks in vain for a run that is neither listed nor counted. Folders that are no runs take no places.
    #[test]
    fn runs_beyond_the_bound_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c", "d"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for run in ["b", "c", "d"] {
            fs::write(dir.path().join(run).join("config.toml"), "").unwrap();
        }
        let runs = Runs { most: 2, ..Runs::new(dir.path().into(), None) };
        let list = runs.list();
        assert_eq!(list["left_out"], 1);
        let ids: Vec<&Value> =
            list["runs"].as_array().unwrap().iter().map(|run| &run["id"]).collect();
        assert_eq!(ids, ["b", "c"]);
        assert!(runs.find("d").is_ok(), "one that has just begun has a view");
        for other in ["a", "..", "../b", "b/", "./b", "/", "", "."] {
            assert!(runs.find(other).is_err(), "{other}");
        }
    }
}
