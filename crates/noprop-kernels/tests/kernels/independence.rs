//! The independence of results from the number of threads, the grouping of blocks, and the other images of the batch.

use candle_core::{DType, Tensor, Var};
use noprop_kernels::random::StreamKey;
use noprop_kernels::{
    Activation, Attention, Backend, BatchNorm, BatchNormMode, Conv3x3, Dropout, KernelError,
    LayerNorm, Linear, Pool, Precision, TransformerLayer, conv3x3_stack, denoise_loss, gelu,
    global_max_pool,
};
use rayon::ThreadPoolBuilder;

use crate::support::{
    Outcome, RESIDUAL, assert_close, distance, flat, labels, run_stack, run_transformer,
    stack_shapes, tensors, transformer_shapes, value_and_gradients, values,
};

/// The Fig. 6 image branch with dropout for `blocks` blocks, numbered from `first`.
fn branch(first: u64, blocks: u64, first_image: u64) -> Vec<Conv3x3> {
    [Pool::Max2, Pool::None, Pool::Max2]
        .into_iter()
        .enumerate()
        .map(|(layer, pool)| {
            let keys = (first..first + blocks)
                .map(|block| StreamKey::derive(1, &[block, layer as u64]))
                .collect();
            let dropout = Dropout::new(0.2, keys).unwrap().with_first_image(first_image);
            Conv3x3 { pool, dropout: Some(dropout), ..Conv3x3::default() }
        })
        .collect()
}

fn branch_arguments(blocks: usize, images: usize) -> Vec<Tensor> {
    let shapes: [&[usize]; 7] = [
        &[1, images, 1, 28, 28],
        &[blocks, 32, 1, 3, 3],
        &[blocks, 32],
        &[blocks, 64, 32, 3, 3],
        &[blocks, 64],
        &[blocks, 128, 64, 3, 3],
        &[blocks, 128],
    ];
    let sizes = [1.0, 0.3, 0.1, 0.06, 0.1, 0.04, 0.1];
    let values = tensors(0, &shapes, DType::F32);
    values.into_iter().zip(sizes).map(|(values, size)| (values * size).unwrap()).collect()
}

