//! Checkpoints: the saved state of a training. A training can be killed at any moment and resumed to the same bytes.
//!
//! | file | subject |
//! | --- | --- |
//! | `run.rs` | a whole training: its state, the log, and the best weights |
//! | `units.rs` | units that several processes train: one folder for each unit |
//! | `tensors.rs` | the tensors of a unit, written and restored |

mod run;
mod tensors;
mod units;

pub(crate) use run::Kept;
pub use run::{Fitting, Progress};
pub(crate) use units::{UnitEpoch, UnitFolders, load_epoch};
pub use units::{UnitFitting, UnitStatus, unit_status};
