//! Named settings: small annotated files that a config file and flags go on top of.

use std::fmt;
use std::str::FromStr;

/// A preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    Mnist,
    MnistSample,
    PaperMnist,
}

impl Preset {
    const ALL: [Self; 3] = [Self::Mnist, Self::MnistSample, Self::PaperMnist];

    /// The preset's file.
    pub fn text(self) -> &'static str {
        match self {
            Self::Mnist => include_str!("../presets/mnist.toml"),
            Self::MnistSample => include_str!("../presets/mnist-sample.toml"),
            Self::PaperMnist => include_str!("../presets/paper-mnist.toml"),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mnist => "mnist",
            Self::MnistSample => "mnist-sample",
            Self::PaperMnist => "paper-mnist",
        })
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|preset| preset.to_string() == name);
        found.ok_or_else(|| {
            let known: Vec<String> = Self::ALL.iter().map(Self::to_string).collect();
            format!("choose one of {}", known.join(", "))
        })
    }
}
