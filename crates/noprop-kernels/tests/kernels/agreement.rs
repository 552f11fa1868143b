//! The fused ops beside their references: values and every gradient, over the sizes and layouts that occur.

use candle_core::{DType, Device, Tensor, Var};
use noprop_kernels::random::StreamKey;
use noprop_kernels::{
    Activation, After, Attention, Backend, BatchNorm, BatchNormMode, Conv3x3, Dropout, LayerNorm,
    Linear, Padding, Pool, Precision, Targets, TransformerLayer, cross_entropy, denoise_loss, gelu,
    global_max_pool,
};

use crate::support::{
    PAIRS, RESIDUAL, assert_close, distance, flat, labels, run_stack, run_transformer, running,
    stack_shapes, tensors, transformer_shapes, value_and_gradients, values, weights,
};

const PRECISIONS: [(DType, f64); 2] = [(DType::F32, 1e-4), (DType::F64, 1e-10)];

/// Compares values and all gradients of `f` between the backends, for arguments in each precision.
fn agree(
    name: &str,
    shapes: &[Vec<usize>],
    f: &dyn Fn(&[Tensor], Backend) -> noprop_kernels::Result<Tensor>,
) {
    for (dtype, tolerance) in PRECISIONS {
        let arguments = tensors(20, shapes, dtype);
        let on = |backend| value_and_gradients(|a| f(a, backend), &arguments);
        let name = format!("{name} {dtype:?}");
        assert_close(&name, &on(Backend::Auto), &on(Backend::Reference), tolerance);
    }
}

fn conv(padding: Padding, pool: Pool, dropout: Option<Dropout>, backend: Backend) -> Conv3x3 {
    Conv3x3 { padding, pool, dropout, backend, ..Conv3x3::default() }
}

/// Protects every image size of the networks, both paddings, pooled or not, with few channels (computed directly) and with
/// more (by Winograd's algorithm, where odd sizes leave tiles half used).
#[test]
fn convolution_over_sizes() {
    for size in [28, 26, 13, 11, 9, 32, 30, 15] {
        for padding in [Padding::Valid, Padding::Same] {
            for pool in [Pool::None, Pool::Max2] {
                for (c_in, c_out) in [(5, 7), (9, 17)] {
                    let dropout = Dropout::new(0.2, vec![StreamKey(size as u64)]).unwrap();
                    let shapes =
                        [vec![1, 3, c_in, size, size], vec![1, c_out, c_in, 3, 3], vec![1, c_out]];
                    let name = format!("{size} {padding:?} {pool:?} {c_in} {c_out}");
                    agree(&name, &shapes, &|a, backend| {
                        let layer = conv(padding, pool, Some(dropout.clone()), backend);
                        layer.forward(&a[0], &a[1], &a[2])
                    });
                }
            }
        }
    }
}

/// Protects the layers of the paper's network and of one for colour images, with their real channel counts; a single image,
/// and uneven sides.
#[test]
fn convolution_over_channels() {
    for (c_in, c_out, height, width, pool, images) in [
        (1, 32, 28, 28, Pool::Max2, 3),
        (32, 64, 13, 13, Pool::None, 2),
        (64, 128, 11, 11, Pool::Max2, 2),
        (3, 32, 32, 32, Pool::Max2, 1),
        (33, 17, 8, 10, Pool::None, 1),
        (2, 1, 4, 4, Pool::Max2, 1),
        (1, 1, 3, 3, Pool::None, 1),
        (4, 40, 5, 12, Pool::Max2, 37),
    ] {
        let shapes =
            [vec![1, images, c_in, height, width], vec![1, c_out, c_in, 3, 3], vec![1, c_out]];
        agree(&format!("{shapes:?}"), &shapes, &|a, backend| {
            conv(Padding::Valid, pool, None, backend).forward(&a[0], &a[1], &a[2])
        });
    }
}

