//! A table or a figure of the paper, made again.
//!
//! Nothing is computed here: a [`Worker`] trains and classifies, each time in a process of its own, so that a row is what its command is
//! and a peak of memory belongs to one training. The results lie in `DIR/runs` and `DIR/answers`; the report is made from those files
//! alone, so the same request goes on where the last one stopped, and changes nothing when all is there.

mod budget;
mod figure;
mod line;
mod numbers;
mod plan;
mod process;
mod report;
mod run;
mod table;
mod target;
pub(crate) mod words;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use noprop_train::write_atomically;

use self::line::Line;
use self::numbers::Numbers;
use self::words::{counted, duration};
use crate::error::{Context, Result, bail};
use crate::progress::Remark;

pub use self::plan::{Item, Missing, Plan, Request};
pub use self::process::{Processes, STOP_WITH_STDIN};
pub use self::target::{Change, Recipe, Target};
pub use self::worker::{Classification, Command, Halt, Images, Refusal, Training, Worker};

/// A reproduction as far as it came.
#[derive(Debug)]
pub struct Reproduced {
    /// The report, and then its figures.
    pub files: Vec<PathBuf>,
    /// The lines of the report, as JSON.
    pub rows: serde_json::Value,
    /// `true` if somebody asked to stop; the same request goes on from there.
    pub stopped: bool,
    /// The rows that could not be made.
    pub refusals: Vec<Refusal>,
}

/// Makes a table or a figure of the paper again, and writes a report with the paper's numbers beside ours.
///
/// # Errors
/// If a row does not exist, no data set is there, or a run in the folder is not the one that would be made; then nothing is trained.
pub fn reproduce(request: &Request, worker: &dyn Worker) -> Result<Reproduced> {
    let plan = Plan::new(request, worker)?;
    let mut book = Book::open(&plan)?;
    std::fs::create_dir_all(&request.out)
        .with_context(|| format!("cannot create {}", request.out.display()))?;
    for gap in &plan.missing {
        worker.remark(Remark::Note(format!("left out: {}: {}", gap.data, gap.reason)));
    }
    let stopped = match book.fill(worker) {
        Ok(()) => false,
        Err(Halt::Stopped) => true,
        Err(Halt::Broken(error)) => return Err(error),
        // `fill` keeps the failure of a single row with the row.
        Err(Halt::Refused(refusal)) => bail!("{}", refusal.line),
    };
    let files = book.write(worker)?;
    let rows = serde_json::to_value(book.lines(&plan)?)?;
    let refusals = book.entries.iter().filter_map(|entry| entry.refusal.clone()).collect();
    Ok(Reproduced { files, rows, stopped, refusals })
}

/// The rows of a reproduction and how far each is.
struct Book<'a> {
    plan: &'a Plan<'a>,
    numbers: Numbers,
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    item: &'a Item,
    /// Unknown until a budget has been divided.
    epochs: Option<u32>,
    /// The failure for which the row was given up.
    refusal: Option<Refusal>,
}

impl<'a> Book<'a> {
    /// Checks all runs that exist, and refuses those with other settings, before anything is trained.
    fn open(plan: &'a Plan<'a>) -> Result<Self> {
        let mut entries = Vec::new();
        for item in &plan.items {
            let epochs = match (plan.request.epochs, plan.request.budget) {
                (Some(epochs), _) => Some(epochs),
                (None, Some(_)) => None,
                (None, None) if plan.request.what == Target::Table2 => Some(1),
                (None, None) => Some(item.usual_epochs()),
            };
            entries.push(Entry { item, epochs, refusal: None });
        }
        let book = Self { plan, numbers: Numbers::read()?, entries };
        book.check()?;
        Ok(book)
    }

    /// Refuses runs with other settings than the reproduction would give them, and runs of different data.
    fn check(&self) -> Result<()> {
        let trainings = self.trainings()?;
        trainings.iter().try_for_each(run::check)?;
        run::check_data(&trainings)
    }

