//! The draws of [`crate::random`], made on the device that uses them.

use candle_core::{DType, Device, Result, Shape, Tensor};

use super::arguments::{Draws, Keys, Normal, NormalRows, ReadU32, STREAMS, Spread, Uniform, Write};
use super::launch::{Grid, launch};
use super::operand::room;
use crate::random::key::StreamKey;

/// A draw of each element of `shape` for every stream, `[T, shape]`, by the kernel that `launch` runs.
fn draws(
    keys: &[StreamKey],
    shape: &Shape,
    device: &Device,
    launch: impl Fn(Draws<'_>, Grid) -> Result<()>,
) -> Result<Tensor> {
    let count = shape.elem_count();
    let drawn = keys
        .chunks(STREAMS)
        .map(|keys| {
            let dims: Vec<usize> = [keys.len()].iter().chain(shape.dims()).copied().collect();
            let out = room(dims, DType::F32, device)?;
            let draws = Draws {
                out: Write::of(&out)?,
                blocks: keys.len().into(),
                count: count.into(),
                keys: Keys::of(keys)?,
            };
            launch(draws, Grid::Elements(keys.len() * count.div_ceil(4)))?;
            Ok(out)
        })
        .collect::<Result<Vec<_>>>()?;
    match drawn.as_slice() {
        [all] => Ok(all.clone()),
        parts => Tensor::cat(parts, 0),
    }
}

/// Standard normal draws, see [`crate::random::normal`]; `[T, shape]`.
pub(crate) fn normal(keys: &[StreamKey], shape: &Shape, device: &Device) -> Result<Tensor> {
    draws(keys, shape, device, |draws, grid| launch(device, Normal { draws }, grid))
}

/// Uniform draws, see [`crate::random::uniform`]; `[T, shape]`.
pub(crate) fn uniform(keys: &[StreamKey], shape: &Shape, device: &Device) -> Result<Tensor> {
    draws(keys, shape, device, |draws, grid| launch(device, Uniform { draws }, grid))
}

/// A grid shifted by one draw, see [`crate::random::spread`]; `[count]`.
pub(crate) fn spread(key: StreamKey, count: usize, device: &Device) -> Result<Tensor> {
    let out = room(count, DType::F32, device)?;
    let arguments = Spread { out: Write::of(&out)?, count: count.into(), key: key.into() };
    launch(device, arguments, Grid::Elements(count))?;
    Ok(out)
}

/// Standard normal draws by row, see [`crate::random::normal_rows`]; `[rows, width]`.
pub(crate) fn normal_rows(
    key: StreamKey,
    rows: &[u32],
    width: usize,
    device: &Device,
) -> Result<Tensor> {
    let out = room((rows.len(), width), DType::F32, device)?;
    let names = Tensor::new(rows, device)?;
    let arguments = NormalRows {
        out: Write::of(&out)?,
        names: ReadU32::of(&names)?,
        rows: rows.len().into(),
        width: width.into(),
        key: key.into(),
    };
    launch(device, arguments, Grid::Elements(rows.len() * width.div_ceil(4)))?;
    Ok(out)
}