/// Protects several blocks in one call, with an input of their own or a shared one, with and without ReLU, by both algorithms.
#[test]
fn convolution_over_blocks() {
    let keys: Vec<_> = (0..3).map(StreamKey).collect();
    let dropout = Dropout::new(0.4, keys).unwrap();
    for x_blocks in [1, 3] {
        for act in [Activation::Relu, Activation::None] {
            for (c_in, c_out) in [(4, 6), (9, 17)] {
                let shapes =
                    [vec![x_blocks, 5, c_in, 9, 9], vec![3, c_out, c_in, 3, 3], vec![3, c_out]];
                agree(&format!("{x_blocks} inputs, {act:?}, {c_in}"), &shapes, &|a, backend| {
                    let layer = conv(Padding::Same, Pool::Max2, Some(dropout.clone()), backend);
                    Conv3x3 { act, ..layer }.forward(&a[0], &a[1], &a[2])
                });
            }
        }
    }
}

/// Protects the place of the gradient for equal values in a window and for sums of exactly zero.
#[test]
fn ties_and_zeros_are_settled_alike() {
    for (dtype, tolerance) in PRECISIONS {
        let x = values(1, &[1, 2, 3, 8, 8], dtype).round().unwrap();
        let w = values(2, &[1, 4, 3, 3, 3], dtype).round().unwrap();
        let b = Tensor::zeros((1, 4), dtype, &Device::Cpu).unwrap();
        for pool in [Pool::None, Pool::Max2] {
            let arguments = [x.clone(), w.clone(), b.clone()];
            let on = |backend| {
                let layer = conv(Padding::Same, pool, None, backend);
                value_and_gradients(|a| layer.forward(&a[0], &a[1], &a[2]), &arguments)
            };
            let name = format!("{dtype:?} {pool:?}");
            assert_close(&name, &on(Backend::Auto), &on(Backend::Reference), tolerance);
        }
    }
}

/// Protects inputs that are views (transposed, narrowed, broadcast): they are read by their strides, and so are their
/// gradients written.
#[test]
fn views_are_read_by_their_strides() {
    let shapes = [vec![2, 10, 3, 9, 8], vec![1, 4, 6, 3, 3], vec![1, 6]];
    agree("transposed and narrowed", &shapes, &|a, backend| {
        let x = a[0].narrow(1, 2, 5)?.transpose(3, 4)?.narrow(0, 1, 1)?;
        let w = a[1].transpose(1, 2)?.narrow(2, 1, 3)?;
        conv(Padding::Same, Pool::Max2, None, backend).forward(&x, &w, &a[2])
    });
    let shapes = [vec![1, 1, 3, 6, 6], vec![2, 4, 3, 3, 3], vec![1, 4]];
    agree("broadcast", &shapes, &|a, backend| {
        let x = a[0].broadcast_as((2, 4, 3, 6, 6))?;
        let b = a[2].broadcast_as((2, 4))?;
        let y = conv(Padding::Valid, Pool::None, None, backend).forward(&x, &a[1], &b)?;
        // A gradient that arrives broadcast and transposed.
        Ok(y.transpose(3, 4)?.sum(2)?)
    });
    let shapes = [vec![9, 2, 4], vec![2, 9, 5], vec![5]];
    agree("dense views", &shapes, &|a, backend| {
        let x = a[0].transpose(0, 1)?.narrow(2, 1, 3)?;
        let w = a[1].narrow(1, 2, 3)?.transpose(1, 2)?;
        let y = Linear { act: Activation::Relu, backend, ..Linear::default() }.forward(
            &x,
            &w,
            &a[2].broadcast_as((2, 5))?,
        )?;
        Ok(y.transpose(0, 2)?.sum(1)?)
    });
}

