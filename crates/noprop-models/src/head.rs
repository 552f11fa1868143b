//! The layers of a block beside its image branch: the label branch, the time, and the layers that join them (Fig. 6).

use candle_core::{D, Result, Tensor};
use noprop_kernels::Activation;
use noprop_method::{Needs, ParameterError, TimeInput};

use crate::image_branch::WIDTH;
use crate::label_branch::{LabelBranch, LabelInput};
use crate::layers::{Dense, Linear, Passes, Place};

const NARROW: usize = 128;
/// Length of a time's positional embedding.
const POSITIONS: usize = 64;
/// Times are 0..=1; positions were made for steps of a sequence.
const LENGTH: f64 = 1000.0;

/// Image and label features, and those of the time where a block is given it; FC 256, FC 128, FC classes.
///
/// Behind all layers but the last there is a batch norm with ReLU, or ReLU alone. The time is embedded in 64 positions and goes
/// through FC 256 with ReLU.
pub(crate) struct Head {
    label: LabelBranch,
    time: Option<Linear>,
    wide: Dense,
    narrow: Dense,
    logits: Linear,
}

impl Head {
    pub fn new(
        place: &Place<'_>,
        input: LabelInput,
        classes: usize,
        needs: &Needs,
    ) -> std::result::Result<Self, ParameterError> {
        let label = LabelBranch::new(&place.at("label"), input, needs.norm)?;
        let (time, columns) = match needs.time {
            TimeInput::None => (None, 2),
            TimeInput::Embedded => (Some(Linear::new(&place.at("time.fc1"), POSITIONS, WIDTH)?), 3),
        };
        let joint = place.at("joint");
        let dense = |layer: &str, inputs, outputs| {
            Dense::new(&joint, layer, (inputs, outputs), needs.norm, Activation::Relu)
        };
        Ok(Self {
            label,
            time,
            wide: dense("1", columns * WIDTH, WIDTH)?,
            narrow: dense("2", WIDTH, NARROW)?,
            logits: Linear::new(&joint.at("fc3"), NARROW, classes)?,
        })
    }

    /// Image features [T or 1, N, 256], noised embeddings [T, N, d] and their times [N] → class logits [T, N, classes].
    pub fn forward(
        &self,
        features: &Tensor,
        z: &Tensor,
        time: Option<&Tensor>,
        passes: Passes<'_>,
    ) -> Result<Tensor> {
        let label = self.label.forward(z, passes)?;
        let rest = match (&self.time, time) {
            (None, _) => label,
            (Some(layer), Some(time)) => {
                Tensor::cat(&[label, layer.forward_relu(&time_positions(time)?.unsqueeze(0)?)?], 2)?
            }
            (Some(_), None) => candle_core::bail!("these blocks need the time"),
        };
        let x = self.wide.forward_joined(features, &rest, passes)?;
        self.logits.forward(&self.narrow.forward(&x, passes)?)
    }
}

/// Sines and cosines of N times at 32 frequencies that fall from 1 to 1/10,000: [N, 64]. They are what a block is given of the time.
///
/// # Errors
/// candle's, for a tensor of another rank or type.
pub fn time_positions(time: &Tensor) -> Result<Tensor> {
    let half = POSITIONS / 2;
    let frequency = |i: usize| (LENGTH * 10_000f64.powf(-(i as f64) / half as f64)) as f32;
    let frequencies: Vec<f32> = (0..half).map(frequency).collect();
    let frequencies = Tensor::from_vec(frequencies, (1, half), time.device())?;
    let angles = time.unsqueeze(1)?.broadcast_mul(&frequencies)?;
    Tensor::cat(&[angles.sin()?, angles.cos()?], D::Minus1)
}
