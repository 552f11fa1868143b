//! The convolution layers of every block.
//!
//! Between layers images lie `[T, C, N, H, W]`: the windows of a block's images become the columns of one matrix, and one
//! product for each block serves all its images.

use candle_core::{DType, Device, Result, Tensor};

use super::arguments::{
    Columns, ColumnsBack, ConvEnd, ConvEndBack, Keys, Pooled, Read, ReadU8, STREAMS, SumRows,
    Windows, Write, WriteAny, WriteU8,
};
use super::launch::{Grid, launch};
use super::operand::{Fresh, room};
use super::product::{factor_type, product};
use crate::activation::Activation;
use crate::backend::Precision;
use crate::conv::layer::{Conv3x3, Sizes};
use crate::dropout::Dropout;
use crate::node::node;

/// The order of images and channels in memory.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// `[T, N, C, H, W]`, as in every other op.
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

    /// The steps from channel to channel and from image to image.
    fn steps(self, channels: usize, images: usize, size: [usize; 2]) -> [usize; 2] {
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

/// The windows of a layer's input, which become columns.
#[derive(Clone, Copy)]
struct Input {
    s: Sizes,
    ring: usize,
    order: Order,
    precision: Precision,
}

impl Input {
    fn windows(&self) -> Windows<'static> {
        let s = &self.s;
        let [channel, image] = self.order.steps(s.c_in, s.images, [s.height, s.width]);
        Windows {
            blocks: s.x_blocks.into(),
            channels: s.c_in.into(),
            images: s.images.into(),
            height: s.height.into(),
            width: s.width.into(),
            out_height: s.conv_height.into(),
            out_width: s.conv_width.into(),
            ring: self.ring.into(),
            channel_step: channel.into(),
            image_step: image.into(),
        }
    }

    fn positions(&self) -> usize {
        self.s.images * self.s.conv_height * self.s.conv_width
    }

    /// The columns of `x`, `[Tx, C 9, N OH OW]`. They are made again in the backward pass: they are nine times as large as `x`.
    fn columns(&self, x: &Tensor) -> Result<Tensor> {
        let dtype = factor_type(self.precision);
        let rows = self.s.c_in * 9;
        let columns = room((self.s.x_blocks, rows, self.positions()), dtype, x.device())?;
        let arguments = Columns {
            x: Read::of(x)?,
            columns: WriteAny::of(&columns)?,
            windows: self.windows(),
            bf16: (dtype == DType::BF16).into(),
        };
        launch(x.device(), arguments, Grid::Elements(columns.elem_count()))?;
        Ok(columns)
    }

    /// The gradient at `x` from that at its columns.
    fn back(&self, gradient: &Tensor) -> Result<Tensor> {
        let s = &self.s;
        let shape = self.order.shape(s.x_blocks, s.c_in, s.images, [s.height, s.width]);
        let dx = room(shape.to_vec(), DType::F32, gradient.device())?;
        let arguments = ColumnsBack {
            columns: Read::of(gradient)?,
            dx: Write::of(&dx)?,
            windows: self.windows(),
        };
        launch(gradient.device(), arguments, Grid::Elements(dx.elem_count()))?;
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
    let input = Input { s, ring: layer.padding.width(), order: from, precision };
    let rows = s.c_in * 9;
    let kept_x = x.detach().contiguous()?;
    let kept_w = w.detach().contiguous()?.reshape((s.blocks, s.c_out, rows))?;
    let bias = b.detach().contiguous()?;
    let sum = product(&kept_w, &input.columns(&kept_x)?, precision)?;
    let out = [s.out_height, s.out_width];
    let y = Fresh::new(to.shape(s.blocks, s.c_out, s.images, out).to_vec(), &device)?;
    let winner =
        room((s.blocks, s.c_out, s.images, s.out_height, s.out_width), DType::U8, &device)?;
    let end = End { s, side: layer.pool.side(), order: to };
    end.forward(&device, layer, [&sum, &bias, &winner], &y)?;
    let scale = layer.dropout.as_ref().map_or(1.0, Dropout::scale);
    let needs_x = x.track_op();
    let w_shape = w.dims().to_vec();
    let backward = move |_: &Tensor, dy: &Tensor| {
        let dy = dy.contiguous()?;
        let positions = input.positions();
        let ds = room((s.blocks, s.c_out, positions), DType::F32, &device)?;
        let arguments = ConvEndBack {
            dy: Read::of(&dy)?,
            winner: ReadU8::of(&winner)?,
            dsum: Write::of(&ds)?,
            pooled: end.pooled(),
            scale: scale.into(),
        };
        launch(&device, arguments, Grid::Elements(ds.elem_count()))?;
        let db = room((s.blocks, s.c_out), DType::F32, &device)?;
        let arguments =
            SumRows { x: Read::of(&ds)?, sums: Write::of(&db)?, columns: positions.into() };
        launch(&device, arguments, Grid::Groups(s.blocks * s.c_out))?;
        let dw = product(&ds, &input.columns(&kept_x)?.transpose(1, 2)?, precision)?;
        let dx = match (needs_x, s.x_blocks == s.blocks) {
            (false, _) => None,
            (true, true) => {
                Some(input.back(&product(&kept_w.transpose(1, 2)?, &ds, precision)?)?)
            }
            // One input for all blocks: one product over the channels of all blocks adds their gradients.
            (true, false) => {
                let w = kept_w.reshape((1, s.blocks * s.c_out, rows))?;
                let ds = ds.reshape((1, s.blocks * s.c_out, positions))?;
                Some(input.back(&product(&w.transpose(1, 2)?, &ds, precision)?)?)
            }
        };
        Ok([dx, Some(dw.reshape(w_shape.as_slice())?), Some(db)])
    };
    node("conv3x3", &[x, w, b], y.into_parts(), backward)
}

/// The end of a layer, after its product.
#[derive(Clone, Copy)]
struct End {
    s: Sizes,
    /// Values a side of a pooling window.
    side: usize,
    order: Order,
}

impl End {
    fn pooled(&self) -> Pooled<'static> {
        let s = &self.s;
        let [channel, image] = self.order.steps(s.c_out, s.images, [s.out_height, s.out_width]);
        Pooled {
            blocks: s.blocks.into(),
            channels: s.c_out.into(),
            images: s.images.into(),
            sum_height: s.conv_height.into(),
            sum_width: s.conv_width.into(),
            height: s.out_height.into(),
            width: s.out_width.into(),
            side: self.side.into(),
            channel_step: channel.into(),
            image_step: image.into(),
        }
    }

    /// Writes the result to `y` and its winners to `winner`.
    fn forward(
        &self,
        device: &Device,
        layer: &Conv3x3,
        [sum, bias, winner]: [&Tensor; 3],
        y: &Fresh,
    ) -> Result<()> {
        let s = &self.s;
        let dropout = layer.dropout.as_ref();
        let keys = dropout.map_or(&[][..], |dropout| &dropout.keys);
        // A launch holds a limited number of streams.
        let stride = if keys.is_empty() { s.blocks.max(1) } else { STREAMS };
        for first in (0..s.blocks).step_by(stride) {
            let end = s.blocks.min(first + stride);
            let arguments = ConvEnd {
                sum: Read::of(sum)?,
                bias: Read::of(bias)?,
                y: Write::of(y)?,
                winner: WriteU8::of(winner)?,
                pooled: self.pooled(),
                first_block: first.into(),
                end_block: end.into(),
                relu: (layer.act == Activation::Relu).into(),
                threshold: dropout.map_or(0, |dropout| dropout.threshold.into()).into(),
                first_image: dropout.map_or(0, |dropout| dropout.first_image as usize).into(),
                scale: dropout.map_or(1.0, Dropout::scale).into(),
                keys: Keys::of(keys.get(first..end).unwrap_or_default())?,
            };
            let elements = (end - first) * s.c_out * s.images * s.out_height * s.out_width;
            launch(device, arguments, Grid::Elements(elements))?;
        }
        Ok(())
    }
}
