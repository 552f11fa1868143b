//! The losses of a block: the denoising error of a softmax-weighted embedding, and cross-entropy.

mod fused;
mod reference;

use candle_core::{DType, Tensor};

use crate::backend::{Backend, Chosen};
use crate::error::{KernelError, Result};
use crate::shape;

/// The denoising loss of every block, `[T]`: the mean over the batch of `‖softmax(logits) E − E[y]‖²`.
///
/// `logits` is `[T, N, C]`, `embeddings` (E) is `[C, d]`, one row a class, and `labels` (y) is `[N]`, u32. Gradients flow
/// to `logits` and to `embeddings`, there through both the prediction and the target.
///
/// # Errors
/// [`KernelError::LabelOutOfRange`] for a label of `C` or more (on CUDA such a label makes the loss not a number); [`KernelError::Shape`] or [`KernelError::DType`] when the
/// arguments do not fit together.
pub fn denoise_loss(
    logits: &Tensor,
    embeddings: &Tensor,
    labels: &Tensor,
    backend: Backend,
) -> Result<Tensor> {
    const OP: &str = "denoise_loss";
    let classes = check_shape(OP, logits, labels)?;
    let [rows, _] = shape::dims(OP, "embeddings", embeddings, "[C, d]")?;
    if rows != classes {
        let expected = format!("[{classes}, d] to go with the logits");
        return Err(shape::mismatch(OP, "embeddings", embeddings, &expected));
    }
    shape::same_dtype(OP, "embeddings", embeddings, logits)?;
    match backend.choose(OP, logits)? {
        Chosen::Fused => fused::denoise_loss(logits, embeddings, indices(OP, labels, classes)?),
        Chosen::Reference => {
            indices(OP, labels, classes)?;
            reference::denoise_loss(logits, embeddings, labels)
        }
        #[cfg(any(test, feature = "cuda"))]
        Chosen::Gpu => Ok(crate::gpu::loss::denoise_loss(logits, embeddings, labels)?),
    }
}

/// The cross-entropy of every block, `[T]`: the mean over the batch of `−log softmax(logits)[y]`.
///
/// `logits` is `[T, N, C]`, `labels` (y) is `[N]`, u32. Gradients flow to `logits`.
///
/// # Errors
/// [`KernelError::LabelOutOfRange`] for a label of `C` or more (on CUDA such a label makes the loss not a number); [`KernelError::Shape`] or [`KernelError::DType`] when the
/// arguments do not fit together.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, backend: Backend) -> Result<Tensor> {
    const OP: &str = "cross_entropy";
    let classes = check_shape(OP, logits, labels)?;
    match backend.choose(OP, logits)? {
        Chosen::Fused => fused::cross_entropy(logits, indices(OP, labels, classes)?),
        Chosen::Reference => {
            indices(OP, labels, classes)?;
            reference::cross_entropy(logits, labels)
        }
        #[cfg(any(test, feature = "cuda"))]
        Chosen::Gpu => Ok(crate::gpu::loss::cross_entropy(logits, labels)?),
    }
}

/// Refuses labels that are not one u32 a row; the number of classes.
fn check_shape(op: &'static str, logits: &Tensor, labels: &Tensor) -> Result<usize> {
    let [_, rows, classes] = shape::dims(op, "logits", logits, "[T, N, C]")?;
    shape::exactly(op, "labels", labels, &[rows])?;
    if labels.dtype() != DType::U32 {
        return Err(KernelError::DType {
            op,
            argument: "labels",
            expected: "U32".to_owned(),
            got: labels.dtype(),
        });
    }
    Ok(classes)
}

/// The labels, each of which must be a class.
fn indices(op: &'static str, labels: &Tensor, classes: usize) -> Result<Vec<u32>> {
    let indices = labels.to_vec1::<u32>()?;
    for (row, &label) in indices.iter().enumerate() {
        if label as usize >= classes {
            return Err(KernelError::LabelOutOfRange { op, label, row, classes });
        }
    }
    Ok(indices)
}