/// Weights and bias of every layer.
fn pairs(parameters: &[Tensor]) -> Vec<(Tensor, Tensor)> {
    parameters.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn run_branch(layers: &[Conv3x3], arguments: &[Tensor]) -> Outcome {
    value_and_gradients(|a| conv3x3_stack(layers, &a[0], &pairs(&a[1..])), arguments)
}

/// All values as exact numbers.
fn bits((value, gradients): Outcome) -> Vec<Vec<f64>> {
    std::iter::once(value).chain(gradients).map(|t| flat(&t)).collect()
}

fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// Protects the order of sums. If it followed the threads, the last bits would differ.
#[test]
fn one_two_and_three_threads_give_the_same_bits() {
    let head = |precision| {
        let y = labels(130, 10);
        let head = |a: &[Tensor]| {
            let linear = |x: &Tensor, w: &Tensor, b: &Tensor| {
                Linear { precision, ..Linear::default() }.forward(x, w, b)
            };
            let h = linear(&a[0], &a[1], &a[2])?;
            let mode = BatchNormMode::Train;
            let h = BatchNorm { act: Activation::Relu, ..BatchNorm::default() }
                .forward(&h, &a[3], &a[4], mode)?;
            let logits = linear(&h.y, &a[5], &a[2].narrow(1, 0, 10)?)?;
            denoise_loss(&logits, &a[6], &y, Backend::Auto)
        };
        let shapes: [&[usize]; 7] =
            [&[1, 130, 700], &[3, 96, 700], &[3, 96], &[3, 96], &[3, 96], &[3, 10, 96], &[10, 12]];
        let arguments: Vec<_> = shapes.iter().map(|s| values(4, s, DType::F32)).collect();
        bits(value_and_gradients(head, &arguments))
    };
    let images = || {
        let network = |a: &[Tensor]| {
            global_max_pool(&run_stack(&RESIDUAL, a, None, Backend::Auto)?.y, Backend::Auto)
        };
        let shapes = stack_shapes(2, &[1, 70, 3, 9, 8], &RESIDUAL);
        bits(value_and_gradients(network, &tensors(6, &shapes, DType::F32)))
    };
    let tokens = || {
        let layer = |a: &[Tensor]| {
            let x = LayerNorm::default().forward(&a[0], &a[1], &a[2])?;
            let x = Attention { heads: 2, ..Attention::default() }
                .forward(&x.reshape((2, 9, 33, 90))?)?;
            gelu(&x, Backend::Auto)
        };
        let shapes: [&[usize]; 3] = [&[2, 297, 90], &[2, 90], &[2, 90]];
        let parts = bits(value_and_gradients(layer, &tensors(9, &shapes, DType::F32)));
        let layer = TransformerLayer { heads: 3, ..TransformerLayer::default() };
        let arguments = tensors(9, &transformer_shapes([2, 60, 33, 36], 50), DType::F32);
        (parts, bits(value_and_gradients(|a| run_transformer(layer, a), &arguments)))
    };
    let run = |threads| {
        on_threads(threads, || {
            let conv = bits(run_branch(&branch(1, 2, 0), &branch_arguments(2, 70)));
            (conv, head(Precision::F32), head(Precision::Bf16), images(), tokens())
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

/// Shared images, and the parameters of one block.
fn of_block(arguments: &[Tensor], block: usize) -> Vec<Tensor> {
    let parameters = arguments[1..].iter().map(|t| t.narrow(0, block, 1).unwrap());
    std::iter::once(arguments[0].clone()).chain(parameters).collect()
}

/// Protects the grouping of blocks: values and parameters have the same bits in one call and one by one, and the gradient of
/// shared images is the sum over the blocks.
#[test]
fn three_blocks_at_once_are_three_blocks_one_by_one() {
    let arguments = branch_arguments(3, 5);
    let (value, gradients) = run_branch(&branch(1, 3, 0), &arguments);
    let mut image_gradient: Option<Tensor> = None;
    for block in 0..3 {
        let alone = of_block(&arguments, block);
        let f = |a: &[Tensor]| {
            let y = conv3x3_stack(&branch(block as u64 + 1, 1, 0), &a[0], &pairs(&a[1..])).unwrap();
            // Weighed like this block's part of the whole.
            let zeros = y.zeros_like()?;
            let parts: Vec<_> = (0..3).map(|i| if i == block { &y } else { &zeros }).collect();
            Tensor::cat(&parts, 0)
        };
        let (value_alone, gradients_alone) = value_and_gradients(f, &alone);
        let part = |t: &Tensor| flat(&t.narrow(0, block, 1).unwrap());
        assert_eq!(part(&value), part(&value_alone));
        for (whole, alone) in gradients.iter().zip(&gradients_alone).skip(1) {
            assert_eq!(part(whole), flat(alone));
        }
        image_gradient = Some(match image_gradient {
            None => gradients_alone[0].clone(),
            Some(sum) => (sum + &gradients_alone[0]).unwrap(),
        });
    }
    assert!(distance(&gradients[0], &image_gradient.unwrap()) < 1e-6);
}

/// Protects a transformer's layer: its values have the bits of the ops of its parts, blocks together and one by one, and its gradients agree with
/// theirs, over several groups of images.
#[test]
fn a_transformer_layer_is_its_parts() {
    let arguments = tensors(8, &transformer_shapes([2, 13, 49, 32], 64), DType::F32);
    for precision in [Precision::F32, Precision::Bf16] {
        let layer = TransformerLayer { heads: 2, precision, ..TransformerLayer::default() };
        let whole = value_and_gradients(|a| run_transformer(layer, a), &arguments);
        let parts = |a: &[Tensor]| {
            let rows = a[0].reshape((2, 13 * 49, 32))?;
            let norm = |x: &Tensor, i: usize| LayerNorm::default().forward(x, &a[i], &a[i + 1]);
            let linear = |x: &Tensor, i: usize| {
                Linear { precision, ..Linear::default() }.forward(x, &a[i], &a[i + 1])
            };
            let qkv = linear(&norm(&rows, 1)?, 3)?.reshape((2, 13, 49, 96))?;
            let attention = Attention { heads: 2, ..Attention::default() }.forward(&qkv)?;
            let between = (&rows + linear(&attention.reshape(rows.shape())?, 5)?)?;
            let wide = linear(&norm(&between, 7)?, 9)?;
            let narrow = linear(&gelu(&wide, Backend::Auto)?, 11)?;
            Ok::<_, KernelError>((between + narrow)?.reshape(a[0].shape())?)
        };
        let parts = value_and_gradients(parts, &arguments);
        assert_eq!(flat(&whole.0), flat(&parts.0));
        assert_close("gradients", &whole, &parts, 1e-5);
        for block in 0..2 {
            let alone: Vec<_> = arguments.iter().map(|t| t.narrow(0, block, 1).unwrap()).collect();
            let y = run_transformer(layer, &alone).unwrap();
            assert_eq!(flat(&y), flat(&whole.0.narrow(0, block, 1).unwrap()));
        }
    }
}

/// Protects batches that are cut in two with `with_first_image`: they give the results of the whole, dropout included, in both
/// implementations.
#[test]
fn a_batch_in_pieces_is_the_batch() {
    let arguments = branch_arguments(1, 11);
    for backend in [Backend::Auto, Backend::Reference] {
        let forward = |first: usize, count: usize| {
            let mut layers = branch(1, 1, first as u64);
            layers.iter_mut().for_each(|layer| layer.backend = backend);
            let x = arguments[0].narrow(1, first, count).unwrap();
            conv3x3_stack(&layers, &x, &pairs(&arguments[1..])).unwrap()
        };
        let whole = forward(0, 11);
        let pieces = Tensor::cat(&[forward(0, 4), forward(4, 7)], 1).unwrap();
        assert!(distance(&pieces, &whole) < 1e-6, "{backend:?}");
        assert!(distance(&forward(1, 4), &whole.narrow(1, 0, 4).unwrap()) > 1e-3, "no dropout?");
    }
}

/// Protects the stack: its values and gradients are those of its layers one by one, in both implementations.
#[test]
fn a_stack_is_its_layers_in_turn() {
    let arguments = branch_arguments(2, 9);
    let stacked = run_branch(&branch(1, 2, 0), &arguments);
    for backend in [Backend::Auto, Backend::Reference] {
        let in_turn = |a: &[Tensor]| {
            let mut y = a[0].clone();
            for (mut layer, parameters) in branch(1, 2, 0).into_iter().zip(a[1..].chunks(2)) {
                layer.backend = backend;
                y = layer.forward(&y, &parameters[0], &parameters[1])?;
            }
            Ok::<_, KernelError>(y)
        };
        let in_turn = value_and_gradients(in_turn, &arguments);
        assert_close(&format!("{backend:?}"), &stacked, &in_turn, 1e-4);
    }
}

/// Protects the way of a not-a-number to the loss, without which a diverged run would go unnoticed. ReLU and the maximum
/// could lose it.
#[test]
fn not_a_number_reaches_the_result() {
    for backend in [Backend::Auto, Backend::Reference] {
        for which in 0..3 {
            let mut arguments = branch_arguments(1, 2);
            arguments[which] = (&arguments[which] * f64::NAN).unwrap();
            let layer = Conv3x3 { pool: Pool::Max2, backend, ..Conv3x3::default() };
            let y = layer.forward(&arguments[0], &arguments[1], &arguments[2]).unwrap();
            assert!(flat(&y).iter().all(|v| v.is_nan()), "{backend:?} argument {which}");
        }
        for which in 0..4 {
            let mut a = tensors(5, &stack_shapes(1, &[1, 2, 3, 8, 8], &RESIDUAL[..2]), DType::F32);
            a[which] = (&a[which] * f64::NAN).unwrap();
            let y = run_stack(&RESIDUAL[..2], &a, None, backend).unwrap().y;
            let y = global_max_pool(&y, backend).unwrap();
            assert!(flat(&y).iter().all(|v| v.is_nan()), "{backend:?} argument {which}");
        }
        let nan = (values(3, &[1, 4, 30], DType::F32) * f64::NAN).unwrap();
        let one = values(4, &[1, 30], DType::F32);
        let attention = Attention { heads: 2, backend };
        for y in [
            LayerNorm { backend, ..LayerNorm::default() }.forward(&nan, &one, &one).unwrap(),
            attention.forward(&nan.unsqueeze(0).unwrap()).unwrap(),
            gelu(&nan, backend).unwrap(),
        ] {
            assert!(flat(&y).iter().all(|v| v.is_nan()), "{backend:?}");
        }
    }
}

/// Protects the grouping of blocks in a stack with norms: values, statistics and the gradients of parameters have the same bits in one call and
/// one by one.
#[test]
fn a_block_with_norms_is_the_same_alone() {
    let arguments = tensors(8, &stack_shapes(3, &[1, 5, 3, 9, 8], &RESIDUAL), DType::F32);
    let run = |a: &[Tensor]| Ok::<_, KernelError>(run_stack(&RESIDUAL, a, None, Backend::Auto)?.y);
    let square = |a: &[Tensor]| run(a)?.sqr().map_err(KernelError::from);
    let statistics =
        |a: &[Tensor]| run_stack(&RESIDUAL, a, None, Backend::Auto).unwrap().statistics;
    let together = run(&arguments).unwrap();
    let vars: Vec<Var> = arguments.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let store = square(&tracked).unwrap().sum_all().unwrap().backward().unwrap();
    for block in 0..3 {
        let alone = of_block(&arguments, block);
        let part = |t: &Tensor| flat(&t.narrow(0, block, 1).unwrap());
        assert_eq!(part(&together), flat(&run(&alone).unwrap()));
        for (all, own) in statistics(&arguments).iter().zip(statistics(&alone)) {
            assert_eq!((part(&all.mean), part(&all.var)), (flat(&own.mean), flat(&own.var)));
        }
        let own: Vec<Var> = alone.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
        let tracked: Vec<Tensor> = own.iter().map(|v| v.as_tensor().clone()).collect();
        let found = square(&tracked).unwrap().sum_all().unwrap().backward().unwrap();
        for (all, own) in vars.iter().zip(&own).skip(1) {
            assert_eq!(part(store.get(all).unwrap()), flat(found.get(own).unwrap()));
        }
    }
}
