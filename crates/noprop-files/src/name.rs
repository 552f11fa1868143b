//! The names of the known data sets.

use std::fmt;
use std::str::FromStr;

/// A data set that is known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DatasetName {
    /// Handwritten digits: 60,000 + 10,000 grey images of 28 × 28, 10 classes.
    Mnist,
    /// Articles of clothing in the same format and numbers.
    FashionMnist,
    /// Photographs: 50,000 + 10,000 colour images of 32 × 32, 10 classes.
    Cifar10,
    /// The same format with 100 (fine) classes.
    Cifar100,
    /// 5,000 of the training images of MNIST, which `noprop-data` brings with it: 4,000 + 1,000.
    MnistSample,
}

impl DatasetName {
    /// All names.
    pub const ALL: [Self; 5] =
        [Self::Mnist, Self::FashionMnist, Self::Cifar10, Self::Cifar100, Self::MnistSample];

    /// The name as a user types it, which is also the name of the folder under the data directory.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::MnistSample => "mnist-sample",
        }
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that belongs to no data set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown dataset `{given}`: choose one of {}", known())]
pub struct UnknownDataset {
    /// The text that was given.
    pub given: String,
}

fn known() -> String {
    DatasetName::ALL.map(DatasetName::as_str).join(", ")
}

impl FromStr for DatasetName {
    type Err = UnknownDataset;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == given)
            .ok_or_else(|| UnknownDataset { given: given.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that prints otherwise than it parses could not be given back.
    #[test]
    fn every_name_is_read_back_and_others_are_refused_with_the_list() {
        for name in DatasetName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        let error = "MNIST".parse::<DatasetName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown dataset `MNIST`: choose one of mnist, fashion-mnist, cifar10, cifar100, mnist-sample"
        );
    }
}
