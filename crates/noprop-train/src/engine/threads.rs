//! Blocks on the threads of one process.

use noprop_kernels::threads::{self, Workers};

use crate::TrainError;
use crate::shared_sum::Contribution;
use crate::step::Turn;
use crate::unit_state::PartState;

/// Makes the turns of `parts` and passes each contribution to `take` as soon as all earlier ones have been passed, so that the
/// gradients of only a few blocks are held at a time.
pub(super) fn turns(
    workers: Workers,
    parts: Vec<&mut PartState>,
    turn: &Turn<'_>,
    mut take: impl FnMut(Contribution) -> Result<(), TrainError> + Send,
) -> Result<(), TrainError> {
    let mut failed = None;
    threads::fold_side_by_side(workers, parts, turn, |done| {
        if failed.is_none() {
            failed = done.and_then(&mut take).err();
        }
    });
    failed.map_or(Ok(()), Err)
}
