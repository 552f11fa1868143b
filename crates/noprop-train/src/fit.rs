//! Trainings that are kept in a run directory: whole trainings, and units of a training.

use noprop_method::{Denoiser, Method};

use crate::checkpoint::{Fitting, Kept, Progress, UnitFitting, UnitFolders};
use crate::epochs::train;
use crate::report::{Observer, Outcome};
use crate::{Engine, TrainError, Trainer};

/// Trains from `progress` to the end, or until the observer stops it.
///
/// After every epoch the held-out images are classified, the weights are written to `model.safetensors` if no epoch was better,
/// and the state is saved. The test set is not used.
///
/// With several ranks, rank 0 validates, writes, and reports the outcome. The other ranks use the run only to read its state,
/// and end with [`Outcome::Trained`]. If the observer of one rank stops the training, all ranks stop at the same step, and it
/// is saved.
///
/// # Errors
/// [`TrainError::Diverged`] with the last good state; [`TrainError::File`] if a file cannot be read or written. The state that
/// was saved before then remains whole, and a resume continues from it.
pub fn fit<N: Denoiser, M: Method>(
    trainer: &mut Trainer<N, M>,
    fitting: &Fitting<'_>,
    progress: Progress,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let (model, state) = trainer.parts();
    let mut kept = Kept::begin(model, state, fitting, progress)?;
    match train(model, state, &mut kept, observer)? {
        Some((epoch, step)) => Ok(Outcome::Stopped { epoch, step }),
        None => Ok(kept.outcome()),
    }
}

/// Trains the units of `trainer`, which are some of the units of a training, to the end or until the observer stops it.
///
/// Each unit resumes from its saved state; `Existing::Replace` begins anew. Each writes its weights after every epoch to
/// `units/<unit>/` in the run, for [`crate::merge_units`], and its state after every epoch and within long ones. Returns
/// [`Outcome::Trained`] if all are done, otherwise [`Outcome::Stopped`].
///
/// # Errors
/// [`crate::UnitError::Tied`] if the training has units with several blocks, [`crate::UnitError::Locked`] if another process
/// trains one of the units; otherwise as for [`fit`].
pub fn fit_units<N: Denoiser, M: Method>(
    trainer: &mut Trainer<N, M>,
    fitting: &UnitFitting<'_>,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    for unit in trainer.units() {
        unit.stands_alone()?;
    }
    let (model, state) = trainer.parts();
    // Each unit has its own files and position, so units are not stacked.
    if matches!(state.engine, Engine::Batched) {
        state.engine = Engine::Queue;
    }
    let mut folders = UnitFolders::open(model, state, fitting)?;
    match train(model, state, &mut folders, observer)? {
        Some((epoch, step)) => Ok(Outcome::Stopped { epoch, step }),
        None => Ok(Outcome::Trained),
    }
}
