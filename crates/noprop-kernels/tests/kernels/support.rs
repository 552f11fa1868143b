//! Reproducible test tensors, ops as functions of their differentiable arguments, and gradients computed in two ways.

use std::fmt::Debug;

use candle_core::{DType, Device, Tensor, Var};
use noprop_kernels::random::{StreamKey, uniform};
use noprop_kernels::{
    After, Backend, BatchNormMode, ConvNorm, ConvNormOutput, ConvNormStack, TransformerLayer,
    TransformerParameters,
};

/// Distinct values in (-1, 1), so that no two entries of a pooling window tie.
pub fn values(seed: u64, shape: &[usize], dtype: DType) -> Tensor {
    uniform(StreamKey::derive(seed, &[99]), shape, &Device::Cpu)
        .unwrap()
        .affine(2.0, -1.0)
        .unwrap()
        .to_dtype(dtype)
        .unwrap()
}

/// Class indices below `classes`, each class in turn.
pub fn labels(rows: usize, classes: usize) -> Tensor {
    let labels: Vec<u32> = (0..rows).map(|i| ((i * 7 + 3) % classes) as u32).collect();
    Tensor::from_vec(labels, rows, &Device::Cpu).unwrap()
}

/// Factors of rows from 0 to 1.5.
pub fn weights(rows: usize, dtype: DType) -> Tensor {
    let weights: Vec<f64> = (0..rows).map(|i| (i % 4) as f64 * 0.5).collect();
    Tensor::from_vec(weights, rows, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// [`values`] in each of `shapes`, with seeds from `seed` on.
pub fn tensors<S: AsRef<[usize]>>(seed: u64, shapes: &[S], dtype: DType) -> Vec<Tensor> {
    (seed..).zip(shapes).map(|(seed, shape)| values(seed, shape.as_ref(), dtype)).collect()
}

/// The value of a function, and the gradient with respect to every argument.
pub type Outcome = (Tensor, Vec<Tensor>);

/// The value of `f` and the gradient of `Σ cos(i) f_i` with respect to every argument. Each element of the result has a weight
/// of its own, so errors cannot cancel.
pub fn value_and_gradients<E: Debug>(
    f: impl Fn(&[Tensor]) -> Result<Tensor, E>,
    arguments: &[Tensor],
) -> Outcome {
    let vars: Vec<_> = arguments.iter().map(|x| Var::from_tensor(x).unwrap()).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let value = f(&tracked).unwrap();
    let store = weighted_sum(&value).backward().unwrap();
    let gradients = vars.iter().enumerate().map(|(i, var)| {
        let gradient = store.get(var).unwrap_or_else(|| panic!("argument {i} got no gradient"));
        assert_eq!(gradient.dims(), var.dims());
        gradient.clone()
    });
    (value.detach(), gradients.collect())
}

/// Fails unless values and all gradients agree.
pub fn assert_close(name: &str, found: &Outcome, expected: &Outcome, tolerance: f64) {
    let error = distance(&found.0, &expected.0);
    assert!(error < tolerance, "{name}: values differ by {error:e}");
    for (i, (a, b)) in found.1.iter().zip(&expected.1).enumerate() {
        let error = distance(a, b);
        assert!(error < tolerance, "{name}: gradient {i} differs by {error:e}");
    }
}

/// `Σ cos(i) v_i`.
pub fn weighted_sum(value: &Tensor) -> Tensor {
    let weights: Vec<f64> = (0..value.elem_count()).map(|i| (i as f64).cos()).collect();
    let weights = Tensor::from_vec(weights, value.shape(), &Device::Cpu).unwrap();
    (value * weights.to_dtype(value.dtype()).unwrap()).unwrap().sum_all().unwrap()
}

/// All elements as f64.
pub fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1()).unwrap()
}

/// Largest difference between `a` and `b` over the largest magnitude in `b` (or 1, where that is more).
pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (flat(a), flat(b));
    let size = b.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
    a.iter().zip(&b).fold(0.0_f64, |m, (a, b)| {
        assert!(a.is_finite() && b.is_finite(), "not finite");
        m.max((a - b).abs())
    }) / size
}

