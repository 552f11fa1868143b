//! The errors of the ops.

use candle_core::Shape;

/// The reason why an op refused its arguments. Converts to [`candle_core::Error`] with `?`, so ops mix freely with plain
/// tensor code.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A tensor has the wrong number of dimensions or a dimension that does not agree with the other arguments.
    #[error("{op}: {argument} has shape {got:?}, expected {expected}")]
    Shape {
        /// The op that was called.
        op: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// The shape that was expected, in the letters of the op's documentation.
        expected: String,
        /// The shape that was given.
        got: Shape,
    },
    /// A dropout rate outside `[0, 1)`.
    #[error(
        "dropout rate {rate} is outside the range 0 (keep everything) up to but not including 1"
    )]
    DropoutRate {
        /// The rate that was given.
        rate: f64,
    },
    /// The number of random streams differs from the number of blocks.
    #[error("dropout has {keys} random streams for {blocks} blocks; each block needs one")]
    DropoutKeys {
        /// The number of streams.
        keys: usize,
        /// The number of blocks, the weights' leading dimension.
        blocks: usize,
    },
    /// The number of pairs of parameters is not the number of layers.
    #[error("{op}: {parameters} pairs of weights and biases for {layers} layers")]
    LayerCount {
        /// The op that was called.
        op: &'static str,
        /// The number of layers.
        layers: usize,
        /// The number of pairs.
        parameters: usize,
    },
    /// A stack without layers.
    #[error("{op}: at least one layer is needed")]
    NoLayers {
        /// The op that was called.
        op: &'static str,
    },
    /// A class index that is at or above the number of classes.
    #[error("{op}: label {label} at row {row} is out of range for {classes} classes")]
    LabelOutOfRange {
        /// The op that was called.
        op: &'static str,
        /// The offending class index.
        label: u32,
        /// Its position in the batch.
        row: usize,
        /// The number of classes.
        classes: usize,
    },
    /// A tensor of another element type than the other arguments, or of one that the op does not support.
    #[error("{op}: {argument} has element type {got:?}, expected {expected}")]
    DType {
        /// The op that was called.
        op: &'static str,
        /// The argument at fault.
        argument: &'static str,
        /// The type that was expected.
        expected: String,
        /// The type that was given.
        got: candle_core::DType,
    },
    /// A tensor on another device than the input.
    #[error("{op}: {argument} is on another device than the input")]
    Device {
        /// The op that was called.
        op: &'static str,
        /// The argument at fault.
        argument: &'static str,
    },
    /// [`Backend::Fused`](crate::Backend::Fused) was chosen for a device or element type without fused kernels.
    #[error(
        "{op}: the fused kernel runs on the CPU in f32 or f64, and on CUDA in f32; use Backend::Auto or Backend::Reference here"
    )]
    FusedUnavailable {
        /// The op that was called.
        op: &'static str,
    },
    /// An error of the tensor library.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl From<KernelError> for candle_core::Error {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Candle(inner) => inner,
            other => Self::wrap(other),
        }
    }
}

/// The result of an op.
pub type Result<T> = std::result::Result<T, KernelError>;
