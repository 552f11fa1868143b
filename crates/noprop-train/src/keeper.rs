//! The interface between the loop over epochs and the code that records and saves a training.

use std::time::Duration;

use crate::TrainError;
use crate::engine::{NextTurn, State};
use crate::loss::{LossSums, StepReport};
use crate::report::EpochReport;
use crate::step::Model;

/// Records and saves a training while it runs.
pub(crate) trait Keeper {
    /// Returns the time after which the state is saved within an epoch.
    fn save_every(&self) -> Duration;

    /// Returns whether rank 0 saves the parts that all ranks train.
    fn needs_all_ranks(&self) -> bool;

    /// Adds the last checkpoint to the error of a loss that diverged.
    fn with_checkpoint(&self, error: TrainError) -> TrainError {
        error
    }

    /// Records that the blocks `paused` make no turn from here on. Returns whether the training can do without them: a keeper that
    /// cannot record it refuses.
    fn pause(&mut self, paused: &[usize]) -> Result<bool, TrainError> {
        let _ = paused;
        Ok(false)
    }

    /// Records the reports of one step of the units with the numbers `units`.
    fn record(&mut self, units: &[usize], reports: &[StepReport]);

    /// Records the time of the steps since the last call, in seconds.
    fn took(&mut self, units: &[usize], seconds: f64);

    /// Ends an epoch of the units of `turn`, and returns its report if there is one.
    fn end_epoch(
        &mut self,
        model: Model<'_>,
        state: &mut State,
        turn: &NextTurn,
    ) -> Result<Option<EpochReport>, TrainError>;

    /// Returns whether the training ends here, before its last step, because it gets no better; `None` if it never ends early. Of
    /// several ranks any one may end it.
    fn ends_early(&self) -> Option<bool> {
        None
    }

    /// Saves the units of `turn`. If the training stops here, `stopped` holds the number of epochs done, and of steps of the
    /// next.
    fn save(
        &mut self,
        model: Model<'_>,
        state: &State,
        turn: &NextTurn,
        stopped: Option<(u32, u32)>,
    ) -> Result<(), TrainError>;
}

/// A keeper that writes nothing.
#[derive(Default)]
pub(crate) struct Unkept {
    sums: LossSums,
    /// Images that one unit saw.
    images: usize,
    seconds: f64,
}

impl Keeper for Unkept {
    fn save_every(&self) -> Duration {
        Duration::MAX
    }

    fn needs_all_ranks(&self) -> bool {
        true
    }

    fn pause(&mut self, _: &[usize]) -> Result<bool, TrainError> {
        Ok(true)
    }

    fn record(&mut self, _: &[usize], reports: &[StepReport]) {
        reports.iter().for_each(|report| self.sums.add(report));
        self.images += reports.first().map_or(0, |report| report.images);
    }

    fn took(&mut self, _: &[usize], seconds: f64) {
        self.seconds += seconds;
    }

    fn end_epoch(
        &mut self,
        _: Model<'_>,
        state: &mut State,
        turn: &NextTurn,
    ) -> Result<Option<EpochReport>, TrainError> {
        let Self { sums, images, seconds } = std::mem::take(self);
        let epoch = turn.position / u64::from(state.plan.steps_per_epoch());
        Ok(Some(EpochReport {
            epoch: u32::try_from(epoch).unwrap_or(u32::MAX),
            losses: sums.means(),
            validation: None,
            images_per_second: images as f64 / seconds.max(f64::MIN_POSITIVE),
            seconds,
        }))
    }

    fn save(
        &mut self,
        _: Model<'_>,
        _: &State,
        _: &NextTurn,
        _: Option<(u32, u32)>,
    ) -> Result<(), TrainError> {
        Ok(())
    }
}
