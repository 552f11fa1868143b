//! What of a training is written, and when.

use std::path::{Path, PathBuf};

use noprop_experiment::{Experiment, Finished, Length, Progress, Remark, card_body};
use noprop_method::Part;
use noprop_train::{
    Control, EpochReport, Loss, LossSums, Observer, RunDirectory, StepReport, Validation,
};

use crate::event_file::{EventFile, EventFileError, Hparam};

/// Steps whose losses are averaged into one point.
const WINDOW: u64 = 50;

/// The beginnings of the tags that a training which goes on writes again: its settings, which may be others now, and what stands at its end.
const AGAIN: [&str; 5] = ["settings/", "_hparams_/", "test/", "figures/", "model card/"];
/// The results that runs are compared by.
const COMPARED: [&str; 3] = ["test/accuracy", "test/training_accuracy", "validation/accuracy"];

/// When events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Always.
    Always,
    /// If the training goes on in a run that has events.
    IfThere,
    /// Never: another process writes the run.
    Never,
}

/// Passes the progress of a training on to `P`, and writes it into the event file of its run.
pub struct Board<P> {
    inner: P,
    wanted: Wanted,
    writing: Option<Writing>,
}

/// An event file, and the steps that are not in it yet.
struct Writing {
    events: EventFile,
    steps_per_epoch: u64,
    /// The steps made.
    step: u64,
    sums: LossSums,
    lr: f64,
}

impl<P: Progress> Board<P> {
    /// A board before `inner`.
    pub fn new(inner: P, wanted: Wanted) -> Self {
        Self { inner, wanted, writing: None }
    }

    /// Writes the test, the `figures` (those of them that are PNG) and the model card of a training that this board has seen. What
    /// cannot be written is remarked on.
    pub fn finish(&mut self, finished: &Finished, figures: &[PathBuf]) {
        self.write(|writing| writing.finish(finished, figures));
    }

    /// Opens the event file of the run, if one is wanted.
    fn open(&self, run: &Path, length: Length) -> Result<Option<Writing>, EventFileError> {
        let is_wanted = match self.wanted {
            Wanted::Always => true,
            Wanted::IfThere => !EventFile::all_in(run)?.is_empty(),
            Wanted::Never => false,
        };
        if !is_wanted {
            return Ok(None);
        }
        let mut events = EventFile::from_step(run, length.done, &AGAIN)?;
        introduce(&mut events, run)?;
        Ok(Some(Writing {
            events,
            steps_per_epoch: length.steps_per_epoch.into(),
            step: length.done,
            sums: LossSums::default(),
            lr: 0.0,
        }))
    }

    /// Writes, if events are written. A fault ends that, and not the training.
    fn write(&mut self, write: impl FnOnce(&mut Writing) -> Result<(), EventFileError>) {
        if let Some(Err(error)) = self.writing.as_mut().map(write) {
            self.give_up(&error);
        }
    }

    fn give_up(&mut self, error: &EventFileError) {
        self.writing = None;
        let words = format!("TensorBoard gets no more events, and the training goes on: {error}");
        self.inner.remark(Remark::Warning(words));
    }
}

impl<P: Progress> Progress for Board<P> {
    fn remark(&mut self, remark: Remark) {
        self.inner.remark(remark);
    }

    fn begin(&mut self, run: &Path, length: Length) {
        self.inner.begin(run, length);
        match self.open(run, length) {
            Ok(writing) => self.writing = writing,
            Err(error) => self.give_up(&error),
        }
    }

    fn end(&mut self) {
        self.inner.end();
    }
}

impl<P: Progress> Observer for Board<P> {
    fn step(&mut self, reports: &[StepReport]) -> Control {
        self.write(|writing| writing.step(reports));
        self.inner.step(reports)
    }

    fn paused(&mut self) -> Vec<usize> {
        self.inner.paused()
    }

    fn epoch(&mut self, report: &EpochReport) -> Control {
        self.write(|writing| writing.epoch(report));
        self.inner.epoch(report)
    }
}

