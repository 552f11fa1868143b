//! The command `noprop`: parse, validate, run.
//!
//! Exit codes: 0 done, 1 failed or answered in part, 2 bad usage or bad input. An error is one line on stderr: what, where and what
//! to do.

mod ablate;
mod args;
mod class_table;
mod compare;
mod display;
mod distributed;
mod eval;
mod export;
mod fault;
mod fetch;
mod hints;
mod info;
mod log_file;
mod manual;
mod merge;
mod output;
mod plot;
mod predict;
mod reproduce;
mod serve;
mod status;
mod stop;
mod sweep;
mod train;
mod values;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Result;
use args::{Args, Command, Compute};
use clap::Parser;
use distributed::Job;
use noprop_experiment::shell::shown;
use noprop_fetch::{HubError, HubModel};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use crate::output::{ReaderGone, note};

fn main() -> ExitCode {
    fault::guard(program)
}

fn program() -> ExitCode {
    // Tensors of one step are the next step's: memory handed back to the system would have to be asked for again.
    noprop_kernels::memory::keep_freed();
    let mut args = match Args::try_parse() {
        Ok(args) => args,
        Err(refusal) => return refuse(&refusal),
    };
    if let Err(error) = find_on_hub(&mut args.command) {
        return fail(&error);
    }
    // Held until the end: where others train along, their MPI ends with ours.
    let job = match prepare(&args.command) {
        Ok(job) => job,
        Err(error) => return fail(&error),
    };
    match run(&args, &job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            job.before_failing();
            let code = fail(&error);
            job.abort(exit_code(&error));
            code
        }
    }
}

/// Replaces the addresses of models on the Hugging Face hub by their folders in its cache.
fn find_on_hub(command: &mut Command) -> Result<()> {
    for run in command.runs_read() {
        // A path that is not text is not an address.
        if let Some(address) = run.to_str().filter(|text| HubModel::is_meant(text)) {
            *run = address.parse::<HubModel>()?.folder()?;
        }
    }
    Ok(())
}

fn fail(error: &anyhow::Error) -> ExitCode {
    note!("error: {}", one_line(&hints::with_hint(error, chain(error))));
    ExitCode::from(exit_code(error))
}

/// The device and threads of a command that computes.
fn compute(command: &Command) -> Option<Compute> {
    match command {
        // So does a training with several seeds.
        Command::Train(args) => args.seeds.is_none().then_some(args.compute),
        Command::Eval(args) => Some(args.compute),
        Command::Predict(args) => Some(args.compute),
        Command::Ablate(args) => Some(args.compute),
        Command::Plot(args) => Some(args.compute),
        Command::Merge(args) => Some(args.compute),
        Command::Serve(args) => Some(args.compute),
        // An export computes nothing, and a reproduction leaves it to processes of its own.
        Command::Fetch(_)
        | Command::Export(_)
        | Command::Status(_)
        | Command::Info(_)
        | Command::Compare(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Reproduce(_) => None,
    }
}

/// Threads, diagnostics, and the processes that train along, in this order: MPI starts threads of its own.
fn prepare(command: &Command) -> Result<Job> {
    if let Some(compute) = compute(command) {
        let all = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        // Before anything else may have started a thread.
        noprop_kernels::threads::configure(compute.threads.unwrap_or_else(all))?;
    }
    let log_file = match command {
        Command::Train(args) => {
            args.log_file.as_deref().map(|path| log_file::open(path, args)).transpose()?
        }
        _ => None,
    };
    // An error in writing diagnostics would go to stderr, which is the file that cannot be written.
    let in_file =
        |file| fmt::layer().with_ansi(false).log_internal_errors(false).with_writer(move || file);
    // They are off unless NOPROP_LOG is set, for example NOPROP_LOG=debug.
    tracing_subscriber::registry()
        .with(EnvFilter::from_env("NOPROP_LOG"))
        .with(fmt::layer().log_internal_errors(false).with_writer(std::io::stderr))
        .with(log_file.map(in_file))
        .init();
    Job::start(command)
}

fn run(args: &Args, job: &Job) -> Result<()> {
    let command = || match &args.command {
        Command::Train(args) => train::run(args, job.ranks()),
        Command::Eval(args) => eval::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Export(args) => export::run(args),
        Command::Ablate(args) => ablate::run(args),
        Command::Plot(args) => plot::run(args),
        Command::Fetch(args) => fetch::run(args),
        Command::Merge(args) => merge::run(args),
        Command::Status(args) => status::run(args),
        Command::Info(args) => info::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Reproduce(args) => reproduce::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Completions(args) => manual::completions(args),
        Command::Man(args) => manual::page(args),
    };
    match &args.command {
        // A server waits most of the time, and would keep a thread of the pool from its work.
        Command::Serve(_) => command(),
        // On a thread of the pool an op hands work over at less cost.
        other if compute(other).is_some() => rayon::scope(|_| command()),
        _ => command(),
    }
}

/// Help and version go to stdout as they are; a refusal is put on one line.
fn refuse(refusal: &clap::Error) -> ExitCode {
    if !refusal.use_stderr() {
        // A closed pipe is not an error.
        let _ = refusal.print();
        return ExitCode::SUCCESS;
    }
    if refusal.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = refusal.print();
        return ExitCode::from(2);
    }
    note!("{}", one_line(&refusal.render().to_string()));
    ExitCode::from(2)
}

