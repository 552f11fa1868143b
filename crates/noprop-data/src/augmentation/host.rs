//! Changes of images on the host.

use candle_core::{DType, Tensor, WithDType};

use super::Change;
use crate::error::DataError;
use crate::split::fractions;

/// Applies one change to each of `images`, `[n, C, H, W]`, u8 or f32. Images of which some are rotated become f32 in 0..=1.
pub(crate) fn changed(images: &Tensor, changes: &[Change]) -> Result<Tensor, DataError> {
    let turned = match changes.iter().any(|change| change.turned != 0.0) {
        true => &turned(images, changes)?,
        false => images,
    };
    match turned.dtype() {
        DType::U8 => moved::<u8>(turned, changes),
        _ => moved::<f32>(turned, changes),
    }
}

/// The planes of `images`, each with the change of its image: all channels of an image change alike.
fn with_changes<P>(
    planes: impl Iterator<Item = P>,
    changes: &[Change],
    channels: usize,
) -> impl Iterator<Item = (P, &Change)> {
    planes.zip(changes.iter().flat_map(move |change| std::iter::repeat_n(change, channels)))
}

/// Flips and moves images, and makes the holes.
fn moved<T: WithDType + Default>(images: &Tensor, changes: &[Change]) -> Result<Tensor, DataError> {
    let (n, channels, height, width) = images.dims4()?;
    let pixels = images.flatten_all()?.to_vec1::<T>()?;
    let mut moved = vec![T::default(); pixels.len()];
    let planes = pixels.chunks_exact(height * width).zip(moved.chunks_exact_mut(height * width));
    for ((from, to), change) in with_changes(planes, changes, channels) {
        for (y, row) in to.chunks_exact_mut(width).enumerate() {
            let Some(source) = change.source_row(y, height) else { continue };
            let source = &from[source * width..][..width];
            for (x, pixel) in row.iter_mut().enumerate() {
                if let Some(x) = change.source_column(x, width) {
                    *pixel = source[x];
                }
            }
        }
        if let Some(hole) = change.hole {
            let (rows, columns) = hole.clipped(height, width);
            for y in rows {
                to[y * width..][columns.clone()].fill(T::default());
            }
        }
    }
    Ok(Tensor::from_vec(moved, (n, channels, height, width), images.device())?)
}

/// Rotates images. Returns f32 in 0..=1.
fn turned(images: &Tensor, changes: &[Change]) -> Result<Tensor, DataError> {
    let (n, channels, height, width) = images.dims4()?;
    let mut pixels = fractions(images.clone())?.flatten_all()?.to_vec1::<f32>()?;
    let planes = pixels.chunks_exact_mut(height * width);
    for (plane, change) in with_changes(planes, changes, channels) {
        if change.turned != 0.0 {
            let turned = turned_plane(plane, height, width, change.turned);
            plane.copy_from_slice(&turned);
        }
    }
    Ok(Tensor::from_vec(pixels, (n, channels, height, width), images.device())?)
}