/// Writes the settings of the run.
fn introduce(events: &mut EventFile, run: &Path) -> Result<(), EventFileError> {
    let config = run.join("config.toml");
    let settings = std::fs::read_to_string(&config)
        .map_err(|source| EventFileError { path: config.clone(), source })?;
    events.text(0, "settings", &format!("```toml\n{settings}```\n"))?;
    // The training read them before.
    let settings = Experiment::read(&config).ok();
    let settings = settings.and_then(|settings| serde_json::to_value(settings.setup).ok());
    let Some(serde_json::Value::Object(settings)) = settings else { return Ok(()) };
    let hparams = settings.into_iter().filter_map(|(name, value)| Some((name, hparam(value)?)));
    events.hparams(hparams.collect(), &COMPARED)
}

/// Returns the setting as TensorBoard compares it; none if it is open.
fn hparam(value: serde_json::Value) -> Option<Hparam> {
    // TensorBoard's numbers are f64, which would round these: two seeds would look like one.
    let is_rounded = |whole: i128| whole.unsigned_abs() > 1_u128 << f64::MANTISSA_DIGITS;
    Some(match value {
        serde_json::Value::Null => return None,
        serde_json::Value::Bool(bool) => Hparam::Bool(bool),
        serde_json::Value::Number(number) if number.as_i128().is_some_and(is_rounded) => {
            Hparam::Text(number.to_string())
        }
        serde_json::Value::Number(number) => Hparam::Number(number.as_f64()?),
        serde_json::Value::String(text) => Hparam::Text(text),
        other => Hparam::Text(other.to_string()),
    })
}

impl Writing {
    fn step(&mut self, reports: &[StepReport]) -> Result<(), EventFileError> {
        self.step += 1;
        reports.iter().for_each(|report| self.sums.add(report));
        if let Some(first) = reports.first() {
            self.lr = first.lr;
        }
        let ends = |steps: u64| self.step.is_multiple_of(steps);
        if !ends(WINDOW) && !ends(self.steps_per_epoch) {
            return Ok(());
        }
        let mut scalars = vec![("training/learning_rate".to_owned(), self.lr)];
        for Loss { part, loss, error } in std::mem::take(&mut self.sums).means() {
            scalars.push((format!("loss/{part}"), loss));
            if matches!(part, Part::Block(_)) {
                scalars.push((format!("error/{part}"), error));
            }
        }
        self.events.scalars(self.step, scalars)
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<(), EventFileError> {
        // Steps may be reported several at a time, so the time between two reports is not that of a step.
        let mut scalars = vec![("training/images_per_second".to_owned(), report.images_per_second)];
        if let Some(Validation { accuracy, per_block, .. }) = &report.validation {
            scalars.extend(accuracies("validation", *accuracy, per_block));
        }
        self.events.scalars(self.step, scalars)
    }

    fn finish(&mut self, finished: &Finished, figures: &[PathBuf]) -> Result<(), EventFileError> {
        let Finished { trained, training, test, .. } = finished;
        let mut scalars = accuracies("test", test.accuracy(), &test.per_block);
        scalars.push(("test/training_accuracy".into(), training.accuracy()));
        self.events.scalars(self.step, scalars)?;
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| EventFileError { path: path.into(), source })
        };
        for path in figures.iter().filter(|path| path.extension().is_some_and(|it| it == "png")) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            self.events.image(self.step, &format!("figures/{name}"), read(path)?)?;
        }
        let card = read(&RunDirectory::path(&trained.run).join("README.md"))?;
        self.events.text(self.step, "model card", card_body(&String::from_utf8_lossy(&card)))?;
        self.events.end(self.step)
    }
}

/// The accuracy of the chain and those of its blocks, with the names that they have in `group`.
fn accuracies(group: &str, accuracy: f64, per_block: &[f64]) -> Vec<(String, f64)> {
    let block = |(block, &accuracy)| (format!("{group}/{}", Part::Block(block + 1)), accuracy);
    let mut all = vec![(format!("{group}/accuracy"), accuracy)];
    all.extend(per_block.iter().enumerate().map(block));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A rounded seed would repeat another training.
    #[test]
    fn a_number_is_not_rounded() {
        let text = |text: &str| Some(Hparam::Text(text.into()));
        assert_eq!(hparam(json!(u64::MAX)), text("18446744073709551615"));
        assert_eq!(hparam(json!(i64::MIN)), text("-9223372036854775808"));
        assert_eq!(hparam(json!((1_u64 << 53) + 1)), text("9007199254740993"));
        assert_eq!(hparam(json!(1_u64 << 53)), Some(Hparam::Number(9_007_199_254_740_992.0)));
        assert_eq!(hparam(json!(0.001)), Some(Hparam::Number(0.001)));
    }
}
