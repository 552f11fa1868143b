//! Random numbers without hidden state.
//!
//! A draw is a function of a [`StreamKey`] and a position, and of nothing else: not of earlier draws, of the thread or of
//! the order of calls. candle's own CPU generator cannot be seeded at all.
//!
//! The generator is Philox4x32-10 (see the private module `philox`). The four counter words are
//! `[position, position's upper half or a row, a row's upper half, kind of draw]`, so draws of different kinds from
//! one key never share bits.
//!
//! ```
//! use candle_core::Device;
//! use noprop_kernels::random::{StreamKey, normal};
//!
//! let key = StreamKey::derive(7, &[3, 0]);
//! let few = normal(key, (2, 3), &Device::Cpu)?;
//! let many = normal(key, (4, 3), &Device::Cpu)?;
//! // The first rows do not depend on the number of rows.
//! assert_eq!(few.to_vec2::<f32>()?, many.narrow(0, 0, 2)?.to_vec2::<f32>()?);
//! # Ok::<(), candle_core::Error>(())
//! ```

use candle_core::{Device, Shape, Tensor};

use crate::error::Result;

pub(crate) mod key;
pub(crate) mod philox;

pub use key::StreamKey;

/// The last counter word: the kind of a draw.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Normal = 0,
    NormalRow = 1,
    Uniform = 2,
    Dropout = 3,
}

/// Standard normal draws, f32, in `shape`. Element `i` (row-major) depends on `(key, i)` alone.
///
/// # Errors
/// candle's, if the tensor cannot be made on `device`.
pub fn normal(key: StreamKey, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return Ok(crate::gpu::random::normal(&[key], &shape, device)?.squeeze(0)?);
    }
    let mut values = vec![0_f32; shape.elem_count()];
    fill_normal(key, 0, Kind::Normal, &mut values);
    Ok(Tensor::from_vec(values, shape, device)?)
}

/// [`normal`] for each of `keys` at once: `[T, shape]`.
///
/// # Errors
/// As [`normal`].
pub fn normal_blocks(
    keys: &[StreamKey],
    shape: impl Into<Shape>,
    device: &Device,
) -> Result<Tensor> {
    let shape = shape.into();
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return Ok(crate::gpu::random::normal(keys, &shape, device)?);
    }
    let draws = keys.iter().map(|&key| normal(key, shape.clone(), device));
    Ok(Tensor::stack(&draws.collect::<Result<Vec<_>>>()?, 0)?)
}

/// Standard normal draws `[rows, width]`, f32, where a row's draws depend on `(key, row id)` alone: a sample gets the same
/// noise in every batch.
///
/// # Errors
/// candle's, if the tensor cannot be made on `device`.
pub fn normal_rows(key: StreamKey, rows: &[u32], width: usize, device: &Device) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return Ok(crate::gpu::random::normal_rows(key, rows, width, device)?);
    }
    let mut values = vec![0_f32; rows.len() * width];
    if width > 0 {
        for (row, values) in rows.iter().zip(values.chunks_exact_mut(width)) {
            fill_normal(key, *row, Kind::NormalRow, values);
        }
    }
    Ok(Tensor::from_vec(values, (rows.len(), width), device)?)
}

/// Uniform draws in `[0, 1)`, f32 multiples of 2⁻²⁴, in `shape`. Element `i` (row-major) depends on `(key, i)` alone.
///
/// # Errors
/// candle's, if the tensor cannot be made on `device`.
pub fn uniform(key: StreamKey, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return Ok(crate::gpu::random::uniform(&[key], &shape, device)?.squeeze(0)?);
    }
    let mut values = vec![0_f32; shape.elem_count()];
    for (index, four) in values.chunks_mut(4).enumerate() {
        let bits = philox::block(counter(index, 0, Kind::Uniform), key.words());
        for (value, bits) in four.iter_mut().zip(bits) {
            *value = (bits >> 8) as f32 * (1.0 / 16_777_216.0);
        }
    }
    Ok(Tensor::from_vec(values, shape, device)?)
}

/// `count` draws, f32, that are each uniform in `[0, 1)` and lie evenly together: one draw shifts a grid, so a mean over them is less
/// noisy than a mean over independent draws. Element `i` depends on `(key, i, count)` alone.
///
/// # Errors
/// candle's, if the tensor cannot be made on `device`.
pub fn spread(key: StreamKey, count: usize, device: &Device) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return Ok(crate::gpu::random::spread(key, count, device)?);
    }
    let shift = uniform(key, 1, &Device::Cpu)?.to_vec1::<f32>()?;
    let shift = shift.first().copied().unwrap_or_default();
    let places = (0..count).map(|i| (i as f32 / count as f32 + shift).fract()).collect();
    Ok(Tensor::from_vec::<_, f32>(places, count, device)?)
}

/// The counter of the `index`-th block of four draws.
fn counter(index: usize, row: u32, kind: Kind) -> [u32; 4] {
    let index = index as u64;
    [index as u32, (index >> 32) as u32, row, kind as u32]
}

