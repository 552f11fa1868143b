//! A noise schedule that is trained with the network (Appendix B).

use candle_core::{D, Device, Result, Tensor};

use crate::{Init, ParameterBuilder, ParameterError, Part};

/// The width of the hidden layer of the net γ̄.
const HIDDEN: usize = 64;
/// γ at the clean end before training. It gives ᾱ(1) = 0.9975.
const CLEAN_END: f32 = -6.0;
/// γ at the noise end before training. It gives ᾱ(0) = 0.0067.
const NOISE_END: f32 = 5.0;

/// A learned schedule: γ(t) = γ_0 + (γ_1 − γ_0)(1 − γ̄(t)), with SNR(t) = exp(−γ(t)) and ᾱ(t) = σ(−γ(t)).
///
/// γ̄ is a net of two layers with positive weights, so it rises, and is normalised to γ̄(0) = 0 and γ̄(1) = 1:
/// γ̄(t) = (g(t) − g(0)) / (g(1) − g(0)) with g(t) = Σ_h exp(v_h) σ(exp(w_h) t + b_h). Both ends and the net are trained.
#[derive(Debug, Clone)]
pub struct LearnedSchedule {
    /// w: the logarithms of the first layer's weights, `[H]`.
    first: Tensor,
    /// b, `[H]`.
    bias: Tensor,
    /// v: the logarithms of the second layer's weights, `[H]`.
    second: Tensor,
    /// γ_0, the clean end, `[1]`.
    clean_end: Tensor,
    /// γ_1, the noise end, `[1]`.
    noise_end: Tensor,
}

/// The schedule at N times. All tensors are `[N]` and differentiable.
#[derive(Debug, Clone)]
pub struct ScheduleAt {
    /// γ(t).
    pub gamma: Tensor,
    /// −γ'(t), from the derivative of the net. It is not negative while γ_1 > γ_0.
    pub rate: Tensor,
}

impl ScheduleAt {
    /// Returns ᾱ(t) = σ(−γ(t)).
    ///
    /// # Errors
    /// candle's.
    pub fn alpha_bar(&self) -> Result<Tensor> {
        sigmoid(&self.gamma.neg()?)
    }

    /// Returns 1 − ᾱ(t) = σ(γ(t)), without the loss of digits in a difference.
    ///
    /// # Errors
    /// candle's.
    pub fn noise_share(&self) -> Result<Tensor> {
        sigmoid(&self.gamma)
    }

    /// Returns SNR(t) = exp(−γ(t)).
    ///
    /// # Errors
    /// candle's.
    pub fn snr(&self) -> Result<Tensor> {
        self.gamma.neg()?.exp()
    }

    /// Returns SNR'(t) = −γ'(t) SNR(t).
    ///
    /// # Errors
    /// candle's.
    pub fn snr_rate(&self) -> Result<Tensor> {
        &self.rate * self.snr()?
    }
}

impl LearnedSchedule {
    /// Builds the schedule's parameters, fresh or from stored values.
    ///
    /// # Errors
    /// [`ParameterError`] if stored tensors do not fit.
    pub fn new(builder: &ParameterBuilder) -> std::result::Result<Self, ParameterError> {
        let make =
            |name, length: usize, init| builder.trainable(Part::Schedule, name, length, init);
        Ok(Self {
            first: make("net.first", HIDDEN, Init::FanIn(1))?,
            bias: make("net.bias", HIDDEN, Init::FanIn(1))?,
            second: make("net.second", HIDDEN, Init::FanIn(1))?,
            clean_end: make("clean_end", 1, Init::Constant(CLEAN_END))?,
            noise_end: make("noise_end", 1, Init::Constant(NOISE_END))?,
        })
    }

    /// Returns the device of the schedule's parameters.
    pub(crate) fn device(&self) -> &Device {
        self.clean_end.device()
    }

