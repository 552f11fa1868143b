//! The convolution layers of every block.
//!
//! Between layers images lie `[T, C, N, H, W]`: windows become the columns of one matrix a block, and one product a block
//! serves all its images.

use candle_core::{DType, Device, Result, Tensor};

use super::launch::{Fresh, Grid, Numbers, Operand, STREAMS, launch, room};
use super::node::node;
use super::product::{factor_type, product};
use crate::backend::Precision;
use crate::conv::{Conv3x3, Pool, Sizes};

/// In which order images lie.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Order {
    /// `[T, N, C, H, W]`, everybody else's.
    ImagesFirst,
    /// `[T, C, N, H, W]`.
    ChannelsFirst,
}

impl Order {
    fn shape(self, blocks: usize, channels: usize, images: usize, size: [usize; 2]) -> [usize; 5] {
        let [height, width] = size;
        match self {
            Self::ImagesFirst => [blocks, images, channels, height, width],
            Self::ChannelsFirst => [blocks, channels, images, height, width],
        }
    }

    /// From channel to channel, and from image to image.
    fn strides(self, channels: usize, images: usize, size: [usize; 2]) -> [usize; 2] {
        let pixels = size[0] * size[1];
        match self {
            Self::ImagesFirst => [pixels, channels * pixels],
            Self::ChannelsFirst => [images * pixels, pixels],
        }
    }
}

/// Layers one after another, see [`crate::conv3x3_stack`]; the arguments have been checked.
pub(crate) fn stack(
    layers: &[Conv3x3],
    sizes: &[Sizes],
    x: &Tensor,
    parameters: &[(&Tensor, &Tensor)],
) -> Result<Tensor> {
    let mut y = x.clone();
    let mut from = Order::ImagesFirst;
    for (index, ((layer, sizes), (w, b))) in layers.iter().zip(sizes).zip(parameters).enumerate() {
        let to = if index + 1 == layers.len() { Order::ImagesFirst } else { Order::ChannelsFirst };
        y = apply(layer, sizes, &y, w, b, (from, to))?;
        from = to;
    }
    Ok(y)
}

/// What the columns of a layer's input are.
#[derive(Clone, Copy)]
struct Columns {
    s: Sizes,
    ring: usize,
    order: Order,
    precision: Precision,
}

impl Columns {
    fn sizes(&self, bf16: bool) -> [usize; 11] {
        let s = &self.s;
        let [channel, image] = self.order.strides(s.c_in, s.images, [s.height, s.width]);
        [
            s.x_blocks,
            s.c_in,
            s.images,
            s.height,
            s.width,
            s.conv_height,
            s.conv_width,
            self.ring,
            channel,
            image,
            usize::from(bf16),
        ]
    }

    fn positions(&self) -> usize {
        self.s.images * self.s.conv_height * self.s.conv_width
    }

    /// The columns of `x`, `[Tx, C 9, N OH OW]`. They are made again for backward: they are nine times as large as `x`.
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        let dtype = factor_type(self.precision);
        let rows = self.s.c_in * 9;
        let columns = room((self.s.x_blocks, rows, self.positions()), dtype, x.device())?;
        let sizes = self.sizes(dtype == DType::BF16);
        let numbers = Numbers { sizes: &sizes, ..Numbers::default() };
        let grid = Grid::Elements(columns.elem_count());
        launch(x.device(), "columns", &[x, &columns], &numbers, grid)?;
        Ok(columns)
    }

    /// The gradient at `x` from that at its columns.
    fn back(&self, gradient: &Tensor) -> Result<Tensor> {
        let s = &self.s;
        let shape = self.order.shape(s.x_blocks, s.c_in, s.images, [s.height, s.width]);
        let dx = room(shape.to_vec(), DType::F32, gradient.device())?;
        let sizes = self.sizes(false);
        let numbers = Numbers { sizes: &sizes, ..Numbers::default() };
        let grid = Grid::Elements(dx.elem_count());
        launch(gradient.device(), "columns_back", &[gradient, &dx], &numbers, grid)?;
        Ok(dx)
    }
}