/// Protects the dense layer over ragged panels, several blocks and shared inputs.
#[test]
fn dense_over_sizes() {
    for (x_blocks, blocks, rows, inputs, outputs) in [
        (1, 1, 128, 2048, 256),
        (1, 3, 17, 33, 65),
        (3, 3, 17, 256, 10),
        (1, 1, 1, 1, 1),
        (2, 2, 40, 10, 256),
        (1, 1, 300, 7, 3),
        (1, 2, 517, 20, 40),
        // The bias and the activation are shared out too.
        (2, 2, 600, 8, 130),
    ] {
        for act in [Activation::None, Activation::Relu] {
            let shapes = [
                vec![x_blocks, rows, inputs],
                vec![blocks, outputs, inputs],
                vec![blocks, outputs],
            ];
            agree(&format!("{shapes:?} {act:?}"), &shapes, &|a, backend| {
                Linear { act, backend, ..Linear::default() }.forward(&a[0], &a[1], &a[2])
            });
        }
    }
}

/// Protects batch norm in training and evaluation, and the statistics that it returns.
#[test]
fn batch_normalisation_over_sizes() {
    for (blocks, rows, features) in [(1, 128, 256), (3, 17, 33), (2, 2, 1)] {
        for act in [Activation::None, Activation::Relu] {
            let shapes =
                [vec![blocks, rows, features], vec![blocks, features], vec![blocks, features]];
            agree(&format!("{shapes:?} {act:?}"), &shapes, &|a, backend| {
                Ok(BatchNorm { act, backend, ..BatchNorm::default() }
                    .forward(&a[0], &a[1], &a[2], BatchNormMode::Train)?
                    .y)
            });
            for (dtype, tolerance) in PRECISIONS {
                let a = tensors(3, &shapes, dtype);
                let on = |backend, mode| {
                    let layer = BatchNorm { act, backend, ..BatchNorm::default() };
                    layer.forward(&a[0], &a[1], &a[2], mode).unwrap()
                };
                let reference = on(Backend::Reference, BatchNormMode::Train);
                let fused = on(Backend::Auto, BatchNormMode::Train);
                assert!(distance(&fused.statistics.mean, &reference.statistics.mean) < tolerance);
                assert!(distance(&fused.statistics.var, &reference.statistics.var) < tolerance);
                let used = &reference.statistics;
                let given = BatchNormMode::Eval { mean: &used.mean, var: &used.var };
                let evaluated = on(Backend::Auto, given).y;
                assert!(distance(&evaluated, &on(Backend::Reference, given).y) < tolerance);
                assert!(distance(&evaluated, &reference.y) < tolerance);
            }
        }
    }
}

/// Protects the mean of many rows in f32, which a plain running sum moves by a thousandth here.
#[test]
fn batch_normalisation_of_many_rows() {
    let value = 10.1_f32;
    let x = Tensor::full(value, (1, 100_352, 1), &Device::Cpu).unwrap();
    let gamma = Tensor::ones((1, 1), DType::F32, &Device::Cpu).unwrap();
    let beta = gamma.zeros_like().unwrap();
    let out = BatchNorm::default().forward(&x, &gamma, &beta, BatchNormMode::Train).unwrap();
    let mean = flat(&out.statistics.mean)[0];
    assert!((mean / f64::from(value) - 1.0).abs() < 1e-5, "{mean}");
    assert!(flat(&out.y).iter().all(|y| y.abs() < 0.01));
}

