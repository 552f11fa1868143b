//! `noprop train`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use noprop_experiment::shell::quoted;
use noprop_experiment::{
    Blocks, Ending, Finished, Means, NewRun, Progress, resume, resume_units, train, train_units,
};
use noprop_tensorboard::{Board, Wanted};
use noprop_train::Ranks;

use crate::args::{Form, Train};
use crate::display::{Display, Verbosity};
use crate::output::{Failed, answer, note};
use crate::sweep;

pub fn run(args: &Train, ranks: &Arc<dyn Ranks>) -> Result<()> {
    if let Some(seeds) = &args.seeds {
        return sweep::run(args, seeds);
    }
    let device = args.compute.device.open()?;
    let means = Means {
        device: &device,
        block_workers: args.block_workers,
        save_every: args.save_every.0,
        ranks,
    };
    let verbosity = Verbosity::of(args.quiet || !ranks.is_first());
    let display = Display::new(verbosity).for_at_most(args.max_time.map(|time| time.0));
    let wanted = match (args.tensorboard, ranks.is_first()) {
        (_, false) => Wanted::Never,
        (true, true) => Wanted::Always,
        (false, true) => Wanted::IfThere,
    };
    let mut board = Board::new(display, wanted);
    if let Some(blocks) = &args.blocks {
        return run_units(args, blocks, means, &mut board);
    }
    let ending = match &args.resume {
        Some(run) => resume(run, &args.moved(), args.epochs, means, &mut board)?,
        None => {
            ensure!(
                args.distributed.is_none() || args.out.is_some(),
                "--distributed needs --out DIR, the run that all processes share, or --resume RUN"
            );
            train(&new_run(args), means, &mut board)?
        }
    };
    match ending {
        Ending::Finished(finished) => {
            let drawn = finish(&finished, Form::of(args.json));
            board.finish(&finished, drawn.as_deref().unwrap_or_default());
            drawn.map(drop)
        }
        Ending::Stopped { run, epoch, step } => {
            if args.json {
                let path = run.to_string_lossy();
                answer!("{}", serde_json::json!({ "run": path, "done": false }))?;
            }
            note!(
                "stopped after {epoch} epoch(s) and {step} step(s); go on with: noprop train --resume {}",
                quoted(&run)
            );
            Ok(())
        }
        Ending::Shared => Ok(()),
    }
}

fn new_run(args: &Train) -> NewRun {
    let (data_dir, out) = (args.data_dir.clone(), args.out.clone());
    NewRun { layers: args.layers(), data_dir, out, existing: args.existing() }
}

/// Prints the answer of a training, and draws its figures, whose paths it returns: one that cannot be written must not cost the answer.
pub fn finish(finished: &Finished, form: Form) -> Result<Vec<PathBuf>> {
    let Finished { trained, fit, training, test, peak, .. } = finished;
    let run = trained.run.path();
    if form == Form::Json {
        let mut answer = serde_json::json!({
            "run": run.to_string_lossy(),
            "done": true,
            "test_accuracy": test.accuracy(),
            "training_accuracy": training.accuracy(),
            "validation_accuracy": fit.best.accuracy(),
            "best_epoch": fit.best.epoch,
            "seconds": fit.seconds,
            "peak_memory_bytes": peak.process,
        });
        if let Some(bytes) = peak.device {
            answer["peak_device_bytes"] = bytes.into();
        }
        answer!("{answer}")?;
    } else {
        answer!(
            "test accuracy {:.2} % ({} of {}), training accuracy {:.2} %, weights of epoch {}, trained in {:.1} s\nrun {}, figures in its folder figures",
            100.0 * test.accuracy(),
            test.correct,
            test.total,
            100.0 * training.accuracy(),
            fit.best.epoch,
            fit.seconds,
            run.display()
        )?;
    }
    let failed = |reason| Failed::Figures { run: quoted(run), reason };
    Ok(finished.draw().map_err(failed)?)
}

/// `noprop train --blocks`.
fn run_units(
    args: &Train,
    blocks: &Blocks,
    means: Means<'_>,
    progress: &mut dyn Progress,
) -> Result<()> {
    let trained = match &args.resume {
        Some(run) => {
            ensure!(
                args.epochs.is_none(),
                "--epochs cannot be changed for blocks that are trained apart"
            );
            resume_units(run, &args.moved(), blocks, means, progress)?
        }
        None => {
            ensure!(
                args.out.is_some(),
                "--blocks needs --out DIR, the run that all processes of the training share"
            );
            train_units(&new_run(args), blocks, means, progress)?
        }
    };
    let run = quoted(&trained.run);
    if args.json {
        let units: Vec<String> = trained.units.iter().map(ToString::to_string).collect();
        let (run, done) = (trained.run.to_string_lossy(), trained.stopped.is_none());
        answer!("{}", serde_json::json!({ "run": run, "units": units, "done": done }))?;
    } else if trained.stopped.is_none() {
        answer!("{blocks} done in {run}; once all units are: noprop merge {run}")?;
    }
    if let Some((epoch, step)) = trained.stopped {
        note!(
            "stopped after {epoch} epoch(s) and {step} step(s); go on with: noprop train --resume {run} --blocks {blocks}"
        );
    }
    Ok(())
}
