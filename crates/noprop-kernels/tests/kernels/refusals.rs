//! Wrong arguments: each gives a typed error that names the argument, never a panic.

use candle_core::{DType, Device, Tensor, Var};
use noprop_kernels::{
    After, Attention, Backend, BatchNorm, BatchNormMode, Conv3x3, Dropout, KernelError, LayerNorm,
    Linear, Pool, Precision, Targets, TransformerLayer, conv3x3_stack, cross_entropy, denoise_loss,
    global_max_pool,
};

use crate::support::{
    RESIDUAL, flat, labels, run_stack, run_transformer, running, stack_shapes, transformer_shapes,
    values,
};

fn v(shape: &[usize]) -> Tensor {
    values(1, shape, DType::F32)
}

fn blamed<T>(result: Result<T, KernelError>) -> &'static str {
    match result {
        Err(KernelError::Shape { argument, .. } | KernelError::DType { argument, .. }) => argument,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    }
}

/// Protects the errors of the convolution layer.
#[test]
fn convolution_names_the_misfit() {
    let layer = Conv3x3 { pool: Pool::Max2, ..Conv3x3::default() };
    let (x, w, b) = (v(&[2, 3, 4, 8, 8]), v(&[2, 5, 4, 3, 3]), v(&[2, 5]));
    assert!(layer.forward(&x, &w, &b).is_ok());
    assert_eq!(blamed(layer.forward(&v(&[3, 4, 8, 8]), &w, &b)), "x");
    assert_eq!(blamed(layer.forward(&v(&[2, 3, 3, 8, 8]), &w, &b)), "x");
    assert_eq!(blamed(layer.forward(&v(&[3, 3, 4, 8, 8]), &w, &b)), "x");
    assert_eq!(blamed(layer.forward(&v(&[2, 3, 4, 8, 3]), &w, &b)), "x");
    assert_eq!(blamed(layer.forward(&x, &v(&[2, 5, 4, 5, 5]), &b)), "w");
    assert_eq!(blamed(layer.forward(&x, &w, &v(&[2, 4]))), "b");
    assert_eq!(blamed(layer.forward(&x, &w, &values(1, &[2, 5], DType::F64))), "b");
    let dropout = Some(Dropout::new(0.1, vec![]).unwrap());
    let short = Conv3x3 { dropout, ..layer.clone() };
    assert!(matches!(
        short.forward(&x, &w, &b),
        Err(KernelError::DropoutKeys { keys: 0, blocks: 2 })
    ));
    let lopsided = conv3x3_stack(&[layer.clone(), layer.clone()], &x, &[(w.clone(), b.clone())]);
    assert!(matches!(lopsided, Err(KernelError::LayerCount { layers: 2, parameters: 1, .. })));
    // The second layer has no image left: 8 → 3 → none.
    let second = (v(&[2, 5, 5, 3, 3]), b.clone());
    assert_eq!(blamed(conv3x3_stack(&[layer.clone(), layer], &x, &[(w, b), second])), "x");
}

/// Protects the errors of the dense layer and of batch norm.
#[test]
fn dense_and_norm_name_the_misfit() {
    let (x, w, b) = (v(&[1, 3, 4]), v(&[2, 5, 4]), v(&[2, 5]));
    assert!(Linear::default().forward(&x, &w, &b).is_ok());
    assert_eq!(blamed(Linear::default().forward(&v(&[3, 3, 4]), &w, &b)), "x");
    assert_eq!(blamed(Linear::default().forward(&x, &w, &v(&[2]))), "b");
    let double = [&x, &w, &b].map(|t| t.to_dtype(DType::F64).unwrap());
    for backend in [Backend::Auto, Backend::Reference] {
        let rounded = Linear { precision: Precision::Bf16, backend, ..Linear::default() }
            .forward(&double[0], &double[1], &double[2]);
        assert!(matches!(rounded, Err(KernelError::DType { got: DType::F64, .. })), "{rounded:?}");
    }
    let mode = BatchNormMode::Train;
    let result = BatchNorm::default().forward(&v(&[2, 3, 5]), &b, &v(&[1, 5]), mode);
    assert_eq!(blamed(result), "beta");
    let mean = v(&[5]);
    let mode = BatchNormMode::Eval { mean: &mean, var: &b };
    let result = BatchNorm::default().forward(&v(&[2, 3, 5]), &b, &b, mode);
    assert_eq!(blamed(result), "mean");
}

