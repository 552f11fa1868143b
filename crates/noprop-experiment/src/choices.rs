//! Settings that are a choice among a few names.

use serde::{Deserialize, Serialize};

/// The precision of the factors of products: of dense layers, and on GPUs of convolutions too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Factors are not rounded.
    #[default]
    F32,
    /// Factors are rounded to bf16; parameters stay f32.
    Bf16,
    /// On CUDA factors are rounded to TF32, f32 with 11 bits; elsewhere they are not rounded.
    Tf32,
}

impl From<Precision> for noprop_kernels::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
            Precision::Tf32 => Self::Tf32,
        }
    }
}

/// The normalisation of every image before a network is given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalize {
    /// None: pixels are 0 to 1.
    #[default]
    None,
    /// Each channel gets mean 0 and deviation 1, as measured on the training images.
    Channel,
}
