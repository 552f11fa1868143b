//! Units of training: parameters that one optimizer step moves together, and that no other unit's gradient reaches.

use std::fmt;

use noprop_method::{Denoiser, EncoderKind, Part};

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
}

impl Unit {
    /// The units of a network, in the order in which a step visits them.
    pub fn of(network: &dyn Denoiser) -> Vec<Self> {
        let blocks = network.blocks();
        let mut units = match network.encoder() {
            EncoderKind::Shared => vec![Self::SharedEncoder { blocks }],
            EncoderKind::PerBlock | EncoderKind::Frozen => (1..=blocks).map(Self::Block).collect(),
        };
        units.push(Self::Readout);
        units
    }

    /// The unit's learning rate as a multiple of the training's. The readout is one small linear layer on inputs of length 1:
    /// at the blocks' rate it would still be unsure of everything when they are done.
    pub fn rate(self) -> f64 {
        match self {
            Self::Block(_) | Self::SharedEncoder { .. } => 1.0,
            Self::Readout => 10.0,
        }
    }

    /// The parts whose parameters the unit owns.
    pub fn parts(self) -> Vec<Part> {
        match self {
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

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(t) => write!(f, "block.{t}"),
            Self::SharedEncoder { .. } => f.write_str("shared"),
            Self::Readout => f.write_str("readout"),
        }
    }
}
