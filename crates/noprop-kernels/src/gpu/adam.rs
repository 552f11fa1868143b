//! One variable's optimizer step in one launch.

use candle_core::{Result, Tensor};

use super::arguments::{Adam, Read, Write};
use super::launch::{Grid, launch};
use crate::optim::coefficients::Coefficients;

/// Changes `theta` and both moments in place.
pub(crate) fn step(
    theta: &Tensor,
    m: &Tensor,
    v: &Tensor,
    gradient: &Tensor,
    c: &Coefficients,
) -> Result<()> {
    let elements = theta.elem_count();
    let arguments = Adam {
        theta: Write::of(theta)?,
        m: Write::of(m)?,
        v: Write::of(v)?,
        gradient: Read::of(gradient)?,
        elements: elements.into(),
        beta1: c.beta1.into(),
        beta2: c.beta2.into(),
        eps: c.eps.into(),
        rate: c.rate.into(),
        root_scale: c.root_scale.into(),
        shrink: c.shrink.into(),
        penalty: c.penalty.into(),
    };
    launch(theta.device(), arguments, Grid::Elements(elements))
}
