//! The rows and the data sets of the paper's tables (arXiv 2503.24322 v1).

use noprop_data::DatasetName;
use noprop_models::Embedding;

use crate::source::Source;
use noprop_method::MethodKind;

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
    pub method: MethodKind,
    /// The class embeddings.
    pub embedding: Embedding,
}

/// The epochs of Table 3 on MNIST, CIFAR-10 and CIFAR-100.
const EPOCHS: [(MethodKind, [u32; 3]); 5] = [
    (MethodKind::BACKPROP, [100, 150, 150]),
    (MethodKind::DT, [100, 150, 150]),
    (MethodKind::CT, [100, 500, 1000]),
    (MethodKind::FM, [100, 500, 1000]),
    (MethodKind::ADJOINT, [2, 4, 4]),
];

impl Row {
    /// All of them, in the paper's order. The adjoint baseline has one-hot embeddings alone.
    pub const ALL: [Self; 13] = [
        Self::new(MethodKind::BACKPROP, Embedding::Onehot),
        Self::new(MethodKind::BACKPROP, Self::LEARNED),
        Self::new(MethodKind::BACKPROP, Embedding::Prototype),
        Self::new(MethodKind::DT, Embedding::Onehot),
        Self::new(MethodKind::DT, Self::LEARNED),
        Self::new(MethodKind::DT, Embedding::Prototype),
        Self::new(MethodKind::ADJOINT, Embedding::Onehot),
        Self::new(MethodKind::CT, Embedding::Onehot),
        Self::new(MethodKind::CT, Self::LEARNED),
        Self::new(MethodKind::CT, Embedding::Prototype),
        Self::new(MethodKind::FM, Embedding::Onehot),
        Self::new(MethodKind::FM, Self::LEARNED),
        Self::new(MethodKind::FM, Embedding::Prototype),
    ];

    /// The paper's trained embeddings that are smaller than an image.
    pub const LEARNED: Embedding = Embedding::Learned { dimension: 20 };

    /// The row of a method with these class embeddings.
    pub const fn new(method: MethodKind, embedding: Embedding) -> Self {
        Self { method, embedding }
    }

    /// The name of the row, such as `dt-onehot` or `dt-learned20`.
    pub fn name(self) -> String {
        let embedding = self.embedding.to_string().replace(':', "");
        format!("{}-{embedding}", self.method.name)
    }

    /// The row in words, such as `NoProp-DT, one-hot`.
    pub fn words(self) -> String {
        let method = self.method.title;
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
        let of_method = EPOCHS.iter().find(|(method, _)| *method == self.method);
        let [mnist, cifar10, cifar100] = of_method.map_or([100, 150, 150], |(_, epochs)| *epochs);
        match data {
            PaperData::Mnist => mnist,
            PaperData::Cifar10 => cifar10,
            PaperData::Cifar100 => cifar100,
        }
    }
}
