//! The processes that train one network together, each with its share of the blocks.
//!
//! What is shared by the blocks every process holds, and moves by the same replicated step. A step needs one exchange: what
//! every loss gives to the shared parameters travels to all, and all add it in block order. A sum that the exchange itself
//! made would have other bits with another number of processes.

use std::ops::Range;

/// Why processes that train together could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeersError {
    /// One exchange takes so many numbers at most.
    #[error("an exchange of {numbers} numbers is more than the {most} that go at a time")]
    TooLarge {
        /// How many there are.
        numbers: u64,
        /// How many may be.
        most: u64,
    },
    /// A process sent something else than it should.
    #[error(
        "rank {rank} sent {reason}: all ranks need the same version of noprop and the same settings"
    )]
    Malformed {
        /// Who.
        rank: usize,
        /// What.
        reason: &'static str,
    },
    /// A process is gone.
    #[error("rank {rank} is gone")]
    Gone {
        /// Which.
        rank: usize,
    },
}

/// Bytes of numbers that a process has exchanged since it began. What a network adds to them is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What it had to say, counted once however many processes were told.
    pub sent: u64,
    /// What the others said to it.
    pub received: u64,
}

/// The processes of one training, as one of them sees them. All must make the same calls in the same order: a call
/// returns when every process has made it.
pub trait Peers: Sync {
    /// This process's number, below [`Self::size`].
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// Brings what every process has to say to all of them, in the order of ranks, bit by bit as it was given.
    ///
    /// # Errors
    /// [`PeersError`]; the training cannot go on then.
    fn gather(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, PeersError>;

    /// [`Self::gather`] for rank 0 alone: the others are told nothing and get an empty list.
    ///
    /// # Errors
    /// As for [`Self::gather`].
    fn gather_first(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, PeersError>;

    /// What was exchanged so far.
    fn traffic(&self) -> Traffic;

    /// Whether this is rank 0, which keeps the record of the training.
    fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether there is nobody else.
    fn is_alone(&self) -> bool {
        self.size() == 1
    }

    /// Whether any process says yes.
    ///
    /// # Errors
    /// As for [`Self::gather`].
    fn any(&self, yes: bool) -> Result<bool, PeersError> {
        let answers = self.gather(vec![f32::from(u8::from(yes))])?;
        Ok(answers.iter().flatten().any(|&answer| answer > 0.0))
    }
}

/// One process that does everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Peers for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, PeersError> {
        Ok(vec![mine])
    }

    fn gather_first(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, PeersError> {
        Ok(vec![mine])
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

/// Which of `count` blocks are rank `rank`'s among `size`: neighbours, so that the order of ranks is the order of blocks, and
/// no rank has two more than another.
pub(crate) fn share(count: usize, rank: usize, size: usize) -> Range<usize> {
    count * rank / size..count * (rank + 1) / size
}

/// Whose block number `index` of `count` is among `size` ranks.
pub(crate) fn owner(index: usize, count: usize, size: usize) -> usize {
    (0..size).find(|&rank| share(count, rank, size).contains(&index)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block that nobody trains, or two do, would be wrong without anybody noticing.
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
