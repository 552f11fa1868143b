//! The rows and the data sets of the paper's tables (arXiv 2503.24322 v1).

use noprop_data::DatasetName;
use noprop_models::Embedding;

use crate::method::Method;
use crate::source::Source;

/// A data set of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaperData {
    /// MNIST.
    Mnist,
    /// CIFAR-10.
    Cifar10,
    /// CIFAR-100.
    Cifar100,
}

impl PaperData {
    /// All of them, in the paper's order.
    pub const ALL: [Self; 3] = [Self::Mnist, Self::Cifar10, Self::Cifar100];

    /// The data set.
    pub fn name(self) -> DatasetName {
        match self {
            Self::Mnist => DatasetName::Mnist,
            Self::Cifar10 => DatasetName::Cifar10,
            Self::Cifar100 => DatasetName::Cifar100,
        }
    }

    /// The data set of the paper that images come from, if they are one. A folder is never one, whatever its name.
    pub fn of(source: &Source) -> Option<Self> {
        Self::ALL.into_iter().find(|data| *source == Source::Known(data.name()))
    }
}

/// A row of Table 1 that is trained: a method and its class embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The method.
    pub method: Method,
    /// The class embeddings.
    pub embedding: Embedding,
}

impl Row {
    /// All of them, in the paper's order. The adjoint baseline has one-hot embeddings alone.
    pub const ALL: [Self; 13] = [
        Self::new(Method::Backprop, Embedding::Onehot),
        Self::new(Method::Backprop, Self::LEARNED),
        Self::new(Method::Backprop, Embedding::Prototype),
        Self::new(Method::Dt, Embedding::Onehot),
        Self::new(Method::Dt, Self::LEARNED),
        Self::new(Method::Dt, Embedding::Prototype),
        Self::new(Method::Adjoint, Embedding::Onehot),
        Self::new(Method::Ct, Embedding::Onehot),
        Self::new(Method::Ct, Self::LEARNED),
        Self::new(Method::Ct, Embedding::Prototype),
        Self::new(Method::Fm, Embedding::Onehot),
        Self::new(Method::Fm, Self::LEARNED),
        Self::new(Method::Fm, Embedding::Prototype),
    ];

    /// The paper's trained embeddings that are smaller than an image.
    pub const LEARNED: Embedding = Embedding::Learned { dimension: 20 };

    /// The row of a method with these class embeddings.
    pub const fn new(method: Method, embedding: Embedding) -> Self {
        Self { method, embedding }
    }

    /// The name of the row, such as `dt-onehot` or `dt-learned20`.
    pub fn name(self) -> String {
        let embedding = self.embedding.to_string().replace(':', "");
        format!("{}-{embedding}", self.method.name())
    }

    /// The row in words, such as `NoProp-DT, one-hot`.
    pub fn words(self) -> String {
        let method = match self.method {
            Method::Backprop => "back-propagation through the same blocks",
            Method::Dt => "NoProp-DT",
            Method::Ct => "NoProp-CT",
            Method::Fm => "NoProp-FM",
            Method::Adjoint => "neural ODE, adjoint method",
        };
        match self.embedding {
            Embedding::Onehot => format!("{method}, one-hot"),
            Embedding::Learned { dimension } => {
                format!("{method}, learned embeddings, d = {dimension}")
            }
            other => format!("{method}, {other} embeddings"),
        }
    }

    /// The epochs of Table 3.
    pub fn epochs(self, data: PaperData) -> u32 {
        let [mnist, cifar10, cifar100] = match self.method {
            Method::Backprop | Method::Dt => [100, 150, 150],
            Method::Ct | Method::Fm => [100, 500, 1000],
            Method::Adjoint => [2, 4, 4],
        };
        match data {
            PaperData::Mnist => mnist,
            PaperData::Cifar10 => cifar10,
            PaperData::Cifar100 => cifar100,
        }
    }
}
