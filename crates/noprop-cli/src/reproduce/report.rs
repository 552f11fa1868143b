//! The report: what was measured beside what the paper says, in Markdown, and how to measure it again.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use noprop_method::SamplerKind;

use super::figure::Drawn;
use super::line::Line;
use super::numbers::Numbers;
use super::plan::{ADJOINT_ROW, BASELINE, Plan, Target, typed};
use crate::source::Source;
use crate::time::duration;

/// One object: the files, and every line.
pub fn json(lines: &[Line<'_>], files: &[PathBuf]) -> Result<String> {
    let files: Vec<_> = files.iter().map(|path| path.to_string_lossy()).collect();
    Ok(serde_json::json!({ "files": files, "rows": serde_json::to_value(lines)? }).to_string())
}

/// The whole report. The same lines give the same text.
pub fn markdown(
    plan: &Plan<'_>,
    numbers: &Numbers,
    lines: &[Line<'_>],
    figures: &[Drawn],
) -> Result<String> {
    let mut text = String::new();
    opening(&mut text, plan, lines)?;
    for of_data in lines.chunk_by(|a, b| a.data == b.data) {
        let Some(first) = of_data.first() else { continue };
        writeln!(text, "\n## {}\n", first.data)?;
        match plan.args.what {
            Target::Table2 => memory_table(&mut text, plan, of_data)?,
            Target::Table1 | Target::Fig3 | Target::Fig4 | Target::Fig5 => {
                accuracy_table(&mut text, plan, of_data)?;
            }
        }
        remarks(&mut text, plan, numbers, first)?;
        for figure in figures.iter().filter(|figure| figure.data == first.data) {
            let name = figure.files[1].file_name().unwrap_or_default().to_string_lossy();
            writeln!(text, "\n![{}]({})", figure.title, name.replace(' ', "%20"))?;
        }
    }
    not_run(&mut text, plan, lines)?;
    commands(&mut text, plan, lines)?;
    sources(&mut text, plan, numbers, lines)?;
    Ok(text)
}

fn opening(text: &mut String, plan: &Plan<'_>, lines: &[Line<'_>]) -> Result<()> {
    let args = plan.args;
    let (title, what) = match args.what {
        Target::Table1 => ("Table 1: test accuracy", "Test accuracy of every method, in %."),
        Target::Table2 => (
            "Table 2: peak memory of training",
            "The paper's numbers are memory of a GPU; ours are the most that the whole process had resident in main memory, \
             its code, its data set and its test at the end included. They cannot be compared in bytes: compare the shares of \
             back-propagation. The peak does not depend on the number of epochs, so one is enough. It does depend on the number \
             of threads: NoProp-DT trains as many blocks at a time as there are threads.",
        ),
        Target::Fig3 => (
            "Figure 3: accuracy against training time",
            "Methods in continuous time with one-hot embeddings. The paper's figure plots test accuracy \
             against cumulative training time. Here the curve is the accuracy on held-out training images after every epoch, the \
             mean over seeds, because the test images are read after training alone; its time leaves validation out. The table \
             has test accuracy, in %.",
        ),
        Target::Fig4 => (
            "Ablation: the readout",
            "The paper compares a trained layer with softmax (Eq. 14) and Bayes' rule over the class embeddings (Eqs. 15-16) as \
             the step from z_T to a class. Which of its figures shows this was not found in a source: `fig4` is our number. \
             Test accuracy in %.",
        ),
        Target::Fig5 => (
            "Ablation: where class embeddings start",
            "The paper compares orthogonal, random and prototype starts of trained class embeddings. Which of its figures shows \
             this was not found in a source: `fig5` is our number. The rows `dt-prototype…` share one network and one length of \
             embedding, and differ in the start alone; so do the rows `dt-learned20…`. Test accuracy in %.",
        ),
    };
    writeln!(text, "# {title}\n\nOf Li, Teh and Pascanu, NoProp (arXiv 2503.24322). {what}\n")?;
    let short = lines.iter().any(Line::is_short);
    if args.what != Target::Table2 && short {
        writeln!(
            text,
            "**These are short runs**: trained for fewer epochs than the paper's, as the column `epochs` says. A difference from the \
             paper is first of all one of training.\n"
        )?;
    }
    if args.what.needs_accuracy() {
        writeln!(
            text,
            "Ours: mean ± standard deviation over seeds; of each seed the mean of {} of all test images, each from noise of its own. `stochastic` is the paper's sampler; `mean` leaves out the noise between steps. Methods \
             without noise between steps have one sampler, which stands under `stochastic`. Differences from the paper are in \
             percentage points. The weights are those of the epoch that did best on held-out training images; the paper holds \
             none out. Training times include the validation after every epoch.\n",
            counted(args.runs, "classification")
        )?;
    } else {
        writeln!(text, "Ours: mean ± standard deviation over seeds.\n")?;
    }
    let budget = match (args.epochs, args.budget) {
        (Some(epochs), _) => format!("{} a training", counted(epochs, "epoch")),
        (None, Some(budget)) => format!(
            "{budget} of work in all, an equal share for each row; a trial of one epoch says how many fit, and one is the least"
        ),
        (None, None) if args.what == Target::Table2 => "one epoch a training".into(),
        (None, None) => "the paper's epochs".into(),
    };
    let machines: BTreeSet<String> =
        lines.iter().flat_map(Line::hardware).map(ToString::to_string).collect();
    let machines: Vec<String> = machines.into_iter().collect();
    let mut on = if machines.is_empty() { "–".into() } else { machines.join("; ") };
    if let Some(threads) = args.threads {
        write!(on, "; {} a training", counted(threads.get(), "thread"))?;
    }
    let seconds: f64 =
        lines.iter().flat_map(Line::records).map(|record| record.seconds).fold(0.0, |a, b| a + b);
    writeln!(
        text,
        "| | |\n| --- | --- |\n| budget | {budget}; {} |\n| training time, all rows and seeds | {} |\n\
         | hardware | {on} |\n| command | `{}` |",
        counted(args.seeds, "seed"),
        duration(seconds),
        typed(&std::env::args_os().skip(1).collect::<Vec<_>>()),
    )?;
    let incomplete = lines.iter().any(|line| line.seeds < args.seeds as usize);
    if incomplete || !plan.missing.is_empty() {
        writeln!(text, "\n**Not all of it was run**: see [what is missing](#what-is-missing).")?;
    }
    Ok(())
}

fn accuracy_table(text: &mut String, plan: &Plan<'_>, lines: &[Line<'_>]) -> Result<()> {
    writeln!(
        text,
        "| row | what | the paper | ours, `stochastic` | difference | ours, `mean` | difference | seeds | epochs | training time \
         a seed |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    for line in lines {
        let paper = line.paper_accuracy;
        let cells = [SamplerKind::Stochastic, SamplerKind::Mean].map(|sampler| {
            let spread = match sampler {
                SamplerKind::Stochastic => line.stochastic,
                SamplerKind::Mean if line.item.samplers.contains(&sampler) => line.mean,
                SamplerKind::Mean => return "(the same) | ".to_owned(),
            };
            let Some(spread) = spread else { return "– | –".to_owned() };
            let difference = paper.map(|paper| signed(100.0 * (spread.mean - paper)));
            format!("{} | {}", spread.text(0.01, 2), difference.as_deref().unwrap_or("–"))
        });
        let [stochastic, mean] = cells;
        writeln!(
            text,
            "| {} | {} | {} | {stochastic} | {mean} | {} |",
            line.row,
            line.item.recipe.words,
            paper.map_or_else(|| "–".into(), |paper| format!("{:.2}", 100.0 * paper)),
            ending(plan, line),
        )?;
    }
    if let Some(line) = lines.iter().find(|line| line.row == ADJOINT_ROW)
        && let Some((training, _)) = line.trainings.first()
    {
        writeln!(
            text,
            "\nThe adjoint method takes {} steps of the solver in training and in classification; how many the paper took was not \
             found in a source.",
            training.expected.steps
        )?;
    }
    Ok(())
}

