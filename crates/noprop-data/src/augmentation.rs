//! Random changes of training images: flips and shifts, as another picture of the same thing might have them.
//!
//! This crate changes pixels. The caller draws the change of each image, so that the randomness of a run stays in one place.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device, Tensor, WithDType};

use crate::error::DataError;

/// The images in which left and right change places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flip {
    /// None.
    #[default]
    Never,
    /// Every second one, at random.
    Random,
}

/// The changes that training images are given. The default is none, as in the paper.
///
/// Its text is `none`, `flip`, `shift:N` or `flip+shift:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Augmentation {
    /// Left and right change places.
    pub flip: Flip,
    /// Images move by up to this number of pixels up or down, and left or right. The pixels that come in are black.
    pub shift: usize,
}

/// The change of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// The flip, which comes before the move.
    pub flipped: Flipped,
    /// The number of pixels that the image moves down; negative for up.
    pub down: isize,
    /// The number of pixels that the image moves to the right; negative for left.
    pub right: isize,
}

/// The flip of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flipped {
    /// The image is as it was.
    #[default]
    No,
    /// Left and right have changed places.
    Yes,
}

impl Augmentation {
    /// No change.
    pub const NONE: Self = Self { flip: Flip::Never, shift: 0 };

    /// Returns true if no image is changed.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Checks that a shift leaves a part of every image in sight.
    ///
    /// # Errors
    /// [`DataError::Augment`] if a shift is half of `height` or `width`, or more.
    pub fn check(self, height: usize, width: usize) -> Result<(), DataError> {
        let most = height.min(width).saturating_sub(1) / 2;
        if self.shift > most {
            let value = self.to_string();
            let expected =
                format!("a shift of at most {most} pixels for images of {height} x {width}");
            return Err(DataError::Augment { value, expected });
        }
        Ok(())
    }

    /// The change for three `draws`, each uniform in 0..1: for the flip, for the pixels down and for the pixels to the right.
    pub fn change(self, draws: [f32; 3]) -> Change {
        let [flip, down, right] = draws;
        let shift = self.shift.min(i16::MAX as usize) as isize;
        let places = (2 * shift + 1) as f32;
        let moved = |draw: f32| ((draw * places) as isize).min(2 * shift) - shift;
        Change {
            flipped: match self.flip {
                Flip::Random if flip < 0.5 => Flipped::Yes,
                Flip::Random | Flip::Never => Flipped::No,
            },
            down: moved(down),
            right: moved(right),
        }
    }
}

impl fmt::Display for Augmentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.flip, self.shift) {
            (Flip::Never, 0) => f.write_str("none"),
            (Flip::Random, 0) => f.write_str("flip"),
            (Flip::Never, shift) => write!(f, "shift:{shift}"),
            (Flip::Random, shift) => write!(f, "flip+shift:{shift}"),
        }
    }
}

impl FromStr for Augmentation {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let mut parsed = Self::default();
        if text == "none" {
            return Ok(parsed);
        }
        for change in text.split('+') {
            let shift = change.strip_prefix("shift:").and_then(|shift| shift.parse().ok());
            match (change, shift) {
                ("flip", _) if parsed.flip == Flip::Never => parsed.flip = Flip::Random,
                (_, Some(shift)) if shift > 0 && parsed.shift == 0 => parsed.shift = shift,
                _ => {
                    let expected = "none, flip, shift:N or flip+shift:N with N at least 1".into();
                    return Err(DataError::Augment { value: text.into(), expected });
                }
            }
        }
        Ok(parsed)
    }
}

/// Applies one change to each of `images`, `[n, C, H, W]`, u8 or f32, on the host.
pub(crate) fn changed(images: &Tensor, changes: &[Change]) -> Result<Tensor, DataError> {
    match images.dtype() {
        DType::U8 => apply::<u8>(images, changes),
        _ => apply::<f32>(images, changes),
    }
}

/// The places that the pixels of changed images come from, for images that never leave a GPU.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// The largest move of any image in either direction.
    reach: usize,
    /// `[N, 3]`: the row and the column that the upper left pixel comes from, in an image with a frame of `reach` pixels, and
    /// the step from column to column, 1 or for a flipped image -1.
    sources: Tensor,
}

impl Sources {
    /// Places `changes` of images that are `width` pixels wide on `device`.
    pub fn new(changes: &[Change], width: usize, device: &Device) -> Result<Self, DataError> {
        let moves = changes.iter().flat_map(|change| [change.down, change.right]);
        let reach = moves.map(isize::unsigned_abs).max().unwrap_or(0);
        let source = |change: &Change| {
            let (first, step) = match change.flipped {
                Flipped::No => (-change.right, 1.0),
                Flipped::Yes => (change.right + width as isize - 1, -1.0),
            };
            [reach as f32 - change.down as f32, reach as f32 + first as f32, step]
        };
        let sources: Vec<f32> = changes.iter().flat_map(source).collect();
        Ok(Self { reach, sources: Tensor::from_vec(sources, (changes.len(), 3), device)? })
    }

