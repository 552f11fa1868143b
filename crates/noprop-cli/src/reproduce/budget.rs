//! How much may be trained: so many epochs, or so much time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The longest budget in hours: a year.
const MOST_HOURS: f64 = 8760.0;

/// Time for a whole reproduction, such as `30m`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget(pub Duration);

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || "give a time above 0 such as 90s, 30m or 2h, a year at most".to_owned();
        let (number, unit) =
            text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(refused)?;
        let seconds = match unit {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refused()),
        };
        let number: f64 = number.parse().map_err(|_| refused())?;
        let time = number * seconds;
        if !(time > 0.0 && time <= MOST_HOURS * 3600.0) {
            return Err(refused());
        }
        Duration::try_from_secs_f64(time).map(Self).map_err(|_| refused())
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration(self.0.as_secs_f64()))
    }
}

/// What an epoch's trial of a row took, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// The epoch, validation included.
    pub epoch: f64,
    /// One classification of the test images with each sampler of the row.
    pub evaluations: f64,
}

impl Trial {
    /// The epochs that fit into a row's share of the budget in seconds, at least one and at most `usual`. Each of `seeds` trainings is
    /// tested once at its end and then classified with `runs` times. The trial was paid from the share as well.
    pub fn epochs(self, share: f64, seeds: u32, runs: u32, usual: u32) -> u32 {
        let once = f64::from(seeds) * self.evaluations * f64::from(runs + 1);
        let left = share - self.epoch - self.evaluations - once;
        let fitting = left / (f64::from(seeds) * self.epoch.max(1e-3));
        // The cast saturates, and takes what is no number to 0.
        (fitting.floor() as u32).clamp(1, usual.max(1))
    }
}

/// Seconds, as a person would say it.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 600.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_time_above_nothing() {
        assert_eq!("30m".parse(), Ok(Budget(Duration::from_secs(1800))));
        assert_eq!("1.5h".parse(), Ok(Budget(Duration::from_secs(5400))));
        let bad = ["", "s", "0m", "-1h", "banana", "30", "1d", "NaNs", "infh", "1e300h", "µ", "3µ"];
        for text in bad {
            assert!(text.parse::<Budget>().is_err(), "{text}");
        }
    }

    /// A budget never asks for nothing, nor for more than the paper trained; more time is more epochs.
    #[test]
    fn epochs_fill_the_share() {
        let trial = Trial { epoch: 10.0, evaluations: 1.0 };
        assert_eq!(trial.epochs(0.0, 3, 5, 100), 1);
        assert_eq!(trial.epochs(1e9, 3, 5, 100), 100);
        // 11 for the trial and 18 for the classifications leave 300: ten epochs of each seed.
        assert_eq!(trial.epochs(329.0, 3, 5, 100), 10);
        assert_eq!(Trial { epoch: 0.0, evaluations: 0.0 }.epochs(1.0, 1, 1, 7), 7);
    }
}
