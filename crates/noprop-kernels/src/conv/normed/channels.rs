//! The batch norm of one image that lies channels last, with the ReLU, the pooling and the addition that follow it.
//!
//! Each step goes through the positions in order and takes a vector of channels at a time.

use pulp::{Simd, WithSimd};

use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Float, MOST_LANES};
use crate::pool::{larger, replaces};

/// The channels that one step of a loop takes.
type Lanes<F> = [F; MOST_LANES];

fn lanes<F>(all: &[F]) -> &[Lanes<F>] {
    all.as_chunks().0
}

fn lanes_mut<F>(all: &mut [F]) -> &mut [Lanes<F>] {
    all.as_chunks_mut().0
}

/// The sizes of one layer's values: `[height][width][whole]` before pooling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plane {
    pub height: usize,
    pub width: usize,
    /// Channels in whole vectors.
    pub whole: usize,
    /// Values a side of a window: 1 without pooling.
    pub side: usize,
}

impl Plane {
    pub(super) fn positions(&self) -> usize {
        self.height * self.width
    }

    /// The elements before pooling.
    pub(super) fn raw(&self) -> usize {
        self.positions() * self.whole
    }

    /// Height and width after pooling.
    pub(super) fn out(&self) -> [usize; 2] {
        [self.height / self.side, self.width / self.side]
    }

    /// The elements after pooling.
    pub(super) fn result(&self) -> usize {
        let [height, width] = self.out();
        height * width * self.whole
    }

    /// The four pixels of window number `index`, in reading order.
    #[inline(always)]
    fn window<'a, F>(&self, raw: &'a [F], index: usize) -> [&'a [F]; 4] {
        let width = self.width / 2;
        let start = (2 * (index / width) * self.width + 2 * (index % width)) * self.whole;
        let line = self.width * self.whole;
        let (a, b) = raw[start..][..2 * self.whole].split_at(self.whole);
        let (c, d) = raw[start + line..][..2 * self.whole].split_at(self.whole);
        [a, b, c, d]
    }
}

/// The normalisation of one block's channels, each in whole vectors.
pub(super) struct Channels<F: Float> {
    mean: Scratch<F>,
    /// `1 / √(var + eps)`.
    inverse: Scratch<F>,
    /// `γ / √(var + eps)`.
    scale: Scratch<F>,
    beta: Scratch<F>,
}

/// The numbers that one vector of channels is normalised with.
#[derive(Clone, Copy)]
struct Affine<'a, F> {
    mean: &'a Lanes<F>,
    scale: &'a Lanes<F>,
    beta: &'a Lanes<F>,
}

impl<F: Float> Affine<'_, F> {
    /// `γ x̂ + β` of channel `i`. All passes use this function, so they find the same maxima and zeros.
    #[inline(always)]
    fn value(&self, i: usize, x: F) -> F {
        (x - self.mean[i]) * self.scale[i] + self.beta[i]
    }

    /// The gradient before ReLU, from the `gradient` after it. The caller loads it: loaded inside the condition it would keep the compiler
    /// from using vectors.
    #[inline(always)]
    fn stopped(&self, i: usize, x: F, gradient: F) -> F {
        if self.value(i, x) <= F::default() { F::default() } else { gradient }
    }

    /// The one of two neighbours with the larger value.
    #[inline(always)]
    fn better(&self, i: usize, best: F, next: F) -> F {
        if replaces(self.value(i, best), self.value(i, next)) { next } else { best }
    }
}

/// ReLU. A comparison, because the maximum with 0 would lose a not-a-number.
#[inline(always)]
fn activated<F: Float>(value: F) -> F {
    if value <= F::default() { F::default() } else { value }
}

impl<F: Float> Channels<F> {
    /// From mean and variance, and from γ and β, each in `whole` channels or fewer.
    pub(super) fn new(
        whole: usize,
        eps: f64,
        [mean, var]: [&[F]; 2],
        [gamma, beta]: [&[F]; 2],
    ) -> Self {
        let part = |from: &dyn Fn(usize) -> F| {
            let mut part = Scratch::zeros(whole);
            for (i, v) in part.iter_mut().take(gamma.len()).enumerate() {
                *v = from(i);
            }
            part
        };
        let inverse = |i: usize| F::one() / (var[i] + F::constant(eps)).root();
        Self {
            mean: part(&|i| mean[i]),
            inverse: part(&inverse),
            scale: part(&|i| gamma[i] * inverse(i)),
            beta: part(&|i| beta[i]),
        }
    }