    /// Returns the schedule at times `t` `[N]` in 0..=1 (0 is noise).
    ///
    /// # Errors
    /// candle's.
    pub fn at(&self, t: &Tensor) -> Result<ScheduleAt> {
        let (w, v) = (self.first.exp()?, self.second.exp()?);
        let column = t.unsqueeze(1)?;
        let hidden = sigmoid(&column.broadcast_mul(&w)?.broadcast_add(&self.bias)?)?;
        // σ' = σ (1 − σ).
        let slopes = ((&hidden * hidden.affine(-1.0, 1.0)?)?).broadcast_mul(&w)?;
        let sum = |values: &Tensor| values.broadcast_mul(&v)?.sum(D::Minus1);
        let start = sum(&sigmoid(&self.bias)?.unsqueeze(0)?)?;
        let end = sum(&sigmoid(&(&w + &self.bias)?)?.unsqueeze(0)?)?;
        let span = (end - &start)?;
        let share = sum(&hidden)?.broadcast_sub(&start)?.broadcast_div(&span)?;
        let range = (&self.noise_end - &self.clean_end)?;
        let gamma =
            share.affine(-1.0, 1.0)?.broadcast_mul(&range)?.broadcast_add(&self.clean_end)?;
        let rate = sum(&slopes)?.broadcast_div(&span)?.broadcast_mul(&range)?;
        Ok(ScheduleAt { gamma, rate })
    }

    /// Returns γ_0 and γ_1, the values at t = 1 and t = 0, `[1]` each.
    pub fn ends(&self) -> (&Tensor, &Tensor) {
        (&self.clean_end, &self.noise_end)
    }

    /// Returns ᾱ at the times 0, 1/steps, …, 1.
    ///
    /// # Errors
    /// candle's.
    pub fn alpha_bars(&self, steps: usize) -> Result<Vec<f64>> {
        let times: Vec<f32> = (0..=steps).map(|i| i as f32 / steps as f32).collect();
        let times = Tensor::from_vec(times, steps + 1, self.device())?;
        let gamma = self.at(&times)?.gamma.to_vec1::<f32>()?;
        Ok(gamma.into_iter().map(|gamma| 1.0 / (1.0 + f64::from(gamma).exp())).collect())
    }
}

/// Returns 1 / (1 + exp(−x)), computed with differentiable ops.
pub(crate) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    x.neg()?.exp()?.affine(1.0, 1.0)?.recip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    fn schedule() -> LearnedSchedule {
        LearnedSchedule::new(&ParameterBuilder::seeded(Seed(3), &Device::Cpu)).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.to_vec1().unwrap()
    }

    /// ᾱ must rise from the noise end to the clean end, or weights would be negative.
    #[test]
    fn it_rises_from_end_to_end() {
        let schedule = schedule();
        for steps in [1, 2, 50, 1000] {
            let levels = schedule.alpha_bars(steps).unwrap();
            assert!(levels.windows(2).all(|pair| pair[0] < pair[1]), "{steps}");
            assert!((levels[0] - 1.0 / (1.0 + 5f64.exp())).abs() < 1e-6);
            assert!((levels[steps] - 1.0 / (1.0 + (-6f64).exp())).abs() < 1e-6);
        }
    }

    /// SNR' is the derivative of SNR, compared with central differences.
    #[test]
    fn the_rate_is_the_derivative() {
        let schedule = schedule();
        let at = |t: f32| schedule.at(&Tensor::new(&[t], &Device::Cpu).unwrap()).unwrap();
        for t in [0.1, 0.37, 0.5, 0.9] {
            let h = 0.01;
            let difference =
                (values(&at(t + h).gamma)[0] - values(&at(t - h).gamma)[0]) / (2.0 * h);
            let rate = values(&at(t).rate)[0];
            assert!((rate + difference).abs() < 0.01 * rate, "{t}: {rate} {difference}");
            let point = at(t);
            let snr_rate = values(&point.snr_rate().unwrap())[0];
            assert!((snr_rate - rate * (-values(&point.gamma)[0]).exp()).abs() < 1e-3 * snr_rate);
        }
    }

    /// A schedule whose net or ends received no gradient would silently keep its initial values.
    #[test]
    fn every_parameter_gets_a_gradient() {
        let builder = ParameterBuilder::seeded(Seed(3), &Device::Cpu);
        let schedule = LearnedSchedule::new(&builder).unwrap();
        let t = Tensor::new(&[0.2f32, 0.7], &Device::Cpu).unwrap();
        let gradients = schedule.at(&t).unwrap().snr_rate().unwrap().sum_all().unwrap();
        let gradients = gradients.backward().unwrap();
        for parameter in builder.finish().unwrap().iter() {
            let gradient = gradients.get(&parameter.var).unwrap().abs().unwrap().sum_all().unwrap();
            assert!(gradient.to_scalar::<f32>().unwrap() > 0.0, "{}", parameter.name);
        }
    }
}
