//! Trains the blocks of a NoProp network, records the run, and stops and resumes to the same bits.
//!
//! | file | subject |
//! | --- | --- |
//! | `config.rs` | optimizer settings, checked once |
//! | `class_weights.rs` | how much the images of each class count |
//! | `learning_rate.rs` | warm-up and decay as a function of the step |
//! | `unit.rs` | which parameters are trained together, and which never meet |
//! | `unit_state.rs` | a unit's parts and their optimizers |
//! | `trainer.rs` | who makes the next steps, in which order |
//! | `step.rs` | one step of one unit: loss, gradients, update |
//! | `stacked.rs` | all blocks in one call, for GPUs |
//! | `losses.rs` | what steps were graded, and when it is read |
//! | `peers.rs` | processes that train one network together: what they ask of each other |
//! | `contribution.rs` | what one loss gives to shared parameters, and how it travels |
//! | `collect.rs` | what every process trained, brought to the first |
//! | `fit.rs` | the loop over epochs: validation, best weights, checkpoints, interruption |
//! | `evaluate.rs` | accuracy of the whole chain and after each block |
//! | `class_scores.rs` | recall, precision and F1 of every class |
//! | `weights.rs` | `model.safetensors`, written atomically and read with suspicion |
//! | `state.rs` | all that a resume needs |
//! | `units/` | a training spread over processes: each unit by itself, merged at the end |
//! | `run_dir.rs` | the run directory: one process at a time, nothing overwritten by accident |
//! | `metrics.rs` | `metrics.jsonl`, one event a line |
//!
//! **One design decision:** the trainer knows *units*, not blocks. A unit is a set of parameters that one optimizer
//! step moves together: a block with an encoder of its own, the readout, or all blocks behind what they share. A unit's
//! next step depends on nothing but the unit, its position and the data, so units may advance in any order, in any
//! process, and be stopped anywhere.
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
//! let objective = DiscreteTime::new(Schedule::new(ScheduleKind::Cosine, 3)?, 0.1, LossWeight::Uniform)?;
//!
//! let images = Tensor::rand(0f32, 1., (8, 1, 16, 16), &device)?;
//! let labels = Tensor::new(&[0u32, 1, 0, 1, 0, 1, 0, 1], &device)?;
//! let train = Split::new(images, labels, 2)?;
//! let mut trainer = Trainer::new(&network, &objective, &train, TrainConfig { batch_size: 4, ..TrainConfig::default() }, seed)?;
//! for unit in 0..trainer.units().len() {
//!     let report = trainer.advance(unit)?;
//!     assert!(report.losses.iter().all(|loss| loss.loss.is_finite()));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod apart;
mod atomic_file;
mod batches;
mod class_scores;
mod class_weights;
mod collect;
mod config;
mod contribution;
mod error;
mod evaluate;
mod fit;
mod learning_rate;
mod losses;
mod metrics;
mod network_weights;
mod peers;
mod resources;
mod run_dir;
mod stacked;
mod state;
mod step;
mod trainer;
mod unit;
mod unit_state;
mod units;
mod weights;

pub use atomic_file::write_atomically;
pub use class_scores::{ClassScore, ClassScores};
pub use class_weights::ClassWeights;
pub use config::{OptimizerKind, Order, TrainConfig};
pub use error::TrainError;
pub use evaluate::{Evaluation, Keep, accuracies, evaluate, evaluate_keeping};
pub use fit::{Best, Control, EpochReport, FitReport, Fitting, Observer, Outcome, Silent, fit};
pub use learning_rate::{Decay, LearningRate};
pub use losses::{PartLoss, StepReport};
pub use metrics::{Event, MeanLoss, MetricsLog};
pub use network_weights::{load_weights, save_weights};
pub use peers::{Alone, Peers, PeersError, Traffic};
pub use resources::{Hardware, PeakMemory, free_memory_bytes, peak_memory_bytes};
pub use run_dir::{Existing, RunDirectory};
pub use stacked::Grouping;
pub use state::{Progress, StateError};
pub use trainer::Trainer;
pub use unit::Unit;
pub use units::{
    Merged, Merging, UnitError, UnitFitting, UnitStatus, fit_units, merge_units, unit_status,
};
pub use weights::{StoredWeights, WeightsError, read_weights, write_weights};