/// Protects the errors of convolutions with batch norms and of global pooling.
#[test]
fn normed_convolutions_and_pool_name_the_misfit() {
    for backend in [Backend::Auto, Backend::Reference] {
        let a: Vec<Tensor> =
            stack_shapes(2, &[1, 3, 2, 9, 8], &RESIDUAL).iter().map(|shape| v(shape)).collect();
        let run = |a: &[Tensor]| run_stack(&RESIDUAL, a, None, backend);
        assert!(run(&a).is_ok());
        let with = |which: usize, t: Tensor| {
            let mut a = a.clone();
            a[which] = t;
            run(&a)
        };
        assert_eq!(blamed(with(0, v(&[3, 2, 9, 8]))), "x");
        assert_eq!(blamed(with(0, v(&[1, 3, 3, 9, 8]))), "x");
        assert_eq!(blamed(with(0, v(&[1, 3, 2, 9, 1]))), "x");
        assert_eq!(blamed(with(1, v(&[2, 9, 2, 5, 5]))), "w");
        assert_eq!(blamed(with(1, a[1].to_dtype(DType::F64).unwrap())), "w");
        assert_eq!(blamed(with(2, v(&[9]))), "gamma");
        assert_eq!(blamed(with(3, v(&[2, 8]))), "beta");
        // The second of a pair must give as many channels as the first was given, and a pair takes two layers.
        let pair = [(9, After::Nothing), (9, After::Nothing), (8, After::Residual)];
        for layers in [&pair[..], &[(2, After::Nothing), (2, After::Residual)]] {
            let a: Vec<Tensor> =
                stack_shapes(1, &[1, 3, 2, 9, 8], layers).iter().map(|shape| v(shape)).collect();
            assert_eq!(blamed(run_stack(layers, &a, None, backend)), "w");
        }
        let none = run_stack(&[], &a[..1], None, backend);
        assert!(matches!(none, Err(KernelError::NoLayers { .. })), "{none:?}");
        for shape in [[0, 4, 2, 3, 3], [1, 0, 2, 3, 3], [1, 4, 0, 3, 3]] {
            let [blocks, c_out, c_in, ..] = shape;
            let (x, w) = (v(&[1, 3, c_in, 8, 8]), v(&shape));
            let p = v(&[blocks, c_out]);
            let a = [x.clone(), w.clone(), p.clone(), p.clone()];
            assert_eq!(blamed(run_stack(&[(c_out, After::Nothing)], &a, None, backend)), "w");
            let layer = Conv3x3 { backend, ..Conv3x3::default() };
            assert_eq!(blamed(layer.forward(&x, &w, &p)), "w");
        }
        let mut running = running(2, &RESIDUAL, DType::F32);
        running[1][1] = v(&[2, 4]);
        assert_eq!(blamed(run_stack(&RESIDUAL, &a, Some(&running), backend)), "var");
        assert_eq!(blamed(global_max_pool(&v(&[2, 3, 4, 5]), backend)), "x");
        assert_eq!(blamed(global_max_pool(&v(&[2, 3, 4, 0, 5]), backend)), "x");
    }
}

