//! What each block owns beside its image branch: the label branch and the layers that join both (Fig. 6, left).

use candle_core::{Result, Tensor};
use noprop_kernels::Activation;
use noprop_method::{ParameterError, Pass};

use crate::Variant;
use crate::image_branch::WIDTH;
use crate::label_branch::{LabelBranch, LabelInput};
use crate::layers::{BatchNorm, Linear, Passes, Place};

const NARROW: usize = 128;

/// Concatenate image and label features; FC 256, BN, ReLU; FC 128, BN, ReLU; FC classes.
pub(crate) struct BlockHead {
    label: LabelBranch,
    wide: (Linear, BatchNorm),
    narrow: (Linear, BatchNorm),
    logits: Linear,
}

impl BlockHead {
    pub fn new(
        place: &Place<'_>,
        input: LabelInput,
        classes: usize,
        variant: Variant,
    ) -> std::result::Result<Self, ParameterError> {
        let joint = place.at("joint");
        let layer = |number: usize, inputs, outputs| {
            let linear = Linear::new(&joint.at(&format!("fc{number}")), inputs, outputs)?;
            let place = joint.at(&format!("norm{number}"));
            Ok::<_, ParameterError>((linear, BatchNorm::new(&place, outputs, Activation::Relu)?))
        };
        Ok(Self {
            label: LabelBranch::new(&place.at("label"), input, variant)?,
            wide: layer(1, 2 * WIDTH, WIDTH)?,
            narrow: layer(2, WIDTH, NARROW)?,
            logits: Linear::new(&joint.at("fc3"), NARROW, classes)?,
        })
    }

    /// Image features [N, 256] and noised embedding [N, d] → class logits [N, classes].
    pub fn forward(&self, features: &Tensor, z: &Tensor, pass: Pass) -> Result<Tensor> {
        let (features, z) = (features.unsqueeze(0)?, z.unsqueeze(0)?);
        self.forward_stacked(&features, &z, (&pass).into())?.squeeze(0)
    }

    /// Image features [T or 1, N, 256] and noised embeddings [T, N, d] → class logits [T, N, classes].
    pub fn forward_stacked(
        &self,
        features: &Tensor,
        z: &Tensor,
        passes: Passes<'_>,
    ) -> Result<Tensor> {
        let label = self.label.forward(z, passes)?;
        let (wide, wide_norm) = &self.wide;
        let (narrow, narrow_norm) = &self.narrow;
        let x = wide.forward_joined(features, &label)?;
        let x = wide_norm.forward(&x, passes.into())?;
        let x = narrow_norm.forward(&narrow.forward(&x)?, passes.into())?;
        self.logits.forward(&x)
    }
}