    #[inline(always)]
    fn norms(&self) -> impl Iterator<Item = Affine<'_, F>> {
        let scaled = lanes(&self.scale).iter().zip(lanes(&self.beta));
        let norm = |(mean, (scale, beta))| Affine { mean, scale, beta };
        lanes(&self.mean).iter().zip(scaled).map(norm)
    }

    /// Normalises, activates and pools one image.
    #[inline(always)]
    pub(super) fn finish(&self, plane: &Plane, raw: &[F], out: &mut [F]) {
        for (index, out) in out.chunks_exact_mut(plane.whole).enumerate() {
            if plane.side == 1 {
                let raw = &raw[index * plane.whole..][..plane.whole];
                for ((norm, x), out) in self.norms().zip(lanes(raw)).zip(lanes_mut(out)) {
                    for i in 0..MOST_LANES {
                        out[i] = activated(norm.value(i, x[i]));
                    }
                }
            } else {
                let [a, b, c, d] = plane.window(raw, index);
                let (a, b, c, d) = (lanes(a), lanes(b), lanes(c), lanes(d));
                let pixels = a.iter().zip(b).zip(c.iter().zip(d));
                for ((norm, ((a, b), (c, d))), out) in self.norms().zip(pixels).zip(lanes_mut(out))
                {
                    for i in 0..MOST_LANES {
                        let top = larger(norm.value(i, a[i]), norm.value(i, b[i]));
                        let bottom = larger(norm.value(i, c[i]), norm.value(i, d[i]));
                        out[i] = activated(larger(top, bottom));
                    }
                }
            }
        }
    }

    /// The raw value at the maximum of each window, among equals the first in reading order.
    #[inline(always)]
    pub(super) fn winners(&self, plane: &Plane, raw: &[F], winners: &mut [F]) {
        for (index, out) in winners.chunks_exact_mut(plane.whole).enumerate() {
            let [a, b, c, d] = plane.window(raw, index);
            let (a, b, c, d) = (lanes(a), lanes(b), lanes(c), lanes(d));
            let pixels = a.iter().zip(b).zip(c.iter().zip(d));
            for ((norm, ((a, b), (c, d))), out) in self.norms().zip(pixels).zip(lanes_mut(out)) {
                for i in 0..MOST_LANES {
                    let (top, bottom) = (norm.better(i, a[i], b[i]), norm.better(i, c[i], d[i]));
                    out[i] = norm.better(i, top, bottom);
                }
            }
        }
    }

    /// Sets the gradient of results to zero where ReLU did, in place. `x` is the raw value behind each result.
    #[inline(always)]
    pub(super) fn stop(&self, x: &[F], gradient: &mut [F]) {
        let whole = self.mean.len();
        for (x, gradient) in x.chunks_exact(whole).zip(gradient.chunks_exact_mut(whole)) {
            for ((norm, x), gradient) in self.norms().zip(lanes(x)).zip(lanes_mut(gradient)) {
                for i in 0..MOST_LANES {
                    gradient[i] = norm.stopped(i, x[i], gradient[i]);
                }
            }
        }
    }

    /// Writes the gradient of the raw values to rows of `stride` elements, from the stopped `gradient` of the results:
    /// `dx = γ (g - (dβ + x̂ dγ) / M) / √(var + eps)`, where g is the gradient of `γ x̂ + β`, and M the number of values. `means` are
    /// `dβ / M` and `dγ / M`.
    #[inline(always)]
    pub(super) fn backward(
        &self,
        plane: &Plane,
        means: &[Scratch<F>; 2],
        raw: &[F],
        gradient: &[F],
        (dx, stride): (&mut [F], usize),
    ) {
        let whole = plane.whole;
        let back = Back { channels: self, means };
        let rows = raw.chunks_exact(plane.width * whole).zip(dx.chunks_exact_mut(stride));
        if plane.side == 1 {
            let rows = rows.zip(gradient.chunks_exact(plane.width * whole));
            for ((x, dx), gradient) in rows {
                let pixels = x.chunks_exact(whole).zip(gradient.chunks_exact(whole));
                for ((x, gradient), dx) in pixels.zip(dx.chunks_exact_mut(whole)) {
                    back.pixel(x, Some(gradient), dx);
                }
            }
            return;
        }
        let [out_height, out_width] = plane.out();
        // The pixels of no window: they count in mean and variance alone.
        for (row, (x, dx)) in rows.enumerate() {
            let from = if row < 2 * out_height { 2 * out_width } else { 0 };
            for column in from..plane.width {
                let at = column * whole;
                back.pixel(&x[at..][..whole], None, &mut dx[at..][..whole]);
            }
        }
        for (index, gradient) in gradient.chunks_exact(whole).enumerate() {
            let start = 2 * (index / out_width) * stride + 2 * (index % out_width) * whole;
            let (top, bottom) = dx[start..].split_at_mut(stride);
            let (a, b) = top[..2 * whole].split_at_mut(whole);
            let (c, d) = bottom[..2 * whole].split_at_mut(whole);
            back.window(plane.window(raw, index), gradient, [a, b, c, d]);
        }
    }
}

