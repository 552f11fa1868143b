//! Batch norm of every block, and the running statistics that follow it.

use candle_core::{DType, Result, Tensor};

use super::arguments::{BatchNorm, BatchNormBack, Follow, Norm, Read, Write};
use super::launch::{Grid, launch};
use super::operand::{Fresh, room};
use crate::activation::Activation;
use crate::node::node;

/// The features of a group, as in the kernels.
const COLUMNS: usize = 32;

/// The groups for `[T, N, F]`: one for 32 features of a block.
pub(super) fn groups(blocks: usize, features: usize) -> Grid {
    Grid::Groups(blocks * features.div_ceil(COLUMNS))
}

/// See [`crate::BatchNorm::forward`], in training: the result, the mean and the variance.
pub(crate) fn train(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    act: Activation,
) -> Result<[Tensor; 3]> {
    let device = x.device().clone();
    let (blocks, rows, features) = x.dims3()?;
    let norm = move || Norm {
        rows: rows.into(),
        features: features.into(),
        relu: (act == Activation::Relu).into(),
        eps: eps.into(),
    };
    let values = [&x, &gamma, &beta].map(|tensor| tensor.detach().contiguous());
    let [kept_x, kept_gamma, kept_beta] = values;
    let (kept_x, kept_gamma, kept_beta) = (kept_x?, kept_gamma?, kept_beta?);
    let y = Fresh::new((blocks, rows, features), &device)?;
    let mean = room((blocks, features), DType::F32, &device)?;
    let var = room((blocks, features), DType::F32, &device)?;
    let arguments = BatchNorm {
        x: Read::of(&kept_x)?,
        gamma: Read::of(&kept_gamma)?,
        beta: Read::of(&kept_beta)?,
        y: Write::of(&y)?,
        mean: Write::of(&mean)?,
        var: Write::of(&var)?,
        norm: norm(),
    };
    launch(&device, arguments, groups(blocks, features))?;
    let statistics = (mean.clone(), var.clone());
    let backward = move |y: &Tensor, dy: &Tensor| {
        let (dy, y) = (dy.contiguous()?, y.detach());
        let dx = room((blocks, rows, features), DType::F32, &device)?;
        let dgamma = room((blocks, features), DType::F32, &device)?;
        let dbeta = room((blocks, features), DType::F32, &device)?;
        let (mean, var) = &statistics;
        let arguments = BatchNormBack {
            dy: Read::of(&dy)?,
            x: Read::of(&kept_x)?,
            y: Read::of(&y)?,
            gamma: Read::of(&kept_gamma)?,
            mean: Read::of(mean)?,
            var: Read::of(var)?,
            dx: Write::of(&dx)?,
            dgamma: Write::of(&dgamma)?,
            dbeta: Write::of(&dbeta)?,
            norm: norm(),
        };
        launch(&device, arguments, groups(blocks, features))?;
        Ok([Some(dx), Some(dgamma), Some(dbeta)])
    };
    Ok([node("batch_norm", &[x, gamma, beta], y.into_parts(), backward)?, mean, var])
}

/// Moves the running mean and variance towards the batch's, in place.
pub(crate) fn follow(
    [mean, var]: [&Tensor; 2],
    [batch_mean, batch_var]: [&Tensor; 2],
    momentum: f64,
    unbiased: f64,
) -> Result<()> {
    let elements = mean.elem_count();
    let arguments = Follow {
        mean: Write::of(mean)?,
        var: Write::of(var)?,
        batch_mean: Read::of(batch_mean)?,
        batch_var: Read::of(batch_var)?,
        elements: elements.into(),
        momentum: momentum.into(),
        unbiased: unbiased.into(),
    };
    launch(mean.device(), arguments, Grid::Elements(elements))
}
