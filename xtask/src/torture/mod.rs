//! `cargo xtask torture`: ends trainings at any moment, in many ways, and compares the weights that they reach in the end.
//!
//! The promises, and the results of these trials, are in docs/reliability.md.

mod calls;
mod kills;
mod lab;
mod limits;
mod places;
mod signals;
mod soak;

use std::num::NonZeroU32;

use anyhow::{Result, ensure};

use crate::workspace::report;
use lab::{Lab, Plant};

/// The number of faults after which a kind of trials ends: it would not end by itself if all trials failed.
const MOST_FAULTS: u32 = 20;
/// Trials to find a planted fault in.
const TRIES: u64 = 10;

#[derive(clap::Args)]
pub struct Options {
    /// Trials to make
    #[arg(value_enum, default_value_t = Trials::All)]
    trials: Trials,
    /// Kills at random moments
    #[arg(long, value_name = "N", default_value = "1000")]
    times: NonZeroU32,
    /// Steps of the long training
    #[arg(long, value_name = "N", default_value = "100000")]
    steps: NonZeroU32,
    /// Requests to the page during a training
    #[arg(long, value_name = "N", default_value = "10000")]
    requests: NonZeroU32,
    /// Seed of the random moments
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Make only the trials of trainings whose name contains this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Trials {
    /// Kills at random moments, of every training
    Kills,
    /// A kill, and an error, at every call that makes, names, syncs or removes a file (strace)
    Calls,
    /// Too little memory, too few open files (prlimit)
    Limits,
    /// Signals: stop, hang up, twice stop, pause and continue
    Signals,
    /// The place of a run: a full disk, a disk that turns read-only, a folder that is renamed, a second process, files from the future
    Places,
    /// Faults that are planted, each of which a trial must find
    Planted,
    /// A long training, and a page that asks all the time: nothing grows (Linux)
    Soak,
    /// All of these
    All,
}

/// Makes the trials, and fails if one found a fault.
pub fn run(options: &Options) -> Result<()> {
    let Options { trials, times, steps, requests, seed, only } = options;
    let lab = Lab::new(only)?;
    let wanted = |kind| matches!(trials, Trials::All) || *trials == kind;
    let mut faults = 0;
    report(&format!("seed {seed}; runs are in {}", lab.folder.display()));
    if wanted(Trials::Kills) {
        faults += kills::at_random(&lab, times.get(), *seed, Plant::Nothing)?;
    }
    if wanted(Trials::Calls) {
        faults += calls::all(&lab)?;
    }
    if wanted(Trials::Limits) {
        faults += limits::all(&lab)?;
    }
    if wanted(Trials::Signals) {
        faults += signals::all(&lab, *seed)?;
    }
    if wanted(Trials::Planted) {
        for plant in [Plant::HalfAFile, Plant::AnotherSeed, Plant::LostFigure, Plant::OtherBit] {
            // Some faults need a kill in the right moment.
            let mut found = false;
            for more in 0..TRIES {
                found = found || kills::at_random(&lab, 1, seed + more, plant)? > 0;
            }
            report(&format!("planted {plant:?}: {}", if found { "found" } else { "NOT FOUND" }));
            faults += u32::from(!found);
        }
    }
    if wanted(Trials::Soak) {
        faults += soak::all(&lab, steps.get(), requests.get())?;
    }
    let folder = lab.folder.clone();
    if wanted(Trials::Places) {
        faults += places::all(lab)?;
    }
    ensure!(faults == 0, "{faults} trials failed; their runs are in {}", folder.display());
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
