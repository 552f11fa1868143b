//! The layers for candle-nn beside candle-nn's own.

use candle_core::{DType, Device, Module, ModuleT, Result, Tensor, Var};
use candle_nn::{BatchNormConfig, Conv2dConfig, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use noprop_kernels::random::{StreamKey, normal};
use noprop_kernels::{Padding, nn};

use crate::support::{check_central_differences, distance, flat, values, weighted_sum};

/// Makes a layer from its variables.
type Make<'a> = &'a dyn Fn(VarBuilder<'_>) -> Result<Box<dyn ModuleT>>;

/// The value of a layer, its gradients, and its variables by name.
struct Outcome {
    value: Tensor,
    gradients: Vec<Option<Tensor>>,
    variables: Vec<(String, Tensor)>,
}

/// Runs a layer whose variables have values that depend on their place by name alone.
fn outcome(make: Make<'_>, train: bool, x: &Tensor) -> Outcome {
    let map = VarMap::new();
    let layer = make(VarBuilder::from_varmap(&map, x.dtype(), &Device::Cpu)).unwrap();
    let mut vars: Vec<(String, Var)> = map.data().lock().unwrap().clone().into_iter().collect();
    vars.sort_by(|a, b| a.0.cmp(&b.0));
    for (seed, (name, var)) in (0..).zip(&vars) {
        let start = values(seed, var.dims(), var.dtype());
        let start = if name == "running_var" { start.sqr().unwrap() } else { start };
        var.set(&start).unwrap();
    }
    let x = Var::from_tensor(x).unwrap();
    let value = layer.forward_t(&x, train).unwrap();
    let store = weighted_sum(&value).backward().unwrap();
    let gradients = std::iter::once(&x).chain(vars.iter().map(|(_, var)| var));
    Outcome {
        value: value.detach(),
        gradients: gradients.map(|var| store.get(var).cloned()).collect(),
        variables: vars
            .iter()
            .map(|(name, var)| (name.clone(), var.as_detached_tensor()))
            .collect(),
    }
}

/// Compares values, gradients, names, shapes and running statistics of two layers.
fn agree(name: &str, shape: &[usize], train: bool, ours: Make<'_>, theirs: Make<'_>) {
    for (dtype, tolerance) in [(DType::F32, 1e-4), (DType::F64, 1e-10)] {
        let x = values(77, shape, dtype);
        let (ours, theirs) = (outcome(ours, train, &x), outcome(theirs, train, &x));
        assert!(distance(&ours.value, &theirs.value) < tolerance, "{name}: values");
        assert_eq!(ours.gradients.len(), theirs.gradients.len(), "{name}");
        for (i, (a, b)) in ours.gradients.iter().zip(&theirs.gradients).enumerate() {
            match (a, b) {
                (Some(a), Some(b)) => assert!(distance(a, b) < tolerance, "{name}: gradient {i}"),
                (None, None) => {}
                _ => panic!("{name}: only one layer has gradient {i}"),
            }
        }
        for ((a, ours), (b, theirs)) in ours.variables.iter().zip(&theirs.variables) {
            assert_eq!((a, ours.dims()), (b, theirs.dims()), "{name}");
            assert!(distance(ours, theirs) < tolerance, "{name}: {a}");
        }
    }
}

/// Protects the dense layer for inputs of two and of three dimensions.
#[test]
fn linear_is_candle_nns() {
    for shape in [&[5, 7][..], &[2, 3, 7]] {
        agree("linear", shape, true, &|vb| Ok(Box::new(nn::linear(7, 4, vb)?)), &|vb| {
            Ok(Box::new(candle_nn::linear(7, 4, vb)?))
        });
    }
}

/// Protects the convolution with both paddings, by both algorithms.
#[test]
fn conv3x3_is_candle_nns_conv2d() {
    for (padding, ring) in [(Padding::Valid, 0), (Padding::Same, 1)] {
        for (inputs, outputs) in [(2, 3), (9, 17)] {
            let config = Conv2dConfig { padding: ring, ..Conv2dConfig::default() };
            agree(
                &format!("conv3x3 {padding:?} {inputs}"),
                &[2, inputs, 7, 6],
                true,
                &|vb| Ok(Box::new(nn::conv3x3(inputs, outputs, padding, vb)?)),
                &|vb| Ok(Box::new(candle_nn::conv2d(inputs, outputs, 3, config, vb)?)),
            );
        }
    }
}

/// Protects batch norm of rows and of images, in training with its running statistics, in evaluation, and without parameters.
#[test]
fn batch_norm_is_candle_nns() {
    for shape in [&[6, 5][..], &[3, 5, 4, 2]] {
        for train in [true, false] {
            for affine in [true, false] {
                let config =
                    BatchNormConfig { eps: 0.01, momentum: 0.3, affine, ..Default::default() };
                agree(
                    &format!("batch_norm {shape:?} {train} {affine}"),
                    shape,
                    train,
                    &|vb| Ok(Box::new(nn::batch_norm(5, config, vb)?)),
                    &|vb| Ok(Box::new(candle_nn::batch_norm(5, config, vb)?)),
                );
            }
        }
    }
}

/// Protects the values of the pooling beside candle's, and its gradient beside central differences, because candle's gradient is
/// wrong. The sizes leave rows and columns over; the plain form serves other element types.
#[test]
fn max_pool2d_has_candles_values_and_the_right_gradient() {
    for (size, height, width) in [((2, 2), 6, 8), ((2, 2), 7, 5), ((3, 2), 7, 7), ((1, 1), 3, 2)] {
        let x = values(5, &[2, 3, height, width], DType::F64);
        let theirs = x.max_pool2d(size).unwrap();
        assert_eq!(distance(&nn::max_pool2d(&x, size).unwrap(), &theirs), 0.0);
        let pool = |a: &[Tensor]| nn::max_pool2d(&a[0], size);
        check_central_differences(&format!("max_pool2d {size:?}"), pool, std::slice::from_ref(&x));
        let single = x.to_dtype(DType::F32).unwrap();
        let half = x.to_dtype(DType::BF16).unwrap();
        for x in [single, half] {
            let theirs = x.max_pool2d(size).unwrap();
            assert_eq!(distance(&nn::max_pool2d(&x, size).unwrap(), &theirs), 0.0);
        }
    }
    assert!(nn::max_pool2d(&values(1, &[1, 1, 2, 2], DType::F32), 3).is_err());
    assert!(nn::max_pool2d(&values(1, &[1, 2, 2], DType::F32), 2).is_err());
}

/// Protects the seed of dropout, its rate, its gradient, and the independence of a row from the rest of the batch.
#[test]
fn dropout_is_a_function_of_its_stream() {
    let x = Tensor::ones((40, 3, 10, 10), DType::F64, &Device::Cpu).unwrap();
    let drop = |x: &Tensor, stream| nn::dropout(x, 0.3, StreamKey(stream)).unwrap();
    let y = drop(&x, 1);
    assert_eq!(flat(&y), flat(&drop(&x, 1)));
    assert_ne!(flat(&y), flat(&drop(&x, 2)));
    let few = x.narrow(0, 0, 7).unwrap();
    assert_eq!(flat(&drop(&few, 1)), flat(&y.narrow(0, 0, 7).unwrap()));
    let kept = flat(&y).into_iter().filter(|v| *v != 0.0).count() as f64 / 12_000.0;
    assert!((kept - 0.7).abs() < 5.0 * (0.21_f64 / 12_000.0).sqrt(), "{kept}");
    assert!((flat(&y.mean_all().unwrap())[0] - 1.0).abs() < 0.03);
    let x = values(3, &[2, 9], DType::F64);
    let f = |a: &[Tensor]| nn::dropout(&a[0], 0.3, StreamKey(1));
    check_central_differences("dropout", f, &[x]);
    assert!(nn::dropout(&few, 1.0, StreamKey(1)).is_err());
}

/// Protects the optimizer beside candle-nn's, with a variable that has no gradient and a rate that changes.
#[test]
fn adamw_is_candle_nns() {
    let params = ParamsAdamW { lr: 0.02, weight_decay: 0.1, ..ParamsAdamW::default() };
    let vars =
        || [1, 2, 3].map(|seed| Var::from_tensor(&values(seed, &[6, 5], DType::F64)).unwrap());
    let loss = |vars: &[Var; 3]| {
        let product = (vars[0].as_tensor() * vars[1].as_tensor())?;
        (product - 1.0)?.sqr()?.sum_all()
    };
    let (ours, theirs) = (vars(), vars());
    let mut our_steps = nn::AdamW::new(ours.to_vec(), params.clone()).unwrap();
    let mut their_steps = candle_nn::AdamW::new(theirs.to_vec(), params).unwrap();
    for step in 0..60 {
        if step == 30 {
            our_steps.set_learning_rate(0.005);
            their_steps.set_learning_rate(0.005);
        }
        our_steps.backward_step(&loss(&ours).unwrap()).unwrap();
        their_steps.backward_step(&loss(&theirs).unwrap()).unwrap();
    }
    assert_eq!(our_steps.learning_rate(), 0.005);
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!(distance(ours, theirs) < 1e-12);
    }
    assert_eq!(flat(&ours[2]), flat(&values(3, &[6, 5], DType::F64)));
    assert_eq!(our_steps.adam().steps(), 60);
}

/// An ordinary network of candle-nn, with every layer of the module.
struct Network {
    conv: nn::Conv3x3,
    norm: nn::BatchNorm,
    head: nn::Linear,
}

impl Network {
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            conv: nn::conv3x3(1, 8, Padding::Same, vb.pp("conv"))?,
            norm: nn::batch_norm(8, 1e-5, vb.pp("norm"))?,
            head: nn::linear(8 * 4 * 4, 3, vb.pp("head"))?,
        })
    }

    /// `dropout` is the stream of a training step.
    fn forward(&self, images: &Tensor, dropout: Option<StreamKey>) -> Result<Tensor> {
        let h = self.conv.forward(images)?;
        let h = self.norm.forward_t(&h, dropout.is_some())?.relu()?;
        let h = nn::max_pool2d(&h, 2)?;
        let h = match dropout {
            Some(stream) => nn::dropout(&h, 0.2, stream)?,
            None => h,
        };
        self.head.forward(&h.flatten_from(1)?)
    }
}

