//! Adam and AdamW beside candle-nn's AdamW and PyTorch's definition, and averages worked out by hand; resumed and misused.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW};
use noprop_kernels::optim::{Adam, AdamConfig, Averages, Moments, OptimError, Rule};

use crate::support::{distance, flat, values};

fn var(seed: u64, shape: &[usize], dtype: DType) -> Var {
    Var::from_tensor(&values(seed, shape, dtype)).unwrap()
}

/// A loss whose gradient changes from step to step and differs between elements.
fn loss(a: &Var, b: &Var) -> Tensor {
    let a = a.as_tensor().sqr().unwrap().sin().unwrap().sum_all().unwrap();
    let b = (b.as_tensor() * 3.0).unwrap().sqr().unwrap().sum_all().unwrap();
    ((a * &b).unwrap() + b).unwrap()
}

fn named(a: &Var, b: &Var) -> Vec<(String, Var)> {
    vec![("a".to_owned(), a.clone()), ("b".to_owned(), b.clone())]
}

/// Protects AdamW over a hundred steps beside candle-nn's, with sizes that cross the boundary between two chunks of work.
#[test]
fn adamw_walks_with_candles() {
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
        let shape_a = [130, 129];
        let config = AdamConfig { weight_decay: 0.05, ..AdamConfig::default() };
        let (a, b) = (var(1, &shape_a, dtype), var(2, &[7], dtype));
        let (a2, b2) = (var(1, &shape_a, dtype), var(2, &[7], dtype));
        let mut ours = Adam::new(named(&a, &b), config).unwrap();
        let params = ParamsAdamW {
            lr: 0.01,
            beta1: config.beta1,
            beta2: config.beta2,
            eps: config.eps,
            weight_decay: config.weight_decay,
        };
        let mut theirs = candle_nn::AdamW::new(vec![a2.clone(), b2.clone()], params).unwrap();
        for _ in 0..100 {
            ours.step(&loss(&a, &b).backward().unwrap(), 0.01).unwrap();
            theirs.step(&loss(&a2, &b2).backward().unwrap()).unwrap();
        }
        assert!(distance(&a, &a2) < tolerance && distance(&b, &b2) < tolerance);
        assert!(distance(&a, &values(1, &shape_a, dtype)) > 0.1, "nothing moved");
    }
}

/// Protects the decay of Adam, which is part of the gradient: PyTorch's definition, written out for one number.
#[test]
fn adam_puts_the_decay_into_the_gradient() {
    let config = AdamConfig { rule: Rule::Adam, weight_decay: 0.1, ..AdamConfig::default() };
    let x = Var::new(&[0.7_f64], &Device::Cpu).unwrap();
    let mut adam = Adam::new(vec![("x".to_owned(), x.clone())], config).unwrap();
    let (mut theta, mut m, mut v) = (0.7_f64, 0.0, 0.0);
    for step in 1..=20 {
        let gradient = f64::from(step).sin();
        let given = Tensor::new(&[gradient], &Device::Cpu).unwrap();
        adam.step_with(&[given], 0.03).unwrap();
        let g = gradient + 0.1 * theta;
        m = 0.9 * m + 0.1 * g;
        v = 0.999 * v + 0.001 * g * g;
        let (mh, vh) = (m / (1.0 - 0.9_f64.powi(step)), v / (1.0 - 0.999_f64.powi(step)));
        theta -= 0.03 * mh / (vh.sqrt() + 1e-8);
        assert!((flat(&x)[0] - theta).abs() < 1e-12);
    }
}

/// Protects resumption: a new optimizer with saved moments continues to the same bits.
#[test]
fn restored_moments_continue_to_the_same_bits() {
    let run = |pause: Option<usize>| {
        let (a, b) = (var(3, &[40, 30], DType::F32), var(4, &[9], DType::F32));
        let mut adam = Adam::new(named(&a, &b), AdamConfig::default()).unwrap();
        for step in 0..12 {
            if pause == Some(step) {
                let mut saved: Vec<Moments> = adam
                    .moments()
                    .map(|(name, first, second)| Moments {
                        name: name.to_owned(),
                        first: first.clone(),
                        second: second.clone(),
                    })
                    .collect();
                saved.reverse();
                let steps = adam.steps();
                adam = Adam::new(named(&a, &b), AdamConfig::default()).unwrap();
                adam.restore(steps, saved).unwrap();
            }
            adam.step(&loss(&a, &b).backward().unwrap(), 0.01).unwrap();
        }
        (flat(&a), flat(&b))
    };
    assert_eq!(run(None), run(Some(5)));
}

