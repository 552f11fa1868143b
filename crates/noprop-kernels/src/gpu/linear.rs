//! The dense layer of every block.

use candle_core::{DType, Result, Tensor};

use super::arguments::{BiasAct, Read, ReluBack, SumColumns, Write};
use super::batch_norm::groups;
use super::launch::{Grid, launch};
use super::operand::{Fresh, room};
use super::product::product;
use crate::activation::Activation;
use crate::backend::Precision;
use crate::node::node;

/// See [`crate::Linear::forward`]; the arguments have been checked.
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
    let arguments = BiasAct {
        sum: Read::of(&sum)?,
        bias: Read::of(&bias)?,
        y: Write::of(&y)?,
        blocks: blocks.into(),
        rows: rows.into(),
        outputs: outputs.into(),
        relu: relu.into(),
    };
    let elements = blocks * rows * outputs;
    launch(&device, arguments, Grid::Elements(elements))?;
    let needs_x = x.track_op();
    let backward = move |y: &Tensor, dy: &Tensor| {
        let mut ds = dy.contiguous()?;
        if relu {
            let masked = room(ds.shape(), DType::F32, &device)?;
            let y = y.detach();
            let arguments = ReluBack {
                dy: Read::of(&ds)?,
                y: Read::of(&y)?,
                dsum: Write::of(&masked)?,
                elements: elements.into(),
            };
            launch(&device, arguments, Grid::Elements(elements))?;
            ds = masked;
        }
        let db = room((blocks, outputs), DType::F32, &device)?;
        let arguments = SumColumns {
            x: Read::of(&ds)?,
            sums: Write::of(&db)?,
            rows: rows.into(),
            features: outputs.into(),
        };
        launch(&device, arguments, groups(blocks, outputs))?;
        let dw = product(&ds.transpose(1, 2)?, &kept_x, precision)?;
        let dx = match (needs_x, x_blocks == blocks) {
            (false, _) => None,
            (true, true) => Some(product(&ds, &kept_w, precision)?),
            // One input for all blocks: its gradient is the sum over the blocks, which is one product over all their outputs.
            (true, false) => {
                let ds = ds.transpose(0, 1)?.reshape((1, rows, blocks * outputs))?;
                let w = kept_w.reshape((1, blocks * outputs, inputs))?;
                Some(product(&ds, &w, precision)?)
            }
        };
        Ok([dx, Some(dw), Some(db)])
    };
    node("linear", &[x, w, b], y.into_parts(), backward)
}
