//! The exponential function in a form that the compiler turns into vectors.
//!
//! `x = n ln 2 + r` with a whole number n and |r| ≤ ½ ln 2, and `eˣ = 2ⁿ eʳ`, where eʳ is the beginning of its Taylor series. Additions and
//! multiplications alone are used, and never fused, so every machine computes the same bits.

/// Element types with such an exponential function.
pub(crate) trait Exponential: Sized {
    /// eˣ to within three units of the last place. It is 0 below the smallest normal number, and infinite a third of a unit of x below the
    /// largest number's logarithm. Not-a-number is passed on.
    fn fast_exponential(self) -> Self;
}

macro_rules! exponential {
    ($float:ty, $bits:ty, mantissa $mantissa:literal, $range:expr, ln2 $ln2:expr, series $series:expr) => {
        impl Exponential for $float {
            #[inline(always)]
            fn fast_exponential(self) -> Self {
                // Adding this number rounds to a whole one, which then stands in the lowest bits.
                const ROUND: $float = 1.5 * (1 as $bits << $mantissa) as $float;
                const LN2: [$float; 2] = $ln2;
                let shifted = self * std::f64::consts::LOG2_E as $float + ROUND;
                let n = shifted - ROUND;
                let r = self - n * LN2[0] - n * LN2[1];
                let mut sum: $float = 0.0;
                // The coefficients are 1/k!, from the last to the first.
                for coefficient in $series {
                    sum = sum * r + coefficient;
                }
                // The sign and the upper bits of `shifted` are shifted out, so this adds n to the exponent.
                let bits = sum.to_bits().wrapping_add(shifted.to_bits() << $mantissa);
                let power = <$float>::from_bits(bits);
                let [low, high] = $range;
                let power = if self < low { 0.0 } else { power };
                // The sum is infinite above the range, and not a number for one.
                if self <= high { power } else { self + <$float>::INFINITY }
            }
        }
    };
}

exponential!(
    f32, u32,
    mantissa 23,
    [-87.33, 88.37],
    ln2 [0.693_359_4, -2.121_944_4e-4],
    series [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0]
);
exponential!(
    f64, u64,
    mantissa 52,
    [-708.39, 709.43],
    ln2 [0.693_145_751_953_125, 1.428_606_820_309_417_2e-6],
    series [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ]
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the accuracy over the whole range, and its ends.
    #[test]
    fn agrees_with_the_system() {
        for i in -87_000..=88_000 {
            let x = i as f32 * 1e-3;
            let error = (f64::from(x.fast_exponential()) / f64::from(x).exp() - 1.0).abs();
            assert!(error < 2.5e-7, "{x}: {error}");
        }
        for i in -70_800..=70_900 {
            let x = f64::from(i) * 1e-2;
            let error = (x.fast_exponential() / x.exp() - 1.0).abs();
            assert!(error < 6e-16, "{x}: {error}");
        }
        assert_eq!(0_f32.fast_exponential(), 1.0);
        assert_eq!(f32::NEG_INFINITY.fast_exponential(), 0.0);
        assert_eq!((-1e4_f64).fast_exponential(), 0.0);
        assert_eq!(89_f32.fast_exponential(), f32::INFINITY);
        assert_eq!(f64::INFINITY.fast_exponential(), f64::INFINITY);
        for bits in [0x7fc0_0000, 0x7fc0_0001, 0xffff_ffff] {
            assert!(f32::from_bits(bits).fast_exponential().is_nan());
        }
        for bits in [0x7ff8_0000_0000_0000, 0x7ff8_0000_0000_0001, u64::MAX] {
            assert!(f64::from_bits(bits).fast_exponential().is_nan());
        }
    }
}
