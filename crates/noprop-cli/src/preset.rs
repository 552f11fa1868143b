//! Named settings: small annotated files that a config file and flags go on top of.

use std::fmt;
use std::str::FromStr;

/// A preset: one of `presets/*.toml`, by its name without the ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    Mnist,
    MnistSample,
    PaperMnist,
    PaperMnistDt,
    PaperMnistCt,
    PaperMnistFm,
    PaperMnistBackprop,
    PaperMnistAdjoint,
    PaperCifar10Dt,
    PaperCifar10Ct,
    PaperCifar10Fm,
    PaperCifar10Backprop,
    PaperCifar100Dt,
    PaperCifar100Ct,
    PaperCifar100Fm,
    PaperCifar100Backprop,
}

/// Name and text of a preset's file.
macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../presets/", $name, ".toml")))
    };
}

impl Preset {
    pub const ALL: [Self; 16] = [
        Self::Mnist,
        Self::MnistSample,
        Self::PaperMnist,
        Self::PaperMnistDt,
        Self::PaperMnistCt,
        Self::PaperMnistFm,
        Self::PaperMnistBackprop,
        Self::PaperMnistAdjoint,
        Self::PaperCifar10Dt,
        Self::PaperCifar10Ct,
        Self::PaperCifar10Fm,
        Self::PaperCifar10Backprop,
        Self::PaperCifar100Dt,
        Self::PaperCifar100Ct,
        Self::PaperCifar100Fm,
        Self::PaperCifar100Backprop,
    ];

    /// The preset's file.
    pub fn text(self) -> &'static str {
        self.file().1
    }

    fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Mnist => file!("mnist"),
            Self::MnistSample => file!("mnist-sample"),
            Self::PaperMnist => file!("paper-mnist"),
            Self::PaperMnistDt => file!("paper-mnist-dt"),
            Self::PaperMnistCt => file!("paper-mnist-ct"),
            Self::PaperMnistFm => file!("paper-mnist-fm"),
            Self::PaperMnistBackprop => file!("paper-mnist-backprop"),
            Self::PaperMnistAdjoint => file!("paper-mnist-adjoint"),
            Self::PaperCifar10Dt => file!("paper-cifar10-dt"),
            Self::PaperCifar10Ct => file!("paper-cifar10-ct"),
            Self::PaperCifar10Fm => file!("paper-cifar10-fm"),
            Self::PaperCifar10Backprop => file!("paper-cifar10-backprop"),
            Self::PaperCifar100Dt => file!("paper-cifar100-dt"),
            Self::PaperCifar100Ct => file!("paper-cifar100-ct"),
            Self::PaperCifar100Fm => file!("paper-cifar100-fm"),
            Self::PaperCifar100Backprop => file!("paper-cifar100-backprop"),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file().0)
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|preset| preset.to_string() == name);
        found.ok_or_else(|| {
            "choose mnist, mnist-sample, paper-mnist, or paper-DATA-METHOD with DATA mnist, cifar10 or cifar100 and METHOD \
             dt, ct, fm or backprop"
                .into()
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};
    use crate::config::{Method, RunConfig};

    fn resolved(flags: &[&str]) -> RunConfig {
        let line = ["noprop", "train"].iter().chain(flags);
        let Command::Train(train) = Args::try_parse_from(line).unwrap().command else {
            panic!("not a training");
        };
        RunConfig::resolve(train.preset.unwrap(), &train).unwrap().0
    }

    /// Every preset is found by its name and is a training that can begin; those of the paper hold Table 3's values.
    #[test]
    fn every_preset_is_a_valid_training() {
        for preset in Preset::ALL {
            let name = preset.to_string();
            assert_eq!(name.parse(), Ok(preset));
            let config = resolved(&["--preset", &name]);
            config.objective().unwrap();
            config.train().validate(50_000).unwrap();
            let Some(row) = name.strip_prefix("paper-") else { continue };
            let (data, method) = row.split_once('-').unwrap_or((row, "dt"));
            assert_eq!((config.dataset.to_string().as_str(), config.method.name()), (data, method));
            assert_eq!((config.batch_size, config.lr, config.weight_decay), (128, 1e-3, 1e-3));
            let blocks = matches!(config.method, Method::Dt | Method::Backprop);
            assert_eq!((config.steps, config.eta), if blocks { (10, 0.1) } else { (1000, 1.0) });
            let epochs = match (data, blocks) {
                ("mnist", _) => 100,
                (_, true) => 150,
                ("cifar10", false) => 500,
                _ => 1000,
            };
            assert_eq!(config.epochs, epochs, "{name}");
        }
        assert!("papr".parse::<Preset>().is_err());
    }

    /// Naming the method that a preset has already must not put our defaults in place of the preset's values.
    #[test]
    fn a_method_named_twice_leaves_the_preset_alone() {
        let preset = ["--preset", "paper-cifar10-ct"];
        assert_eq!(resolved(&[&preset[..], &["--method", "ct"]].concat()), resolved(&preset));
        assert_eq!(resolved(&["--preset", "mnist", "--method", "ct"]).epochs, 10);
    }
}