/// Protects convolutions with batch norms, in training and evaluation, with each end of a layer, over images of whole and of ragged tiles and
/// channels of whole and of ragged vectors, for blocks with images of their own and with shared ones.
#[test]
fn normed_convolutions_over_sizes() {
    let wide = [(32, After::Nothing), (32, After::Max2), (48, After::Nothing)];
    for (blocks, x, layers) in [
        (1, [1, 5, 3, 12, 12], &RESIDUAL[..]),
        (2, [1, 35, 9, 7, 9], &RESIDUAL[..]),
        (3, [3, 2, 1, 28, 28], &RESIDUAL[..3]),
        (1, [1, 3, 16, 14, 8], &wide[..]),
        (1, [1, 9, 3, 2, 2], &RESIDUAL[..2]),
        (2, [2, 1, 8, 1, 1], &RESIDUAL[..1]),
        (2, [1, 3, 4, 6, 5], &PAIRS[..]),
    ] {
        let shapes = stack_shapes(blocks, &x, layers);
        let name = format!("{shapes:?}");
        agree(&name, &shapes, &|a, backend| Ok(run_stack(layers, a, None, backend)?.y));
        agree(&format!("{name} eval"), &shapes, &|a, backend| {
            let running = running(blocks, layers, a[0].dtype());
            Ok(run_stack(layers, a, Some(&running), backend)?.y)
        });
        for (dtype, tolerance) in PRECISIONS {
            let a = tensors(3, &shapes, dtype);
            let on = |backend| run_stack(layers, &a, None, backend).unwrap().statistics;
            for (fused, reference) in on(Backend::Auto).iter().zip(on(Backend::Reference)) {
                assert!(distance(&fused.mean, &reference.mean) < tolerance, "{name}");
                assert!(distance(&fused.var, &reference.var) < tolerance, "{name}");
            }
            let running = running(blocks, layers, dtype);
            let on = |backend| run_stack(layers, &a, Some(&running), backend).unwrap().y;
            assert!(distance(&on(Backend::Auto), &on(Backend::Reference)) < tolerance, "{name}");
        }
    }
}

/// Protects the variance of many values far from zero. A difference of squares would be far off.
#[test]
fn the_variance_of_a_large_batch_is_accurate() {
    let layer = [(2, After::Nothing)];
    let shapes = stack_shapes(1, &[1, 300, 2, 32, 32], &layer);
    let mut a = tensors(1, &shapes, DType::F64);
    a[0] = (&a[0] + 1000.0).unwrap();
    // The middle weights alone, so that no sum of rounded products hides the error of the variance.
    let middle: Vec<f64> = (0..36).map(|i| f64::from(u8::from(i == 4 || i == 31))).collect();
    a[1] = Tensor::from_vec(middle, shapes[1].as_slice(), &Device::Cpu).unwrap();
    let single: Vec<_> = a.iter().map(|t| t.to_dtype(DType::F32).unwrap()).collect();
    let rounded: Vec<_> = single.iter().map(|t| t.to_dtype(DType::F64).unwrap()).collect();
    let found = run_stack(&layer, &single, None, Backend::Auto).unwrap().statistics;
    let exact = run_stack(&layer, &rounded, None, Backend::Reference).unwrap().statistics;
    for (found, exact) in flat(&found[0].mean).iter().zip(flat(&exact[0].mean)) {
        assert!((found / exact - 1.0).abs() < 1e-7, "mean {found}, not {exact}");
    }
    for (found, exact) in flat(&found[0].var).iter().zip(flat(&exact[0].var)) {
        assert!((found / exact - 1.0).abs() < 1e-6, "variance {found}, not {exact}");
    }
}

/// Protects the running variance of images: it is the unbiased one of a channel's N · H · W values, also where the result is pooled.
#[test]
fn running_statistics_count_every_pixel() {
    let layer = [(4, After::Max2)];
    let a = tensors(1, &stack_shapes(2, &[1, 3, 4, 5, 6], &layer), DType::F64);
    for backend in [Backend::Auto, Backend::Reference] {
        let batch = run_stack(&layer, &a, None, backend).unwrap().statistics.remove(0);
        let [mean, var] = [0.0, 1.0].map(|start| {
            let start = batch.mean.zeros_like().and_then(|zeros| zeros + start);
            Var::from_tensor(&start.unwrap()).unwrap()
        });
        batch.update(&mean, &var, 0.25).unwrap();
        let unbiased = batch.var.affine(0.25 * 90.0 / 89.0, 0.75).unwrap();
        assert!(distance(&mean, &(&batch.mean * 0.25).unwrap()) < 1e-12);
        assert!(distance(&var, &unbiased) < 1e-12);
    }
}

