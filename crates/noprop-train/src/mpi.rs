//! Ranks over MPI: the processes that `mpirun` started.

use std::sync::atomic::{AtomicU64, Ordering};

use mpi::Threading;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Root};

use crate::engine::{Ranks, Traffic};
use crate::error::RanksError;

/// Makes rank R panic at its exchange number N, for `cargo xtask test-mpi`: `R:N`.
const PANIC: &str = "NOPROP_TEST_PANIC";

/// All processes of an MPI job.
pub struct Mpi {
    rank: usize,
    size: usize,
    sent: AtomicU64,
    received: AtomicU64,
    exchanges: AtomicU64,
    panic_at: Option<u64>,
    /// MPI ends when it is dropped, and that on every rank at a time.
    _universe: Universe,
}

impl Mpi {
    /// Joins the other processes. From now on a panic ends them all: they would wait for this one for ever.
    ///
    /// # Errors
    /// [`RanksError::Mpi`] if MPI was started before, or if it lets the main thread alone call it.
    pub fn start() -> Result<Self, RanksError> {
        // Any thread of a pool may call, and one may panic while another does.
        let (universe, threading) = mpi::initialize_with_threading(Threading::Multiple)
            .ok_or(RanksError::Mpi("MPI was started twice"))?;
        if threading < Threading::Serialized {
            let reason = "this MPI library cannot be called from other threads than the main one";
            return Err(RanksError::Mpi(reason));
        }
        let world = universe.world();
        let number = |number: i32| {
            usize::try_from(number).map_err(|_| RanksError::Mpi("MPI counts below zero"))
        };
        let (rank, size) = (number(world.rank())?, number(world.size())?);
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            report(panic);
            SimpleCommunicator::world().abort(1);
        }));
        let panic_at = std::env::var(PANIC).ok().and_then(|at| {
            let (who, when) = at.split_once(':')?;
            when.parse().ok().filter(|_| who.parse() == Ok(rank))
        });
        Ok(Self {
            rank,
            size,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            exchanges: AtomicU64::new(0),
            panic_at,
            _universe: universe,
        })
    }

    /// Ends every process of the job at once.
    pub fn abort(&self, exit_code: u8) {
        SimpleCommunicator::world().abort(exit_code.into())
    }

    /// The number of numbers that each rank sends; together no more than MPI counts.
    fn counts(&self, mine: &[f32]) -> Result<Vec<i32>, RanksError> {
        let exchange = self.exchanges.fetch_add(1, Ordering::Relaxed);
        if self.panic_at == Some(exchange) {
            #[expect(clippy::panic, reason = "a test asks for it")]
            {
                panic!("asked for by {PANIC}");
            }
        }
        let mut counts = vec![0u64; self.size];
        SimpleCommunicator::world().all_gather_into(&(mine.len() as u64), &mut counts[..]);
        let (numbers, most) = (counts.iter().sum(), i32::MAX as u64);
        if numbers > most {
            return Err(RanksError::TooLarge { numbers, most });
        }
        Ok(counts.into_iter().map(|count| i32::try_from(count).unwrap_or(i32::MAX)).collect())
    }

    fn count(&self, sent: usize, received: usize) {
        let bytes = |numbers: usize| (numbers * size_of::<f32>()) as u64;
        self.sent.fetch_add(bytes(sent), Ordering::Relaxed);
        self.received.fetch_add(bytes(received.saturating_sub(sent)), Ordering::Relaxed);
    }
}

/// The received numbers, divided by rank.
fn parted(received: &[f32], counts: &[i32]) -> Vec<Vec<f32>> {
    let mut rest = received;
    let part = |&count: &i32| {
        let (part, more) = rest.split_at(usize::try_from(count).unwrap_or(0).min(rest.len()));
        rest = more;
        part.to_vec()
    };
    counts.iter().map(part).collect()
}

/// The beginning of each rank's part.
fn beginnings(counts: &[i32]) -> Vec<i32> {
    let mut next = 0;
    let beginning = |count: &i32| {
        next += count;
        next - count
    };
    counts.iter().map(beginning).collect()
}

fn total(counts: &[i32]) -> usize {
    counts.iter().filter_map(|&count| usize::try_from(count).ok()).sum()
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, RanksError> {
        let counts = self.counts(&mine)?;
        let mut received = vec![0f32; total(&counts)];
        let mut parts = PartitionMut::new(&mut received[..], &counts[..], beginnings(&counts));
        SimpleCommunicator::world().all_gather_varcount_into(&mine[..], &mut parts);
        self.count(mine.len(), received.len());
        Ok(parted(&received, &counts))
    }

    fn gather_first(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, RanksError> {
        let counts = self.counts(&mine)?;
        let world = SimpleCommunicator::world();
        let first = world.process_at_rank(0);
        if !self.is_first() {
            first.gather_varcount_into(&mine[..]);
            self.count(mine.len(), 0);
            return Ok(Vec::new());
        }
        let mut received = vec![0f32; total(&counts)];
        let mut parts = PartitionMut::new(&mut received[..], &counts[..], beginnings(&counts));
        first.gather_varcount_into_root(&mine[..], &mut parts);
        self.count(mine.len(), received.len());
        Ok(parted(&received, &counts))
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_one_piece_is_parted_by_rank() {
        let counts = [2, 0, 1];
        assert_eq!(beginnings(&counts), [0, 2, 2]);
        assert_eq!(parted(&[1.0, 2.0, 3.0], &counts), [vec![1.0, 2.0], vec![], vec![3.0]]);
    }
}
