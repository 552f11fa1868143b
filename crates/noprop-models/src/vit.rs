//! `vit:W,D,P`: a vision transformer with pre-norm layers (Dosovitskiy et al. 2021).

use candle_core::{Result, Tensor};
use noprop_kernels::{Activation, LayerNorm, TransformerLayer, TransformerParameters};
use noprop_method::{Init, Norm, ParameterError};

use crate::image_branch::{ImageEncoder, ImageShape, WIDTH};
use crate::layers::{Dense, Linear, Passes, Place};

/// The width of a head of attention in `vit:W,D,P`.
pub const HEAD: usize = 32;
/// The width of a layer's inner linear layer, as a multiple of W.
const INNER: usize = 4;
/// The deviation of positions before training.
const POSITION: f64 = 0.02;

/// Patches of P×P pixels → tokens of W numbers, plus a trained position; D layers; layer norm; the mean of the tokens; linear → 256 as at
/// the end of Fig. 6's image branch.
pub(crate) struct Vit {
    patch: usize,
    tokens: Linear,
    /// [T, 1, tokens, W].
    positions: Tensor,
    layers: Vec<Layer>,
    norm: TokenNorm,
    dense: Dense,
}

/// x + attention(norm(x)), then x + linear(GELU(linear(norm(x)))).
struct Layer {
    norm1: TokenNorm,
    norm2: TokenNorm,
    qkv: Linear,
    out: Linear,
    fc1: Linear,
    fc2: Linear,
    op: TransformerLayer,
}

impl Vit {
    /// The network with its parameters at `place`.
    pub fn new(
        place: &Place<'_>,
        shape: ImageShape,
        (width, depth, patch): (usize, usize, usize),
        norm: Norm,
    ) -> std::result::Result<Self, ParameterError> {
        let ImageShape { channels, height, width: columns } = shape;
        let count = (height / patch) * (columns / patch);
        let start = Init::Normal { mean: 0.0, deviation: POSITION };
        let layer = |i: usize| Layer::new(&place.at(&format!("layer{i}")), width);
        Ok(Self {
            patch,
            tokens: Linear::new(&place.at("tokens"), channels * patch * patch, width)?,
            positions: place.parameter("positions", &[1, 1, count, width], start)?,
            layers: (1..=depth).map(layer).collect::<std::result::Result<_, _>>()?,
            norm: TokenNorm::new(&place.at("layer_norm"), width)?,
            dense: Dense::new(place, "", (width, WIDTH), norm, Activation::None)?,
        })
    }

    /// [T or 1, N, C, H, W] → [T, N, W].
    fn pooled(&self, images: &Tensor) -> Result<Tensor> {
        let (blocks, n, c, height, width) = images.dims5()?;
        let (p, rows, columns) = (self.patch, height / self.patch, width / self.patch);
        let patches = images
            .reshape(vec![blocks * n, c, rows, p, columns, p])?
            .permute(vec![0, 2, 4, 1, 3, 5])?
            .reshape((blocks, n * rows * columns, c * p * p))?;
        let x = self.tokens.forward(&patches)?;
        let (blocks, all, w) = x.dims3()?;
        let by_image = (blocks, n, rows * columns, w);
        let x = x.reshape(by_image)?.broadcast_add(&self.positions)?;
        let x = self.layers.iter().try_fold(x, |x, layer| layer.forward(&x))?;
        self.norm.forward(&x.reshape((blocks, all, w))?)?.reshape(by_image)?.mean(2)
    }
}

impl ImageEncoder for Vit {
    fn forward(&self, images: &Tensor, passes: Passes<'_>) -> Result<Tensor> {
        self.dense.forward(&self.pooled(images)?, passes)
    }

    fn calibrate(&self, images: &Tensor) -> Result<()> {
        self.dense.calibrate(&self.pooled(images)?)
    }
}

impl Layer {
    fn new(place: &Place<'_>, width: usize) -> std::result::Result<Self, ParameterError> {
        let linear = |name: &str, inputs, outputs| Linear::new(&place.at(name), inputs, outputs);
        let norm = |name: &str| TokenNorm::new(&place.at(name), width);
        Ok(Self {
            norm1: norm("norm1")?,
            norm2: norm("norm2")?,
            qkv: linear("qkv", width, 3 * width)?,
            out: linear("out", width, width)?,
            fc1: linear("fc1", width, INNER * width)?,
            fc2: linear("fc2", INNER * width, width)?,
            op: TransformerLayer {
                heads: width / HEAD,
                precision: place.precision,
                backend: place.backend,
                ..TransformerLayer::default()
            },
        })
    }

