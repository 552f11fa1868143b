//! Chores of the workspace: `cargo xtask <chore>`.
//!
//! Every chore has a file. This one lists them, and turns errors into a line and an exit code: 0 done, 1 failed,
//! 2 bad usage or bad input.

mod bench;
mod check_cuda;
mod ci;
mod fetch;
mod mpi;
mod python;
mod same_bytes;
mod sanitize;
mod server;
mod slurm;
mod study;
mod torture;
mod venv;
mod web;
mod workspace;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use noprop_fetch::FetchError;
use noprop_fetch::command::advice;
use noprop_files::DatasetName;

use crate::workspace::BadUsage;

/// Chores of the noprop workspace
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Download MNIST (12 MB) and verify it
    FetchMnist(fetch::Options),
    /// Download Fashion-MNIST (31 MB) and verify it
    FetchFashionMnist(fetch::Options),
    /// Download CIFAR-10 (170 MB) and verify it
    FetchCifar10(fetch::Options),
    /// Download CIFAR-100 (169 MB) and verify it
    FetchCifar100(fetch::Options),
    /// Measure speed and memory, side by side with PyTorch
    Bench(bench::Options),
    /// Train many networks and draw what blocks, encoders and width are worth; the settings of all trainings follow --
    Study(study::Options),
    /// Train the same short trainings with two builds of noprop and compare their weights byte for byte
    SameBytes(same_bytes::Options),
    /// Check format, lints, documentation, tests and packages; installs nothing
    Ci,
    /// Run the kernels' tests under AddressSanitizer (x86-64 Linux)
    Sanitize,
    /// Start Slurm daemons on this machine, run scripts/slurm on them, and kill a task and a node (Linux, root)
    TestSlurm,
    /// Type-check the CUDA build and compile its kernels, with or without a GPU (Linux; without nvcc it downloads 1 GB once)
    CheckCuda,
    /// Run `train --distributed mpi` under mpirun on this machine, and end a rank by a panic and a kill (Linux, Open MPI)
    TestMpi,
    /// Test the Python package and what Python's libraries make of noprop's files (Linux; installs NumPy and others into target/python)
    TestPython,
    /// End short trainings in many ways and at any moment, resume them, and compare their weights byte for byte
    Torture(torture::Options),
    /// Build the page that computes in a browser into a folder that any static host can serve
    Web(web::Options),
    /// Build that page and use it in Chromium, with ChromeDriver
    TestWeb(web::Model),
}

fn main() -> ExitCode {
    let done = match Args::parse().chore {
        Chore::FetchMnist(options) => fetch::run(DatasetName::Mnist, &options),
        Chore::FetchFashionMnist(options) => fetch::run(DatasetName::FashionMnist, &options),
        Chore::FetchCifar10(options) => fetch::run(DatasetName::Cifar10, &options),
        Chore::FetchCifar100(options) => fetch::run(DatasetName::Cifar100, &options),
        Chore::Bench(options) => bench::run(&options),
        Chore::Study(options) => study::run(&options),
        Chore::SameBytes(options) => same_bytes::run(&options),
        Chore::Ci => ci::run(),
        Chore::Sanitize => sanitize::run(),
        Chore::TestSlurm => slurm::run(),
        Chore::CheckCuda => check_cuda::run(),
        Chore::TestMpi => mpi::run(),
        Chore::TestPython => python::run_tests(),
        Chore::Torture(options) => torture::run(&options),
        Chore::Web(options) => web::run(&options),
        Chore::TestWeb(model) => web::test(&model),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let advice = error.downcast_ref().and_then(advice).map(|advice| format!("; {advice}"));
            // Without a reader, the exit code is enough.
            let _ = writeln!(std::io::stderr(), "error: {error:#}{}", advice.unwrap_or_default());
            ExitCode::from(exit_code(&error))
        }
    }
}

/// 2 if the user can correct the command, 1 for a chore that failed.
fn exit_code(error: &anyhow::Error) -> u8 {
    let is_of_data = error.downcast_ref::<FetchError>().is_some_and(FetchError::is_bad_input);
    if is_of_data || error.is::<BadUsage>() { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_command_that_can_be_corrected_ends_with_2() {
        assert_eq!(exit_code(&BadUsage("no such line".into()).into()), 2);
        assert_eq!(exit_code(&anyhow::anyhow!("3 trials failed")), 1);
    }

    /// The readers' errors and the README name these commands.
    #[test]
    fn every_data_set_that_can_be_fetched_has_its_chore() {
        let command = Args::command();
        for name in DatasetName::ALL {
            let chore = format!("fetch-{name}");
            let there = command.get_subcommands().any(|c| c.get_name() == chore);
            assert_eq!(there, name != DatasetName::MnistSample, "{chore}");
        }
    }
}
