//! Every op's gradient beside central differences, in both implementations.

use candle_core::{DType, Tensor};
use noprop_kernels::random::StreamKey;
use noprop_kernels::{
    Activation, Attention, Backend, BatchNorm, BatchNormMode, Conv3x3, Dropout, KernelError,
    LayerNorm, Linear, Padding, Pool, Targets, TransformerLayer, cross_entropy, denoise_loss, gelu,
    global_max_pool,
};

use crate::support::{
    PAIRS, RESIDUAL, check_central_differences, labels, run_stack, run_transformer, running,
    stack_shapes, tensors, transformer_shapes, values, weights,
};

const BACKENDS: [Backend; 2] = [Backend::Reference, Backend::Auto];

/// Protects the gradient of the convolution layer. candle's own pooling gradient fails this; so would a misplaced maximum, a
/// missed border or a wrong dropout factor.
#[test]
fn convolution() {
    for backend in BACKENDS {
        for padding in [Padding::Valid, Padding::Same] {
            for pool in [Pool::None, Pool::Max2] {
                for (rate, act) in [
                    (None, Activation::Relu),
                    (Some(0.3), Activation::Relu),
                    (None, Activation::None),
                    (Some(0.3), Activation::None),
                ] {
                    let keys = vec![StreamKey(1), StreamKey(2)];
                    let layer = Conv3x3 {
                        padding,
                        pool,
                        act,
                        dropout: rate.map(|rate| Dropout::new(rate, keys).unwrap()),
                        backend,
                        ..Conv3x3::default()
                    };
                    let arguments =
                        tensors(1, &[&[1, 3, 2, 7, 9][..], &[2, 5, 2, 3, 3], &[2, 5]], DType::F64);
                    let f = |a: &[Tensor]| layer.forward(&a[0], &a[1], &a[2]);
                    check_central_differences(&format!("{layer:?}"), f, &arguments);
                }
            }
        }
    }
}

/// Protects the gradient of the dense layer, with an input for each block and with a shared one.
#[test]
fn dense() {
    for backend in BACKENDS {
        for act in [Activation::None, Activation::Relu] {
            for x_blocks in [1, 3] {
                let arguments =
                    tensors(1, &[&[x_blocks, 4, 7][..], &[3, 5, 7], &[3, 5]], DType::F64);
                let layer = Linear { act, backend, ..Linear::default() };
                let f = |a: &[Tensor]| layer.forward(&a[0], &a[1], &a[2]);
                check_central_differences(&format!("{backend:?} {act:?}"), f, &arguments);
            }
        }
    }
}

/// Protects the gradient through the batch's own mean and variance in training. An implementation that treats them as
/// constants fails here.
#[test]
fn batch_normalisation() {
    for backend in BACKENDS {
        for act in [Activation::None, Activation::Relu] {
            let arguments = tensors(1, &[&[2, 6, 5][..], &[2, 5], &[2, 5]], DType::F64);
            let run = |eps, mode| {
                let layer = BatchNorm { eps, act, backend };
                move |a: &[Tensor]| {
                    Ok::<_, KernelError>(layer.forward(&a[0], &a[1], &a[2], mode)?.y)
                }
            };
            let train = run(1e-5, BatchNormMode::Train);
            check_central_differences(&format!("{backend:?} {act:?} train"), train, &arguments);
            let mean = values(10, &[2, 5], DType::F64);
            let var = values(11, &[2, 5], DType::F64).sqr().unwrap();
            let eval = run(0.1, BatchNormMode::Eval { mean: &mean, var: &var });
            check_central_differences(&format!("{backend:?} {act:?} eval"), eval, &arguments);
        }
    }
}

/// Protects the gradients of convolutions with batch norms and of global pooling: through the batch's statistics, also from values that no window
/// uses (odd sides), to one maximum of a window alone, and around a residual pair.
#[test]
fn normed_convolutions_and_global_pooling() {
    for backend in BACKENDS {
        for (blocks, x, layers) in [
            (1, [1, 3, 2, 9, 8], &RESIDUAL[..]),
            (2, [1, 2, 9, 5, 6], &RESIDUAL[..]),
            (1, [1, 2, 3, 4, 5], &PAIRS[..]),
        ] {
            let arguments = tensors(1, &stack_shapes(blocks, &x, layers), DType::F64);
            let running = running(blocks, layers, DType::F64);
            for running in [None, Some(&running[..])] {
                let run =
                    |a: &[Tensor]| Ok::<_, KernelError>(run_stack(layers, a, running, backend)?.y);
                let mode = if running.is_some() { "eval" } else { "train" };
                check_central_differences(&format!("{backend:?} {x:?} {mode}"), run, &arguments);
            }
        }
        let pool = |a: &[Tensor]| global_max_pool(&a[0], backend);
        let x = [values(1, &[2, 3, 4, 3, 5], DType::F64)];
        check_central_differences(&format!("global pool {backend:?}"), pool, &x);
    }
}

/// Protects the gradients of the ops of transformers: through a row's mean and variance, through the softmax to queries and keys, and GELU's
/// slope on both sides.
#[test]
fn transformer_ops() {
    for backend in BACKENDS {
        let norm = |a: &[Tensor]| {
            LayerNorm { backend, ..LayerNorm::default() }.forward(&a[0], &a[1], &a[2])
        };
        let arguments = tensors(1, &[&[2, 5, 19][..], &[2, 19], &[2, 19]], DType::F64);
        check_central_differences(&format!("layer norm {backend:?}"), norm, &arguments);
        let attention =
            |a: &[Tensor]| Attention { heads: 2, backend }.forward(&a[0].affine(2.0, 0.0)?);
        let qkv = [values(2, &[2, 2, 6, 18], DType::F64)];
        check_central_differences(&format!("attention {backend:?}"), attention, &qkv);
        let curve = |a: &[Tensor]| gelu(&a[0].affine(4.0, 0.0)?, backend);
        check_central_differences(
            &format!("gelu {backend:?}"),
            curve,
            &[values(3, &[40], DType::F64)],
        );
        let layer = TransformerLayer { heads: 2, backend, ..TransformerLayer::default() };
        let layer = |a: &[Tensor]| run_transformer(layer, a);
        let arguments = tensors(4, &transformer_shapes([2, 2, 5, 6], 9), DType::F64);
        check_central_differences(&format!("layer {backend:?}"), layer, &arguments);
    }
}

/// Protects the gradient of the embeddings, which are both in the prediction and in the target. A loss that forgets the
/// target's gradient fails here.
#[test]
fn losses() {
    let (y, w) = (labels(6, 4), weights(6, DType::F64));
    for backend in BACKENDS {
        for weights in [None, Some(&w)] {
            let y = Targets { labels: &y, weights };
            let weighted = if weights.is_some() { "weighted" } else { "plain" };
            let denoise = |a: &[Tensor]| denoise_loss(&a[0], &a[1], y, backend);
            check_central_differences(
                &format!("{weighted} denoise {backend:?}"),
                denoise,
                &tensors(1, &[&[3, 6, 4][..], &[4, 5]], DType::F64),
            );
            let entropy = |a: &[Tensor]| cross_entropy(&a[0], y, backend);
            check_central_differences(
                &format!("{weighted} entropy {backend:?}"),
                entropy,
                &tensors(1, &[&[3, 6, 4]], DType::F64),
            );
        }
    }
}
