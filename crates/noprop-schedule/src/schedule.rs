//! A schedule of T steps, valid by construction.

use crate::{Posterior, ScheduleError, ScheduleKind};

/// ᾱ_0 … ᾱ_T, with 0 ≤ ᾱ_0 < … < ᾱ_T < 1.
///
/// Levels t run from 0 to T; blocks and steps from 1 to T, where step t leads from level t − 1 to level t.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    alpha_bars: Vec<f64>,
}

impl Schedule {
    /// The schedule of this kind with `steps` = T. It takes 8 bytes a step; the paper uses T = 10 (discrete time) and 1000
    /// (continuous time).
    ///
    /// # Errors
    /// [`ScheduleError::Steps`] if `steps` is 0 or its levels do not fit into memory; [`ScheduleError::NotIncreasing`] for
    /// [`ScheduleKind::Notebook`] with so many steps that its levels underflow.
    pub fn new(kind: ScheduleKind, steps: usize) -> Result<Self, ScheduleError> {
        Self::from_alpha_bars(kind.alpha_bars(steps)?)
    }

    /// A schedule of other values: ᾱ_0 … ᾱ_T in this order.
    ///
    /// # Errors
    /// [`ScheduleError::Steps`] for fewer than two values; [`ScheduleError::NotIncreasing`] unless
    /// 0 ≤ ᾱ_0 < … < ᾱ_T < 1 (so for NaN too).
    pub fn from_alpha_bars(alpha_bars: Vec<f64>) -> Result<Self, ScheduleError> {
        if alpha_bars.len() < 2 {
            return Err(ScheduleError::Steps(0));
        }
        let mut previous = 0.0;
        for (t, &value) in alpha_bars.iter().enumerate() {
            let rises = if t == 0 { value >= previous } else { value > previous };
            if !rises || value.is_nan() || value >= 1.0 {
                return Err(ScheduleError::NotIncreasing { t, value, previous });
            }
            previous = value;
        }
        Ok(Self { alpha_bars })
    }

    /// T, the number of steps.
    pub fn steps(&self) -> usize {
        self.alpha_bars.len() - 1
    }

    /// ᾱ_t, the signal's share of the variance at level `t`.
    ///
    /// # Panics
    /// If `t` > T, as indexing a slice would.
    pub fn alpha_bar(&self, t: usize) -> f64 {
        self.alpha_bars[t]
    }

    /// ᾱ_0 … ᾱ_T.
    pub fn alpha_bars(&self) -> &[f64] {
        &self.alpha_bars
    }

    /// SNR(t) = ᾱ_t / (1 − ᾱ_t).
    ///
    /// # Panics
    /// If `t` > T.
    pub fn snr(&self, t: usize) -> f64 {
        let alpha_bar = self.alpha_bar(t);
        alpha_bar / (1.0 - alpha_bar)
    }

    /// SNR(t) − SNR(t − 1) > 0: the weight of step `t` in the denoising loss (Eq. 8), before the factor T/2 · η.
    ///
    /// # Panics
    /// If `t` is not in 1..=T.
    pub fn snr_gain(&self, t: usize) -> f64 {
        self.snr(t) - self.snr(t - 1)
    }

    /// The coefficients of step `t`, from level t − 1 to level t (Eq. 3).
    ///
    /// # Panics
    /// If `t` is not in 1..=T.
    pub fn posterior(&self, t: usize) -> Posterior {
        Posterior::between_checked(self.alpha_bar(t - 1), self.alpha_bar(t))
    }
}

