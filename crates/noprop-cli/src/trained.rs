//! A trained run, opened to be used.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use noprop_method::ParameterBuilder;
use noprop_models::Network;
use noprop_train::{Event, MetricsLog, RunDirectory, read_weights};

use crate::config::RunConfig;
use crate::shell::quoted;

/// The method that weights were trained with, if they say so: their metadata hold the run's settings.
fn method_of(metadata: &str) -> Option<String> {
    let settings: serde_json::Value = serde_json::from_str(metadata).ok()?;
    Some(settings.get("method")?.as_str()?.to_owned())
}

/// A run's settings, network and objective.
pub struct Trained {
    pub run: RunDirectory,
    pub config: RunConfig,
    pub network: Network,
    pub objective: Box<dyn noprop_method::Method>,
}

impl Trained {
    /// Opens the run in `path` with the weights of its best epoch, on `device`.
    pub fn open(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let run = RunDirectory::open(path.as_ref())?;
        let config = RunConfig::of_run(&run.config())?;
        let objective = config.objective()?;
        let path = quoted(run.path());
        ensure!(
            run.model().is_file() || !run.units().is_dir(),
            "the units of {path} are not put together yet: see noprop status {path}, then noprop merge {path}"
        );
        let weights = read_weights(&run.model())?;
        if let Some(of) = weights.metadata.as_deref().and_then(method_of) {
            ensure!(
                of == config.method.name(),
                "{} holds weights of the method {of}, but {} says {}: put the config.toml beside them that they were trained with",
                run.model().display(),
                run.config().display(),
                config.method.name()
            );
        }
        let source = ParameterBuilder::stored(weights.tensors, device);
        let network = config
            .network(source)
            .with_context(|| format!("{} does not fit its config.toml", run.model().display()))?;
        Ok(Self { run, config, network, objective })
    }

    /// What happened while it was trained.
    pub fn events(&self) -> Result<Vec<Event>> {
        Ok(MetricsLog::read(&self.run.metrics())?)
    }
}
