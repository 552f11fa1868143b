//! The report in Markdown: our numbers beside those of the paper, and the commands that measure them again.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use noprop_method::{MethodKind, Readout, SamplerKind};
use noprop_train::Existing;

use super::figure::Drawn;
use super::line::Line;
use super::numbers::{Accuracy, Numbers};
use super::plan::Plan;
use super::table;
use super::target::Target;
use super::words::{counted, duration};
use super::worker::{Classification, Command, Images, Worker};
use crate::error::Result;
use crate::paper::PaperData;
use crate::source::Source;

/// The whole report. The same lines give the same text.
pub fn markdown(
    plan: &Plan<'_>,
    numbers: &Numbers,
    lines: &[Line<'_>],
    figures: &[Drawn],
    worker: &dyn Worker,
) -> Result<String> {
    let mut text = String::new();
    opening(&mut text, plan, lines)?;
    for of_data in lines.chunk_by(|a, b| a.data == b.data) {
        let Some(first) = of_data.first() else { continue };
        writeln!(text, "\n## {}\n", first.data)?;
        table::write(&mut text, plan, of_data)?;
        remarks(&mut text, plan, numbers, of_data)?;
        for figure in figures.iter().filter(|figure| figure.data == first.data) {
            let path = figure.files[1].strip_prefix(&plan.request.out).unwrap_or(&figure.files[1]);
            let path = path.to_string_lossy().replace(' ', "%20");
            writeln!(text, "\n![{}]({path})", figure.title)?;
        }
    }
    not_run(&mut text, plan, lines)?;
    commands(&mut text, plan, lines, worker)?;
    sources(&mut text, plan, numbers)?;
    Ok(text)
}

fn opening(text: &mut String, plan: &Plan<'_>, lines: &[Line<'_>]) -> Result<()> {
    let request = plan.request;
    let (title, what) = subject(request.what);
    writeln!(text, "# {title}\n\nOf Li, Teh and Pascanu, NoProp (arXiv 2503.24322 v1). {what}\n")?;
    let short = lines.iter().any(Line::is_short);
    if request.what != Target::Table2 && short {
        writeln!(
            text,
            "**These are short runs**: trained for fewer epochs than the paper's, see the column `epochs`. A difference from the \
             paper is first of all one of training.\n"
        )?;
    }
    if request.what.needs_accuracy() {
        measures(text, plan, lines)?;
    } else if request.what == Target::Table2 {
        writeln!(text, "Ours: mean ± standard deviation over seeds.\n")?;
    }
    let budget = match (request.epochs, request.budget) {
        (Some(epochs), _) => format!("{} a training", counted(epochs, "epoch")),
        (None, Some(budget)) => format!(
            "{} of work in all, an equal share for each row; a trial of one epoch says how many fit, and one is the least",
            duration(budget.as_secs_f64())
        ),
        (None, None) if request.what == Target::Table2 => "one epoch a training".into(),
        (None, None) => "the paper's epochs".into(),
    };
    let machines: BTreeSet<String> =
        lines.iter().flat_map(Line::hardware).map(ToString::to_string).collect();
    let machines: Vec<String> = machines.into_iter().collect();
    let on = if machines.is_empty() { "–".into() } else { machines.join("; ") };
    let seconds: f64 =
        lines.iter().flat_map(Line::records).map(|record| record.seconds).fold(0.0, |a, b| a + b);
    writeln!(
        text,
        "| | |\n| --- | --- |\n| budget | {budget}; {} |\n| training time, all rows and seeds | {} |\n\
         | hardware | {on} |\n| command | `{}` |",
        counted(plan.seeds(), "seed"),
        duration(seconds),
        request.command,
    )?;
    // Of the runs themselves: some may be older than this command, and its own number says nothing about them.
    let threads: BTreeSet<usize> =
        lines.iter().flat_map(Line::hardware).map(|hardware| hardware.threads).collect();
    if threads.len() > 1 {
        let threads: Vec<String> = threads.iter().map(ToString::to_string).collect();
        writeln!(
            text,
            "\n**Not all trainings had the same number of threads** ({}): their times and their memory cannot be compared.",
            threads.join(", ")
        )?;
    }
    let incomplete = lines.iter().any(|line| line.seeds < plan.seeds() as usize);
    if incomplete || !plan.missing.is_empty() {
        writeln!(text, "\n**Not all of it was run**: see [what is missing](#what-is-missing).")?;
    }
    Ok(())
}

