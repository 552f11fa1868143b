//! Named settings that a config file and flags go on top of: annotated files, and rows of the paper that share a file a method.

use std::fmt;
use std::str::FromStr;

use noprop_models::Embedding;
use toml::Table;

use crate::config::Method;
use crate::paper::{PaperData, Row};

/// A preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    Mnist,
    MnistSample,
    /// A row of the paper's Table 1, with the settings of its Table 3.
    Paper(PaperData, Row),
}

impl Preset {
    /// All presets.
    pub fn all() -> impl Iterator<Item = Self> {
        let of_data = |data| Row::ALL.map(|row| Self::Paper(data, row));
        [Self::Mnist, Self::MnistSample]
            .into_iter()
            .chain(PaperData::ALL.into_iter().flat_map(of_data))
    }

    /// The settings.
    ///
    /// # Errors
    /// A file that is not TOML.
    pub fn settings(self) -> Result<Table, toml::de::Error> {
        match self {
            Self::Mnist => toml::from_str(include_str!("../presets/mnist.toml")),
            Self::MnistSample => toml::from_str(include_str!("../presets/mnist-sample.toml")),
            Self::Paper(data, row) => {
                let mut settings = of_paper(row.method)?;
                settings.insert("dataset".into(), data.name().as_str().into());
                settings.insert("epochs".into(), row.epochs(data).into());
                if row.embedding != Embedding::Onehot {
                    settings.insert("embedding".into(), row.embedding.to_string().into());
                }
                Ok(settings)
            }
        }
    }
}

