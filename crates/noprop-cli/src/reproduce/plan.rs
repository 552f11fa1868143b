//! What is trained for a table or a figure of the paper, and the command of every training.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use noprop_data::{DatasetName, Presence};
use noprop_method::SamplerKind;

use crate::args::{Args, Command, Reproduce};
use crate::config::{Method, RunConfig};
use crate::shell;
use crate::source::Source;

/// A part of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// Test accuracy of every method
    Table1,
    /// Peak memory of training
    Table2,
    /// Accuracy against training time, where time is continuous
    Fig3,
    /// Ablation: the readouts (the number of this figure is ours)
    Fig4,
    /// Ablation: where class embeddings start (the number of this figure is ours)
    Fig5,
}

/// What is trained for one line of a report, whatever the data set.
#[derive(Debug, PartialEq, Eq)]
pub struct Recipe {
    /// As in `--rows` and in the names of runs.
    pub name: &'static str,
    pub words: &'static str,
    /// Which of the presets `paper-DATA-…` it is.
    preset: &'static str,
    /// What goes on top of the preset.
    flags: &'static [&'static str],
}

macro_rules! recipes {
    ($($id:ident: $name:literal, $words:literal, $preset:literal, [$($flag:literal),*];)*) => {
        $(const $id: Recipe =
            Recipe { name: $name, words: $words, preset: $preset, flags: &[$($flag),*] };)*
    };
}

recipes! {
    BACKPROP: "backprop-onehot", "back-propagation through the same blocks, one-hot", "backprop", [];
    DT: "dt-onehot", "NoProp-DT, one-hot", "dt", [];
    DT_LEARNED: "dt-learned20", "NoProp-DT, learned embeddings, d = 20", "dt", ["--embedding", "learned:20"];
    DT_PROTOTYPE: "dt-prototype", "NoProp-DT, prototype embeddings", "dt", ["--embedding", "prototype"];
    CT: "ct-onehot", "NoProp-CT, one-hot", "ct", [];
    FM: "fm-onehot", "NoProp-FM, one-hot", "fm", [];
    ADJOINT: "adjoint-onehot", "neural ODE trained by the adjoint method, one-hot", "fm", ["--method", "adjoint"];
    DT_POSTERIOR: "dt-onehot-posterior", "NoProp-DT, one-hot, readout by Bayes' rule", "dt", ["--readout", "posterior"];
    DT_LEARNED_POSTERIOR: "dt-learned20-posterior", "NoProp-DT, learned embeddings, d = 20, readout by Bayes' rule", "dt",
        ["--embedding", "learned:20", "--readout", "posterior"];
    DT_LEARNED_RANDOM: "dt-learned20-random", "NoProp-DT, learned embeddings, d = 20, random start", "dt",
        ["--embedding", "learned:20", "--embedding-start", "random"];
    DT_PROTOTYPE_ORTHOGONAL: "dt-prototype-orthogonal", "NoProp-DT, embeddings of an image's size, orthogonal start", "dt",
        ["--embedding", "prototype", "--embedding-start", "orthogonal"];
    DT_PROTOTYPE_RANDOM: "dt-prototype-random", "NoProp-DT, embeddings of an image's size, random start", "dt",
        ["--embedding", "prototype", "--embedding-start", "random"];
}

/// The baseline that Table 2 measures memory against.
pub const BASELINE: &str = BACKPROP.name;
/// The row whose solver steps in training are not the paper's.
pub const ADJOINT_ROW: &str = ADJOINT.name;

impl Target {
    /// As on the command line and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table1 => "table1",
            Self::Table2 => "table2",
            Self::Fig3 => "fig3",
            Self::Fig4 => "fig4",
            Self::Fig5 => "fig5",
        }
    }

    pub fn recipes(self) -> &'static [Recipe] {
        match self {
            Self::Table1 => &[BACKPROP, DT, DT_LEARNED, DT_PROTOTYPE, CT, FM, ADJOINT],
            Self::Table2 => &[BACKPROP, DT, CT, ADJOINT],
            Self::Fig3 => &[CT, FM, ADJOINT],
            Self::Fig4 => &[DT, DT_POSTERIOR, DT_LEARNED, DT_LEARNED_POSTERIOR],
            Self::Fig5 => &[
                DT_LEARNED,
                DT_LEARNED_RANDOM,
                DT_PROTOTYPE,
                DT_PROTOTYPE_ORTHOGONAL,
                DT_PROTOTYPE_RANDOM,
            ],
        }
    }

    /// Whether a trained network is classified with, beside being trained.
    pub fn needs_accuracy(self) -> bool {
        self != Self::Table2
    }
}