/// Protects the errors of the ops of transformers.
#[test]
fn transformer_ops_name_the_misfit() {
    for backend in [Backend::Auto, Backend::Reference] {
        let norm = LayerNorm { backend, ..LayerNorm::default() };
        let (x, one) = (v(&[2, 3, 4]), v(&[2, 4]));
        assert_eq!(blamed(norm.forward(&one, &one, &one)), "x");
        assert_eq!(blamed(norm.forward(&x, &v(&[4]), &one)), "gamma");
        assert_eq!(blamed(norm.forward(&x, &one, &v(&[2, 5]))), "beta");
        for heads in [0, 3, usize::MAX, usize::MAX / 3 + 1] {
            let attention = Attention { heads, backend };
            assert_eq!(blamed(attention.forward(&v(&[1, 2, 3, 12]))), "qkv");
        }
        assert_eq!(blamed(Attention { heads: 1, backend }.forward(&v(&[1, 2, 12]))), "qkv");
        let layer = |heads| TransformerLayer { heads, backend, ..TransformerLayer::default() };
        let a: Vec<Tensor> = transformer_shapes([2, 3, 5, 8], 6).iter().map(|s| v(s)).collect();
        for heads in [0, 3, usize::MAX] {
            assert_eq!(blamed(run_transformer(layer(heads), &a)), "x");
        }
        let names = [
            "x",
            "gamma of norm1",
            "beta of norm1",
            "the weight of qkv",
            "the bias of qkv",
            "the weight of out",
            "the bias of out",
            "gamma of norm2",
            "beta of norm2",
            "the weight of fc1",
            "the bias of fc1",
            "the weight of fc2",
            "the bias of fc2",
        ];
        for index in 0..a.len() {
            for wrong in [v(&[2, 7]), v(&[2, 7, 7]), a[index].to_dtype(DType::F64).unwrap()] {
                let mut a = a.clone();
                a[index] = wrong;
                // Where x has another type than all parameters, the first of them is named.
                let expected = names[if a[0].dtype() == DType::F64 { 1 } else { index }];
                assert_eq!(blamed(run_transformer(layer(2), &a)), expected, "{index}");
            }
        }
        for (x, inner, expected) in
            [([0, 3, 5, 8], 6, "x"), ([1, 3, 5, 0], 6, "x"), ([1, 3, 5, 8], 0, "the weight of fc1")]
        {
            let a: Vec<Tensor> = transformer_shapes(x, inner).iter().map(|s| v(s)).collect();
            assert_eq!(blamed(run_transformer(layer(2), &a)), expected);
        }
        let a: Vec<_> = a.iter().map(|t| t.to_dtype(DType::F64).unwrap()).collect();
        let bf16 = TransformerLayer { precision: Precision::Bf16, ..layer(2) };
        assert_eq!(blamed(run_transformer(bf16, &a)), "x");
    }
}

/// Protects the memory after the embeddings against labels out of range.
#[test]
fn labels_out_of_range_are_named() {
    for backend in [Backend::Auto, Backend::Reference] {
        let logits = v(&[2, 3, 4]);
        let bad = Tensor::new(&[0_u32, 4, 1], &Device::Cpu).unwrap();
        let results = [
            denoise_loss(&logits, &v(&[4, 6]), &bad, backend),
            cross_entropy(&logits, &bad, backend),
        ];
        for result in results {
            assert!(matches!(
                result,
                Err(KernelError::LabelOutOfRange { label: 4, row: 1, classes: 4, .. })
            ));
        }
        // Without classes no label is one.
        let none = v(&[2, 3, 0]);
        assert_eq!(blamed(cross_entropy(&none, &labels(3, 4), backend)), "logits");
        assert_eq!(blamed(denoise_loss(&none, &v(&[0, 6]), &labels(3, 4), backend)), "logits");
        assert_eq!(blamed(cross_entropy(&logits, &v(&[3]), backend)), "labels");
        assert_eq!(blamed(cross_entropy(&logits, &labels(4, 2), backend)), "labels");
        assert_eq!(
            blamed(denoise_loss(&logits, &v(&[5, 6]), &labels(3, 4), backend)),
            "embeddings"
        );
        for weights in [v(&[4]), v(&[3, 1]), v(&[3]).to_dtype(DType::F16).unwrap()] {
            let targets = Targets { labels: &labels(3, 4), weights: Some(&weights) };
            assert_eq!(blamed(denoise_loss(&logits, &v(&[4, 6]), targets, backend)), "weights");
            assert_eq!(blamed(cross_entropy(&logits, targets, backend)), "weights");
        }
    }
}

