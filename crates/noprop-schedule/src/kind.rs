//! The schedules that can be chosen by name.

use std::f64::consts::FRAC_PI_2;
use std::fmt;
use std::str::FromStr;

use crate::ScheduleError;

/// A rise of ᾱ from noise (t = 0) to nearly clean (t = T), with τ = t/T.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum ScheduleKind {
    /// ᾱ(τ) = cos²(π/2 · ((1 − τ) + s)/(1 + s)) with s = 0.008: the paper's fixed schedule for NoProp-DT.
    #[default]
    Cosine,
    /// ᾱ(τ) = 0.999 τ: equal steps of the signal's share.
    Linear,
    /// The schedule of the original PyTorch notebook: α falls in equal steps from 0.99 beside the clean
    /// end to 0.90 beside the noise end, and ᾱ is their running product. At T = 10 its ᾱ_0 is 0.57, so
    /// z_0 still holds the label in training but not at inference. It is kept to show the cost of that.
    /// Beyond about 13,000 steps the levels beside the noise end underflow, so the schedule cannot be built.
    Notebook,
}

/// The cosine schedule's offset s, which keeps ᾱ_T below 1.
const COSINE_OFFSET: f64 = 0.008;
/// ᾱ_T of the linear schedule.
const LINEAR_CLEAN: f64 = 0.999;
/// ᾱ_T of the notebook's schedule. The notebook treats its last level as clean, but a share of exactly 1 has no finite SNR.
const NOTEBOOK_CLEAN: f64 = 0.9999;
/// α beside the clean end and beside the noise end in the notebook.
const NOTEBOOK_ALPHA: (f64, f64) = (0.99, 0.90);

impl ScheduleKind {
    /// Every kind, in the order in which help texts list them.
    pub const ALL: [Self; 3] = [Self::Cosine, Self::Linear, Self::Notebook];

    /// Returns ᾱ at `tau` in 0..=1, where 0 is noise and 1 is nearly clean.
    ///
    /// `None` for a `tau` outside of that, and for [`Self::Notebook`], whose levels depend on T and not on t/T alone.
    pub fn alpha_bar_at(self, tau: f64) -> Option<f64> {
        if !(0.0..=1.0).contains(&tau) {
            return None;
        }
        match self {
            Self::Cosine => Some(cosine(tau)),
            Self::Linear => Some(LINEAR_CLEAN * tau),
            Self::Notebook => None,
        }
    }

    /// ᾱ_0 … ᾱ_T for `steps` = T, not checked to rise.
    ///
    /// # Errors
    /// [`ScheduleError::Steps`] if T is 0 or the levels do not fit into memory.
    pub(crate) fn alpha_bars(self, steps: usize) -> Result<Vec<f64>, ScheduleError> {
        let refused = || ScheduleError::Steps(steps);
        if steps == 0 {
            return Err(refused());
        }
        let mut levels = Vec::new();
        let count = steps.checked_add(1).ok_or_else(refused)?;
        levels.try_reserve_exact(count).map_err(|_| refused())?;
        match self {
            Self::Cosine => levels.extend((0..=steps).map(|t| cosine(t as f64 / steps as f64))),
            Self::Linear => {
                levels.extend((0..=steps).map(|t| LINEAR_CLEAN * t as f64 / steps as f64));
            }
            Self::Notebook => notebook(&mut levels, steps),
        }
        Ok(levels)
    }
}

fn cosine(tau: f64) -> f64 {
    if tau == 0.0 {
        // cos²(π/2) is 0; floating point would leave 4e-33.
        return 0.0;
    }
    let phase = ((1.0 - tau) + COSINE_OFFSET) / (1.0 + COSINE_OFFSET);
    (FRAC_PI_2 * phase).cos().powi(2)
}

/// Adds the levels from the clean end to the noise end, and then turns them round.
fn notebook(levels: &mut Vec<f64>, steps: usize) {
    let (near_clean, near_noise) = NOTEBOOK_ALPHA;
    levels.push(NOTEBOOK_CLEAN);
    for k in 0..steps {
        let share = if steps == 1 { 0.0 } else { k as f64 / (steps - 1) as f64 };
        let alpha = near_clean + (near_noise - near_clean) * share;
        levels.push(levels[k] * alpha);
    }
    levels.reverse();
}

impl fmt::Display for ScheduleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cosine => "cosine",
            Self::Linear => "linear",
            Self::Notebook => "notebook",
        })
    }
}

impl FromStr for ScheduleKind {
    type Err = ScheduleError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.to_string() == name)
            .ok_or_else(|| ScheduleError::UnknownKind(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for kind in ScheduleKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("cosin".parse::<ScheduleKind>().is_err());
    }

    /// The figures that the documentation quotes.
    #[test]
    fn quoted_end_points() {
        let cosine = ScheduleKind::Cosine.alpha_bars(10).unwrap();
        assert_eq!(cosine[0], 0.0);
        assert!((cosine[10] - 0.99984).abs() < 1e-5, "{}", cosine[10]);
        let notebook = ScheduleKind::Notebook.alpha_bars(10).unwrap();
        assert!((notebook[0] - 0.57).abs() < 0.005, "{}", notebook[0]);
        assert!((notebook[10] / notebook[9] - 1.0 / 0.99).abs() < 1e-12);
        assert!((notebook[1] / notebook[0] - 1.0 / 0.90).abs() < 1e-12);
    }

    /// Levels are the function of τ at t/T; where they differ, samplers with times of their own would leave the schedule.
    #[test]
    fn levels_lie_on_the_function_of_time() {
        for kind in [ScheduleKind::Cosine, ScheduleKind::Linear] {
            for (t, level) in kind.alpha_bars(7).unwrap().into_iter().enumerate() {
                let at = kind.alpha_bar_at(t as f64 / 7.0).unwrap();
                assert!((at - level).abs() < 1e-15, "{kind} {t}: {at} {level}");
            }
            for outside in [-0.1, 1.1, f64::NAN] {
                assert_eq!(kind.alpha_bar_at(outside), None);
            }
        }
        assert_eq!(ScheduleKind::Notebook.alpha_bar_at(0.5), None);
    }
}