/// The title of a report, and a description of the paper's table or figure.
fn subject(target: Target) -> (&'static str, String) {
    match target {
        Target::Table1 => (
            "Table 1: training and test accuracy",
            "Accuracy of every method with every kind of class embeddings, in %.".into(),
        ),
        Target::Table2 => (
            "Table 2: peak memory of training",
            "The paper's numbers are memory of a GPU; ours are the most that the whole process had resident in main memory, \
             its code and its data set included. They cannot be compared in bytes: compare the shares of \
             back-propagation. The peak does not depend on the number of epochs, so one is enough. It does depend on the number \
             of threads: NoProp-DT trains as many blocks at a time as there are threads."
                .into(),
        ),
        Target::Fig2 => (
            "Figure 2: class embeddings before and after training",
            "The embeddings of NoProp-DT that have the size of an image, start as the most typical image of each class and are \
             trained with the network: the start, what training made of it, and the change. The paper's figure is of CIFAR-10."
                .into(),
        ),
        Target::Fig3 => (
            "Figure 3: accuracy against training time",
            "Methods in continuous time with one-hot embeddings. The paper's figure plots test accuracy against cumulative training \
             time. Here the curve is the accuracy on held-out training images after every epoch, the mean over seeds, because the \
             test images are read after training alone; its time leaves validation out. The table has test accuracy, in %, and the \
             paper's time to the end of training, on its own hardware."
                .into(),
        ),
        Target::Fig4 => (
            "Figure 4: the readout",
            format!(
                "The step from z_T to a class, in NoProp-DT: a trained layer with softmax (Eq. 14), or `posterior`, the class whose \
                 embedding is near to where that layer points (Eqs. 15-16; the paper gives no σ, and {} is ours). The rows `bayes` \
                 are ours: Bayes' rule over the class embeddings, with nothing to train. Every row is a training of its own. Test \
                 accuracy in %.",
                Readout::SIGMA
            ),
        ),
        Target::Fig5 => (
            "Figure 5: where class embeddings start",
            "NoProp-DT with trained class embeddings of an image's size that start orthogonal, as the most typical image of each \
             class, or at random. The embedding of a class starts with the length of its most typical image in every row, so the \
             rows differ in directions alone; this is our choice. Test accuracy in %."
                .into(),
        ),
    }
}

/// The way in which accuracies were measured, and the part of it that is like the paper.
fn measures(text: &mut String, plan: &Plan<'_>, lines: &[Line<'_>]) -> Result<()> {
    let what = plan.request.what;
    let of_seed = match plan.request.runs {
        1 => "one classification of all test images".to_owned(),
        runs => format!(
            "the mean of {runs} classifications of all test images, each from noise of its own"
        ),
    };
    writeln!(
        text,
        "Ours: mean ± standard deviation over seeds. Of few seeds such a deviation is luck, so the value of each seed stands beside \
         it: {of_seed}. Differences are ours less the paper's, in percentage points."
    )?;
    if what.needs_training_accuracy() {
        writeln!(
            text,
            "`train` is one classification of the images trained on, with the same sampler."
        )?;
    }
    if matches!(what, Target::Table1 | Target::Fig3) {
        writeln!(
            text,
            "The paper's ± is as printed, and it is not known what it is: the caption names the standard error of 15 values, but some \
             are larger than that can be."
        )?;
    }
    writeln!(
        text,
        "\n- Like the paper: the settings of its Table 3; an encoder for each block, `per-block`; the sampler, which is `stochastic` \
         in dt and ct, while in the other methods no noise enters between steps.\n\
         - Ours: no padding; the cosine's s = 0.008; in dt all blocks learn from every mini-batch, where \
         Algorithm 1 takes them in turn (`--order paper`), which loses accuracy with trained embeddings; the weights are those of the epoch that did best on held-out training images, and the paper holds none out; training \
         times include that validation after every epoch; the sampler `mean`, which leaves the noise between steps out, has the last \
         column to itself."
    )?;
    if let Some(steps) = lines.iter().find_map(|line| line.item.eval_steps) {
        writeln!(
            text,
            "- Ours: where time is continuous, images are classified in {} of the solver (`--eval-steps`), and in 1000 in the paper.",
            counted(steps, "step")
        )?;
    }
    let has = |method| lines.iter().any(|line| line.item.setup.method == method);
    if has(MethodKind::CT) || has(MethodKind::FM) {
        writeln!(
            text,
            "- Ours: in ct and fm the epoch is chosen with fewer steps of the solver than classify at the end; in fm z_t lies on the path, \
             σ = 0 in Eq. 10, since the paper gives no value."
        )?;
    }
    if has(MethodKind::ADJOINT) {
        writeln!(
            text,
            "- Ours: the adjoint method's solver, Euler's, and its block, that of fm; the paper names neither."
        )?;
    }
    Ok(writeln!(text)?)
}

