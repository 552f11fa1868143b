//! The trainings of a table or a figure of the paper.

use std::path::{Path, PathBuf};
use std::time::Duration;

use noprop_data::{DatasetName, Presence};
use noprop_method::{MethodKind, Time};

use super::target::{Recipe, Target};
use super::worker::{Classification, Command, Training, Worker};
use crate::error::{Context, Error, Result, bail, ensure};
use crate::layers::Layers;
use crate::paper::PaperData;
use crate::preset::Preset;
use crate::settings::{Settings, Setup};
use crate::source::Source;

/// A reproduction.
#[derive(Debug, Clone)]
pub struct Request {
    /// The table or figure.
    pub what: Target,
    /// The data sets; without any the paper's.
    pub dataset: Vec<Source>,
    /// The rows by name; without any all.
    pub rows: Vec<String>,
    /// Trainings of each row; without a number that of the target.
    pub seeds: Option<u32>,
    /// Classifications of the test images with each training and sampler.
    pub runs: u32,
    /// Epochs of every training; without a number the paper's, and one for memory.
    pub epochs: Option<u32>,
    /// The solver's steps of a classification in place of the paper's, where time is continuous.
    pub eval_steps: Option<u32>,
    /// The time for all of it, instead of epochs: each row has an equal share.
    pub budget: Option<Duration>,
    /// The folder for the report, its figures and the runs.
    pub out: PathBuf,
    /// The folder that holds the data sets.
    pub data_dir: PathBuf,
    /// The command of the reproduction as it is typed, for the report.
    pub command: String,
}

/// A recipe on a data set.
pub struct Item {
    /// The images.
    pub data: Source,
    /// The row.
    pub recipe: Recipe,
    /// The settings, with the epochs of the preset: the paper's, where the paper has the data set.
    pub setup: Setup,
    /// The solver's steps of a classification in place of the preset's, where time is continuous.
    pub eval_steps: Option<u32>,
    /// The solver's steps that a training is given in place of the preset's.
    training_steps: Option<u32>,
}

/// A data set that cannot be had, and what to do.
pub struct Missing {
    /// The data set.
    pub data: String,
    /// The files that are missing, and what to do.
    pub reason: String,
}

/// The work of a reproduction, as far as it is known before anything is trained.
pub struct Plan<'a> {
    /// The request.
    pub request: &'a Request,
    /// The rows on each data set.
    pub items: Vec<Item>,
    /// The data sets that are not there.
    pub missing: Vec<Missing>,
}

impl<'a> Plan<'a> {
    /// Plans a reproduction.
    ///
    /// # Errors
    /// If the target does not have a row, or no data set is there.
    pub fn new(request: &'a Request, worker: &dyn Worker) -> Result<Self> {
        let recipes = chosen(request)?;
        let mut wanted: Vec<Source> = request.dataset.clone();
        if wanted.is_empty() {
            wanted = request.what.data();
        }
        let (mut items, mut missing) = (Vec::new(), Vec::new());
        for (index, data) in wanted.iter().enumerate() {
            if wanted[..index].contains(data) {
                continue;
            }
            if wanted[..index].iter().any(|other| other.name() == data.name()) {
                return Err(Error::SameName { name: data.name() });
            }
            if let Some(reason) = absence(data, &request.data_dir, worker) {
                missing.push(Missing { data: data.to_string(), reason });
                continue;
            }
            for &recipe in &recipes {
                items.push(Item::new(data.clone(), recipe, request.eval_steps)?);
            }
        }
        let continuous = |item: &Item| item.setup.method.time == Time::Continuous;
        if request.eval_steps.is_some() && !items.is_empty() && !items.iter().any(continuous) {
            let what = request.what.name();
            let reason = format!("is for rows of ct, fm and adjoint, and {what} has none");
            return Err(Error::setting("eval-steps", reason));
        }
        if items.is_empty() {
            let reasons: Vec<&str> = missing.iter().map(|gap| gap.reason.as_str()).collect();
            bail!("none of the data sets is there: {}", reasons.join("; "));
        }
        Ok(Self { request, items, missing })
    }

    /// The number of trainings of a row.
    pub fn seeds(&self) -> u32 {
        self.request.seeds.unwrap_or_else(|| self.request.what.seeds())
    }

    /// The training of `item` for a number of epochs with a seed.
    ///
    /// # Errors
    /// If its settings cannot be put together.
    pub fn training(&self, item: &Item, epochs: u32, seed: u32) -> Result<Training> {
        let (data, row) = (item.data.name(), item.recipe.name());
        let steps = item.training_steps.map_or_else(String::new, |steps| format!("-{steps}-steps"));
        let name = format!("{data}-{row}-{epochs}-epochs{steps}-seed-{seed}");
        let run = self.request.out.join("runs").join(name);
        item.training(epochs, seed, run)
    }
}

