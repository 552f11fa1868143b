//! How far a training is that may have been begun before.

use candle_core::Device;
use noprop_train::{Event, Existing, RunDirectory, Silent};

use crate::error::{Error, Result};
use crate::experiment::Experiment;
use crate::task::Task;
use crate::train::NewRun;

/// How far a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// There is nothing of it.
    Nothing,
    /// It was begun, and can be resumed.
    Part,
    /// It is tested.
    End,
}

/// Returns how far the training is that [`train`](crate::train()) would begin with `new`: nothing of it is there if what is there is to be
/// replaced.
///
/// # Errors
/// [`Error::InTheWay`] if its directory has a run with other settings or data; as for [`train`](crate::train()) if its settings and data do
/// not go together.
pub fn reached(new: &NewRun, device: &Device) -> Result<Reached> {
    let taken = new.out.as_deref().filter(|path| !RunDirectory::is_free(path));
    let (Some(path), Existing::Refuse) = (taken, new.existing) else { return Ok(Reached::Nothing) };
    let task = Task::new(&new.layers, new.data_dir.as_deref(), device, &mut Silent)?;
    let run = RunDirectory::open(path)?;
    // Both are read in the same way: a number may change in its last digit.
    let read =
        |experiment: &Experiment| Ok::<_, Error>(Experiment::of_json(&experiment.to_json()?));
    if read(&Experiment::read(&run.config())?)? != read(&task.experiment)? {
        let fault = "has other settings or data".into();
        return Err(Error::InTheWay { run: path.into(), fault, source: None });
    }
    Ok(if Event::final_test(&run.events()?).is_some() { Reached::End } else { Reached::Part })
}
