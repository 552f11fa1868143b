//! Attention on the CPU: one head of one image at a time, whose scores stay in the cache. The backward pass computes the shares again.

use candle_core::{Result, Tensor};
use pulp::Arch;
use rayon::prelude::*;

use super::{OP, Sizes};
use crate::cpu::instruction_set::{self, vectorised};
use crate::cpu::product::{Left, Right, Start, Task, Walk};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Float, whole_vectors};
use crate::cpu::storage::elements;
use crate::cpu::total::total;
use crate::cpu::turn::turn;
use crate::node::{gradient, node, on_cpu};
use crate::threads::grain;

/// See [`super::Attention::forward`]; the argument has been checked.
pub(super) fn apply<F: Float>(sizes: Sizes, qkv: &Tensor) -> Result<Tensor> {
    let Sizes { blocks, images, tokens, heads, width } = sizes;
    let values = qkv.detach().contiguous()?;
    let attention = Heads::new(sizes);
    let mut y = vec![F::default(); blocks * images * tokens * heads * width];
    attention.forward::<F>(&elements(&values)?, &mut y);
    let value = on_cpu(y, (blocks, images, tokens, heads * width));
    node(OP, &[qkv], value, move |_, dy| {
        let dy = dy.contiguous()?;
        let mut dqkv = vec![F::default(); values.elem_count()];
        attention.backward::<F>(&elements(&values)?, &elements(&dy)?, &mut dqkv);
        Ok([gradient(dqkv, values.shape())?, None, None])
    })
}

/// The attention of all heads among the tokens of each image.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    sizes: Sizes,
    arch: Arch,
}

/// The buffers of one head: rows of `wide` numbers a token, in whole vectors, or of `long` tokens, in whole vectors.
struct Head<F: Float> {
    q: Scratch<F>,
    k: Scratch<F>,
    v: Scratch<F>,
    /// One of the three, turned.
    turned: Scratch<F>,
    /// The share of each token in each token: softmax(q kᵀ / √d).
    shares: Scratch<F>,
    /// The result, or a gradient of q, k or v.
    out: Scratch<F>,
}

