//! A block for all times (Fig. 6, right): image features, noised embedding and time to class logits, with no batch norm.

use candle_core::{D, Result, Tensor};
use noprop_method::{ParameterError, Pass};

use crate::Variant;
use crate::image_branch::WIDTH;
use crate::label_branch::{LabelBranch, LabelInput};
use crate::layers::{Linear, Place};

const NARROW: usize = 128;
/// Length of a time's positional embedding.
const POSITIONS: usize = 64;
/// Times are 0..=1; positions were made for steps of a sequence.
const LENGTH: f64 = 1000.0;

/// Label: FC 256, ReLU. Time: positional embedding 64, FC 256, ReLU. All side by side: FC 256, ReLU, FC 128, ReLU, FC classes.
pub(crate) struct TimedHead {
    label: LabelBranch,
    time: Linear,
    wide: Linear,
    narrow: Linear,
    logits: Linear,
}

impl TimedHead {
    pub fn new(
        place: &Place<'_>,
        input: LabelInput,
        classes: usize,
        variant: Variant,
    ) -> std::result::Result<Self, ParameterError> {
        let linear = |name: &str, inputs, outputs| Linear::new(&place.at(name), inputs, outputs);
        Ok(Self {
            label: LabelBranch::new(&place.at("label"), input, variant)?,
            time: linear("time.fc1", POSITIONS, WIDTH)?,
            wide: linear("joint.fc1", 3 * WIDTH, WIDTH)?,
            narrow: linear("joint.fc2", WIDTH, NARROW)?,
            logits: linear("joint.fc3", NARROW, classes)?,
        })
    }

    /// Image features [N, 256], embedding [N, d] and times [N] → class logits [N, classes].
    pub fn forward(
        &self,
        features: &Tensor,
        z: &Tensor,
        time: &Tensor,
        pass: Pass,
    ) -> Result<Tensor> {
        let label = self.label.forward(&z.unsqueeze(0)?, (&pass).into())?;
        let time = self.time.forward_relu(&positions(time)?.unsqueeze(0)?)?;
        let rest = Tensor::cat(&[&label, &time], 2)?;
        let x = self.wide.forward_joined(&features.unsqueeze(0)?, &rest)?.relu()?;
        self.logits.forward(&self.narrow.forward_relu(&x)?)?.squeeze(0)
    }
}

/// Sines and cosines of times [N] at 32 frequencies that fall from 1 to 1/10,000: [N, 64].
fn positions(time: &Tensor) -> Result<Tensor> {
    let half = POSITIONS / 2;
    let frequency = |i: usize| (LENGTH * 10_000f64.powf(-(i as f64) / half as f64)) as f32;
    let frequencies: Vec<f32> = (0..half).map(frequency).collect();
    let frequencies = Tensor::from_vec(frequencies, (1, half), time.device())?;
    let angles = time.unsqueeze(1)?.broadcast_mul(&frequencies)?;
    Tensor::cat(&[angles.sin()?, angles.cos()?], D::Minus1)
}
