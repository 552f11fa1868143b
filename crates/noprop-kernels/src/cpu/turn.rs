//! Transposing a few rows into a panel of columns: the layout of the matrix product's right factor.

use pulp::Arch;
#[cfg(target_arch = "x86_64")]
use pulp::bytemuck::{cast_slice, cast_slice_mut};

#[cfg(target_arch = "x86_64")]
use super::instruction_set::vectorised;

/// Rows and columns that AVX-512 turns at a time.
#[cfg(target_arch = "x86_64")]
const TILE: usize = 16;

/// Element types with a fast way to turn a tile on some machines.
pub(crate) trait Turned: Copy + Default {
    /// Turns `rows` tile by tile if the machine has instructions for it, and returns whether it has.
    fn turn_tiles(
        arch: Arch,
        rows: &[Self],
        length: usize,
        width: usize,
        turned: &mut [Self],
    ) -> bool {
        let _ = (arch, rows, length, width, turned);
        false
    }
}

impl Turned for f64 {}

macro_rules! turned {
    ($($element:ty),*) => {
        $(
            impl Turned for $element {
                #[cfg(target_arch = "x86_64")]
                fn turn_tiles(
                    arch: Arch,
                    rows: &[Self],
                    length: usize,
                    width: usize,
                    turned: &mut [Self],
                ) -> bool {
                    let Arch::V4(v4) = arch else { return false };
                    let count = rows.len() / length;
                    let (rows, turned) = (cast_slice(rows), cast_slice_mut(turned));
                    vectorised(
                        arch,
                        #[inline(always)]
                        || {
                            for column in (0..length).step_by(TILE) {
                                for row in (0..count).step_by(TILE) {
                                    let size = (TILE.min(count - row), TILE.min(length - column));
                                    let from = &rows[row * length + column..];
                                    let to = &mut turned[column * width + row..];
                                    x86::tile(v4, size, from, length, to, width);
                                }
                            }
                        },
                    );
                    true
                }
            }
        )*
    };
}

turned!(f32, u32);

/// Rows of `length` to `[length][width]`, zeros in the surplus columns: `turned[c][r] = rows[r][c]`. There are at most
/// `width` rows.
pub(crate) fn turn<F: Turned>(
    arch: Arch,
    rows: &[F],
    length: usize,
    width: usize,
    turned: &mut [F],
) {
    let count = rows.len() / length;
    if !F::turn_tiles(arch, rows, length, width, turned) {
        for (row, values) in rows.chunks_exact(length).enumerate() {
            for (spot, value) in turned.chunks_exact_mut(width).zip(values) {
                spot[row] = *value;
            }
        }
    }
    if count < width {
        for spot in turned.chunks_exact_mut(width).take(length) {
            spot[count..].fill(F::default());
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use pulp::x86::V4;
    use pulp::{Simd, cast};

    use super::TILE;

    /// Turns up to 16 rows of up to 16 elements of 32 bits that are `stride` apart into rows that are `to_stride` apart.
    #[inline(always)]
    pub(super) fn tile(
        v4: V4,
        (count, length): (usize, usize),
        from: &[u32],
        stride: usize,
        to: &mut [u32],
        to_stride: usize,
    ) {
        let s = v4.avx512f;
        let mut rows = [s._mm512_setzero_ps(); TILE];
        for (row, values) in rows.iter_mut().zip(from.chunks(stride)).take(count) {
            *row = match values.first_chunk::<TILE>() {
                Some(values) if length == TILE => cast(*values),
                _ => cast(v4.partial_load_u32s(&values[..length])),
            };
        }
        // Pairs of rows, element by element; then pairs of pairs: every quarter of a vector holds four rows' values of
        // one column.
        let mut pairs = rows;
        for i in (0..TILE).step_by(2) {
            pairs[i] = s._mm512_unpacklo_ps(rows[i], rows[i + 1]);
            pairs[i + 1] = s._mm512_unpackhi_ps(rows[i], rows[i + 1]);
        }
        let mut fours = pairs;
        for i in (0..TILE).step_by(4) {
            for half in 0..2 {
                let (a, b) = (cast(pairs[i + half]), cast(pairs[i + half + 2]));
                fours[i + 2 * half] = cast(s._mm512_unpacklo_pd(a, b));
                fours[i + 2 * half + 1] = cast(s._mm512_unpackhi_pd(a, b));
            }
        }
        // The quarters to their places.
        let mut columns = fours;
        for j in 0..4 {
            let (a, b, c, d) = (fours[j], fours[4 + j], fours[8 + j], fours[12 + j]);
            let even = (s._mm512_shuffle_f32x4::<0x88>(a, b), s._mm512_shuffle_f32x4::<0x88>(c, d));
            let odd = (s._mm512_shuffle_f32x4::<0xdd>(a, b), s._mm512_shuffle_f32x4::<0xdd>(c, d));
            columns[j] = s._mm512_shuffle_f32x4::<0x88>(even.0, even.1);
            columns[4 + j] = s._mm512_shuffle_f32x4::<0x88>(odd.0, odd.1);
            columns[8 + j] = s._mm512_shuffle_f32x4::<0xdd>(even.0, even.1);
            columns[12 + j] = s._mm512_shuffle_f32x4::<0xdd>(odd.0, odd.1);
        }
        for (column, to) in columns.iter().zip(to.chunks_mut(to_stride)).take(length) {
            match to.first_chunk_mut::<TILE>() {
                Some(to) if count == TILE => *to = cast(*column),
                _ => v4.partial_store_u32s(&mut to[..count], cast(*column)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects whole tiles and ragged edges, with the machine's best instructions and without any.
    #[test]
    fn every_element_gets_to_its_place() {
        for arch in [Arch::new(), Arch::Scalar] {
            for (count, length, width) in [
                (32, 256, 32),
                (10, 128, 16),
                (16, 16, 16),
                (31, 37, 32),
                (17, 33, 32),
                (1, 1, 16),
                (9, 128, 9),
            ] {
                let rows: Vec<f32> = (0..count * length).map(|i| i as f32).collect();
                let mut turned = vec![-1.0; length * width];
                turn(arch, &rows, length, width, &mut turned);
                for (i, v) in turned.iter().enumerate() {
                    let (column, row) = (i / width, i % width);
                    let expected = if row < count { (row * length + column) as f32 } else { 0.0 };
                    assert_eq!(*v, expected, "{count}x{length}, row {row}, column {column}");
                }
            }
        }
    }
}