/// Noisy images of three patterns, and their classes.
fn patterns(seed: u64, count: usize) -> (Tensor, Tensor) {
    let labels: Vec<u32> = (0..count as u32).map(|i| i % 3).collect();
    let noise = normal(StreamKey(seed), (count, 1, 8, 8), &Device::Cpu).unwrap();
    let clean = labels
        .iter()
        .flat_map(|label| (0..64_u32).map(move |i| f32::from((i / 8 + label * (i % 8)) % 3 == 0)));
    let clean = Tensor::from_iter(clean, &Device::Cpu).unwrap().reshape((count, 1, 8, 8));
    let images = (clean.unwrap() + (noise * 0.5).unwrap()).unwrap();
    (images, Tensor::new(labels, &Device::Cpu).unwrap())
}

/// Protects the use in an ordinary network: it learns, and candle-nn's own layers read its weights and answer alike.
#[test]
fn an_ordinary_network_trains() -> Result<()> {
    let map = VarMap::new();
    let network = Network::new(VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu))?;
    let params = ParamsAdamW { lr: 0.01, ..ParamsAdamW::default() };
    let mut optimizer = nn::AdamW::new(map.all_vars(), params)?;
    for step in 0..40 {
        let (images, labels) = patterns(step, 48);
        let logits = network.forward(&images, Some(StreamKey::derive(9, &[step])))?;
        optimizer.backward_step(&candle_nn::loss::cross_entropy(&logits, &labels)?)?;
    }
    let (images, labels) = patterns(1000, 300);
    let logits = network.forward(&images, None)?;
    let right = logits.argmax(1)?.eq(&labels)?.to_dtype(DType::F32)?.mean_all()?;
    assert!(right.to_scalar::<f32>()? > 0.9, "{right}");

    let vb = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let config = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
    let h = candle_nn::conv2d(1, 8, 3, config, vb.pp("conv"))?.forward(&images)?;
    let h = candle_nn::batch_norm(8, 1e-5, vb.pp("norm"))?.forward_t(&h, false)?.relu()?;
    let h = h.max_pool2d(2)?.flatten_from(1)?;
    let theirs = candle_nn::linear(8 * 4 * 4, 3, vb.pp("head"))?.forward(&h)?;
    assert!(distance(&logits, &theirs) < 1e-4);
    Ok(())
}
