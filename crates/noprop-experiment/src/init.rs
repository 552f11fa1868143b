//! A training that starts from the weights of another run.

use std::io;
use std::path::Path;

use noprop_data::{DatasetName, FolderOptions, Half, Listing};
use noprop_method::{Denoiser, Parameter, ScheduleSource};
use noprop_models::Network;
use noprop_train::{RunDirectory, read_weights};

use crate::error::{Context, Error, Result, bail, ensure};
use crate::experiment::Experiment;
use crate::kept::Kept;
use crate::progress::{Progress, Remark};
use crate::settings::{Init, Setup};
use crate::shell::quoted;
use crate::source::Source;

/// The run in `path` as it is now, for another one to start from its weights.
///
/// # Errors
/// If there is no run or it has no weights yet.
pub(crate) fn init_of(path: &Path) -> Result<Init> {
    let run = RunDirectory::open(path)?;
    let model = run.model();
    ensure!(
        model.is_file(),
        "{} has no weights to start from: its training has not come to the end of an epoch, or its units are not merged yet",
        path.display()
    );
    let run = std::path::absolute(path)
        .with_context(|| format!("cannot find the absolute path of {}", path.display()))?;
    Ok(Init { run, sha256: sha256(&model)? })
}

/// The run that weights come from, known to hold the weights that the settings mean.
pub(crate) struct Initial {
    pub experiment: Experiment,
    pub kept: Kept,
    run: RunDirectory,
}

impl Initial {
    /// Opens the run, if its weights are still those that the settings mean.
    pub fn open(init: &Init) -> Result<Self> {
        let run = RunDirectory::open(&init.run)
            .context("the run that this training starts from cannot be read")?;
        ensure!(
            sha256(&run.model())? == init.sha256,
            "the weights in {} are not those that this training starts from (another SHA-256)",
            run.path().display()
        );
        let experiment = Experiment::read(&run.config())?;
        let kept = Kept::read(&run)?;
        Ok(Self { experiment, kept, run })
    }

    /// Sets the shape of pictures to the one that the weights were trained for.
    pub fn shape(&self, options: &mut FolderOptions) {
        let images = &self.experiment.images;
        if options.size.is_none() {
            options.size = Some((images.height, images.width));
        }
        options.channels = Some(images.channels);
    }

    /// Remarks on images of `ours`, whose files are `listing`, that the weights were trained on.
    pub fn learned(&self, ours: &Experiment, listing: &Listing) -> Vec<String> {
        let mut faults = Vec::new();
        let run = quoted(self.run.path());
        if let Some(kept) = &self.kept.listing {
            let trained = |half| listing.shared_with(half, kept, Half::Train);
            let learned = |half| trained(half) + listing.shared_with(half, kept, Half::Validation);
            for half in [Half::Test, Half::Validation] {
                // Of known data sets the files of a half are shared as a whole.
                let count = learned(half);
                if count > 0 {
                    faults.push(format!("{count} {} image(s) or file(s) are training images of {run}, where the weights come from", half.adjective()));
                }
            }
        }
        let (theirs, images) = (&self.experiment.setup, &self.experiment.images);
        let sample = Source::Known(DatasetName::MnistSample);
        if ours.setup.dataset == sample && theirs.dataset == Source::Known(DatasetName::Mnist) {
            faults.push(format!(
                "the images of {sample} are training images of {run}, where the weights come from"
            ));
        }
        let (old, new) = (&images.class_names, &ours.images.class_names);
        if old != new && old.len() == new.len() {
            faults.push(format!("the classes have other names or another order than in {run}: its weights are taken class by class, in order"));
        }
        let held_out = |setup: &Setup| (setup.seed, setup.validation);
        if ours.setup.dataset == theirs.dataset && held_out(&ours.setup) != held_out(theirs) {
            faults.push(format!("held-out images are training images of {run}, where the weights come from: it had another seed or validation"));
        }
        faults
    }

    /// Puts the weights into `network`. Parameters that depend on the number of classes begin anew where that number differs.
    pub fn give_to(
        &self,
        network: &Network,
        ours: &Experiment,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let run = self.run.path().display();
        let weights = read_weights(&self.run.model())?.tensors;
        let classes = |experiment: &Experiment| experiment.images.class_names.len();
        let same_classes = classes(&self.experiment) == classes(ours);
        let needs = ours.setup.build_method()?.needs();
        if needs.blocks > 1 && needs.schedule == ScheduleSource::Network {
            let method = ours.setup.method;
            let reason = format!(
                "cannot start {method} with several intervals: their places depend on the noise schedule before training"
            );
            return Err(Error::setting("init", reason));
        }
        let (mut taken, mut fresh) = (0, Vec::new());
        for parameter in network.parameters().iter() {
            match weights.get(&parameter.name) {
                Some(tensor) if tensor.shape() == parameter.var.shape() => {
                    parameter.var.set(&tensor.to_device(parameter.var.device())?)?;
                    taken += 1;
                }
                Some(tensor) if same_classes || is_of_images(parameter) => bail!(
                    "the weights in {run} are of another network: {} has the shape {:?} there and {:?} here; use its settings of network and images",
                    parameter.name,
                    tensor.dims(),
                    parameter.var.dims()
                ),
                None if is_of_images(parameter) => {
                    bail!(
                        "the weights in {run} are of another network: {} is not there",
                        parameter.name
                    )
                }
                Some(_) | None => fresh.push(parameter.name.as_str()),
            }
        }
        let fresh = match fresh.as_slice() {
            [] => String::new(),
            [one] => format!("; {one} begins anew"),
            [first, .., last] => format!("; {} begin anew, from {first} to {last}", fresh.len()),
        };
        progress.remark(Remark::Note(format!(
            "weights from {}: {taken} tensors taken{fresh}",
            quoted(self.run.path())
        )));
        Ok(())
    }
}

/// Returns whether a parameter belongs to an image branch, which does not depend on the classes.
fn is_of_images(parameter: &Parameter) -> bool {
    parameter.name.split('.').any(|word| word == "image")
}

/// The SHA-256 of a file.
fn sha256(path: &Path) -> Result<String> {
    let reading = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).with_context(reading)?;
    noprop_data::sha256_of(io::BufReader::new(file)).with_context(reading)
}
