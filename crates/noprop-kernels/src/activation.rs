//! The function after an affine op.

use candle_core::{Result, Tensor};

/// The function that is applied element by element after an affine op.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// The identity: `f(v) = v`.
    #[default]
    None,
    /// `f(v) = max(v, 0)`, with `f'(0) = 0`. Not-a-number is passed on.
    Relu,
}

impl Activation {
    /// `f(v)`.
    #[inline(always)]
    pub(crate) fn apply<F: PartialOrd + Default>(self, v: F) -> F {
        match self {
            Self::Relu if v <= F::default() => F::default(),
            Self::None | Self::Relu => v,
        }
    }

    /// The gradient at v from the `gradient` at `y = f(v)`.
    #[inline(always)]
    pub(crate) fn back<F: PartialOrd + Default>(self, y: F, gradient: F) -> F {
        match self {
            Self::Relu if y <= F::default() => F::default(),
            Self::None | Self::Relu => gradient,
        }
    }

    /// `f(v)` in plain candle ops. The slope of candle's own `relu` at zero is 1; here it is 0, as in the fused kernels.
    pub(crate) fn reference(self, v: Tensor) -> Result<Tensor> {
        match self {
            Self::None => Ok(v),
            // `v <= 0` selects the zero, so a not-a-number, for which it is false, is passed on.
            Self::Relu => v.le(0.0)?.where_cond(&v.zeros_like()?, &v),
        }
    }
}
