//! Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
//! as 1, 2, 3" (SC 2011).
//!
//! Ten rounds turn a 128-bit counter and a 64-bit key into 128 random bits. There is no state: any thread can make draw
//! number `i` without the draws before it.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// The number of counters that go through the rounds side by side, so that the compiler can use the widest vectors of the
/// machine.
pub(crate) const LANES: usize = 16;

/// 128 random bits for one counter and key.
pub(crate) fn block(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let mut c = counter;
    let mut k = key;
    for _ in 0..ROUNDS {
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c[0]);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c[2]);
        c = [
            (p1 >> 32) as u32 ^ c[1] ^ k[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ c[3] ^ k[1],
            p0 as u32,
        ];
        k = [k[0].wrapping_add(KEY_STEPS[0]), k[1].wrapping_add(KEY_STEPS[1])];
    }
    c
}

/// [`block`] for the [`LANES`] counters `first, first + 1, …` (in the lowest word), word by word.
///
/// Words are kept in the lower halves of 64 bits. Only those halves are multiplied and returned, so the upper halves may hold
/// anything, and a round is a few vector instructions without any packing.
#[inline(always)]
pub(crate) fn lanes(first: u32, rest: [u32; 3], key: [u32; 2]) -> [[u32; LANES]; 4] {
    const LOWER: u64 = 0xFFFF_FFFF;
    let mut c0 = [0_u64; LANES];
    for (lane, word) in c0.iter_mut().enumerate() {
        *word = u64::from(first.wrapping_add(lane as u32));
    }
    let mut c1 = [u64::from(rest[0]); LANES];
    let mut c2 = [u64::from(rest[1]); LANES];
    let mut c3 = [u64::from(rest[2]); LANES];
    let mut k = key;
    for _ in 0..ROUNDS {
        let (k0, k1) = (u64::from(k[0]), u64::from(k[1]));
        for lane in 0..LANES {
            let p0 = u64::from(MULTIPLIERS[0]) * (c0[lane] & LOWER);
            let p1 = u64::from(MULTIPLIERS[1]) * (c2[lane] & LOWER);
            c0[lane] = (p1 >> 32) ^ c1[lane] ^ k0;
            c1[lane] = p1;
            c2[lane] = (p0 >> 32) ^ c3[lane] ^ k1;
            c3[lane] = p0;
        }
        k = [k[0].wrapping_add(KEY_STEPS[0]), k[1].wrapping_add(KEY_STEPS[1])];
    }
    [lower(&c0), lower(&c1), lower(&c2), lower(&c3)]
}

#[inline(always)]
fn lower(words: &[u64; LANES]) -> [u32; LANES] {
    let mut halves = [0; LANES];
    for (half, word) in halves.iter_mut().zip(words) {
        *half = *word as u32;
    }
    halves
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects the generator by the known answers that its authors published with their library Random123 (file
    /// `kat_vectors`, `philox4x32 10`).
    #[test]
    fn agrees_with_the_published_known_answers() {
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(block(counter, key), expected);
        }
    }

    /// Protects the agreement of both forms: fused and reference dropout use one each.
    #[test]
    fn lanes_are_the_blocks_in_order() {
        let wide = lanes(40, [7, 8, 9], [1, 2]);
        for (lane, number) in (40..).take(LANES).enumerate() {
            let narrow = block([number, 7, 8, 9], [1, 2]);
            assert_eq!(narrow, wide.map(|word| word[lane]));
        }
    }
}