fn memory_table(text: &mut String, plan: &Plan<'_>, lines: &[Line<'_>]) -> Result<()> {
    writeln!(
        text,
        "| row | what | the paper, GPU memory | its share | ours, resident memory | our share | seeds | epochs | training time a \
         seed |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    let baseline = lines.iter().find(|line| line.row == BASELINE);
    let share = |value: Option<f64>, whole: Option<f64>| {
        value
            .zip(whole)
            .map_or_else(|| "–".into(), |(value, whole)| format!("{:.2}", value / whole))
    };
    let peak = |line: &Line<'_>| line.peak_memory_bytes.map(|spread| spread.mean);
    for line in lines {
        let theirs = line.paper_gigabytes;
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            line.row,
            line.item.recipe.words,
            theirs.map_or_else(|| "–".into(), |size| format!("{size:.2} GB")),
            share(theirs, baseline.and_then(|line| line.paper_gigabytes)),
            line.peak_memory_bytes
                .map_or_else(|| "–".into(), |spread| format!("{} MB", spread.text(1e6, 0))),
            share(peak(line), baseline.and_then(peak)),
            ending(plan, line),
        )?;
    }
    if lines.iter().flat_map(Line::records).any(|record| record.peak.is_none()) {
        writeln!(
            text,
            "\nA training whose last epoch was over when its process was stopped was finished by a process that did not train: its \
             peak is not known and is left out. Train it again for it."
        )?;
    }
    Ok(())
}

/// The cells that close every row.
fn ending(plan: &Plan<'_>, line: &Line<'_>) -> String {
    let of = match line.epochs {
        Some(epochs) if line.is_short() => format!("{epochs} of {}", line.usual_epochs),
        Some(epochs) => epochs.to_string(),
        None => "–".into(),
    };
    let seeds = match line.seeds {
        done if done == plan.args.seeds as usize => done.to_string(),
        done => format!("{done} of {}", plan.args.seeds),
    };
    let time = line.seconds.map_or_else(|| "–".into(), |seconds| duration(seconds.mean));
    format!("{seeds} | {of} | {time}")
}

