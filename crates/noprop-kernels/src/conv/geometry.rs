//! The sizes of the fused convolution's working buffers, and the choice of its algorithm.
//!
//! In these buffers images lie channels last: `[row][column][channel]`, channels rounded up to whole vectors, so that one
//! vector operation works on one position of many channels. The result of the convolution proper, before bias, pooling and
//! the rest, is called *raw*.

use super::layer::{Conv3x3, Pool, Sizes};
use crate::activation::Activation;
use crate::cpu::simd::whole_vectors;

/// The algorithm of the convolution proper.
///
/// The three convolutions of the paper's image branch, forward and backward, batch 128, on one thread of a Zen 5 server
/// CPU: 30 ms or more direct, 17.8 ms with F(2×2), 13.4 ms with F(4×4), of which 6.5 ms are products at the machine's
/// peak. F(6×6) would save little more there and loses another digit to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Nine products a position, straight from the image.
    Direct,
    /// Winograd's F(2×2, 3×3): 4 multiplications a position and channel pair instead of 9.
    Winograd2,
    /// Winograd's F(4×4, 3×3): 2¼ multiplications instead of 9, at larger transforms and rounding.
    Winograd4,
}

impl Algorithm {
    /// The side of a tile of results.
    pub(super) fn tile(self) -> usize {
        match self {
            Self::Direct => 1,
            Self::Winograd2 => 2,
            Self::Winograd4 => 4,
        }
    }

    /// The number of points at which a tile is multiplied.
    pub(super) fn points(self) -> usize {
        match self {
            Self::Direct => 9,
            Self::Winograd2 => 16,
            Self::Winograd4 => 36,
        }
    }

    /// The fastest one for a layer.
    fn choose(s: &Sizes, rows: usize, columns: usize) -> Self {
        // With few channels there is little to multiply, and the transforms cost more than they save.
        if s.c_in < 8 || s.c_out < 8 {
            return Self::Direct;
        }
        let products = |algorithm: Self| {
            let tile = algorithm.tile();
            rows.div_ceil(tile) * columns.div_ceil(tile) * algorithm.points()
        };
        if products(Self::Winograd4) < products(Self::Winograd2) {
            Self::Winograd4
        } else {
            Self::Winograd2
        }
    }
}

/// The sizes of one layer's buffers.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub algorithm: Algorithm,
    pub pool: Pool,
    pub act: Activation,
    pub c_in: usize,
    pub c_out: usize,
    /// Input channels as the padded image holds them.
    pub in_stride: usize,
    /// Input channels in whole vectors.
    pub c_in_whole: usize,
    /// Output channels in whole vectors.
    pub c_out_whole: usize,
    pub height: usize,
    pub width: usize,
    /// The width of the ring of zeros around the image.
    pub pad: usize,
    /// The raw result rounded up to whole tiles.
    pub raw_height: usize,
    pub raw_width: usize,
    /// The image with its ring, as far as the raw result needs it.
    pub in_height: usize,
    pub in_width: usize,
    pub out_height: usize,
    pub out_width: usize,
}

impl Geometry {
    pub(super) fn new(layer: &Conv3x3, s: &Sizes) -> Self {
        let (used_height, used_width) = match layer.pool {
            Pool::None => (s.conv_height, s.conv_width),
            Pool::Max2 => (2 * s.out_height, 2 * s.out_width),
        };
        let algorithm = Algorithm::choose(s, used_height, used_width);
        let tile = algorithm.tile();
        let raw_height = used_height.div_ceil(tile) * tile;
        let raw_width = used_width.div_ceil(tile) * tile;
        let c_in_whole = whole_vectors(s.c_in);
        Self {
            algorithm,
            pool: layer.pool,
            act: layer.act,
            c_in: s.c_in,
            c_out: s.c_out,
            in_stride: match algorithm {
                Algorithm::Direct => s.c_in,
                Algorithm::Winograd2 | Algorithm::Winograd4 => c_in_whole,
            },
            c_in_whole,
            c_out_whole: whole_vectors(s.c_out),
            height: s.height,
            width: s.width,
            pad: layer.padding.width(),
            raw_height,
            raw_width,
            in_height: raw_height + 2,
            in_width: raw_width + 2,
            out_height: s.out_height,
            out_width: s.out_width,
        }
    }

    /// The number of positions of the result.
    pub(super) fn positions(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Elements of a result, channels last in whole vectors.
    pub(super) fn result(&self) -> usize {
        self.positions() * self.c_out_whole
    }

    /// Elements of the weights as the tensor holds them.
    pub(super) fn weights(&self) -> usize {
        9 * self.c_in * self.c_out
    }

    /// Elements of the padded channels-last image.
    pub(super) fn padded_image(&self) -> usize {
        self.in_height * self.in_width * self.in_stride
    }

    /// Elements of the raw result.
    pub(super) fn raw(&self) -> usize {
        self.raw_height * self.raw_width * self.c_out_whole
    }

    /// Tiles of one image.
    pub(super) fn tiles(&self) -> usize {
        let tile = self.algorithm.tile();
        (self.raw_height / tile) * (self.raw_width / tile)
    }

    /// Elements of the prepared weights, or of their gradient.
    pub(super) fn prepared(&self) -> usize {
        self.algorithm.points() * self.c_in * self.c_out_whole
    }

    /// Rows and columns of the image that the used results depend on.
    pub(super) fn seen(&self) -> (usize, usize) {
        (self.height.min(self.in_height - self.pad), self.width.min(self.in_width - self.pad))
    }
}