impl Item {
    fn new(data: Source, recipe: Recipe, eval_steps: Option<u32>) -> Result<Self> {
        let method = recipe.row.method;
        let usual = resolved(&data, recipe, Settings::default())?;
        let eval_steps = eval_steps.filter(|&steps| {
            method.time == Time::Continuous && usize::try_from(steps) != Ok(usual.steps)
        });
        // The adjoint method trains with its steps as well: there they stay the paper's.
        let training_steps = eval_steps.filter(|_| method != MethodKind::ADJOINT);
        let setup = match training_steps {
            None => usual,
            Some(_) => resolved(&data, recipe, with_steps(training_steps))?,
        };
        setup.build_method().with_context(|| format!("the row {}", recipe.name()))?;
        Ok(Self { data, recipe, setup, eval_steps, training_steps })
    }

    fn training(&self, epochs: u32, seed: u32, run: PathBuf) -> Result<Training> {
        let settings = Settings {
            epochs: Some(epochs),
            seed: Some(seed.into()),
            ..with_steps(self.training_steps)
        };
        Ok(Training {
            data: self.data.clone(),
            preset: preset(&self.data, self.recipe),
            change: self.recipe.change,
            steps: self.training_steps,
            validation: held_out(&self.data),
            epochs,
            seed,
            run,
            expected: resolved(&self.data, self.recipe, settings)?,
        })
    }

    /// The command that classifies images with a run of this item.
    pub fn classification<'a>(&'a self, run: &'a Path, asked: Classification) -> Command<'a> {
        Command::Classify { run, data: &self.data, asked, steps: self.eval_steps }
    }

    /// Epochs of the preset.
    pub fn usual_epochs(&self) -> u32 {
        self.setup.epochs
    }

    /// The solver's steps of a classification, where time is continuous.
    pub fn solver_steps(&self) -> Option<usize> {
        let steps = self.eval_steps.map_or(self.setup.steps, |steps| steps as usize);
        (self.setup.method.time == Time::Continuous).then_some(steps)
    }
}

/// The preset of a row. What the paper has no settings for is trained as MNIST is.
fn preset(data: &Source, recipe: Recipe) -> Preset {
    Preset::Paper(PaperData::of(data).unwrap_or(PaperData::Mnist), recipe.row)
}

/// The number of images held out, where it is not the preset's: the presets hold out 5,000, which is more than the sample has.
fn held_out(data: &Source) -> Option<usize> {
    (*data == Source::Known(DatasetName::MnistSample)).then_some(500)
}

fn with_steps(steps: Option<u32>) -> Settings {
    Settings { steps: steps.map(|steps| steps as usize), ..Settings::default() }
}

/// The settings of a row on a data set, with `others` on top.
fn resolved(data: &Source, recipe: Recipe, others: Settings) -> Result<Setup> {
    let of_data =
        Settings { dataset: Some(data.clone()), validation: held_out(data), ..Settings::default() };
    let settings = others.over(of_data).over(recipe.change.settings());
    let preset = preset(data, recipe);
    let layers = Layers { preset: Some(preset), settings, ..Layers::default() };
    Ok(layers.resolve(|_| Ok(preset))?.setup)
}

/// The rows that were asked for, in the table's order.
fn chosen(request: &Request) -> Result<Vec<Recipe>> {
    let all = request.what.recipes();
    let names: Vec<String> = all.iter().map(|recipe| recipe.name()).collect();
    for row in &request.rows {
        ensure!(
            names.contains(row),
            "{} has no row `{row}`: choose among {}",
            request.what.name(),
            names.join(", ")
        );
    }
    let wanted = |recipe: &Recipe| request.rows.is_empty() || request.rows.contains(&recipe.name());
    Ok(all.into_iter().filter(wanted).collect())
}

/// The reason why a data set cannot be trained on, and what to do.
fn absence(data: &Source, data_dir: &Path, worker: &dyn Worker) -> Option<String> {
    match data {
        Source::Known(name) => match name.presence(data_dir) {
            Presence::Bundled | Presence::Complete { .. } => None,
            Presence::Incomplete { folder, missing } => Some(format!(
                "{} lacks {}: {}",
                folder.display(),
                missing.join(", "),
                worker.fetching(*name)
            )),
        },
        Source::Folder(path) => {
            let lacks = ["train", "test"].into_iter().find(|half| !path.join(half).is_dir())?;
            let path = path.display();
            Some(format!("{path} has no folder {lacks}: put pictures into {path}/{lacks}/CLASS"))
        }
        Source::Memory => Some(format!("the data set {data} is not in a file")),
    }
}

#[cfg(test)]
mod tests {
    use noprop_models::Embedding;

    use super::*;
    use crate::paper::Row;
    use crate::reproduce::target::Change;

    /// Each row of each table is a training that can begin, on every data set, and no two rows have one name.
    #[test]
    fn every_row_is_a_valid_training() {
        for target in Target::ALL {
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

    /// The paper's data are trained with the paper's settings.
    #[test]
    fn a_row_has_the_papers_settings() {
        let fm =
            Recipe { row: Row::new(MethodKind::FM, Embedding::Onehot), change: Change::Nothing };
        let cifar = Item::new(Source::Known(DatasetName::Cifar100), fm, None).unwrap();
        assert_eq!((cifar.usual_epochs(), cifar.setup.method.samplers.len()), (1000, 1));
        let training = cifar.training(7, 2, "run".into()).unwrap();
        assert_eq!(training.preset.to_string(), "paper-cifar100-fm");
        assert_eq!((training.expected.epochs, training.expected.seed), (7, 2));
    }
}
