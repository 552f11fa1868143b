//! The GPU's ops beside the CPU's: values and every gradient, several blocks in one call. They always run on the host, and also on a
//! GPU if there is one and the feature `cuda` is on.

use candle_core::{DType, Device, Shape, Tensor, Var};

use super::arguments::DECLARED;
use super::sources::SOURCES;
use super::{adam, batch_norm as norm, random};
use crate::random::{StreamKey, normal, normal_rows, spread, uniform};
use crate::{
    Activation, Backend, BatchNorm, BatchNormMode, Conv3x3, Dropout, Linear, Padding, Pool,
    Precision, Result, Targets, conv3x3_stack, cross_entropy, denoise_loss,
};

/// The blocks of a call.
const T: usize = 3;

fn draws(key: u64, shape: &[usize]) -> Tensor {
    normal(StreamKey(key), shape, &Device::Cpu).unwrap()
}

fn distance(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let most = |x: &Tensor| {
        let all = x.abs().unwrap().flatten_all().unwrap();
        all.max(0).unwrap().to_scalar::<f32>().unwrap()
    };
    most(&(a - b).unwrap()) / most(b).max(1.0)
}

/// The host, and the GPU if there is one.
fn devices() -> Vec<(Backend, Device)> {
    std::iter::once((Backend::Gpu, Device::Cpu)).chain(gpu()).collect()
}

