//! The forward process: clean label embeddings and their noised versions.

use candle_core::{Result, Tensor};
use noprop_kernels::random::{self, StreamKey};

/// Returns u_y for every label, [N, d]: the rows of W_embed [classes, d] at `labels` `[N]`, u32.
///
/// # Errors
/// candle's, if a label is not below the number of classes.
pub fn clean_embeddings(class_embeddings: &Tensor, labels: &Tensor) -> Result<Tensor> {
    class_embeddings.index_select(labels, 0)
}

/// Draws z_t [N, d] from q(z_t | y) = N(√ᾱ_t u_y, (1 − ᾱ_t) I) (Eq. 6).
///
/// `clean` is u_y [N, d], and `alpha_bar` is the signal share ᾱ_t.
///
/// # Errors
/// candle's, if `clean` is not f32 of rank 2.
pub fn noised(clean: &Tensor, alpha_bar: f64, key: StreamKey) -> Result<Tensor> {
    let (rows, width) = clean.dims2()?;
    let noise = random::normal(key, (rows, width), clean.device())?;
    (clean * alpha_bar.sqrt())? + (noise * (1.0 - alpha_bar).sqrt())?
}

/// Returns `rows` [N, d] with row n multiplied by element n of `factors` `[N]`.
pub(crate) fn scaled_rows(rows: &Tensor, factors: &Tensor) -> Result<Tensor> {
    rows.broadcast_mul(&factors.unsqueeze(1)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Seed;

    /// Over many draws the mean is √ᾱ u and the variance 1 − ᾱ. This finds a missing square root in either.
    #[test]
    fn noised_embeddings_have_the_right_mean_and_variance() {
        let (rows, alpha_bar) = (40_000, 0.3);
        let clean =
            Tensor::new(&[[1f32, 0., -2.]], &Device::Cpu).unwrap().broadcast_as((rows, 3)).unwrap();
        let z = noised(&clean, alpha_bar, Seed(3).at(0, 0).noise(1)).unwrap();
        let mean = z.mean(0).unwrap().to_vec1::<f32>().unwrap();
        let var = z.var(0).unwrap().to_vec1::<f32>().unwrap();
        for (column, u) in [1f64, 0., -2.].into_iter().enumerate() {
            // 5 standard errors of the mean and of the variance.
            let (m, v) = (f64::from(mean[column]), f64::from(var[column]));
            assert!((m - alpha_bar.sqrt() * u).abs() < 5.0 * (0.7 / rows as f64).sqrt());
            assert!((v - 0.7).abs() < 5.0 * 0.7 * (2.0 / rows as f64).sqrt());
        }
    }
}