fn remarks(
    text: &mut String,
    plan: &Plan<'_>,
    numbers: &Numbers,
    lines: &[Line<'_>],
) -> Result<()> {
    let Some(first) = lines.first() else { return Ok(()) };
    let of_paper = PaperData::of(&first.item.data);
    if of_paper.is_none() {
        let images = match first.item.data {
            Source::Known(noprop_data::DatasetName::MnistSample) => "5,000 images of MNIST",
            _ => "other images",
        };
        writeln!(
            text,
            "\nThe paper has no numbers for this data set: these are {images}, trained with the paper's settings for MNIST."
        )?;
    }
    if let (Target::Table1, Some(data)) = (plan.request.what, of_paper) {
        let share = |accuracy: Option<Accuracy>| {
            accuracy.map_or_else(|| "–".into(), |accuracy| accuracy.to_string())
        };
        let mut quoted = numbers.quoted(data).peekable();
        if quoted.peek().is_some() {
            writeln!(text, "\nThe paper quotes of other methods, train / test:\n")?;
        }
        for (method, of) in quoted {
            writeln!(text, "- {method}: {} / {}", share(of.training), share(of.test))?;
        }
    }
    let unknown_peak = lines.iter().flat_map(Line::records).any(|record| record.peak.is_none());
    if plan.request.what == Target::Table2 && unknown_peak {
        writeln!(
            text,
            "\nA training whose last epoch was over when its process was stopped was finished by a process that did not train: its \
             peak is not known and is left out. Train it again for it."
        )?;
    }
    Ok(())
}

fn not_run(text: &mut String, plan: &Plan<'_>, lines: &[Line<'_>]) -> Result<()> {
    let seeds = plan.seeds() as usize;
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
        let (done, data, row) = (line.seeds, &line.data, &line.row);
        writeln!(text, "- {data}, {row}, {done} of {} done: {why}", counted(seeds, "seed"))?;
    }
    Ok(())
}

fn commands(
    text: &mut String,
    plan: &Plan<'_>,
    lines: &[Line<'_>],
    worker: &dyn Worker,
) -> Result<()> {
    let Some(line) = lines.iter().find(|line| !line.trainings.is_empty()) else {
        return Ok(());
    };
    writeln!(text, "\n## The commands\n")?;
    if plan.request.what.needs_accuracy() {
        let runs = plan.request.runs;
        let eval = |images| {
            let asked = Classification { images, sampler: SamplerKind::Stochastic, seed: 0 };
            worker.typed(line.item.classification(Path::new("RUN"), asked))
        };
        writeln!(text, "With each RUN the test images were then classified by\n")?;
        writeln!(text, "```sh\n{}\n```\n", eval(Images::Test))?;
        let seeds = match runs {
            1 => String::new(),
            _ => format!("with the seeds 0 to {}, ", runs - 1),
        };
        writeln!(
            text,
            "{seeds}and, where there are two samplers, with `--sampler mean` as well.\n"
        )?;
        if plan.request.what.needs_training_accuracy() {
            writeln!(text, "The training images were classified by\n")?;
            writeln!(text, "```sh\n{}\n```\n", eval(Images::Training))?;
        }
    }
    let listed: Vec<&Line<'_>> = lines.iter().filter(|line| !line.trainings.is_empty()).collect();
    for (index, line) in listed.into_iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        writeln!(text, "{gap}{}, {}:\n\n```sh", line.data, line.row)?;
        for (training, _) in &line.trainings {
            let command = Command::Train { training, existing: Existing::Refuse };
            writeln!(text, "{}", worker.typed(command))?;
        }
        writeln!(text, "```")?;
    }
    Ok(())
}

fn sources(text: &mut String, plan: &Plan<'_>, numbers: &Numbers) -> Result<()> {
    let place = match plan.request.what {
        Target::Table1 => "Table 1, as printed",
        Target::Table2 => "Table 2",
        Target::Fig2 => return Ok(()),
        Target::Fig3 => "Table 1, and for the times Fig. 3, read by eye",
        Target::Fig4 => "Fig. 4, read by eye",
        Target::Fig5 => "Fig. 5, read by eye",
    };
    writeln!(text, "\n## Where the paper's numbers come from\n\n{}: {place}.", numbers.source)?;
    Ok(())
}
