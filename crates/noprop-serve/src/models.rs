//! The models that classify: the runs with weights. The last few that were used stay open.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use noprop_experiment::candle_core::Device;
use serde::Serialize;

use crate::answers::Model;
use crate::error::Refusal;
use crate::locked::locked;
use crate::runs::{Runs, Standing};
use crate::stamp::Stamp;

/// Models that stay open: each holds its weights and its test images.
const MOST_OPEN: usize = 4;

/// The models, and those that are open.
pub(crate) struct Models {
    device: Device,
    data_dir: PathBuf,
    /// The last that was used is the last.
    open: Mutex<Vec<Open>>,
}

struct Open {
    id: String,
    path: PathBuf,
    stamp: Stamp,
    /// One classification at a time.
    model: Arc<Mutex<Model>>,
}

/// A model in a list.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    id: String,
    title: String,
    method: Option<String>,
    dataset: Option<String>,
    accuracy: Option<f64>,
    pretrained: bool,
}

impl Models {
    pub fn new(device: Device, data_dir: PathBuf) -> Self {
        Self { device, data_dir, open: Mutex::default() }
    }

    /// All models, the one to begin with first.
    pub fn all(&self, runs: &Runs) -> Vec<Listed> {
        let usable =
            runs.all().into_iter().filter(|run| run.usable && run.state != Standing::Damaged);
        let of = |run: crate::runs::Summary| Listed {
            id: run.id,
            title: run.name,
            method: run.method,
            dataset: run.dataset,
            accuracy: run.accuracy,
            pretrained: false,
        };
        usable.map(of).collect()
    }

    /// The model `id`, opened if it is not open yet, or if its files have changed.
    pub fn get(&self, runs: &Runs, id: &str) -> Result<Arc<Mutex<Model>>, Refusal> {
        let path = runs.find(id)?;
        let stamp = Stamp::of(&[path.join("config.toml"), path.join("model.safetensors")]);
        let mut open = locked(&self.open);
        let is_it = |open: &Open| open.id == id && open.path == path && open.stamp == stamp;
        let kept = match open.iter().position(is_it) {
            Some(place) => open.remove(place),
            None => {
                // One that has changed makes place first.
                open.retain(|open| open.id != id);
                let excess = (open.len() + 1).saturating_sub(MOST_OPEN);
                open.drain(..excess);
                let model = Model::of_run(&path, &self.data_dir, &self.device)?;
                Open { id: id.into(), path, stamp, model: Arc::new(Mutex::new(model)) }
            }
        };
        let model = Arc::clone(&kept.model);
        open.push(kept);
        Ok(model)
    }
}
