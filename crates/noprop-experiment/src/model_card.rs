//! The model card, the `README.md` of a run: its method, data, accuracy, and the command that trains it again.

use std::fmt::Write;

use noprop_method::{BlockLossKind, EncoderKind, LossWeight, Setting, Time};
use noprop_models::Backbone;
use noprop_train::{Decay, Evaluation, FitReport};

use crate::card_data::{self, License};
use crate::error::Result;
use crate::experiment::Experiment;
use crate::history::History;
use crate::settings::Setup;
use crate::shell::{quoted, shown};
use crate::source::Source;

/// The contents of a card.
pub(crate) struct Card<'a> {
    pub experiment: &'a Experiment,
    pub fit: &'a FitReport,
    /// The evaluation on the images trained on.
    pub training: &'a Evaluation,
    pub test: &'a Evaluation,
    pub history: &'a History,
    /// Remarks on the data.
    pub warnings: &'a [String],
}

/// The card as Markdown.
pub(crate) fn text(card: &Card<'_>) -> Result<String> {
    let &Card { experiment, fit, training, test, history, warnings } = card;
    let Experiment { setup, images } = experiment;
    let blocks: Vec<String> =
        test.per_block.iter().map(|accuracy| format!("{:.2}", 100.0 * accuracy)).collect();
    let blocks = match blocks.len() {
        0 | 1 => String::new(),
        _ => format!("| accuracy of each block inside the chain | {} % |\n", blocks.join(", ")),
    };
    let treated =
        setup.treatment().map_or_else(String::new, |done| format!("| images | {done} |\n"));
    let warnings: String =
        warnings.iter().map(|warning| format!("| warning | {} |\n", cell(warning))).collect();
    let init = setup.init.as_ref().map_or_else(String::new, |init| {
        format!(
            "| first weights | of {}, SHA-256 {} |\n",
            cell(&init.run.to_string_lossy()),
            init.sha256
        )
    });
    let averaged = setup.ema.map_or_else(String::new, |rate| {
        format!(
            "| averaged | the weights that are kept: exponential moving average, rate {rate} |\n"
        )
    });
    let paused = match history.paused.is_empty() {
        true => String::new(),
        false => {
            let blocks: Vec<String> = history.paused.iter().map(ToString::to_string).collect();
            format!("| paused for a time | block {} |\n", blocks.join(", "))
        }
    };
    let mut text = card_data::text(setup, test.accuracy(), &License::default());
    write!(
        text,
        "# NoProp on {dataset}\n\n\
         **{accuracy:.2} %** of {total} test images, n = 1 (seed {seed}), sampler `{sampler}`, one chain{error}.\n\n\
         | | |\n| --- | --- |\n\
         | trained with | noprop {version}, {command} |\n\
         | method | {method} |\n\
         {beside}\
         | weights | epoch {best} of {epochs}{early}, chosen by {validation:.2} % on {held} held-out training images |\n\
         | training accuracy | {trained:.2} % of the {seen} images trained on |\n\
         {init}{averaged}{treated}{paused}{blocks}\
         | training time | {seconds:.1} s, validation included |\n\
         | hardware | {hardware} |\n\
         | data | {dataset}, SHA-256 {hash} |\n\
         {warnings}\n\
         {read}; no choice of the program depended on them. {repeat}\n",
        dataset = cell(&setup.dataset.name()),
        accuracy = 100.0 * test.accuracy(),
        error = standard_error(test),
        beside = in_the_paper(setup),
        total = test.total,
        seed = setup.seed,
        sampler = setup.sampler().kind,
        version = env!("CARGO_PKG_VERSION"),
        method = method(setup),
        best = fit.best.epoch,
        epochs = fit.epochs,
        early = match setup.patience.filter(|_| fit.epochs < setup.epochs) {
            Some(patience) => format!(" (of {}, ended by a patience of {patience})", setup.epochs),
            None => String::new(),
        },
        validation = 100.0 * fit.best.accuracy(),
        held = fit.best.total,
        trained = 100.0 * training.accuracy(),
        seen = training.total,
        seconds = fit.seconds,
        hash = images.sha256,
        hardware = hardware(history),
        command = command(setup, history),
        read = read(history),
        repeat = repeat(history),
    )?;
    Ok(text)
}

