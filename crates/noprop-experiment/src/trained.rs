//! A trained run, opened to be used.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use noprop_method::{Method, ParameterBuilder};
use noprop_models::Network;
use noprop_train::{Event, MetricsLog, RunDirectory, StoredWeights, read_weights};
use serde_json::{Map, Value, json};

use crate::error::{Context, Error, Result, bail};
use crate::experiment::Experiment;

/// The keys that may differ between a run's settings and those in its weights: a training that is made longer has weights of before, files
/// move, and what a format means is settled where it is read.
const MAY_DIFFER: [&str; 4] = ["epochs", "dataset", "init", "format"];

/// Refuses weights that carry other settings than `experiment`: another schedule or other names of classes would give wrong answers.
fn check_settings(weights: &StoredWeights, model: &Path, experiment: &Experiment) -> Result<()> {
    let metadata = weights.metadata.as_deref().unwrap_or_default();
    // Both come from JSON, which may change the last digit of a number.
    let expected = Experiment::of_json(&experiment.to_json()?);
    let settings = |experiment: &Option<Experiment>| serde_json::to_value(experiment);
    let (carried, expected) = match (Experiment::of_json(metadata), expected) {
        (carried @ Some(_), expected) => (settings(&carried)?, settings(&expected)?),
        // Settings that this version does not understand.
        (None, _) => {
            let raw: Value = serde_json::from_str(metadata).unwrap_or_default();
            let method = |method: &Value| json!({ "method": method });
            (raw.get("method").map_or(Value::Null, method), method(&json!(experiment.setup.method)))
        }
    };
    let (Value::Object(carried), Value::Object(expected)) = (carried, expected) else {
        return Ok(());
    };
    let differs = |key: &&String| {
        !MAY_DIFFER.contains(&key.as_str()) && carried.get(*key) != expected.get(*key)
    };
    let Some(key) = carried.keys().chain(expected.keys()).find(differs) else { return Ok(()) };
    let shown = |settings: &Map<String, Value>| match settings.get(key) {
        None => format!("no {key}"),
        Some(Value::Object(_)) => format!("other {key}"),
        Some(value) => {
            format!("{key} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        }
    };
    bail!(
        "{} holds weights that were trained with {}, and the config.toml beside them has {}: put the one there that they were trained with",
        model.display(),
        shown(&carried),
        shown(&expected)
    )
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
        check_settings(&weights, &model, &experiment)?;
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
