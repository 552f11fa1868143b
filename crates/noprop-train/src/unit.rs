//! Units of training: parameters that one optimizer step moves together, and that no other unit's gradient reaches.

use std::fmt;

use crate::{Order, UnitError};
use noprop_method::{Denoiser, EncoderKind, Objective, Part, ReadoutTraining, Training};

/// A set of parameters trained on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// One block that shares nothing.
    Block(usize),
    /// All blocks 1..=B and the encoder they share.
    SharedEncoder {
        /// B, the number of blocks.
        blocks: usize,
    },
    /// The readout, which learns from z_T alone.
    Readout,
    /// All blocks 1..=B and the readout, where they share class embeddings or a noise schedule that is learned.
    Joint {
        /// B, the number of blocks.
        blocks: usize,
        /// Whether the readout has a loss of its own.
        readout: ReadoutTraining,
    },
    /// All blocks 1..=B, what they share, and the readout: one block after the other in every epoch, each with the readout and what is
    /// shared (Algorithm 1).
    InTurn {
        /// B, the number of blocks.
        blocks: usize,
    },
    /// Everything, by the gradient of the end of the chain.
    EndToEnd {
        /// B, the number of blocks.
        blocks: usize,
    },
}

impl Unit {
    /// The units of a network, in the order in which a step visits them.
    pub fn of(network: &dyn Denoiser, objective: &dyn Objective, order: Order) -> Vec<Self> {
        let blocks = network.blocks();
        if objective.training() == Training::EndToEnd {
            return vec![Self::EndToEnd { blocks }];
        }
        if order == Order::Paper {
            return vec![Self::InTurn { blocks }];
        }
        let trained = |parts: &[Part]| network.parameters().trainable(parts).next().is_some();
        if trained(&[Part::Embedding, Part::Schedule]) {
            return vec![Self::Joint { blocks, readout: objective.readout_training() }];
        }
        let mut units = match network.encoder() {
            EncoderKind::Shared => vec![Self::SharedEncoder { blocks }],
            EncoderKind::PerBlock | EncoderKind::Frozen => (1..=blocks).map(Self::Block).collect(),
        };
        // A method that answers with the nearest embedding has none, nor has a readout by Bayes' rule anything to train.
        if trained(&[Part::Readout]) {
            units.push(Self::Readout);
        }
        units
    }

    /// The parts whose parameters the unit owns: those that its blocks share first.
    pub fn parts(self) -> Vec<Part> {
        match self {
            Self::Joint { blocks, readout: ReadoutTraining::WithBlocks } => {
                let shared = [Part::Encoder, Part::Embedding, Part::Schedule, Part::Readout];
                shared.into_iter().chain((1..=blocks).map(Part::Block)).collect()
            }
            Self::Joint { blocks, readout: ReadoutTraining::Own }
            | Self::InTurn { blocks }
            | Self::EndToEnd { blocks } => {
                let mut parts = vec![Part::Encoder, Part::Embedding, Part::Schedule];
                parts.extend((1..=blocks).map(Part::Block));
                parts.push(Part::Readout);
                parts
            }
            Self::Block(t) => vec![Part::Block(t)],
            Self::SharedEncoder { blocks } => {
                let mut parts = vec![Part::Encoder];
                parts.extend((1..=blocks).map(Part::Block));
                parts
            }
            Self::Readout => vec![Part::Readout],
        }
    }
}

impl Unit {
    /// Refuses a unit whose blocks need each other in every step: it cannot be parted among processes.
    ///
    /// # Errors
    /// [`UnitError::Tied`] with the reason.
    pub fn stands_alone(self) -> Result<(), UnitError> {
        let reason = match self {
            Self::Block(_) | Self::Readout => return Ok(()),
            Self::SharedEncoder { .. } => {
                "they share an image encoder that the losses of all of them train; the encoders per-block and frozen have no such tie"
            }
            Self::Joint { .. } => {
                "they share what is learned with them, class embeddings or a noise schedule, so every step needs the gradients of all"
            }
            Self::InTurn { .. } => "they take turns in every epoch, and the readout learns in each",
            Self::EndToEnd { .. } => "they are trained end to end, through each other",
        };
        Err(UnitError::Tied { reason })
    }

    /// Whether `part` has a loss of its own in this unit, even where it has no parameters: by Bayes' rule the readout trains the
    /// class embeddings.
    pub(crate) fn has_loss_without_parameters(self, part: Part) -> bool {
        let has_own =
            matches!(self, Self::Joint { readout: ReadoutTraining::Own, .. } | Self::InTurn { .. });
        has_own && part == Part::Readout
    }

    /// The passes over the training images that an epoch makes.
    pub(crate) fn passes(self) -> u32 {
        match self {
            Self::InTurn { blocks } => u32::try_from(blocks).unwrap_or(u32::MAX),
            _ => 1,
        }
    }

    /// Returns whether each of several processes trains its share of the unit's blocks. Otherwise every process trains all of them.
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
