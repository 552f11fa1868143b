//! The parts of the paper that can be reproduced, and the rows of each.

use noprop_method::{MethodKind, Readout, Time};
use noprop_models::{Embedding, EmbeddingStart};

use crate::paper::{PaperData, Row};
use crate::settings::Settings;
use crate::source::Source;

/// A part of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Training and test accuracy of every method and embedding.
    Table1,
    /// Peak memory of training.
    Table2,
    /// Class embeddings that start as images, before and after training.
    Fig2,
    /// Accuracy against training time, where time is continuous.
    Fig3,
    /// Ablation: the readouts, and one of ours.
    Fig4,
    /// Ablation: where class embeddings of an image's size start.
    Fig5,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Table1, Self::Table2, Self::Fig2, Self::Fig3, Self::Fig4, Self::Fig5];

    /// The name, also in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table1 => "table1",
            Self::Table2 => "table2",
            Self::Fig2 => "fig2",
            Self::Fig3 => "fig3",
            Self::Fig4 => "fig4",
            Self::Fig5 => "fig5",
        }
    }

    /// The rows, from top to bottom.
    pub fn recipes(self) -> Vec<Recipe> {
        let of = |rows: &[Row], changes: &[Change]| {
            let changed = |&row| changes.iter().map(move |&change| Recipe { row, change });
            rows.iter().flat_map(changed).collect()
        };
        let onehot = Row::ALL.into_iter().filter(|row| row.embedding == Embedding::Onehot);
        let dt = |embedding| Row::new(MethodKind::DT, embedding);
        match self {
            Self::Table1 => of(&Row::ALL, &[Change::Nothing]),
            Self::Table2 => of(&onehot.collect::<Vec<_>>(), &[Change::Nothing]),
            Self::Fig2 => of(&[dt(Embedding::Prototype)], &[Change::Nothing]),
            Self::Fig3 => {
                let continuous: Vec<Row> =
                    onehot.filter(|row| row.method.time == Time::Continuous).collect();
                of(&continuous, &[Change::Nothing])
            }
            Self::Fig4 => of(
                &[Embedding::Onehot, Row::LEARNED, Embedding::Prototype].map(dt),
                &[Change::Nothing, Change::Posterior, Change::Bayes],
            ),
            Self::Fig5 => of(
                &[dt(Embedding::Prototype)],
                &[Change::Orthogonal, Change::Nothing, Change::Random],
            ),
        }
    }

    /// The data sets where none are named: the paper's.
    pub fn data(self) -> Vec<Source> {
        let of_paper: &[PaperData] = match self {
            Self::Fig2 => &[PaperData::Cifar10],
            _ => &PaperData::ALL,
        };
        of_paper.iter().map(|data| Source::Known(data.name())).collect()
    }

    /// The trainings of a row where no number is given.
    pub fn seeds(self) -> u32 {
        match self {
            Self::Fig2 => 1,
            _ => 3,
        }
    }

    /// Returns whether test images are classified with what was trained.
    pub fn needs_accuracy(self) -> bool {
        match self {
            Self::Table2 | Self::Fig2 => false,
            Self::Table1 | Self::Fig3 | Self::Fig4 | Self::Fig5 => true,
        }
    }

    /// Returns whether training images are classified as well.
    pub fn needs_training_accuracy(self) -> bool {
        self == Self::Table1
    }
}

/// The training for one line of a report, whatever the data set: a row of Table 1, or a change of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// The row of Table 1.
    pub row: Row,
    /// The change of the row.
    pub change: Change,
}

/// The change of an ablation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// None.
    Nothing,
    /// The readout of Eqs. 15-16.
    Posterior,
    /// Our readout.
    Bayes,
    /// Embeddings that start orthogonal.
    Orthogonal,
    /// Embeddings that start at random.
    Random,
}

impl Recipe {
    /// The name of the row, also in the names of runs.
    pub fn name(self) -> String {
        let row = self.row.name();
        match self.change.setting() {
            Some((_, value)) => format!("{row}-{value}"),
            None => row,
        }
    }

    /// The row in words.
    pub fn words(self) -> String {
        let row = self.row.words();
        match self.change {
            Change::Nothing => row,
            Change::Posterior => format!("{row}, readout of Eqs. 15-16"),
            Change::Bayes => format!("{row}, readout by Bayes' rule"),
            Change::Orthogonal => format!("{row}, but an orthogonal start"),
            Change::Random => format!("{row}, but a random start"),
        }
    }
}

impl Change {
    /// The setting that makes the change, by its key, and its value in words.
    pub fn setting(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Nothing => None,
            Self::Posterior => Some(("readout", "posterior")),
            Self::Bayes => Some(("readout", "bayes")),
            Self::Orthogonal => Some(("embedding-start", "orthogonal")),
            Self::Random => Some(("embedding-start", "random")),
        }
    }

    /// The setting that makes the change.
    pub(super) fn settings(self) -> Settings {
        let readout = |readout| Settings { readout: Some(readout), ..Settings::default() };
        let start = |start| Settings { embedding_start: Some(start), ..Settings::default() };
        match self {
            Self::Nothing => Settings::default(),
            Self::Posterior => readout(Readout::Posterior { sigma: Readout::SIGMA }),
            Self::Bayes => readout(Readout::Bayes),
            Self::Orthogonal => start(EmbeddingStart::Orthogonal),
            Self::Random => start(EmbeddingStart::Random),
        }
    }

    /// Returns whether the paper has no such row.
    pub fn is_ours(self) -> bool {
        self == Self::Bayes
    }
}

/// The row that Table 2 measures memory against.
pub const BASELINE: Row = Row::new(MethodKind::BACKPROP, Embedding::Onehot);
