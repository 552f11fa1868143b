#![doc = include_str!("../README.md")]
//! ## Where to look
//!
//! | here | subject |
//! | --- | --- |
//! | [`Denoiser`] | the interface of a network: implement it for any candle network |
//! | [`Needs`] | what a method needs of a network: a network is built from it |
//! | [`Parameters`], [`Part`] | named variables in a fixed order, each of a part of the network |
//! | [`ParameterBuilder`], [`Init`] | variables by name, with initial values that depend on the seed and the name alone; candle-nn's `VarBuilder` over them |
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

mod adjoint;
mod backprop;
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
mod needs;
mod noising;
mod parameter_builder;
mod parameters;
mod part;
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
pub use init::Init;
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
pub use parameter_builder::ParameterBuilder;
pub use parameters::{
    Parameter, ParameterError, ParameterKind, Parameters, StackedParameter, row_of,
};
pub use part::Part;
pub use partition::Partition;
pub use readout::Readout;
pub use sampler::{Noise, Sampler, SamplerKind};
pub use seed::{Draws, Seed};
pub use stacked::StackedBlocks;

pub use candle_core;
pub use candle_nn;
pub use noprop_kernels::Targets;
pub use noprop_kernels::random::StreamKey;
pub use noprop_schedule::{Schedule, ScheduleKind};
