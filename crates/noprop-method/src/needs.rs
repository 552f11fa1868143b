//! The demands of a method on a network.
//!
//! A method states them as a value, and a network is built from that value alone: it does not know the method's name.

use crate::Readout;

/// What a network must have for a method to train it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// B, the number of blocks: one for each noise level where time is discrete, one for each interval where it is continuous.
    pub blocks: usize,
    /// Whether a block is given the time.
    pub time: TimeInput,
    /// How the outputs of dense layers are normalised.
    pub norm: Norm,
    /// The layer from the last embedding to class logits.
    pub readout: ReadoutLayer,
    /// Where the noise schedule comes from.
    pub schedule: ScheduleSource,
    /// How a block's guess joins the chain.
    pub mixing: Mixing,
    /// The class embeddings that the method can work with.
    pub embeddings: EmbeddingForm,
}

/// The time as an input of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeInput {
    /// A block has one noise level, so it is not given the time (Fig. 6, left).
    None,
    /// A block has many noise levels and is given the time in 0..=1 of each row (Fig. 6, right).
    Embedded,
}

/// The normalisation of dense layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// Batch norm, and a residual label branch (Fig. 6, left).
    Batch,
    /// None, and a label branch of one layer (Fig. 6, right).
    None,
}

/// The linear layer from z_T to class logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadoutLayer {
    /// No layer: the class is found among the class embeddings.
    None,
    /// A layer where class embeddings are trained, because its loss is all that holds them apart; no layer where they are fixed.
    /// It starts at [`ReadoutStart::Zeros`].
    Anchor,
    /// A layer, with these initial weights.
    Linear(ReadoutStart),
}

/// The readout's weights before training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadoutStart {
    /// Zeros. A linear layer that is trained on its own has one minimum, so nothing is lost; random values would have to be
    /// unlearned first, for hundreds of steps in which the whole chain looks worse than its blocks.
    Zeros,
    /// Random values, where blocks learn through the readout: zeros would send no gradient back to them.
    Random,
    /// Rows of length 1 along the class embeddings, so that each class is the answer at its own embedding.
    ///
    /// A chain that mixes guesses ends among the embeddings. A random readout answers each of them with a class at random, so that
    /// half of ten classes or more are the answer to none, and blocks that learn through it miss these classes for many hundreds of
    /// steps. Embeddings that start as images are not known yet when the readout is made; it then starts at random.
    AlongEmbeddings,
}

/// The source of the noise schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleSource {
    /// The method has a schedule, or needs none.
    Method,
    /// A [`LearnedSchedule`](crate::LearnedSchedule), trained with the network.
    Network,
}

/// How z_t is made of z_{t−1} and a block's guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixing {
    /// By coefficients of the method.
    Method,
    /// By a trained weight w_t for each block (Eq. 18), given by [`Denoiser::mix`](crate::Denoiser::mix).
    Trained,
}

/// The form of class embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingForm {
    /// Vectors, or images that go through an image branch.
    VectorsOrImages,
    /// Vectors alone.
    Vectors,
}

impl Needs {
    /// The needs of [`DiscreteTime`](crate::DiscreteTime) with T = `blocks`: Fig. 6, left.
    pub fn discrete_time(blocks: usize, readout: Readout) -> Self {
        Self {
            blocks,
            time: TimeInput::None,
            norm: Norm::Batch,
            readout: Self::layer_of(readout),
            schedule: ScheduleSource::Method,
            mixing: Mixing::Method,
            embeddings: EmbeddingForm::VectorsOrImages,
        }
    }

    /// The needs of [`ContinuousTime`](crate::ContinuousTime) with `blocks` intervals: Fig. 6, right.
    pub fn continuous_time(blocks: usize, readout: Readout) -> Self {
        Self {
            time: TimeInput::Embedded,
            norm: Norm::None,
            schedule: ScheduleSource::Network,
            ..Self::discrete_time(blocks, readout)
        }
    }

    /// The needs of [`FlowMatching`](crate::FlowMatching) with `blocks` intervals: Fig. 6, right.
    pub fn flow_matching(blocks: usize) -> Self {
        Self {
            time: TimeInput::Embedded,
            norm: Norm::None,
            readout: ReadoutLayer::Anchor,
            ..Self::discrete_time(blocks, Readout::Softmax)
        }
    }

    /// The needs of [`Backprop`](crate::Backprop) with T = `blocks`: Fig. 6, left.
    pub fn backprop(blocks: usize) -> Self {
        Self {
            readout: ReadoutLayer::Linear(ReadoutStart::AlongEmbeddings),
            mixing: Mixing::Trained,
            ..Self::discrete_time(blocks, Readout::Softmax)
        }
    }

    /// The needs of [`Adjoint`](crate::Adjoint): one network like Fig. 6, right.
    pub fn adjoint() -> Self {
        Self {
            readout: ReadoutLayer::Linear(ReadoutStart::Random),
            embeddings: EmbeddingForm::Vectors,
            ..Self::flow_matching(1)
        }
    }

    fn layer_of(readout: Readout) -> ReadoutLayer {
        if readout.is_trained() {
            ReadoutLayer::Linear(ReadoutStart::Zeros)
        } else {
            ReadoutLayer::None
        }
    }
}
