//! The arguments of the kernels, by name. Each struct here is laid out as the one of its name in `kernels/*.cu`, whose fields
//! are described there; `every_struct_is_declared_alike` compares the two.

use std::marker::PhantomData;

use candle_core::{DType, Result, bail};

use super::operand::Operand;
use crate::random::key::StreamKey;

/// The most random streams in one launch, as in the kernels.
pub(super) const STREAMS: usize = 64;

/// The arguments of one kernel.
pub(super) trait Arguments: Copy {
    /// The name of the kernel.
    const KERNEL: &'static str;
}

macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident: $($dtype:ident)|*;)*) => {
        $(
            $(#[$doc])*
            #[repr(transparent)]
            #[derive(Clone, Copy)]
            pub(super) struct $name<'a>(u64, PhantomData<&'a ()>);

            impl<'a> $name<'a> {
                /// The address of `operand`, which stays borrowed until the launch.
                pub fn of(operand: &'a dyn Operand) -> Result<Self> {
                    match operand.dtype() {
                        $(DType::$dtype)|* => Ok(Self(operand.address()?, PhantomData)),
                        other => bail!("a kernel was given a tensor of {other:?}"),
                    }
                }
            }
        )*
    };
}

addresses! {
    /// The address of a tensor that is read.
    Read: F32;
    /// The address of a tensor that is written, and perhaps read before.
    Write: F32;
    /// The address of labels or row numbers.
    ReadU32: U32;
    /// The address of bytes that are read.
    ReadU8: U8;
    /// The address of bytes that are written.
    WriteU8: U8;
    /// The address of the factors of a product, in either type.
    WriteAny: F32 | BF16;
}

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident($c:ty): $from:ty, $convert:expr;)*) => {
        $(
            $(#[$doc])*
            #[repr(transparent)]
            #[derive(Clone, Copy)]
            pub(super) struct $name<'a>($c, PhantomData<&'a ()>);

            impl From<$from> for $name<'_> {
                fn from(value: $from) -> Self {
                    let convert: fn($from) -> $c = $convert;
                    Self(convert(value), PhantomData)
                }
            }
        )*
    };
}

values! {
    /// A size, a number of elements, or a place.
    Size(i64): usize, |size| size as i64;
    /// A choice.
    Flag(i64): bool, i64::from;
    /// A factor of all elements.
    Factor(f64): f64, |factor| factor;
    /// A random stream.
    Key(u64): StreamKey, |key| key.0;
}

/// The random streams of at most [`STREAMS`] blocks.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Keys<'a>([u64; STREAMS], PhantomData<&'a ()>);

impl Keys<'_> {
    /// The streams `keys`.
    pub fn of(keys: &[StreamKey]) -> Result<Self> {
        let mut all = [0; STREAMS];
        let Some(places) = all.get_mut(..keys.len()) else {
            bail!("{} random streams in one launch, at most {STREAMS}", keys.len())
        };
        for (place, key) in places.iter_mut().zip(keys) {
            *place = key.0;
        }
        Ok(Self(all, PhantomData))
    }
}

macro_rules! arguments {
    ($($name:ident $(for $kernel:literal)? { $($field:ident: $type:ident),* $(,)? })*) => {
        $(
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub(super) struct $name<'a> {
                $(pub $field: $type<'a>),*
            }

            $(
                impl Arguments for $name<'_> {
                    const KERNEL: &'static str = $kernel;
                }
            )?
        )*

        /// Type and name of every field of every struct, for the comparison with the sources.
        #[cfg(test)]
        pub(super) const DECLARED: &[(&str, &[(&str, &str)])] =
            &[$((stringify!($name), &[$((stringify!($type), stringify!($field))),*])),*];
    };
}

arguments! {
    Draws { out: Write, blocks: Size, count: Size, keys: Keys }
    Normal for "normal" { draws: Draws }
    Uniform for "uniform" { draws: Draws }
    NormalRows for "normal_rows" { out: Write, names: ReadU32, rows: Size, width: Size, key: Key }
    Spread for "spread" { out: Write, count: Size, key: Key }

    Windows {
        blocks: Size,
        channels: Size,
        images: Size,
        height: Size,
        width: Size,
        out_height: Size,
        out_width: Size,
        ring: Size,
        channel_step: Size,
        image_step: Size,
    }
    Columns for "columns" { x: Read, columns: WriteAny, windows: Windows, bf16: Flag }
    ColumnsBack for "columns_back" { columns: Read, dx: Write, windows: Windows }

    Pooled {
        blocks: Size,
        channels: Size,
        images: Size,
        sum_height: Size,
        sum_width: Size,
        height: Size,
        width: Size,
        side: Size,
        channel_step: Size,
        image_step: Size,
    }
    ConvEnd for "conv_end" {
        sum: Read,
        bias: Read,
        y: Write,
        winner: WriteU8,
        pooled: Pooled,
        first_block: Size,
        end_block: Size,
        relu: Flag,
        threshold: Size,
        first_image: Size,
        scale: Factor,
        keys: Keys,
    }
    ConvEndBack for "conv_end_back" {
        dy: Read,
        winner: ReadU8,
        dsum: Write,
        pooled: Pooled,
        scale: Factor,
    }

    BiasAct for "bias_act" {
        sum: Read,
        bias: Read,
        y: Write,
        blocks: Size,
        rows: Size,
        outputs: Size,
        relu: Flag,
    }
    ReluBack for "relu_back" { dy: Read, y: Read, dsum: Write, elements: Size }
    SumRows for "sum_rows" { x: Read, sums: Write, columns: Size }
    SumColumns for "sum_columns" { x: Read, sums: Write, rows: Size, features: Size }
    Norm { rows: Size, features: Size, relu: Flag, eps: Factor }
    BatchNorm for "batch_norm" {
        x: Read,
        gamma: Read,
        beta: Read,
        y: Write,
        mean: Write,
        var: Write,
        norm: Norm,
    }
    BatchNormBack for "batch_norm_back" {
        dy: Read,
        x: Read,
        y: Read,
        gamma: Read,
        mean: Read,
        var: Read,
        dx: Write,
        dgamma: Write,
        dbeta: Write,
        norm: Norm,
    }
    Follow for "follow" {
        mean: Write,
        var: Write,
        batch_mean: Read,
        batch_var: Read,
        elements: Size,
        momentum: Factor,
        unbiased: Factor,
    }
    Adam for "adam" {
        theta: Write,
        m: Write,
        v: Write,
        gradient: Read,
        elements: Size,
        beta1: Factor,
        beta2: Factor,
        eps: Factor,
        rate: Factor,
        root_scale: Factor,
        shrink: Factor,
        penalty: Factor,
    }

    SoftmaxError for "softmax_error" {
        logits: Read,
        labels: ReadU32,
        p: Write,
        error: Write,
        surprise: Write,
        blocks: Size,
        rows: Size,
        classes: Size,
    }
    SoftmaxBack for "softmax_back" { p: Read, dp: Read, out: Write, rows: Size, classes: Size }
    SumOfBlock for "sum_of_block" {
        x: Read,
        sums: Write,
        elements: Size,
        squared: Flag,
        factor: Factor,
    }
    ScaleBlocks for "scale_blocks" {
        x: Read,
        factors: Read,
        out: Write,
        blocks: Size,
        elements: Size,
        factor: Factor,
    }
}
