//! The run's README.md: what was trained, on what, how well, and how to do it again.

use std::fmt::Write;

use anyhow::Result;
use noprop_train::{Evaluation, FitReport, Hardware};

use crate::config::{Method, RunConfig};

/// The card as Markdown.
pub fn text(
    config: &RunConfig,
    fit: &FitReport,
    test: &Evaluation,
    hardware: &Hardware,
) -> Result<String> {
    let images = config.images()?;
    let blocks: Vec<String> =
        test.per_block.iter().map(|accuracy| format!("{:.2}", 100.0 * accuracy)).collect();
    let blocks = match blocks.len() {
        0 | 1 => String::new(),
        _ => format!("| accuracy of each block alone | {} % |\n", blocks.join(", ")),
    };
    let treated =
        config.treatment().map_or_else(String::new, |done| format!("| images | {done} |\n"));
    let mut card = String::new();
    write!(
        card,
        "# NoProp on {dataset}\n\n\
         **{accuracy:.2} %** of {total} test images, n = 1 (seed {seed}), sampler `{sampler}`, one run.\n\n\
         | | |\n| --- | --- |\n\
         | trained with | noprop {version}, `noprop train --config config.toml` in this folder |\n\
         | method | {method} |\n\
         | weights | epoch {best} of {epochs}, chosen by {validation:.2} % on {held} held-out training images |\n\
         {treated}{blocks}\
         | training time | {seconds:.1} s, validation included |\n\
         | hardware | {hardware} |\n\
         | data | {dataset}, SHA-256 {hash} |\n\n\
         The test images were read once, after training; no choice depended on them. The same settings on the same kind of\n\
         processor give the same weights, bit for bit.\n",
        dataset = config.dataset.name(),
        accuracy = 100.0 * test.accuracy(),
        total = test.total,
        seed = config.seed,
        sampler = config.sampler().kind,
        version = env!("CARGO_PKG_VERSION"),
        method = method(config),
        best = fit.best.epoch,
        epochs = config.epochs,
        validation = 100.0 * fit.best.accuracy(),
        held = fit.best.total,
        seconds = fit.seconds,
        hash = images.sha256,
    )?;
    Ok(card)
}

/// The method and what belongs to it, in words.
fn method(config: &RunConfig) -> String {
    let steps = config.steps;
    let blocks = match config.intervals {
        1 => String::new(),
        intervals => format!(", {intervals} blocks with an interval of time each"),
    };
    match config.method {
        Method::Dt => format!(
            "NoProp-DT, T = {steps}, encoder {}, schedule {}",
            config.encoder, config.schedule
        ),
        Method::Ct => format!("NoProp-CT, learned schedule, {steps} steps{blocks}"),
        Method::Fm => format!("NoProp-FM, {steps} steps{blocks}"),
        Method::Adjoint => format!("neural ODE, adjoint method, {steps} steps"),
        Method::Backprop => {
            format!("back-propagation through T = {steps} blocks, encoder {}", config.encoder)
        }
    }
}
