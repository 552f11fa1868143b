//! One channel of one image: sums over it, and the passes forward and backward.

use pulp::Simd;

use super::{ChannelNorm, Sizes};
use crate::activation::Activation;
use crate::conv::Pool;
use crate::cpu::simd::{Float, MOST_LANES};
use crate::pool::{larger, replaces};

/// Two sums in f64, each in lanes that are added at the end.
#[derive(Clone, Copy)]
pub(super) struct Sums<F> {
    wide: [[f64; MOST_LANES]; 2],
    /// Terms that are not in `wide` yet.
    lanes: [[F; MOST_LANES]; 2],
    /// The number of terms in `lanes`.
    pending: usize,
}

impl<F: Float> Sums<F> {
    /// Terms that are added in their own type: few enough in a lane that the sum keeps the precision of a term.
    const PENDING: usize = 64 * MOST_LANES;

    pub(super) fn new() -> Self {
        Self { wide: [[0.0; MOST_LANES]; 2], lanes: [[F::default(); MOST_LANES]; 2], pending: 0 }
    }

    /// Adds both `terms` of every pair of elements of `a` and `b`. Those of `none` must be 0.
    #[inline(always)]
    pub(super) fn add<S: Simd>(
        &mut self,
        s: S,
        [a, b]: [&[F]; 2],
        none: [F; 2],
        terms: impl Fn(F::Reg<S>, F::Reg<S>) -> [F::Reg<S>; 2],
    ) {
        let lanes = F::lanes::<S>();
        for (a, b) in a.chunks(Self::PENDING).zip(b.chunks(Self::PENDING)) {
            if self.pending + a.len() > Self::PENDING {
                self.widen();
            }
            self.pending += a.len();
            let mut sums = [F::load(s, &self.lanes[0]), F::load(s, &self.lanes[1])];
            let mut add = |a: &[F], b: &[F]| {
                let [first, second] = terms(F::load(s, a), F::load(s, b));
                sums = [F::plus(s, sums[0], first), F::plus(s, sums[1], second)];
            };
            let (a, b) = (a.chunks_exact(lanes), b.chunks_exact(lanes));
            let (a_rest, b_rest) = (a.remainder(), b.remainder());
            a.zip(b).for_each(|(a, b)| add(a, b));
            if !a_rest.is_empty() {
                let mut last = none.map(|none| [none; MOST_LANES]);
                last[0][..a_rest.len()].copy_from_slice(a_rest);
                last[1][..b_rest.len()].copy_from_slice(b_rest);
                add(&last[0], &last[1]);
            }
            for (lanes, sums) in self.lanes.iter_mut().zip(sums) {
                F::store(s, lanes, sums);
            }
        }
    }

    /// Adds the lanes to the sums in f64.
    #[inline(always)]
    fn widen(&mut self) {
        for (wide, lanes) in self.wide.iter_mut().zip(&self.lanes) {
            for (wide, lane) in wide.iter_mut().zip(lanes) {
                *wide += lane.wide();
            }
        }
        self.lanes = [[F::default(); MOST_LANES]; 2];
        self.pending = 0;
    }

    pub(super) fn totals(mut self) -> [f64; 2] {
        self.widen();
        self.wide.map(|lanes| lanes.iter().sum())
    }
}

/// A channel's normalisation and activation. The passes take it by value, so that the compiler sees that no result changes it.
#[derive(Clone, Copy)]
pub(super) struct Channel<F> {
    mean: F,
    /// `1 / √(var + eps)`.
    inverse: F,
    /// `γ / √(var + eps)`.
    scale: F,
    beta: F,
    /// The value up to which the activation gives 0; a not-a-number, to which nothing compares, for the identity.
    floor: F,
}

impl<F: Float> Channel<F> {
    pub(super) fn new(layer: &ChannelNorm, [mean, var]: [F; 2], [gamma, beta]: [F; 2]) -> Self {
        let inverse = F::one() / (var + F::constant(layer.eps)).root();
        let floor = match layer.act {
            Activation::None => F::constant(f64::NAN),
            Activation::Relu => F::default(),
        };
        Self { mean, inverse, scale: gamma * inverse, beta, floor }
    }

