//! The distance between the noise end of the forward process and the noise at the start of inference.

use candle_core::{D, Tensor};
use noprop_schedule::kl_to_prior;

use crate::{MethodError, Targets};

/// Returns KL(q(z_0|y) ‖ N(0, I)) in nats, averaged over a batch with embeddings `clean` [N, d]: a scalar to be minimised,
/// ½(ᾱ_0 (‖u‖² − d) − d ln(1 − ᾱ_0)). `alpha_bar` is ᾱ_0 and `noise_share` is 1 − ᾱ_0, `[1]` each.
///
/// If images have weights, only the term that depends on the image is weighted. For the other terms the mean of the weights is
/// taken to be 1, which it is over a whole epoch.
pub(crate) fn kl_loss(
    clean: &Tensor,
    targets: Targets<'_>,
    alpha_bar: &Tensor,
    noise_share: &Tensor,
) -> Result<Tensor, MethodError> {
    let d = clean.dim(1)? as f64;
    let squares = targets.weigh(clean.sqr()?.sum(D::Minus1)?)?;
    let signal = squares.mean_keepdim(0)?.affine(1.0, -d)?;
    let kl = ((alpha_bar * signal)? - (noise_share.log()? * d)?)?;
    Ok((kl * 0.5)?.squeeze(0)?)
}

/// Returns KL(q(z_0|y) ‖ N(0, I)) in nats for ᾱ_0, averaged over the classes of W_embed [classes, d].
pub(crate) fn mean_kl(alpha_bar_0: f64, class_embeddings: &Tensor) -> Result<f64, MethodError> {
    let (_, dimension) = class_embeddings.dims2()?;
    let norms = class_embeddings.sqr()?.sum(D::Minus1)?.to_vec1::<f32>()?;
    let total: f64 =
        norms.iter().map(|&norm| kl_to_prior(alpha_bar_0, norm.into(), dimension)).sum();
    Ok(total / norms.len().max(1) as f64)
}
