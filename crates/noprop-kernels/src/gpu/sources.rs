//! The source of the kernels.

/// The source of every kernel, in order.
pub(super) const SOURCES: [&str; 5] = [
    include_str!("kernels/prelude.cu"),
    include_str!("kernels/random.cu"),
    include_str!("kernels/conv.cu"),
    include_str!("kernels/dense.cu"),
    include_str!("kernels/loss.cu"),
];
