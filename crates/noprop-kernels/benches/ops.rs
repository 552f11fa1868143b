//! The ops of a paper block (28×28×1 images, batch 128), forward and with their gradients.
//!
//! `RAYON_NUM_THREADS=2 CANDLE_NUM_THREADS=2 cargo bench -p noprop-kernels`; a word after `--` selects benchmarks by name.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails may panic")]

use candle_core::{DType, Device, Result, Tensor, Var};
use divan::Bencher;
use noprop_kernels::optim::{Adam, AdamConfig};
use noprop_kernels::random::{StreamKey, normal};
use noprop_kernels::{
    Activation, Backend, BatchNorm, BatchNormMode, Conv3x3, Dropout, Linear, Padding, Pool,
    conv3x3_stack, denoise_loss,
};

const BATCH: usize = 128;

fn main() {
    divan::main();
}

fn draw(seed: u64, shape: &[usize]) -> Tensor {
    normal(StreamKey(seed), shape, &Device::Cpu).and_then(|t| Ok(t.affine(0.1, 0.0)?)).unwrap()
}

fn var(seed: u64, shape: &[usize]) -> Var {
    Var::from_tensor(&draw(seed, shape)).unwrap()
}

/// Runs `f` until the figures are steady.
fn time(bencher: Bencher<'_, '_>, f: impl Fn() -> Result<()>) {
    bencher.bench_local(|| f().unwrap());
}

/// The three convolutions of Fig. 6.
#[derive(Clone, Copy, Debug)]
struct Layer {
    c_in: usize,
    c_out: usize,
    side: usize,
    pool: Pool,
}

const LAYERS: [Layer; 3] = [
    Layer { c_in: 1, c_out: 32, side: 28, pool: Pool::Max2 },
    Layer { c_in: 32, c_out: 64, side: 13, pool: Pool::None },
    Layer { c_in: 64, c_out: 128, side: 11, pool: Pool::Max2 },
];

impl Layer {
    fn op(self, backend: Backend) -> Conv3x3 {
        Conv3x3 {
            padding: Padding::Valid,
            pool: self.pool,
            dropout: Dropout::new(0.2, vec![StreamKey(5)]).ok(),
            backend,
            ..Conv3x3::default()
        }
    }

    fn weights(self) -> (Var, Var) {
        (var(1, &[1, self.c_out, self.c_in, 3, 3]), var(2, &[1, self.c_out]))
    }

    fn image(self) -> Tensor {
        draw(3, &[1, BATCH, self.c_in, self.side, self.side])
    }
}

#[divan::bench(args = [0, 1, 2])]
fn conv_forward(bencher: Bencher<'_, '_>, layer: usize) {
    let layer = LAYERS[layer];
    let ((w, b), x) = (layer.weights(), layer.image());
    let op = layer.op(Backend::Auto);
    time(bencher, || op.forward(&x, &w, &b).map(drop).map_err(Into::into));
}

#[divan::bench(args = [0, 1, 2])]
fn conv_forward_backward(bencher: Bencher<'_, '_>, layer: usize) {
    let layer = LAYERS[layer];
    let ((w, b), x) = (layer.weights(), layer.image());
    // The input of the first layer is data, which needs no gradient.
    let x = if layer.c_in == 1 { x } else { Var::from_tensor(&x).unwrap().into_inner() };
    let op = layer.op(Backend::Auto);
    time(bencher, || op.forward(&x, &w, &b)?.sum_all()?.backward().map(drop));
}

#[divan::bench(args = [Backend::Auto, Backend::Reference])]
fn three_convs_forward_backward(bencher: Bencher<'_, '_>, backend: Backend) {
    let weights = LAYERS.map(|layer| {
        let (w, b) = layer.weights();
        (w.into_inner(), b.into_inner())
    });
    let x = LAYERS[0].image();
    let ops = LAYERS.map(|layer| layer.op(backend));
    time(bencher, || {
        let h = conv3x3_stack(&ops, &x, &weights)?;
        h.sum_all()?.backward().map(drop)
    });
}

#[divan::bench(args = [(2048, 256), (256, 256), (10, 256), (512, 256), (128, 10)])]
fn linear_forward_backward(bencher: Bencher<'_, '_>, (inputs, outputs): (usize, usize)) {
    let x = var(1, &[1, BATCH, inputs]);
    let (w, b) = (var(2, &[1, outputs, inputs]), var(3, &[1, outputs]));
    time(bencher, || {
        let y = Linear::default().forward(&x, &w, &b)?;
        y.sum_all()?.backward().map(drop)
    });
}

#[divan::bench]
fn batch_norm_forward_backward(bencher: Bencher<'_, '_>) {
    let x = var(1, &[1, BATCH, 256]);
    let (gamma, beta) = (var(2, &[1, 256]), var(3, &[1, 256]));
    time(bencher, || {
        let mode = BatchNormMode::Train;
        let out = BatchNorm { act: Activation::Relu, ..BatchNorm::default() }
            .forward(&x, &gamma, &beta, mode)?;
        out.y.sum_all()?.backward().map(drop)
    });
}

#[divan::bench]
fn denoise_loss_forward_backward(bencher: Bencher<'_, '_>) {
    let logits = var(1, &[1, BATCH, 10]);
    let embeddings = Tensor::eye(10, DType::F32, &Device::Cpu).unwrap();
    let labels = Tensor::zeros(BATCH, DType::U32, &Device::Cpu).unwrap();
    time(bencher, || {
        let loss = denoise_loss(&logits, &embeddings, &labels, Backend::Auto)?;
        loss.sum_all()?.backward().map(drop)
    });
}

#[divan::bench]
fn adamw_step(bencher: Bencher<'_, '_>) {
    let x = var(1, &[700_000]);
    let grads = vec![draw(2, &[700_000])];
    let mut adam = Adam::new(vec![("x".to_owned(), x)], AdamConfig::default()).unwrap();
    bencher.bench_local(|| adam.step_with(&grads, 1e-3).unwrap());
}
