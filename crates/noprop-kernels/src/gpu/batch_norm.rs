//! Batch norm of every block, and the running statistics that follow it.

use candle_core::{DType, Result, Tensor};

use super::launch::{Fresh, Grid, Numbers, launch, room};
use super::node::node;
use crate::backend::Activation;
use crate::batch_norm::BatchNormOutput;

/// Features of a group, as in the kernels.
const COLUMNS: usize = 32;

/// Groups for `[T, N, F]`, 32 features of a block each.
pub(super) fn groups(blocks: usize, features: usize) -> Grid {
    Grid::Groups(blocks * features.div_ceil(COLUMNS))
}

/// See [`crate::batch_norm()`], in training.
pub(crate) fn train(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    act: Activation,
) -> Result<BatchNormOutput> {
    let device = x.device().clone();
    let (blocks, rows, features) = x.dims3()?;
    let sizes = [blocks, rows, features, usize::from(act == Activation::Relu)];
    let values = [&x, &gamma, &beta].map(|tensor| tensor.detach().contiguous());
    let [kept_x, kept_gamma, kept_beta] = values;
    let (kept_x, kept_gamma, kept_beta) = (kept_x?, kept_gamma?, kept_beta?);
    let y = Fresh::new((blocks, rows, features), &device)?;
    let mean = room((blocks, features), DType::F32, &device)?;
    let var = room((blocks, features), DType::F32, &device)?;
    let numbers = Numbers { sizes: &sizes, factors: &[eps], ..Numbers::default() };
    let operands: [&dyn super::launch::Operand; 6] =
        [&kept_x, &kept_gamma, &kept_beta, &y, &mean, &var];
    launch(&device, "batch_norm", &operands, &numbers, groups(blocks, features))?;
    let statistics = (mean.clone(), var.clone());
    let backward = Box::new(move |y: &Tensor, dy: &Tensor| {
        let (dy, y) = (dy.contiguous()?, y.detach());
        let dx = room((blocks, rows, features), DType::F32, &device)?;
        let parameters = room((2, blocks, features), DType::F32, &device)?;
        let (mean, var) = &statistics;
        let operands: [&dyn super::launch::Operand; 8] =
            [&dy, &kept_x, &y, &kept_gamma, mean, var, &dx, &parameters];
        let numbers = Numbers { sizes: &sizes, factors: &[eps], ..Numbers::default() };
        launch(&device, "batch_norm_back", &operands, &numbers, groups(blocks, features))?;
        Ok([Some(dx), Some(parameters.get(0)?), Some(parameters.get(1)?)])
    });
    Ok(BatchNormOutput { y: node("batch_norm", &[x, gamma, beta], y, backward)?, mean, var })
}

/// Moves the running `mean` and `var` towards the batch's, in place.
pub(crate) fn follow(
    (mean, var): (&Tensor, &Tensor),
    (batch_mean, batch_var): (&Tensor, &Tensor),
    momentum: f64,
    unbiased: f64,
) -> Result<()> {
    let elements = mean.elem_count();
    let numbers =
        Numbers { sizes: &[elements], factors: &[momentum, unbiased], ..Numbers::default() };
    let operands: [&dyn super::launch::Operand; 4] = [mean, var, batch_mean, batch_var];
    launch(mean.device(), "follow", &operands, &numbers, Grid::Elements(elements))
}