/// The gradient of raw values.
#[derive(Clone, Copy)]
struct Back<'a, F: Float> {
    channels: &'a Channels<F>,
    means: &'a [Scratch<F>; 2],
}

/// The numbers of one vector of channels.
#[derive(Clone, Copy)]
struct BackAffine<'a, F> {
    norm: Affine<'a, F>,
    inverse: &'a Lanes<F>,
    means: [&'a Lanes<F>; 2],
}

impl<F: Float> BackAffine<'_, F> {
    #[inline(always)]
    fn gradient(&self, i: usize, x: F, g: F) -> F {
        let normal = (x - self.norm.mean[i]) * self.inverse[i];
        self.norm.scale[i] * (g - (self.means[0][i] + normal * self.means[1][i]))
    }
}

impl<F: Float> Back<'_, F> {
    #[inline(always)]
    fn norms(&self) -> impl Iterator<Item = BackAffine<'_, F>> {
        let means = lanes(&self.means[0]).iter().zip(lanes(&self.means[1]));
        let numbers = lanes(&self.channels.inverse).iter().zip(means);
        let norm = |(norm, (inverse, (a, b)))| BackAffine { norm, inverse, means: [a, b] };
        self.channels.norms().zip(numbers).map(norm)
    }

    /// One pixel; `gradient` is `None` if it is in no window.
    #[inline(always)]
    fn pixel(&self, x: &[F], gradient: Option<&[F]>, dx: &mut [F]) {
        match gradient {
            Some(gradient) => {
                let pixel = self.norms().zip(lanes(x)).zip(lanes(gradient));
                for (((norm, x), g), dx) in pixel.zip(lanes_mut(dx)) {
                    for i in 0..MOST_LANES {
                        dx[i] = norm.gradient(i, x[i], g[i]);
                    }
                }
            }
            None => {
                for ((norm, x), dx) in self.norms().zip(lanes(x)).zip(lanes_mut(dx)) {
                    for i in 0..MOST_LANES {
                        dx[i] = norm.gradient(i, x[i], F::default());
                    }
                }
            }
        }
    }

    /// One window: the gradient goes to its maximum.
    #[inline(always)]
    fn window(&self, pixels: [&[F]; 4], gradient: &[F], back: [&mut [F]; 4]) {
        let [a, b, c, d] = pixels;
        let (a, b, c, d) = (lanes(a), lanes(b), lanes(c), lanes(d));
        let [da, db, dc, dd] = back;
        let (da, db, dc, dd) = (lanes_mut(da), lanes_mut(db), lanes_mut(dc), lanes_mut(dd));
        let pixels = a.iter().zip(b).zip(c.iter().zip(d));
        let back = da.iter_mut().zip(db).zip(dc.iter_mut().zip(dd));
        for (((norm, ((a, b), (c, d))), g), ((da, db), (dc, dd))) in
            self.norms().zip(pixels).zip(lanes(gradient)).zip(back)
        {
            for i in 0..MOST_LANES {
                let value = |x| norm.norm.value(i, x);
                let [va, vb, vc, vd] = [value(a[i]), value(b[i]), value(c[i]), value(d[i])];
                let (right_above, right_below) = (replaces(va, vb), replaces(vc, vd));
                let below = replaces(larger(va, vb), larger(vc, vd));
                let only = |here: bool| if here { g[i] } else { F::default() };
                da[i] = norm.gradient(i, a[i], only(!below & !right_above));
                db[i] = norm.gradient(i, b[i], only(!below & right_above));
                dc[i] = norm.gradient(i, c[i], only(below & !right_below));
                dd[i] = norm.gradient(i, d[i], only(below & right_below));
            }
        }
    }
}