    /// Adds g and `g x̂` of values of `x` to `sums`, where g is the gradient before the activation.
    #[inline(always)]
    pub(super) fn add_gradients<S: Simd>(self, s: S, sums: &mut Sums<F>, x: &[F], g: &[F]) {
        let (mean, inverse) = (F::splat(s, self.mean), F::splat(s, self.inverse));
        sums.add(
            s,
            [x, g],
            [F::default(); 2],
            #[inline(always)]
            |x, g| [g, F::times(s, g, F::times(s, F::minus(s, x, mean), inverse))],
        );
    }

    /// `x̂ = (x - mean) / √(var + eps)`.
    #[inline(always)]
    fn normal(self, x: F) -> F {
        (x - self.mean) * self.inverse
    }

    /// `γ x̂ + β`. Both passes use this function, so they find the same maxima and zeros.
    #[inline(always)]
    fn value(self, x: F) -> F {
        (x - self.mean) * self.scale + self.beta
    }

    /// The activation of a [`Channel::value`].
    #[inline(always)]
    fn activated(self, value: F) -> F {
        if value <= self.floor { F::default() } else { value }
    }

    /// The gradient before the activation, from the `gradient` after it, at a value of `x`.
    #[inline(always)]
    pub(super) fn stopped(self, x: F, gradient: F) -> F {
        if self.value(x) <= self.floor { F::default() } else { gradient }
    }

    /// Returns `true` if `next` takes the place of `best` in a window.
    #[inline(always)]
    fn replaces(self, best: F, next: F) -> bool {
        replaces(self.value(best), self.value(next))
    }

    /// The one of two neighbours with the larger value.
    #[inline(always)]
    fn better(self, best: F, next: F) -> F {
        if self.replaces(best, next) { next } else { best }
    }
}

/// The gradient of a channel's values: `dx = γ (g - (dβ + x̂ dγ) / M) / √(var + eps)`, where g is the gradient of `γ x̂ + β`, and M
/// the number of values.
#[derive(Clone, Copy)]
pub(super) struct Back<F> {
    pub channel: Channel<F>,
    /// `dβ / M`; 0 when mean and variance were given.
    pub beta_share: F,
    /// `dγ / M`; 0 when mean and variance were given.
    pub gamma_share: F,
}

impl<F: Float> Back<F> {
    #[inline(always)]
    fn gradient(self, x: F, g: F) -> F {
        let through = self.beta_share + self.channel.normal(x) * self.gamma_share;
        self.channel.scale * (g - through)
    }
}

/// The layer on planes.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    pub sizes: Sizes,
    pub pool: Pool,
}

impl Planes {
    /// The elements of a plane.
    pub(super) fn plane(&self) -> usize {
        self.sizes.height * self.sizes.width
    }

    /// The elements of a plane of the result.
    pub(super) fn result(&self) -> usize {
        self.sizes.out_height * self.sizes.out_width
    }

    /// The elements of the room that the passes need: one for each pair of neighbours in the rows of windows.
    pub(super) fn room(&self) -> usize {
        match self.pool {
            Pool::None => 0,
            Pool::Max2 => 2 * self.result(),
        }
    }

