//! The trainings of a table or a figure of the paper, and the command of each.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use noprop_data::{DatasetName, Presence};
use noprop_method::SamplerKind;

use super::target::Recipe;
use crate::args::{Args, Command, Reproduce};
use crate::config::{Method, RunConfig};
use crate::paper::PaperData;
use crate::preset::Preset;
use crate::shell;
use crate::source::Source;

/// A recipe on a data set.
pub struct Item {
    pub data: Source,
    pub recipe: Recipe,
    /// The settings, with the epochs of the preset: the paper's, where the paper has the data set.
    pub config: RunConfig,
    /// The samplers that differ for the method, the paper's first.
    pub samplers: &'static [SamplerKind],
    /// The solver's steps of a classification in place of the preset's, where time is continuous.
    pub eval_steps: Option<u32>,
    /// The solver's steps that a training is given in place of the preset's.
    training_steps: Option<u32>,
    /// The command of a training up to what differs from call to call.
    settings: Vec<OsString>,
}

/// A classification with a trained network, from noise of its own for every seed.
#[derive(Debug, Clone, Copy)]
pub struct Classification {
    pub images: Images,
    pub sampler: SamplerKind,
    pub seed: u32,
}

/// The images that are classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// Those that the network was trained on.
    Training,
    Test,
}