/// Rotates a plane clockwise about its middle by bilinear interpolation. All around the plane is black.
fn turned_plane(plane: &[f32], height: usize, width: usize, degrees: f32) -> Vec<f32> {
    let (sin, cos) = libm::sincos(f64::from(degrees).to_radians());
    let (middle_y, middle_x) = ((height as f64 - 1.0) / 2.0, (width as f64 - 1.0) / 2.0);
    let pixel = |y: f64, x: f64| match (0.0..height as f64).contains(&y)
        && (0.0..width as f64).contains(&x)
    {
        true => plane[y as usize * width + x as usize],
        false => 0.0,
    };
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    let turned = places.map(|(y, x)| {
        let (down, right) = (y as f64 - middle_y, x as f64 - middle_x);
        // Where the pixel was before the rotation.
        let from_y = middle_y + cos * down - sin * right;
        let from_x = middle_x + sin * down + cos * right;
        let (above, left) = (from_y.floor(), from_x.floor());
        let (low, rest) = ((from_y - above) as f32, (from_x - left) as f32);
        let row = |y: f64| (1.0 - rest) * pixel(y, left) + rest * pixel(y, left + 1.0);
        (1.0 - low) * row(above) + low * row(above + 1.0)
    });
    turned.collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::{Border, Flipped, Hole};
    use super::*;
    use crate::fixtures::values;

    /// The pixels of two channels by hand: first a flip, then one down and two to the left, then a hole.
    #[test]
    fn pixels_move_and_black_comes_in() {
        let first = [1u8, 2, 3, 4, 5, 6, 7, 8];
        let pixels: Vec<u8> = first.iter().copied().chain(first.map(|p| 10 * p)).collect();
        let images = Tensor::from_vec(pixels, (1, 2, 2, 4), &Device::Cpu).unwrap();
        let moved = |change: Change| {
            let values = changed(&images, &[change]).unwrap().flatten_all().unwrap();
            let values = values.to_vec1::<u8>().unwrap();
            assert_eq!(values[8..], values[..8].iter().map(|p| 10 * p).collect::<Vec<_>>());
            values[..8].to_vec()
        };
        assert_eq!(moved(Change::default()), first);
        let flipped = Change { flipped: Flipped::Yes, ..Change::default() };
        assert_eq!(moved(flipped), [4, 3, 2, 1, 8, 7, 6, 5]);
        let up = Change { down: -1, right: 1, ..Change::default() };
        assert_eq!(moved(up), [0, 5, 6, 7, 0, 0, 0, 0]);
        assert_eq!(moved(Change { down: 1, right: -2, ..flipped }), [0, 0, 0, 0, 2, 1, 0, 0]);
        let gone = Change { down: 9, right: -9, ..Change::default() };
        assert_eq!(moved(gone), [0; 8]);

        let mirrored = Change { down: -1, right: 1, border: Border::Mirrored, ..flipped };
        assert_eq!(moved(mirrored), [7, 8, 7, 6, 3, 4, 3, 2]);
        let hole = |top, left, side| Some(Hole { top, left, side });
        let holed = |hole| moved(Change { hole, ..flipped });
        assert_eq!(holed(hole(0, 1, 2)), [4, 0, 0, 1, 8, 0, 0, 5]);
        assert_eq!(holed(hole(-1, 2, 2)), [4, 3, 0, 0, 8, 7, 6, 5]);
        assert_eq!(holed(hole(1, -2, 3)), [4, 3, 2, 1, 0, 7, 6, 5]);
        assert_eq!(holed(hole(2, -9, 3)), [4, 3, 2, 1, 8, 7, 6, 5]);
    }

    /// A change must not reach another image of the batch, and floats must move as bytes do.
    #[test]
    fn every_image_has_its_own_change() {
        let images = Tensor::arange(0f32, 4.0, &Device::Cpu).unwrap();
        let images = images.reshape((2, 1, 1, 2)).unwrap();
        let flipped = Change { flipped: Flipped::Yes, ..Change::default() };
        let changes = [flipped, Change { right: 1, ..Change::default() }];
        assert_eq!(values(&changed(&images, &changes).unwrap()), [1.0, 0.0, 0.0, 2.0]);
    }

    /// Rotations by hand. A quarter of a turn moves whole pixels. After an eighth, a pixel beside the middle comes from √½ above and √½
    /// beside it, so it has (1 − √½)² of the middle. A rotation comes before the flip.
    #[test]
    fn a_rotation_is_worked_out_by_hand() {
        let turned = |pixels: [u8; 9], change: Change| {
            let images = Tensor::new(&pixels, &Device::Cpu).unwrap().reshape((1, 1, 3, 3)).unwrap();
            values(&changed(&images, &[change]).unwrap())
        };
        let close = |found: Vec<f32>, expected: [f32; 9]| {
            let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(close, "{found:?} {expected:?}");
        };
        let by = |turned| Change { turned, ..Change::default() };
        let pixels = [0, 51, 102, 153, 204, 255, 51, 0, 102];
        let clockwise = [0.2, 0.6, 0.0, 0.0, 0.8, 0.2, 0.4, 1.0, 0.4];
        close(turned(pixels, by(90.0)), clockwise);
        let [a, b, c, d, e, f, g, h, i] = clockwise;
        close(
            turned(pixels, Change { flipped: Flipped::Yes, ..by(90.0) }),
            [c, b, a, f, e, d, i, h, g],
        );
        close(turned(pixels, Change { down: 1, ..by(90.0) }), [0.0, 0.0, 0.0, a, b, c, d, e, f]);
        let beside = (1.0 - 0.5f32.sqrt()).powi(2);
        let middle = [0.0, beside, 0.0, beside, 1.0, beside, 0.0, beside, 0.0];
        for degrees in [45.0, -45.0] {
            close(turned([0, 0, 0, 0, 255, 0, 0, 0, 0], by(degrees)), middle);
        }
        // Half of an image of one row leaves it at a quarter of a turn.
        let row = Tensor::new(&[10f32, 20.0], &Device::Cpu).unwrap().reshape((1, 1, 1, 2)).unwrap();
        let half = values(&changed(&row, &[by(90.0)]).unwrap());
        assert!(half.iter().all(|half| (half - 7.5).abs() < 1e-4), "{half:?}");
    }

    /// An image that is not rotated must have the same pixels beside one that is.
    #[test]
    fn a_rotation_leaves_the_other_images_as_they_are() {
        let images = Tensor::arange(0u8, 18, &Device::Cpu).unwrap().reshape((2, 1, 3, 3)).unwrap();
        let flipped = Change { flipped: Flipped::Yes, ..Change::default() };
        let both = changed(&images, &[Change { turned: 7.0, ..flipped }, flipped]).unwrap();
        let alone = changed(&images.narrow(0, 1, 1).unwrap(), &[flipped]).unwrap();
        assert_eq!(values(&both)[9..], values(&fractions(alone).unwrap()));
    }
}
