//! A training spread over processes that never talk: each trains some units, and the parts are put together at the end.
//!
//! | file | subject |
//! | --- | --- |
//! | `folder.rs` | what one unit keeps: its weights after every epoch, and all that it needs to go on |
//! | `fit.rs` | the loop over steps of the units that a process has |
//! | `merge.rs` | from every unit's epochs to the weights that a single process writes |
//!
//! The run directory holds `units/<unit>/`, and nothing there is written by two processes: each unit has a lock of its own.
//! What a process leaves is written whole or not at all, so that it can be killed at any moment and started again.

mod fit;
mod folder;
mod merge;

pub use fit::{UnitFitting, fit_units};
pub use folder::{UnitError, UnitStatus, unit_status};
pub use merge::{Merged, Merging, merge_units};