impl Images {
    /// The name in `noprop eval --split`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "train",
            Self::Test => "test",
        }
    }
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
        let mut wanted: Vec<Source> = args.dataset.clone();
        if wanted.is_empty() {
            wanted = args.what.data();
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
                items.push(Item::new(data.clone(), recipe, args.eval_steps)?);
            }
        }
        let continuous = |item: &Item| item.config.method.is_continuous();
        ensure!(
            args.eval_steps.is_none() || items.is_empty() || items.iter().any(continuous),
            "--eval-steps is for rows of ct, fm and adjoint, and {} has none",
            args.what.name()
        );
        if items.is_empty() {
            let reasons: Vec<&str> = missing.iter().map(|gap| gap.reason.as_str()).collect();
            bail!("none of the data sets is there: {}", reasons.join("; "));
        }
        Ok(Self { args, items, missing })
    }

    /// The number of trainings of a row.
    pub fn seeds(&self) -> u32 {
        self.args.seeds.unwrap_or_else(|| self.args.what.seeds())
    }

    /// The training of `item` for so many epochs with a seed.
    pub fn training(&self, item: &Item, epochs: u32, seed: u32) -> Result<Training> {
        let (data, row) = (item.data.name(), item.recipe.name());
        let steps = item.training_steps.map_or_else(String::new, |steps| format!("-{steps}-steps"));
        let name = format!("{data}-{row}-{epochs}-epochs{steps}-seed-{seed}");
        let run = self.args.out.join("runs").join(name);
        let mut command = item.settings.clone();
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

    /// How a run classifies images.
    pub fn evaluation(&self, item: &Item, run: &Path, asked: Classification) -> Vec<OsString> {
        let mut command: Vec<OsString> = vec!["eval".into(), "--run".into(), run.into()];
        if asked.images != Images::Test {
            command.extend(["--split".into(), asked.images.name().into()]);
        }
        command.extend(["--sampler".into(), asked.sampler.to_string().into()]);
        if let Some(steps) = item.eval_steps {
            command.extend(["--steps".into(), steps.to_string().into()]);
        }
        command.extend(["--seed".into(), asked.seed.to_string().into()]);
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
    fn new(data: Source, recipe: Recipe, eval_steps: Option<u32>) -> Result<Self> {
        let method = recipe.row.method;
        let usual = resolved(&settings(&data, recipe, None))?.steps;
        let eval_steps = eval_steps
            .filter(|&steps| method.is_continuous() && usize::try_from(steps) != Ok(usual));
        // The adjoint method trains with its steps as well: there they stay the paper's.
        let training_steps = eval_steps.filter(|_| method != Method::Adjoint);
        let settings = settings(&data, recipe, training_steps);
        let config = resolved(&settings)?;
        config.objective().with_context(|| format!("the row {}", recipe.name()))?;
        let samplers = match method {
            Method::Dt | Method::Ct => &[SamplerKind::Stochastic, SamplerKind::Mean][..],
            // No noise enters after the start, so both samplers are the same.
            Method::Fm | Method::Backprop | Method::Adjoint => &[SamplerKind::Stochastic],
        };
        Ok(Self { data, recipe, config, samplers, eval_steps, training_steps, settings })
    }

    /// Epochs of the preset.
    pub fn usual_epochs(&self) -> u32 {
        self.config.epochs
    }

    /// The solver's steps of a classification, where time is continuous.
    pub fn solver_steps(&self) -> Option<usize> {
        let steps = self.eval_steps.map_or(self.config.steps, |steps| steps as usize);
        self.config.method.is_continuous().then_some(steps)
    }
}

/// The command of a row on a data set, up to what differs from call to call.
fn settings(data: &Source, recipe: Recipe, steps: Option<u32>) -> Vec<OsString> {
    // What the paper has no settings for is trained as MNIST is.
    let preset = Preset::Paper(PaperData::of(data).unwrap_or(PaperData::Mnist), recipe.row);
    let mut command: Vec<OsString> = vec!["train".into(), "--preset".into()];
    command.extend([preset.to_string().into(), "--dataset".into(), data.to_string().into()]);
    if let Some((flag, value)) = recipe.change.flag() {
        command.extend([flag.into(), value.into()]);
    }
    if let Some(steps) = steps {
        command.extend(["--steps".into(), steps.to_string().into()]);
    }
    if *data == Source::Known(DatasetName::MnistSample) {
        // The presets hold out 5,000, which is more than there is.
        command.extend(["--validation".into(), "500".into()]);
    }
    command
}

/// The rows that were asked for, in the table's order.
fn chosen(args: &Reproduce) -> Result<Vec<Recipe>> {
    let all = args.what.recipes();
    let names: Vec<String> = all.iter().map(|recipe| recipe.name()).collect();
    for row in &args.rows {
        ensure!(
            names.contains(row),
            "{} has no row `{row}`: choose among {}",
            args.what.name(),
            names.join(", ")
        );
    }
    let wanted = |recipe: &Recipe| args.rows.is_empty() || args.rows.contains(&recipe.name());
    Ok(all.into_iter().filter(wanted).collect())
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
    use noprop_models::Embedding;

    use super::*;
    use crate::paper::Row;
    use crate::reproduce::target::{Change, Target};

    fn reproduce(flags: &[&str]) -> Reproduce {
        let line = ["noprop", "reproduce"].iter().chain(flags);
        match Args::try_parse_from(line).unwrap().command {
            Command::Reproduce(args) => args,
            _ => panic!("not a reproduction"),
        }
    }

    /// Each row of each table is a training that can begin, on every data set, and no two rows have one name.
    #[test]
    fn every_row_is_a_valid_training() {
        for target in Target::value_variants() {
            let recipes = target.recipes();
            let names: std::collections::BTreeSet<_> = recipes.iter().map(|r| r.name()).collect();
            assert_eq!(names.len(), recipes.len(), "{names:?}");
            for recipe in recipes {
                for data in DatasetName::ALL {
                    Item::new(Source::Known(data), recipe, None).unwrap();
                }
            }
        }
    }

    /// The command of a row says what is trained, and the paper's data are trained with the paper's settings.
    #[test]
    fn a_row_is_its_command() {
        let args = reproduce(&["table1", "--dataset", "mnist-sample", "--out", "a b"]);
        let plan = Plan::new(&args).unwrap();
        let item = plan.items.iter().find(|item| item.recipe.name() == "dt-learned20").unwrap();
        let training = plan.training(item, 7, 2).unwrap();
        assert_eq!(
            typed(&training.command),
            "noprop train --preset paper-mnist-dt-learned20 --dataset mnist-sample --validation 500 --epochs 7 --seed 2 \
             --out 'a b/runs/mnist-sample-dt-learned20-7-epochs-seed-2'"
        );
        assert_eq!((training.expected.epochs, training.expected.seed), (7, 2));
        let fm = Recipe { row: Row::new(Method::Fm, Embedding::Onehot), change: Change::Nothing };
        let cifar = Item::new(Source::Known(DatasetName::Cifar100), fm, None).unwrap();
        assert_eq!((cifar.usual_epochs(), cifar.samplers.len()), (1000, 1));
        assert!(cifar.settings.contains(&"paper-cifar100-fm".into()));
    }

    /// Other solver steps are another training where they choose its epoch, and never change what the adjoint method learns.
    #[test]
    fn solver_steps_concern_continuous_time_alone() {
        let args = reproduce(&["table1", "--dataset", "mnist-sample", "--eval-steps", "30"]);
        let plan = Plan::new(&args).unwrap();
        let commands = |row: &str| {
            let item = plan.items.iter().find(|item| item.recipe.name() == row).unwrap();
            let training = plan.training(item, 1, 0).unwrap();
            let asked = Classification {
                images: Images::Training,
                sampler: SamplerKind::Stochastic,
                seed: 4,
            };
            let eval = plan.evaluation(item, Path::new("RUN"), asked);
            (typed(&training.command), typed(&eval))
        };
        let (train, eval) = commands("ct-onehot");
        assert!(train.contains(" --steps 30 ") && train.contains("-1-epochs-30-steps-seed-0"));
        assert_eq!(
            eval,
            "noprop eval --run RUN --split train --sampler stochastic --steps 30 --seed 4"
        );
        let (train, eval) = commands("adjoint-onehot");
        assert!(!train.contains("steps") && eval.contains(" --steps 30 "), "{train} {eval}");
        let (train, eval) = commands("dt-onehot");
        assert!(!train.contains("steps") && !eval.contains("steps"), "{train} {eval}");
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
        let rows: Vec<_> = plan.items.iter().map(|item| item.recipe.name()).collect();
        assert_eq!(rows, ["dt-onehot", "fm-onehot"]);
        assert_eq!(plan.missing.len(), 1);
        assert!(plan.missing[0].reason.contains("noprop fetch cifar10 --data-dir /nowhere"));
        let args = reproduce(&["fig3", "--rows", "dt-onehot", "--dataset", "mnist-sample"]);
        assert!(Plan::new(&args).is_err());
        let args = reproduce(&["fig3", "--dataset", "mnist-sample", "folder:a/mnist-sample"]);
        assert!(Plan::new(&args).is_err(), "their runs would have the same names");
    }
}
