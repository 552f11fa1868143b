//! The parts of a network, and their names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::MethodError;
use crate::names::text_form;

/// A part of a network: an owner of parameters. A parameter's name begins with the name of its part: `block.3.fc.weight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Part {
    /// The image encoder that all blocks share.
    Encoder,
    /// The matrix of class embeddings.
    Embedding,
    /// The learned noise schedule.
    Schedule,
    /// Block t, counted from 1.
    Block(usize),
    /// The layer from z_T to class logits.
    Readout,
}

impl Part {
    /// Splits the full name of a parameter into its part and the rest: `block.3.fc.weight` into block 3 and `fc.weight`.
    ///
    /// Returns `None` if the name does not begin with a part, or if nothing follows the part.
    pub fn parse(name: &str) -> Option<(Self, &str)> {
        let (word, rest) = name.split_once('.')?;
        let (part, rest) = match word {
            "block" => {
                let (number, rest) = rest.split_once('.')?;
                let part = Self::Block(number.parse().ok().filter(|&block| block > 0)?);
                // Only one spelling is valid: a name such as `block.03` would be stored as `block.3`.
                (part.to_string().strip_prefix("block.") == Some(number)).then_some((part, rest))?
            }
            "encoder" => (Self::Encoder, rest),
            "embedding" => (Self::Embedding, rest),
            "schedule" => (Self::Schedule, rest),
            "readout" => (Self::Readout, rest),
            _ => return None,
        };
        (!rest.is_empty()).then_some((part, rest))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoder => f.write_str("encoder"),
            Self::Embedding => f.write_str("embedding"),
            Self::Schedule => f.write_str("schedule"),
            Self::Block(t) => write!(f, "block.{t}"),
            Self::Readout => f.write_str("readout"),
        }
    }
}

impl FromStr for Part {
    type Err = MethodError;

    fn from_str(name: &str) -> Result<Self, MethodError> {
        match Self::parse(&format!("{name}._")) {
            Some((part, "_")) => Ok(part),
            _ => {
                let known = "encoder, embedding, schedule, block.T with T from 1, readout";
                Err(MethodError::unknown("part", name, known))
            }
        }
    }
}

text_form!(Part);

#[cfg(test)]
mod tests {
    use super::*;

    /// A part that is read as another part would train or restore the wrong parameters.
    #[test]
    fn a_part_parses_as_it_prints() {
        let blocks = [1, 2, 10, 1000].map(Part::Block);
        for part in [Part::Encoder, Part::Embedding, Part::Schedule, Part::Readout]
            .into_iter()
            .chain(blocks)
        {
            assert_eq!(part.to_string().parse::<Part>().unwrap(), part);
            assert_eq!(Part::parse(&format!("{part}.a.b")), Some((part, "a.b")));
        }
    }

    #[test]
    fn names_without_a_part_are_refused() {
        for name in [
            "fc.weight",
            "block",
            "block.1",
            "block.0.a",
            "block.01.a",
            "block.+1.a",
            "block.-1.a",
            "block.x.a",
            "blocks.1.a",
            "encoder",
            "encoder.",
            "Encoder.a",
            "",
            ".",
            "block.1.",
        ] {
            assert_eq!(Part::parse(name), None, "{name}");
        }
        for name in ["encoder.a", "block.0", "block", "block.1.a", ""] {
            assert!(name.parse::<Part>().is_err(), "{name}");
        }
    }
}
