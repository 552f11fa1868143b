//! Our side of the single layers in `cargo xtask bench ops`: each line of input names a layer and what to do with it, each line of output has
//! the seconds that it took. `xtask/peers/torch_layers.py` is the other side.
//!
//! ```sh
//! echo '"conv 32 64 32 backward"' | cargo run -p noprop-kernels --example layers -- 2   # threads
//! ```
//!
//! Layers are `conv CHANNELS CHANNELS SIDE`, `norm CHANNELS SIDE END` with `plain`, `pool` or `residual` for END, and `pool CHANNELS SIDE`;
//! then `forward`, or `backward` for both passes. A batch is 128 images.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use noprop_kernels::random::{StreamKey, normal};
use noprop_kernels::{
    Activation, Backend, BatchNormMode, ChannelNorm, Conv3x3, Padding, Pool, global_max_pool,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const BATCH: usize = 128;

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
        ["norm", _, _, end, passes] => {
            let (channels, side) = (number(1)?, number(2)?);
            let pool = if *end == "pool" { Pool::Max2 } else { Pool::None };
            let layer = ChannelNorm { act: Activation::Relu, pool, ..ChannelNorm::default() };
            let shape = [1, BATCH, channels, side, side];
            let residual = if *end == "residual" { Some(draw(4, &shape)?) } else { None };
            let parameters = [draw(2, &[1, channels])?, draw(3, &[1, channels])?];
            time(passes, &shape, &parameters, |x, p| {
                let mode = BatchNormMode::Train;
                Ok(layer.forward(x, &p[0], &p[1], residual.as_ref(), mode)?.y)
            })
        }
        ["pool", _, _, passes] => {
            let (channels, side) = (number(1)?, number(2)?);
            time(passes, &[1, BATCH, channels, side, side], &[], |x, _| {
                global_max_pool(x, Backend::Auto)
            })
        }
        _ => Err(format!("no layer {request}").into()),
    }
}

fn draw(seed: u64, shape: &[usize]) -> Result<Tensor> {
    let values = normal(StreamKey(seed), shape, &Device::Cpu)?.to_dtype(DType::F32)?;
    Ok(values.affine(0.1, 0.0)?)
}

/// Images of three channels are data, which need no gradient.
fn time(
    passes: &str,
    shape: &[usize; 5],
    parameters: &[Tensor],
    layer: impl Fn(&Tensor, &[Tensor]) -> noprop_kernels::Result<Tensor>,
) -> Result<f64> {
    let x = draw(1, shape)?;
    let var = |t: &Tensor| -> Result<Tensor> { Ok(Var::from_tensor(t)?.into_inner()) };
    let vars = parameters.iter().map(var).collect::<Result<Vec<_>>>()?;
    let tracked = if shape[2] == 3 { x.clone() } else { var(&x)? };
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
