//! `vit:W,D,P`: a vision transformer with pre-norm layers (Dosovitskiy et al. 2021).

use candle_core::{D, Result, Tensor};
use noprop_kernels::Activation;
use noprop_method::{Init, Norm, ParameterError};

use crate::image_branch::{ImageEncoder, ImageShape, WIDTH};
use crate::layers::{Dense, Linear, Passes, Place};

/// The width of a head of attention.
pub(crate) const HEAD: usize = 32;
/// The width of a layer's inner linear layer, as a multiple of W.
const INNER: usize = 4;
/// The number that a layer norm adds to the variance, as in PyTorch.
const EPS: f64 = 1e-5;
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
    norm: LayerNorm,
    dense: Dense,
}

/// x + attention(norm(x)), then x + linear(GELU(linear(norm(x)))).
struct Layer {
    norms: [LayerNorm; 2],
    qkv: Linear,
    out: Linear,
    inner: [Linear; 2],
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
            norm: LayerNorm::new(&place.at("layer_norm"), width)?,
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
        let (blocks, _, w) = x.dims3()?;
        let x = x.reshape((blocks, n, rows * columns, w))?.broadcast_add(&self.positions)?;
        let x = self.layers.iter().try_fold(x, |x, layer| layer.forward(&x))?;
        self.norm.forward(&x)?.mean(2)
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
        Ok(Self {
            norms: [
                LayerNorm::new(&place.at("norm1"), width)?,
                LayerNorm::new(&place.at("norm2"), width)?,
            ],
            qkv: linear("qkv", width, 3 * width)?,
            out: linear("out", width, width)?,
            inner: [linear("fc1", width, INNER * width)?, linear("fc2", INNER * width, width)?],
        })
    }

    /// [T, N, L, W] → the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [first, second] = &self.norms;
        let x = (x + self.attention(&first.forward(x)?)?)?;
        let [widen, narrow] = &self.inner;
        let inner = by_token(widen, &second.forward(&x)?)?.gelu()?;
        x + by_token(narrow, &inner)?
    }

    /// softmax(q kᵀ / √32) v for each head of 32 numbers.
    fn attention(&self, x: &Tensor) -> Result<Tensor> {
        let (blocks, n, length, width) = x.dims4()?;
        let heads = width / HEAD;
        let qkv = by_token(&self.qkv, x)?.reshape(vec![blocks * n, length, 3, heads, HEAD])?;
        let part = |i: usize| qkv.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let (q, k, v) = ((part(0)? / (HEAD as f64).sqrt())?, part(1)?, part(2)?);
        let scores = q.matmul(&k.t()?.contiguous()?)?;
        let mixed = softmax(&scores)?.matmul(&v)?;
        by_token(&self.out, &mixed.transpose(1, 2)?.reshape((blocks, n, length, width))?)
    }
}

/// A linear layer for each token: [T, N, L, I] → [T, N, L, O].
fn by_token(linear: &Linear, x: &Tensor) -> Result<Tensor> {
    let (blocks, n, length, inputs) = x.dims4()?;
    let y = linear.forward(&x.reshape((blocks, n * length, inputs))?)?;
    let (.., outputs) = y.dims3()?;
    y.reshape((blocks, n, length, outputs))
}

/// Of the last dimension.
fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

/// Layer norm over the last dimension.
struct LayerNorm {
    /// γ and β, [T, 1, 1, W].
    scale: Tensor,
    shift: Tensor,
}

impl LayerNorm {
    fn new(place: &Place<'_>, width: usize) -> std::result::Result<Self, ParameterError> {
        let shape = [1, 1, 1, width];
        Ok(Self {
            scale: place.parameter("gamma", &shape, Init::Constant(1.0))?,
            shift: place.parameter("beta", &shape, Init::Constant(0.0))?,
        })
    }

    /// [T, N, L, W] → the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let normal = centred.broadcast_div(&(variance + EPS)?.sqrt()?)?;
        normal.broadcast_mul(&self.scale)?.broadcast_add(&self.shift)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use noprop_method::{ParameterBuilder, Part, Seed};

    use super::*;

    /// candle's ops have wrong gradients here and there, so those of the whole encoder are compared with central differences.
    #[test]
    fn the_gradient_is_that_of_the_function() {
        let device = Device::Cpu;
        let shape = ImageShape { channels: 1, height: 16, width: 16 };
        let builder = ParameterBuilder::seeded(Seed(3), &device);
        let place = Place::new(&builder, Part::Encoder);
        let vit = Vit::new(&place, shape, (32, 2, 8), Norm::None).unwrap();
        let x = Tensor::rand(0f32, 1f32, (1, 2, 1, 16, 16), &device).unwrap();
        let weights = Tensor::rand(-1f32, 1f32, (1, 2, WIDTH), &device).unwrap();
        let loss = |x: &Tensor| {
            let y = vit.forward(x, Passes::Eval).unwrap();
            (y * &weights).unwrap().sum_all().unwrap()
        };
        let var = Var::from_tensor(&x).unwrap();
        let slopes = loss(&var).backward().unwrap();
        let slope: Vec<f32> = slopes.get(&var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let values: Vec<f32> = x.flatten_all().unwrap().to_vec1().unwrap();
        let at = |i: usize, by: f32| {
            let mut moved = values.clone();
            moved[i] += by;
            let moved = Tensor::from_vec(moved, x.shape(), &device).unwrap();
            f64::from(loss(&moved).to_scalar::<f32>().unwrap())
        };
        let greatest = slope.iter().fold(0f32, |most, s| most.max(s.abs()));
        for i in (0..512).step_by(37) {
            let difference = (at(i, 0.01) - at(i, -0.01)) / 0.02;
            let error = (difference - f64::from(slope[i])).abs();
            assert!(error < 0.03 * f64::from(greatest), "{i}: {difference} and {}", slope[i]);
        }
    }
}
