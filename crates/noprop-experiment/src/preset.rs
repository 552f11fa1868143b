//! Named settings that a config file and flags go on top of: annotated files, and rows of the paper that share a file a method.

use std::fmt;
use std::str::FromStr;

use noprop_data::DatasetName;
use noprop_models::Embedding;

use crate::error::{Context, Result};
use crate::paper::{PaperData, Row};
use crate::settings::Settings;
use crate::source::Source;
use noprop_method::MethodKind;

/// A preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// The default for MNIST.
    Mnist,
    /// The default for the bundled sample.
    MnistSample,
    /// A residual network, with settings that suit a data set.
    Resnet(ResnetData),
    /// A row of the paper's Table 1, with the settings of its Table 3.
    Paper(PaperData, Row),
}

/// A data set that has a preset for residual networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResnetData {
    /// MNIST.
    Mnist,
    /// Fashion-MNIST.
    FashionMnist,
    /// CIFAR-10.
    Cifar10,
}

impl ResnetData {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mnist, Self::FashionMnist, Self::Cifar10];

    /// The name of the data set.
    pub fn name(self) -> DatasetName {
        match self {
            Self::Mnist => DatasetName::Mnist,
            Self::FashionMnist => DatasetName::FashionMnist,
            Self::Cifar10 => DatasetName::Cifar10,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Mnist => include_str!("../presets/resnet-mnist.toml"),
            Self::FashionMnist => include_str!("../presets/resnet-fashion-mnist.toml"),
            Self::Cifar10 => include_str!("../presets/resnet-cifar10.toml"),
        }
    }
}

/// The settings of Table 3 that all rows of a method share.
const TABLE_3: [(MethodKind, &str); 5] = [
    (MethodKind::DT, include_str!("../presets/paper-dt.toml")),
    (MethodKind::CT, include_str!("../presets/paper-ct.toml")),
    (MethodKind::FM, include_str!("../presets/paper-fm.toml")),
    (MethodKind::BACKPROP, include_str!("../presets/paper-backprop.toml")),
    (MethodKind::ADJOINT, include_str!("../presets/paper-adjoint.toml")),
];

impl Preset {
    /// All presets.
    pub fn all() -> impl Iterator<Item = Self> {
        let of_data = |data| Row::ALL.map(|row| Self::Paper(data, row));
        [Self::Mnist, Self::MnistSample]
            .into_iter()
            .chain(ResnetData::ALL.map(Self::Resnet))
            .chain(PaperData::ALL.into_iter().flat_map(of_data))
    }

    /// The preset that suits a data set which none is named for.
    pub fn suiting(data: &Source) -> Self {
        match data {
            Source::Known(DatasetName::MnistSample) => Self::MnistSample,
            // Presets of residual networks take much longer, so they are for those who name them.
            Source::Known(_) | Source::Folder(_) | Source::Memory => Self::Mnist,
        }
    }

    /// The settings.
    pub(crate) fn settings(self) -> Result<Settings> {
        let read = |text| of_file(&self, text);
        match self {
            Self::Mnist => read(include_str!("../presets/mnist.toml")),
            Self::MnistSample => read(include_str!("../presets/mnist-sample.toml")),
            Self::Resnet(data) => read(data.text()),
            Self::Paper(data, row) => {
                let of_method = TABLE_3.iter().find(|(method, _)| *method == row.method);
                let of_method =
                    of_method.map_or(Ok(Settings::default()), |(_, text)| read(text))?;
                let of_row = Settings {
                    dataset: Some(Source::Known(data.name())),
                    epochs: Some(row.epochs(data)),
                    embedding: Some(row.embedding).filter(|other| *other != Embedding::Onehot),
                    ..Settings::default()
                };
                let settings = of_row.over(of_method);
                // Embeddings that are images have a length of their own.
                let scale =
                    settings.embedding_scale.filter(|_| row.embedding != Embedding::Prototype);
                Ok(Settings { embedding_scale: scale, ..settings })
            }
        }
    }
}

/// The settings of `method` that go on top of a preset that was made for discrete time.
pub(crate) fn defaults_of(method: MethodKind) -> Result<Settings> {
    let defaults = of_file(&method, method.defaults)?;
    Ok(Settings { method: Some(method), ..defaults })
}

/// The settings in a file of this crate.
fn of_file(name: &dyn fmt::Display, text: &str) -> Result<Settings> {
    toml::from_str(text).with_context(|| format!("the preset {name} cannot be read"))
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mnist => f.write_str("mnist"),
            Self::MnistSample => f.write_str("mnist-sample"),
            Self::Resnet(data) => write!(f, "resnet-{}", data.name()),
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
            "choose mnist, mnist-sample, resnet-mnist, resnet-fashion-mnist, resnet-cifar10, paper-mnist, paper-DATA-METHOD or \
             paper-DATA-METHOD-EMBEDDING: DATA is mnist, cifar10 or cifar100, METHOD is dt, ct, fm, backprop or adjoint, and EMBEDDING is learned20 or prototype, which adjoint does not have"
                .into()
        })
    }
}