/// Protects the ops of transformers, over whole and ragged vectors, several tasks, and rows of one token.
#[test]
fn transformer_ops_over_sizes() {
    for (blocks, rows, features) in [(1, 300, 64), (2, 130, 37), (3, 1, 5), (1, 4, 16)] {
        let shapes = [vec![blocks, rows, features], vec![blocks, features], vec![blocks, features]];
        agree(&format!("layer norm {shapes:?}"), &shapes, &|a, backend| {
            LayerNorm { backend, ..LayerNorm::default() }.forward(&a[0], &a[1], &a[2])
        });
        agree(&format!("gelu {shapes:?}"), &shapes[..1], &|a, backend| {
            gelu(&(&a[0] * 6.0)?, backend)
        });
    }
    for (blocks, images, tokens, heads, width) in
        [(1, 3, 49, 2, 32), (2, 2, 16, 1, 16), (1, 1, 1, 3, 5), (1, 2, 7, 2, 20)]
    {
        let shapes = [vec![blocks, images, tokens, 3 * heads * width]];
        agree(&format!("attention {shapes:?} {heads}"), &shapes, &|a, backend| {
            Attention { heads, backend }.forward(&(&a[0] * 3.0)?)
        });
    }
}

/// Protects a transformer's layer as one op, for one block and several, over whole and ragged vectors, and for tokens that are a view.
#[test]
fn transformer_layer_over_sizes() {
    for (x, heads, inner) in [
        ([1, 3, 49, 64], 2, 256),
        ([3, 2, 5, 12], 3, 20),
        ([2, 1, 1, 7], 1, 1),
        ([1, 40, 9, 32], 1, 65),
    ] {
        let shapes = transformer_shapes(x, inner);
        let layer = |backend| TransformerLayer { heads, backend, ..TransformerLayer::default() };
        agree(&format!("{x:?} {heads} {inner}"), &shapes, &|a, backend| {
            run_transformer(layer(backend), a)
        });
        let mut turned = shapes;
        turned[0].swap(1, 2);
        agree(&format!("{x:?} view"), &turned, &|a, backend| {
            let tokens = a[0].transpose(1, 2)?;
            run_transformer(layer(backend), &[&[tokens], &a[1..]].concat())
        });
    }
}

/// Protects global pooling, odd and even sides, in a single plane and in many, and where values are equal.
#[test]
fn global_pooling_over_sizes() {
    for shape in [[1, 5, 3, 4, 4], [2, 3, 17, 7, 5], [1, 1, 1, 1, 1], [2, 2, 2, 3, 3]] {
        let shapes = [shape.to_vec()];
        agree(&format!("{shape:?}"), &shapes, &|a, backend| global_max_pool(&a[0], backend));
        agree(&format!("{shape:?} equal"), &shapes, &|a, backend| {
            let equal = (a[0].zeros_like()? * &a[0])?;
            global_max_pool(&equal, backend)
        });
    }
}

/// Protects both losses, weighted and not.
#[test]
fn losses_over_sizes() {
    for (blocks, rows, classes, width) in [(1, 128, 10, 10), (10, 31, 10, 784), (2, 1, 3, 5)] {
        let labels = labels(rows, classes);
        let shapes = [vec![blocks, rows, classes], vec![classes, width]];
        for weighted in [false, true] {
            agree(&format!("denoise {shapes:?} {weighted}"), &shapes, &|a, backend| {
                let weights = weighted.then(|| weights(rows, a[0].dtype()));
                let y = Targets { labels: &labels, weights: weights.as_ref() };
                denoise_loss(&(&a[0] * 5.0)?, &a[1], y, backend)
            });
            agree(&format!("entropy {shapes:?} {weighted}"), &shapes[..1], &|a, backend| {
                let weights = weighted.then(|| weights(rows, a[0].dtype()));
                let y = Targets { labels: &labels, weights: weights.as_ref() };
                cross_entropy(&(&a[0] * 5.0)?, y, backend)
            });
        }
    }
}

