//! The units of a training. A unit is a set of parts that one optimizer step moves; the gradients of other units do not reach
//! it.

use std::fmt;

use noprop_method::{Denoiser, EncoderKind, Losses, Method, Part};
use serde::{Deserialize, Serialize};

/// The order in which blocks learn from mini-batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// All blocks learn from every mini-batch. The parameters that they share take one step with the sum of the blocks'
    /// gradients.
    #[default]
    Batch,
    /// Algorithm 1: in every epoch each block has a turn, which is a pass over all mini-batches. The readout, and the
    /// parameters that the blocks share, take a step with every mini-batch of every turn.
    Paper,
}

/// The losses that train the readout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadoutTraining {
    /// A separate loss, only on the last embedding.
    Own,
    /// The losses of the blocks, which all reach the readout.
    WithBlocks,
}

/// A set of parts that one optimizer step moves, independently of all other units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// One block that shares no parameters.
    Block(usize),
    /// All blocks 1..=B and the encoder they share.
    SharedEncoder {
        /// B, the number of blocks.
        blocks: usize,
    },
    /// The readout. It learns only from z_T.
    Readout,
    /// All blocks 1..=B and the readout, if they share learned class embeddings or a learned noise schedule.
    Joint {
        /// B, the number of blocks.
        blocks: usize,
        /// The losses that train the readout.
        readout: ReadoutTraining,
    },
    /// All blocks 1..=B, the parts that they share, and the readout. In every epoch one block after the other is trained, each
    /// with the readout and the shared parts (Algorithm 1).
    InTurn {
        /// B, the number of blocks.
        blocks: usize,
    },
    /// All parts, trained by the gradient at the end of the chain.
    EndToEnd {
        /// B, the number of blocks.
        blocks: usize,
    },
}

impl Unit {
    /// Returns the units of a network, in the order in which a step visits them.
    pub fn of(network: &dyn Denoiser, method: &dyn Method, order: Order) -> Vec<Self> {
        let blocks = network.blocks();
        let readout = match method.losses() {
            Losses::EndToEnd(_) => return vec![Self::EndToEnd { blocks }],
            Losses::Blockwise(method) => match method.readout_loss() {
                Some(_) => ReadoutTraining::Own,
                None => ReadoutTraining::WithBlocks,
            },
        };
        if order == Order::Paper {
            return vec![Self::InTurn { blocks }];
        }
        let trained = |parts: &[Part]| network.parameters().trainable(parts).next().is_some();
        if trained(&[Part::Embedding, Part::Schedule]) {
            return vec![Self::Joint { blocks, readout }];
        }
        let mut units = match network.encoder() {
            EncoderKind::Shared => vec![Self::SharedEncoder { blocks }],
            EncoderKind::PerBlock | EncoderKind::Frozen => (1..=blocks).map(Self::Block).collect(),
        };
        // A method that predicts the nearest embedding has no readout, and a readout by Bayes' rule has no parameters.
        if trained(&[Part::Readout]) {
            units.push(Self::Readout);
        }
        units
    }

    /// Returns the parts whose parameters the unit owns. The parts that its blocks share come first.
    pub fn parts(self) -> Vec<Part> {
        use Part::{Embedding, Encoder, Readout, Schedule};
        let (before, blocks, after): (&[Part], _, &[Part]) = match self {
            Self::Block(t) => (&[], t..=t, &[]),
            Self::Readout => return vec![Readout],
            Self::SharedEncoder { blocks } => (&[Encoder], 1..=blocks, &[]),
            Self::Joint { blocks, readout: ReadoutTraining::WithBlocks } => {
                (&[Encoder, Embedding, Schedule, Readout], 1..=blocks, &[])
            }
            Self::Joint { blocks, readout: ReadoutTraining::Own }
            | Self::InTurn { blocks }
            | Self::EndToEnd { blocks } => {
                (&[Encoder, Embedding, Schedule], 1..=blocks, &[Readout])
            }
        };
        [before, &blocks.map(Part::Block).collect::<Vec<_>>(), after].concat()
    }
}

/// The reason why the blocks of a unit cannot be trained by several processes that exchange nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the blocks of this training cannot be trained separately: {0}")]
pub struct Tie(&'static str);

impl Unit {
    /// Checks that the unit can be trained without the other blocks: it is a single block or the readout.
    ///
    /// # Errors
    /// [`Tie`] with the reason why the blocks of the unit need each other.
    pub fn stands_alone(self) -> Result<(), Tie> {
        Err(Tie(match self {
            Self::Block(_) | Self::Readout => return Ok(()),
            Self::SharedEncoder { .. } => {
                "they share an image encoder that the losses of all of them train; the encoders per-block and frozen have no such tie"
            }
            Self::Joint { .. } => {
                "they share learned class embeddings or a learned noise schedule, so every step needs the gradients of all blocks"
            }
            Self::InTurn { .. } => "they take turns in every epoch, and the readout learns in each",
            Self::EndToEnd { .. } => "they are trained end to end, through each other",
        }))
    }

    /// Returns whether `part` has its own loss in this unit even if it has no parameters. The readout by Bayes' rule is such a
    /// part: its loss trains the class embeddings.
    pub(crate) fn has_loss_without_parameters(self, part: Part) -> bool {
        let has_own =
            matches!(self, Self::Joint { readout: ReadoutTraining::Own, .. } | Self::InTurn { .. });
        has_own && part == Part::Readout
    }

    /// Returns the number of passes over the training images in an epoch.
    pub(crate) fn passes(self) -> u32 {
        match self {
            Self::InTurn { blocks } => u32::try_from(blocks).unwrap_or(u32::MAX),
            _ => 1,
        }
    }

    /// Returns whether `part` has a turn in the steps of pass `pass` of an epoch, counted from 0.
    pub(crate) fn has_turn(self, part: Part, pass: u32) -> bool {
        match self {
            Self::InTurn { .. } => part == Part::Readout || part == Part::Block(pass as usize + 1),
            _ => true,
        }
    }

    /// Returns the factor of the loss of `part` in its turn; `None` for 1.
    pub(crate) fn weight_of_turn(self, part: Part) -> Option<f64> {
        match (self, part) {
            (Self::InTurn { blocks: 2.. }, Part::Block(_)) => Some(f64::from(self.passes())),
            _ => None,
        }
    }

    /// Returns whether several ranks each train a share of the unit's blocks. Otherwise every rank trains all of them.
    pub(crate) fn has_shares(self) -> bool {
        matches!(self, Self::SharedEncoder { .. } | Self::Joint { .. })
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(t) => write!(f, "block.{t}"),
            Self::SharedEncoder { .. } => f.write_str("shared"),
            Self::Joint { .. } => f.write_str("joint"),
            Self::InTurn { .. } => f.write_str("in-turn"),
            Self::EndToEnd { .. } => f.write_str("end-to-end"),
            Self::Readout => f.write_str("readout"),
        }
    }
}
