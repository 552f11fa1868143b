//! The coefficients of one inference step (Eq. 3).

use crate::ScheduleError;

/// The Gaussian posterior q(z_t | z_{t-1}, y) = N(a_t u_y + b_t z_{t-1}, c_t I).
///
/// At inference the block's guess û_t stands in for u_y:
/// z_t = a_t û_t(z_{t-1}, x) + b_t z_{t-1} + √c_t ε (Eq. 3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Posterior {
    /// Weight of the (guessed) clean embedding.
    pub a: f64,
    /// Weight of the noisier embedding z_{t-1}.
    pub b: f64,
    /// Variance of the added noise.
    pub c: f64,
}

impl Posterior {
    /// The step from signal share `from` = ᾱ_{t-1} to `to` = ᾱ_t.
    ///
    /// With α_{t-1} = ᾱ_{t-1}/ᾱ_t:
    /// a = √ᾱ_t (1 − α_{t-1})/(1 − ᾱ_{t-1}), b = √α_{t-1} (1 − ᾱ_t)/(1 − ᾱ_{t-1}),
    /// c = (1 − ᾱ_t)(1 − α_{t-1})/(1 − ᾱ_{t-1}).
    ///
    /// # Errors
    /// [`ScheduleError::NotAStep`] unless 0 ≤ `from` < `to` < 1 (so for NaN too).
    pub fn between(from: f64, to: f64) -> Result<Self, ScheduleError> {
        if 0.0 <= from && from < to && to < 1.0 {
            Ok(Self::between_checked(from, to))
        } else {
            Err(ScheduleError::NotAStep { from, to })
        }
    }

    /// [`Self::between`] for shares that are known to be 0 ≤ `from` < `to` < 1.
    pub(crate) fn between_checked(from: f64, to: f64) -> Self {
        let alpha = from / to;
        Self {
            a: to.sqrt() * (1.0 - alpha) / (1.0 - from),
            b: alpha.sqrt() * (1.0 - to) / (1.0 - from),
            c: (1.0 - to) * (1.0 - alpha) / (1.0 - from),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Bayes' rule in closed form: multiply the forward kernel q(z_{t-1} | z_t) = N(√α z_t, (1 − α))
        /// with q(z_t | y) = N(√ᾱ_t u, 1 − ᾱ_t) and condition. Catches a missing square root on ᾱ.
        #[test]
        fn equals_bayes_rule(from in 0.0..0.98f64, gap in 0.001..0.019f64) {
            let to = from + gap;
            let alpha: f64 = from / to;
            let (prior_var, noise_var) = (1.0 - to, 1.0 - alpha);
            let gain = prior_var * alpha.sqrt() / (alpha * prior_var + noise_var);
            let expected_a = to.sqrt() * (1.0 - gain * alpha.sqrt());
            let expected_c = prior_var * (1.0 - gain * alpha.sqrt());
            let step = Posterior::between(from, to).unwrap();
            prop_assert!((step.a - expected_a).abs() < 1e-9);
            prop_assert!((step.b - gain).abs() < 1e-9);
            prop_assert!((step.c - expected_c).abs() < 1e-9);
        }

        /// û = u_y must carry q(z_{t-1} | y) exactly to q(z_t | y), in mean and in variance.
        #[test]
        fn carries_one_marginal_to_the_next(from in 0.0..0.98f64, gap in 0.001..0.019f64) {
            let to = from + gap;
            let step = Posterior::between(from, to).unwrap();
            prop_assert!((step.a + step.b * from.sqrt() - to.sqrt()).abs() < 1e-12);
            prop_assert!((step.b * step.b * (1.0 - from) + step.c - (1.0 - to)).abs() < 1e-12);
        }
    }

    /// A step backwards would have a negative variance, and one to ᾱ = 1 no finite SNR.
    #[test]
    fn only_steps_to_a_larger_share_are_built() {
        for (from, to) in
            [(0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (0.5, 1.0), (f64::NAN, 0.5), (0.5, f64::NAN)]
        {
            assert!(Posterior::between(from, to).is_err(), "{from} {to}");
        }
        assert!(Posterior::between(0.0, 0.5).is_ok());
    }
}
