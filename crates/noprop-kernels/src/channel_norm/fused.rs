//! Batch normalisation of images on the CPU.
//!
//! A task takes a strip: a few channels side by side, of all images of a block. It computes their statistics and normalises them while the
//! strip is in the cache, so every tensor goes through the memory once, forward and backward. No sum is shared between tasks, and within one
//! images are added in order, so the result does not depend on the number of threads.

use candle_core::{DType, Device, Result, Tensor};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::plane::{Back, Channel, Planes, Sums};
use super::{ChannelNorm, OP, Sizes};
use crate::batch_norm::{BatchNormMode, BatchNormOutput};
use crate::conv::Pool;
use crate::cpu::columns::Columns;
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Float;
use crate::cpu::storage::elements;
use crate::node::{gradient, node, on_cpu};
use crate::threads::grain;

/// Elements of an image's part of a strip: a few cache lines at least, so that reading strip by strip costs no more than reading in
/// order, and few enough that a strip of a batch fits a core's cache.
const STRIP: usize = 512;

/// See [`ChannelNorm::forward`]; the arguments have been checked.
pub(super) fn apply(
    layer: ChannelNorm,
    sizes: Sizes,
    x: &Tensor,
    parameters: [&Tensor; 2],
    residual: Option<&Tensor>,
    mode: BatchNormMode<'_>,
) -> Result<BatchNormOutput> {
    match x.dtype() {
        DType::F32 => apply_in::<f32>(layer, sizes, x, parameters, residual, mode),
        _ => apply_in::<f64>(layer, sizes, x, parameters, residual, mode),
    }
}

fn apply_in<F: Float>(
    layer: ChannelNorm,
    sizes: Sizes,
    x: &Tensor,
    parameters: [&Tensor; 2],
    residual: Option<&Tensor>,
    mode: BatchNormMode<'_>,
) -> Result<BatchNormOutput> {
    let planes = Planes { sizes, pool: layer.pool };
    let norm = Norm { layer, planes, source: Source::of(mode) };
    // One tensor, because a candle op takes three arguments at most.
    let packed = Tensor::stack(&parameters, 0)?;
    let arguments: Vec<&Tensor> = [x, &packed].into_iter().chain(residual).collect();
    let (x, parameters) = (x.detach().contiguous()?, packed.detach());
    let given = match mode {
        BatchNormMode::Train => None,
        BatchNormMode::Eval { mean, var } => Some(Tensor::stack(&[mean, var], 0)?.detach()),
    };
    let added = residual.map(|residual| residual.detach().contiguous()).transpose()?;
    let (out, statistics) = norm.forward::<F>(
        &elements(&x)?,
        &elements(&parameters)?,
        given.as_ref().map(elements).transpose()?.as_deref(),
        added.as_ref().map(elements).transpose()?.as_deref(),
    );
    let statistics = match given {
        Some(given) => given,
        None => Tensor::from_vec(statistics, (2, sizes.blocks, sizes.channels), &Device::Cpu)?,
    };
    let (mean, var) = (statistics.get(0)?, statistics.get(1)?);
    let value = on_cpu(out, &sizes.result());
    let has_residual = residual.is_some();
    let y = node(OP, &arguments, value, move |_, dout| {
        let (dx, dparameters) = norm.backward::<F>(
            &elements(&x)?,
            &elements(&parameters)?,
            &elements(&statistics)?,
            &elements(&dout.contiguous()?)?,
        );
        // The residual is added as it is.
        let dresidual = has_residual.then(|| dout.clone());
        Ok([gradient(dx, x.shape())?, gradient(dparameters, parameters.shape())?, dresidual])
    })?;
    Ok(BatchNormOutput { y, mean, var, values: sizes.values() })
}

/// The source of mean and variance.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The batch.
    Batch,
    /// The caller: constants in the backward pass.
    Given,
}

impl Source {
    fn of(mode: BatchNormMode<'_>) -> Self {
        match mode {
            BatchNormMode::Train => Self::Batch,
            BatchNormMode::Eval { .. } => Self::Given,
        }
    }
}

/// The layer. Parameters are γ and β, statistics mean and variance, each `[2, T, C]`.
#[derive(Clone, Copy)]
struct Norm {
    layer: ChannelNorm,
    planes: Planes,
    source: Source,
}

/// A few channels of one block.
#[derive(Clone, Copy)]
struct Strip {
    block: usize,
    /// The first channel.
    first: usize,
    /// The number of channels.
    count: usize,
}

impl Norm {
    /// The strips of all blocks, in order.
    fn strips(&self) -> Vec<Strip> {
        let Sizes { blocks, channels, .. } = self.planes.sizes;
        let together = (STRIP / self.planes.plane()).max(1);
        (0..blocks)
            .flat_map(|block| {
                (0..channels).step_by(together).map(move |first| Strip {
                    block,
                    first,
                    count: together.min(channels - first),
                })
            })
            .collect()
    }

