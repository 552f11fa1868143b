//! The convolution layer: 3×3 convolution, bias, 2×2 maximum, activation and dropout as one op.

mod backward;
mod direct;
mod epilogue;
mod forward;
mod geometry;
pub(crate) mod layer;
mod layout;
mod normed;
mod reference;
mod shared;
mod stack;
mod weights;
mod winograd;

use candle_core::Tensor;

use crate::backend::Chosen;
use crate::error::{KernelError, Result};
use crate::shape;
use layer::{OP, Sizes};

pub use layer::{Conv3x3, Padding, Pool};
pub use normed::{After, ConvNorm, ConvNormOutput, ConvNormStack};

impl Conv3x3 {
    /// Applies the layer of every block.
    ///
    /// `x` is `[Tx, N, Ci, H, W]` with `Tx` either `T` or 1 (one input for all blocks), `w` is `[T, Co, Ci, 3, 3]`,
    /// `b` is `[T, Co]`. The result is `[T, N, Co, OH, OW]` with `OH = H - 2` (valid) or `H` (same), halved and rounded
    /// down by [`Pool::Max2`]; `OW` alike. Gradients flow to all three.
    ///
    /// # Errors
    /// [`KernelError::Shape`] or [`KernelError::DType`] when the arguments do not fit together, or an image is too small
    /// to leave any result; [`KernelError::DropoutKeys`] when the number of dropout's streams is not `T`.
    pub fn forward(&self, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
        let sizes = self.check(x, w, b)?;
        match self.backend.choose(OP, x)? {
            Chosen::Reference => reference::forward(self, &sizes, x, w, b),
            own => own_kernels(own, std::slice::from_ref(self), &[sizes], x, &[(w, b)]),
        }
    }
}

/// Several layers, one after another: `y = layerₖ(… layer₁(x))`.
///
/// The values and gradients are those of [`Conv3x3::forward`] for each layer in turn, but on the CPU the images pass through
/// all layers a few at a time, and the values between layers never become a tensor, which is faster. `parameters` holds `w`
/// and `b` of each layer, `x` is the first layer's input, and the result is the last layer's; shapes as there.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use noprop_kernels::{Conv3x3, Pool, conv3x3_stack};
///
/// let layers = [Conv3x3 { pool: Pool::Max2, ..Conv3x3::default() }, Conv3x3::default()];
/// let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
/// let parameters = [
///     (zeros(&[1, 32, 1, 3, 3])?, zeros(&[1, 32])?),
///     (zeros(&[1, 64, 32, 3, 3])?, zeros(&[1, 64])?),
/// ];
/// let y = conv3x3_stack(&layers, &zeros(&[1, 5, 1, 28, 28])?, &parameters)?;
/// assert_eq!(y.dims(), [1, 5, 64, 11, 11]);
/// # Ok::<(), noprop_kernels::KernelError>(())
/// ```
///
/// # Errors
/// As [`Conv3x3::forward`]; [`KernelError::LayerCount`] when `parameters` is not as long as `layers`.
pub fn conv3x3_stack(
    layers: &[Conv3x3],
    x: &Tensor,
    parameters: &[(Tensor, Tensor)],
) -> Result<Tensor> {
    if layers.len() != parameters.len() {
        return Err(KernelError::LayerCount {
            op: OP,
            layers: layers.len(),
            parameters: parameters.len(),
        });
    }
    let chosen = layers.iter().map(|layer| layer.backend.choose(OP, x));
    let chosen = chosen.collect::<Result<Vec<_>>>()?;
    let own = match chosen.as_slice() {
        [first, rest @ ..] if *first != Chosen::Reference && rest.iter().all(|c| c == first) => {
            *first
        }
        _ => {
            let mut y = x.clone();
            for (layer, (w, b)) in layers.iter().zip(parameters) {
                y = layer.forward(&y, w, b)?;
            }
            return Ok(y);
        }
    };
    let mut images = shape::dims(OP, "x", x, "[T or 1, N, Ci, H, W]")?;
    let mut sizes = Vec::with_capacity(layers.len());
    let mut refs = Vec::with_capacity(layers.len());
    for (layer, (w, b)) in layers.iter().zip(parameters) {
        shape::alike(OP, "w", w, x)?;
        shape::alike(OP, "b", b, x)?;
        let s = layer.sizes_with_bias(images, w, b)?;
        images = [s.blocks, s.images, s.c_out, s.out_height, s.out_width];
        sizes.push(s);
        refs.push((w, b));
    }
    own_kernels(own, layers, &sizes, x, &refs)
}

/// The layers, whose arguments have been checked, in this crate's own kernels.
fn own_kernels(
    chosen: Chosen,
    layers: &[Conv3x3],
    sizes: &[Sizes],
    x: &Tensor,
    parameters: &[(&Tensor, &Tensor)],
) -> Result<Tensor> {
    match chosen {
        #[cfg(any(test, feature = "cuda"))]
        Chosen::Gpu => Ok(crate::gpu::conv::stack(layers, sizes, x, parameters)?),
        _ => stack::apply(layers, sizes, x, parameters),
    }
}
