//! The display of a command's progress, and Ctrl-C.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use noprop_data::Notice;
use noprop_data::picture::Polarity;
use noprop_experiment::shell::{quoted, shown, shown_path};
use noprop_experiment::{Length, Progress, Remark};
use noprop_method::Part;
use noprop_train::{Control, EpochReport, Loss, Observer, StepReport};

use crate::hints::LESS_MEMORY;
use crate::log_file;
use crate::output::note;
use crate::stop;

/// The time between two plain lines within an epoch.
const PLAIN_EVERY: Duration = Duration::from_secs(15);
/// Files that are left out or passed over and are named one by one.
const NAMED: usize = 10;

/// Prints remarks and the progress of a training to stderr, and stops the training on Ctrl-C.
pub struct Display {
    verbosity: Verbosity,
    /// The time after which a training is stopped.
    most: Option<Duration>,
    training: Option<Training>,
}

/// The amount of progress that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    Quiet,
    Normal,
}

impl Verbosity {
    /// The verbosity with the flag `--quiet`, or without it.
    pub fn of(quiet: bool) -> Self {
        if quiet { Self::Quiet } else { Self::Normal }
    }
}

impl Display {
    pub fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, most: None, training: None }
    }

    /// The display that also stops a training, as Ctrl-C does, once this time is over.
    pub fn for_at_most(self, most: Option<Duration>) -> Self {
        Self { most, ..self }
    }
}

impl Progress for Display {
    fn remark(&mut self, remark: Remark) {
        print(remark, self.verbosity);
    }

    fn begin(&mut self, _: &Path, length: Length) {
        self.training = Some(Training::new(self.verbosity, self.most, length));
    }

    fn end(&mut self) {
        self.training = None;
    }
}

impl Observer for Display {
    fn step(&mut self, reports: &[StepReport]) -> Control {
        self.training.as_mut().map_or(Control::Continue, |training| training.step(reports))
    }

    fn epoch(&mut self, report: &EpochReport) -> Control {
        if let Some(training) = &self.training {
            training.epoch(report);
        }
        Control::Continue
    }
}

/// Prints a remark.
pub fn print(remark: Remark, verbosity: Verbosity) {
    let text = remark.to_string();
    match remark {
        Remark::Fitted(_) if verbosity == Verbosity::Quiet => log_file::line(&text),
        Remark::Data(notices) => announce(&notices),
        Remark::PassedOver(paths) => pass_over(&paths),
        Remark::SampleInstead { folder } => {
            let elsewhere = match folder.parent() {
                Some(data_dir) if data_dir != Path::new("data") => {
                    format!(" --data-dir {}", quoted(data_dir))
                }
                _ => String::new(),
            };
            note!(
                "NOTICE: {text}.\n\
                 NOTICE: for the real thing run `noprop fetch mnist{elsewhere}` first."
            );
        }
        Remark::Warning(_) | Remark::LabelInNoise { .. } => note!("warning: {}", shown(&text)),
        Remark::Memory { .. } => note!("warning: {text}: {LESS_MEMORY}"),
        Remark::Opposite(opposite) => {
            let advice = match opposite.polarity {
                Polarity::AsIs => "try --invert",
                Polarity::Inverted => "leave --invert out",
            };
            note!("warning: {}; {advice}", shown(&text));
        }
        Remark::LeftOut(_) => note!("left out: {}", shown(&text)),
        _ => note!("{}", shown(&text)),
    }
}

/// Prints the remarks on a data set.
fn announce(notices: &[Notice]) {
    let left_out = |notice: &&Notice| matches!(notice, Notice::LeftOut(_));
    let (files, others): (Vec<_>, Vec<_>) = notices.iter().partition(left_out);
    for notice in files.iter().take(NAMED).chain(&others) {
        note!("warning: {}", shown(&notice.to_string()));
    }
    if files.len() > NAMED {
        note!("warning: left out: {} more files", files.len() - NAMED);
    }
}

/// Prints the files of folders that are not pictures.
fn pass_over(files: &[PathBuf]) {
    for path in files.iter().take(NAMED) {
        note!("passed over: {}", shown_path(path));
    }
    if files.len() > NAMED {
        note!("passed over: {} more", files.len() - NAMED);
    }
}

/// A training that is shown.
struct Training {
    view: View,
    epochs: u32,
    steps_per_epoch: u32,
    /// The time at which this process began, and the steps of the whole training that were still to do.
    began: (Instant, u64),
    done: u64,
    images: u64,
    most: Option<Duration>,
    stop: Arc<AtomicBool>,
}

enum View {
    Quiet,
    /// One line at a time, for logs.
    Plain {
        last: Instant,
    },
    /// A bar that stays in its place.
    Bar(ProgressBar),
}

impl Training {
    fn new(verbosity: Verbosity, most: Option<Duration>, length: Length) -> Self {
        let Length { epochs, steps_per_epoch, done } = length;
        let total = u64::from(epochs) * u64::from(steps_per_epoch);
        let view = match verbosity {
            Verbosity::Quiet => View::Quiet,
            Verbosity::Normal => bar(total, done),
        };
        Self {
            view,
            epochs,
            steps_per_epoch,
            began: (Instant::now(), total.saturating_sub(done)),
            done: 0,
            images: 0,
            most,
            stop: listen(),
        }
    }