/// The settings of Table 3 that all rows of a method share.
fn of_paper(method: Method) -> Result<Table, toml::de::Error> {
    toml::from_str(match method {
        Method::Dt => include_str!("../presets/paper-dt.toml"),
        Method::Ct => include_str!("../presets/paper-ct.toml"),
        Method::Fm => include_str!("../presets/paper-fm.toml"),
        Method::Backprop => include_str!("../presets/paper-backprop.toml"),
        Method::Adjoint => include_str!("../presets/paper-adjoint.toml"),
    })
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mnist => f.write_str("mnist"),
            Self::MnistSample => f.write_str("mnist-sample"),
            Self::Paper(data, row) => {
                let name = row.name();
                // The name leaves one-hot embeddings out.
                let name = name.strip_suffix("-onehot").unwrap_or(&name);
                write!(f, "paper-{}-{name}", data.name())
            }
        }
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        // The short name of the first row that the paper is known for.
        let name = if name == "paper-mnist" { "paper-mnist-dt" } else { name };
        Self::all().find(|preset| preset.to_string() == name).ok_or_else(|| {
            "choose mnist, mnist-sample, paper-mnist, paper-DATA-METHOD or paper-DATA-METHOD-EMBEDDING: DATA is mnist, cifar10 or \
             cifar100, METHOD is dt, ct, fm, backprop or adjoint, and EMBEDDING is learned20 or prototype, which adjoint does not have"
                .into()
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use noprop_train::OptimizerKind;

    use super::*;
    use crate::args::{Args, Command};
    use crate::config::RunConfig;

    fn resolved(flags: &[&str]) -> RunConfig {
        let line = ["noprop", "train"].iter().chain(flags);
        let Command::Train(train) = Args::try_parse_from(line).unwrap().command else {
            panic!("not a training");
        };
        RunConfig::resolve(train.preset.unwrap(), &train).unwrap().0
    }

    /// Every preset is found by its name and is a training that can begin.
    #[test]
    fn every_preset_is_a_valid_training() {
        assert_eq!(Preset::all().count(), 2 + 3 * 13);
        assert_eq!("paper-mnist".parse::<Preset>(), "paper-mnist-dt".parse());
        for preset in Preset::all() {
            let name = preset.to_string();
            assert_eq!(name.parse(), Ok(preset));
            let config = resolved(&["--preset", &name]);
            config.objective().unwrap();
            config.train().validate(50_000).unwrap();
        }
        for unknown in ["papr", "paper-mnist-dt-onehot", "paper-mnist-adjoint-prototype"] {
            assert!(unknown.parse::<Preset>().is_err(), "{unknown}");
        }
    }

    /// The paper's rows hold the values of Table 3, typed here once more, and the method and the embedding of their names.
    #[test]
    fn the_papers_rows_are_those_of_table_3() {
        for data in PaperData::ALL {
            for row in Row::ALL {
                let name = Preset::Paper(data, row).to_string();
                let config = resolved(&["--preset", &name]);
                assert_eq!(config.dataset.to_string(), data.name().as_str(), "{name}");
                assert_eq!((config.method, config.embedding), (row.method, row.embedding));
                assert_eq!((config.batch_size, config.lr, config.weight_decay), (128, 1e-3, 1e-3));
                let (steps, eta, optimizer, epochs) = match row.method {
                    Method::Backprop => (10, 0.1, OptimizerKind::Adamw, [100, 150, 150]),
                    Method::Dt => (10, 0.1, OptimizerKind::Adamw, [100, 150, 150]),
                    Method::Adjoint => (1000, 1.0, OptimizerKind::Adamw, [2, 4, 4]),
                    Method::Ct => (1000, 1.0, OptimizerKind::Adam, [100, 500, 1000]),
                    Method::Fm => (1000, 1.0, OptimizerKind::Adam, [100, 500, 1000]),
                };
                assert_eq!((config.steps, config.eta), (steps, eta), "{name}");
                assert_eq!(config.readout_lr_scale, 1.0, "{name}");
                assert_eq!(config.optimizer, optimizer, "{name}");
                assert_eq!(config.epochs, epochs[data as usize], "{name}");
            }
        }
    }

    /// The paper has one learning rate, and so have the baselines. Our other defaults have ten times that for the readout.
    #[test]
    fn baselines_have_one_learning_rate() {
        let scale =
            |method: &str| resolved(&["--preset", "mnist", "--method", method]).readout_lr_scale;
        assert_eq!(
            ["dt", "ct", "fm", "backprop", "adjoint"].map(scale),
            [10.0, 10.0, 10.0, 1.0, 1.0]
        );
    }

    /// The steps of noprop-train's test of the adjoint gradient.
    #[test]
    fn the_adjoint_method_takes_ten_steps_of_heun() {
        let config = resolved(&["--preset", "mnist", "--method", "adjoint"]);
        assert_eq!((config.solver, config.steps), (Some(noprop_method::Solver::HEUN), 10));
    }

    /// A thousand steps after every epoch take longer than the training, and fewer than those that classify must not become more.
    #[test]
    fn epochs_are_chosen_with_their_own_steps() {
        let steps = |flags: &[&str]| {
            let sampler = resolved(flags).validation_sampler().unwrap();
            sampler.integration.map(|integration| integration.steps.get())
        };
        let preset = ["--preset", "paper-mnist-ct"];
        assert_eq!(steps(&preset), Some(50));
        assert_eq!(steps(&[&preset[..], &["--validation-steps", "7"]].concat()), Some(7));
        assert_eq!(steps(&[&preset[..], &["--steps", "20"]].concat()), None, "those of the run");
        assert_eq!(steps(&["--preset", "mnist"]), None);
    }

    /// Settings of the method of a preset or of a file have no meaning in another method.
    #[test]
    fn another_method_leaves_what_belongs_to_the_first() {
        for (preset, method) in [
            ("paper-mnist-ct", "dt"),
            ("paper-mnist-adjoint", "ct"),
            ("paper-mnist-fm", "backprop"),
            ("paper-mnist-adjoint", "dt"),
        ] {
            let config = resolved(&["--preset", preset, "--method", method, "--steps", "10"]);
            config.objective().unwrap();
            assert_eq!(config.validation_steps, None, "{preset} {method}");
        }
    }

    /// Naming the method that a preset has already must not put our defaults in place of the preset's values.
    #[test]
    fn a_method_named_twice_leaves_the_preset_alone() {
        let preset = ["--preset", "paper-cifar10-ct"];
        assert_eq!(resolved(&[&preset[..], &["--method", "ct"]].concat()), resolved(&preset));
        assert_eq!(resolved(&["--preset", "mnist", "--method", "ct"]).epochs, 10);
    }
}
