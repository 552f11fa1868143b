//! Shape checks shared by the ops, so that every error names the op, the argument and the expectation.

use candle_core::Tensor;

use crate::error::{KernelError, Result};

/// The dimensions of `x` if it has exactly `D` of them.
pub(crate) fn dims<const D: usize>(
    op: &'static str,
    argument: &'static str,
    x: &Tensor,
    expected: &str,
) -> Result<[usize; D]> {
    <[usize; D]>::try_from(x.dims()).map_err(|_| mismatch(op, argument, x, expected))
}

/// Refuses `x` unless its shape is exactly `shape`.
pub(crate) fn exactly(
    op: &'static str,
    argument: &'static str,
    x: &Tensor,
    shape: &[usize],
) -> Result<()> {
    if x.dims() == shape { Ok(()) } else { Err(mismatch(op, argument, x, &format!("{shape:?}"))) }
}

/// Refuses `x` unless it has the element type of `like`.
pub(crate) fn same_dtype(
    op: &'static str,
    argument: &'static str,
    x: &Tensor,
    like: &Tensor,
) -> Result<()> {
    if x.dtype() == like.dtype() {
        Ok(())
    } else {
        Err(KernelError::DType {
            op,
            argument,
            expected: format!("{:?}", like.dtype()),
            got: x.dtype(),
        })
    }
}

/// The error for an argument of the wrong shape.
pub(crate) fn mismatch(
    op: &'static str,
    argument: &'static str,
    x: &Tensor,
    expected: &str,
) -> KernelError {
    KernelError::Shape { op, argument, expected: expected.to_owned(), got: x.shape().clone() }
}
