//! A finished run as a folder for the Hugging Face hub.
//!
//! The folder is a run directory too, without its state: every command that reads a run reads it. Nothing in it names a path of the machine
//! that trained.

use std::path::Path;

use candle_core::Device;
use noprop_files::read_text;
use noprop_method::Denoiser;
use noprop_train::{Existing, RunDirectory, write_weights};
use serde_json::{Value, json};

use crate::card_data::{self, License};
use crate::error::{Context, Error, Result, ensure};
use crate::experiment::Experiment;
use crate::info::Tested;
use crate::kept::{DATA_DIR, DataRecord};
use crate::new_folder::in_new_folder;
use crate::shell::shown;
use crate::source::Source;
use crate::trained::Trained;

/// The most bytes of a model card.
const MAX_CARD: u64 = 1 << 20;

/// The figures that the card shows, with the text for those who cannot see them.
const SHOWN: [(&str, &str); 3] = [
    ("denoising.png", "Class probabilities along the chain of blocks"),
    ("confusion.png", "Confusion matrix on the test images"),
    ("accuracy.png", "Accuracy over the epochs"),
];

/// The beginnings of rows of a card.
const COMMAND: &str = "| trained with |";
const FIRST_WEIGHTS: &str = "| first weights |";
const WARNING: &str = "| warning |";

/// Writes the finished run in `run` as the folder `to`, which the Hugging Face hub takes as a model with the licence `license`.
///
/// # Errors
/// [`Error::Refused`] if the run was not tested or `to` is there already; if a file of the run cannot be read, or one of the folder cannot
/// be written. Nothing is then left of it.
pub fn write_hub_folder(run: &Path, to: &Path, license: &License) -> Result<()> {
    let trained = Trained::open(run, &Device::Cpu)?;
    ensure!(
        trained.experiment.setup.dataset != Source::Memory,
        "{} was trained on images in the memory of a program, so it has no test accuracy for a model card",
        run.display()
    );
    let Some(Tested { accuracy, .. }) = Tested::of(&trained)? else {
        return Err(Error::NotFinished { run: run.into() });
    };
    let Trained { run, experiment, network, .. } = trained;
    let experiment = experiment.without_paths();
    let record = DataRecord::read(&run)?;
    let metadata = experiment.to_json()?;
    let card = card(&run, &experiment, accuracy, license)?;
    in_new_folder(to, Existing::Refuse, |folder| {
        let write = |name: &str, content: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, content)
                .with_context(|| format!("cannot write {}", path.display()))
        };
        write_weights(
            &folder.join("model.safetensors"),
            &network.parameters().tensors(),
            &metadata,
        )
        .map_err(noprop_train::TrainError::from)?;
        write("config.toml", experiment.to_toml()?.as_bytes())?;
        write("config.json", serde_json::to_string_pretty(&config(&experiment)?)?.as_bytes())?;
        if let Some(record) = record {
            let folder = match &experiment.setup.dataset {
                Source::Known(_) | Source::Memory => DATA_DIR.into(),
                Source::Folder(name) => name.clone(),
            };
            let text = toml::to_string(&DataRecord { folder, ..record })?;
            write(RunDirectory::DATA, text.as_bytes())?;
        }
        let copy = |from: &Path, name: &str| {
            let content =
                std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
            write(name, &content)
        };
        copy(&run.metrics(), "metrics.jsonl")?;
        for (name, _) in shown_figures(&run) {
            copy(&run.figures().join(name), name)?;
        }
        write("README.md", card.as_bytes())
    })
}

/// The figures of the card that the run has.
fn shown_figures(run: &RunDirectory) -> impl Iterator<Item = (&'static str, &'static str)> {
    let figures = run.figures();
    SHOWN.into_iter().filter(move |(name, _)| figures.join(name).is_file())
}

/// The card of the run, with data for the hub and with figures. Rows that name paths of this machine are written anew, or left out.
fn card(
    run: &RunDirectory,
    public: &Experiment,
    accuracy: f64,
    license: &License,
) -> Result<String> {
    let path = run.path().join("README.md");
    let text = read_text(&path, MAX_CARD)
        .with_context(|| format!("cannot read the model card {}", path.display()))?;
    let mut card = card_data::text(&public.setup, accuracy, license);
    let mut left_out = 0;
    for line in card_data::card_body(&text).lines() {
        let is_own_folder = matches!(public.setup.dataset, Source::Folder(_));
        if line.starts_with(COMMAND) && is_own_folder {
            // A version, and a command with the folder.
            let version = line.split(", ").next().unwrap_or(COMMAND);
            card += &format!("{version}, with the settings in `config.toml` |\n");
        } else if line.starts_with(FIRST_WEIGHTS) {
            let name = public.setup.init.as_ref().map(|init| init.run.to_string_lossy());
            let hash = line.rsplit_once(", SHA-256 ").map_or("|", |(_, hash)| hash);
            let name = shown(&name.unwrap_or_default()).replace('|', "\\|");
            card += &format!("{FIRST_WEIGHTS} of {name}, SHA-256 {hash}\n");
        } else if line.starts_with(WARNING) && line.contains(['/', '\\']) {
            left_out += 1;
        } else {
            card += line;
            card.push('\n');
        }
    }
    if left_out > 0 {
        card += &format!("\n{left_out} warning(s) on files are in the card of the run alone.\n");
    }
    for (name, alt) in shown_figures(run) {
        card += &format!("\n![{alt}]({name})\n");
    }
    Ok(card)
}

/// `config.json`, by which the hub knows the model: its classes, its images, and all its settings under `noprop`.
fn config(experiment: &Experiment) -> Result<Value> {
    let (channels, height, width) = experiment.images.shape();
    let names = &experiment.images.class_names;
    let by_label: serde_json::Map<String, Value> =
        names.iter().enumerate().map(|(label, name)| (label.to_string(), json!(name))).collect();
    let by_name: serde_json::Map<String, Value> =
        names.iter().enumerate().map(|(label, name)| (name.clone(), json!(label))).collect();
    Ok(json!({
        "model_type": "noprop",
        "architectures": ["NoPropClassifier"],
        "num_channels": channels,
        "image_size": [height, width],
        "id2label": by_label,
        "label2id": by_name,
        "noprop": experiment,
    }))
}