/// A number of things, in words that fit it.
pub fn counted<N: std::fmt::Display + PartialEq + From<u8>>(n: N, thing: &str) -> String {
    let plural = if n == N::from(1) { "" } else { "s" };
    format!("{n} {thing}{plural}")
}

fn signed(points: f64) -> String {
    let sign = if points < 0.0 { '−' } else { '+' };
    format!("{sign}{:.2}", points.abs())
}

fn remarks(text: &mut String, plan: &Plan<'_>, numbers: &Numbers, first: &Line<'_>) -> Result<()> {
    let of_paper = matches!(first.data.as_str(), "mnist" | "cifar10" | "cifar100");
    if !of_paper {
        let as_mnist = match first.item.data {
            Source::Known(noprop_data::DatasetName::MnistSample) => "5,000 images of MNIST",
            _ => "other images",
        };
        writeln!(
            text,
            "\nThe paper has no numbers for this data set: these are {as_mnist}, trained with the paper's settings for MNIST."
        )?;
    }
    let table = plan.args.what.name();
    let mut said = numbers.remarks(table, Some(&first.data)).peekable();
    if said.peek().is_some() {
        writeln!(text, "\nAlso reported:\n")?;
        for remark in said {
            writeln!(text, "- {}", remark.words)?;
        }
    }
    Ok(())
}

fn not_run(text: &mut String, plan: &Plan<'_>, lines: &[Line<'_>]) -> Result<()> {
    let seeds = plan.args.seeds as usize;
    let unfinished: Vec<&Line<'_>> = lines.iter().filter(|line| line.seeds < seeds).collect();
    if unfinished.is_empty() && plan.missing.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## What is missing\n")?;
    for gap in &plan.missing {
        writeln!(text, "- {}: {}", gap.data, gap.reason)?;
    }
    for line in unfinished {
        let why = match &line.refusal {
            Some(reason) => format!("it failed: {reason}"),
            None => "the command at the top goes on with it".into(),
        };
        let (done, data, row) = (line.seeds, &line.data, line.row);
        writeln!(text, "- {data}, {row}, {done} of {} done: {why}", counted(seeds, "seed"))?;
    }
    Ok(())
}

fn commands(text: &mut String, plan: &Plan<'_>, lines: &[Line<'_>]) -> Result<()> {
    let Some(line) = lines.iter().find(|line| !line.trainings.is_empty()) else {
        return Ok(());
    };
    writeln!(text, "\n## The commands\n")?;
    let runs = plan.args.runs;
    if plan.args.what.needs_accuracy() {
        let run = std::path::Path::new("RUN");
        let eval = plan.evaluation(line.item, run, SamplerKind::Stochastic, "K");
        writeln!(
            text,
            "With each RUN the test images were then classified by\n\n```sh\n{}\n```\n\nwith {}, and, where there are two samplers, with `--sampler mean` as \
             well.\n",
            typed(&eval),
            if runs == 1 { "K = 0".to_owned() } else { format!("K from 0 to {}", runs - 1) }
        )?;
    }
    let listed: Vec<&Line<'_>> = lines.iter().filter(|line| !line.trainings.is_empty()).collect();
    for (index, line) in listed.into_iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        writeln!(text, "{gap}{}, {}:\n\n```sh", line.data, line.row)?;
        for (training, _) in &line.trainings {
            writeln!(text, "{}", typed(&training.command))?;
        }
        writeln!(text, "```")?;
    }
    Ok(())
}

fn sources(
    text: &mut String,
    plan: &Plan<'_>,
    numbers: &Numbers,
    lines: &[Line<'_>],
) -> Result<()> {
    let table = plan.args.what.name();
    writeln!(text, "\n## Where the paper's numbers come from\n")?;
    let mut said = Vec::new();
    for line in lines {
        let (data, row) = (&line.data, line.row);
        let number = match plan.args.what {
            Target::Table2 => numbers.memory(data, row).map(|number| (&number.source, None)),
            _ => numbers.accuracy(data, row).map(|number| (&number.source, number.error)),
        };
        if let Some((source, error)) = number {
            let error =
                error.map_or_else(String::new, |error| format!(" (± {error} in the source)"));
            said.push(format!("{data}, {row}{error}: {}", numbers.source(source)));
        }
    }
    let mut data: Vec<Option<&str>> = lines.iter().map(|line| Some(line.data.as_str())).collect();
    data.dedup();
    data.push(None);
    for data in data {
        for remark in numbers.remarks(table, data) {
            said.push(format!("{}: {}", remark.words, numbers.source(&remark.source)));
        }
    }
    if said.is_empty() {
        writeln!(
            text,
            "None of these rows has a number of the paper's that was found in a source."
        )?;
    } else {
        for words in said {
            writeln!(text, "- {words}")?;
        }
        writeln!(
            text,
            "\nA row without a number says nothing of the paper: none was found in a source."
        )?;
    }
    Ok(())
}
