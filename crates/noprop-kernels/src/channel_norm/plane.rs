//! One channel of one image: sums over it, and the passes forward and backward.

use super::Sizes;
use crate::activation::Activation;
use crate::conv::Pool;
use crate::cpu::simd::{Float, MOST_LANES};
use crate::pool::{larger, replaces};

/// Two sums in f64, each in lanes that are added at the end.
#[derive(Clone, Copy, Default)]
pub(super) struct Sums([[f64; MOST_LANES]; 2]);

impl Sums {
    /// Adds both `terms` of every pair of elements of `a` and `b`. Terms are added in their own type, few enough to a lane that the sum has
    /// the precision of a term; the rest is in f64.
    #[inline(always)]
    pub(super) fn add<F: Float>(&mut self, a: &[F], b: &[F], terms: impl Fn(F, F) -> [F; 2]) {
        const PIECE: usize = 64 * MOST_LANES;
        for (a, b) in a.chunks(PIECE).zip(b.chunks(PIECE)) {
            let mut lanes = [[F::default(); MOST_LANES]; 2];
            let (a, a_rest) = a.as_chunks::<MOST_LANES>();
            let (b, b_rest) = b.as_chunks::<MOST_LANES>();
            for (a, b) in a.iter().zip(b) {
                for i in 0..MOST_LANES {
                    let [first, second] = terms(a[i], b[i]);
                    lanes[0][i] += first;
                    lanes[1][i] += second;
                }
            }
            for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
                let [first, second] = terms(*a, *b);
                lanes[0][i] += first;
                lanes[1][i] += second;
            }
            for (sums, lanes) in self.0.iter_mut().zip(lanes) {
                for i in 0..MOST_LANES {
                    sums[i] += lanes[i].wide();
                }
            }
        }
    }

    pub(super) fn totals(self) -> [f64; 2] {
        self.0.map(|lanes| lanes.iter().sum())
    }
}

/// A channel's normalisation.
#[derive(Clone, Copy)]
pub(super) struct Channel<F> {
    pub mean: F,
    /// `1 / √(var + eps)`.
    pub inverse: F,
    pub gamma: F,
    pub beta: F,
}

impl<F: Float> Channel<F> {
    /// `x̂ = (x - mean) / √(var + eps)`.
    #[inline(always)]
    pub(super) fn normal(&self, x: F) -> F {
        (x - self.mean) * self.inverse
    }

    /// `γ x̂ + β`. Both passes use this function, so they find the same maxima and zeros.
    #[inline(always)]
    pub(super) fn value(&self, x: F) -> F {
        (x - self.mean) * (self.gamma * self.inverse) + self.beta
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
    fn gradient(&self, x: F, g: F) -> F {
        let through = self.beta_share + self.channel.normal(x) * self.gamma_share;
        self.channel.gamma * self.channel.inverse * (g - through)
    }
}

/// The layer on planes.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    pub sizes: Sizes,
    pub act: Activation,
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