    /// The tokens of images, [T, N, L, W] → the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let parameters = TransformerParameters {
            norm1: self.norm1.parameters(),
            qkv: self.qkv.parameters(),
            out: self.out.parameters(),
            norm2: self.norm2.parameters(),
            fc1: self.fc1.parameters(),
            fc2: self.fc2.parameters(),
        };
        Ok(self.op.forward(x, parameters)?)
    }
}

/// Layer norm of each token.
struct TokenNorm {
    /// γ and β, [T, W].
    scale: Tensor,
    shift: Tensor,
    norm: LayerNorm,
}

impl TokenNorm {
    fn new(place: &Place<'_>, width: usize) -> std::result::Result<Self, ParameterError> {
        let shape = [1, width];
        Ok(Self {
            scale: place.parameter("gamma", &shape, Init::Constant(1.0))?,
            shift: place.parameter("beta", &shape, Init::Constant(0.0))?,
            norm: LayerNorm { backend: place.backend, ..LayerNorm::default() },
        })
    }

    /// γ and β.
    fn parameters(&self) -> (&Tensor, &Tensor) {
        (&self.scale, &self.shift)
    }

    /// [T, N L, W] → the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.norm.forward(x, &self.scale, &self.shift)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use noprop_method::{ParameterBuilder, Part, Seed};

    use super::*;

    /// candle's ops have wrong gradients here and there, so those of the whole encoder, of its images and of every parameter, are compared with
    /// central differences.
    #[test]
    fn the_gradient_is_that_of_the_function() {
        let device = Device::Cpu;
        let shape = ImageShape { channels: 1, height: 16, width: 16 };
        let builder = ParameterBuilder::seeded(Seed(3), &device);
        let vit = {
            let place = Place::new(&builder, Part::Encoder);
            Vit::new(&place, shape, (32, 2, 8), Norm::None).unwrap()
        };
        // The same numbers in every run, so that the test fails always or never.
        let spread = |count: usize| (0..count).map(|i| (i * 37 % 101) as f32 / 101.0);
        let images: Vec<f32> = spread(2 * 16 * 16).collect();
        let images = Var::from_vec(images, (1, 2, 1, 16, 16), &device).unwrap();
        let weights: Vec<f32> = spread(2 * WIDTH).map(|x| 2.0 * x - 1.0).collect();
        let weights = Tensor::from_vec(weights, (1, 2, WIDTH), &device).unwrap();
        let loss = || {
            let y = vit.forward(&images, Passes::Eval).unwrap();
            (y * &weights).unwrap().sum_all().unwrap()
        };
        let slopes = loss().backward().unwrap();
        let parameters = builder.finish().unwrap();
        let named = parameters.iter().map(|p| (p.name.as_str(), &p.var));
        let values = |t: &Tensor| -> Vec<f32> { t.flatten_all().unwrap().to_vec1().unwrap() };
        for (name, var) in named.chain([("images", &images)]) {
            let (slope, before) = (values(slopes.get(var).unwrap()), values(var));
            let at = |i: usize, by: f32| {
                let mut moved = before.clone();
                moved[i] += by;
                var.set(&Tensor::from_vec(moved, var.shape(), &device).unwrap()).unwrap();
                f64::from(loss().to_scalar::<f32>().unwrap())
            };
            let greatest = slope.iter().fold(0f32, |most, s| most.max(s.abs()));
            for i in (0..slope.len()).step_by(slope.len().div_ceil(8)) {
                let central = |step: f32| (at(i, step) - at(i, -step)) / (2.0 * f64::from(step));
                // Of the fourth order: layer norm bends the function too much for the second.
                let difference = (4.0 * central(0.002) - central(0.004)) / 3.0;
                let error = (difference - f64::from(slope[i])).abs();
                let most = 0.03 * f64::from(greatest);
                assert!(error < most, "{name} {i}: {difference} and {}", slope[i]);
            }
            at(0, 0.0);
        }
    }
}
