//! The losses of every block. The host does not read the labels: one that is not a class makes the loss not a number.

use candle_core::{DType, Result, Tensor};

use super::arguments::{Read, ReadU32, ScaleBlocks, SoftmaxBack, SoftmaxError, SumOfBlock, Write};
use super::launch::{Grid, launch};
use super::operand::{Fresh, room};
use super::product::product;
use crate::backend::Precision;
use crate::loss::targets::Targets;
use crate::node::node;

/// softmax p, p − onehot(y), and −log p_y of every row.
struct Softmax {
    p: Tensor,
    error: Tensor,
    surprise: Tensor,
}

impl Softmax {
    fn new(logits: &Tensor, labels: &Tensor) -> Result<Self> {
        let (blocks, rows, classes) = logits.dims3()?;
        let device = logits.device();
        let full = || room((blocks, rows, classes), DType::F32, device);
        let (p, error) = (full()?, full()?);
        let surprise = room((blocks, rows), DType::F32, device)?;
        let logits = logits.detach().contiguous()?;
        let labels = labels.contiguous()?;
        let arguments = SoftmaxError {
            logits: Read::of(&logits)?,
            labels: ReadU32::of(&labels)?,
            p: Write::of(&p)?,
            error: Write::of(&error)?,
            surprise: Write::of(&surprise)?,
            blocks: blocks.into(),
            rows: rows.into(),
            classes: classes.into(),
        };
        launch(device, arguments, Grid::Elements(blocks * rows))?;
        Ok(Self { p, error, surprise })
    }
}

/// The sum of each block's elements of `x`, squared or not, times `factor`.
fn sum_of_block(x: &Tensor, squared: Squared, factor: f64) -> Result<Fresh> {
    let blocks = x.dim(0)?;
    let sums = Fresh::new(blocks, x.device())?;
    let arguments = SumOfBlock {
        x: Read::of(x)?,
        sums: Write::of(&sums)?,
        elements: (x.elem_count() / blocks.max(1)).into(),
        squared: (squared == Squared::Yes).into(),
        factor: factor.into(),
    };
    launch(x.device(), arguments, Grid::Groups(blocks))?;
    Ok(sums)
}

#[derive(Clone, Copy, PartialEq)]
enum Squared {
    Yes,
    No,
}

/// `x` times each block's factor and `factor`.
fn scale_blocks(x: &Tensor, factors: &Tensor, factor: f64) -> Result<Tensor> {
    let out = room(x.shape(), DType::F32, x.device())?;
    let blocks = x.dim(0)?;
    let factors = factors.contiguous()?;
    let arguments = ScaleBlocks {
        x: Read::of(x)?,
        factors: Read::of(&factors)?,
        out: Write::of(&out)?,
        blocks: blocks.into(),
        elements: (x.elem_count() / blocks.max(1)).into(),
        factor: factor.into(),
    };
    launch(x.device(), arguments, Grid::Elements(x.elem_count()))?;
    Ok(out)
}

/// `x` times `weights`, one for each row; `x` itself without weights.
fn scale_rows(x: Tensor, weights: Option<&Tensor>) -> Result<Tensor> {
    match weights {
        None => Ok(x),
        Some(weights) => x.broadcast_mul(weights),
    }
}

/// `weights` `[N]` as `[N, 1]`, for several numbers in a row.
fn column(weights: Option<&Tensor>) -> Result<Option<Tensor>> {
    weights.map(|weights| weights.unsqueeze(1)).transpose()
}

/// See [`crate::denoise_loss`]. û − u_y = (p − onehot(y)) E, so one product leads from softmax to the error. A row is
/// multiplied by the root of its weight before it is squared.
pub(crate) fn denoise_loss(
    logits: &Tensor,
    embeddings: &Tensor,
    targets: Targets<'_>,
) -> Result<Tensor> {
    let (blocks, rows, classes) = logits.dims3()?;
    let dimension = embeddings.dim(1)?;
    let softmax = Softmax::new(logits, targets.labels)?;
    let roots = column(targets.weights)?.map(|weights| weights.sqrt()).transpose()?;
    let kept = embeddings.detach().contiguous()?.unsqueeze(0)?;
    let error = softmax.error;
    let distance = scale_rows(product(&error, &kept, Precision::F32)?, roots.as_ref())?;
    let loss = sum_of_block(&distance, Squared::Yes, 1.0 / rows as f64)?;
    let needs_embeddings = embeddings.track_op();
    let p = softmax.p;
    let backward = move |_: &Tensor, gradient: &Tensor| {
        let g = scale_blocks(&distance, gradient, 2.0 / rows as f64)?;
        let g = scale_rows(g, roots.as_ref())?;
        let dp = product(&g, &kept.transpose(1, 2)?, Precision::F32)?;
        let out = room(p.shape(), DType::F32, p.device())?;
        let arguments = SoftmaxBack {
            p: Read::of(&p)?,
            dp: Read::of(&dp)?,
            out: Write::of(&out)?,
            rows: (blocks * rows).into(),
            classes: classes.into(),
        };
        launch(p.device(), arguments, Grid::Elements(blocks * rows))?;
        let at_embeddings = match needs_embeddings {
            false => None,
            true => {
                let error = error.reshape((1, blocks * rows, classes))?;
                let g = g.reshape((1, blocks * rows, dimension))?;
                Some(product(&error.transpose(1, 2)?, &g, Precision::F32)?.squeeze(0)?)
            }
        };
        Ok([Some(out), at_embeddings, None])
    };
    node("denoise_loss", &[logits, embeddings], loss.into_parts(), backward)
}

/// See [`crate::cross_entropy`].
pub(crate) fn cross_entropy(logits: &Tensor, targets: Targets<'_>) -> Result<Tensor> {
    let rows = logits.dim(1)?;
    let softmax = Softmax::new(logits, targets.labels)?;
    let surprise = scale_rows(softmax.surprise, targets.weights)?;
    let loss = sum_of_block(&surprise, Squared::No, 1.0 / rows as f64)?;
    let error = scale_rows(softmax.error, column(targets.weights)?.as_ref())?;
    let backward = move |_: &Tensor, gradient: &Tensor| {
        Ok([Some(scale_blocks(&error, gradient, 1.0 / rows as f64)?), None, None])
    };
    node("cross_entropy", &[logits], loss.into_parts(), backward)
}
