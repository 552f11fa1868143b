//! A trained run, opened to be used.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Device;
use noprop_method::{Objective, ParameterBuilder};
use noprop_models::Network;
use noprop_train::{Event, MetricsLog, RunDirectory, read_weights};

use crate::config::RunConfig;

/// A run's settings, network and objective.
pub struct Trained {
    pub run: RunDirectory,
    pub config: RunConfig,
    pub network: Network,
    pub objective: Box<dyn Objective>,
}

impl Trained {
    /// Opens the run in `path` with the weights of its best epoch.
    pub fn open(path: &Path) -> Result<Self> {
        let run = RunDirectory::open(path)?;
        let config = RunConfig::of_run(&run.config())?;
        let objective = config.objective()?;
        let weights = read_weights(&run.model())?;
        let source = ParameterBuilder::stored(weights.tensors, &Device::Cpu);
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