fn apply(
    layer: &Conv3x3,
    s: &Sizes,
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    (from, to): (Order, Order),
) -> Result<Tensor> {
    let device = x.device().clone();
    let s = *s;
    let precision = layer.precision;
    let columns = Columns { s, ring: layer.padding.width(), order: from, precision };
    let rows = s.c_in * 9;
    let kept_x = x.detach().contiguous()?;
    let kept_w = w.detach().contiguous()?.reshape((s.blocks, s.c_out, rows))?;
    let bias = b.detach().contiguous()?;
    let sum = product(&kept_w, &columns.of(&kept_x)?, precision)?;
    let end = End::new(layer, &s, to);
    let out = [s.out_height, s.out_width];
    let y = Fresh::new(to.shape(s.blocks, s.c_out, s.images, out).to_vec(), &device)?;
    let winner =
        room((s.blocks, s.c_out, s.images, s.out_height, s.out_width), DType::U8, &device)?;
    end.forward(&device, layer, [&sum, &bias, &y, &winner])?;
    let needs_x = x.track_op();
    let w_shape = w.dims().to_vec();
    let backward = Box::new(move |_: &Tensor, dy: &Tensor| {
        let dy = dy.contiguous()?;
        let positions = columns.positions();
        let ds = room((s.blocks, s.c_out, positions), DType::F32, &device)?;
        end.back(&device, [&dy, &winner, &ds])?;
        let db = room((s.blocks, s.c_out), DType::F32, &device)?;
        let numbers = Numbers { sizes: &[s.blocks * s.c_out, positions], ..Numbers::default() };
        launch(&device, "sum_rows", &[&ds, &db], &numbers, Grid::Groups(s.blocks * s.c_out))?;
        let dw = product(&ds, &columns.of(&kept_x)?.transpose(1, 2)?, precision)?;
        let dx = match (needs_x, s.x_blocks == s.blocks) {
            (false, _) => None,
            (true, true) => {
                Some(columns.back(&product(&kept_w.transpose(1, 2)?, &ds, precision)?)?)
            }
            // One input for all blocks: one product over the channels of all adds their gradients.
            (true, false) => {
                let w = kept_w.reshape((1, s.blocks * s.c_out, rows))?;
                let ds = ds.reshape((1, s.blocks * s.c_out, positions))?;
                Some(columns.back(&product(&w.transpose(1, 2)?, &ds, precision)?)?)
            }
        };
        Ok([dx, Some(dw.reshape(w_shape.as_slice())?), Some(db)])
    });
    node("conv3x3", &[x, w, b], y, backward)
}

/// What follows the product.
#[derive(Clone, Copy)]
struct End {
    sizes: [usize; 10],
    threshold: usize,
    first_image: usize,
    scale: f64,
}

impl End {
    fn new(layer: &Conv3x3, s: &Sizes, to: Order) -> Self {
        let side = match layer.pool {
            Pool::None => 1,
            Pool::Max2 => 2,
        };
        let [channel, image] = to.strides(s.c_out, s.images, [s.out_height, s.out_width]);
        let dropout = layer.dropout.as_ref();
        Self {
            sizes: [
                s.blocks,
                s.c_out,
                s.images,
                s.conv_height,
                s.conv_width,
                s.out_height,
                s.out_width,
                side,
                channel,
                image,
            ],
            threshold: dropout.map_or(0, |dropout| dropout.threshold().into()),
            first_image: dropout.map_or(0, |dropout| dropout.first_image() as usize),
            scale: dropout.map_or(1.0, crate::Dropout::scale),
        }
    }

    fn forward(&self, device: &Device, layer: &Conv3x3, operands: [&dyn Operand; 4]) -> Result<()> {
        let [blocks, channels, images, .., height, width, _, _, _] = self.sizes;
        let keys = layer.dropout.as_ref().map_or(&[][..], |dropout| dropout.keys());
        // A launch holds a limited number of streams.
        let stride = if keys.is_empty() { blocks.max(1) } else { STREAMS };
        for first in (0..blocks).step_by(stride) {
            let end = blocks.min(first + stride);
            let mut sizes = [0; 13];
            sizes[..10].copy_from_slice(&self.sizes);
            sizes[0] = end;
            sizes[10..].copy_from_slice(&[self.threshold, self.first_image, first]);
            let keys = keys.get(first..end).unwrap_or_default();
            let numbers = Numbers { sizes: &sizes, factors: &[self.scale], keys };
            let grid = Grid::Elements((end - first) * channels * images * height * width);
            launch(device, "conv_end", &operands, &numbers, grid)?;
        }
        Ok(())
    }

    /// `operands`: the gradient of the result, the winners, and the gradient of the product, f32.
    fn back(&self, device: &Device, operands: [&dyn Operand; 3]) -> Result<()> {
        let [blocks, channels, images, height, width, ..] = self.sizes;
        let sizes: Vec<usize> = self.sizes.into_iter().chain([0]).collect();
        let numbers = Numbers { sizes: &sizes, factors: &[self.scale], ..Numbers::default() };
        let grid = Grid::Elements(blocks * channels * images * height * width);
        launch(device, "conv_end_back", &operands, &numbers, grid)
    }
}
