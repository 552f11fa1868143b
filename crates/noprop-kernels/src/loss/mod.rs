//! The losses of a block: the denoising error of a softmax-weighted embedding, and cross-entropy.

mod fused;
mod reference;
pub(crate) mod targets;

use candle_core::{DType, Tensor};

use crate::backend::{Backend, Chosen};
use crate::error::{KernelError, Result};
use crate::shape;

pub use targets::Targets;

/// The denoising loss of every block, `[T]`: the mean over the batch of `w ‖softmax(logits) E − E[y]‖²`.
///
/// `logits` is `[T, N, C]`, `embeddings` (E) is `[C, d]`, one row for each class, and `targets` holds y and w of `[N]` rows.
/// Gradients flow to `logits` and to `embeddings`, there through both the prediction and the target.
///
/// # Errors
/// [`KernelError::LabelOutOfRange`] for a label of `C` or more (on CUDA such a label makes the loss not a number);
/// [`KernelError::Shape`] or [`KernelError::DType`] when the arguments do not fit together.
pub fn denoise_loss<'a>(
    logits: &Tensor,
    embeddings: &Tensor,
    targets: impl Into<Targets<'a>>,
    backend: Backend,
) -> Result<Tensor> {
    const OP: &str = "denoise_loss";
    let targets = targets.into();
    let classes = check_shape(OP, logits, targets)?;
    let [rows, _] = shape::dims(OP, "embeddings", embeddings, "[C, d]")?;
    if rows != classes {
        let expected = format!("[{classes}, d] to go with the logits");
        return Err(shape::mismatch(OP, "embeddings", embeddings, &expected));
    }
    shape::alike(OP, "embeddings", embeddings, logits)?;
    match backend.choose(OP, logits)? {
        Chosen::Fused => {
            Ok(fused::denoise_loss(logits, embeddings, rows_of(OP, targets, classes)?)?)
        }
        Chosen::Reference => {
            rows_of(OP, targets, classes)?;
            reference::denoise_loss(logits, embeddings, targets)
        }
        #[cfg(any(test, feature = "cuda"))]
        Chosen::Gpu => Ok(crate::gpu::loss::denoise_loss(logits, embeddings, targets)?),
    }
}

/// The cross-entropy of every block, `[T]`: the mean over the batch of `−w log softmax(logits)[y]`.
///
/// `logits` is `[T, N, C]`, `targets` holds y and w of `[N]` rows. Gradients flow to `logits`.
///
/// # Errors
/// [`KernelError::LabelOutOfRange`] for a label of `C` or more (on CUDA such a label makes the loss not a number);
/// [`KernelError::Shape`] or [`KernelError::DType`] when the arguments do not fit together.
pub fn cross_entropy<'a>(
    logits: &Tensor,
    targets: impl Into<Targets<'a>>,
    backend: Backend,
) -> Result<Tensor> {
    const OP: &str = "cross_entropy";
    let targets = targets.into();
    let classes = check_shape(OP, logits, targets)?;
    match backend.choose(OP, logits)? {
        Chosen::Fused => Ok(fused::cross_entropy(logits, rows_of(OP, targets, classes)?)?),
        Chosen::Reference => {
            rows_of(OP, targets, classes)?;
            reference::cross_entropy(logits, targets)
        }
        #[cfg(any(test, feature = "cuda"))]
        Chosen::Gpu => Ok(crate::gpu::loss::cross_entropy(logits, targets)?),
    }
}

/// Returns the number of classes, at least one. Refuses labels that are not one u32 for each row, and weights that are not one number
/// for each row.
fn check_shape(op: &'static str, logits: &Tensor, targets: Targets<'_>) -> Result<usize> {
    let Targets { labels, weights } = targets;
    let [_, rows, classes] = shape::dims(op, "logits", logits, "[T, N, C]")?;
    if classes == 0 {
        return Err(shape::mismatch(op, "logits", logits, "[T, N, C] with C above 0"));
    }
    shape::exactly(op, "labels", labels, &[rows])?;
    if labels.dtype() != DType::U32 {
        return Err(KernelError::DType {
            op,
            argument: "labels",
            expected: "U32".to_owned(),
            got: labels.dtype(),
        });
    }
    shape::same_device(op, "labels", labels, logits)?;
    if let Some(weights) = weights {
        shape::exactly(op, "weights", weights, &[rows])?;
        shape::alike(op, "weights", weights, logits)?;
    }
    Ok(classes)
}

/// The class of one row, and the factor of its loss.
struct Target {
    label: u32,
    weight: f64,
}

/// The targets of the rows, whose labels must be classes.
fn rows_of(op: &'static str, targets: Targets<'_>, classes: usize) -> Result<Vec<Target>> {
    let labels = targets.labels.to_vec1::<u32>()?;
    let weights = match targets.weights {
        None => vec![1.0; labels.len()],
        Some(weights) => weights.to_dtype(DType::F64)?.to_vec1()?,
    };
    for (row, &label) in labels.iter().enumerate() {
        if label as usize >= classes {
            return Err(KernelError::LabelOutOfRange { op, label, row, classes });
        }
    }
    Ok(labels.into_iter().zip(weights).map(|(label, weight)| Target { label, weight }).collect())
}
