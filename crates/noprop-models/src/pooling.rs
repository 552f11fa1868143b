//! Max pooling with the gradient that it should have.

use candle_core::{D, Result, Tensor};

/// The greatest value of every `size`×`size` window of `x` [N, C, H, W]: [N, C, ⌊H/size⌋, ⌊W/size⌋]. Windows do not overlap; rows
/// and columns that fill no window are left out.
///
/// Use it where a network would call candle's `max_pool2d`, whose gradient is wrong (0.11): the one greatest value of a window gets
/// 1/size² of the slope, equal values get more, and in images of an odd size some get none. Here one greatest value of each window
/// gets the whole slope, as in PyTorch.
///
/// # Errors
/// candle's, for a tensor without four dimensions, or for a `size` of 0 or greater than H or W.
pub fn max_pool2d(x: &Tensor, size: usize) -> Result<Tensor> {
    let (n, c, height, width) = x.dims4()?;
    if size == 0 || size > height.min(width) {
        candle_core::bail!("max_pool2d with windows of {size} in images of {height}×{width}")
    }
    let (rows, columns) = (height / size, width / size);
    let windows = x
        .narrow(2, 0, rows * size)?
        .narrow(3, 0, columns * size)?
        .reshape((n * c, rows, size, columns, size))?
        .transpose(2, 3)?
        .reshape((n * c, rows, columns, size * size))?;
    let greatest = windows.detach().argmax_keepdim(D::Minus1)?;
    windows.gather(&greatest, D::Minus1)?.reshape((n, c, rows, columns))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use noprop_kernels::random::{StreamKey, normal};

    use super::*;

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The gradient of a weighted sum of the pooled values.
    fn gradient(x: &Tensor, size: usize) -> (Vec<f32>, Vec<f32>) {
        let x = Var::from_tensor(x).unwrap();
        let pooled = max_pool2d(&x, size).unwrap();
        let weights = Tensor::arange(1f32, 1.0 + pooled.elem_count() as f32, &Device::Cpu).unwrap();
        let weights = weights.reshape(pooled.shape()).unwrap();
        let sum = (pooled * weights).unwrap().sum_all().unwrap();
        let slopes = sum.backward().unwrap();
        (values(slopes.get(&x).unwrap()), values(&x.as_detached_tensor()))
    }

    /// Forwards the values are candle's, whose pooling is right in that direction.
    #[test]
    fn the_greatest_value_of_every_window_is_taken() {
        for (height, width, size) in [(4, 4, 2), (7, 5, 2), (9, 10, 3), (6, 6, 1)] {
            let key = StreamKey::derive(1, &[height as u64]);
            let x = normal(key, (2, 3, height, width), &Device::Cpu).unwrap();
            let pooled = max_pool2d(&x, size).unwrap();
            assert_eq!(values(&pooled), values(&x.max_pool2d(size).unwrap()), "{height}×{width}");
            assert_eq!(pooled.dims(), [2, 3, height / size, width / size]);
        }
        let x = normal(StreamKey::derive(1, &[0]), (1, 1, 3, 5), &Device::Cpu).unwrap();
        assert!(max_pool2d(&x, 0).is_err() && max_pool2d(&x, 4).is_err());
    }

    /// Every window hands its whole slope to one of its greatest values, for even and odd sizes and where values are equal. With
    /// candle's own pooling this test fails.
    #[test]
    fn the_whole_slope_goes_to_one_greatest_value() {
        for (height, width) in [(4, 4), (5, 5), (7, 9)] {
            let drawn = normal(StreamKey::derive(2, &[]), (1, 2, height, width), &Device::Cpu);
            // Rounding makes many of them equal, as ReLU does.
            for x in [drawn.as_ref().unwrap().clone(), drawn.as_ref().unwrap().round().unwrap()] {
                let (slopes, values) = gradient(&x, 2);
                let (rows, columns) = (height / 2, width / 2);
                let mut weight = 0.0;
                for (channel, row, column) in (0..2).flat_map(|channel| {
                    (0..rows).flat_map(move |row| (0..columns).map(move |c| (channel, row, c)))
                }) {
                    weight += 1.0;
                    let at = |i: usize, j: usize| {
                        channel * height * width + (2 * row + i) * width + 2 * column + j
                    };
                    let window = [at(0, 0), at(0, 1), at(1, 0), at(1, 1)];
                    let most = window.map(|i| values[i]).into_iter().fold(f32::MIN, f32::max);
                    let given = window.map(|i| slopes[i]);
                    assert_eq!(given.iter().sum::<f32>(), weight, "{height}×{width}: {given:?}");
                    let taken = given.iter().position(|slope| *slope == weight).unwrap();
                    assert_eq!(values[window[taken]], most);
                }
                let total: f32 = slopes.iter().sum();
                assert_eq!(total, weight * (weight + 1.0) / 2.0, "nothing outside the windows");
            }
        }
    }
}
