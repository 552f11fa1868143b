//! `train --init RUN`: a training that starts from the weights of another run.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use noprop_data::{DatasetName, FolderOptions, Half, Listing};
use noprop_method::{Denoiser, Parameter};
use noprop_models::Network;
use noprop_train::{RunDirectory, read_weights};
use serde::{Deserialize, Serialize};

use crate::config::{Method, RunConfig};
use crate::kept::Kept;
use crate::output::note;
use crate::shell::quoted;
use crate::source::Source;
use crate::task::Task;

/// The run that the first weights come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Init {
    /// Its run directory.
    pub run: PathBuf,
    /// The SHA-256 of its `model.safetensors`.
    pub sha256: String,
}

impl Init {
    /// The run in `path`, as it is now.
    pub fn of(path: &std::path::Path) -> Result<Self> {
        let run = RunDirectory::open(path)?;
        let model = run.model();
        ensure!(
            model.is_file(),
            "{} has no weights to start from: its training has not come to the end of an epoch, or its units are not merged yet",
            path.display()
        );
        let run = std::path::absolute(path)
            .with_context(|| format!("cannot tell where {} is", path.display()))?;
        Ok(Self { run, sha256: sha256(&model)? })
    }
}

/// The run that weights come from, known to hold those that are meant.
pub struct Initial {
    pub config: RunConfig,
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
        let config = RunConfig::of_run(&run.config())?;
        let kept = Kept::read(&run)?;
        Ok(Self { config, kept, run })
    }

    /// Asks for pictures of the shape that the weights were trained for.
    pub fn shape(&self, options: &mut FolderOptions) -> Result<()> {
        let images = self.config.images()?;
        if options.size.is_none() {
            options.size = Some((images.height, images.width));
        }
        options.channels = Some(images.channels);
        Ok(())
    }

    /// Remarks on images of `task`, whose files are `listing`, that the weights were trained on.
    pub fn learned(&self, task: &Task, listing: &Listing) -> Result<Vec<String>> {
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
        let (theirs, ours) = (&self.config, &task.config);
        let sample = Source::Known(DatasetName::MnistSample);
        if ours.dataset == sample && theirs.dataset == Source::Known(DatasetName::Mnist) {
            faults.push(format!(
                "the images of {sample} are training images of {run}, where the weights come from"
            ));
        }
        let names =
            |config: &RunConfig| Ok::<_, anyhow::Error>(config.images()?.class_names.clone());
        let (old, new) = (names(theirs)?, names(ours)?);
        if old != new && old.len() == new.len() {
            faults.push(format!("the classes have other names or another order than in {run}: its weights are taken class by class, in order"));
        }
        let held_out = |config: &RunConfig| (config.seed, config.validation);
        if ours.dataset == theirs.dataset && held_out(ours) != held_out(theirs) {
            faults.push(format!("held-out images are training images of {run}, where the weights come from: it had another seed or validation"));
        }
        Ok(faults)
    }

    /// Puts the weights into `network`. Parameters that depend on the number of classes begin anew where that number differs.
    pub fn give_to(&self, network: &Network, task: &Task) -> Result<()> {
        let run = self.run.path().display();
        let weights = read_weights(&self.run.model())?.tensors;
        let (theirs, ours) = (self.config.images()?, task.config.images()?);
        let same_classes = theirs.class_names.len() == ours.class_names.len();
        ensure!(
            task.config.intervals == 1 || task.config.method != Method::Ct,
            "--init cannot start ct with --intervals: where they lie depends on the noise schedule before training"
        );
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
        note!("weights from {}: {taken} tensors taken{fresh}", quoted(self.run.path()));
        Ok(())
    }
}

/// Returns whether a parameter belongs to an image branch, which does not depend on the classes.
fn is_of_images(parameter: &Parameter) -> bool {
    parameter.name.split('.').any(|word| word == "image")
}

/// The SHA-256 of a file.
fn sha256(path: &std::path::Path) -> Result<String> {
    let reading = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).with_context(reading)?;
    noprop_data::sha256_of(io::BufReader::new(file)).with_context(reading)
}
