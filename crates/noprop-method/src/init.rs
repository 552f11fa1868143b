//! The values of parameters before training.

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::init::NormalOrUniform;
use noprop_kernels::random;

use crate::StreamKey;

/// The distribution of a parameter's values before training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// The same value for every element.
    Constant(f32),
    /// U(low, high).
    Uniform {
        /// The lower bound, inclusive.
        low: f64,
        /// The upper bound, exclusive.
        high: f64,
    },
    /// N(mean, deviation²).
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        deviation: f64,
    },
    /// U(−1/√fan_in, 1/√fan_in), as in PyTorch for weight and bias of linear and convolution layers.
    FanIn(usize),
    /// A matrix [R, C] with orthogonal rows of this length. If R > C, its columns are orthogonal and its rows have this root
    /// mean square length.
    Orthogonal(f32),
    /// N(0, length²/C) for a matrix [R, C]. The rows have about this length.
    Random(f32),
}

impl Init {
    /// Returns the distribution of candle-nn's `init` for a tensor of this shape.
    pub fn of_candle(init: candle_nn::Init, shape: &Shape) -> Self {
        match init {
            candle_nn::Init::Const(value) => Self::Constant(value as f32),
            candle_nn::Init::Uniform { lo, up } => Self::Uniform { low: lo, high: up },
            candle_nn::Init::Randn { mean, stdev } => Self::Normal { mean, deviation: stdev },
            candle_nn::Init::Kaiming { dist, fan, non_linearity } => {
                let fan = fan.for_shape(shape).max(1);
                let deviation = non_linearity.gain() / (fan as f64).sqrt();
                match dist {
                    NormalOrUniform::Normal => Self::Normal { mean: 0.0, deviation },
                    NormalOrUniform::Uniform => {
                        let bound = 3f64.sqrt() * deviation;
                        Self::Uniform { low: -bound, high: bound }
                    }
                }
            }
        }
    }

    /// Draws a tensor of this shape, f32, from the stream `key`.
    pub(crate) fn draw(self, key: StreamKey, shape: &Shape, device: &Device) -> Result<Tensor> {
        match self {
            Self::Constant(value) => Tensor::full(value, shape, device),
            Self::Uniform { low, high } => {
                random::uniform(key, shape.clone(), device)?.affine(high - low, low)
            }
            Self::Normal { mean, deviation } => {
                random::normal(key, shape.clone(), device)?.affine(deviation, mean)
            }
            Self::FanIn(fan_in) => {
                let high = 1.0 / (fan_in.max(1) as f64).sqrt();
                Self::Uniform { low: -high, high }.draw(key, shape, device)
            }
            Self::Random(length) => {
                let (_, columns) = shape.dims2()?;
                let deviation = f64::from(length) / (columns.max(1) as f64).sqrt();
                Self::Normal { mean: 0.0, deviation }.draw(key, shape, device)
            }
            Self::Orthogonal(length) => {
                let length = f64::from(length);
                let (rows, columns) = shape.dims2()?;
                let draws = random::normal(key, shape.clone(), device)?;
                if rows <= columns {
                    return orthonormal_rows(&draws)? * length;
                }
                orthonormal_rows(&draws.t()?)?.t()?.contiguous()?
                    * (length * (rows as f64 / columns as f64).sqrt())
            }
        }
    }
}

/// Returns orthonormal rows by the method of Gram and Schmidt, in f64: the components along the earlier rows are removed from
/// each row.
fn orthonormal_rows(draws: &Tensor) -> Result<Tensor> {
    let mut rows = draws.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    for index in 0..rows.len() {
        let (before, rest) = rows.split_at_mut(index);
        let Some(row) = rest.first_mut() else { continue };
        for other in before {
            let along: f64 = row.iter().zip(&*other).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(&*other).for_each(|(a, b)| *a -= along * b);
        }
        let length = row.iter().map(|a| a * a).sum::<f64>().sqrt();
        row.iter_mut().for_each(|a| *a /= length);
    }
    Tensor::new(rows, draws.device())?.to_dtype(DType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    fn draw(init: Init, shape: impl Into<Shape>) -> Tensor {
        init.draw(Seed(1).init("a"), &shape.into(), &Device::Cpu).unwrap()
    }

    /// Returns the mean, the standard deviation, the least and the greatest value.
    fn moments(tensor: &Tensor) -> [f64; 4] {
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        let (least, most) =
            values.iter().fold((f64::MAX, f64::MIN), |(a, b), &v| (a.min(v), b.max(v)));
        [mean, variance.sqrt(), least, most]
    }

    #[test]
    fn orthogonal_rows_are_orthogonal_and_of_length_one() {
        let wide = draw(Init::Orthogonal(1.0), (4, 9));
        let products = wide.matmul(&wide.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
        for (i, row) in products.iter().enumerate() {
            for (j, product) in row.iter().enumerate() {
                assert!((product - if i == j { 1.0 } else { 0.0 }).abs() < 1e-6, "{i} {j}");
            }
        }
        let tall = draw(Init::Orthogonal(1.0), (9, 4));
        let square = tall.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!((square - 9.0).abs() < 1e-5, "mean square length 1: {square}");
    }

    /// A layer of candle-nn must start from the distribution that candle-nn documents. With a wrong deviation training would
    /// not fail, but the network would not be the one that was written.
    #[test]
    fn candles_distributions_are_drawn() {
        use candle_nn::init::{DEFAULT_KAIMING_NORMAL, DEFAULT_KAIMING_UNIFORM};
        let shape = (200, 10, 3, 3);
        let from = |init| moments(&draw(Init::of_candle(init, &shape.into()), shape));
        // √2 / √(10 · 3 · 3).
        let kaiming = 2f64.sqrt() / 90f64.sqrt();
        let wide = 3f64.sqrt() * kaiming;
        for (init, mean, deviation, bound) in [
            (candle_nn::Init::Const(0.25), 0.25, 0.0, 0.25),
            (candle_nn::Init::Randn { mean: 3.0, stdev: 0.5 }, 3.0, 0.5, f64::INFINITY),
            (candle_nn::Init::Uniform { lo: -1.0, up: 3.0 }, 1.0, 4.0 / 12f64.sqrt(), 3.0),
            (DEFAULT_KAIMING_NORMAL, 0.0, kaiming, f64::INFINITY),
            (DEFAULT_KAIMING_UNIFORM, 0.0, kaiming, wide),
        ] {
            let found = from(init);
            assert!((found[0] - mean).abs() < 0.02, "{init:?}: mean {}", found[0]);
            assert!((found[1] - deviation).abs() < 0.01, "{init:?}: deviation {}", found[1]);
            assert!(found[3] <= bound + 1e-6, "{init:?}: up to {}", found[3]);
        }
        assert!(from(candle_nn::Init::Uniform { lo: -1.0, up: 3.0 })[2] >= -1.0);
    }
}
