//! Wrong arguments: a typed error that names the argument, never a panic.

use candle_core::{DType, Device, Tensor};
use noprop_kernels::{
    Activation, Backend, BatchNormMode, Conv3x3, Dropout, KernelError, Pool, Precision, Targets,
    batch_norm, conv3x3_stack, cross_entropy, denoise_loss, linear,
};

use crate::support::{labels, values};

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
    // The second layer has nothing left to look at: 8 → 3 → none.
    let second = (v(&[2, 5, 5, 3, 3]), b.clone());
    assert_eq!(blamed(conv3x3_stack(&[layer.clone(), layer], &x, &[(w, b), second])), "x");
}

#[test]
fn dense_and_norm_name_the_misfit() {
    let (x, w, b) = (v(&[1, 3, 4]), v(&[2, 5, 4]), v(&[2, 5]));
    assert!(linear(&x, &w, &b, Precision::F32, Backend::Auto).is_ok());
    assert_eq!(blamed(linear(&v(&[3, 3, 4]), &w, &b, Precision::F32, Backend::Auto)), "x");
    assert_eq!(blamed(linear(&x, &w, &v(&[2]), Precision::F32, Backend::Auto)), "b");
    let double = [&x, &w, &b].map(|t| t.to_dtype(DType::F64).unwrap());
    for backend in [Backend::Auto, Backend::Reference] {
        let rounded = linear(&double[0], &double[1], &double[2], Precision::Bf16, backend);
        assert!(matches!(rounded, Err(KernelError::DType { got: DType::F64, .. })), "{rounded:?}");
    }
    let mode = BatchNormMode::Train;
    let result =
        batch_norm(&v(&[2, 3, 5]), &b, &v(&[1, 5]), 1e-5, mode, Activation::None, Backend::Auto);
    assert_eq!(blamed(result), "beta");
    let mean = v(&[5]);
    let mode = BatchNormMode::Eval { mean: &mean, var: &b };
    let result = batch_norm(&v(&[2, 3, 5]), &b, &b, 1e-5, mode, Activation::None, Backend::Auto);
    assert_eq!(blamed(result), "mean");
}

/// A label out of range would read past the embeddings.
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

/// Fused kernels exist for f32 and f64; anything else must be asked of the reference.
#[test]
fn fused_by_name_where_there_is_none() {
    let half = |shape: &[usize]| v(shape).to_dtype(DType::BF16).unwrap();
    let (x, w, b) = (half(&[1, 3, 4]), half(&[1, 5, 4]), half(&[1, 5]));
    assert!(matches!(
        linear(&x, &w, &b, Precision::F32, Backend::Fused),
        Err(KernelError::FusedUnavailable { op: "linear" })
    ));
}

/// An empty batch is a batch.
#[test]
fn no_images_no_results() {
    let layer = Conv3x3 { pool: Pool::Max2, ..Conv3x3::default() };
    let y = layer.forward(&v(&[1, 0, 4, 8, 8]), &v(&[2, 5, 4, 3, 3]), &v(&[2, 5])).unwrap();
    assert_eq!(y.dims(), [2, 0, 5, 3, 3]);
    let y =
        linear(&v(&[1, 0, 4]), &v(&[2, 5, 4]), &v(&[2, 5]), Precision::F32, Backend::Auto).unwrap();
    assert_eq!(y.dims(), [2, 0, 5]);
}