    /// Calls `run` for every strip. It writes the strip's part of a tensor with planes of `plane` elements. Returns what it returned, in
    /// order of the channels, and the tensor.
    fn over_strips<F: Float>(
        &self,
        plane: usize,
        run: impl Fn(Strip, &Columns<'_, F>) -> Vec<[F; 2]> + Sync,
    ) -> (Vec<[F; 2]>, Vec<F>) {
        let Sizes { blocks, images, channels, .. } = self.planes.sizes;
        let mut found = Vec::new();
        let fill = |columns: &Columns<'_, F>| {
            let strips = self.strips().into_par_iter().with_min_len(grain());
            let parts: Vec<_> = strips.map(|strip| run(strip, columns)).collect();
            found = parts.concat();
        };
        // SAFETY: the strips cover the tensor, and `run` writes the whole of each.
        #[expect(unsafe_code, reason = "memory that is not zeroed before it is written")]
        let tensor = unsafe { Columns::filled(blocks * images, channels * plane, fill) };
        (found, tensor)
    }

    /// The place of channel number `index` of `strip` among the parameters.
    fn at(&self, strip: Strip, index: usize) -> usize {
        strip.block * self.planes.sizes.channels + strip.first + index
    }

    /// The second of two parameters or statistics that lie side by side.
    fn second(&self) -> usize {
        self.planes.sizes.blocks * self.planes.sizes.channels
    }

    /// The strip's part of image number `image` of a tensor with planes of `plane` elements.
    fn part<'a, F>(&self, tensor: &'a [F], plane: usize, strip: Strip, image: usize) -> &'a [F] {
        let Sizes { images, channels, .. } = self.planes.sizes;
        let start = ((strip.block * images + image) * channels + strip.first) * plane;
        &tensor[start..][..strip.count * plane]
    }

    /// Channel number `index` of such a part.
    fn one<'a, F>(
        &self,
        tensor: &'a [F],
        plane: usize,
        strip: Strip,
        image: usize,
        index: usize,
    ) -> &'a [F] {
        &self.part(tensor, plane, strip, image)[index * plane..][..plane]
    }

    fn channel<F: Float>(&self, parameters: &[F], at: usize, statistics: [F; 2]) -> Channel<F> {
        Channel::new(&self.layer, statistics, [parameters[at], parameters[self.second() + at]])
    }

    /// The result, and the statistics of the batch unless they are `given`.
    fn forward<F: Float>(
        &self,
        x: &[F],
        parameters: &[F],
        given: Option<&[F]>,
        residual: Option<&[F]>,
    ) -> (Vec<F>, Vec<F>) {
        let planes = &self.planes;
        let (sizes, plane, result) = (planes.sizes, planes.plane(), planes.result());
        let mut statistics = vec![F::default(); 2 * self.second()];
        if x.is_empty() {
            return (Vec::new(), statistics);
        }
        let arch = instruction_set::current();
        let run = |strip: Strip, out: &Columns<'_, F>| {
            let mut done = Scratch::any(strip.count * result);
            let found: Vec<[F; 2]> = match given {
                Some(given) => (0..strip.count)
                    .map(|index| self.at(strip, index))
                    .map(|at| [given[at], given[self.second() + at]])
                    .collect(),
                None => (0..strip.count).map(|index| self.moments(arch, x, strip, index)).collect(),
            };
            let channels: Vec<Channel<F>> = (0..strip.count)
                .zip(&found)
                .map(|(index, found)| self.channel(parameters, self.at(strip, index), *found))
                .collect();
            let mut room = Scratch::any(planes.room());
            let room = &mut *room;
            for image in 0..sizes.images {
                let x = self.part(x, plane, strip, image);
                let residual = residual.map(|all| self.part(all, result, strip, image));
                let done = &mut *done;
                vectorised(
                    arch,
                    #[inline(always)]
                    || {
                        for ((channel, x), y) in channels
                            .iter()
                            .zip(x.chunks_exact(plane))
                            .zip(done.chunks_exact_mut(result))
                        {
                            planes.forward(*channel, x, y, room);
                        }
                        if let Some(residual) = residual {
                            for (y, residual) in done.iter_mut().zip(residual) {
                                *y += *residual;
                            }
                        }
                    },
                );
                // SAFETY: strips do not overlap, and one task has this one.
                #[expect(unsafe_code, reason = "tasks write to columns of their own")]
                unsafe {
                    out.write(strip.block * sizes.images + image, strip.first * result, done);
                }
            }
            found
        };
        let (found, out) = self.over_strips(result, run);
        for (at, [mean, var]) in found.into_iter().enumerate() {
            statistics[at] = mean;
            statistics[self.second() + at] = var;
        }
        (out, statistics)
    }

    /// Mean and variance of one channel of the batch.
    fn moments<F: Float>(&self, arch: Arch, x: &[F], strip: Strip, index: usize) -> [F; 2] {
        let values = self.planes.sizes.values() as f64;
        let sums = |about: F| {
            let sums = arch.dispatch(Moments { norm: self, x, strip, index, about });
            sums.map(|sum| sum / values)
        };
        let [about, _] = sums(F::default());
        let about = F::constant(about);
        // The mean was rounded, so the sums about it are corrected by what is left.
        let [off, square] = sums(about);
        let var = square - off * off;
        // A comparison, because the maximum with 0 would lose a not-a-number.
        [F::constant(about.wide() + off), F::constant(if var < 0.0 { 0.0 } else { var })]
    }

    /// The gradients of `x` and of the parameters.
    fn backward<F: Float>(
        &self,
        x: &[F],
        parameters: &[F],
        statistics: &[F],
        gradient: &[F],
    ) -> (Vec<F>, Vec<F>) {
        let planes = &self.planes;
        let (sizes, plane, result) = (planes.sizes, planes.plane(), planes.result());
        let mut dparameters = vec![F::default(); parameters.len()];
        if x.is_empty() {
            return (Vec::new(), dparameters);
        }
        let arch = instruction_set::current();
        let run = |strip: Strip, dx: &Columns<'_, F>| {
            let mut done = Scratch::any(strip.count * plane);
            let (found, backs): (Vec<[F; 2]>, Vec<Back<F>>) = (0..strip.count)
                .map(|index| {
                    let at = self.at(strip, index);
                    let statistics = [statistics[at], statistics[self.second() + at]];
                    let channel = self.channel(parameters, at, statistics);
                    let norm = self;
                    let sums = ParameterSums { norm, channel, x, gradient, strip, index };
                    let sums = arch.dispatch(sums);
                    let [beta_share, gamma_share] = match self.source {
                        Source::Batch => sums.map(|sum| F::constant(sum / sizes.values() as f64)),
                        Source::Given => [F::default(); 2],
                    };
                    (sums.map(F::constant), Back { channel, beta_share, gamma_share })
                })
                .unzip();
            let mut room = Scratch::any(planes.room());
            let room = &mut *room;
            for image in 0..sizes.images {
                let x = self.part(x, plane, strip, image);
                let gradient = self.part(gradient, result, strip, image);
                let done = &mut *done;
                vectorised(
                    arch,
                    #[inline(always)]
                    || {
                        for (((back, x), gradient), dx) in backs
                            .iter()
                            .zip(x.chunks_exact(plane))
                            .zip(gradient.chunks_exact(result))
                            .zip(done.chunks_exact_mut(plane))
                        {
                            planes.backward(*back, x, gradient, dx, room);
                        }
                    },
                );
                // SAFETY: strips do not overlap, and one task has this one.
                #[expect(unsafe_code, reason = "tasks write to columns of their own")]
                unsafe {
                    dx.write(strip.block * sizes.images + image, strip.first * plane, done);
                }
            }
            found
        };
        let (found, dx) = self.over_strips(plane, run);
        for (at, [dbeta, dgamma]) in found.into_iter().enumerate() {
            dparameters[at] = dgamma;
            dparameters[self.second() + at] = dbeta;
        }
        (dx, dparameters)
    }
}