    /// Applies the changes from number `first` on to `images`, `[n, C, H, W]`, u8 or f32.
    pub fn apply(&self, images: &Tensor, first: usize) -> Result<Tensor, DataError> {
        let (n, channels, height, width) = images.dims4()?;
        let device = images.device();
        let sources = self.sources.narrow(0, first, n)?.reshape((n, 3, 1, 1))?;
        let number = |index| sources.narrow(1, index, 1);
        let along = |count: usize| Tensor::arange(0f32, count as f32, device);
        let rows = number(0)?.broadcast_add(&along(height)?.reshape((1, 1, height, 1))?)?;
        let columns = along(width)?.reshape((1, 1, 1, width))?;
        let columns = number(1)?.broadcast_add(&number(2)?.broadcast_mul(&columns)?)?;
        let index = |of: Tensor, width: usize| {
            of.to_dtype(DType::U32)?.broadcast_as((n, channels, height, width))?.contiguous()
        };
        let (reach, framed) = (self.reach, width + 2 * self.reach);
        let images = images.pad_with_zeros(2, reach, reach)?.pad_with_zeros(3, reach, reach)?;
        let moved = images.contiguous()?.gather(&index(rows, framed)?, 2)?;
        Ok(moved.gather(&index(columns, width)?, 3)?)
    }
}

fn apply<T: WithDType + Default>(images: &Tensor, changes: &[Change]) -> Result<Tensor, DataError> {
    let (n, channels, height, width) = images.dims4()?;
    let pixels = images.flatten_all()?.to_vec1::<T>()?;
    let mut moved = vec![T::default(); pixels.len()];
    let planes = pixels.chunks_exact(height * width).zip(moved.chunks_exact_mut(height * width));
    // All channels of an image change alike.
    let changes = changes.iter().flat_map(|change| std::iter::repeat_n(change, channels));
    for ((from, to), change) in planes.zip(changes) {
        for (y, row) in to.chunks_exact_mut(width).enumerate() {
            let Some(source) = y.checked_add_signed(-change.down).filter(|&y| y < height) else {
                continue;
            };
            let source = &from[source * width..][..width];
            for (x, pixel) in row.iter_mut().enumerate() {
                let x = x.checked_add_signed(-change.right).filter(|&x| x < width);
                *pixel = match (x, change.flipped) {
                    (None, _) => continue,
                    (Some(x), Flipped::No) => source[x],
                    (Some(x), Flipped::Yes) => source[width - 1 - x],
                };
            }
        }
    }
    Ok(Tensor::from_vec(moved, (n, channels, height, width), images.device())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::values;

    /// The text is in the settings of a run, which must be read again.
    #[test]
    fn is_written_as_it_is_read() {
        for text in ["none", "flip", "shift:3", "flip+shift:12"] {
            assert_eq!(text.parse::<Augmentation>().unwrap().to_string(), text);
        }
        assert_eq!("shift:2+flip".parse::<Augmentation>().unwrap().to_string(), "flip+shift:2");
        for text in ["", "flop", "shift", "shift:", "shift:0", "shift:-1", "flip+flip", "flip+"] {
            let error = text.parse::<Augmentation>().unwrap_err().to_string();
            assert!(error.contains("flip+shift:N"), "{error}");
        }
    }

    /// The pixels of two channels by hand: first a flip, then one down and two to the left.
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

    /// On a GPU images are changed by other operations, which must give the same pixels.
    #[test]
    fn placed_changes_are_the_same_changes() {
        let shape = (30, 2, 4, 5);
        let images = Tensor::arange(0u32, 30 * 2 * 4 * 5, &Device::Cpu).unwrap();
        let images = images.reshape(shape).unwrap();
        for dtype in [DType::U8, DType::F32] {
            let images = images.to_dtype(dtype).unwrap();
            let changes: Vec<Change> = (0..40)
                .map(|i| Change {
                    flipped: if i % 3 == 0 { Flipped::Yes } else { Flipped::No },
                    down: i % 7 - 3,
                    right: i % 5 - 2,
                })
                .collect();
            let placed = Sources::new(&changes, 5, &Device::Cpu).unwrap();
            let found = placed.apply(&images, 10).unwrap();
            let expected = changed(&images, &changes[10..]).unwrap();
            assert_eq!(values(&found), values(&expected));
        }
        let unmoved = Sources::new(&[Change::default()], 5, &Device::Cpu).unwrap();
        let one = images.narrow(0, 3, 1).unwrap();
        let same = unmoved.apply(&one, 0).unwrap();
        assert_eq!(values(&same)[0], 120.0);
    }

    /// Every place must be reached, both ends included, and none beyond.
    #[test]
    fn draws_cover_all_changes_evenly() {
        let both: Augmentation = "flip+shift:2".parse().unwrap();
        let mut counts = std::collections::BTreeMap::new();
        for step in 0..1000 {
            let draw = step as f32 / 1000.0;
            let change = both.change([draw, draw, 0.999_999_94]);
            assert_eq!(change.right, 2);
            assert_eq!(change.flipped == Flipped::Yes, draw < 0.5);
            *counts.entry(change.down).or_insert(0) += 1;
        }
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
        assert!(counts.values().all(|count| (199..=201).contains(count)), "{counts:?}");
        assert_eq!(Augmentation::default().change([0.0, 0.9, 0.1]), Change::default());
    }

    /// An image that is moved out of itself is black, under the label of what it was.
    #[test]
    fn a_shift_out_of_sight_is_refused() {
        let shift = |n| Augmentation { shift: n, ..Augmentation::default() };
        assert!(shift(7).check(16, 28).is_ok());
        let error = shift(8).check(16, 28).unwrap_err().to_string();
        assert_eq!(
            error,
            "augment must be a shift of at most 7 pixels for images of 16 x 28, got shift:8"
        );
    }
}
