//! The dense layer of every block.

use candle_core::{DType, Result, Tensor};

use super::batch_norm::groups;
use super::launch::{Fresh, Grid, Numbers, launch, room};
use super::node::node;
use super::product::product;
use crate::backend::{Activation, Precision};

/// See [`crate::linear_act`]; the arguments have been checked.
pub(crate) fn apply(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    act: Activation,
    precision: Precision,
) -> Result<Tensor> {
    let device = x.device().clone();
    let (blocks, outputs, inputs) = w.dims3()?;
    let (x_blocks, rows, _) = x.dims3()?;
    let (kept_x, kept_w) = (x.detach().contiguous()?, w.detach().contiguous()?);
    let bias = b.detach().contiguous()?;
    let sum = product(&kept_x, &kept_w.transpose(1, 2)?, precision)?;
    let relu = act == Activation::Relu;
    let y = Fresh::new((blocks, rows, outputs), &device)?;
    let numbers =
        Numbers { sizes: &[blocks, rows, outputs, usize::from(relu)], ..Numbers::default() };
    let elements = Grid::Elements(blocks * rows * outputs);
    launch(&device, "bias_act", &[&sum, &bias, &y], &numbers, elements)?;
    let needs_x = x.track_op();
    let backward = Box::new(move |y: &Tensor, dy: &Tensor| {
        let mut ds = dy.contiguous()?;
        if relu {
            let masked = room(ds.shape(), DType::F32, &device)?;
            let numbers = Numbers { sizes: &[ds.elem_count()], ..Numbers::default() };
            launch(&device, "relu_back", &[&ds, &y.detach(), &masked], &numbers, elements)?;
            ds = masked;
        }
        let db = room((blocks, outputs), DType::F32, &device)?;
        let numbers = Numbers { sizes: &[blocks, rows, outputs], ..Numbers::default() };
        launch(&device, "sum_columns", &[&ds, &db], &numbers, groups(blocks, outputs))?;
        let dw = product(&ds.transpose(1, 2)?, &kept_x, precision)?;
        let dx = match (needs_x, x_blocks == blocks) {
            (false, _) => None,
            (true, true) => Some(product(&ds, &kept_w, precision)?),
            // One input for all blocks: its gradient is the sum over all, which one product over outputs of all takes.
            (true, false) => {
                let ds = ds.transpose(0, 1)?.reshape((1, rows, blocks * outputs))?;
                let w = kept_w.reshape((1, blocks * outputs, inputs))?;
                Some(product(&ds, &w, precision)?)
            }
        };
        Ok([dx, Some(dw), Some(db)])
    });
    node("linear", &[x, w, b], y, backward)
}
