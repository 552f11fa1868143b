//! The names of random streams.

/// The name of one stream of random numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StreamKey(pub u64);

impl StreamKey {
    /// The stream of `seed` named by `words`, for instance purpose, block, epoch and step.
    ///
    /// Each word, offset by its place, goes through the finaliser of SplitMix64 (Steele, Lea and Flood 2014) and is
    /// folded into the state, which goes through it again. So the order of words matters, `[1]` and `[1, 0]` differ,
    /// and neighbouring seeds or words give unrelated keys.
    #[must_use]
    pub fn derive(seed: u64, words: &[u64]) -> Self {
        let mut state = splitmix(seed);
        let mut place = 0_u64;
        for &word in words {
            place = place.wrapping_add(GOLDEN);
            state = splitmix(state ^ splitmix(word.wrapping_add(place)));
        }
        Self(splitmix(state ^ words.len() as u64))
    }

    /// The two key words of Philox.
    pub(crate) fn words(self) -> [u32; 2] {
        [self.0 as u32, (self.0 >> 32) as u32]
    }
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of SplitMix64 at state `x`.
fn splitmix(x: u64) -> u64 {
    let mut z = x.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the difference of streams: order, number and value of the words all count.
    #[test]
    fn derived_keys_differ() {
        let keys = [
            StreamKey::derive(0, &[]),
            StreamKey::derive(0, &[0]),
            StreamKey::derive(0, &[0, 0]),
            StreamKey::derive(0, &[1, 0]),
            StreamKey::derive(0, &[0, 1]),
            StreamKey::derive(1, &[0]),
        ];
        for (i, a) in keys.iter().enumerate() {
            for b in &keys[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }
}
