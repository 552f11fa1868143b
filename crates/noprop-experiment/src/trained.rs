//! A trained run, opened to be used.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use noprop_method::{Method, ParameterBuilder};
use noprop_models::Network;
use noprop_train::{Event, MetricsLog, RunDirectory, read_weights};

use crate::error::{Context, Error, Result, ensure};
use crate::experiment::Experiment;

/// The method that weights were trained with, if their metadata hold the run's settings.
fn method_of(metadata: &str) -> Option<String> {
    let settings: serde_json::Value = serde_json::from_str(metadata).ok()?;
    Some(settings.get("method")?.as_str()?.to_owned())
}

/// Builds the network of `experiment` with the tensors of the file `model`, and its method.
pub(crate) fn build(
    experiment: &Experiment,
    tensors: BTreeMap<String, Tensor>,
    model: &Path,
    device: &Device,
) -> Result<(Network, Box<dyn Method>)> {
    let network = experiment
        .network(ParameterBuilder::stored(tensors, device))
        .with_context(|| format!("{} does not fit its settings", model.display()))?;
    Ok((network, experiment.setup.build_method()?))
}

/// A run's settings, network and method.
pub struct Trained {
    /// The run directory.
    pub run: RunDirectory,
    /// The settings.
    pub experiment: Experiment,
    /// The network with the weights of the best epoch.
    pub network: Network,
    /// The method, which classifies.
    pub method: Box<dyn Method>,
}

impl Trained {
    /// Opens the run in `path` with the weights of its best epoch, on `device`.
    ///
    /// # Errors
    /// If there is no run, if its units are not merged, or if its weights are damaged or do not fit its settings.
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let run = RunDirectory::open(path.as_ref())?;
        let experiment = Experiment::read(&run.config())?;
        let model = run.model();
        if !model.is_file() && run.units().is_dir() {
            return Err(Error::NotMerged { run: run.path().into() });
        }
        let weights = read_weights(&model)?;
        let kind = experiment.setup.method;
        if let Some(of) = weights.metadata.as_deref().and_then(method_of) {
            ensure!(
                of == kind.name,
                "{} holds weights of the method {of}, but the method in {} is {kind}: put the config.toml beside them that they were trained with",
                model.display(),
                run.config().display()
            );
        }
        let (network, method) = build(&experiment, weights.tensors, &model, device)?;
        Ok(Self { run, experiment, network, method })
    }

    /// The log of its training.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn events(&self) -> Result<Vec<Event>> {
        Ok(MetricsLog::read(&self.run.metrics())?)
    }
}
