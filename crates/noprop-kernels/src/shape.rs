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

/// Refuses `x` unless it has the element type of `like` and is on its device.
pub(crate) fn alike(
    op: &'static str,
    argument: &'static str,
    x: &Tensor,
    like: &Tensor,
) -> Result<()> {
    if x.dtype() != like.dtype() {
        return Err(KernelError::DType {
            op,
            argument,
            expected: format!("{:?}", like.dtype()),
            got: x.dtype(),
        });
    }
    same_device(op, argument, x, like)
}

/// Refuses `x` unless it is on the device of `like`. A GPU's kernel is given addresses, and would read those of the host's memory too.
pub(crate) fn same_device(
    op: &'static str,
    argument: &'static str,
    x: &Tensor,
    like: &Tensor,
) -> Result<()> {
    // By location, as candle's ops do: one GPU may have several handles.
    if x.device().location() == like.device().location() {
        Ok(())
    } else {
        Err(KernelError::Device { op, argument })
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
