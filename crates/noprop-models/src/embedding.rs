//! Class embeddings, and their values before training.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ModelError;

const MAX_DIMENSION: usize = 10_000;

/// W_embed: the clean embedding of every class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Embedding {
    /// The identity: d = classes, fixed.
    #[default]
    Onehot,
    /// A matrix that is trained with the network.
    Learned {
        /// d.
        dimension: usize,
    },
    /// A trained matrix whose rows are images, d = C·H·W, that go through an image branch.
    Prototype,
}

impl Embedding {
    /// Returns whether it is trained.
    pub fn is_trained(self) -> bool {
        match self {
            Self::Onehot => false,
            Self::Learned { .. } | Self::Prototype => true,
        }
    }

    /// d for this number of classes; `None` where it is the size of the images.
    pub fn dimension(self, classes: usize) -> Option<usize> {
        match self {
            Self::Onehot => Some(classes),
            Self::Learned { dimension } => Some(dimension),
            Self::Prototype => None,
        }
    }

    /// The usual values before training of this number of classes, as in the paper: orthogonal rows where that is possible, and else
    /// random ones.
    pub fn usual_start_of(self, classes: usize) -> Option<EmbeddingStart> {
        let too_many = self.dimension(classes).is_some_and(|columns| classes > columns);
        match self.usual_start() {
            Some(EmbeddingStart::Orthogonal) if too_many => Some(EmbeddingStart::Random),
            start => start,
        }
    }

    /// The usual values before training of few classes; `None` for one-hot embeddings, which are fixed.
    pub fn usual_start(self) -> Option<EmbeddingStart> {
        match self {
            Self::Onehot => None,
            Self::Learned { .. } => Some(EmbeddingStart::Orthogonal),
            Self::Prototype => Some(EmbeddingStart::Prototype),
        }
    }
}

/// The values of trained class embeddings before training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmbeddingStart {
    /// Orthogonal rows.
    Orthogonal,
    /// Random rows.
    Random,
    /// An image of each class, set by [`Network::start_embeddings_from`](crate::Network::start_embeddings_from).
    Prototype,
}

impl fmt::Display for EmbeddingStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Orthogonal => "orthogonal",
            Self::Random => "random",
            Self::Prototype => "prototype",
        })
    }
}

impl FromStr for EmbeddingStart {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        match name {
            "orthogonal" => Ok(Self::Orthogonal),
            "random" => Ok(Self::Random),
            "prototype" => Ok(Self::Prototype),
            _ => {
                let expected = "orthogonal, random or prototype";
                Err(ModelError::out_of_range("embedding-start", expected, name))
            }
        }
    }
}

impl fmt::Display for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Onehot => f.write_str("onehot"),
            Self::Learned { dimension } => write!(f, "learned:{dimension}"),
            Self::Prototype => f.write_str("prototype"),
        }
    }
}

impl FromStr for Embedding {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        match name {
            "onehot" => return Ok(Self::Onehot),
            "prototype" => return Ok(Self::Prototype),
            _ => {}
        }
        let dimension = name.strip_prefix("learned:").and_then(|d| d.parse().ok());
        match dimension.filter(|d| (1..=MAX_DIMENSION).contains(d)) {
            Some(dimension) => Ok(Self::Learned { dimension }),
            None => {
                let expected =
                    format!("onehot, prototype, or learned:D with D between 1 and {MAX_DIMENSION}");
                Err(ModelError::out_of_range("embedding", expected, name))
            }
        }
    }
}

impl TryFrom<String> for Embedding {
    type Error = ModelError;

    fn try_from(name: String) -> Result<Self, ModelError> {
        name.parse()
    }
}

impl From<Embedding> for String {
    fn from(embedding: Embedding) -> Self {
        embedding.to_string()
    }
}