/// An error and its causes, outermost first. A cause that the error before it already quotes is left out.
fn chain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| {
        match (said.is_empty(), said.contains(&cause)) {
            (true, _) => cause,
            (false, true) => said,
            (false, false) => format!("{said}: {cause}"),
        }
    })
}

/// Joins the lines of a message, so that a script finds an error in one place. Names in it may hold what a terminal would obey.
fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !is_backtrace(line));
    let joined = lines.collect::<Vec<_>>().join("; ").replace(":; ", ": ");
    shown(&joined).into_owned()
}

/// Returns whether a line belongs to a backtrace, which candle puts into its errors where RUST_BACKTRACE asks for one: `3: function`, or
/// `at file.rs:5:6`.
fn is_backtrace(line: &str) -> bool {
    let is_frame = line.split_once(": ").is_some_and(|(number, function)| {
        number.parse::<u16>().is_ok() && (function.contains("::") || !function.contains(' '))
    });
    let is_place = line.strip_prefix("at ").is_some_and(|place| place.matches(':').count() == 2);
    is_frame || is_place
}

/// 1 for a training that failed, 2 for what the user can mend.
fn exit_code(error: &anyhow::Error) -> u8 {
    use noprop_experiment::Error;
    use noprop_method::MethodError;
    use noprop_train::{FileAction, TrainError, UnitError, WeightsError};
    if let Some(error) = error.downcast_ref::<noprop_fetch::FetchError>() {
        return if error.is_bad_input() { 2 } else { 1 };
    }
    if let Some(HubError::Download { .. }) = error.downcast_ref() {
        return 1;
    }
    if let Some(failed) = error.downcast_ref::<output::Failed>() {
        return failed.code();
    }
    let error = error.downcast_ref::<Error>();
    if error.is_some_and(Error::is_unwritable_disk) {
        return 1;
    }
    match error.map(Error::root) {
        Some(Error::Train(
            // Not a mistake of the user: another process writes it, or did until its node was lost.
            TrainError::Unit(UnitError::Locked { .. })
            | TrainError::Diverged { .. }
            | TrainError::Method(MethodError::NoAnswer)
            | TrainError::MissingGradient { .. }
            | TrainError::Tensor(_)
            | TrainError::Optimizer(_)
            | TrainError::Ranks(_)
            // A disk that is full or gone: the same command goes on when it is back.
            | TrainError::File { action: FileAction::Write, .. }
            | TrainError::Weights(WeightsError::Write { .. }),
        ))
        | Some(Error::Method(MethodError::NoAnswer)) => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_without_a_backtrace() {
        let message = "no GPU: see\n  nvidia-smi\n\n   0: candle_core::error::Error::bt\n  \
                       16: start_thread\n             at ./nptl/pthread_create.c:442:8\n";
        assert_eq!(one_line(message), "no GPU: see; nvidia-smi");
        assert_eq!(one_line("row 3: is wrong\nat x"), "row 3: is wrong; at x");
        assert_eq!(one_line("missing:\n  <RUN>\n"), "missing: <RUN>");
        assert_eq!(one_line("class \u{1b}[2J"), r"class \u{1b}[2J");
    }
}