#[cfg(test)]
mod tests {
    use noprop_method::{Setting, Solver, Time};
    use noprop_models::{Backbone, Embedding};
    use noprop_train::{ClassWeights, OptimizerKind};

    use super::*;
    use crate::layers::Layers;
    use crate::settings::Setup;

    fn resolved(preset: Preset, settings: Settings) -> Setup {
        let layers = Layers { preset: Some(preset), settings, ..Layers::default() };
        layers.resolve(|_| Ok(preset)).unwrap().setup
    }

    fn named(name: &str) -> Preset {
        name.parse().unwrap()
    }

    fn with(method: MethodKind) -> Settings {
        Settings { method: Some(method), ..Settings::default() }
    }

    /// The defaults in docs/method.md are those of the program.
    #[test]
    fn the_documented_defaults_are_those_of_the_program() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/method.md");
        let documented = std::fs::read_to_string(path).unwrap();
        let setups = ["dt", "ct", "fm", "backprop", "adjoint", "classifier"].map(|method| {
            let layers = Layers { settings: with(method.parse().unwrap()), ..Layers::default() };
            let setup = layers.resolve(|_| Ok(Preset::Mnist)).unwrap().setup;
            let values = serde_json::to_value(&setup).unwrap();
            move |key: &str| {
                let has = match key {
                    "eta" => setup.method.has(Setting::Eta),
                    "loss-weight" => setup.method.has(Setting::LossWeight),
                    "steps" => setup.method.time != Time::None,
                    _ => !values[key].is_null(),
                };
                let value = || values[key].as_str().map_or(values[key].to_string(), str::to_owned);
                if has { value() } else { "–".into() }
            }
        });
        let of = |key| setups.each_ref().map(|of| of(key));
        for key in ["steps", "solver", "eta", "loss-weight", "encoder", "dropout", "epochs", "lr"] {
            let row = format!("| `{key}` | {} |", of(key).join(" | "));
            assert!(documented.contains(&row), "docs/method.md should have\n{row}");
        }
        for key in [
            "batch-size",
            "optimizer",
            "lr-decay",
            "warmup-steps",
            "weight-decay",
            "validation",
            "seed",
        ] {
            let values = of(key);
            assert!(values.iter().all(|value| *value == values[0]), "{key}: {values:?}");
            let words = format!("`{key}` {}", values[0]);
            assert!(documented.contains(&words), "docs/method.md should have {words}");
        }
    }

    /// The paper's dropout lies between its convolutions: another network must neither be refused for it nor record it.
    #[test]
    fn the_dropout_of_a_preset_gives_way_to_another_network() {
        let network = Some("resnet:4".parse().unwrap());
        let of = |settings| resolved(named("paper-mnist-dt"), settings).dropout;
        assert!(of(Settings::default()) > 0.0);
        assert_eq!(of(Settings { network, ..Settings::default() }), 0.0);
        let given = Settings { network, dropout: Some(0.1), ..Settings::default() };
        assert_eq!(of(given), 0.1, "refused later, because it was given");
    }

    /// A classifier has no chain: what a preset or the file of another method says of one must neither be refused nor recorded.
    #[test]
    fn a_chain_gives_way_to_a_plain_classifier() {
        let classifier: MethodKind = "classifier".parse().unwrap();
        let of_preset = resolved(named("paper-mnist-dt-learned20"), with(classifier));
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        std::fs::write(&config, "method = \"fm\"\nsteps = 7\nembedding = \"learned:20\"\n")
            .unwrap();
        let layers =
            Layers { config: Some(config), settings: with(classifier), ..Layers::default() };
        let of_file = layers.resolve(|_| Ok(Preset::Mnist)).unwrap().setup;
        for setup in [of_preset, of_file] {
            assert_eq!((setup.method, setup.embedding), (classifier, Embedding::default()));
            setup.build_method().unwrap();
        }
    }

    /// Every preset is found by its name and is a training that can begin.
    #[test]
    fn every_preset_is_a_valid_training() {
        assert_eq!(Preset::all().count(), 2 + 3 + 3 * 13);
        assert_eq!("paper-mnist".parse::<Preset>(), "paper-mnist-dt".parse());
        for preset in Preset::all() {
            let name = preset.to_string();
            assert_eq!(name.parse(), Ok(preset));
            let config = resolved(preset, Settings::default());
            config.build_method().unwrap();
            config.train().validate(50_000).unwrap();
        }
        for unknown in ["papr", "paper-mnist-dt-onehot", "paper-mnist-adjoint-prototype"] {
            assert!(unknown.parse::<Preset>().is_err(), "{unknown}");
        }
    }

    /// A preset is for the data and the network of its name, and can begin with another network or other embeddings.
    #[test]
    fn residual_networks_have_presets() {
        for data in ResnetData::ALL {
            let preset = Preset::Resnet(data);
            let config = resolved(preset, Settings::default());
            assert_eq!(preset.to_string(), format!("resnet-{}", config.dataset));
            assert!(config.network.to_string().starts_with("resnet:") && config.dropout == 0.0);
            let paper = Settings { network: Some(Backbone::Paper), ..Settings::default() };
            assert_eq!(resolved(preset, paper).dropout, 0.2);
            let prototypes =
                Settings { embedding: Some(Embedding::Prototype), ..Settings::default() };
            resolved(preset, prototypes).build_method().unwrap();
        }
    }

    /// The paper's rows hold the values of Table 3, typed here once more, and the method and the embedding of their names.
    #[test]
    fn the_papers_rows_are_those_of_table_3() {
        for data in PaperData::ALL {
            for row in Row::ALL {
                let preset = Preset::Paper(data, row);
                let (name, config) = (preset.to_string(), resolved(preset, Settings::default()));
                assert_eq!(config.dataset.to_string(), data.name().as_str(), "{name}");
                assert_eq!((config.method, config.embedding), (row.method, row.embedding));
                assert_eq!((config.batch_size, config.lr, config.weight_decay), (128, 1e-3, 1e-3));
                let (steps, eta, optimizer, epochs) = match row.method.name {
                    "backprop" => (10, 0.1, OptimizerKind::Adamw, [100, 150, 150]),
                    "dt" => (10, 0.1, OptimizerKind::Adamw, [100, 150, 150]),
                    "adjoint" => (1000, 1.0, OptimizerKind::Adamw, [2, 4, 4]),
                    "ct" => (1000, 1.0, OptimizerKind::Adam, [100, 500, 1000]),
                    _ => (1000, 1.0, OptimizerKind::Adam, [100, 500, 1000]),
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
        let scale = |&method| resolved(Preset::Mnist, with(method)).readout_lr_scale;
        let scales: Vec<f64> = MethodKind::ALL.iter().map(scale).collect();
        assert_eq!(scales, [10.0, 10.0, 10.0, 1.0, 1.0, 1.0]);
    }

    /// The steps of noprop-train's test of the adjoint gradient.
    #[test]
    fn the_adjoint_method_takes_ten_steps_of_heun() {
        let config = resolved(Preset::Mnist, with(MethodKind::ADJOINT));
        assert_eq!((config.solver, config.steps), (Some(Solver::HEUN), 10));
    }

    /// A thousand steps after every epoch take longer than the training, and fewer than those that classify must not become more.
    #[test]
    fn epochs_are_chosen_with_their_own_steps() {
        let steps = |preset, settings| {
            let sampler = resolved(preset, settings).validation_sampler().unwrap();
            sampler.integration.map(|integration| integration.steps.get())
        };
        let (paper, none) = (named("paper-mnist-ct"), Settings::default());
        assert_eq!(steps(paper, none.clone()), Some(50));
        let seven = Settings { validation_steps: Some(7), ..none.clone() };
        assert_eq!(steps(paper, seven), Some(7));
        let few = Settings { steps: Some(20), ..none.clone() };
        assert_eq!(steps(paper, few), None, "those of the run");
        assert_eq!(steps(Preset::Mnist, none), None);
    }

    /// Settings of the method of a preset or of a file have no meaning in another method.
    #[test]
    fn another_method_leaves_what_belongs_to_the_first() {
        for (preset, method) in [
            ("paper-mnist-ct", MethodKind::DT),
            ("paper-mnist-adjoint", MethodKind::CT),
            ("paper-mnist-fm", MethodKind::BACKPROP),
            ("paper-mnist-adjoint", MethodKind::DT),
        ] {
            let settings = Settings { steps: Some(10), ..with(method) };
            let config = resolved(named(preset), settings);
            config.build_method().unwrap();
            assert_eq!(config.validation_steps, None, "{preset} {method}");
        }
    }

    /// Naming the method that a preset has already must not put our defaults in place of the preset's values.
    #[test]
    fn a_method_named_twice_leaves_the_preset_alone() {
        let preset = named("paper-cifar10-ct");
        assert_eq!(resolved(preset, with(MethodKind::CT)), resolved(preset, Settings::default()));
        assert_eq!(resolved(Preset::Mnist, with(MethodKind::CT)).epochs, 10);
    }

    /// Settings from before there was a choice have no such key, and a resume compares the text.
    #[test]
    fn class_weights_are_noted_where_they_are_not_uniform() {
        let weighted = |weights| {
            let settings = Settings { class_weights: Some(weights), ..Settings::default() };
            resolved(Preset::Mnist, settings)
        };
        let text = |setup: &Setup| toml::Table::try_from(setup).unwrap().to_string();
        let usual = resolved(Preset::Mnist, Settings::default());
        assert!(!text(&usual).contains("class-weights"));
        assert_eq!(weighted(ClassWeights::Uniform), usual);
        let balanced = weighted(ClassWeights::Balanced);
        assert!(text(&balanced).contains("class-weights = \"balanced\"\n"));
        assert_eq!(balanced.train().class_weights, ClassWeights::Balanced);
        assert_eq!(balanced.treatment().as_deref(), Some("classes balanced"));
    }
}
