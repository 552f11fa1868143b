//! Seeded permutations: the same on every machine and in every version.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The purpose of a permutation. Its number is part of the key, and so of the promise that results can be reproduced.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Epoch = 1,
    Holdout = 2,
    Sample = 3,
    Picked = 4,
    Prototype = 8,
    // 9 is noprop-method's, for augmentation.
    Folder = 10,
}

/// The order in which epoch number `epoch` (from 0) visits `n` images. It depends on the arguments alone.
pub fn epoch_order(seed: u64, epoch: u64, n: usize) -> Vec<u32> {
    permutation(Purpose::Epoch, seed, epoch, n)
}

/// The numbers of `count` of `n` images, or of all of them if there are fewer, picked at random by `seed`, to show to a person.
pub fn picked(seed: u64, n: usize, count: usize) -> Vec<u32> {
    let mut order = permutation(Purpose::Picked, seed, 0, n);
    order.truncate(count);
    order
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
        // The incomplete last range is rejected, so that every place is equally likely.
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

/// The rows of the images of `class`, among images with these `labels`, in the order of a permutation that depends on `purpose`,
/// `seed`, the number of the class and the number of its images alone.
pub(crate) fn of_class(purpose: Purpose, seed: u64, labels: &[u32], class: usize) -> Vec<u32> {
    let rows = (0..).zip(labels).filter(|(_, label)| **label as usize == class);
    let rows: Vec<u32> = rows.map(|(row, _)| row).collect();
    let order = permutation(purpose, seed, class as u64, rows.len());
    order.into_iter().filter_map(|place| rows.get(place as usize).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A changed order changes every result. The numbers come from a separate program (Python, with a ChaCha8 of its own).
    #[test]
    fn orders_are_what_they_were() {
        assert_eq!(epoch_order(1, 0, 12), [5, 8, 1, 10, 6, 0, 7, 9, 2, 11, 4, 3]);
        assert_eq!(epoch_order(7, 3, 12), [11, 4, 8, 9, 7, 5, 10, 0, 1, 6, 3, 2]);
        assert_eq!(permutation(Purpose::Holdout, 7, 0, 12), [0, 5, 3, 8, 2, 6, 4, 7, 11, 10, 1, 9]);
    }

    /// Taking the remainder of a draw, or starting the loop one place off, would favour some orders.
    #[test]
    fn every_order_of_three_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000 {
            *counts.entry(epoch_order(0, epoch, 3)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        // Six standard deviations of a binomial with mean 1,000.
        assert!(counts.values().all(|count| (827..=1173).contains(count)), "{counts:?}");
    }

    /// An image that is left out or comes twice would change what is trained on without an error.
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
