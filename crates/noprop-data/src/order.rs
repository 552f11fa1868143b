//! Seeded permutations: the same on every machine and in every version.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a permutation is for; part of the reproducibility promise.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Epoch = 1,
    Holdout = 2,
    Sample = 3,
}

/// The order in which epoch number `epoch` (from 0) visits `n` images. It depends on nothing but its arguments.
pub fn epoch_order(seed: u64, epoch: u64, n: usize) -> Vec<u32> {
    permutation(Purpose::Epoch, seed, epoch, n)
}

/// Fisher-Yates on a ChaCha8 stream keyed by purpose, seed and number. `rand`'s own shuffle may change between releases.
pub(crate) fn permutation(purpose: Purpose, seed: u64, number: u64, n: usize) -> Vec<u32> {
    let mut key = [0u8; 32];
    for (slot, word) in key.chunks_exact_mut(8).zip([purpose as u64, seed, number]) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    let mut stream = ChaCha8Rng::from_seed(key);
    let mut order: Vec<u32> = (0..u32::try_from(n).unwrap_or(u32::MAX)).collect();
    for i in (1..order.len()).rev() {
        let bound = i as u64 + 1;
        // Reject the incomplete last range, so that every place is equally likely.
        let limit = u64::MAX - u64::MAX % bound;
        let j = loop {
            let draw = stream.next_u64();
            if draw < limit {
                break draw % bound;
            }
        };
        order.swap(i, usize::try_from(j).unwrap_or(i));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_permutation_that_depends_on_every_argument() {
        let order = epoch_order(1, 0, 1000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..1000));
        assert_ne!(order, epoch_order(2, 0, 1000));
        assert_ne!(order, epoch_order(1, 1, 1000));
        assert_ne!(order, permutation(Purpose::Holdout, 1, 0, 1000));
    }
}
