//! The matrices of Winograd's minimal filtering (Lavin and Gray, "Fast algorithms for convolutional neural networks",
//! 2015), applied to vectors of channels.
//!
//! A tile of results is `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`. Each [`Transform`] is one of the small matrices or its transpose,
//! written out as the additions that it comes to. A line always has six registers; the smaller tile leaves the rest alone.
//!
//! The backward pass uses the transposes, so its result is the exact gradient of the forward pass, rounding aside.

use pulp::Simd;

use crate::cpu::product::Start;
use crate::cpu::simd::Float;

/// One line of a tile.
pub(super) type Line<F, S> = [<F as Float>::Reg<S>; 6];

/// One of the small matrices, M, for tiles of `TILE` by `TILE` results. A tile X becomes `M X Mᵀ`.
pub(super) trait Transform<const TILE: usize> {
    /// The rows of X, and its columns.
    const BEFORE: usize;
    /// The rows of `M X Mᵀ`, and its columns.
    const AFTER: usize;
    /// The content of the destination before the result is added.
    const START: Start = Start::Zero;

    /// `M x` for one line x of a tile.
    fn line<F: Float, S: Simd>(s: S, x: Line<F, S>) -> Line<F, S>;
}

/// The matrix Bᵀ: tiles of the image before the product.
pub(super) struct Input;

/// The matrix B, the transpose of [`Input`]. Tiles of the image overlap by two, so their shares are added.
pub(super) struct InputBack;

/// The matrix Aᵀ: products to tiles of results.
pub(super) struct Output;

/// The matrix A, the transpose of [`Output`].
pub(super) struct OutputBack;

/// The matrix G: the weights before the product.
pub(super) struct Weights;

/// The matrix Gᵀ, the transpose of [`Weights`].
pub(super) struct WeightsBack;

/// The arithmetic of the matrices, on one instruction set.
#[derive(Clone, Copy)]
struct Calc<S>(S);

impl<S: Simd> Calc<S> {
    #[inline(always)]
    fn add<F: Float>(self, a: F::Reg<S>, b: F::Reg<S>) -> F::Reg<S> {
        F::plus(self.0, a, b)
    }

    #[inline(always)]
    fn sub<F: Float>(self, a: F::Reg<S>, b: F::Reg<S>) -> F::Reg<S> {
        F::minus(self.0, a, b)
    }

    /// `c + k a`.
    #[inline(always)]
    fn plus<F: Float>(self, c: F::Reg<S>, k: f64, a: F::Reg<S>) -> F::Reg<S> {
        F::mul_add(self.0, F::splat(self.0, F::constant(k)), a, c)
    }

    #[inline(always)]
    fn times<F: Float>(self, k: f64, a: F::Reg<S>) -> F::Reg<S> {
        F::times(self.0, F::splat(self.0, F::constant(k)), a)
    }
}

impl<const TILE: usize> Transform<TILE> for Input {
    const BEFORE: usize = TILE + 2;
    const AFTER: usize = TILE + 2;

    #[inline(always)]
    fn line<F: Float, S: Simd>(s: S, d: Line<F, S>) -> Line<F, S> {
        let c = Calc(s);
        let mut y = d;
        if TILE == 2 {
            y[0] = c.sub::<F>(d[0], d[2]);
            y[1] = c.add::<F>(d[1], d[2]);
            y[2] = c.sub::<F>(d[2], d[1]);
            y[3] = c.sub::<F>(d[1], d[3]);
        } else {
            let even = c.plus::<F>(d[4], -4.0, d[2]);
            let odd = c.plus::<F>(d[3], -4.0, d[1]);
            let wide_even = c.sub::<F>(d[4], d[2]);
            let wide_odd = c.sub::<F>(d[3], d[1]);
            y[0] = c.plus::<F>(c.plus::<F>(d[4], -5.0, d[2]), 4.0, d[0]);
            y[1] = c.add::<F>(even, odd);
            y[2] = c.sub::<F>(even, odd);
            y[3] = c.plus::<F>(wide_even, 2.0, wide_odd);
            y[4] = c.plus::<F>(wide_even, -2.0, wide_odd);
            y[5] = c.plus::<F>(c.plus::<F>(d[5], -5.0, d[3]), 4.0, d[1]);
        }
        y
    }
}

impl<const TILE: usize> Transform<TILE> for InputBack {
    const BEFORE: usize = TILE + 2;
    const AFTER: usize = TILE + 2;
    const START: Start = Start::Kept;

