//! `noprop reproduce`: a table or a figure of the paper, made again.
//!
//! Everything is done by `noprop train` and `noprop eval` in processes of their own, so that a row is what its command says, and
//! memory is a row's alone. What is done lies in `DIR/runs` and `DIR/answers`; the report is made from those files alone, so the
//! same command goes on where the last one stopped, and changes nothing when all is there.

mod budget;
mod child;
mod figure;
mod line;
mod numbers;
mod plan;
mod report;
mod run;
mod table;
mod target;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use noprop_train::write_atomically;

pub use self::target::Target;

use self::child::{Children, Halt, Refusal};
use self::line::Line;
use self::numbers::Numbers;
use self::plan::{Item, Plan};
use crate::args::Reproduce;
use crate::output::{answer, note};
use crate::progress::Verbosity;
use crate::time::{Time, duration};

pub fn run(args: &Reproduce) -> Result<()> {
    let plan = Plan::new(args)?;
    let mut book = Book::open(&plan)?;
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let children = Children::new(verbosity)?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    for gap in &plan.missing {
        note!("left out: {}: {}", gap.data, gap.reason);
    }
    let stopped = match book.fill(&children) {
        Ok(()) => false,
        Err(Halt::Stopped) => true,
        Err(Halt::Broken(error)) => return Err(error),
        // `fill` keeps what concerns a single row.
        Err(Halt::Refused(refusal)) => return Err(RowsFailed::of(&[&refusal]).into()),
    };
    let written = book.write()?;
    if args.json {
        answer!("{}", report::json(&book.lines(&plan)?, &written)?)?;
    } else {
        for path in &written {
            answer!("{}", path.display())?;
        }
    }
    let refusals: Vec<&Refusal> =
        book.entries.iter().filter_map(|entry| entry.refusal.as_ref()).collect();
    if stopped {
        note!("stopped; the same command goes on from here");
    } else if !refusals.is_empty() {
        return Err(RowsFailed::of(&refusals).into());
    }
    Ok(())
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
    /// Why the row was given up.
    refusal: Option<Refusal>,
}

impl<'a> Book<'a> {
    /// Looks at all runs that are there already, and refuses those that are others, before anything is trained.
    fn open(plan: &'a Plan<'a>) -> Result<Self> {
        let mut entries = Vec::new();
        for item in &plan.items {
            let epochs = match (plan.args.epochs, plan.args.budget) {
                (Some(epochs), _) => Some(epochs),
                (None, Some(_)) => None,
                (None, None) if plan.args.what == Target::Table2 => Some(1),
                (None, None) => Some(item.usual_epochs()),
            };
            entries.push(Entry { item, epochs, refusal: None });
        }
        let book = Self { plan, numbers: Numbers::read()?, entries };
        book.check()?;
        Ok(book)
    }

    /// Refuses runs that are not those that would be made.
    fn check(&self) -> Result<()> {
        for entry in &self.entries {
            match entry.epochs {
                Some(epochs) => {
                    for seed in 0..self.plan.seeds() {
                        run::check(&self.plan.training(entry.item, epochs, seed)?)?;
                    }
                }
                None => run::check(&self.plan.training(entry.item, 1, 0)?)?,
            }
        }
        Ok(())
    }

    /// Trains and classifies whatever is missing. Every row gets its first seed before any gets its second, and the report is
    /// written after each: what there is at any time says as much as it can.
    fn fill(&mut self, children: &Children) -> Result<(), Halt> {
        if let Some(budget) = self.plan.args.budget {
            self.divide(budget, children)?;
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
                note!(
                    "[{} of {}] {}, {}, seed {seed}, {}",
                    seed as usize * rows + index + 1,
                    seeds as usize * rows,
                    entry.item.data,
                    entry.item.recipe.name(),
                    report::counted(epochs, "epoch")
                );
                let done = line::complete(self.plan, children, entry.item, epochs, seed);
                self.note(index, done)?;
                self.write()?;
            }
        }
        Ok(())
    }

    /// Gives each row an equal share of a budget and finds out, by an epoch's trial, how many epochs fit into it.
    fn divide(&mut self, budget: Time, children: &Children) -> Result<(), Halt> {
        let args = self.plan.args;
        let share = budget.0.as_secs_f64() / self.entries.len() as f64;
        for index in 0..self.entries.len() {
            let item = self.entries[index].item;
            let trial = line::trial(self.plan, children, item);
            if let Some(trial) = self.note(index, trial)? {
                let epochs = trial.epochs(share, self.plan.seeds(), args.runs, item.usual_epochs());
                note!(
                    "{}, {}: an epoch takes {}, so {} a seed",
                    item.data,
                    item.recipe.name(),
                    duration(trial.epoch),
                    report::counted(epochs, "epoch")
                );
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

    /// All lines as far as they are known.
    fn lines(&self, plan: &'a Plan<'a>) -> Result<Vec<Line<'a>>> {
        let line = |entry: &Entry<'a>| {
            let refusal = entry.refusal.as_ref().map(|refusal| refusal.line.clone());
            Line::read(plan, &self.numbers, entry.item, entry.epochs, refusal)
        };
        self.entries.iter().map(line).collect()
    }

    /// Writes figures and report, and returns their paths, the report's first.
    fn write(&self) -> Result<Vec<PathBuf>> {
        let args = self.plan.args;
        let lines = self.lines(self.plan)?;
        let figures = figure::draw(self.plan, &lines)?;
        let path = args.out.join(args.what.name()).with_extension("md");
        let text = report::markdown(self.plan, &self.numbers, &lines, &figures)?;
        write_atomically(&path, |file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let figures = figures.into_iter().flat_map(|figure| figure.files);
        Ok(std::iter::once(path).chain(figures).collect())
    }
}

/// Some rows could not be made; the others are in the report.
#[derive(Debug)]
pub struct RowsFailed {
    code: u8,
    rows: usize,
    first: String,
}

impl RowsFailed {
    fn of(refusals: &[&Refusal]) -> Self {
        let mendable = refusals.iter().all(|refusal| refusal.code == 2);
        let first = refusals.first().map_or_else(String::new, |refusal| refusal.line.clone());
        Self { code: if mendable { 2 } else { 1 }, rows: refusals.len(), first }
    }

    /// 2 if the user can mend all of it.
    pub fn exit_code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for RowsFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, first, .. } = self;
        let rows = report::counted(*rows, "row");
        write!(f, "{rows} could not be made, the report has the others: {first}")
    }
}

impl std::error::Error for RowsFailed {}
