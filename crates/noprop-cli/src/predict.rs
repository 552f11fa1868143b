//! `noprop predict`: the class of a picture, and the answer of each block on the way.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use noprop_data::picture::Polarity;
use noprop_experiment::shell::{shown, shown_path};
use noprop_experiment::{Answer, Classifier, Pictures};
use noprop_train::RunDirectory;

use crate::args::{Form, Predict};
use crate::display::{Display, Verbosity};
use crate::output::{Failed, answer, note};

/// Classes whose probabilities are in the readable answer; JSON has all.
const CLASSES_SHOWN: usize = 3;

pub fn run(args: &Predict) -> Result<()> {
    let (run, paths) = run_and_pictures(args)?;
    let device = args.compute.device.open()?;
    let classifier = match run {
        Some(run) => Classifier::open(run, &device)?,
        None => {
            note!("no run is named, so the pretrained network for MNIST's digits answers");
            Classifier::of_weights("the pretrained network", noprop_pretrained::MNIST, &device)?
        }
    };
    let classifier = classifier.sampling(&args.classify.sampling(args.seed))?;
    let names = classifier.class_names();
    let polarity = if args.invert { Polarity::Inverted } else { Polarity::AsIs };
    let pictures = Pictures::named_by(paths)?;
    let mut display = Display::new(Verbosity::Normal);
    let print = |path: &Path, found: Answer| match Form::of(args.json) {
        Form::Json => answer!("{}", json(path, &found)),
        Form::Words => answer!("{}", words(path, &found, names)),
    };
    let left_out = classifier.pictures(&pictures, polarity, &mut display, print)?;
    if left_out > 0 {
        let all = pictures.files.len();
        let text = format!("{left_out} of {all} pictures were left out");
        return Err(Failed::Incomplete(text).into());
    }
    Ok(())
}

/// Returns the run, if one is named, and the paths of pictures and of folders of pictures.
fn run_and_pictures(args: &Predict) -> Result<(Option<&Path>, &[PathBuf])> {
    let paths = args.paths.as_slice();
    let is_run = |path: &PathBuf| RunDirectory::open(path).is_ok();
    if let Some(run) = &args.run {
        if let Some(second) = paths.iter().find(|path| is_run(path)) {
            bail!("{} is a run, and --run names one already", shown_path(second));
        }
        return Ok((Some(run), paths));
    }
    match paths.split_first() {
        Some((run, pictures)) if is_run(run) => {
            ensure!(
                !pictures.is_empty(),
                "name at least one picture after the run {}",
                shown_path(run)
            );
            Ok((Some(run), pictures))
        }
        Some((first, _)) if !first.exists() => bail!(
            "{} is neither a run nor a picture: there is nothing of that name",
            shown_path(first)
        ),
        _ => Ok((None, paths)),
    }
}

fn json(path: &Path, answer: &Answer) -> serde_json::Value {
    serde_json::json!({
        "path": path.to_string_lossy(),
        "label": answer.label,
        "class": answer.class,
        "probabilities": answer.probabilities,
        "per_block": answer.per_block,
    })
}

fn words(path: &Path, answer: &Answer, names: &[String]) -> String {
    let name = |class: u32| shown(names.get(class as usize).map_or("?", String::as_str));
    let mut ranked: Vec<(u32, f32)> = (0..).zip(answer.probabilities.iter().copied()).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let ranked: Vec<String> = ranked
        .iter()
        .take(CLASSES_SHOWN)
        .map(|&(class, p)| format!("{} {:.1} %", name(class), 100.0 * p))
        .collect();
    let mut lines = vec![
        format!("{}: {}", shown_path(path), name(answer.label)),
        format!("  probabilities {}", ranked.join(", ")),
    ];
    let blocks: Vec<_> = answer.per_block.iter().map(|&label| name(label)).collect();
    if blocks.len() > 1 {
        lines.push(format!("  blocks 1 to {}: {}", blocks.len(), blocks.join(" ")));
    }
    lines.join("\n")
}