    #[inline(always)]
    fn line<F: Float, S: Simd>(s: S, v: Line<F, S>) -> Line<F, S> {
        let c = Calc(s);
        let mut d = v;
        if TILE == 2 {
            d[0] = v[0];
            d[1] = c.add::<F>(c.sub::<F>(v[1], v[2]), v[3]);
            d[2] = c.sub::<F>(c.add::<F>(v[1], v[2]), v[0]);
            d[3] = F::minus(s, F::splat(s, F::default()), v[3]);
        } else {
            let near_sum = c.add::<F>(v[1], v[2]);
            let near_gap = c.sub::<F>(v[1], v[2]);
            let far_sum = c.add::<F>(v[3], v[4]);
            let far_gap = c.sub::<F>(v[3], v[4]);
            d[0] = c.times::<F>(4.0, v[0]);
            d[1] = c.plus::<F>(c.plus::<F>(c.times::<F>(-4.0, near_gap), -2.0, far_gap), 4.0, v[5]);
            d[2] = c.sub::<F>(c.plus::<F>(c.times::<F>(-5.0, v[0]), -4.0, near_sum), far_sum);
            d[3] = c.plus::<F>(c.plus::<F>(near_gap, 2.0, far_gap), -5.0, v[5]);
            d[4] = c.add::<F>(c.add::<F>(v[0], near_sum), far_sum);
            d[5] = v[5];
        }
        d
    }
}

impl<const TILE: usize> Transform<TILE> for Output {
    const BEFORE: usize = TILE + 2;
    const AFTER: usize = TILE;

    #[inline(always)]
    fn line<F: Float, S: Simd>(s: S, m: Line<F, S>) -> Line<F, S> {
        let c = Calc(s);
        let mut y = m;
        if TILE == 2 {
            y[0] = c.add::<F>(c.add::<F>(m[0], m[1]), m[2]);
            y[1] = c.sub::<F>(c.sub::<F>(m[1], m[2]), m[3]);
        } else {
            let near_sum = c.add::<F>(m[1], m[2]);
            let near_gap = c.sub::<F>(m[1], m[2]);
            let far_sum = c.add::<F>(m[3], m[4]);
            let far_gap = c.sub::<F>(m[3], m[4]);
            y[0] = c.add::<F>(c.add::<F>(m[0], near_sum), far_sum);
            y[1] = c.plus::<F>(near_gap, 2.0, far_gap);
            y[2] = c.plus::<F>(near_sum, 4.0, far_sum);
            y[3] = c.add::<F>(c.plus::<F>(near_gap, 8.0, far_gap), m[5]);
        }
        y
    }
}

impl<const TILE: usize> Transform<TILE> for OutputBack {
    const BEFORE: usize = TILE;
    const AFTER: usize = TILE + 2;

    #[inline(always)]
    fn line<F: Float, S: Simd>(s: S, y: Line<F, S>) -> Line<F, S> {
        let c = Calc(s);
        let mut m = y;
        if TILE == 2 {
            m[0] = y[0];
            m[1] = c.add::<F>(y[0], y[1]);
            m[2] = c.sub::<F>(y[0], y[1]);
            m[3] = F::minus(s, F::splat(s, F::default()), y[1]);
        } else {
            let even = c.add::<F>(y[0], y[2]);
            let odd = c.add::<F>(y[1], y[3]);
            let far_even = c.plus::<F>(y[0], 4.0, y[2]);
            let far_odd = c.plus::<F>(c.times::<F>(2.0, y[1]), 8.0, y[3]);
            m[0] = y[0];
            m[1] = c.add::<F>(even, odd);
            m[2] = c.sub::<F>(even, odd);
            m[3] = c.add::<F>(far_even, far_odd);
            m[4] = c.sub::<F>(far_even, far_odd);
            m[5] = y[3];
        }
        m
    }
}

impl<const TILE: usize> Transform<TILE> for Weights {
    const BEFORE: usize = 3;
    const AFTER: usize = TILE + 2;

