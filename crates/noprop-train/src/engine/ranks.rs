//! Blocks over several processes. Ranks train one network, and each rank trains its share of the blocks.
//!
//! Every rank holds the parameters that the blocks share, and applies the same update to them. A step needs one exchange: the
//! contributions of all losses to the shared parameters are all-gathered, and every rank adds them in block order. If the
//! exchange itself made the sum (an all-reduce), its bits would depend on the number of ranks.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::Tensor;
use noprop_kernels::optim::Moments;
use noprop_kernels::threads::{self, Workers};
use noprop_method::Denoiser;

use super::Job;
use crate::error::{RanksError, TrainError};
use crate::loss::{Loss, StepReport};
use crate::shared_sum::SharedSum;
use crate::step::{Plan, Turn};
use crate::unit_state::{PartState, UnitState};

/// The bytes of numbers that a rank has exchanged since it began. The overhead of the network protocol is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The bytes sent, counted once for any number of receivers.
    pub sent: u64,
    /// The bytes received from the other ranks.
    pub received: u64,
}

/// The connection of one rank to all ranks of a training. All ranks must make the same calls in the same order: a call returns
/// when every rank has made it.
pub trait Ranks: Send + Sync {
    /// Returns the number of this rank, from 0 and below [`Self::size`].
    fn rank(&self) -> usize;

    /// Returns the number of ranks.
    fn size(&self) -> usize;