/// The command that trains the run.
fn command(setup: &Setup, history: &History) -> String {
    if history.is_of_one_go() {
        let data = match &setup.dataset {
            // A relative path is one from the folder in which the training was started.
            Source::Folder(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                format!(" --dataset folder:{}", quoted(&path))
            }
            Source::Known(_) | Source::Memory => String::new(),
        };
        return format!("`noprop train --config config.toml{}` in this folder", cell(&data));
    }
    if history.goals.len() <= 1 && history.earlier_ends.is_empty() {
        return "the settings in `config.toml`, and pauses of single blocks".into();
    }
    let goals: Vec<String> = history.goals.iter().map(ToString::to_string).collect();
    format!("`--resume` with another number of epochs on the way: {}", goals.join(", then "))
}

/// The standard error of the test accuracy, in words; nothing where it is 0 or 1, since the error is not known then.
fn standard_error(test: &Evaluation) -> String {
    let accuracy = test.accuracy();
    let error = (accuracy * (1.0 - accuracy) / test.total.max(1) as f64).sqrt();
    if error > 0.0 {
        format!(
            "; the standard error of a share of {} images is {:.2} points",
            test.total,
            100.0 * error
        )
    } else {
        String::new()
    }
}

/// A row with the settings that differ from the paper's; nothing for a method that the paper does not have.
fn in_the_paper(setup: &Setup) -> String {
    if setup.method.time == Time::None {
        return String::new();
    }
    let blocks = setup.method.time == Time::Discrete;
    // Noise enters the chain after its start, so the samplers differ.
    let chain = setup.method.samplers.len() > 1;
    let weighted = setup.method.has(Setting::LossWeight);
    let constant = setup.lr_decay == Decay::Constant && setup.warmup_steps == 0;
    let differs = [
        (blocks && setup.encoder != EncoderKind::PerBlock, "an image encoder for each block"),
        (setup.network != Backbone::Paper, "the convolutions of Fig. 6"),
        (chain, "the sampler `stochastic`"),
        (weighted && setup.loss_weight != LossWeight::Snr, "the loss weight `snr`"),
        (setup.block_loss != BlockLossKind::Squared, "the block loss `squared`"),
        (!constant, "a constant learning rate"),
        (setup.validation > 0, "no held-out images"),
    ];
    let differs: Vec<&str> =
        differs.into_iter().filter_map(|(differs, words)| differs.then_some(words)).collect();
    match differs.as_slice() {
        [] => String::new(),
        differs => format!("| otherwise in the paper | {} |\n", differs.join(", ")),
    }
}

/// The times that the test images were read.
fn read(history: &History) -> String {
    match history.earlier_ends.len() {
        0 => "The test images were read once, after training".into(),
        earlier => format!(
            "The test images were read {} times, whenever the training came to an end, so they were known when it was made longer",
            earlier + 1
        ),
    }
}

/// The machines that trained.
fn hardware(history: &History) -> String {
    let words: Vec<String> = match history.machines.as_slice() {
        [one] => vec![one.hardware.to_string()],
        several => {
            several.iter().map(|one| format!("{} (noprop {})", one.hardware, one.version)).collect()
        }
    };
    cell(&words.join("; and "))
}

/// A sentence on whether the weights can be made again.
fn repeat(history: &History) -> &'static str {
    match (history.is_of_one_go(), history.paused.is_empty()) {
        (true, _) if history.machines.len() > 1 => {
            "It was trained on machines of more than one kind, or by more than one version of noprop, so `config.toml` does not repeat it bit for bit."
        }
        (true, _) => {
            "The same settings on the same kind of processor give the same weights, bit for bit."
        }
        (false, false) => {
            "Blocks were paused while others went on, so `config.toml` alone does not repeat it."
        }
        (false, true) => {
            "The learning rate depends on the number of epochs, which was changed on the way, so `config.toml` alone does not repeat it."
        }
    }
}

/// Text that may come from strangers, for a cell of a table.
fn cell(text: &str) -> String {
    shown(text).replace('|', "\\|")
}

/// The method and what belongs to it, in words.
fn method(setup: &Setup) -> String {
    let (method, steps) = (setup.method, setup.steps);
    let mut words = method.title.to_owned();
    match method.time {
        Time::Discrete => words += &format!(", T = {steps}, encoder {}", setup.encoder_words()),
        Time::Continuous => {
            words += &format!(", {steps} steps");
            if setup.network != Backbone::Paper {
                words += &format!(", network {}", setup.network);
            }
        }
        Time::None => words += &format!(", encoder {}", setup.encoder_words()),
    }
    if method.has(Setting::Schedule) {
        words += &format!(", schedule {}", setup.schedule);
    }
    if setup.block_loss != BlockLossKind::Squared {
        words += &format!(", block loss {}", setup.block_loss);
    }
    if setup.intervals > 1 {
        words += &format!(", {} blocks with an interval of time each", setup.intervals);
    }
    words
}
