//! Train, evaluate, use and compare NoProp classifiers from a program.
//!
#![doc = include_str!("../README.md")]
//!
//! | file | subject |
//! | --- | --- |
//! | `settings.rs`, `layers.rs`, `preset.rs`, `paper.rs` | every setting, once, and layers of settings |
//! | `setup.rs`, `idle.rs`, `fitting.rs`, `experiment.rs`, `format.rs` | settings with every choice made, fitted to data, read and written |
//! | `choices.rs`, `source.rs`, `images.rs`, `in_memory.rs` | single settings, and images that a program gives |
//! | `kept.rs`, `part.rs`, `classes.rs`, `eval_images.rs` | the data of a run, and how it knows them again |
//! | `task.rs`, `init.rs`, `memory.rs` | settings and data, known to go together |
//! | `train.rs`, `reached.rs`, `units.rs`, `finished.rs`, `model_card.rs`, `card_data.rs`, `hub_folder.rs`, `new_folder.rs` | a training, and its end |
//! | `stepwise.rs`, `watch/` | a training in memory, step by step; a training as a page shows it |
//! | `trained.rs`, `classifier.rs`, `path.rs`, `pictures.rs`, `ink.rs`, `walk.rs`, `evaluate.rs`, `answers.rs` | a trained run that answers |
//! | `record.rs`, `history.rs`, `spread.rs`, `info.rs`, `compare.rs`, `figures/` | the records of runs |
//! | `ablate.rs` | a chain without some of its blocks, or in another order |
//! | `reproduce/` | the tables and figures of the paper |
//! | `device.rs`, `progress.rs`, `error.rs`, `shell.rs` | what the calls share |

#[cfg(feature = "figures")]
mod ablate;
mod answers;
mod card_data;
mod choices;
mod classes;
mod classifier;
#[cfg(feature = "figures")]
mod compare;
mod device;
mod error;
mod eval_images;
mod evaluate;
mod experiment;
#[cfg(feature = "figures")]
mod figures;
mod finished;
mod fitting;
mod format;
mod history;
mod hub_folder;
mod idle;
mod images;
mod in_memory;
mod info;
mod init;
mod ink;
mod kept;
mod layers;
mod memory;
mod model_card;
mod new_folder;
mod paper;
mod part;
mod path;
mod pictures;
mod preset;
mod progress;
mod reached;
#[cfg(feature = "figures")]
mod record;
#[cfg(feature = "figures")]
pub mod reproduce;
mod settings;
mod setup;
pub mod shell;
mod source;
#[cfg(feature = "figures")]
mod spread;
mod stepwise;
mod task;
mod train;
mod trained;
mod units;
mod walk;
pub mod watch;

// The types that stand in settings and calls: a program needs no other crate of the workspace for them.
pub use candle_core;
pub use noprop_data::picture::Polarity;
pub use noprop_data::{Augmentation, BadPictures, DatasetName, Half};
pub use noprop_method::{
    BlockLossKind, EncoderKind, LossWeight, Readout, Route, SamplerKind, ScheduleKind, Solver,
};
pub use noprop_models::{Backbone, Embedding, EmbeddingStart};
pub use noprop_train::{
    ClassWeights, Control, Decay, EpochReport, Existing, Keep, Observer, OptimizerKind, Order,
    Silent, StepReport,
};

#[cfg(feature = "figures")]
pub use ablate::{Ablation, AblationRequest, Changed, ablate};
pub use answers::AnswersFile;
pub use card_data::{License, card_body};
pub use choices::{Normalize, Precision};
pub use classifier::{Answer, Classifier};
#[cfg(feature = "figures")]
pub use compare::{Comparison, Line, Standing, Unfinished, compare};
pub use device::{DeviceError, DeviceName};
pub use error::{Error, Result};
pub use eval_images::{Asked, test_images};
pub use evaluate::{Evaluated, Sampling, evaluate};
pub use experiment::Experiment;
#[cfg(feature = "figures")]
pub use figures::plot;
pub use finished::Finished;
pub use hub_folder::write_hub_folder;
pub use images::{Images, Measured};
pub use in_memory::InMemory;
pub use info::{Info, Tested};
pub use ink::{Ground, Opposite};
pub use kept::Moved;
pub use layers::{Layers, Resolved};
pub use paper::{PaperData, Row};
pub use path::AlongChain;
pub use pictures::{Origin, Picture, Pictures};
pub use preset::{Preset, ResnetData};
pub use progress::{Length, Progress, Remark};
pub use reached::{Reached, reached};
pub use settings::{Init, Settings, Setup};
pub use source::Source;
pub use stepwise::{Stepped, Stepwise};
pub use train::{Ending, Means, NewRun, free_run, resume, train};
pub use trained::Trained;
pub use units::{Blocks, Status, TrainedUnits, merge, resume_units, status, train_units};
pub use walk::{Coefficients, Image, Input, ModelFacts, Shape, Step, Walk};

pub use noprop_method::MethodKind;
