//! A block behind its image branch: noised embeddings [N, K, d] of K chains → class logits [N, K, classes].

use candle_core::{Device, Tensor};
use noprop_kernels::Activation;
use noprop_method::{Needs, Norm, TimeInput};
use noprop_models::{Embedding, time_positions};

use crate::encoder::{EncoderSettings, ImageBranch};
use crate::error::Result;
use crate::graph::{Graph, Value};
use crate::layers::{Affine, Builder};

/// The constants of a block in a graph, and what it has computed of the images once for all steps and chains.
pub(crate) struct Block {
    label: LabelBranch,
    time: Option<TimeBranch>,
    /// The part of the first joint layer that depends on the image, with its bias: [N, 1, 256].
    image: Value,
    /// The weights of the rest of that layer, for the label.
    joint: Value,
    narrow: Affine,
    logits: Affine,
}

/// The layers that the noised embedding goes through.
enum LabelBranch {
    Vector { first: Affine, residual: Option<[Affine; 2]> },
    Image { branch: ImageBranch, settings: EncoderSettings, chains: usize },
}

/// The layers that the time goes through: its own, and its part of the first joint layer.
struct TimeBranch {
    own: Affine,
    joint: Value,
}

impl Block {
    /// The block with its parameters at `place`, such as `block.3`. `features` are those of the images, [N, 256].
    pub fn new(
        builder: &mut Builder,
        place: &str,
        features: &Value,
        (needs, embedding): (&Needs, Embedding),
        (settings, chains): (EncoderSettings, usize),
    ) -> Result<Self> {
        let label = format!("{place}.label");
        let label = match embedding {
            Embedding::Prototype => {
                let branch =
                    ImageBranch::new(builder, &format!("{label}.image"), settings.padding)?;
                LabelBranch::Image { branch, settings, chains }
            }
            _ => {
                let first = builder.dense(&label, "1", Activation::Relu)?;
                let residual = match builder.norm {
                    Norm::Batch => Some([
                        builder.dense(&label, "2", Activation::Relu)?,
                        builder.dense(&label, "3", Activation::None)?,
                    ]),
                    Norm::None => None,
                };
                LabelBranch::Vector { first, residual }
            }
        };
        let joint = format!("{place}.joint");
        let wide = builder.dense_layer(&joint, "1")?;
        // The layer reads the features of image, label and time beside each other, each as many.
        let (all, outputs) = (wide.inputs(), wide.outputs());
        let each = match needs.time {
            TimeInput::None => all / 2,
            TimeInput::Embedded => all / 3,
        };
        let mut part = |index: usize, name: &str| {
            let columns = wide.columns(index * each..(index + 1) * each);
            builder.graph.tensor(
                &format!("{}.weight.{name}", wide.name),
                &[each, outputs],
                &columns,
            )
        };
        let (of_image, of_label) = (part(0, "image"), part(1, "label"));
        let time = match needs.time {
            TimeInput::None => None,
            TimeInput::Embedded => {
                let joint = part(2, "time");
                let own = builder.weights.linear(&format!("{place}.time.fc1"))?;
                Some(TimeBranch { own: builder.graph.affine(&own, Activation::Relu), joint })
            }
        };
        let bias = builder.graph.bias(&wide);
        let whole = Affine { weight: of_image, bias, outputs, activation: Activation::None };
        let image = builder.graph.apply(&whole, features);
        let one = builder.graph.integers(&[1]);
        let image = builder.graph.op("Unsqueeze", &[&image, &one]);
        let narrow = builder.dense(&joint, "2", Activation::Relu)?;
        let logits = builder.linear(&format!("{joint}.fc3"))?;
        Ok(Self { label, time, image, joint: of_label, narrow, logits })
    }

    /// The part of the first joint layer that depends on the time, [times, 256]; `None` for a block that is not given it.
    pub fn times(&self, graph: &mut Graph, times: &[f64]) -> Result<Option<Value>> {
        let Some(time) = &self.time else { return Ok(None) };
        let values: Vec<f32> = times.iter().map(|&time| time as f32).collect();
        let positions = time_positions(&Tensor::new(values, &Device::Cpu)?)?;
        let shape = positions.dims().to_vec();
        let values: Vec<f32> = positions.flatten_all()?.to_vec1()?;
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        let positions = graph.numbers(&shape, &values);
        let features = graph.apply(&time.own, &positions);
        Ok(Some(graph.op("MatMul", &[&features, &time.joint])))
    }

    /// Returns whether it is given the time.
    pub fn is_timed(&self) -> bool {
        self.time.is_some()
    }

    /// The class logits for `z`, at a time of which [`Self::times`] returned the row.
    pub fn logits(&self, graph: &mut Graph, z: &Value, time: Option<&Value>) -> Value {
        let label = self.label.forward(graph, z);
        let label = graph.op("MatMul", &[&label, &self.joint]);
        let mut sum = graph.op("Add", &[&self.image, &label]);
        if let Some(time) = time {
            sum = graph.op("Add", &[&sum, time]);
        }
        let wide = graph.op("Relu", &[&sum]);
        let narrow = graph.apply(&self.narrow, &wide);
        graph.apply(&self.logits, &narrow)
    }
}

impl LabelBranch {
    /// [N, K, d] → [N, K, 256].
    fn forward(&self, graph: &mut Graph, z: &Value) -> Value {
        match self {
            Self::Vector { first, residual } => {
                let h = graph.apply(first, z);
                let Some([inner, outer]) = residual else { return h };
                let refined = graph.apply(inner, &h);
                let refined = graph.apply(outer, &refined);
                graph.op("Add", &[&h, &refined])
            }
            Self::Image { branch, settings, chains } => {
                let image = settings.image;
                let shape = [image.channels, image.height, image.width].map(|side| side as i64);
                let [channels, height, width] = shape;
                let shape = graph.integers(&[-1, channels, height, width]);
                let images = graph.op("Reshape", &[z, &shape]);
                let features = branch.forward(graph, &images);
                let shape = graph.integers(&[-1, *chains as i64, branch.width() as i64]);
                graph.op("Reshape", &[&features, &shape])
            }
        }
    }
}