/// Protects the choice of the fused kernels by name: in other types than f32 and f64 it is an error.
#[test]
fn fused_by_name_where_there_is_none() {
    let half = |shape: &[usize]| v(shape).to_dtype(DType::BF16).unwrap();
    let (x, w, b) = (half(&[1, 3, 4]), half(&[1, 5, 4]), half(&[1, 5]));
    assert!(matches!(
        Linear { backend: Backend::Fused, ..Linear::default() }.forward(&x, &w, &b),
        Err(KernelError::FusedUnavailable { op: "linear" })
    ));
}

/// Protects empty batches.
#[test]
fn no_images_no_results() {
    let layer = Conv3x3 { pool: Pool::Max2, ..Conv3x3::default() };
    let y = layer.forward(&v(&[1, 0, 4, 8, 8]), &v(&[2, 5, 4, 3, 3]), &v(&[2, 5])).unwrap();
    assert_eq!(y.dims(), [2, 0, 5, 3, 3]);
    let y = Linear::default().forward(&v(&[1, 0, 4]), &v(&[2, 5, 4]), &v(&[2, 5])).unwrap();
    assert_eq!(y.dims(), [2, 0, 5]);
    let a: Vec<Tensor> =
        stack_shapes(2, &[1, 0, 3, 9, 8], &RESIDUAL).iter().map(|shape| v(shape)).collect();
    let y = run_stack(&RESIDUAL, &a, None, Backend::Auto).unwrap().y;
    assert_eq!(y.dims(), [2, 0, 8, 2, 2]);
    assert_eq!(global_max_pool(&y, Backend::Auto).unwrap().dims(), [2, 0, 8]);
    assert_eq!(Attention::default().forward(&v(&[2, 0, 3, 12])).unwrap().dims(), [2, 0, 3, 4]);
    let p = v(&[2, 4]);
    assert_eq!(LayerNorm::default().forward(&v(&[2, 0, 4]), &p, &p).unwrap().dims(), [2, 0, 4]);
    let a: Vec<Tensor> = transformer_shapes([2, 0, 5, 8], 6).iter().map(|s| v(s)).collect();
    let y = run_transformer(TransformerLayer::default(), &a).unwrap();
    assert_eq!(y.dims(), [2, 0, 5, 8]);
}

/// Protects running statistics against a batch without rows, which has none of its own.
#[test]
fn no_rows_move_no_statistics() {
    let p = v(&[1, 3]);
    for backend in [Backend::Auto, Backend::Reference] {
        let [mean, var] =
            [1, 2].map(|seed| Var::from_tensor(&values(seed, &[1, 3], DType::F32)).unwrap());
        let before = (flat(&mean), flat(&var));
        let layer = BatchNorm { backend, ..BatchNorm::default() };
        let out = layer.forward(&v(&[1, 0, 3]), &p, &p, BatchNormMode::Train).unwrap();
        out.statistics.update(&mean, &var, 0.1).unwrap();
        assert_eq!((flat(&mean), flat(&var)), before, "{backend:?}");
    }
}

/// Protects the gradient of the bias of a dense layer without inputs, whose result is the bias.
#[test]
fn without_inputs_the_bias_learns() {
    let b = Var::from_tensor(&v(&[1, 2])).unwrap();
    let y = Linear::default().forward(&v(&[1, 3, 0]), &v(&[1, 2, 0]), &b).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    assert_eq!(gradients.get(&b).unwrap().to_vec2::<f32>().unwrap(), [[3.0, 3.0]]);
}

/// Protects inputs without columns that another op computed: they get a gradient like any others, also beside data.
#[test]
fn inputs_without_columns_get_a_gradient() {
    let x = Var::zeros((1, 3, 0), DType::F32, &Device::Cpu).unwrap();
    let computed = (x.as_tensor() * 2.0).unwrap();
    let (layer, b) = (Linear::default(), v(&[1, 2]));
    let alone = layer.forward(&computed, &v(&[1, 2, 0]), &b);
    let joined = layer.forward_joined(&v(&[1, 3, 4]), &computed, &v(&[1, 2, 4]), &b);
    for y in [alone, joined] {
        let gradients = y.unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().dims(), [1, 3, 0]);
    }
}