/// A recipe on a data set.
pub struct Item {
    pub data: Source,
    pub recipe: &'static Recipe,
    /// Epochs of the preset: the paper's, where the paper has the data set.
    pub usual_epochs: u32,
    /// What the method lets images be classified with.
    pub samplers: &'static [SamplerKind],
}

/// One training of an item.
pub struct Training {
    pub run: PathBuf,
    /// What is typed after `noprop`.
    pub command: Vec<OsString>,
    /// What the run's config.toml must say, but for its `[images]`.
    pub expected: RunConfig,
}

/// A data set that cannot be had, and what to do.
pub struct Missing {
    pub data: String,
    pub reason: String,
}

/// What a call of `noprop reproduce` comes to, as far as it is known before anything is trained.
pub struct Plan<'a> {
    pub args: &'a Reproduce,
    pub items: Vec<Item>,
    pub missing: Vec<Missing>,
}

impl<'a> Plan<'a> {
    /// # Errors
    /// A row that the target does not have; no data set that is there.
    pub fn new(args: &'a Reproduce) -> Result<Self> {
        let recipes = chosen(args)?;
        let paper = [DatasetName::Mnist, DatasetName::Cifar10, DatasetName::Cifar100];
        let mut wanted: Vec<Source> = args.dataset.clone();
        if wanted.is_empty() {
            wanted = paper.map(Source::Known).into();
        }
        let (mut items, mut missing) = (Vec::new(), Vec::new());
        for (index, data) in wanted.iter().enumerate() {
            if wanted[..index].contains(data) {
                continue;
            }
            ensure!(
                wanted[..index].iter().all(|other| other.name() != data.name()),
                "two data sets are called `{}`, and runs are named after them: give each an --out of its own",
                data.name()
            );
            if let Some(reason) = absence(data, &args.data_dir) {
                missing.push(Missing { data: data.to_string(), reason });
                continue;
            }
            for &recipe in &recipes {
                items.push(Item::new(data.clone(), recipe)?);
            }
        }
        if items.is_empty() {
            let reasons: Vec<&str> = missing.iter().map(|gap| gap.reason.as_str()).collect();
            bail!("none of the data sets is there: {}", reasons.join("; "));
        }
        Ok(Self { args, items, missing })
    }

    /// The training of `item` for so many epochs with a seed.
    pub fn training(&self, item: &Item, epochs: u32, seed: u32) -> Result<Training> {
        let name = format!("{}-{}-{epochs}-epochs-seed-{seed}", item.data.name(), item.recipe.name);
        let run = self.args.out.join("runs").join(name);
        let mut command = item.settings();
        command.extend(["--epochs".into(), epochs.to_string().into()]);
        command.extend(["--seed".into(), seed.to_string().into()]);
        command.extend(self.data_dir(&item.data));
        command.extend(self.threads());
        command.extend(["--out".into(), run.clone().into()]);
        let expected = resolved(&command)?;
        Ok(Training { run, command, expected })
    }

    /// How a stopped training is taken up again.
    pub fn resumption(&self, item: &Item, run: &Path) -> Vec<OsString> {
        let mut command: Vec<OsString> = vec!["train".into(), "--resume".into(), run.into()];
        command.extend(self.data_dir(&item.data));
        command.extend(self.threads());
        command
    }

    /// How a run classifies the test images, from noise of its own for every `seed`.
    pub fn evaluation(
        &self,
        item: &Item,
        run: &Path,
        sampler: SamplerKind,
        seed: &str,
    ) -> Vec<OsString> {
        let mut command: Vec<OsString> = vec!["eval".into(), "--run".into(), run.into()];
        command.extend(["--sampler".into(), sampler.to_string().into()]);
        command.extend(["--seed".into(), seed.into()]);
        command.extend(self.data_dir(&item.data));
        command.extend(self.threads());
        command
    }

