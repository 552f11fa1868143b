//! The image encoders: image [N, C, H, W] → 256 features [N, 256].

use noprop_kernels::{Activation, After, ConvNormStack};
use noprop_models::{Backbone, ImageShape, RESNET};

use crate::error::{ExportError, Result};
use crate::graph::{Graph, Value};
use crate::layers::{Affine, Builder};
use crate::vit;

/// The settings of an encoder.
#[derive(Clone, Copy)]
pub(crate) struct EncoderSettings {
    pub backbone: Backbone,
    pub image: ImageShape,
    /// The rings of zeros around the input of the convolutions of the paper's network.
    pub padding: usize,
}

/// The features of `image` by the encoder whose parameters are at `place`.
pub(crate) fn encode(
    builder: &mut Builder,
    settings: EncoderSettings,
    place: &str,
    image: &Value,
) -> Result<Value> {
    match settings.backbone {
        Backbone::Paper => {
            let branch = ImageBranch::new(builder, place, settings.padding)?;
            Ok(branch.forward(&mut builder.graph, image))
        }
        Backbone::Mlp { depth, .. } => mlp(builder, place, depth, image),
        Backbone::Resnet { .. } => resnet(builder, place, image),
        Backbone::Vit { depth, patch, .. } => {
            let pooled = vit::pooled(builder, place, (settings.image, depth, patch), image)?;
            last(builder, place, &pooled)
        }
        other => Err(ExportError::Unsupported { setting: "network", value: other.to_string() }),
    }
}

/// The linear layer behind which every encoder ends.
fn last(builder: &mut Builder, place: &str, x: &Value) -> Result<Value> {
    let dense = builder.dense(place, "", Activation::None)?;
    Ok(builder.graph.apply(&dense, x))
}

/// The convolutions of Fig. 6 in a graph; a label branch applies them more than once.
pub(crate) struct ImageBranch {
    convs: [Affine; 3],
    dense: Affine,
    padding: usize,
}

impl ImageBranch {
    /// The branch with its parameters at `place`.
    pub fn new(builder: &mut Builder, place: &str, padding: usize) -> Result<Self> {
        let mut conv = |name: &str| -> Result<Affine> {
            let layer = builder.weights.linear(&format!("{place}.{name}"))?;
            Ok(builder.graph.kernel(&layer))
        };
        let convs = [conv("conv1")?, conv("conv2")?, conv("conv3")?];
        let dense = builder.dense(place, "", Activation::None)?;
        Ok(Self { convs, dense, padding })
    }

    /// The number of features.
    pub fn width(&self) -> usize {
        self.dense.outputs
    }

    /// Images → features.
    pub fn forward(&self, graph: &mut Graph, images: &Value) -> Value {
        let [first, second, third] = &self.convs;
        let x = graph.convolve(first, images, self.padding);
        let x = graph.pool(&x);
        let x = graph.convolve(second, &x, self.padding);
        let x = graph.convolve(third, &x, self.padding);
        let x = graph.pool(&x);
        let flat = graph.flatten(&x);
        graph.apply(&self.dense, &flat)
    }
}

fn mlp(builder: &mut Builder, place: &str, depth: usize, image: &Value) -> Result<Value> {
    let mut x = builder.graph.flatten(image);
    for layer in 1..=depth {
        let dense = builder.dense(place, &layer.to_string(), Activation::Relu)?;
        x = builder.graph.apply(&dense, &x);
    }
    last(builder, place, &x)
}

fn resnet(builder: &mut Builder, place: &str, image: &Value) -> Result<Value> {
    let eps = ConvNormStack::default().eps;
    // What each convolution is given.
    let (mut before, mut x) = (image.clone(), image.clone());
    for (name, _, after) in RESNET {
        let place = format!("{place}.{name}");
        let layer = builder.weights.without_bias(&place)?;
        let layer = builder.weights.normed(layer, &format!("{place}.norm"), eps)?;
        let kernel = builder.graph.kernel(&layer);
        let y = builder.graph.convolve(&kernel, &x, 1);
        let y = match after {
            After::Nothing => y,
            After::Max2 => builder.graph.pool(&y),
            After::Residual => builder.graph.op("Add", &[&y, &before]),
        };
        before = std::mem::replace(&mut x, y);
    }
    let greatest = builder.graph.op("GlobalMaxPool", &[&x]);
    let flat = builder.graph.flatten(&greatest);
    last(builder, place, &flat)
}
