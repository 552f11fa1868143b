//! Our side of the single layers in `cargo xtask bench ops`: each line of input names a layer and what to do with it, each line of output has
//! the seconds that it took. `xtask/peers/torch_layers.py` is the other side.
//!
//! ```sh
//! echo '"conv 32 64 32 backward"' | cargo run -p noprop-kernels --example layers -- 2   # threads
//! ```
//!
//! Layers are `resnet WIDTH SIDE`, all convolutions and norms of that network, `conv CHANNELS CHANNELS SIDE`, `pool CHANNELS SIDE`,
//! and `transformer` (a layer), `layer_norm`, `attention` and `gelu`, each with WIDTH TOKENS;
//! then `forward`, or `backward` for both passes. A batch is 128 images.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use noprop_kernels::random::{StreamKey, normal};
use noprop_kernels::{
    Activation, After, Attention, Backend, BatchNormMode, Conv3x3, ConvNorm, ConvNormStack,
    LayerNorm, Padding, TransformerLayer, TransformerParameters, gelu, global_max_pool,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const BATCH: usize = 128;
/// The width of a head of attention.
const HEAD: usize = 32;

fn main() -> Result<()> {
    noprop_kernels::memory::keep_freed();
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(NonZeroUsize::MIN);
    noprop_kernels::threads::configure(threads)?;
    rayon::scope(|_| {
        for line in std::io::stdin().lines() {
            let seconds = answer(line?.trim_matches('"'))?;
            let mut out = std::io::stdout().lock();
            writeln!(out, "{{\"seconds\": [{seconds}]}}")?;
            out.flush()?;
        }
        Ok(())
    })
}

/// The seconds of one round, after one to warm up.
fn answer(request: &str) -> Result<f64> {
    let words: Vec<&str> = request.split(' ').collect();
    let number = |index: usize| -> Result<usize> { Ok(words[index].parse()?) };
    match words.as_slice() {
        ["conv", _, _, _, passes] => {
            let (c_in, c_out, side) = (number(1)?, number(2)?, number(3)?);
            let layer =
                Conv3x3 { padding: Padding::Same, act: Activation::None, ..Conv3x3::default() };
            let parameters = [draw(2, &[1, c_out, c_in, 3, 3])?, draw(3, &[1, c_out])?];
            time(passes, &[1, BATCH, c_in, side, side], &parameters, |x, p| {
                layer.forward(x, &p[0], &p[1])
            })
        }
        ["resnet", _, _, passes] => {
            let (width, side) = (number(1)?, number(2)?);
            let layers = resnet(width);
            let mut parameters = Vec::new();
            for (index, (c_in, c_out, _)) in layers.iter().enumerate() {
                parameters.push(draw(index as u64, &[1, *c_out, *c_in, 3, 3])?);
                parameters.push(Tensor::ones((1, *c_out), DType::F32, &Device::Cpu)?);
                parameters.push(Tensor::zeros((1, *c_out), DType::F32, &Device::Cpu)?);
            }
            time(passes, &[1, BATCH, 3, side, side], &parameters, |x, p| {
                let layers: Vec<ConvNorm<'_>> = p
                    .chunks_exact(3)
                    .zip(&layers)
                    .map(|(p, (.., after))| ConvNorm {
                        w: &p[0],
                        gamma: &p[1],
                        beta: &p[2],
                        mode: BatchNormMode::Train,
                        after: *after,
                    })
                    .collect();
                Ok(ConvNormStack::default().forward(x, &layers)?.y)
            })
        }
        ["pool", _, _, passes] => {
            let (channels, side) = (number(1)?, number(2)?);
            time(passes, &[1, BATCH, channels, side, side], &[], |x, _| {
                global_max_pool(x, Backend::Auto)
            })
        }
        ["transformer", _, _, passes] => {
            let (width, tokens) = (number(1)?, number(2)?);
            let shapes: [&[usize]; 8] = [
                &[1, width],
                &[1, 3 * width, width],
                &[1, 3 * width],
                &[1, width, width],
                &[1, 4 * width, width],
                &[1, 4 * width],
                &[1, width, 4 * width],
                &[1, width],
            ];
            let draws = (2..).zip(shapes).map(|(seed, shape)| draw(seed, shape));
            let parameters = draws.collect::<Result<Vec<_>>>()?;
            let layer = TransformerLayer { heads: width / HEAD, ..TransformerLayer::default() };
            time(passes, &[1, BATCH, tokens, width], &parameters, |x, p| {
                // The norms share their parameters, and so do the biases of one width.
                let parameters = TransformerParameters {
                    norm1: (&p[0], &p[7]),
                    qkv: (&p[1], &p[2]),
                    out: (&p[3], &p[7]),
                    norm2: (&p[0], &p[7]),
                    fc1: (&p[4], &p[5]),
                    fc2: (&p[6], &p[7]),
                };
                layer.forward(x, parameters)
            })
        }
        ["layer_norm", _, _, passes] => {
            let (width, tokens) = (number(1)?, number(2)?);
            let parameters = [draw(2, &[1, width])?, draw(3, &[1, width])?];
            time(passes, &[1, BATCH * tokens, width], &parameters, |x, p| {
                LayerNorm::default().forward(x, &p[0], &p[1])
            })
        }
        ["attention", _, _, passes] => {
            let (width, tokens) = (number(1)?, number(2)?);
            let attention = Attention { heads: width / HEAD, ..Attention::default() };
            time(passes, &[1, BATCH, tokens, 3 * width], &[], |x, _| attention.forward(x))
        }
        ["gelu", _, _, passes] => {
            let (width, tokens) = (number(1)?, number(2)?);
            time(passes, &[1, BATCH * tokens, width], &[], |x, _| gelu(x, Backend::Auto))
        }
        _ => Err(format!("no layer {request}").into()),
    }
}

/// The convolutions of `--network resnet:W`, on images of three channels: channels before and after, and what follows.
fn resnet(width: usize) -> Vec<(usize, usize, After)> {
    use After::{Max2, Nothing, Residual};
    let after = [Nothing, Max2, Nothing, Residual, Max2, Max2, Nothing, Residual];
    let channels = [1, 2, 2, 2, 4, 8, 8, 8].map(|factor| factor * width);
    let before = std::iter::once(3).chain(channels);
    before
        .zip(channels)
        .zip(after)
        .map(|((before, channels), after)| (before, channels, after))
        .collect()
}

fn draw(seed: u64, shape: &[usize]) -> Result<Tensor> {
    let values = normal(StreamKey(seed), shape, &Device::Cpu)?.to_dtype(DType::F32)?;
    Ok(values.affine(0.1, 0.0)?)
}

/// Images of three channels are data, which need no gradient.
fn time(
    passes: &str,
    shape: &[usize],
    parameters: &[Tensor],
    layer: impl Fn(&Tensor, &[Tensor]) -> noprop_kernels::Result<Tensor>,
) -> Result<f64> {
    let x = draw(1, shape)?;
    let var = |t: &Tensor| -> Result<Tensor> { Ok(Var::from_tensor(t)?.into_inner()) };
    let vars = parameters.iter().map(var).collect::<Result<Vec<_>>>()?;
    let tracked = if shape.get(2) == Some(&3) { x.clone() } else { var(&x)? };
    let mut seconds = 0.0;
    for _ in 0..2 {
        let begun = Instant::now();
        match passes {
            "forward" => drop(layer(&x, parameters)?),
            _ => drop(layer(&tracked, &vars)?.sum_all()?.backward()?),
        }
        seconds = begun.elapsed().as_secs_f64();
    }
    Ok(seconds)
}