    /// The plane `x` normalised, activated and pooled.
    #[inline(always)]
    pub(super) fn forward<F: Float>(
        &self,
        channel: Channel<F>,
        x: &[F],
        y: &mut [F],
        room: &mut [F],
    ) {
        match self.pool {
            Pool::None => {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = channel.activated(channel.value(*x));
                }
            }
            Pool::Max2 => {
                self.pairs(
                    x,
                    room,
                    #[inline(always)]
                    |a, b| larger(channel.value(a), channel.value(b)),
                );
                self.rows(
                    room,
                    #[inline(always)]
                    |row, top, bottom| {
                        let y = &mut y[row..][..top.len()];
                        for ((y, top), bottom) in y.iter_mut().zip(top).zip(bottom) {
                            *y = channel.activated(larger(*top, *bottom));
                        }
                    },
                );
            }
        }
    }

    /// The value of `x` at the maximum of each window, among equals at the first in reading order, at the start of `room`.
    #[inline(always)]
    pub(super) fn winners<F: Float>(&self, channel: Channel<F>, x: &[F], room: &mut [F]) {
        self.pairs(
            x,
            room,
            #[inline(always)]
            |a, b| channel.better(a, b),
        );
        let width = self.sizes.out_width;
        for row in 0..self.sizes.out_height {
            // Each row of results takes the place of pairs that are done.
            let (before, pairs) = room.split_at_mut(2 * row * width);
            let (top, bottom) = pairs[..2 * width].split_at_mut(width);
            if row == 0 {
                for (top, bottom) in top.iter_mut().zip(bottom) {
                    *top = channel.better(*top, *bottom);
                }
            } else {
                let best = &mut before[row * width..][..width];
                for ((best, top), bottom) in best.iter_mut().zip(top).zip(bottom) {
                    *best = channel.better(*top, *bottom);
                }
            }
        }
    }

    /// The gradient of the plane `x`, from the `gradient` of its result.
    #[inline(always)]
    pub(super) fn backward<F: Float>(
        &self,
        back: Back<F>,
        x: &[F],
        gradient: &[F],
        dx: &mut [F],
        room: &mut [F],
    ) {
        let channel = back.channel;
        match self.pool {
            Pool::None => {
                for ((dx, x), gradient) in dx.iter_mut().zip(x).zip(gradient) {
                    *dx = back.gradient(*x, channel.stopped(*x, *gradient));
                }
            }
            Pool::Max2 => {
                self.pairs(
                    x,
                    room,
                    #[inline(always)]
                    |a, b| channel.better(a, b),
                );
                // Each pair's gradient takes the place of its better value.
                let width = self.sizes.out_width;
                let rows = room.chunks_exact_mut(2 * width).zip(gradient.chunks_exact(width));
                for (pairs, gradient) in rows {
                    let (top, bottom) = pairs.split_at_mut(width);
                    for ((top, bottom), gradient) in top.iter_mut().zip(bottom).zip(gradient) {
                        let below = channel.replaces(*top, *bottom);
                        let best = if below { *bottom } else { *top };
                        let g = channel.stopped(best, *gradient);
                        *top = if below { F::default() } else { g };
                        *bottom = if below { g } else { F::default() };
                    }
                }
                self.pairs_back(back, x, room, dx);
            }
        }
    }

    /// The lengths of the lines that are cut into pairs: rows of pixels, or all rows of windows at once if no pixel is left over in a row.
    fn line(&self) -> [usize; 2] {
        let Sizes { width, out_height, out_width, .. } = self.sizes;
        match width % 2 {
            0 => [2 * out_height * width, 2 * out_height * out_width],
            _ => [width, out_width],
        }
    }

    /// Writes `f` of each pair of neighbours in the rows of windows to `to`.
    #[inline(always)]
    fn pairs<F: Float>(&self, x: &[F], to: &mut [F], f: impl Fn(F, F) -> F) {
        let [pixels, pairs] = self.line();
        for (x, to) in x.chunks_exact(pixels).zip(to.chunks_exact_mut(pairs)) {
            for (to, [a, b]) in to.iter_mut().zip(x.as_chunks::<2>().0) {
                *to = f(*a, *b);
            }
        }
    }

    /// The gradient of the plane `x`, from that of each pair of neighbours in the rows of windows.
    #[inline(always)]
    fn pairs_back<F: Float>(&self, back: Back<F>, x: &[F], gradient: &[F], dx: &mut [F]) {
        let channel = back.channel;
        let [pixels, pairs] = self.line();
        let mut used = 0;
        for ((x, gradient), dx) in x
            .chunks_exact(pixels)
            .zip(gradient.chunks_exact(pairs))
            .zip(dx.chunks_exact_mut(pixels))
        {
            used += pixels;
            let (x, x_rest) = x.as_chunks::<2>();
            let (dx, dx_rest) = dx.as_chunks_mut::<2>();
            for ((dx, [a, b]), gradient) in dx.iter_mut().zip(x).zip(gradient) {
                let right = channel.replaces(*a, *b);
                dx[0] = back.gradient(*a, if right { F::default() } else { *gradient });
                dx[1] = back.gradient(*b, if right { *gradient } else { F::default() });
            }
            back.outside(x_rest, dx_rest);
        }
        back.outside(&x[used..], &mut dx[used..]);
    }

    /// Calls `f` with the place of each row of results among the results, and with the upper and the lower row of its pairs.
    #[inline(always)]
    fn rows<F: Float>(&self, pairs: &[F], mut f: impl FnMut(usize, &[F], &[F])) {
        let width = self.sizes.out_width;
        for (row, pairs) in pairs.chunks_exact(2 * width).enumerate() {
            let (top, bottom) = pairs.split_at(width);
            f(row * width, top, bottom);
        }
    }
}

impl<F: Float> Back<F> {
    /// The gradient of values that are in no window: they count in mean and variance alone.
    #[inline(always)]
    fn outside(self, x: &[F], dx: &mut [F]) {
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = self.gradient(*x, F::default());
        }
    }
}