/// Protects the rounding of Winograd's algorithm in f32, by comparison with the plain one in f64 and with as many channels as
/// a wide network has: it stays within 3e-5 of the largest result, and so does that of the gradients. A wrong constant in a
/// transform would be far off; too large a tile would exceed this bound.
#[test]
fn the_rounding_of_winograd_is_bounded() {
    for (c_in, c_out, side) in [(64, 128, 11), (128, 64, 30), (512, 32, 10)] {
        let shapes = [vec![1, 2, c_in, side, side], vec![1, c_out, c_in, 3, 3], vec![1, c_out]];
        let single: Vec<_> = shapes.iter().map(|s| values(7, s, DType::F32)).collect();
        let in_f64 = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
        let double: Vec<_> = single.iter().map(in_f64).collect();
        let on = |backend, arguments: &[Tensor]| {
            let layer = conv(Padding::Same, Pool::None, None, backend);
            value_and_gradients(|a| layer.forward(&a[0], &a[1], &a[2]), arguments)
        };
        let (value, gradients) = on(Backend::Fused, &single);
        let rounded = (in_f64(&value), gradients.iter().map(in_f64).collect());
        let exact = on(Backend::Reference, &double);
        assert_close(&format!("{c_in} → {c_out}"), &rounded, &exact, 3e-5);
    }
}

/// Protects the code for CPUs without AVX-512: runs the other tests of this file again on the plainer instruction sets, each
/// in its own process, because the choice is made once in a process.
#[test]
fn plainer_instruction_sets_agree_too() {
    const VARIABLE: &str = "NOPROP_INSTRUCTION_SET";
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let this = std::env::current_exe().unwrap();
    for name in ["avx2", "plain"] {
        if name == "avx2" && !cfg!(target_arch = "x86_64") {
            continue;
        }
        let child = std::process::Command::new(&this)
            .args(["agreement::", "--test-threads=2"])
            .env(VARIABLE, name)
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{name}: {output}");
        assert!(output.contains("test result: ok"), "{name}: {output}");
    }
}

/// Protects two inputs side by side: they are their concatenation, whether the first is data or not, wherever it ends in a
/// panel.
#[test]
fn joined_inputs_are_their_concatenation() {
    for (first, second) in [(256, 256), (5, 7), (32, 1), (31, 40)] {
        for (dtype, tolerance) in PRECISIONS {
            let data = values(3, &[1, 9, first], dtype);
            let shapes = [vec![1, 9, second], vec![1, 6, first + second], vec![1, 6]];
            let arguments = tensors(4, &shapes, dtype);
            let layer = Linear::default();
            let joined = |a: &[Tensor]| layer.forward_joined(&data, &a[0], &a[1], &a[2]);
            let plain = |a: &[Tensor]| {
                let x = Tensor::cat(&[&data, &a[0]], 2)?;
                Linear { backend: Backend::Reference, ..layer }.forward(&x, &a[1], &a[2])
            };
            let expected = value_and_gradients(plain, &arguments);
            let name = format!("{first} + {second}");
            assert_close(&name, &value_and_gradients(joined, &arguments), &expected, tolerance);
            let all = [vec![data.clone()], arguments].concat();
            let joined = |a: &[Tensor]| layer.forward_joined(&a[0], &a[1], &a[2], &a[3]);
            let (_, gradients) = value_and_gradients(joined, &all);
            assert!(distance(&gradients[1], &expected.1[0]) < tolerance);
        }
    }
}