    /// All trainings; of a row whose epochs are not known yet, its trial.
    fn trainings(&self) -> Result<Vec<Training>> {
        let mut trainings = Vec::new();
        for entry in &self.entries {
            let (epochs, seeds) = entry.epochs.map_or((1, 1), |epochs| (epochs, self.plan.seeds()));
            for seed in 0..seeds {
                trainings.push(self.plan.training(entry.item, epochs, seed)?);
            }
        }
        Ok(trainings)
    }

    /// Trains and classifies whatever is missing. Every row gets its first seed before any gets its second, and the report is
    /// written after each: so it is as full as it can be at any time.
    fn fill(&mut self, worker: &dyn Worker) -> Result<(), Halt> {
        if let Some(budget) = self.plan.request.budget {
            self.divide(budget, worker)?;
            self.check()?;
        }
        let (seeds, rows) = (self.plan.seeds(), self.entries.len());
        for seed in 0..seeds {
            for index in 0..rows {
                let entry = &self.entries[index];
                let (Some(epochs), None) = (entry.epochs, &entry.refusal) else { continue };
                if line::is_complete(self.plan, entry.item, epochs, seed)? {
                    continue;
                }
                worker.remark(Remark::Note(format!(
                    "[{} of {}] {}, {}, seed {seed}, {}",
                    seed as usize * rows + index + 1,
                    seeds as usize * rows,
                    entry.item.data,
                    entry.item.recipe.name(),
                    counted(epochs, "epoch")
                )));
                let done = line::complete(self.plan, worker, entry.item, epochs, seed);
                self.note(index, done)?;
                self.write(worker)?;
            }
        }
        Ok(())
    }

    /// Gives each row an equal share of a budget and finds out, by an epoch's trial, how many epochs fit into it.
    fn divide(&mut self, budget: Duration, worker: &dyn Worker) -> Result<(), Halt> {
        let request = self.plan.request;
        let share = budget.as_secs_f64() / self.entries.len() as f64;
        for index in 0..self.entries.len() {
            let item = self.entries[index].item;
            let trial = line::trial(self.plan, worker, item);
            if let Some(trial) = self.note(index, trial)? {
                let epochs =
                    trial.epochs(share, self.plan.seeds(), request.runs, item.usual_epochs());
                worker.remark(Remark::Note(format!(
                    "{}, {}: an epoch takes {}, so {} a seed",
                    item.data,
                    item.recipe.name(),
                    duration(trial.epoch),
                    counted(epochs, "epoch")
                )));
                self.entries[index].epochs = Some(epochs);
            }
        }
        Ok(())
    }

    /// Keeps a refusal with its row and lets everything else pass.
    fn note<T>(&mut self, index: usize, done: Result<T, Halt>) -> Result<Option<T>, Halt> {
        match done {
            Ok(value) => Ok(Some(value)),
            Err(Halt::Refused(refusal)) => {
                self.entries[index].refusal = Some(refusal);
                Ok(None)
            }
            Err(halt) => Err(halt),
        }
    }

    /// All lines, from the files that exist.
    fn lines(&self, plan: &'a Plan<'a>) -> Result<Vec<Line<'a>>> {
        let line = |entry: &Entry<'a>| {
            let refusal = entry.refusal.as_ref().map(|refusal| refusal.line.clone());
            Line::read(plan, &self.numbers, entry.item, entry.epochs, refusal)
        };
        self.entries.iter().map(line).collect()
    }

    /// Writes figures and report, and returns their paths, the report's first.
    fn write(&self, worker: &dyn Worker) -> Result<Vec<PathBuf>> {
        // The files of the data may have changed since the other rows were trained.
        run::check_data(&self.trainings()?)?;
        let request = self.plan.request;
        let lines = self.lines(self.plan)?;
        let figures = figure::draw(self.plan, &lines)?;
        let path = request.out.join(request.what.name()).with_extension("md");
        let text = report::markdown(self.plan, &self.numbers, &lines, &figures, worker)?;
        write_atomically(&path, |file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let figures = figures.into_iter().flat_map(|figure| figure.files);
        Ok(std::iter::once(path).chain(figures).collect())
    }
}
