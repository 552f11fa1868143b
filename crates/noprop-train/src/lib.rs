//! Trains the blocks of a NoProp network and records the run. A training that is stopped and resumed gives the same bits.
//!
//! | file | subject |
//! | --- | --- |
//! | `trainer.rs` | a network, a method and data, and the steps that train the network |
//! | `step.rs` | one step of one unit: images → features → losses → gradients → update |
//! | `shared_sum.rs` | the gradients of parameters that several losses reach |
//! | `engine/` | the state of a training, and the way in which its steps are carried out: on threads, batched on a GPU, over ranks |
//! | `unit.rs` | units: the parameters that one optimizer step moves |
//! | `unit_state.rs` | a unit's parts and their optimizers |
//! | `batches.rs` | the batch of a step |
//! | `config.rs`, `class_weights.rs`, `learning_rate.rs` | settings, checked once |
//! | `loss.rs` | losses, from the step to the record of the run |
//! | `epochs.rs` | the loop over epochs |
//! | `report.rs` | reports to an observer, and at the end |
//! | `keeper.rs` | the interface to the code that records and saves a training |
//! | `fit.rs`, `checkpoint/` | trainings that are kept in a run directory: whole trainings, and units of a training |
//! | `merge.rs` | the merge of the units of several processes into one weights file |
//! | `evaluate.rs`, `class_scores.rs` | accuracy of the chain, of each block, and of every class |
//! | `weights.rs` | `model.safetensors`, written atomically and checked when it is read |
//! | `run_dir.rs`, `metrics.rs` | the run directory, and `metrics.jsonl` in it |
//!
//! **One design decision:** the trainer works on *units*, not on blocks. A unit is a set of parameters that one optimizer step moves: a
//! block with its own encoder, the readout, or all blocks with the parameters that they share. A unit's next step depends only
//! on the unit, its position and the data, so units may be trained in any order, in any process, and be stopped after any step.
//!
//! The example trains the paper's network for one step on random images:
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use noprop_data::Split;
//! use noprop_method::{
//!     DiscreteTime, LossWeight, Needs, ParameterBuilder, Readout, Schedule, ScheduleKind, Seed,
//! };
//! use noprop_models::{ImageShape, Network, NetworkConfig};
//! use noprop_train::{TrainConfig, Trainer};
//!
//! let (seed, device) = (Seed(1), Device::Cpu);
//! let needs = Needs::discrete_time(3, Readout::Softmax);
//! let config = NetworkConfig::new(ImageShape { channels: 1, height: 16, width: 16 }, 2, needs)?;
//! let network = Network::new(&config, ParameterBuilder::seeded(seed, &device))?;
//! let method = DiscreteTime::new(Schedule::new(ScheduleKind::Cosine, 3)?, 0.1, LossWeight::Uniform)?;
//!
//! let images = Tensor::rand(0f32, 1., (8, 1, 16, 16), &device)?;
//! let labels = Tensor::new(&[0u32, 1, 0, 1, 0, 1, 0, 1], &device)?;
//! let train = Split::new(images, labels, 2)?;
//! let config = TrainConfig { batch_size: 4, ..TrainConfig::default() };
//! let mut trainer = Trainer::new(network, method, &train, config, seed)?;
//! for report in trainer.step()? {
//!     assert!(report.losses.iter().all(|loss| loss.loss.is_finite()));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batches;
mod checkpoint;
mod class_scores;
mod class_weights;
mod config;
mod engine;
mod epochs;
mod error;
mod evaluate;
mod fit;
mod keeper;
mod learning_rate;
mod lock;
mod loss;
mod merge;
mod metrics;
#[cfg(feature = "mpi")]
mod mpi;
mod report;
mod resources;
mod run_dir;
mod shared_sum;
mod step;
mod trainer;
mod unit;
mod unit_state;
mod weights;

pub use checkpoint::{Fitting, Progress, UnitFitting, UnitStatus, unit_status};
pub use class_scores::{ClassScore, ClassScores};
pub use class_weights::ClassWeights;
pub use config::{OptimizerKind, TrainConfig};
pub use engine::{Engine, OneRank, Ranks, Traffic};
pub use error::{Checkpoint, FileAction, RanksError, StateError, TrainError, UnitError};
pub use evaluate::{Evaluation, Keep, accuracies, evaluate, evaluate_keeping, in_chunks};
pub use fit::{fit, fit_units};
pub use learning_rate::{Decay, Position};
pub use loss::{Loss, LossSums, StepReport};
pub use merge::{Merged, Merging, merge_units};
pub use metrics::{Event, MetricsLog};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use noprop_files::write_atomically;
pub use report::{Best, Control, EpochReport, FitReport, Observer, Outcome, Silent, Validation};
pub use resources::{Hardware, PeakMemory, free_memory_bytes, peak_memory_bytes};
pub use run_dir::{Existing, RunDirectory};
pub use trainer::Trainer;
pub use unit::{Order, ReadoutTraining, Tie, Unit};
pub use weights::{
    StoredWeights, WeightsError, load_weights, read_weights, save_weights, weights_of,
    weights_to_bytes, write_weights,
};

pub use candle_core;
pub use noprop_kernels::threads::Workers;

/// Compiles and trains the method of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/adding-a-method.md")]
mod adding_a_method {}