    /// Where data sets lie, if this one lies anywhere and not where it is looked for anyway.
    fn data_dir(&self, data: &Source) -> Vec<OsString> {
        let elsewhere = matches!(data, Source::Known(name) if *name != DatasetName::MnistSample);
        let folder = &self.args.data_dir;
        if elsewhere && folder != Path::new("data") {
            vec!["--data-dir".into(), folder.into()]
        } else {
            Vec::new()
        }
    }

    fn threads(&self) -> Vec<OsString> {
        let flag = |threads: std::num::NonZeroUsize| -> Vec<OsString> {
            vec!["--threads".into(), threads.to_string().into()]
        };
        self.args.threads.map(flag).unwrap_or_default()
    }
}

impl Item {
    fn new(data: Source, recipe: &'static Recipe) -> Result<Self> {
        let mut item = Self { data, recipe, usual_epochs: 0, samplers: &[] };
        // The adjoint baseline's own number of epochs is ours; the preset's is the paper's.
        let preset: Vec<OsString> =
            ["train", "--preset", &item.preset()].into_iter().map(OsString::from).collect();
        item.usual_epochs = resolved(&preset)?.epochs;
        let config = resolved(&item.settings())?;
        config.objective().with_context(|| format!("the row {}", recipe.name))?;
        item.samplers = match config.method {
            Method::Dt | Method::Ct => &[SamplerKind::Stochastic, SamplerKind::Mean],
            // No noise enters after the start, so both samplers are the same.
            Method::Fm | Method::Backprop | Method::Adjoint => &[SamplerKind::Stochastic],
        };
        Ok(item)
    }

    fn preset(&self) -> String {
        let data = match self.data {
            Source::Known(DatasetName::Cifar10) => "cifar10",
            Source::Known(DatasetName::Cifar100) => "cifar100",
            // What the paper has no settings for is trained as MNIST is.
            Source::Known(_) | Source::Folder(_) => "mnist",
        };
        format!("paper-{data}-{}", self.recipe.preset)
    }

    /// The command up to what differs from call to call.
    fn settings(&self) -> Vec<OsString> {
        let mut command: Vec<OsString> = vec!["train".into(), "--preset".into()];
        command.extend([self.preset().into(), "--dataset".into(), self.data.to_string().into()]);
        command.extend(self.recipe.flags.iter().map(OsString::from));
        if self.data == Source::Known(DatasetName::MnistSample) {
            // The presets hold out 5,000, which is more than there is.
            command.extend(["--validation".into(), "500".into()]);
        }
        command
    }
}

/// The rows that were asked for, in the table's order.
fn chosen(args: &Reproduce) -> Result<Vec<&'static Recipe>> {
    let all = args.what.recipes();
    let names: Vec<&str> = all.iter().map(|recipe| recipe.name).collect();
    for row in &args.rows {
        ensure!(
            names.contains(&row.as_str()),
            "{} has no row `{row}`: choose among {}",
            args.what.name(),
            names.join(", ")
        );
    }
    let wanted =
        |recipe: &&Recipe| args.rows.is_empty() || args.rows.iter().any(|row| row == recipe.name);
    Ok(all.iter().filter(wanted).collect())
}

/// Why a data set cannot be trained on, and what to do.
fn absence(data: &Source, data_dir: &Path) -> Option<String> {
    match data {
        Source::Known(name) => match name.presence(data_dir) {
            Presence::Bundled | Presence::Complete { .. } => None,
            Presence::Incomplete { folder, missing } => {
                let elsewhere = match data_dir == Path::new("data") {
                    true => String::new(),
                    false => format!(" --data-dir {}", data_dir.display()),
                };
                Some(format!(
                    "{} lacks {}: run `noprop fetch {name}{elsewhere}` first",
                    folder.display(),
                    missing.join(", ")
                ))
            }
        },
        Source::Folder(path) => {
            let lacks = ["train", "test"].into_iter().find(|half| !path.join(half).is_dir())?;
            let path = path.display();
            Some(format!("{path} has no folder {lacks}: put pictures into {path}/{lacks}/CLASS"))
        }
    }
}