    /// Sends the numbers of every rank to all ranks. Returns them in the order of ranks, with unchanged bits.
    ///
    /// # Errors
    /// [`RanksError`]. The training cannot continue after it.
    fn gather(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, RanksError>;

    /// As [`Self::gather`], but only rank 0 receives the numbers. The other ranks get an empty list.
    ///
    /// # Errors
    /// As for [`Self::gather`].
    fn gather_first(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, RanksError>;

    /// Returns the bytes exchanged so far.
    fn traffic(&self) -> Traffic;

    /// Returns whether this is rank 0, which keeps the record of the training.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Returns whether this is the only rank.
    fn is_single(&self) -> bool {
        self.size() == 1
    }

    /// Returns whether `yes` holds on any rank.
    ///
    /// # Errors
    /// As for [`Self::gather`].
    fn any(&self, yes: bool) -> Result<bool, RanksError> {
        let answers = self.gather(vec![f32::from(u8::from(yes))])?;
        Ok(answers.iter().flatten().any(|&answer| answer > 0.0))
    }
}

/// The only rank of a training in one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneRank;

impl Ranks for OneRank {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, RanksError> {
        Ok(vec![mine])
    }

    fn gather_first(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, RanksError> {
        Ok(vec![mine])
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

/// Makes the turns of this rank's share of `parts`, exchanges the contributions of all ranks, and adds them to `sum`.
pub(super) fn turns(
    ranks: &dyn Ranks,
    workers: Workers,
    mut parts: Vec<&mut PartState>,
    turn: &Turn<'_>,
    mut sum: SharedSum,
) -> Result<SharedSum, TrainError> {
    let (count, size) = (parts.len(), ranks.size());
    let mut message = Vec::new();
    let mine = parts[share(count, ranks.rank(), size)].iter_mut().map(|part| &mut **part);
    super::threads::turns(workers, mine.collect(), turn, |more| more.write(&mut message))?;
    for (rank, message) in ranks.gather(message)?.iter().enumerate() {
        let owned = parts[share(count, rank, size)].iter().map(|part| part.part);
        sum.add_message(rank, owned, message)?;
    }
    Ok(sum)
}

/// Makes the steps of this rank's share of `jobs`, which are units that share nothing, and receives the losses of the other
/// ranks.
pub(super) fn independent<'a>(
    ranks: &dyn Ranks,
    workers: Workers,
    plan: &Plan,
    mut jobs: Vec<Job<'a>>,
    steps: &(impl Fn(Job<'a>) -> Result<Vec<StepReport>, TrainError> + Sync),
) -> Result<Vec<Vec<StepReport>>, TrainError> {
    let share = share(jobs.len(), ranks.rank(), ranks.size());
    let mine = jobs.drain(share.clone()).collect();
    let done = threads::side_by_side(workers, mine, steps);
    let done = done.into_iter().collect::<Result<Vec<_>, _>>()?;
    let own = done.iter().flatten().flat_map(|report| &report.losses);
    // The conversion loses nothing: losses are f32 before they are reported.
    let own = own.flat_map(|loss| [loss.loss as f32, loss.error as f32]).collect();
    let mut messages = ranks.gather(own)?;
    // This rank has the reports of its own steps.
    if let Some(own) = messages.get_mut(ranks.rank()) {
        own.clear();
    }
    let losses = messages.concat();
    let (losses, odd) = losses.as_chunks();
    let mut losses = losses.iter();
    let others = jobs.into_iter().map(|job| received(ranks, plan, job, &mut losses));
    let mut all = others.collect::<Result<Vec<_>, _>>()?;
    if losses.next().is_some() || !odd.is_empty() {
        return Err(malformed(ranks, "too many losses"));
    }
    all.splice(share.start..share.start, done);
    Ok(all)
}

/// Returns the reports of steps that another rank made, with the losses that it sent.
fn received<'m>(
    ranks: &dyn Ranks,
    plan: &Plan,
    (unit, batches): Job<'_>,
    losses: &mut impl Iterator<Item = &'m [f32; 2]>,
) -> Result<Vec<StepReport>, TrainError> {
    let mut reports = Vec::with_capacity(batches.len());
    for batch in &batches {
        let mut report = plan.count(unit, batch)?;
        for part in unit.parts.iter().map(|state| state.part) {
            let Some(&[loss, error]) = losses.next() else {
                return Err(malformed(ranks, "too few losses"));
            };
            report.losses.push(Loss { part, loss: f64::from(loss), error: f64::from(error) });
        }
        reports.push(report);
    }
    Ok(reports)
}

/// The error of losses whose number is wrong: only their sum over the ranks is known.
fn malformed(ranks: &dyn Ranks, reason: &'static str) -> TrainError {
    RanksError::Malformed { rank: ranks.size() - 1, reason }.into()
}

/// Sends the weights, buffers, moments and averages of all parts to rank 0, which validates and saves. Shared parts are not
/// sent: all ranks hold them.
///
/// Tensors are sent one by one: a network may be larger than the limit of one exchange, and rank 0 need not hold it twice.
///
/// # Errors
/// [`RanksError`].
pub(crate) fn collect(
    ranks: &dyn Ranks,
    network: &dyn Denoiser,
    units: &mut [UnitState],
) -> Result<(), TrainError> {
    if ranks.is_single() {
        return Ok(());
    }
    for (unit, part, owner) in parts_of_single_ranks(ranks, units) {
        let position = units[unit].position;
        collect_part(ranks, network, &mut units[unit].parts[part], position, owner)?;
    }
    Ok(())
}

/// Returns every part that only one rank trains: the index of its unit, its index in the unit, and its rank.
fn parts_of_single_ranks(ranks: &dyn Ranks, units: &[UnitState]) -> Vec<(usize, usize, usize)> {
    let size = ranks.size();
    let (shared, independent): (Vec<usize>, Vec<usize>) =
        (0..units.len()).partition(|&unit| units[unit].shares());
    let mut parts = Vec::new();
    for unit in shared.into_iter().filter(|&unit| units[unit].unit.has_shares()) {
        let own = units[unit].own();
        let count = own.len();
        parts.extend(own.enumerate().map(|(index, part)| (unit, part, owner(index, count, size))));
    }
    let count = independent.len();
    for (index, unit) in independent.into_iter().enumerate() {
        let all = 0..units[unit].parts.len();
        parts.extend(all.map(|part| (unit, part, owner(index, count, size))));
    }
    parts
}

fn collect_part(
    ranks: &dyn Ranks,
    network: &dyn Denoiser,
    state: &mut PartState,
    position: u64,
    owner: usize,
) -> Result<(), TrainError> {
    let fetch = |tensor: &Tensor| -> Result<Option<Tensor>, TrainError> {
        let mine = match owner == ranks.rank() && owner != 0 {
            true => tensor.flatten_all()?.to_vec1::<f32>()?,
            false => Vec::new(),
        };
        let mut all = ranks.gather_first(mine)?;
        if !ranks.is_first() || owner == 0 {
            return Ok(None);
        }
        let values = all.get_mut(owner).map(std::mem::take).unwrap_or_default();
        if values.len() != tensor.elem_count() {
            let reason = "a tensor of another size than it should";
            return Err(RanksError::Malformed { rank: owner, reason }.into());
        }
        Ok(Some(Tensor::from_vec(values, tensor.shape().clone(), tensor.device())?))
    };
    // All parameters of the part, buffers included.
    for parameter in network.parameters().iter().filter(|parameter| parameter.part == state.part) {
        if let Some(tensor) = fetch(&parameter.var)? {
            parameter.var.set(&tensor)?;
        }
    }
    let mut moments = Vec::new();
    for (name, first, second) in state.adam.moments() {
        if let (Some(first), Some(second)) = (fetch(first)?, fetch(second)?) {
            moments.push(Moments { name: name.to_owned(), first, second });
        }
    }
    if !moments.is_empty() {
        state.adam.restore(position, moments)?;
    }
    if let Some(averages) = &mut state.averages {
        let mut received = BTreeMap::new();
        for (name, average) in averages.iter() {
            if let Some(average) = fetch(average)? {
                received.insert(name.to_owned(), average);
            }
        }
        if !received.is_empty() {
            averages.restore(received)?;
        }
    }
    Ok(())
}

/// Returns the share of rank `rank` of `size` in `count` blocks. The blocks of a share are neighbours, so the order of ranks is
/// the order of blocks. Two shares differ by at most one block.
fn share(count: usize, rank: usize, size: usize) -> Range<usize> {
    count * rank / size..count * (rank + 1) / size
}

/// Returns the rank, of `size`, that trains the block with index `index` of `count`.
fn owner(index: usize, count: usize, size: usize) -> usize {
    (0..size).find(|&rank| share(count, rank, size).contains(&index)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block that no rank trains, or that two train, would give wrong weights without an error.
    #[test]
    fn every_block_is_one_ranks() {
        for size in 1..=9 {
            for count in 0..=20 {
                let shares: Vec<Range<usize>> =
                    (0..size).map(|rank| share(count, rank, size)).collect();
                let all: Vec<usize> = shares.iter().cloned().flatten().collect();
                assert_eq!(all, (0..count).collect::<Vec<_>>(), "{count} among {size}");
                let (least, most) = (count / size, count.div_ceil(size));
                assert!(shares.iter().all(|share| (least..=most).contains(&share.len())));
                for index in 0..count {
                    assert!(shares[owner(index, count, size)].contains(&index));
                }
            }
        }
    }
}