#[cfg(feature = "cuda")]
#[expect(clippy::print_stderr, reason = "a skipped test must be visible")]
fn gpu() -> Option<(Backend, Device)> {
    match crate::cuda_device(0) {
        Ok(device) => Some((Backend::Auto, device)),
        Err(error) => {
            eprintln!("skipped on CUDA, tested on the host alone: {error}");
            None
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn gpu() -> Option<(Backend, Device)> {
    None
}

/// Compares the value of `f` and the gradients of its product with fixed numbers, for variables of these shapes. A shape that starts
/// with 0 stands for data without a gradient, in the shape of the other numbers.
fn agree(
    name: &str,
    shapes: &[&[usize]],
    tolerance: f32,
    f: &dyn Fn(&[Tensor], Backend) -> Result<Tensor>,
) {
    let run = |backend, device: &Device| {
        let draws = |key, shape: &[usize]| draws(key, shape).to_device(device).unwrap();
        let mut variables = Vec::new();
        let arguments: Vec<Tensor> = shapes
            .iter()
            .enumerate()
            .map(|(i, shape)| match shape {
                [0, shape @ ..] => draws(i as u64, shape),
                shape => {
                    let variable = Var::from_tensor(&draws(i as u64, shape)).unwrap();
                    variables.push(variable.clone());
                    variable.into_inner()
                }
            })
            .collect();
        let y = f(&arguments, backend).unwrap();
        let weights = draws(99, y.dims());
        let gradients = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
        let host = |x: &Tensor| x.to_device(&Device::Cpu).unwrap();
        let gradients: Vec<Tensor> =
            variables.iter().map(|variable| host(gradients.get(variable).unwrap())).collect();
        (host(&y), gradients)
    };
    let (expected, expected_gradients) = run(Backend::Auto, &Device::Cpu);
    for (backend, device) in devices() {
        let name = format!("{name} on {:?}", device.location());
        let (found, gradients) = run(backend, &device);
        let error = distance(&found, &expected);
        assert!(error < tolerance, "{name}: values differ by {error:e}");
        for (i, (found, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
            let error = distance(found, expected);
            assert!(error < tolerance, "{name}: gradient {i} differs by {error:e}");
        }
    }
}

/// Protects pools, paddings and activations, odd sizes, and blocks with shared images or their own, with dropout.
#[test]
fn convolution_layers() {
    let (relu, none) = (Activation::Relu, Activation::None);
    for (padding, pool, act, size) in [
        (Padding::Valid, Pool::Max2, relu, 9),
        (Padding::Valid, Pool::None, relu, 6),
        (Padding::Same, Pool::Max2, relu, 7),
        (Padding::Same, Pool::None, relu, 5),
        (Padding::Same, Pool::Max2, none, 7),
        (Padding::Valid, Pool::None, none, 5),
    ] {
        for shared in [1, T] {
            let keys: Vec<_> = (0..T as u64).map(|t| StreamKey(70 + t)).collect();
            let dropout = Dropout::new(0.3, keys).unwrap().with_first_image(5);
            agree(
                &format!("{padding:?} {pool:?} {act:?} {size} {shared}"),
                &[&[shared, 2, 3, size, size + 1], &[T, 4, 3, 3, 3], &[T, 4]],
                1e-4,
                &|a, backend| {
                    let dropout = Some(dropout.clone());
                    let layer =
                        Conv3x3 { padding, pool, act, dropout, backend, ..Conv3x3::default() };
                    layer.forward(&a[0], &a[1], &a[2])
                },
            );
        }
    }
}

/// Protects more blocks than one launch has streams of dropout for.
#[test]
fn a_hundred_blocks_with_dropout() {
    const MANY: usize = 100;
    let keys: Vec<_> = (0..MANY as u64).map(|t| StreamKey(70 + t)).collect();
    let dropout = Dropout::new(0.3, keys).unwrap();
    agree(
        "a hundred blocks",
        &[&[0, 1, 2, 1, 4, 4], &[MANY, 2, 1, 3, 3], &[MANY, 2]],
        1e-4,
        &|a, backend| {
            let dropout = Some(dropout.clone());
            let layer = Conv3x3 { dropout, backend, ..Conv3x3::default() };
            layer.forward(&a[0], &a[1], &a[2])
        },
    );
}

/// Protects the order of images between layers, which is another one, and images without a gradient.
#[test]
fn convolution_stack_on_data() {
    let key = |layer: u64| (0..T as u64).map(|t| StreamKey(10 * layer + t)).collect();
    agree(
        "stack",
        &[
            &[0, 1, 2, 3, 16, 15],
            &[T, 5, 3, 3, 3],
            &[T, 5],
            &[T, 6, 5, 3, 3],
            &[T, 6],
            &[T, 9, 6, 3, 3],
            &[T, 9],
        ],
        1e-4,
        &|a, backend| {
            let pools = [Pool::Max2, Pool::None, Pool::Max2];
            let layers = [0, 1, 2].map(|layer: usize| Conv3x3 {
                pool: pools[layer],
                dropout: Some(Dropout::new(0.2, key(layer as u64)).unwrap()),
                backend,
                ..Conv3x3::default()
            });
            let pair = |i: usize| (a[i].clone(), a[i + 1].clone());
            conv3x3_stack(&layers, &a[0], &[pair(1), pair(3), pair(5)])
        },
    );
}

/// Protects dense layers with a shared input or their own, and joined inputs.
#[test]
fn dense_layers() {
    for shared in [1, T] {
        for act in [Activation::None, Activation::Relu] {
            agree(
                &format!("{shared} {act:?}"),
                &[&[shared, 5, 7], &[T, 37, 7], &[T, 37]],
                1e-4,
                &|a, backend| {
                    Linear { act, backend, ..Linear::default() }.forward(&a[0], &a[1], &a[2])
                },
            );
        }
    }
    agree("joined", &[&[0, 1, 5, 3], &[T, 5, 4], &[T, 6, 7], &[T, 6]], 1e-4, &|a, backend| {
        // The CPU's op needs the same number of blocks of both.
        let first = a[0].broadcast_as((T, 5, 3))?.contiguous()?;
        let first = if backend == Backend::Gpu { &a[0] } else { &first };
        Linear { backend, ..Linear::default() }.forward_joined(first, &a[1], &a[2], &a[3])
    });
}

/// Protects rounded products: they are the CPU's but for the last place of bf16, in which results come back.
#[test]
fn dense_layer_in_bf16() {
    agree("bf16", &[&[1, 5, 40], &[1, 9, 40], &[1, 9]], 2e-2, &|a, backend| {
        Linear { precision: Precision::Bf16, backend, ..Linear::default() }
            .forward(&a[0], &a[1], &a[2])
    });
}

/// Protects batch norm in training, and the running statistics.
#[test]
fn batch_norm_and_its_statistics() {
    for act in [Activation::None, Activation::Relu] {
        agree("batch norm", &[&[T, 11, 37], &[T, 37], &[T, 37]], 1e-4, &|a, backend| {
            let mode = BatchNormMode::Train;
            Ok(BatchNorm { act, backend, ..BatchNorm::default() }
                .forward(&a[0], &a[1], &a[2], mode)?
                .y)
        });
    }
    for (_, device) in devices() {
        let [mean, var, batch_mean, batch_var] =
            [1, 2, 3, 4].map(|key| draws(key, &[T, 37]).to_device(&device).unwrap());
        let towards = |running: &Tensor, batch: &Tensor, unbiased: f64| {
            ((running * 0.9).unwrap() + (batch * (0.1 * unbiased)).unwrap()).unwrap()
        };
        let expected = (towards(&mean, &batch_mean, 1.0), towards(&var, &batch_var, 1.25));
        norm::follow([&mean, &var], [&batch_mean, &batch_var], 0.1, 1.25).unwrap();
        assert!(distance(&mean, &expected.0) < 1e-6);
        assert!(distance(&var, &expected.1) < 1e-6);
    }
}

/// Protects both losses, weighted and not, with fixed and with trained embeddings.
#[test]
fn losses() {
    let labels = Tensor::new(&[2u32, 0, 3, 1, 3], &Device::Cpu).unwrap();
    let weights = Tensor::new(&[0.5f32, 1.0, 0.0, 2.5, 1.0], &Device::Cpu).unwrap();
    for weights in [None, Some(&weights)] {
        let on = |device: &Device| -> Result<_> {
            let weights = weights.map(|weights| weights.to_device(device)).transpose()?;
            Ok((labels.to_device(device)?, weights))
        };
        agree("trained embeddings", &[&[T, 5, 4], &[4, 6]], 1e-4, &|a, backend| {
            let (labels, weights) = on(a[0].device())?;
            let targets = Targets { labels: &labels, weights: weights.as_ref() };
            denoise_loss(&a[0], &a[1], targets, backend)
        });
        agree("fixed embeddings", &[&[T, 5, 4], &[0, 4, 4]], 1e-4, &|a, backend| {
            let (labels, weights) = on(a[0].device())?;
            let targets = Targets { labels: &labels, weights: weights.as_ref() };
            denoise_loss(&a[0], &a[1], targets, backend)
        });
        agree("cross-entropy", &[&[T, 5, 4]], 1e-4, &|a, backend| {
            let (labels, weights) = on(a[0].device())?;
            let targets = Targets { labels: &labels, weights: weights.as_ref() };
            cross_entropy(&a[0], targets, backend)
        });
    }
}

/// Protects both losses and their gradients against invalid labels. Checking a label would need a copy from the device to the host, so an
/// invalid label gives not-a-number instead of an error.
#[test]
fn an_invalid_label_makes_the_loss_not_a_number() {
    let labels = Tensor::new(&[2u32, 4], &Device::Cpu).unwrap();
    let logits = Var::from_tensor(&draws(1, &[1, 2, 4])).unwrap();
    let embeddings = Var::from_tensor(&draws(2, &[4, 3])).unwrap();
    let surprise = cross_entropy(&logits, &labels, Backend::Gpu).unwrap();
    let distance = denoise_loss(&logits, &embeddings, &labels, Backend::Gpu).unwrap();
    for (loss, variables) in [(surprise, vec![&logits]), (distance, vec![&logits, &embeddings])] {
        assert!(loss.to_vec1::<f32>().unwrap()[0].is_nan());
        let gradients = loss.sum_all().unwrap().backward().unwrap();
        for variable in variables {
            let gradient = gradients.get(variable).unwrap().flatten_all().unwrap();
            // The second row's label is the invalid one.
            assert!(gradient.to_vec1::<f32>().unwrap().last().unwrap().is_nan());
        }
    }
}

/// Protects the draws, which are the CPU's position by position: a run on a GPU has the same noise.
#[test]
fn draws_are_those_of_the_cpu() {
    let cpu = &Device::Cpu;
    let keys: Vec<_> = (0..70).map(|t| StreamKey::derive(5, &[t])).collect();
    let shape = Shape::from((3, 7));
    let blocks = |draw: &dyn Fn(StreamKey) -> Tensor| {
        Tensor::stack(&keys.iter().map(|&key| draw(key)).collect::<Vec<_>>(), 0).unwrap()
    };
    let rows = [4, 900, 17];
    for (_, device) in devices() {
        let host = |x: Tensor| x.to_device(cpu).unwrap();
        let expected = blocks(&|key| normal(key, shape.clone(), cpu).unwrap());
        let found = host(random::normal(&keys, &shape, &device).unwrap());
        assert!(distance(&found, &expected) < 1e-6);
        let expected = blocks(&|key| uniform(key, shape.clone(), cpu).unwrap());
        let found = host(random::uniform(&keys, &shape, &device).unwrap());
        assert_eq!(distance(&found, &expected), 0.0);
        let expected = normal_rows(keys[0], &rows, 6, cpu).unwrap();
        let found = host(random::normal_rows(keys[0], &rows, 6, &device).unwrap());
        assert!(distance(&found, &expected) < 1e-6);
        for count in [1, 7, 300] {
            let expected = spread(keys[0], count, cpu).unwrap();
            let found = host(random::spread(keys[0], count, &device).unwrap());
            assert_eq!(distance(&found, &expected), 0.0);
        }
    }
}

/// Protects twenty steps of both rules beside the CPU's.
#[test]
fn optimizer_steps() {
    use crate::optim::coefficients::Coefficients;
    use crate::optim::{Adam, AdamConfig, Rule};
    for rule in [Rule::AdamW, Rule::Adam] {
        let config = AdamConfig { rule, weight_decay: 0.1, ..AdamConfig::default() };
        let variable = Var::from_tensor(&draws(1, &[300])).unwrap();
        let theta = variable.as_detached_tensor().copy().unwrap();
        let (m, v) = (theta.zeros_like().unwrap(), theta.zeros_like().unwrap());
        let mut cpu = Adam::new(vec![("theta".into(), variable.clone())], config).unwrap();
        for step in 1..=20 {
            let gradient = draws(100 + step, &[300]);
            cpu.step_with(std::slice::from_ref(&gradient), 0.01).unwrap();
            let coefficients = Coefficients::new(&config, step, 0.01);
            adam::step(&theta, &m, &v, &gradient, &coefficients).unwrap();
        }
        assert!(distance(&theta, variable.as_tensor()) < 1e-5, "{rule:?}");
        assert_eq!(theta.dtype(), DType::F32);
    }
}

/// The structs of the kernels' sources: name, and type and name of every field.
fn declared() -> Vec<(String, Vec<(String, String)>)> {
    let source = SOURCES.concat();
    let code: String =
        source.lines().filter_map(|line| line.split("//").next()).collect::<Vec<_>>().join(" ");
    let structs = code.split("typedef struct {").skip(1);
    structs
        .map(|rest| {
            let (fields, rest) = rest.split_once('}').unwrap();
            let (name, _) = rest.split_once(';').unwrap();
            let fields = fields.split(';').map(str::trim).filter(|field| !field.is_empty());
            let fields = fields.flat_map(|field| {
                let (kind, names) = field.split_once(' ').unwrap();
                names.split(',').map(|name| (kind.to_owned(), name.trim().to_owned()))
            });
            (name.trim().to_owned(), fields.collect())
        })
        .filter(|(name, _)| name != "Words")
        .collect()
}

/// Protects the layout of arguments: the structs in Rust and in the kernels have the same fields in the same order.
#[test]
fn every_struct_is_declared_alike() {
    let ours: Vec<(String, Vec<(String, String)>)> = DECLARED
        .iter()
        .map(|(name, fields)| {
            let owned = |(kind, name): &(&str, &str)| ((*kind).to_owned(), (*name).to_owned());
            ((*name).to_owned(), fields.iter().map(owned).collect())
        })
        .collect();
    assert_eq!(ours, declared());
}
