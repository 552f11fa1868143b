//! The schedules that can be chosen by name, each a plain function of τ = t/T.

use std::f64::consts::FRAC_PI_2;
use std::fmt;
use std::str::FromStr;

use crate::ScheduleError;

/// How ᾱ rises from noise (t = 0) to nearly clean (t = T).
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
    /// z_0 still holds the label while training but not at inference. Kept to show what that costs.
    Notebook,
}

/// The cosine schedule's offset s, which keeps ᾱ_T below 1.
const COSINE_OFFSET: f64 = 0.008;
/// ᾱ_T of the linear schedule.
const LINEAR_CLEAN: f64 = 0.999;
/// ᾱ_T of the notebook's schedule, which takes its last level for clean; a share of exactly 1 has no finite SNR.
const NOTEBOOK_CLEAN: f64 = 0.9999;
/// α beside the clean end and beside the noise end in the notebook.
const NOTEBOOK_ALPHA: (f64, f64) = (0.99, 0.90);

impl ScheduleKind {
    /// Every kind, in the order in which help texts list them.
    pub const ALL: [Self; 3] = [Self::Cosine, Self::Linear, Self::Notebook];

    /// ᾱ_0 … ᾱ_T for `steps` = T, without any check.
    pub(crate) fn alpha_bars(self, steps: usize) -> Vec<f64> {
        match self {
            Self::Cosine => (0..=steps).map(|t| cosine(t, steps)).collect(),
            Self::Linear => (0..=steps).map(|t| LINEAR_CLEAN * t as f64 / steps as f64).collect(),
            Self::Notebook => notebook(steps),
        }
    }
}

fn cosine(t: usize, steps: usize) -> f64 {
    if t == 0 {
        // cos²(π/2) is 0; floating point would leave 4e-33.
        return 0.0;
    }
    let tau = t as f64 / steps as f64;
    let phase = ((1.0 - tau) + COSINE_OFFSET) / (1.0 + COSINE_OFFSET);
    (FRAC_PI_2 * phase).cos().powi(2)
}

fn notebook(steps: usize) -> Vec<f64> {
    let (near_clean, near_noise) = NOTEBOOK_ALPHA;
    let mut levels = vec![NOTEBOOK_CLEAN];
    for k in 0..steps {
        let share = if steps == 1 { 0.0 } else { k as f64 / (steps - 1) as f64 };
        let alpha = near_clean + (near_noise - near_clean) * share;
        levels.push(levels[k] * alpha);
    }
    levels.reverse();
    levels
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
            .ok_or_else(|| ScheduleError::UnknownKind { name: name.into() })
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

    /// The figures the documentation quotes.
    #[test]
    fn quoted_end_points() {
        let cosine = ScheduleKind::Cosine.alpha_bars(10);
        assert_eq!(cosine[0], 0.0);
        assert!((cosine[10] - 0.99984).abs() < 1e-5, "{}", cosine[10]);
        let notebook = ScheduleKind::Notebook.alpha_bars(10);
        assert!((notebook[0] - 0.57).abs() < 0.005, "{}", notebook[0]);
        assert!((notebook[10] / notebook[9] - 1.0 / 0.99).abs() < 1e-12);
        assert!((notebook[1] / notebook[0] - 1.0 / 0.90).abs() < 1e-12);
    }
}