/// What a command would train.
fn resolved(command: &[OsString]) -> Result<RunConfig> {
    let line = std::iter::once(OsString::from("noprop")).chain(command.iter().cloned());
    match Args::try_parse_from(line).context("a row's command")?.command {
        Command::Train(train) => {
            let preset = train.preset.context("a row's command has no preset")?;
            Ok(RunConfig::resolve(preset, &train)?.0)
        }
        _ => bail!("a row's command trains nothing"),
    }
}

/// A command as one would type it.
pub fn typed(command: &[OsString]) -> String {
    let words: Vec<String> = command.iter().map(|word| shell::word(word)).collect();
    format!("noprop {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn reproduce(flags: &[&str]) -> Reproduce {
        let line = ["noprop", "reproduce"].iter().chain(flags);
        match Args::try_parse_from(line).unwrap().command {
            Command::Reproduce(args) => args,
            _ => panic!("not a reproduction"),
        }
    }

    /// Each row of each table is a training that can begin, on every data set; a row's name means the same everywhere.
    #[test]
    fn every_row_is_a_valid_training() {
        let mut seen: Vec<&Recipe> = Vec::new();
        for target in Target::value_variants() {
            for recipe in target.recipes() {
                match seen.iter().find(|known| known.name == recipe.name) {
                    Some(known) => assert_eq!(*known, recipe),
                    None => seen.push(recipe),
                }
                for data in DatasetName::ALL {
                    let item = Item::new(Source::Known(data), recipe).unwrap();
                    assert!(item.usual_epochs >= 100, "{data} {}", recipe.name);
                }
            }
        }
        assert!(seen.iter().any(|recipe| recipe.name == BASELINE));
    }

    /// What a row's command says is what is trained, and the paper's data are trained with the paper's settings.
    #[test]
    fn a_row_is_its_command() {
        let args = reproduce(&["table1", "--dataset", "mnist-sample", "--out", "a b"]);
        let plan = Plan::new(&args).unwrap();
        let item = plan.items.iter().find(|item| item.recipe.name == "dt-learned20").unwrap();
        let training = plan.training(item, 7, 2).unwrap();
        assert_eq!(
            typed(&training.command),
            "noprop train --preset paper-mnist-dt --dataset mnist-sample --embedding learned:20 --validation 500 --epochs 7 \
             --seed 2 --out 'a b/runs/mnist-sample-dt-learned20-7-epochs-seed-2'"
        );
        assert_eq!((training.expected.epochs, training.expected.seed), (7, 2));
        let cifar = Item::new(Source::Known(DatasetName::Cifar100), &FM).unwrap();
        assert_eq!((cifar.preset().as_str(), cifar.usual_epochs), ("paper-cifar100-fm", 1000));
        assert_eq!(cifar.samplers.len(), 1);
    }

    #[test]
    fn rows_are_chosen_by_name_and_data_sets_once() {
        let args = reproduce(&[
            "table1",
            "--dataset",
            "mnist-sample",
            "mnist-sample",
            "cifar10",
            "--data-dir",
            "/nowhere",
            "--rows",
            "fm-onehot,dt-onehot",
        ]);
        let plan = Plan::new(&args).unwrap();
        let rows: Vec<_> = plan.items.iter().map(|item| item.recipe.name).collect();
        assert_eq!(rows, ["dt-onehot", "fm-onehot"]);
        assert_eq!(plan.missing.len(), 1);
        assert!(plan.missing[0].reason.contains("noprop fetch cifar10 --data-dir /nowhere"));
        let args = reproduce(&["fig3", "--rows", "dt-onehot", "--dataset", "mnist-sample"]);
        assert!(Plan::new(&args).is_err());
        let args = reproduce(&["fig3", "--dataset", "mnist-sample", "folder:a/mnist-sample"]);
        assert!(Plan::new(&args).is_err(), "their runs would have the same names");
    }
}
