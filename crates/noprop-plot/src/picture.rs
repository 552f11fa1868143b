//! A small picture that is shown in a figure.

use crate::PlotError;

/// A grey or colour picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    channels: u32,
    bytes: Vec<u8>,
}

/// The longest side in pixels; images of classifiers are smaller.
const MAX_SIDE: u32 = 4096;

impl Picture {
    /// `bytes` in row order, the channels of a pixel together; `channels` is 1 (grey) or 3 (RGB).
    ///
    /// # Errors
    /// [`PlotError::Picture`] if the bytes do not fit, or a side is 0 or above 4096.
    pub fn new(width: u32, height: u32, channels: u32, bytes: Vec<u8>) -> Result<Self, PlotError> {
        let sides = 1..=MAX_SIDE;
        let fits = sides.contains(&width)
            && sides.contains(&height)
            && matches!(channels, 1 | 3)
            && bytes.len() == (width * height * channels) as usize;
        if fits {
            Ok(Self { width, height, channels, bytes })
        } else {
            Err(PlotError::Picture { width, height, channels, bytes: bytes.len() })
        }
    }

    /// The picture at another size, three bytes per pixel: pixels are repeated or averaged.
    fn scaled(&self, (width, height): (u32, u32)) -> Vec<u8> {
        let span = |place: u32, places: u32, length: u32| {
            let at =
                |place: u32| (u64::from(place) * u64::from(length) / u64::from(places)) as usize;
            at(place)..at(place + 1).max(at(place) + 1)
        };
        let (channels, row_length) =
            (self.channels as usize, (self.width * self.channels) as usize);
        let mut scaled = Vec::with_capacity((width * height * 3) as usize);
        for y in 0..height {
            let rows = span(y, height, self.height);
            for x in 0..width {
                let columns = span(x, width, self.width);
                let count = rows.len() * columns.len();
                for channel in (0..3).map(|channel| channel.min(channels - 1)) {
                    let bytes = rows.clone().flat_map(|row| {
                        columns
                            .clone()
                            .map(move |column| row * row_length + column * channels + channel)
                    });
                    let sum: usize = bytes
                        .filter_map(|at| self.bytes.get(at))
                        .map(|&byte| usize::from(byte))
                        .sum();
                    scaled.push(((sum + count / 2) / count) as u8);
                }
            }
        }
        scaled
    }
}

/// A picture at its place in a figure: centred in a square, as large as fits.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'a> {
    /// The picture.
    pub picture: &'a Picture,
    /// Left and top of the square, in pixels.
    pub corner: (i32, i32),
    /// The square's side in pixels.
    pub side: u32,
}

impl Placed<'_> {
    /// Width and height in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        let Picture { width, height, .. } = *self.picture;
        let longest = width.max(height);
        let scaled = |length: u32| (self.side * length).div_ceil(longest).max(1);
        (scaled(width), scaled(height))
    }

    /// Left and top in pixels.
    pub(crate) fn origin(&self) -> (i32, i32) {
        let (width, height) = self.size();
        let margin = |length: u32| (self.side - length).cast_signed() / 2;
        (self.corner.0 + margin(width), self.corner.1 + margin(height))
    }

    /// Its pixels as they are drawn, three bytes each.
    pub(crate) fn pixels(&self) -> Vec<u8> {
        self.picture.scaled(self.size())
    }

    /// Width, height, and three bytes per pixel: no more pixels than the picture has, and no more than are drawn.
    pub(crate) fn own_pixels(&self) -> ((u32, u32), Vec<u8>) {
        let (width, height) = self.size();
        let size = (width.min(self.picture.width), height.min(self.picture.height));
        (size, self.picture.scaled(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_grow_by_repeating_pixels_and_shrink_to_means() {
        let grey = Picture::new(2, 1, 1, vec![10, 200]).unwrap();
        assert_eq!(grey.scaled((4, 1)), [10, 10, 10, 10, 10, 10, 200, 200, 200, 200, 200, 200]);
        assert_eq!(grey.scaled((1, 1)), [105, 105, 105]);
        let colour = Picture::new(1, 2, 3, vec![0, 100, 255, 10, 200, 255]).unwrap();
        assert_eq!(colour.scaled((1, 1)), [5, 150, 255]);
    }

    #[test]
    fn a_picture_is_centred_in_its_square() {
        let wide = Picture::new(1024, 16, 1, vec![7; 1024 * 16]).unwrap();
        let placed = Placed { picture: &wide, corner: (10, 20), side: 112 };
        assert_eq!((placed.size(), placed.origin()), ((112, 2), (10, 75)));
        assert_eq!(placed.pixels(), vec![7; 112 * 2 * 3]);
        assert_eq!(placed.own_pixels().0, (112, 2));
        let one = Picture::new(1, 1, 3, vec![1, 2, 3]).unwrap();
        let placed = Placed { picture: &one, corner: (0, 0), side: 112 };
        assert_eq!(placed.own_pixels(), ((1, 1), vec![1, 2, 3]));
    }
}
