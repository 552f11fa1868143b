//! The demands of a method on a network.
//!
//! A method states its demands as a value. A network is built only from this value, and does not depend on the name of the
//! method.

use crate::Readout;

/// The demands of a method on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// B, the number of blocks: one for each noise level in discrete time, one for each interval in continuous time.
    pub blocks: usize,
    /// The time as an input of a block.
    pub time: TimeInput,
    /// The normalisation of the outputs of dense layers.
    pub norm: Norm,
    /// The layer that gives the class logits at the end.
    pub readout: ReadoutLayer,
    /// The source of the noise schedule.
    pub schedule: ScheduleSource,
    /// The rule that combines z_{t−1} and a block's prediction.
    pub mixing: Mixing,
    /// The class embeddings that the method can work with.
    pub embeddings: EmbeddingForm,
}

/// The time as an input of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeInput {
    /// A block has one noise level, so the time is not an input (Fig. 6, left).
    None,
    /// A block has many noise levels, and the time of each row, in 0..=1, is an input (Fig. 6, right).
    Embedded,
}

/// The normalisation of dense layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// Batch norm, with a residual label branch (Fig. 6, left).
    Batch,
    /// No normalisation, with a label branch of one layer (Fig. 6, right).
    None,
}

/// The linear layer to class logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadoutLayer {
    /// No layer: the class is found from the class embeddings.
    None,
    /// A layer if class embeddings are trained, because only its loss keeps them distinct; no layer if they are fixed. It
    /// starts at [`ReadoutStart::Zeros`].
    Anchor,
    /// A layer with these initial weights.
    Linear(ReadoutStart),
    /// A layer that reads the features of the image instead of z_T, with random initial weights. It takes the place of
    /// everything behind the image branch: a block has no other layers, and there are no class embeddings to train.
    OfFeatures,
}

/// The readout's weights before training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadoutStart {
    /// Zeros. The loss of a linear layer that is trained separately has one minimum, so zeros lose nothing. Random values would
    /// have to be unlearned first, for hundreds of steps in which the whole chain is less accurate than its blocks.
    Zeros,
    /// Random values, for blocks that learn through the readout: zeros would pass no gradient back to them.
    Random,
    /// Rows of length 1 along the class embeddings, so that the readout predicts each class at its own embedding.
    ///
    /// A chain that mixes predictions ends among the embeddings. A random readout maps each embedding to a random class, so
    /// half of ten classes or more are predicted at no embedding, and blocks that learn through it miss these classes for many
    /// hundreds of steps. Embeddings that start as images are not known yet when the readout is built; the readout then starts
    /// at random.
    AlongEmbeddings,
}

/// The source of the noise schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleSource {
    /// The method: it has a schedule, or does not need one.
    Method,
    /// The network: a [`LearnedSchedule`](crate::LearnedSchedule) is trained with it.
    Network,
}

/// The rule that combines z_{t−1} and a block's prediction into z_t.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixing {
    /// Coefficients of the method.
    Method,
    /// A trained weight w_t for each block (Eq. 18), from [`Denoiser::mix`](crate::Denoiser::mix).
    Trained,
}

/// The form of class embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingForm {
    /// Vectors, or images that go through an image branch.
    VectorsOrImages,
    /// Only vectors.
    Vectors,
}

impl Needs {
    /// Returns the needs of [`DiscreteTime`](crate::DiscreteTime) with T = `blocks`: Fig. 6, left.
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

    /// Returns the needs of [`ContinuousTime`](crate::ContinuousTime) with `blocks` intervals: Fig. 6, right.
    pub fn continuous_time(blocks: usize, readout: Readout) -> Self {
        Self {
            time: TimeInput::Embedded,
            norm: Norm::None,
            schedule: ScheduleSource::Network,
            ..Self::discrete_time(blocks, readout)
        }
    }

    /// Returns the needs of [`FlowMatching`](crate::FlowMatching) with `blocks` intervals: Fig. 6, right.
    pub fn flow_matching(blocks: usize) -> Self {
        Self {
            time: TimeInput::Embedded,
            norm: Norm::None,
            readout: ReadoutLayer::Anchor,
            ..Self::discrete_time(blocks, Readout::Softmax)
        }
    }

    /// Returns the needs of [`Backprop`](crate::Backprop) with T = `blocks`: Fig. 6, left.
    pub fn backprop(blocks: usize) -> Self {
        Self {
            readout: ReadoutLayer::Linear(ReadoutStart::AlongEmbeddings),
            mixing: Mixing::Trained,
            ..Self::discrete_time(blocks, Readout::Softmax)
        }
    }

    /// Returns the needs of [`Adjoint`](crate::Adjoint): one block as in Fig. 6, right.
    pub fn adjoint() -> Self {
        Self {
            readout: ReadoutLayer::Linear(ReadoutStart::Random),
            embeddings: EmbeddingForm::Vectors,
            ..Self::flow_matching(1)
        }
    }

    /// Returns the needs of [`PlainClassifier`](crate::PlainClassifier): the image branch of Fig. 6, left, and a linear layer.
    pub fn plain_classifier() -> Self {
        Self {
            readout: ReadoutLayer::OfFeatures,
            embeddings: EmbeddingForm::Vectors,
            ..Self::discrete_time(1, Readout::Softmax)
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
