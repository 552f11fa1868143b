//! The draws of [`crate::random`], made where they are used.

use candle_core::{DType, Device, Result, Shape, Tensor};

use super::launch::{Grid, Numbers, STREAMS, launch, room};
use crate::random::StreamKey;

/// A draw of each element of `shape` for every stream: `[T, shape]`.
fn draws(
    kernel: &'static str,
    keys: &[StreamKey],
    shape: &Shape,
    device: &Device,
) -> Result<Tensor> {
    let count = shape.elem_count();
    let drawn = keys
        .chunks(STREAMS)
        .map(|keys| {
            let dims: Vec<usize> = [keys.len()].iter().chain(shape.dims()).copied().collect();
            let out = room(dims, DType::F32, device)?;
            let numbers = Numbers { sizes: &[keys.len(), count], keys, ..Numbers::default() };
            let grid = Grid::Elements(keys.len() * count.div_ceil(4));
            launch(device, kernel, &[&out], &numbers, grid)?;
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
    draws("normal", keys, shape, device)
}

/// Uniform draws, see [`crate::random::uniform`]; `[T, shape]`.
pub(crate) fn uniform(keys: &[StreamKey], shape: &Shape, device: &Device) -> Result<Tensor> {
    draws("uniform", keys, shape, device)
}

/// A grid shifted by one draw, see [`crate::random::spread`]; `[count]`.
pub(crate) fn spread(key: StreamKey, count: usize, device: &Device) -> Result<Tensor> {
    let out = room(count, DType::F32, device)?;
    let numbers = Numbers { sizes: &[count], keys: &[key], ..Numbers::default() };
    launch(device, "spread", &[&out], &numbers, Grid::Elements(count))?;
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
    let numbers = Numbers { sizes: &[rows.len(), width], keys: &[key], ..Numbers::default() };
    let grid = Grid::Elements(rows.len() * width.div_ceil(4));
    launch(device, "normal_rows", &[&out, &names], &numbers, grid)?;
    Ok(out)
}