/// The sums of two terms over the positions of an image, for each channel. Four positions are added before they join the sums: a chain
/// of additions would wait for each.
#[inline(always)]
fn add_up<F: Float, S: Simd, const TERMS: usize>(
    s: S,
    whole: usize,
    length: usize,
    sums: &mut [F],
    terms: impl Fn(usize, usize) -> [F::Reg<S>; TERMS],
) {
    sums.fill(F::default());
    let quads = length / (4 * whole);
    for quad in 0..quads {
        let start = quad * 4 * whole;
        for channel in (0..whole).step_by(F::lanes::<S>()) {
            // Spelled out: the closure of an array's `map` is not compiled for the machine's vectors.
            let a = terms(start + channel, channel);
            let b = terms(start + whole + channel, channel);
            let c = terms(start + 2 * whole + channel, channel);
            let d = terms(start + 3 * whole + channel, channel);
            for term in 0..TERMS {
                let sum = &mut sums[term * whole + channel..];
                let (ab, cd) = (F::plus(s, a[term], b[term]), F::plus(s, c[term], d[term]));
                let more = F::plus(s, ab, cd);
                let v = F::plus(s, F::load(s, sum), more);
                F::store(s, sum, v);
            }
        }
    }
    for start in (quads * 4 * whole..length).step_by(whole) {
        for channel in (0..whole).step_by(F::lanes::<S>()) {
            let more = terms(start + channel, channel);
            for term in 0..TERMS {
                let sum = &mut sums[term * whole + channel..];
                let v = F::plus(s, F::load(s, sum), more[term]);
                F::store(s, sum, v);
            }
        }
    }
}

/// Mean and variance of each channel of one image, `[2][whole]`.
pub(super) struct Moments<'a, F> {
    pub raw: &'a [F],
    pub whole: usize,
    pub moments: &'a mut [F],
}

impl<F: Float> WithSimd for Moments<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { raw, whole, moments } = self;
        let positions = F::constant((raw.len() / whole) as f64);
        let mut mean = Scratch::any(whole);
        add_up::<F, S, 1>(
            s,
            whole,
            raw.len(),
            &mut mean,
            #[inline(always)]
            |at, _| [F::load(s, &raw[at..])],
        );
        for v in mean.iter_mut() {
            *v /= positions;
        }
        let about = &*mean;
        add_up::<F, S, 2>(
            s,
            whole,
            raw.len(),
            moments,
            #[inline(always)]
            |at, channel| {
                let off = F::minus(s, F::load(s, &raw[at..]), F::load(s, &about[channel..]));
                [off, F::times(s, off, off)]
            },
        );
        // The mean was rounded, so both sums are corrected by what is left.
        let (means, vars) = moments.split_at_mut(whole);
        for ((about, mean), var) in mean.iter().zip(means).zip(vars) {
            let off = *mean / positions;
            *mean = *about + off;
            *var = *var / positions - off * off;
        }
    }
}

/// The sums of g and of `g x̂` over one image, `[2][whole]`, where g is the stopped gradient of the results and `x` the raw value behind each.
pub(super) struct ParameterSums<'a, F: Float> {
    pub channels: &'a Channels<F>,
    pub x: &'a [F],
    pub gradient: &'a [F],
    pub sums: &'a mut [F],
}

impl<F: Float> WithSimd for ParameterSums<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { channels, x, gradient, sums } = self;
        let (mean, inverse) = (&*channels.mean, &*channels.inverse);
        add_up::<F, S, 2>(
            s,
            mean.len(),
            x.len(),
            sums,
            #[inline(always)]
            |at, channel| {
                let g = F::load(s, &gradient[at..]);
                let off = F::minus(s, F::load(s, &x[at..]), F::load(s, &mean[channel..]));
                [g, F::times(s, g, F::times(s, off, F::load(s, &inverse[channel..])))]
            },
        );
    }
}
