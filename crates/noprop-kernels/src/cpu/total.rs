//! The sum over a row, in an order that does not depend on the machine.

use super::simd::{Float, MOST_LANES};

/// The sum of `term` over pairs of elements, in lanes that are added at the end.
#[inline(always)]
pub(crate) fn total<F: Float>(a: &[F], b: &[F], term: impl Fn(F, F) -> F) -> F {
    let mut lanes = [F::default(); MOST_LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<MOST_LANES>(), b.as_chunks::<MOST_LANES>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..MOST_LANES {
            lanes[i] += term(a[i], b[i]);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += term(*a, *b);
    }
    let mut half = MOST_LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}
