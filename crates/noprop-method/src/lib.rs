//! NoProp itself: what a block sees, what it is asked to guess, how it is graded, and how the trained
//! blocks classify an image.
//!
//! NoProp (Li, Teh, Pascanu 2025, arXiv 2503.24322) trains a classifier as T denoisers. Block t sees an
//! image x and the label's embedding u_y noised to level t − 1, and learns to guess u_y. No error signal
//! crosses from one block to another. To classify, start from pure noise and let the blocks refine it.
//!
//! | here | subject |
//! | --- | --- |
//! | [`Denoiser`] | the interface of a network: implement it for a candle network of your own |
//! | [`Needs`] | what a method needs of a network: a network is built from it |
//! | [`Parameters`] | named variables in a fixed order, with initial values that depend on the seed and the name alone |
//! | [`Method`] | the interface of a method: [`Blockwise`] losses, or one [`EndToEnd`] |
//! | [`MethodKind`] | the methods by name, and how each is built from settings |
//! | [`DiscreteTime`] | a loss for each noise level (Eq. 8), and the chain that classifies (Eq. 3) |
//! | [`ContinuousTime`], [`LearnedSchedule`] | blocks that know the time, and the schedule learned with them (Eq. 9) |
//! | [`FlowMatching`] | blocks that learn a velocity (Eqs. 10-13) |
//! | [`Partition`] | which of them owns which interval of time: one for all, unless asked |
//! | [`Backprop`] | the baseline: the same blocks trained end to end (Eqs. 17-19) |
//! | [`Adjoint`] | the baseline in continuous time: a neural ODE trained by the adjoint method |
//! | [`Integration`] | solvers and steps, where time is continuous |
//! | [`Readout`] | from the last embedding to a class (Eqs. 14-16) |
//! | [`LossWeight`] | how much each block's error counts |
//! | [`Targets`] | the labels of a batch, and how much each image counts |
//! | [`classify`], [`SamplerKind`] | from noise to class probabilities, never with a label at hand |
//! | [`Seed`] | every random draw, keyed by what it is for and where in training it happens |
//!
//! **One design decision:** randomness has no state. A draw is a function of (seed, purpose, block,
//! epoch, step), so blocks may train in any order, on any number of threads or machines, be stopped
//! and resumed, and end with the same bits.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use noprop_method::{Seed, noised};
//!
//! // Two labels, noised to a signal share of 0.3 with the draws of block 1, epoch 0, step 0.
//! let device = Device::Cpu;
//! let clean = Tensor::new(&[[1f32, 0.], [0., 1.]], &device)?;
//! let key = Seed(7).at(0, 0).noise(1);
//! let z = noised(&clean, 0.3, key)?;
//! assert_eq!(z.dims(), [2, 2]);
//! // The same draws again, whatever happened in between.
//! let again = noised(&clean, 0.3, Seed(7).at(0, 0).noise(1))?;
//! assert_eq!(z.to_vec2::<f32>()?, again.to_vec2::<f32>()?);
//! # Ok::<(), candle_core::Error>(())
//! ```

mod adjoint;
mod backprop;
mod classify;
mod continuous_time;
mod denoiser;
mod discrete_time;
mod error;
mod flow_matching;
mod integration;
mod kind;
mod learned_schedule;
mod loss_weight;
mod method;
mod needs;
mod noising;
mod parameters;
mod partition;
mod prior;
mod readout;
mod sampler;
mod seed;
mod stacked;

pub use adjoint::Adjoint;
pub use backprop::Backprop;
pub use classify::{Classification, Encoded, classify, classify_encoded};
pub use continuous_time::ContinuousTime;
pub use denoiser::{BlockInput, Denoiser, EncoderKind, Pass};
pub use discrete_time::DiscreteTime;
pub use error::MethodError;
pub use flow_matching::FlowMatching;
pub use integration::{Integration, OdeSolver, Solver};
pub use kind::{EmbeddingLength, MethodFacts, MethodKind, MethodSettings, Setting, Time};
pub use learned_schedule::{LearnedSchedule, ScheduleAt};
pub use loss_weight::LossWeight;
pub use method::{
    BlockLoss, Blockwise, Differentiated, EndToEnd, Losses, Method, NoiseLevels, ReadoutLoss,
    StackedLosses, Trajectory,
};
pub use needs::{
    EmbeddingForm, Mixing, Needs, Norm, ReadoutLayer, ReadoutStart, ScheduleSource, TimeInput,
};
pub use noising::{clean_embeddings, noised};
pub use parameters::{
    Init, Parameter, ParameterBuilder, ParameterError, ParameterKind, Parameters, Part,
};
pub use partition::Partition;
pub use readout::Readout;
pub use sampler::{Noise, Sampler, SamplerKind};
pub use seed::{Draws, Seed};
pub use stacked::{StackedBlocks, StackedParameter, row_of};

pub use noprop_kernels::Targets;
pub use noprop_kernels::random::StreamKey;
pub use noprop_schedule::{Schedule, ScheduleKind};