    /// The plane `x` normalised, activated and pooled.
    #[inline(always)]
    pub(super) fn forward<F: Float>(&self, channel: &Channel<F>, x: &[F], y: &mut [F]) {
        match self.pool {
            Pool::None => {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = self.act.apply(channel.value(*x));
                }
            }
            Pool::Max2 => self.windows(x, y, |[a, b], [c, d]| {
                let top = larger(channel.value(a), channel.value(b));
                let bottom = larger(channel.value(c), channel.value(d));
                self.act.apply(larger(top, bottom))
            }),
        }
    }

    /// The value of `x` at the maximum of each window.
    #[inline(always)]
    pub(super) fn winners<F: Float>(&self, channel: &Channel<F>, x: &[F], winners: &mut [F]) {
        self.windows(x, winners, |[a, b], [c, d]| {
            Place::of(channel, [a, b], [c, d]).pick(a, b, c, d)
        });
    }

    /// The gradient before the activation, from the `gradient` after it, at a value of `x`.
    #[inline(always)]
    pub(super) fn stopped<F: Float>(&self, channel: &Channel<F>, x: F, gradient: F) -> F {
        self.act.back(channel.value(x), gradient)
    }

    /// Calls `f` with the upper and the lower pair of each window, and writes its result to `y`.
    #[inline(always)]
    fn windows<F: Float>(&self, x: &[F], y: &mut [F], f: impl Fn([F; 2], [F; 2]) -> F) {
        let (width, out_width) = (self.sizes.width, self.sizes.out_width);
        for (lines, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(out_width)) {
            let (top, bottom) = lines.split_at(width);
            let (top, bottom) = (top.as_chunks::<2>().0, bottom.as_chunks::<2>().0);
            for ((y, top), bottom) in y.iter_mut().zip(top).zip(bottom) {
                *y = f(*top, *bottom);
            }
        }
    }

    /// The gradient of the plane `x`, from the `gradient` of its result.
    #[inline(always)]
    pub(super) fn backward<F: Float>(&self, back: &Back<F>, x: &[F], gradient: &[F], dx: &mut [F]) {
        let channel = &back.channel;
        match self.pool {
            Pool::None => {
                for ((dx, x), gradient) in dx.iter_mut().zip(x).zip(gradient) {
                    *dx = back.gradient(*x, self.stopped(channel, *x, *gradient));
                }
            }
            Pool::Max2 => {
                let (width, out_width) = (self.sizes.width, self.sizes.out_width);
                let used = self.sizes.out_height * 2 * width;
                let (dx, dx_rest) = dx.split_at_mut(used);
                let (x, x_rest) = x.split_at(used);
                // A row that is in no window.
                back.outside(x_rest, dx_rest);
                for ((dx, x), gradient) in dx
                    .chunks_exact_mut(2 * width)
                    .zip(x.chunks_exact(2 * width))
                    .zip(gradient.chunks_exact(out_width))
                {
                    self.backward_line(back, x, gradient, dx);
                }
            }
        }
    }

    /// One row of windows of [`Planes::backward`].
    #[inline(always)]
    fn backward_line<F: Float>(&self, back: &Back<F>, x: &[F], gradient: &[F], dx: &mut [F]) {
        let channel = &back.channel;
        let (top, bottom) = x.split_at(self.sizes.width);
        let (dx_top, dx_bottom) = dx.split_at_mut(self.sizes.width);
        let ((top, top_rest), (bottom, bottom_rest)) = (top.as_chunks::<2>(), bottom.as_chunks());
        let (dx_top, dx_top_rest) = dx_top.as_chunks_mut::<2>();
        let (dx_bottom, dx_bottom_rest) = dx_bottom.as_chunks_mut::<2>();
        back.outside(top_rest, dx_top_rest);
        back.outside(bottom_rest, dx_bottom_rest);
        let pairs = top.iter().zip(bottom).zip(gradient);
        for ((dx_top, dx_bottom), ((top, bottom), gradient)) in
            dx_top.iter_mut().zip(dx_bottom).zip(pairs)
        {
            let ([a, b], [c, d]) = (*top, *bottom);
            let place = Place::of(channel, *top, *bottom);
            let g = self.stopped(channel, place.pick(a, b, c, d), *gradient);
            let zero = F::default();
            dx_top[0] = back.gradient(a, place.pick(g, zero, zero, zero));
            dx_top[1] = back.gradient(b, place.pick(zero, g, zero, zero));
            dx_bottom[0] = back.gradient(c, place.pick(zero, zero, g, zero));
            dx_bottom[1] = back.gradient(d, place.pick(zero, zero, zero, g));
        }
    }
}

impl<F: Float> Back<F> {
    /// The gradient of values that are in no window: they count in mean and variance alone.
    #[inline(always)]
    fn outside(&self, x: &[F], dx: &mut [F]) {
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = self.gradient(*x, F::default());
        }
    }
}

/// The place of the maximum in a window; among equals the first in reading order.
#[derive(Clone, Copy)]
struct Place {
    /// In the second of the two upper values rather than in the first.
    right_above: bool,
    /// The same for the lower ones.
    right_below: bool,
    /// Among the lower ones.
    below: bool,
}

impl Place {
    #[inline(always)]
    fn of<F: Float>(channel: &Channel<F>, top: [F; 2], bottom: [F; 2]) -> Self {
        let ([a, b], [c, d]) = (top.map(|x| channel.value(x)), bottom.map(|x| channel.value(x)));
        Self {
            right_above: replaces(a, b),
            right_below: replaces(c, d),
            below: replaces(larger(a, b), larger(c, d)),
        }
    }

    /// The value that stands at this place.
    #[inline(always)]
    fn pick<F: Copy>(self, a: F, b: F, c: F, d: F) -> F {
        let above = if self.right_above { b } else { a };
        let below = if self.right_below { d } else { c };
        if self.below { below } else { above }
    }
}
