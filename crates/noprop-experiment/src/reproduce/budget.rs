//! The number of epochs that fit into a budget of time.

/// The time of a row's trial of one epoch, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// The epoch, validation included.
    pub epoch: f64,
    /// One classification of the test images with each sampler of the row.
    pub evaluations: f64,
    /// One classification of the training images, if the row has any.
    pub of_training: f64,
    /// The classification of training and test images at the end of a training, after its time was taken.
    pub end: f64,
}

impl Trial {
    /// The epochs that fit into a row's share of the budget in seconds, at least one and at most `usual`. Each of `seeds` trainings has
    /// its end, and is then classified with: `runs` times the test images, once the training images. The trial was paid from the share
    /// as well.
    pub fn epochs(self, share: f64, seeds: u32, runs: u32, usual: u32) -> u32 {
        let of_seed = self.end + self.evaluations * f64::from(runs) + self.of_training;
        let trial = self.epoch + self.end + self.evaluations + self.of_training;
        let left = share - trial - f64::from(seeds) * of_seed;
        let fitting = left / (f64::from(seeds) * self.epoch.max(1e-3));
        // The cast saturates, and takes NaN to 0.
        (fitting.floor() as u32).clamp(1, usual.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The epochs are at least one and at most those of the paper; more time gives more epochs.
    #[test]
    fn epochs_fill_the_share() {
        let trial = Trial { epoch: 10.0, evaluations: 1.0, of_training: 2.0, end: 3.0 };
        assert_eq!(trial.epochs(0.0, 3, 5, 100), 1);
        assert_eq!(trial.epochs(1e9, 3, 5, 100), 100);
        // 16 for the trial and 30 for ends and classifications leave 300: ten epochs of each seed.
        assert_eq!(trial.epochs(346.0, 3, 5, 100), 10);
        assert_eq!(
            Trial { epoch: 0.0, evaluations: 0.0, of_training: 0.0, end: 0.0 }.epochs(1.0, 1, 1, 7),
            7
        );
    }
}
