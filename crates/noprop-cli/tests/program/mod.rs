//! The program as it was built, for all tests of it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// Returns the program with these arguments, in `folder`. It does not see the data sets of this machine.
pub fn command<S: AsRef<OsStr>>(folder: &Path, args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_noprop"));
    command.current_dir(folder).env_remove("NOPROP_DATA_DIR").args(args);
    command
}

/// Runs the program with these arguments to its end.
pub fn noprop<S: AsRef<OsStr>>(folder: &Path, args: &[S]) -> Output {
    command(folder, args).output().unwrap()
}