/// Compares the gradient of `f` with central differences in f64, at up to 60 elements of each argument spread over it.
pub fn check_central_differences<E: Debug>(
    name: &str,
    f: impl Fn(&[Tensor]) -> Result<Tensor, E>,
    arguments: &[Tensor],
) {
    const H: f64 = 1e-5;
    let (_, gradients) = value_and_gradients(&f, arguments);
    for (which, (argument, gradient)) in arguments.iter().zip(&gradients).enumerate() {
        let (point, gradient) = (flat(argument), flat(gradient));
        let stride = (point.len() / 60).max(1);
        for index in (0..point.len()).step_by(stride) {
            let at = |delta: f64| {
                let mut moved = point.clone();
                moved[index] += delta;
                let mut arguments = arguments.to_vec();
                arguments[which] = Tensor::from_vec(moved, argument.shape(), &Device::Cpu).unwrap();
                flat(&weighted_sum(&f(&arguments).unwrap()))[0]
            };
            let difference = (at(H) - at(-H)) / (2.0 * H);
            let error = (difference - gradient[index]).abs();
            assert!(
                error < 1e-6 * (1.0 + difference.abs()),
                "{name}: argument {which} element {index}: gradient {}, central difference {difference}",
                gradient[index]
            );
        }
    }
}

/// A residual network with every kind of layer: images of 9 and 8 pixels lose a row to the first maximum.
pub const RESIDUAL: [(usize, After); 5] = [
    (9, After::Nothing),
    (17, After::Max2),
    (17, After::Nothing),
    (17, After::Residual),
    (8, After::Max2),
];

/// Two residual pairs that share a layer, at the end.
pub const PAIRS: [(usize, After); 4] =
    [(16, After::Nothing), (5, After::Nothing), (16, After::Residual), (5, After::Residual)];

/// The shapes of images and of the parameters of `layers`, each with its channels and what follows it.
pub fn stack_shapes(blocks: usize, x: &[usize; 5], layers: &[(usize, After)]) -> Vec<Vec<usize>> {
    let mut shapes = vec![x.to_vec()];
    let mut channels = x[2];
    for (c_out, _) in layers {
        shapes.push(vec![blocks, *c_out, channels, 3, 3]);
        shapes.extend([vec![blocks, *c_out], vec![blocks, *c_out]]);
        channels = *c_out;
    }
    shapes
}

/// The layers on images and parameters of those shapes. With `running`, each layer uses those statistics.
pub fn run_stack(
    layers: &[(usize, After)],
    arguments: &[Tensor],
    running: Option<&[[Tensor; 2]]>,
    backend: Backend,
) -> noprop_kernels::Result<ConvNormOutput> {
    let parameters = arguments[1..].chunks_exact(3);
    let stack: Vec<ConvNorm<'_>> = layers
        .iter()
        .zip(parameters)
        .enumerate()
        .map(|(index, ((_, after), p))| ConvNorm {
            w: &p[0],
            gamma: &p[1],
            beta: &p[2],
            mode: match running {
                None => BatchNormMode::Train,
                Some(all) => BatchNormMode::Eval { mean: &all[index][0], var: &all[index][1] },
            },
            after: *after,
        })
        .collect();
    ConvNormStack { backend, ..ConvNormStack::default() }.forward(&arguments[0], &stack)
}

/// Running statistics for `layers`: means in (-1, 1), variances from 0.1 to 1.1.
pub fn running(blocks: usize, layers: &[(usize, After)], dtype: DType) -> Vec<[Tensor; 2]> {
    let statistics = |(seed, (channels, _)): (u64, &(usize, After))| {
        let [mean, var] = [seed, seed + 50].map(|seed| values(seed, &[blocks, *channels], dtype));
        [mean, (var.sqr().unwrap() + 0.1).unwrap()]
    };
    (70..).zip(layers).map(statistics).collect()
}

/// The shapes of tokens and of the parameters of a transformer's layer whose inner layers have `inner` numbers.
pub fn transformer_shapes(x: [usize; 4], inner: usize) -> Vec<Vec<usize>> {
    let [blocks, .., width] = x;
    let norm = || [vec![blocks, width], vec![blocks, width]];
    let linear = |outputs, inputs| [vec![blocks, outputs, inputs], vec![blocks, outputs]];
    let qkv = linear(3 * width, width);
    let [out, fc1, fc2] = [linear(width, width), linear(inner, width), linear(width, inner)];
    std::iter::once(x.to_vec())
        .chain([norm(), qkv, out, norm(), fc1, fc2].into_iter().flatten())
        .collect()
}

/// The layer on tokens and parameters of those shapes.
pub fn run_transformer(layer: TransformerLayer, a: &[Tensor]) -> noprop_kernels::Result<Tensor> {
    let pair = |i: usize| (&a[i], &a[i + 1]);
    let [norm1, qkv, out, norm2, fc1, fc2] = [1, 3, 5, 7, 9, 11].map(pair);
    layer.forward(&a[0], TransformerParameters { norm1, qkv, out, norm2, fc1, fc2 })
}
