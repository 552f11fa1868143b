//! The noprop command: parse, validate, run.
//!
//! Exit codes: 0 done, 1 failed, 2 bad usage or bad input. Errors are one line on stderr.

mod args;
mod config;
mod eval;
mod train;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Tensors of one step are the next step's: memory handed back to the system would have to be asked for again.
    noprop_kernels::memory::keep_freed();
    let args = args::Args::parse();
    let done = match args.command {
        args::Command::Train(args) => train::run(&args),
        args::Command::Eval(args) => eval::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// 2 for what the user can mend, 1 for a training that failed.
fn exit_code(error: &anyhow::Error) -> u8 {
    use noprop_train::TrainError;
    match error.downcast_ref::<TrainError>() {
        Some(
            TrainError::Diverged { .. }
            | TrainError::MissingGradient { .. }
            | TrainError::Tensor(_)
            | TrainError::Optimizer(_),
        ) => 1,
        _ => 2,
    }
}
