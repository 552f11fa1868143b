//! The models that classify: the one that is part of the program, and the runs with weights. The last few that were used stay open.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use noprop_experiment::candle_core::Device;
use serde::Serialize;

use crate::answers::Model;
use crate::error::Refusal;
use crate::locked::locked;
use crate::runs::{NAMED, PRETRAINED, Runs, Standing, Summary};
use crate::stamp::Stamp;

/// Models that stay open: each holds its weights and its test images.
const MOST_OPEN: usize = 4;

/// The models, and those that are open.
pub(crate) struct Models {
    device: Device,
    data_dir: PathBuf,
    /// The last that was used is the last.
    open: Mutex<Vec<Open>>,
    /// Is held while a model is read.
    loading: Mutex<()>,
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
        Self { device, data_dir, open: Mutex::default(), loading: Mutex::default() }
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
        let mut models: Vec<Listed> = usable.map(of).collect();
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
        // The card is written at the end of a training, with the test.
        let files = ["config.toml", "model.safetensors", "README.md"];
        let files = run.iter().flat_map(|run| files.map(|file| run.join(file)));
        let stamp = Stamp::of(&files.collect::<Vec<_>>());
        let is_it = |open: &Open| open.id == id && open.run == run && open.stamp == stamp;
        let opened = || {
            let mut open = locked(&self.open);
            let kept = open.iter().position(is_it).map(|place| open.remove(place))?;
            let model = Arc::clone(&kept.model);
            open.push(kept);
            Some(model)
        };
        if let Some(model) = opened() {
            return Ok(model);
        }
        // A page that is loaded again and again would have one model read many times at once.
        let _loading = locked(&self.loading);
        if let Some(model) = opened() {
            return Ok(model);
        }
        // One that has changed makes place before its successor is read.
        make_place(&mut locked(&self.open), id);
        let model = match &run {
            Some(run) => Model::of_run(run, &self.data_dir, &self.device)?,
            None => Model::pretrained(&self.data_dir, &self.device)?,
        };
        let model = Arc::new(Mutex::new(model));
        let mut open = locked(&self.open);
        make_place(&mut open, id);
        open.push(Open { id: id.into(), run, stamp, model: Arc::clone(&model) });
        Ok(model)
    }
}

/// Closes an earlier model `id`, and the models that were not used for the longest time, so that there is a place for another.
fn make_place(open: &mut Vec<Open>, id: &str) {
    open.retain(|open| open.id != id);
    let excess = (open.len() + 1).saturating_sub(MOST_OPEN);
    open.drain(..excess);
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// Requests that come at once for a model that is not open would each hold its weights and its test images.
    #[test]
    fn a_model_is_read_once_for_all_who_ask() {
        let dir = tempfile::tempdir().unwrap();
        let models = Models::new(Device::Cpu, dir.path().into());
        let runs = Runs::new(dir.path().into(), None);
        let start = Barrier::new(4);
        let ask = || {
            start.wait();
            models.get(&runs, PRETRAINED).unwrap()
        };
        let opened: Vec<Arc<Mutex<Model>>> = thread::scope(|scope| {
            let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect()
        });
        assert!(opened.iter().all(|model| Arc::ptr_eq(model, &opened[0])));
    }
}
