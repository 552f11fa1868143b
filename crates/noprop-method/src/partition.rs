//! The division of time among blocks: the interval of 0..=1 that each block owns, and the times in it at which the block is
//! trained.

use std::ops::Range;

use candle_core::Tensor;
use noprop_kernels::random;

use crate::{Draws, MethodError};

/// The most blocks that share time.
const MAX_INTERVALS: usize = 100;
/// The largest number of steps that is tried in the search for one that gives every block a step.
const MAX_STEPS: u32 = 1000;

/// B intervals that cover 0..=1 without a gap, that of block 1 first. An interval contains its beginning and not its end; the
/// last interval also contains 1.
///
/// Intervals have equal shares of the loss, so that all blocks have the same amount to learn. The mass of an interval is the
/// integral of the loss weight over it. DiffusionBlocks (arXiv 2506.14202) divides noise levels in this way, by the probability
/// with which they are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// The B + 1 bounds: 0 = first < … < last = 1.
    bounds: Vec<f64>,
}

impl Partition {
    /// Returns the partition with one block for all times, as in the paper.
    pub fn whole() -> Self {
        Self { bounds: vec![0.0, 1.0] }
    }

    /// Returns intervals of equal length. They have equal mass if every time has the same weight.
    ///
    /// # Errors
    /// [`MethodError::OutOfRange`] unless `intervals` is between 1 and 100.
    pub fn equal_length(intervals: usize) -> Result<Self, MethodError> {
        check(intervals)?;
        let bounds = (0..=intervals).map(|b| b as f64 / intervals as f64).collect();
        Ok(Self { bounds })
    }

    /// Returns intervals of equal mass. `density` holds the means of the weight over equal cells of 0..=1; within a cell the
    /// weight is treated as constant.
    ///
    /// # Errors
    /// [`MethodError::OutOfRange`] unless `intervals` is between 1 and 100 and all densities are positive and finite.
    pub fn equal_mass(intervals: usize, density: &[f64]) -> Result<Self, MethodError> {
        check(intervals)?;
        for &weight in density {
            if !(weight.is_finite() && weight > 0.0) {
                let (name, expected) = ("the loss weight", "a positive number");
                return Err(MethodError::OutOfRange {
                    name,
                    expected,
                    value: format!("{weight:?}"),
                });
            }
        }
        let total: f64 = density.iter().sum();
        let mut bounds = vec![0.0];
        let mut below = 0.0;
        for (cell, weight) in density.iter().enumerate() {
            // A cell may contain several bounds, or none.
            while bounds.len() < intervals {
                let wanted = total * bounds.len() as f64 / intervals as f64;
                if wanted >= below + weight {
                    break;
                }
                bounds.push((cell as f64 + (wanted - below) / weight) / density.len() as f64);
            }
            below += weight;
        }
        bounds.push(1.0);
        Ok(Self { bounds })
    }

