//! Trainings that a run directory keeps: whole ones, and units of one.

use noprop_method::{Denoiser, Method};

use crate::checkpoint::{Fitting, Kept, Progress, UnitFitting, UnitFolders};
use crate::epochs::{Ended, train};
use crate::report::{Observer, Outcome};
use crate::{Engine, TrainError, Trainer};

/// Trains from `progress` to the end, or until the observer stops it.
///
/// After every epoch the held-out images are classified, the weights are written to `model.safetensors` if no epoch was better, and
/// the state is saved. The test set has no part in this.
///
/// Of several ranks the first validates, writes and reports the outcome; the others need the run only for its state, and end with
/// [`Outcome::Trained`]. A rank whose observer stops stops all of them, and all save together.
///
/// # Errors
/// [`TrainError::Diverged`] with the last good state; [`TrainError::File`] if the disk refuses. The state that was saved before is then
/// still whole, and a resume continues from there.
pub fn fit<N: Denoiser, M: Method>(
    trainer: &mut Trainer<N, M>,
    fitting: &Fitting<'_>,
    progress: Progress,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let (model, state) = trainer.parts();
    let mut kept = Kept::begin(model, state, fitting, progress)?;
    match train(model, state, &mut kept, observer)? {
        Ended::Stopped { epoch, step } => Ok(Outcome::Stopped { epoch, step }),
        Ended::Done => Ok(kept.outcome()),
    }
}

/// Trains the units of `trainer`, which are some of a training's, to the end, each from where it was saved; `Existing::Replace`
/// begins anew. Each writes its weights after every epoch to `units/<unit>/` in the run, for [`crate::merge_units`], and its state
/// then and within long epochs. Returns whether all are done.
///
/// # Errors
/// [`crate::UnitError::Tied`] if the training has units with several blocks, [`crate::UnitError::Locked`] if another process trains one
/// of the units; those of [`fit`].
pub fn fit_units<N: Denoiser, M: Method>(
    trainer: &mut Trainer<N, M>,
    fitting: &UnitFitting<'_>,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    for unit in trainer.units() {
        unit.stands_alone()?;
    }
    let (model, state) = trainer.parts();
    // A unit has files and a position of its own.
    if matches!(state.engine, Engine::Batched) {
        state.engine = Engine::Queue;
    }
    let mut folders = UnitFolders::open(model, state, fitting)?;
    match train(model, state, &mut folders, observer)? {
        Ended::Stopped { epoch, step } => Ok(Outcome::Stopped { epoch, step }),
        Ended::Done => Ok(Outcome::Trained),
    }
}