    #[inline(always)]
    fn line<F: Float, S: Simd>(s: S, g: Line<F, S>) -> Line<F, S> {
        let c = Calc(s);
        let mut u = g;
        if TILE == 2 {
            let even = c.times::<F>(0.5, c.add::<F>(g[0], g[2]));
            u[0] = g[0];
            u[1] = c.plus::<F>(even, 0.5, g[1]);
            u[2] = c.plus::<F>(even, -0.5, g[1]);
            u[3] = g[2];
        } else {
            let even = c.times::<F>(-1.0 / 6.0, c.add::<F>(g[0], g[2]));
            let far_even = c.plus::<F>(c.times::<F>(1.0 / 6.0, g[2]), 1.0 / 24.0, g[0]);
            u[0] = c.times::<F>(0.25, g[0]);
            u[1] = c.plus::<F>(even, -1.0 / 6.0, g[1]);
            u[2] = c.plus::<F>(even, 1.0 / 6.0, g[1]);
            u[3] = c.plus::<F>(far_even, 1.0 / 12.0, g[1]);
            u[4] = c.plus::<F>(far_even, -1.0 / 12.0, g[1]);
            u[5] = g[2];
        }
        u
    }
}

impl<const TILE: usize> Transform<TILE> for WeightsBack {
    const BEFORE: usize = TILE + 2;
    const AFTER: usize = 3;

    #[inline(always)]
    fn line<F: Float, S: Simd>(s: S, u: Line<F, S>) -> Line<F, S> {
        let c = Calc(s);
        let mut g = u;
        if TILE == 2 {
            let half = c.times::<F>(0.5, c.add::<F>(u[1], u[2]));
            g[0] = c.add::<F>(u[0], half);
            g[1] = c.times::<F>(0.5, c.sub::<F>(u[1], u[2]));
            g[2] = c.add::<F>(u[3], half);
        } else {
            let near = c.times::<F>(-1.0 / 6.0, c.add::<F>(u[1], u[2]));
            let far = c.add::<F>(u[3], u[4]);
            g[0] = c.plus::<F>(c.plus::<F>(near, 0.25, u[0]), 1.0 / 24.0, far);
            g[1] = c.plus::<F>(
                c.times::<F>(1.0 / 6.0, c.sub::<F>(u[2], u[1])),
                1.0 / 12.0,
                c.sub::<F>(u[3], u[4]),
            );
            g[2] = c.add::<F>(c.plus::<F>(near, 1.0 / 6.0, far), u[5]);
        }
        g
    }
}

/// `M X Mᵀ`: the cells of X from `load`, those of the result to `store`.
#[inline(always)]
pub(super) fn both_ways<M: Transform<TILE>, F: Float, S: Simd, const TILE: usize>(
    s: S,
    load: impl Fn(usize, usize) -> F::Reg<S>,
    mut store: impl FnMut(usize, usize, F::Reg<S>),
) {
    let rows = [
        row::<M, F, S, TILE>(s, &load, 0),
        row::<M, F, S, TILE>(s, &load, 1),
        row::<M, F, S, TILE>(s, &load, 2),
        row::<M, F, S, TILE>(s, &load, 3),
        row::<M, F, S, TILE>(s, &load, 4),
        row::<M, F, S, TILE>(s, &load, 5),
    ];
    #[expect(clippy::needless_range_loop, reason = "a column runs across the rows")]
    for column in 0..M::AFTER {
        let made = M::line::<F, S>(
            s,
            [
                rows[0][column],
                rows[1][column],
                rows[2][column],
                rows[3][column],
                rows[4][column],
                rows[5][column],
            ],
        );
        for (row, v) in made.iter().take(M::AFTER).enumerate() {
            store(row, column, *v);
        }
    }
}

/// One row of the first product. (Spelled out: an array that is filled in a loop is first cleared in memory, for every tile.)
#[inline(always)]
fn row<M: Transform<TILE>, F: Float, S: Simd, const TILE: usize>(
    s: S,
    load: &impl Fn(usize, usize) -> F::Reg<S>,
    row: usize,
) -> Line<F, S> {
    if row >= M::BEFORE {
        return [F::splat(s, F::default()); 6];
    }
    M::line::<F, S>(
        s,
        [
            cell::<M, F, S, TILE>(s, load, row, 0),
            cell::<M, F, S, TILE>(s, load, row, 1),
            cell::<M, F, S, TILE>(s, load, row, 2),
            cell::<M, F, S, TILE>(s, load, row, 3),
            cell::<M, F, S, TILE>(s, load, row, 4),
            cell::<M, F, S, TILE>(s, load, row, 5),
        ],
    )
}

#[inline(always)]
fn cell<M: Transform<TILE>, F: Float, S: Simd, const TILE: usize>(
    s: S,
    load: &impl Fn(usize, usize) -> F::Reg<S>,
    row: usize,
    column: usize,
) -> F::Reg<S> {
    if column < M::BEFORE { load(row, column) } else { F::splat(s, F::default()) }
}
