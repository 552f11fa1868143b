//! Changes of images that never leave a GPU.

use candle_core::{Device, Tensor};

use super::Change;
use crate::error::DataError;

/// The places that the pixels of changed images come from. Rotations are left out: they mix pixels.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// `[N, H]`, u32: the row that each row comes from; H for a black one.
    rows: Tensor,
    /// `[N, W]`, u32: the column that each column comes from; W for a black one.
    columns: Tensor,
    /// `[N, H]` and `[N, W]`, f32: 0 in the rows and columns of the hole, 1 in the others. `None` if no image has a hole.
    around_hole: Option<(Tensor, Tensor)>,
}

impl Sources {
    /// Places `changes` of images of `height` and `width` on `device`.
    pub fn new(
        changes: &[Change],
        (height, width): (usize, usize),
        device: &Device,
    ) -> Result<Self, DataError> {
        let n = changes.len();
        let index = |source: Option<usize>, black: usize| source.unwrap_or(black) as u32;
        let (mut rows, mut columns) = (Vec::new(), Vec::new());
        for change in changes {
            rows.extend((0..height).map(|y| index(change.source_row(y, height), height)));
            columns.extend((0..width).map(|x| index(change.source_column(x, width), width)));
        }
        let around_hole = match changes.iter().any(|change| change.hole.is_some()) {
            true => Some(around_holes(changes, (height, width), device)?),
            false => None,
        };
        let rows = Tensor::from_vec(rows, (n, height), device)?;
        let columns = Tensor::from_vec(columns, (n, width), device)?;
        Ok(Self { rows, columns, around_hole })
    }

    /// Applies the changes from number `first` on to `images`, `[n, C, H, W]`, u8 or f32.
    pub fn apply(&self, images: &Tensor, first: usize) -> Result<Tensor, DataError> {
        let (n, channels, height, width) = images.dims4()?;
        let by_row = |all: &Tensor| all.narrow(0, first, n)?.reshape((n, 1, height, 1));
        let by_column = |all: &Tensor| all.narrow(0, first, n)?.reshape((n, 1, 1, width));
        // The black row and the black column come last.
        let rows = by_row(&self.rows)?.broadcast_as((n, channels, height, width + 1))?;
        let columns = by_column(&self.columns)?.broadcast_as((n, channels, height, width))?;
        let framed = images.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?;
        let moved = framed.contiguous()?.gather(&rows.contiguous()?, 2)?;
        let moved = moved.gather(&columns.contiguous()?, 3)?;
        let Some((rows, columns)) = &self.around_hole else { return Ok(moved) };
        let seen = by_row(rows)?.broadcast_maximum(&by_column(columns)?)?;
        Ok(moved.broadcast_mul(&seen.to_dtype(images.dtype())?)?)
    }
}

fn around_holes(
    changes: &[Change],
    (height, width): (usize, usize),
    device: &Device,
) -> Result<(Tensor, Tensor), DataError> {
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    for change in changes {
        let hole = change.hole.map(|hole| hole.clipped(height, width));
        let (y, x) = hole.unwrap_or((0..0, 0..0));
        let around =
            |hole: &std::ops::Range<usize>, place: usize| f32::from(!hole.contains(&place));
        rows.extend((0..height).map(|place| around(&y, place)));
        columns.extend((0..width).map(|place| around(&x, place)));
    }
    let n = changes.len();
    let rows = Tensor::from_vec(rows, (n, height), device)?;
    Ok((rows, Tensor::from_vec(columns, (n, width), device)?))
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::{Border, Flipped, Hole, changed};
    use super::*;
    use crate::fixtures::values;

    /// On a GPU images are changed by other operations, which must give the same pixels.
    #[test]
    fn placed_changes_are_the_same_changes() {
        let shape = (30, 2, 4, 5);
        let images = Tensor::arange(0u32, 30 * 2 * 4 * 5, &Device::Cpu).unwrap();
        let images = images.reshape(shape).unwrap();
        for dtype in [DType::U8, DType::F32] {
            let images = images.to_dtype(dtype).unwrap();
            for border in [Border::Black, Border::Mirrored] {
                for side in [0, 3] {
                    let hole = |i| Hole { top: i % 7 - 2, left: i % 6 - 2, side };
                    let changes: Vec<Change> = (0..40)
                        .map(|i| Change {
                            flipped: if i % 3 == 0 { Flipped::Yes } else { Flipped::No },
                            down: i % 7 - 3,
                            right: i % 5 - 2,
                            border,
                            hole: (side > 0 && i % 4 > 0).then(|| hole(i)),
                            ..Change::default()
                        })
                        .collect();
                    let placed = Sources::new(&changes, (4, 5), &Device::Cpu).unwrap();
                    let found = placed.apply(&images, 10).unwrap();
                    let expected = changed(&images, &changes[10..]).unwrap();
                    assert_eq!(found.dtype(), dtype);
                    assert_eq!(values(&found), values(&expected));
                }
            }
        }
        let unmoved = Sources::new(&[Change::default()], (4, 5), &Device::Cpu).unwrap();
        let one = images.narrow(0, 3, 1).unwrap();
        let same = unmoved.apply(&one, 0).unwrap();
        assert_eq!(values(&same)[0], 120.0);
    }
}