    fn seconds_left(&self) -> f64 {
        let (began, todo) = self.began;
        let each = began.elapsed().as_secs_f64() / self.done.max(1) as f64;
        each * todo.saturating_sub(self.done) as f64
    }

    fn images_per_second(&self) -> f64 {
        self.images as f64 / self.began.0.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// A bar on a terminal, lines elsewhere.
fn bar(total: u64, done: u64) -> View {
    let target = ProgressDrawTarget::stderr_with_hz(8);
    if target.is_hidden() {
        return View::Plain { last: Instant::now() };
    }
    let bar = ProgressBar::with_draw_target(Some(total), target).with_position(done);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    View::Bar(bar)
}

/// The first request asks to stop after the step, on a GPU after the epoch; the next one stops at once, with the last saved state
/// whole.
fn listen() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let listening = stop::on_request(move |number| {
        if number > 1 {
            std::process::exit(130);
        }
        asked.store(true, Ordering::SeqCst);
        note!("\nfinishing what is under way and saving; press Ctrl-C again to stop at once");
    });
    if let Err(error) = listening {
        note!("warning: Ctrl-C ends this training without saving: {error}");
    }
    let asked = Arc::clone(&stop);
    stop::on_end_of_stdin(move || asked.store(true, Ordering::SeqCst));
    stop
}

/// The block with the largest error, and that error.
fn worst_block(reports: &[StepReport]) -> Option<Loss> {
    let losses = reports.iter().flat_map(|report| &report.losses);
    losses
        .filter(|loss| matches!(loss.part, Part::Block(_)))
        .max_by(|a, b| a.error.total_cmp(&b.error))
        .copied()
}

/// The mean over blocks; where blocks have no loss of their own, the only one there is.
fn mean_loss(losses: &[Loss]) -> String {
    let blocks: Vec<f64> = losses
        .iter()
        .filter(|loss| matches!(loss.part, Part::Block(_)))
        .map(|loss| loss.error)
        .collect();
    match (blocks.as_slice(), losses) {
        ([], [only, ..]) => format!("loss {:.4}", only.error),
        (blocks, _) => {
            let mean = blocks.iter().sum::<f64>() / blocks.len().max(1) as f64;
            format!("mean block loss {mean:.4}")
        }
    }
}

impl Training {
    fn step(&mut self, reports: &[StepReport]) -> Control {
        self.done += 1;
        let Some(report) = reports.first() else {
            return Control::Continue;
        };
        self.images += report.images as u64;
        let line = || {
            let worst = worst_block(reports).map_or_else(String::new, |worst| {
                format!("worst {} loss {:.4}  ", worst.part, worst.error)
            });
            format!(
                "epoch {}/{} step {}/{}  {worst}{:.0} images/s  {:.0} s left",
                report.epoch,
                self.epochs,
                report.step,
                self.steps_per_epoch,
                self.images_per_second(),
                self.seconds_left()
            )
        };
        match &self.view {
            View::Quiet => {}
            View::Bar(bar) => {
                bar.set_message(line());
                bar.inc(1);
            }
            View::Plain { last } => {
                if last.elapsed() > PLAIN_EVERY {
                    note!("{}", line());
                    self.view = View::Plain { last: Instant::now() };
                }
            }
        }
        let began = self.began.0;
        if self.most.take_if(|most| began.elapsed() >= *most).is_some() {
            note!("the time is over: saving");
            self.stop.store(true, Ordering::SeqCst);
        }
        if self.stop.load(Ordering::SeqCst) { Control::Stop } else { Control::Continue }
    }

    fn epoch(&self, report: &EpochReport) {
        let validation = report.validation.as_ref().map(|validation| {
            let best = validation.best.epoch == report.epoch;
            let accuracy = 100.0 * validation.accuracy;
            (format!("  validation {accuracy:.2} %"), if best { "  (best so far)" } else { "" })
        });
        let (validation, best) = validation.unwrap_or_default();
        let line = format!(
            "epoch {}/{}{validation}  {}  {:.0} images/s  {:.1} s{best}",
            report.epoch,
            self.epochs,
            mean_loss(&report.losses),
            report.images_per_second,
            report.seconds,
        );
        match &self.view {
            View::Quiet => log_file::line(&line),
            View::Plain { .. } => note!("{line}"),
            View::Bar(bar) => {
                log_file::line(&line);
                bar.println(line);
            }
        }
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        if let View::Bar(bar) = &self.view {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One block without a readout, or a readout alone, must not read as a loss of nothing.
    #[test]
    fn the_loss_that_is_shown_is_one_that_was_measured() {
        let loss = |part, error| Loss { part, loss: error, error };
        let dt = [loss(Part::Block(1), 0.5), loss(Part::Block(2), 0.25), loss(Part::Readout, 9.0)];
        assert_eq!(mean_loss(&dt), "mean block loss 0.3750");
        assert_eq!(mean_loss(&[loss(Part::Block(1), 0.5)]), "mean block loss 0.5000", "fm");
        assert_eq!(mean_loss(&[loss(Part::Readout, 0.75)]), "loss 0.7500", "backprop");
    }
}
