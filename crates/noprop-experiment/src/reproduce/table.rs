//! The table of a data set in a report: one line for each row, and the head of every cell.

use std::fmt::Write;

use noprop_method::SamplerKind;

use super::line::Line;
use super::plan::Plan;
use super::target::{BASELINE, Target};
use super::words::duration;
use crate::error::Result;
use crate::spread::Spread;

/// The head of a column, and the cell below it.
type Cell = (&'static str, String);

/// Writes the lines of a data set as a table in Markdown.
pub fn write(text: &mut String, plan: &Plan<'_>, lines: &[Line<'_>]) -> Result<()> {
    let row = |line: &Line<'_>| match plan.request.what {
        Target::Table2 => memory(plan, line, lines),
        Target::Fig2 => [naming(line), ending(plan, line)].concat(),
        Target::Table1 | Target::Fig3 | Target::Fig4 | Target::Fig5 => accuracy(plan, line),
    };
    for (index, cells) in lines.iter().map(row).enumerate() {
        let (heads, values): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
        if index == 0 {
            let rule = vec!["---"; heads.len()];
            writeln!(text, "| {} |\n| {} |", heads.join(" | "), rule.join(" | "))?;
        }
        writeln!(text, "| {} |", values.join(" | "))?;
    }
    Ok(())
}

/// The name of a row, and the row in words.
fn naming(line: &Line<'_>) -> Vec<Cell> {
    let recipe = line.item.recipe;
    let ours = if recipe.change.is_ours() { " (**ours**, not the paper's)" } else { "" };
    vec![("row", line.row.clone()), ("what", format!("{}{ours}", recipe.words()))]
}

fn accuracy(plan: &Plan<'_>, line: &Line<'_>) -> Vec<Cell> {
    let percent = |spread: Spread| spread.text(0.01, 2);
    let mut cells = naming(line);
    if plan.request.what.needs_training_accuracy() {
        cells.push(("train: the paper", or_dash(line.paper.training)));
        cells.push(("train: ours", or_dash(line.training.map(percent))));
    }
    let difference = line.stochastic.zip(line.paper.test).map(|(ours, paper)| {
        let points = 100.0 * (ours.mean - paper.mean);
        format!("{}{:.2}", if points < 0.0 { '−' } else { '+' }, points.abs())
    });
    let by_seed: Vec<String> = line.by_seed.iter().map(|a| format!("{:.2}", 100.0 * a)).collect();
    let mut by_seed = if by_seed.is_empty() { "–".to_owned() } else { by_seed.join(", ") };
    if line.seeds < plan.seeds() as usize {
        by_seed += &format!(" ({} of {})", line.seeds, plan.seeds());
    }
    cells.extend([
        ("test: the paper", or_dash(line.paper.test)),
        ("test: ours", or_dash(line.stochastic.map(percent))),
        ("difference", or_dash(difference)),
        ("each seed", by_seed),
        ("sampler", sampler(line)),
        ("encoder", line.item.setup.encoder.to_string()),
        ("epochs", epochs(line)),
    ]);
    if plan.request.what == Target::Fig3 {
        let seconds = line.paper.seconds.map(|seconds| format!("about {seconds} s"));
        cells.push(("training time: the paper", or_dash(seconds)));
    }
    let mean = match line.item.setup.method.samplers.contains(&SamplerKind::Mean) {
        true => or_dash(line.mean.map(percent)),
        false => "(the same)".into(),
    };
    cells
        .extend([("training time a seed", time(line)), ("ours alone: test, sampler `mean`", mean)]);
    cells
}

fn memory(plan: &Plan<'_>, line: &Line<'_>, lines: &[Line<'_>]) -> Vec<Cell> {
    let baseline = lines.iter().find(|line| line.item.recipe.row == BASELINE);
    let share = |value: fn(&Line<'_>) -> Option<f64>| {
        let whole = baseline.and_then(value);
        or_dash(value(line).zip(whole).map(|(value, whole)| format!("{:.2}", value / whole)))
    };
    let theirs = line.paper.gigabytes.map(|size| format!("{size:.2} GB"));
    let ours = line.peak_memory_bytes.map(|spread| format!("{} MB", spread.text(1e6, 0)));
    let mut cells = naming(line);
    cells.extend([
        ("the paper, GPU memory", or_dash(theirs)),
        ("its share", share(|line| line.paper.gigabytes)),
        ("ours, resident memory", or_dash(ours)),
        ("our share", share(|line| line.peak_memory_bytes.map(|spread| spread.mean))),
    ]);
    cells.extend(ending(plan, line));
    cells
}

/// The cells that close a row without accuracies.
fn ending(plan: &Plan<'_>, line: &Line<'_>) -> Vec<Cell> {
    let seeds = match line.seeds {
        done if done == plan.seeds() as usize => done.to_string(),
        done => format!("{done} of {}", plan.seeds()),
    };
    vec![("seeds", seeds), ("epochs", epochs(line)), ("training time a seed", time(line))]
}

/// The paper's sampler, and the steps of the solver where there is one.
fn sampler(line: &Line<'_>) -> String {
    let stochastic = line.item.setup.method.samplers.contains(&SamplerKind::Mean);
    match (stochastic, line.item.solver_steps()) {
        (true, None) => "`stochastic`".into(),
        (true, Some(steps)) => format!("`stochastic`, {steps} steps"),
        (false, None) => "no noise between steps".into(),
        (false, Some(steps)) => format!("no noise between {steps} steps"),
    }
}

/// The epochs, and the preset's number if it is another.
fn epochs(line: &Line<'_>) -> String {
    match line.epochs {
        Some(epochs) if epochs == line.usual_epochs => epochs.to_string(),
        Some(epochs) if line.is_short() => format!("{epochs} of {}", line.usual_epochs),
        Some(epochs) => format!("{epochs} instead of {}", line.usual_epochs),
        None => "–".into(),
    }
}

fn time(line: &Line<'_>) -> String {
    or_dash(line.seconds.map(|seconds| duration(seconds.mean)))
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "–".into(), |value| value.to_string())
}
