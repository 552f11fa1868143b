//! Units that share nothing: who makes their steps, of the threads and of the processes.

use noprop_kernels::threads;

use crate::batches::Batch;
use crate::peers::share;
use crate::step::{Job, Task};
use crate::{PartLoss, PeersError, StepReport, TrainError};

impl Task<'_> {
    /// The next steps of units that share nothing: this process makes those of its share, and hears of the others.
    pub fn advance_apart(
        &self,
        mut jobs: Vec<Job<'_>>,
    ) -> Result<Vec<Vec<StepReport>>, TrainError> {
        let share = share(jobs.len(), self.peers.rank(), self.peers.size());
        let after = jobs.split_off(share.end);
        let mine = jobs.split_off(share.start);
        let before = jobs;
        let done = threads::side_by_side(self.workers, mine, |job| self.advance_by(job));
        let done = done.into_iter().collect::<Result<Vec<_>, _>>()?;
        if self.peers.is_alone() {
            return Ok(done);
        }
        let losses = done.iter().flatten().flat_map(|report| &report.losses);
        let said = self.peers.gather(losses.flat_map(|loss| [loss.loss, loss.error]).collect())?;
        let said = said.concat();
        let mut losses = said.chunks_exact(2);
        let mut all = Vec::with_capacity(before.len() + done.len() + after.len());
        for job in before {
            all.push(self.hear(job, &mut losses)?);
        }
        // What this process said itself comes back between the others' words.
        losses.by_ref().take(done.iter().flatten().map(|report| report.losses.len()).sum()).count();
        all.extend(done);
        for job in after {
            all.push(self.hear(job, &mut losses)?);
        }
        Ok(all)
    }

    /// The reports of steps that another process made, from the losses that it told.
    fn hear<'m>(
        &self,
        (unit, batches): Job<'_>,
        losses: &mut impl Iterator<Item = &'m [f32]>,
    ) -> Result<Vec<StepReport>, TrainError> {
        let mut report = |batch: &Batch| {
            let mut told = Vec::with_capacity(unit.parts.len());
            for state in &unit.parts {
                let Some(&[loss, error]) = losses.next() else {
                    let rank = self.peers.size() - 1;
                    return Err(PeersError::Malformed { rank, reason: "too few losses" }.into());
                };
                told.push(PartLoss { part: state.part, loss, error });
            }
            self.report(unit, batch, told)
        };
        batches.iter().map(&mut report).collect()
    }
}
