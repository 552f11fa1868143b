//! The models that classify: the one that is part of the program, and the runs with weights. The last few that were used stay open.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use noprop_experiment::candle_core::Device;
use serde::Serialize;

use crate::answers::Model;
use crate::error::Refusal;
use crate::locked::locked;
use crate::runs::{NAMED, Runs, Standing, Summary};
use crate::stamp::Stamp;

/// Models that stay open: each holds its weights and its test images.
const MOST_OPEN: usize = 4;

/// The id of the model that is part of the program.
const PRETRAINED: &str = "pretrained";

/// The models, and those that are open.
pub(crate) struct Models {
    device: Device,
    data_dir: PathBuf,
    /// The last that was used is the last.
    open: Mutex<Vec<Open>>,
}

struct Open {
    id: String,
    /// The run; none for the model that is part of the program.
    run: Option<PathBuf>,
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

impl Listed {
    fn pretrained() -> Self {
        Self {
            id: PRETRAINED.into(),
            title: "Pretrained on MNIST".into(),
            method: Some("dt".into()),
            dataset: Some("mnist".into()),
            accuracy: Some(noprop_pretrained::TEST_ACCURACY),
            pretrained: true,
        }
    }
}

impl Models {
    pub fn new(device: Device, data_dir: PathBuf) -> Self {
        Self { device, data_dir, open: Mutex::default() }
    }

    /// All models, the one to begin with first.
    pub fn all(&self, runs: &Runs) -> Vec<Listed> {
        let usable =
            runs.all().into_iter().filter(|run| run.usable && run.state != Standing::Damaged);
        let of = |run: Summary| Listed {
            id: run.id,
            title: run.name,
            method: run.method,
            dataset: run.dataset,
            accuracy: run.accuracy,
            pretrained: false,
        };
        let mut models: Vec<Listed> =
            usable.map(of).filter(|model| model.id != PRETRAINED).collect();
        let place = usize::from(models.first().is_some_and(|model| model.id == NAMED));
        models.insert(place, Listed::pretrained());
        models
    }

    /// The model `id`, opened if it is not open yet, or if its files have changed.
    pub fn get(&self, runs: &Runs, id: &str) -> Result<Arc<Mutex<Model>>, Refusal> {
        let run = match id {
            PRETRAINED => None,
            id => Some(runs.find(id)?),
        };
        let files = ["config.toml", "model.safetensors"];
        let files = run.iter().flat_map(|run| files.map(|file| run.join(file)));
        let stamp = Stamp::of(&files.collect::<Vec<_>>());
        let mut open = locked(&self.open);
        let is_it = |open: &Open| open.id == id && open.run == run && open.stamp == stamp;
        let kept = match open.iter().position(is_it) {
            Some(place) => open.remove(place),
            None => {
                // One that has changed makes place first.
                open.retain(|open| open.id != id);
                let excess = (open.len() + 1).saturating_sub(MOST_OPEN);
                open.drain(..excess);
                let model = match &run {
                    Some(run) => Model::of_run(run, &self.data_dir, &self.device)?,
                    None => Model::pretrained(&self.data_dir, &self.device)?,
                };
                Open { id: id.into(), run, stamp, model: Arc::new(Mutex::new(model)) }
            }
        };
        let model = Arc::clone(&kept.model);
        open.push(kept);
        Ok(model)
    }
}