/// KL(q(z_0|y) ‖ N(0, I)) in nats, for a clean embedding of squared length `norm_squared` in `dimension` dimensions:
/// ½(ᾱ_0 ‖u_y‖² + d(1 − ᾱ_0) − d − d ln(1 − ᾱ_0)).
///
/// It measures how much z_0 still depends on the label in training. At inference z_0 is pure noise, so the divergence should be
/// close to 0.
pub fn kl_to_prior(alpha_bar_0: f64, norm_squared: f64, dimension: usize) -> f64 {
    let d = dimension as f64;
    0.5 * (alpha_bar_0 * norm_squared - d * alpha_bar_0 - d * (-alpha_bar_0).ln_1p())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every schedule at every T: ᾱ rises, every SNR weight is positive, every coefficient is finite.
    /// Catches a schedule that runs backwards and one that is indexed a step off.
    #[test]
    fn every_kind_and_length_is_sound() {
        for kind in ScheduleKind::ALL {
            for steps in (1..=1000).chain([2000, 5000]) {
                let schedule = Schedule::new(kind, steps).unwrap();
                assert_eq!(schedule.steps(), steps);
                for t in 1..=steps {
                    let step = schedule.posterior(t);
                    assert!(
                        schedule.alpha_bar(t) > schedule.alpha_bar(t - 1),
                        "{kind} {steps} {t}"
                    );
                    assert!(schedule.snr_gain(t) > 0.0, "{kind} {steps} {t}");
                    for coefficient in [step.a, step.b, step.c] {
                        assert!(
                            coefficient.is_finite() && coefficient >= 0.0,
                            "{kind} {steps} {t} {step:?}"
                        );
                    }
                }
            }
        }
    }

    /// The whole chain with û = u_y ends in q(z_T | y) for every kind, however long it is.
    #[test]
    fn the_chain_reproduces_the_last_marginal() {
        let chains = ScheduleKind::ALL.map(|kind| [10, 2000].map(|steps| (kind, steps)));
        for (kind, steps) in chains.into_iter().flatten() {
            let schedule = Schedule::new(kind, steps).unwrap();
            let (mut mean, mut var) = (schedule.alpha_bar(0).sqrt(), 1.0 - schedule.alpha_bar(0));
            for t in 1..=steps {
                let step = schedule.posterior(t);
                mean = step.a + step.b * mean;
                var = step.b * step.b * var + step.c;
                assert!((mean - schedule.alpha_bar(t).sqrt()).abs() < 1e-12);
                assert!((var - (1.0 - schedule.alpha_bar(t))).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn refuses_what_does_not_rise() {
        let refused = |values: &[f64]| Schedule::from_alpha_bars(values.to_vec()).is_err();
        assert!(refused(&[]));
        assert!(refused(&[0.5]));
        assert!(refused(&[0.9, 0.5, 0.1]), "backwards");
        assert!(refused(&[0.0, 0.5, 0.5]), "flat");
        assert!(refused(&[0.0, 1.0]), "infinite SNR");
        assert!(refused(&[-0.1, 0.5]));
        assert!(refused(&[0.0, f64::NAN]));
        assert!(!refused(&[0.0, 0.5, 0.9]));
        assert!(Schedule::new(ScheduleKind::Cosine, 0).is_err());
    }

    /// A number of steps beyond reason is an error, neither a panic nor an abort.
    #[test]
    fn refuses_steps_that_cannot_be() {
        for kind in ScheduleKind::ALL {
            for steps in [usize::MAX, usize::MAX / 8] {
                assert_eq!(Schedule::new(kind, steps), Err(ScheduleError::Steps(steps)));
            }
        }
        // The documentation says from where on.
        assert!(Schedule::new(ScheduleKind::Notebook, 13_000).is_ok());
        for steps in [13_100, 100_000] {
            let underflows = Schedule::new(ScheduleKind::Notebook, steps);
            assert!(matches!(underflows, Err(ScheduleError::NotIncreasing { .. })), "{steps}");
        }
    }

    /// Against numerical integration of q ln(q/p) in one dimension.
    #[test]
    fn kl_equals_its_definition() {
        let (alpha_bar, u) = (0.57, 1.0);
        let (mean, var): (f64, f64) = (f64::sqrt(alpha_bar) * u, 1.0 - alpha_bar);
        let (mut kl, dz) = (0.0, 1e-3);
        for i in -10_000..10_000 {
            let z = f64::from(i) * dz;
            let ln_q = -0.5 * ((z - mean).powi(2) / var + (std::f64::consts::TAU * var).ln());
            let ln_p = -0.5 * (z * z + std::f64::consts::TAU.ln());
            kl += ln_q.exp() * (ln_q - ln_p) * dz;
        }
        assert!((kl_to_prior(alpha_bar, u * u, 1) - kl).abs() < 1e-6);
        assert_eq!(kl_to_prior(0.0, 1.0, 10), 0.0);
    }
}
