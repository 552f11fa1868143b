//! The source of every random number: streams keyed by purpose and position in training, without global state.

use noprop_kernels::random::StreamKey;

use crate::Part;

/// The seed of a run. All random numbers of a run depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(pub u64);

/// The purpose of a stream. Reproducibility depends on these numbers: never reuse one.
#[derive(Clone, Copy)]
enum Purpose {
    Init = 1,
    BlockNoise = 2,
    ReadoutNoise = 3,
    Dropout = 4,
    SamplerStart = 5,
    SamplerStep = 6,
    Time = 7,
    // 8 is used by noprop-data, for prototypes.
    Augmentation = 9,
    PathNoise = 10,
}

impl Seed {
    fn key(self, purpose: Purpose, words: [u64; 3]) -> StreamKey {
        let [a, b, c] = words;
        StreamKey::derive(self.0, &[purpose as u64, a, b, c])
    }

    /// Returns the stream of a parameter's initial values. It depends only on the seed and the name, so an additional block
    /// does not change the others.
    pub fn init(self, name: &str) -> StreamKey {
        self.key(Purpose::Init, [fnv1a(name), 0, 0])
    }

    /// Returns the draws of one training step. Epoch and step count from 0.
    pub fn at(self, epoch: u32, step: u32) -> Draws {
        Draws { seed: self, epoch, step, pass: 0 }
    }

    /// Returns the stream of the augmentation of image `image` in `epoch` (both from 0). It is independent of the batch that
    /// the image is in.
    pub fn augmentation(self, epoch: u32, image: u32) -> StreamKey {
        self.key(Purpose::Augmentation, [epoch.into(), image.into(), 0])
    }

    /// Returns the stream of z_0 in inference run `run`.
    pub fn sampler_start(self, run: u32) -> StreamKey {
        self.key(Purpose::SamplerStart, [run.into(), 0, 0])
    }

    /// Returns the stream of ε in step `t` of inference run `run`.
    pub fn sampler_step(self, run: u32, t: usize) -> StreamKey {
        self.key(Purpose::SamplerStep, [run.into(), t as u64, 0])
    }
}

/// The draws of one training step, by block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draws {
    seed: Seed,
    epoch: u32,
    step: u32,
    pass: u32,
}

impl Draws {
    /// Returns the draws of the same step in pass `pass` of its epoch. An epoch has several passes if blocks take turns, each
    /// in its own pass. Otherwise pass 0 is the only pass.
    #[must_use]
    pub fn in_pass(self, pass: u32) -> Self {
        Self { pass, ..self }
    }

    fn key(self, purpose: Purpose, block: u64) -> StreamKey {
        self.seed.key(purpose, [block, self.epoch.into(), self.step.into()])
    }

    /// Returns the stream of the noise in block `block`'s input z_{t-1}.
    pub fn noise(self, block: usize) -> StreamKey {
        self.key(Purpose::BlockNoise, block as u64)
    }

    /// Returns the stream of the times at which block `block` is trained in continuous time.
    pub fn time(self, block: usize) -> StreamKey {
        self.key(Purpose::Time, block as u64)
    }

    /// Returns the stream of the noise around the path of block `block` from noise to embedding, in flow matching.
    pub fn path_noise(self, block: usize) -> StreamKey {
        self.key(Purpose::PathNoise, block as u64)
    }

    /// Returns the stream of the noise in z_T, the input from which the readout learns.
    pub fn readout_noise(self) -> StreamKey {
        self.key(Purpose::ReadoutNoise, self.pass.into())
    }

    /// Returns the stream of the dropout in one part of the network.
    pub fn dropout(self, part: Part) -> StreamKey {
        let block = match part {
            Part::Block(t) => t as u64,
            Part::Encoder => 0,
            Part::Readout => u64::MAX,
            Part::Embedding => u64::MAX - 1,
            Part::Schedule => u64::MAX - 2,
        };
        // A shared encoder runs on a batch in every pass, a block only in its own pass.
        let pass = if part == Part::Encoder { u64::from(self.pass) << 32 } else { 0 };
        let step = u64::from(self.step) | pass;
        self.seed.key(Purpose::Dropout, [block, self.epoch.into(), step])
    }
}

/// Returns the 64-bit FNV-1a hash. It is fixed, whereas the hash of std may change between releases.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Two uses of one stream would correlate draws that must be independent.
    #[test]
    fn no_two_uses_share_a_stream() {
        let mut keys = HashSet::new();
        let mut uses = 0;
        let mut add = |key: StreamKey| {
            keys.insert(key.0);
            uses += 1;
        };
        for seed in [Seed(0), Seed(1)] {
            for epoch in 0..3 {
                for image in 0..20 {
                    add(seed.augmentation(epoch, image));
                }
                for step in 0..5 {
                    let draws = seed.at(epoch, step);
                    add(draws.readout_noise());
                    add(draws.dropout(Part::Encoder));
                    for block in 1..=10 {
                        add(draws.noise(block));
                        add(draws.time(block));
                        add(draws.dropout(Part::Block(block)));
                    }
                }
            }
            for run in 0..4 {
                add(seed.sampler_start(run));
                for t in 1..=10 {
                    add(seed.sampler_step(run, t));
                }
            }
            for name in ["block.1.image.conv1.weight", "block.2.image.conv1.weight"] {
                add(seed.init(name));
            }
        }
        assert_eq!(keys.len(), uses);
    }

    /// The hash must equal the published FNV-1a test vector for "foobar".
    #[test]
    fn name_hash_is_fnv1a() {
        assert_eq!(fnv1a("foobar"), 0x85944171f73967e8);
    }
}