/// Protects against parts that are left out of the loss: the error names the variable, and no variable has moved.
#[test]
fn a_variable_without_gradient_stops_the_step() {
    let (a, b) = (var(5, &[4], DType::F32), var(6, &[4], DType::F32));
    let before = flat(&a);
    let mut adam = Adam::new(named(&a, &b), AdamConfig::default()).unwrap();
    let gradients = a.as_tensor().sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let refused = adam.step(&gradients, 0.1);
    assert!(matches!(refused, Err(OptimError::MissingGradient { name }) if name == "b"));
    assert_eq!(before, flat(&a));
    assert_eq!(adam.steps(), 0);
}

/// Protects gradients that are transposed, broadcast or narrowed: they are read by their strides.
#[test]
fn gradients_of_any_layout_are_read_right() {
    let x = var(7, &[6, 5], DType::F32);
    let grad = values(8, &[5, 12], DType::F32).narrow(1, 3, 6).unwrap().t().unwrap();
    let copy = var(7, &[6, 5], DType::F32);
    let mut strided = Adam::new(vec![("x".to_owned(), x.clone())], AdamConfig::default()).unwrap();
    let mut plain = Adam::new(vec![("x".to_owned(), copy.clone())], AdamConfig::default()).unwrap();
    strided.step_with(std::slice::from_ref(&grad), 0.1).unwrap();
    plain.step_with(&[grad.force_contiguous().unwrap()], 0.1).unwrap();
    assert_eq!(flat(&x), flat(&copy));
}

/// Protects a gradient in the memory of its variable: the step reads it and writes there, and would wait for itself.
#[test]
fn a_gradient_may_be_its_variable() {
    let step = |gradient: fn(&Var) -> Tensor| {
        let x = Var::new(&[2.0_f32], &Device::Cpu).unwrap();
        let one = vec![("x".to_owned(), x.clone())];
        let mut adam = Adam::new(one, AdamConfig::default()).unwrap();
        adam.step_with(&[gradient(&x)], 0.1).unwrap();
        flat(&x)
    };
    let shared = step(|x| x.as_tensor().clone());
    assert_eq!(shared, step(|x| x.copy().unwrap()));
    assert!(shared[0] < 2.0);
}

/// Protects the errors of the optimizer.
#[test]
fn misuse_is_refused_by_name() {
    let x = var(9, &[3], DType::F32);
    let one = || vec![("x".to_owned(), x.clone())];
    let two = [one(), one()].concat();
    assert!(matches!(
        Adam::new(two, AdamConfig::default()),
        Err(OptimError::DuplicateName { name }) if name == "x"
    ));
    let bad = AdamConfig { beta2: 1.0, ..AdamConfig::default() };
    assert!(matches!(Adam::new(one(), bad), Err(OptimError::Config { name: "beta2", .. })));
    // Above 0 in f64, and 0 in f32.
    let tiny = AdamConfig { eps: 1e-50, ..AdamConfig::default() };
    assert!(matches!(Adam::new(one(), tiny), Err(OptimError::Config { name: "eps", .. })));
    let double = vec![("x".to_owned(), var(9, &[3], DType::F64))];
    assert!(Adam::new(double, tiny).is_ok());
    let mut adam = Adam::new(one(), AdamConfig::default()).unwrap();
    let grad = values(1, &[4], DType::F32);
    assert!(matches!(
        adam.step_with(std::slice::from_ref(&grad), 0.1),
        Err(OptimError::Mismatch { what: "gradient", .. })
    ));
    assert!(matches!(adam.step_with(&[], 0.1), Err(OptimError::GradientCount { .. })));
    let good = values(1, &[3], DType::F32);
    assert!(matches!(
        adam.step_with(std::slice::from_ref(&good), f64::NAN),
        Err(OptimError::Config { name: "lr", .. })
    ));
    assert!(matches!(adam.restore(1, vec![]), Err(OptimError::StateNames { .. })));
    let stranger = Moments { name: "y".to_owned(), first: good.clone(), second: good };
    assert!(matches!(
        adam.restore(1, vec![stranger]),
        Err(OptimError::StateNames { problem: "is not a variable here", .. })
    ));
}

