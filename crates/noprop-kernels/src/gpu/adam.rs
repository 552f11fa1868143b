//! One variable's optimizer step in one launch.

use candle_core::{Result, Tensor};

use super::launch::{Grid, Numbers, launch};

/// Changes `theta` and both moments in place; `factors` in the order of the kernel's source.
pub(crate) fn step(
    theta: &Tensor,
    m: &Tensor,
    v: &Tensor,
    gradient: &Tensor,
    factors: [f64; 7],
) -> Result<()> {
    let elements = theta.elem_count();
    let numbers = Numbers { sizes: &[elements], factors: &factors, ..Numbers::default() };
    let grid = Grid::Elements(elements);
    launch(theta.device(), "adam", &[theta, m, v, gradient], &numbers, grid)
}
