//! The faults of candle that this crate works around. When one of these tests fails, candle has been mended, and the
//! workaround can be removed.

use candle_core::{DType, Device, Tensor, Var};

use crate::support::{distance, values};

/// The gradient of a maximum must sum to that of the result. candle's `max_pool2d` loses three quarters of it, and more if the
/// size is not a multiple of the window.
#[test]
fn max_pool2d_still_loses_gradient() {
    for size in [8, 9] {
        let x = Var::from_tensor(&values(1, &[1, 1, size, size], DType::F64)).unwrap();
        let y = x.max_pool2d(2).unwrap();
        let windows = y.elem_count() as f64;
        let gradients = y.sum_all().unwrap().backward().unwrap();
        let sum = gradients.get(&x).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        assert!(
            sum < 0.3 * windows,
            "size {size}: the gradient sums to {sum} of {windows}; candle's pooling gradient has been mended"
        );
    }
}

/// `relu'(0)` is 1 in candle; 0 here and in PyTorch.
#[test]
fn relu_still_has_slope_one_at_zero() {
    let x = Var::zeros(1, DType::F64, &Device::Cpu).unwrap();
    let gradients = x.relu().unwrap().sum_all().unwrap().backward().unwrap();
    let slope = gradients.get(&x).unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(slope, [1.0], "candle's ReLU has been mended");
}

/// The CPU generator cannot be seeded, which is why this crate has its own.
#[test]
fn cpu_generator_still_cannot_be_seeded() {
    assert!(Device::Cpu.set_seed(1).is_err());
    assert!(Tensor::rand(0_f32, 1.0, 3, &Device::Cpu).is_ok());
}

/// With one right factor for all blocks, candle's CPU product stacks the left ones as if they lay row by row, even transposed
/// ones.
#[test]
fn product_with_a_shared_factor_still_misreads_transposed_blocks() {
    let a = values(1, &[3, 5, 4], DType::F32).transpose(1, 2).unwrap();
    let b = values(2, &[1, 5, 6], DType::F32).broadcast_as((3, 5, 6)).unwrap();
    let wrong = a.matmul(&b).unwrap();
    let right = a.contiguous().unwrap().matmul(&b.contiguous().unwrap()).unwrap();
    assert!(
        distance(&wrong, &right) > 0.1,
        "candle's product has been mended: product.rs need not copy any more"
    );
}