/// Protects the average's definition, with numbers worked out by hand, in place and by candle's ops. Its shares of the new value are
/// 9/11, 9/12 and 9/13 while the rate is above 2/11, 3/12 and 4/13, and 1 - rate after that.
#[test]
fn averages_are_those_that_are_worked_out_by_hand() {
    for (rate, expected) in [(0.99, [9.0, 12.0, 21.0]), (0.25, [9.0, 12.0, 21.75])] {
        for dtype in [DType::F32, DType::F64, DType::F16] {
            // Two chunks of work, and a rest.
            let of = |value: f64| Tensor::full(value as f32, 40_000, &Device::Cpu).unwrap();
            let of = |value| of(value).to_dtype(dtype).unwrap();
            let x = Var::from_tensor(&of(0.0)).unwrap();
            let mut averages = Averages::new(vec![("x".to_owned(), x.clone())], rate).unwrap();
            for ((step, value), expected) in (1..).zip([11.0, 13.0, 25.0]).zip(expected) {
                x.set(&of(value)).unwrap();
                averages.update(step).unwrap();
                let (_, average) = averages.iter().next().unwrap();
                let found = flat(average);
                assert!(found.iter().all(|found| (found - expected).abs() < 2e-2), "{dtype:?}");
                if dtype == DType::F64 {
                    assert!((found[39_999] - expected).abs() < 1e-12);
                }
                assert_eq!(flat(&x)[0], value);
            }
        }
    }
}

/// Protects the weights in training: they must be back, to the bit, after the averages were looked at; and the average of values that
/// stand still is their value.
#[test]
fn averages_give_their_place_back() {
    let (a, b) = (var(11, &[30, 7], DType::F32), var(12, &[9], DType::F32));
    let mut averages = Averages::new(named(&a, &b), 0.9).unwrap();
    let first = (flat(&a), flat(&b));
    for step in 1..5 {
        averages.update(step).unwrap();
    }
    averages.exchange().unwrap();
    assert_eq!((flat(&a), flat(&b)), first);
    averages.exchange().unwrap();
    a.set(&values(13, &[30, 7], DType::F32)).unwrap();
    averages.update(5).unwrap();
    let last = flat(&a);
    averages.exchange().unwrap();
    assert_ne!(flat(&a), last);
    assert_ne!(flat(&a), first.0);
    averages.exchange().unwrap();
    assert_eq!(flat(&a), last);
}

/// Protects resumption: averages that were saved continue to the same bits, and those of other variables are refused.
#[test]
fn restored_averages_continue_to_the_same_bits() {
    let run = |pause: Option<u64>| {
        let (a, b) = (var(14, &[40, 30], DType::F32), var(15, &[9], DType::F32));
        let mut averages = Averages::new(named(&a, &b), 0.3).unwrap();
        for step in 1..9 {
            a.set(&(a.as_tensor() * 1.1).unwrap()).unwrap();
            averages.update(step).unwrap();
            if pause == Some(step) {
                let saved: BTreeMap<String, Tensor> =
                    averages.iter().map(|(name, average)| (name.into(), average.clone())).collect();
                averages = Averages::new(named(&a, &b), 0.3).unwrap();
                averages.restore(saved).unwrap();
            }
        }
        averages.iter().map(|(_, average)| flat(average)).collect::<Vec<_>>()
    };
    assert_eq!(run(None), run(Some(4)));

    let x = var(9, &[3], DType::F32);
    let one = || vec![("x".to_owned(), x.clone())];
    for rate in [1.0, -0.1, f64::NAN] {
        let refused = Averages::new(one(), rate);
        assert!(matches!(refused, Err(OptimError::Config { name: "rate", .. })));
    }
    let mut averages = Averages::new(one(), 0.0).unwrap();
    let state = |names: &[&str], length| {
        let of = |name: &&str| ((*name).to_owned(), values(1, &[length], DType::F32));
        names.iter().map(of).collect::<BTreeMap<_, _>>()
    };
    let refused = averages.restore(state(&["x", "y"], 3));
    assert!(matches!(refused, Err(OptimError::StateNames { name, .. }) if name == "y"));
    assert!(matches!(averages.restore(state(&[], 3)), Err(OptimError::StateNames { .. })));
    let refused = averages.restore(state(&["x"], 4));
    assert!(matches!(refused, Err(OptimError::Mismatch { what: "average", .. })));
}