/// Fills `values` with normal draws by Box and Muller's transform of two uniform draws at a time, in f64 so that the tails
/// reach past six standard deviations.
fn fill_normal(key: StreamKey, row: u32, kind: Kind, values: &mut [f32]) {
    const UNIT: f64 = 1.0 / 4_294_967_296.0;
    for (index, four) in values.chunks_mut(4).enumerate() {
        let [a, b, c, d] = philox::block(counter(index, row, kind), key.words());
        let pair = |radius: u32, angle: u32| {
            // The half keeps the logarithm's argument above zero.
            let r = libm::sqrt(-2.0 * libm::log((f64::from(radius) + 0.5) * UNIT));
            let (sin, cos) = libm::sincos(f64::from(angle) * (UNIT * std::f64::consts::TAU));
            [(r * cos) as f32, (r * sin) as f32]
        };
        let ([n0, n1], [n2, n3]) = (pair(a, b), pair(c, d));
        for (value, draw) in four.iter_mut().zip([n0, n1, n2, n3]) {
            *value = draw;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(values: &[f32]) -> (f64, f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let power = |p: i32| values.iter().map(|&v| (f64::from(v) - mean).powi(p)).sum::<f64>() / n;
        (mean, power(2), power(4))
    }

    /// Protects mean 0, variance 1 and fourth moment 3, within five standard errors. A wrong transform misses the fourth.
    #[test]
    fn normal_draws_have_normal_moments() -> Result<()> {
        let n = 200_000;
        let draws = normal(StreamKey::derive(1, &[2]), n, &Device::Cpu)?.to_vec1::<f32>()?;
        let (mean, variance, fourth) = moments(&draws);
        let scale = 5.0 / (n as f64).sqrt();
        assert!(mean.abs() < scale, "mean {mean}");
        assert!((variance - 1.0).abs() < scale * 2_f64.sqrt(), "variance {variance}");
        assert!((fourth - 3.0).abs() < scale * 96_f64.sqrt(), "fourth moment {fourth}");
        Ok(())
    }

    /// Protects the independence of neighbours. Pairs that share a radius or an angle are correlated.
    #[test]
    fn neighbouring_draws_are_uncorrelated() -> Result<()> {
        let n = 200_000;
        let draws = normal(StreamKey(9), n, &Device::Cpu)?.to_vec1::<f32>()?;
        for lag in 1..=4 {
            let sum: f64 =
                draws.iter().zip(&draws[lag..]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            let correlation = sum / n as f64;
            assert!(correlation.abs() < 5.0 / (n as f64).sqrt(), "lag {lag}: {correlation}");
        }
        Ok(())
    }

    /// Protects the range: all of `[0, 1)`, and never 1.
    #[test]
    fn uniform_draws_fill_the_unit_interval() -> Result<()> {
        let n = 100_000;
        let draws = uniform(StreamKey(3), n, &Device::Cpu)?.to_vec1::<f32>()?;
        assert!(draws.iter().all(|v| (0.0..1.0).contains(v)));
        let (mean, variance, _) = moments(&draws);
        assert!((mean - 0.5).abs() < 5.0 * (1.0_f64 / 12.0 / n as f64).sqrt());
        assert!((variance - 1.0 / 12.0).abs() < 1e-3);
        Ok(())
    }

    /// Protects the even spread: every draw lies in `[0, 1)`, and one lies in every step of the grid, for any number of draws.
    #[test]
    fn spread_draws_have_one_in_every_step() -> Result<()> {
        for count in [1, 7, 128] {
            let mut steps: Vec<u32> = spread(StreamKey(count as u64), count, &Device::Cpu)?
                .to_vec1::<f32>()?
                .into_iter()
                .map(|draw| {
                    assert!((0.0..1.0).contains(&draw));
                    (draw * count as f32) as u32
                })
                .collect();
            steps.sort_unstable();
            steps.dedup();
            // Rounding may put two neighbours of a bound into the same step.
            assert!(steps.len() + 1 >= count, "{count}: {steps:?}");
        }
        Ok(())
    }

    /// Protects a sample's noise against its place in the batch.
    #[test]
    fn a_row_is_the_same_in_every_batch() -> Result<()> {
        let key = StreamKey::derive(5, &[1]);
        let all = normal_rows(key, &[4, 900, 17], 10, &Device::Cpu)?.to_vec2::<f32>()?;
        let one = normal_rows(key, &[17], 10, &Device::Cpu)?.to_vec2::<f32>()?;
        assert_eq!(all[2], one[0]);
        assert_ne!(all[0], all[1]);
        Ok(())
    }

    /// Protects the draws themselves: later builds must repeat today's runs, so these values may never change.
    #[test]
    fn draws_are_pinned() -> Result<()> {
        let key = StreamKey::derive(42, &[1, 2, 3]);
        let pinned = normal(key, 5, &Device::Cpu)?.to_vec1::<f32>()?;
        assert_eq!(key, StreamKey(PINNED_KEY));
        assert_eq!(pinned.into_iter().map(f32::to_bits).collect::<Vec<_>>(), PINNED_NORMALS);
        Ok(())
    }

    // Computed by a separate script in another language, from the definitions above.
    const PINNED_KEY: u64 = 0xA62A_6959_63EF_DBE0;
    const PINNED_NORMALS: [u32; 5] =
        [0x3dcf_da24, 0x3fb4_6053, 0x3f26_f999, 0x3f4d_a39f, 0xbf75_6487];
}
