//! The methods of NoProp, and the interface of a network.
//!
#![doc = include_str!("../README.md")]
//! ## Where to look
//!
//! | item | subject |
//! | --- | --- |
//! | [`Denoiser`] | the interface of a network: implement it for any candle network |
//! | [`Needs`] | the demands of a method on a network: a network is built from them |
//! | [`Parameters`], [`Part`] | named variables in a fixed order, and the parts of the network that own them |
//! | [`ParameterBuilder`], [`Init`] | variables by name, with initial values that depend only on the seed and the name; candle-nn's `VarBuilder` over them |
//! | [`Method`] | the interface of a method: [`Blockwise`] losses, or one [`EndToEnd`] |
//! | [`MethodKind`] | the methods by name, and their construction from settings |
//! | [`DiscreteTime`] | a loss for each noise level (Eq. 8), and the chain that classifies (Eq. 3) |
//! | [`ContinuousTime`], [`LearnedSchedule`] | blocks with the time as an input, and the schedule that is learned with them (Eq. 9) |
//! | [`FlowMatching`] | blocks that learn a velocity (Eqs. 10-13) |
//! | [`Partition`] | the intervals of time that blocks own: one block owns all times unless several are set |
//! | [`Backprop`] | the baseline: the same blocks trained end to end (Eqs. 17-19) |
//! | [`Adjoint`] | the baseline in continuous time: a neural ODE trained by the adjoint method |
//! | [`PlainClassifier`] | the baseline without a chain: the image branch and a linear layer |
//! | [`Integration`] | solvers and steps in continuous time |
//! | [`Readout`] | the step from the last embedding to a class (Eqs. 14-16) |
//! | [`BlockLossKind`] | the loss function of a block |
//! | [`LossWeight`] | the weight of each block's error |
//! | [`Targets`] | the labels of a batch, and the weight of each image |
//! | [`Chain`], [`walk`], [`Route`] | the steps that classify, one by one, and in another order |
//! | [`classify`], [`SamplerKind`] | from noise to class probabilities, without labels |
//! | [`Seed`] | all random draws, keyed by purpose and by position in training |

mod adjoint;
mod backprop;
mod block_loss;
mod chain;
mod classify;
mod continuous_time;
mod denoiser;
mod discrete_time;
mod error;
mod flow_matching;
mod init;
mod integration;
mod kind;
mod learned_schedule;
mod loss_weight;
mod method;
mod names;
mod needs;
mod noising;
mod parameter_builder;
mod parameters;
mod part;
mod partition;
mod plain_classifier;
mod pointer;
mod prior;
mod readout;
mod sampler;
mod seed;
mod stacked;
#[cfg(test)]
mod toy;

pub use adjoint::Adjoint;
pub use backprop::Backprop;
pub use block_loss::BlockLossKind;
pub use chain::{Chain, ChainStep, Made, Route, Trajectory, Update, walk};
pub use classify::{
    Classification, Encoded, classify, classify_along, classify_encoded, most_probable,
};
pub use continuous_time::ContinuousTime;
pub use denoiser::{BlockInput, Denoiser, EncoderKind, Pass};
pub use discrete_time::DiscreteTime;
pub use error::{MethodError, not_positive};
pub use flow_matching::FlowMatching;
pub use init::Init;
pub use integration::{Integration, OdeSolver, Solver};
pub use kind::{EmbeddingLength, MethodFacts, MethodKind, MethodSettings, Setting, Time};
pub use learned_schedule::{LearnedSchedule, ScheduleAt};
pub use loss_weight::LossWeight;
pub use method::{
    BlockLoss, Blockwise, Differentiated, EndToEnd, Losses, Method, NoiseLevels, ReadoutLoss,
    StackedLosses,
};
pub use needs::{
    EmbeddingForm, Mixing, Needs, Norm, ReadoutLayer, ReadoutStart, ScheduleSource, TimeInput,
};
pub use noising::{clean_embeddings, noised};
pub use parameter_builder::ParameterBuilder;
pub use parameters::{
    Parameter, ParameterError, ParameterKind, Parameters, StackedParameter, row_of,
};
pub use part::Part;
pub use partition::Partition;
pub use plain_classifier::PlainClassifier;
pub use readout::Readout;
pub use sampler::{Noise, Sampler, SamplerKind};
pub use seed::{Draws, Seed};
pub use stacked::StackedBlocks;

pub use candle_core;
pub use candle_nn;
pub use noprop_kernels::Targets;
pub use noprop_kernels::random::StreamKey;
pub use noprop_schedule::{Schedule, ScheduleKind};