    /// Returns B, the number of blocks.
    pub fn blocks(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Returns the interval of block `block`, 1..=B. For any other number it is empty.
    pub fn interval(&self, block: usize) -> Range<f64> {
        match (self.bounds.get(block.wrapping_sub(1)), self.bounds.get(block)) {
            (Some(&start), Some(&end)) => start..end,
            _ => 0.0..0.0,
        }
    }

    /// Returns the length of block `block`'s interval, which is the share of all times that the block owns.
    pub fn share(&self, block: usize) -> f64 {
        let interval = self.interval(block);
        interval.end - interval.start
    }

    /// Returns the block, 1..=B, that owns `time` in 0..=1.
    pub fn owner_of(&self, time: f64) -> usize {
        self.bounds.partition_point(|&bound| bound <= time).clamp(1, self.blocks())
    }

    /// Draws a time in block `block`'s interval for each of the N `labels`, `[N]`. Each time is uniform, and the N times are
    /// spread evenly.
    pub(crate) fn times(
        &self,
        draws: Draws,
        block: usize,
        labels: &Tensor,
    ) -> Result<Tensor, MethodError> {
        let spread = random::spread(draws.time(block), labels.dim(0)?, labels.device())?;
        self.place(block, &spread)
    }

    /// Maps the uniform draws `units` in 0..1, of any shape, to times in block `block`'s interval.
    ///
    /// # Errors
    /// candle's.
    pub fn place(&self, block: usize, units: &Tensor) -> Result<Tensor, MethodError> {
        Ok(units.affine(self.share(block), self.interval(block).start)?)
    }

    /// Checks that a network has as many blocks as there are intervals.
    pub(crate) fn check_blocks(&self, blocks: usize) -> Result<(), MethodError> {
        let intervals = self.blocks();
        if blocks == intervals {
            return Ok(());
        }
        Err(MethodError::Intervals { blocks, intervals })
    }

    /// Checks that with `steps` equal steps every block has at least one. A block without a step would be trained but never
    /// used.
    pub(crate) fn check_steps(&self, steps: u32) -> Result<(), MethodError> {
        if self.all_have_a_step(steps) {
            return Ok(());
        }
        let fewest = (1..MAX_STEPS).find(|&steps| self.all_have_a_step(steps));
        let fewest = fewest.unwrap_or(MAX_STEPS);
        Err(MethodError::FewSteps { steps, intervals: self.blocks(), fewest })
    }

    /// Returns whether every block owns the beginning of at least one of `steps` equal steps.
    pub fn all_have_a_step(&self, steps: u32) -> bool {
        let mut owners: Vec<usize> =
            (0..steps).map(|step| self.owner_of(f64::from(step) / f64::from(steps))).collect();
        owners.dedup();
        owners.len() == self.blocks()
    }
}

fn check(intervals: usize) -> Result<(), MethodError> {
    if (1..=MAX_INTERVALS).contains(&intervals) {
        return Ok(());
    }
    Err(MethodError::OutOfRange {
        name: "intervals",
        expected: "between 1 and 100",
        value: intervals.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Returns weights as steep as those of an unclipped signal-to-noise ratio.
    fn steep(cells: usize) -> Vec<f64> {
        (0..cells).map(|cell| (11.0 * (cell as f64 + 0.5) / cells as f64).exp()).collect()
    }

    fn placed<const N: usize>(partition: &Partition, block: usize, units: &[f32; N]) -> [f32; N] {
        let times = partition.place(block, &Tensor::new(units, &Device::Cpu).unwrap()).unwrap();
        times.to_vec1().unwrap().try_into().unwrap()
    }

    #[test]
    fn intervals_cover_all_times_without_a_gap_and_each_time_has_one_owner() {
        for intervals in [1, 2, 5, 7, 100] {
            let equal = Partition::equal_length(intervals).unwrap();
            let steep = Partition::equal_mass(intervals, &steep(1000)).unwrap();
            for partition in [equal, steep] {
                assert_eq!(partition.blocks(), intervals);
                assert_eq!(partition.interval(1).start, 0.0);
                assert_eq!(partition.interval(intervals).end, 1.0);
                for block in 1..=intervals {
                    let interval = partition.interval(block);
                    assert!(interval.start < interval.end, "{block} of {intervals}: {interval:?}");
                    assert_eq!(partition.owner_of(interval.start), block);
                    assert_eq!(partition.owner_of(0.5 * (interval.start + interval.end)), block);
                    if block < intervals {
                        assert_eq!(interval.end, partition.interval(block + 1).start);
                        assert_eq!(partition.owner_of(interval.end), block + 1);
                    }
                    for time in placed(&partition, block, &[0.0, 0.3, 1.0 - f32::EPSILON]) {
                        let time = f64::from(time);
                        let slack = f64::from(f32::EPSILON);
                        assert!(time >= interval.start - slack && time <= interval.end + slack);
                    }
                }
                assert_eq!(partition.owner_of(1.0), intervals);
            }
        }
    }

    /// The mass of e^(11 t) up to t is (e^(11 t) − 1)/11.
    #[test]
    fn masses_are_equal() {
        for intervals in [2, 5, 20] {
            let partition = Partition::equal_mass(intervals, &steep(10_000)).unwrap();
            let below = |t: f64| (11.0 * t).exp_m1() / 11f64.exp_m1();
            for block in 1..=intervals {
                let interval = partition.interval(block);
                let mass = below(interval.end) - below(interval.start);
                assert!((mass * intervals as f64 - 1.0).abs() < 1e-3, "{block}: {mass}");
            }
            let flat = Partition::equal_mass(intervals, &[3.0; 77]).unwrap();
            for block in 1..=intervals {
                assert!((flat.share(block) * intervals as f64 - 1.0).abs() < 1e-12);
            }
        }
    }

    /// With one interval the draws must have the same bits as without intervals.
    #[test]
    fn the_whole_leaves_every_draw_as_it_is() {
        let whole = [
            Partition::whole(),
            Partition::equal_length(1).unwrap(),
            Partition::equal_mass(1, &steep(10)).unwrap(),
        ];
        for partition in whole {
            assert_eq!(partition, Partition::whole());
            let units = [0.0, 1e-30, 0.1, 0.999_999_94];
            assert_eq!(placed(&partition, 1, &units).map(f32::to_bits), units.map(f32::to_bits));
            assert_eq!(partition.share(1), 1.0);
        }
    }

    #[test]
    fn a_block_without_a_step_is_refused() {
        let five = Partition::equal_length(5).unwrap();
        for steps in [5, 6, 7, 10, 1000] {
            assert!(five.check_steps(steps).is_ok(), "{steps}");
        }
        for steps in 1..5 {
            let refused = five.check_steps(steps);
            assert!(matches!(refused, Err(MethodError::FewSteps { fewest: 5, .. })), "{steps}");
        }
        for wrong in [0, 101] {
            assert!(Partition::equal_length(wrong).is_err());
            assert!(Partition::equal_mass(wrong, &[1.0]).is_err());
        }
        assert!(Partition::equal_mass(2, &[1.0, f64::NAN]).is_err());
        assert!(Partition::whole().check_blocks(2).is_err());
    }
}