impl Heads {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self { sizes, arch: instruction_set::current() }
    }

    /// The elements of a token of the argument.
    fn token(&self) -> usize {
        3 * self.out_token()
    }

    /// The elements of a token of the result.
    fn out_token(&self) -> usize {
        self.sizes.heads * self.sizes.width
    }

    /// The numbers of a head, in whole vectors.
    fn wide(&self) -> usize {
        whole_vectors(self.sizes.width)
    }

    /// The tokens, in whole vectors.
    fn long(&self) -> usize {
        whole_vectors(self.sizes.tokens)
    }

    fn head<F: Float>(&self) -> Head<F> {
        let (tokens, wide, long) = (self.sizes.tokens, self.wide(), self.long());
        // Surplus columns are never written.
        let rows = || match wide == self.sizes.width {
            true => Scratch::any(tokens * wide),
            false => Scratch::zeros(tokens * wide),
        };
        Head {
            q: rows(),
            k: rows(),
            v: rows(),
            turned: Scratch::any(wide * long),
            shares: Scratch::any(tokens * long),
            out: Scratch::any(tokens * wide),
        }
    }

    /// Copies part `part` of head `head` (0 to 2: queries, keys, values) to rows in whole vectors.
    fn gather<F: Float>(&self, qkv: &[F], part: usize, head: usize, to: &mut [F]) {
        let width = self.sizes.width;
        let start = part * self.out_token() + head * width;
        for (to, token) in to.chunks_exact_mut(self.wide()).zip(qkv.chunks_exact(self.token())) {
            to[..width].copy_from_slice(&token[start..][..width]);
        }
    }

    /// `C = A B` for rows of A in whole vectors of `a_step`, of which the first `inner` elements count, and rows of B of `b_width`.
    fn product<F: Float>(
        &self,
        (a, a_step): (&[F], usize),
        inner: usize,
        (b, b_width): (&[F], usize),
        c: &mut [F],
    ) {
        self.arch.dispatch(Task {
            rows: self.sizes.tokens,
            row_step: a_step,
            a: Left { data: a, walk: Walk::straight(inner, 1) },
            b: Right { data: b, stride: b_width, width: b_width },
            c,
            start: Start::Zero,
        });
    }

    /// `C = Aᵀ B` for A of tokens by tokens.
    fn product_turned<F: Float>(&self, a: &[F], b: &[F], c: &mut [F]) {
        self.arch.dispatch(Task {
            rows: self.sizes.tokens,
            row_step: 1,
            a: Left { data: a, walk: Walk::straight(self.sizes.tokens, self.long()) },
            b: Right { data: b, stride: self.wide(), width: self.wide() },
            c,
            start: Start::Zero,
        });
    }

    /// Reads queries (divided by √d), keys and values, and computes the shares.
    fn shares<F: Float>(&self, qkv: &[F], index: usize, head: &mut Head<F>) {
        let (tokens, long) = (self.sizes.tokens, self.long());
        self.gather(qkv, 0, index, &mut head.q);
        self.gather(qkv, 1, index, &mut head.k);
        self.gather(qkv, 2, index, &mut head.v);
        let scale = self.scale::<F>();
        head.q.iter_mut().for_each(|q| *q *= scale);
        turn(self.arch, &head.k, self.wide(), long, &mut head.turned);
        let (q, turned) = (&head.q, &head.turned);
        self.product((q, self.wide()), self.wide(), (turned, long), &mut head.shares);
        let shares = &mut *head.shares;
        vectorised(
            self.arch,
            #[inline(always)]
            || {
                for row in shares.chunks_exact_mut(long) {
                    softmax(row, tokens);
                }
            },
        );
    }

    /// `1 / √d`.
    fn scale<F: Float>(&self) -> F {
        F::constant(1.0 / (self.sizes.width as f64).sqrt())
    }

    /// Writes rows in whole vectors, times `scale`, to the places from `start` on in tokens of `token` elements.
    fn scatter<F: Float>(&self, rows: &[F], scale: F, start: usize, token: usize, to: &mut [F]) {
        let width = self.sizes.width;
        for (row, to) in rows.chunks_exact(self.wide()).zip(to.chunks_exact_mut(token)) {
            for (to, v) in to[start..][..width].iter_mut().zip(row) {
                *to = *v * scale;
            }
        }
    }

    /// Writes the result to `y`.
    pub(crate) fn forward<F: Float>(&self, qkv: &[F], y: &mut [F]) {
        let Sizes { tokens, heads, width, .. } = self.sizes;
        let each = tokens * self.out_token();
        if y.is_empty() {
            return;
        }
        let tasks = y.par_chunks_exact_mut(each).zip(qkv.par_chunks_exact(3 * each));
        tasks.with_min_len(grain()).for_each_init(
            || self.head(),
            |head, (y, qkv)| {
                for index in 0..heads {
                    self.shares(qkv, index, head);
                    let (shares, v) = (&head.shares, &head.v);
                    self.product((shares, self.long()), tokens, (v, self.wide()), &mut head.out);
                    self.scatter(&head.out, F::one(), index * width, self.out_token(), y);
                }
            },
        );
    }

    /// Writes the gradient of `qkv` to `dqkv`.
    pub(crate) fn backward<F: Float>(&self, qkv: &[F], dy: &[F], dqkv: &mut [F]) {
        let Sizes { tokens, heads, width, .. } = self.sizes;
        let each = tokens * self.out_token();
        if qkv.is_empty() {
            return;
        }
        let (wide, long, token) = (self.wide(), self.long(), self.token());
        let tasks = dqkv.par_chunks_exact_mut(3 * each).zip(qkv.par_chunks_exact(3 * each));
        let tasks = tasks.zip(dy.par_chunks_exact(each)).with_min_len(grain());
        let buffers = || (self.head(), Scratch::zeros(tokens * wide), Scratch::any(tokens * long));
        tasks.for_each_init(buffers, |(head, dout, dshares), ((dqkv, qkv), dy)| {
            for index in 0..heads {
                self.shares(qkv, index, head);
                let start = index * width;
                for (to, dy) in dout.chunks_exact_mut(wide).zip(dy.chunks_exact(self.out_token())) {
                    to[..width].copy_from_slice(&dy[start..][..width]);
                }
                let place = |part: usize| part * self.out_token() + start;
                self.product_turned(&head.shares, dout, &mut head.out);
                self.scatter(&head.out, F::one(), place(2), token, dqkv);
                turn(self.arch, &head.v, wide, long, &mut head.turned);
                self.product((dout, wide), wide, (&head.turned, long), dshares);
                let (shares, dscores) = (&*head.shares, &mut **dshares);
                vectorised(
                    self.arch,
                    #[inline(always)]
                    || {
                        let rows = dscores.chunks_exact_mut(long).zip(shares.chunks_exact(long));
                        for (gradient, shares) in rows {
                            softmax_back(gradient, shares);
                        }
                    },
                );
                self.product((dshares, long), tokens, (&head.k, wide), &mut head.out);
                self.scatter(&head.out, self.scale(), place(0), token, dqkv);
                // The queries have been divided already.
                self.product_turned(dshares, &head.q, &mut head.out);
                self.scatter(&head.out, F::one(), place(1), token, dqkv);
            }
        });
    }
}

/// The softmax of the first `count` elements of `row`, in place; the others become 0.
#[inline(always)]
fn softmax<F: Float>(row: &mut [F], count: usize) {
    // Not a number is never larger, but its exponential stays one.
    let mut most = row[0];
    for v in &row[..count] {
        most = if *v > most { *v } else { most };
    }
    for v in row.iter_mut() {
        *v = (*v - most).fast_exponential();
    }
    row[count..].fill(F::default());
    let sum = total(row, row, |v, _| v);
    for v in row.iter_mut() {
        *v /= sum;
    }
}

/// From the gradient of a softmax's results to that of its arguments, in place.
#[inline(always)]
fn softmax_back<F: Float>(gradient: &mut [F], shares: &[F]) {
    let mean = total(gradient, shares, |g, share| g * share);
    for (g, share) in gradient.iter_mut().zip(shares) {
        *g = *share * (*g - mean);
    }
}