/// The sizes of dense layers with rounded products: odd sums, ragged panels, several blocks.
const ROUNDED: [(usize, usize, usize, usize, usize); 6] = [
    (1, 1, 128, 256, 256),
    (1, 3, 17, 33, 65),
    (3, 3, 17, 256, 10),
    (1, 1, 1, 1, 1),
    (2, 2, 40, 7, 96),
    (1, 2, 517, 20, 40),
];

fn rounded_shapes(
    (x_blocks, blocks, rows, inputs, outputs): (usize, usize, usize, usize, usize),
) -> [Vec<usize>; 3] {
    [vec![x_blocks, rows, inputs], vec![blocks, outputs, inputs], vec![blocks, outputs]]
}

/// Protects rounded factors on both backends, joined inputs included. The sums are in f32, so the two are as close as without
/// rounding. `plainer_instruction_sets_agree_too` also runs this where there is no instruction for bf16.
#[test]
fn rounded_dense_layers_agree() {
    let layer = |act, backend| Linear { act, precision: Precision::Bf16, backend };
    for sizes in ROUNDED {
        let arguments = tensors(60, &rounded_shapes(sizes), DType::F32);
        for act in [Activation::None, Activation::Relu] {
            let on = |backend| {
                let layer = layer(act, backend);
                value_and_gradients(|a| layer.forward(&a[0], &a[1], &a[2]), &arguments)
            };
            let name = format!("{sizes:?} {act:?}");
            assert_close(&name, &on(Backend::Auto), &on(Backend::Reference), 3e-6);
        }
        let (x_blocks, blocks, rows, inputs, outputs) = sizes;
        let data = values(70, &[x_blocks, rows, 5], DType::F32);
        let wide = values(71, &[blocks, outputs, 5 + inputs], DType::F32);
        let arguments = [arguments[0].clone(), wide, arguments[2].clone()];
        let on = |backend| {
            let layer = layer(Activation::None, backend);
            let f = |a: &[Tensor]| layer.forward_joined(&data, &a[0], &a[1], &a[2]);
            value_and_gradients(f, &arguments)
        };
        let name = format!("{sizes:?} joined");
        assert_close(&name, &on(Backend::Auto), &on(Backend::Reference), 3e-6);
    }
}

/// Protects the size of the rounding: a factor is off by 2⁻⁹ at most, so a sum is by 2⁻⁸ Σ|a||b|, and by far more than f32's
/// rounding, or the precision did not reach the product. The bias's gradient has no factors and is not rounded.
#[test]
fn rounding_is_within_the_bound_of_bf16() {
    const ULP: f64 = 1.0 / 256.0;
    for sizes in ROUNDED {
        let arguments = tensors(80, &rounded_shapes(sizes), DType::F32);
        let with = |precision| {
            let layer = Linear { precision, ..Linear::default() };
            value_and_gradients(|a| layer.forward(&a[0], &a[1], &a[2]), &arguments)
        };
        let (value, gradients) = with(Precision::Bf16);
        let (exact, exact_gradients) = with(Precision::F32);
        let (x_blocks, blocks, rows, inputs, outputs) = sizes;
        // Values are below 1, and so are the weights of the loss: Σ|a||b| is at most the number of terms.
        let shared = (blocks / x_blocks) as f64;
        let bounds = [
            (&value, &exact, inputs as f64),
            (&gradients[0], &exact_gradients[0], outputs as f64 * shared),
            (&gradients[1], &exact_gradients[1], rows as f64),
        ];
        for (i, (a, b, terms)) in bounds.into_iter().enumerate() {
            let error = (a - b).unwrap().abs().unwrap().max_all().unwrap();
            let error = f64::from(error.to_scalar::<f32>().unwrap());
            assert!(error <= ULP * terms, "{sizes:?} {i}: off by {error:e}");
            assert!(error > 1e-5 || terms < 2.0, "{sizes:?} {i}: not rounded");
        }
        assert_eq!(distance(&gradients[2], &exact_gradients[2]), 0.0, "{sizes:?}");
    }
}
