//! Checkpoints: where a training keeps its state, so that it can be killed at any moment and resumed to the same bytes.
//!
//! | file | subject |
//! | --- | --- |
//! | `run.rs` | a whole training: its state, the log, and the best weights |
//! | `units.rs` | units that are trained by several processes: a folder for each |
//! | `tensors.rs` | the tensors of a unit, to a file and back |

mod run;
mod tensors;
mod units;

pub(crate) use run::Kept;
pub use run::{Fitting, Progress};
pub use units::{UnitFitting, UnitStatus, unit_status};
pub(crate) use units::{UnitFolders, load_epoch};
