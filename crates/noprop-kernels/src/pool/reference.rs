//! The maximum of windows in plain candle ops. The gradient of `Tensor::max_pool2d` is wrong, so the values of a window are
//! compared one by one.

use candle_core::{Result, Tensor};

/// The maximum of each `rows` by `columns` window of planes `[P, H, W]`, windows side by side; among equals the first in reading
/// order. Rows and columns that are left over are ignored.
pub(crate) fn max_pool(x: &Tensor, (rows, columns): (usize, usize)) -> Result<Tensor> {
    let (planes, height, width) = x.dims3()?;
    let (out_height, out_width) = (height / rows, width / columns);
    let used = x.narrow(1, 0, out_height * rows)?.narrow(2, 0, out_width * columns)?;
    let windows = used.reshape((planes, out_height, rows, out_width, columns))?;
    let corner = |row, column| {
        let corner = windows.narrow(2, row, 1)?.narrow(4, column, 1)?.contiguous()?;
        corner.reshape((planes, out_height, out_width))
    };
    let mut best = corner(0, 0)?;
    for index in 1..rows * columns {
        let next = corner(index / columns, index % columns)?;
        // Only a not-a-number is unequal to itself, and it must not get lost.
        let larger = (next.gt(&best)? + next.ne(&next)?)?;
        best = larger.where_cond(&next, &best)?;
    }
    Ok(best)
}
