//! The change between the tensors' layout, channels first, and the kernels', channels last in whole vectors.

use pulp::Arch;

use super::geometry::Geometry;
use crate::cpu::instruction_set::vectorised;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Float, whole_vectors};
use crate::cpu::turn::turn;

/// The images that a layer reads.
#[derive(Clone, Copy)]
pub(super) enum Source<'a, F> {
    /// `[Ci, H, W]`, as tensors hold them: before the first layer.
    ChannelsFirst(&'a [F]),
    /// `[H, W, Ci in whole vectors]`: between layers.
    ChannelsLast(&'a [F]),
}

impl<'a, F> Source<'a, F> {
    /// Image number `index`.
    pub(super) fn image(self, g: &Geometry, index: usize) -> Self {
        match self {
            Self::ChannelsFirst(all) => {
                let size = g.c_in * g.height * g.width;
                Self::ChannelsFirst(&all[index * size..][..size])
            }
            Self::ChannelsLast(all) => {
                let size = g.c_in_whole * g.height * g.width;
                Self::ChannelsLast(&all[index * size..][..size])
            }
        }
    }
}

/// Puts an image into the padded channels-last buffer, which must hold zeros around it.
pub(super) fn into_padded<F: Float>(
    arch: Arch,
    g: &Geometry,
    image: Source<'_, F>,
    padded: &mut [F],
) {
    let (whole, positions) = (g.c_in_whole, g.height * g.width);
    let mut turned;
    let image = match image {
        // For a few channels the turn costs more than it saves. Vectors need a whole number of channels each.
        Source::ChannelsFirst(image) if g.in_stride == whole => {
            turned = Scratch::any(positions * whole);
            turn(arch, image, positions, whole, &mut turned);
            Source::ChannelsLast(&turned)
        }
        image => image,
    };
    vectorised(
        arch,
        #[inline(always)]
        || {
            let (rows, columns) = g.seen();
            let stride = g.in_stride;
            let start = |row: usize| ((row + g.pad) * g.in_width + g.pad) * stride;
            match image {
                Source::ChannelsFirst(image) => {
                    for (channel, plane) in image.chunks_exact(positions).enumerate() {
                        for (row, line) in plane.chunks_exact(g.width).take(rows).enumerate() {
                            let to = &mut padded[start(row)..][..columns * stride];
                            for (spot, value) in to.chunks_exact_mut(stride).zip(line) {
                                spot[channel] = *value;
                            }
                        }
                    }
                }
                Source::ChannelsLast(image) => {
                    for (row, line) in image.chunks_exact(g.width * whole).take(rows).enumerate() {
                        let to = &mut padded[start(row)..][..columns * stride];
                        if stride == whole {
                            to.copy_from_slice(&line[..columns * whole]);
                        } else {
                            for (to, from) in
                                to.chunks_exact_mut(stride).zip(line.chunks_exact(whole))
                            {
                                to.copy_from_slice(&from[..stride]);
                            }
                        }
                    }
                }
            }
        },
    );
}

/// The destination of images: the results of a layer, or the gradients of its input.
pub(super) enum Target<'a, F> {
    /// `[channels, height, width]`, as tensors hold them.
    ChannelsFirst(&'a mut [F]),
    /// `[height, width, channels in whole vectors]`: between layers.
    ChannelsLast(&'a mut [F]),
}

impl<F> Target<'_, F> {
    /// Image number `index`.
    pub(super) fn image(
        &mut self,
        channels: usize,
        positions: usize,
        index: usize,
    ) -> Target<'_, F> {
        match self {
            Self::ChannelsFirst(all) => {
                let size = channels * positions;
                Target::ChannelsFirst(&mut all[index * size..][..size])
            }
            Self::ChannelsLast(all) => {
                let size = whole_vectors(channels) * positions;
                Target::ChannelsLast(&mut all[index * size..][..size])
            }
        }
    }
}

/// Takes an image's gradient out of its padded buffer, channels in whole vectors. Pixels that the buffer does not cover get zero.
pub(super) fn out_of_padded<F: Float>(
    arch: Arch,
    g: &Geometry,
    padded: &[F],
    image: Target<'_, F>,
) {
    let positions = g.height * g.width;
    match image {
        Target::ChannelsLast(image) => lines_out_of_padded(arch, g, padded, image),
        Target::ChannelsFirst(image) => {
            let mut last = Scratch::any(positions * g.c_in_whole);
            lines_out_of_padded(arch, g, padded, &mut last);
            channels_first(arch, &last, g.c_in, positions, image);
        }
    }
}

/// [`out_of_padded`] for an image that lies channels last.
fn lines_out_of_padded<F: Float>(arch: Arch, g: &Geometry, padded: &[F], image: &mut [F]) {
    let (rows, columns) = g.seen();
    let whole = g.c_in_whole;
    vectorised(
        arch,
        #[inline(always)]
        || {
            for (row, to) in image.chunks_exact_mut(g.width * whole).enumerate() {
                let seen = if row < rows { columns * whole } else { 0 };
                let (seen, unseen) = to.split_at_mut(seen);
                let start = ((row + g.pad) * g.in_width + g.pad) * whole;
                if !seen.is_empty() {
                    seen.copy_from_slice(&padded[start..][..seen.len()]);
                }
                unseen.fill(F::default());
            }
        },
    );
}

/// `[positions][channels in whole vectors]` to `[channels, positions]`.
pub(super) fn channels_first<F: Float>(
    arch: Arch,
    last: &[F],
    channels: usize,
    positions: usize,
    first: &mut [F],
) {
    let whole = whole_vectors(channels);
    let last = &last[..positions * whole];
    if whole == channels {
        return turn(arch, last, whole, positions, first);
    }
    vectorised(
        arch,
        #[inline(always)]
        || {
            for (channel, plane) in first.chunks_exact_mut(positions).enumerate() {
                for (value, spot) in plane.iter_mut().zip(last.chunks_exact(whole)) {
                    *value = spot[channel];
                }
            }
        },
    );
}

/// `[channels, positions]` to `[positions][channels in whole vectors]`; the surplus channels are zero.
pub(super) fn channels_last<F: Float>(
    arch: Arch,
    first: &[F],
    channels: usize,
    positions: usize,
    last: &mut [F],
) {
    turn(arch, first, positions, whole_vectors(channels), last);
}