/// The sums of `x - about` and of its square, over one channel.
struct Moments<'a, F> {
    norm: &'a Norm,
    x: &'a [F],
    strip: Strip,
    index: usize,
    about: F,
}

impl<F: Float> WithSimd for Moments<'_, F> {
    type Output = [f64; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> [f64; 2] {
        let Self { norm, x, strip, index, about } = self;
        let mut sums = Sums::new();
        let about_all = F::splat(s, about);
        for image in 0..norm.planes.sizes.images {
            let x = norm.one(x, norm.planes.plane(), strip, image, index);
            sums.add(
                s,
                [x, x],
                [about; 2],
                #[inline(always)]
                |x, _| {
                    let off = F::minus(s, x, about_all);
                    [off, F::times(s, off, off)]
                },
            );
        }
        sums.totals()
    }
}

/// One channel's dβ and dγ: the sums of g and of `g x̂`.
struct ParameterSums<'a, F> {
    norm: &'a Norm,
    channel: Channel<F>,
    x: &'a [F],
    gradient: &'a [F],
    strip: Strip,
    index: usize,
}

impl<F: Float> WithSimd for ParameterSums<'_, F> {
    type Output = [f64; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> [f64; 2] {
        let Self { norm, channel, x, gradient, strip, index } = self;
        let planes = &norm.planes;
        let (plane, result) = (planes.plane(), planes.result());
        let mut sums = Sums::new();
        let (mut room, mut stopped) = (Scratch::any(planes.room()), Scratch::any(result));
        for image in 0..planes.sizes.images {
            let x = norm.one(x, plane, strip, image, index);
            let gradient = norm.one(gradient, result, strip, image, index);
            let x = match planes.pool {
                Pool::None => x,
                Pool::Max2 => {
                    planes.winners(channel, x, &mut room);
                    &room[..result]
                }
            };
            for ((g, x), gradient) in stopped.iter_mut().zip(x).zip(gradient) {
                *g = channel.stopped(*x, *gradient);
            }
            channel.add_gradients(s, &mut sums, x, &stopped);
        }
        sums.totals()
    }
}
