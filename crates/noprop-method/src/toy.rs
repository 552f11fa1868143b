//! A network for tests. Its layers are closures, and its calls are counted.

use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Result, Tensor};

use crate::{
    BlockInput, Denoiser, EncoderKind, LearnedSchedule, ParameterBuilder, Parameters, Part, Pass,
    Seed,
};

type Layer = Box<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

pub(crate) struct Toy {
    pub blocks: usize,
    pub encoder: EncoderKind,
    pub embeddings: Tensor,
    pub schedule: LearnedSchedule,
    pub parameters: Parameters,
    pub encode: Layer,
    pub logits: Box<dyn Fn(BlockInput<'_>) -> Result<Tensor> + Send + Sync>,
    pub readout: Layer,
    /// The number of calls of `encode` so far.
    pub encoded: AtomicUsize,
    /// The number of calls of `logits` so far.
    pub asked: AtomicUsize,
}

impl Toy {
    /// Returns a network with one-hot embeddings and a learned schedule as it is before training. Encoder and readout return
    /// their input.
    pub fn new(
        blocks: usize,
        classes: usize,
        logits: impl Fn(BlockInput<'_>) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        let builder = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
        let same = |x: &Tensor| Ok(x.clone());
        Self {
            blocks,
            encoder: EncoderKind::PerBlock,
            embeddings: Tensor::eye(classes, DType::F32, &Device::Cpu).unwrap(),
            schedule: LearnedSchedule::new(&builder).unwrap(),
            parameters: builder.finish().unwrap(),
            encode: Box::new(same),
            logits: Box::new(logits),
            readout: Box::new(same),
            encoded: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        }
    }

    /// Returns a network of two classes whose û is u_y of class 0 for every input.
    pub fn certain(blocks: usize) -> Self {
        Self::new(blocks, 2, |input| {
            Tensor::new(&[[100f32, -100.]], &Device::Cpu)?.repeat((input.z.dim(0)?, 1))
        })
    }
}

impl Denoiser for Toy {
    fn blocks(&self) -> usize {
        self.blocks
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn class_embeddings(&self) -> &Tensor {
        &self.embeddings
    }

    fn encoder(&self) -> EncoderKind {
        self.encoder
    }

    fn schedule(&self) -> Option<&LearnedSchedule> {
        Some(&self.schedule)
    }

    fn encode(&self, _: Part, images: &Tensor, _: Pass) -> Result<Tensor> {
        self.encoded.fetch_add(1, Ordering::Relaxed);
        (self.encode)(images)
    }

    fn logits(&self, input: BlockInput<'_>) -> Result<Tensor> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        (self.logits)(input)
    }

    fn readout(&self, z: &Tensor) -> Result<Tensor> {
        (self.readout)(z)
    }
}
