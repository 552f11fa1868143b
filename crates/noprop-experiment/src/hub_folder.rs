//! A finished run as a folder for the Hugging Face hub.
//!
//! The folder is a run directory too, without its state: every command that reads a run reads it. Nothing in it names a path of the machine
//! that trained.

use std::ffi::OsString;
use std::path::Path;

use candle_core::Device;
use noprop_files::UNFINISHED;
use noprop_method::Denoiser;
use noprop_train::{RunDirectory, write_weights};
use serde_json::{Value, json};

use crate::card_data::{self, License};
use crate::error::{Context, Error, Result, ensure};
use crate::experiment::Experiment;
use crate::info::Tested;
use crate::kept::{DATA_DIR, DataRecord};
use crate::source::Source;
use crate::trained::Trained;

/// The figures that the card shows, with the text for those who cannot see them.
const SHOWN: [(&str, &str); 3] = [
    ("denoising.png", "Class probabilities along the chain of blocks"),
    ("confusion.png", "Confusion matrix on the test images"),
    ("accuracy.png", "Accuracy over the epochs"),
];

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
    ensure!(RunDirectory::is_free(to), "{} is there already, and is not replaced", to.display());
    let private = private(&experiment);
    let experiment = experiment.without_paths();
    let record = DataRecord::read(&run)?;
    let metadata = experiment.to_json()?;
    let card = card(&run, &experiment, accuracy, license, &private)?;
    in_new_folder(to, |folder| {
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
        for (name, _) in shown(&run) {
            copy(&run.figures().join(name), name)?;
        }
        write("README.md", card.as_bytes())
    })
}

/// The figures of the card that the run has.
fn shown(run: &RunDirectory) -> impl Iterator<Item = (&'static str, &'static str)> {
    let figures = run.figures();
    SHOWN.into_iter().filter(move |(name, _)| figures.join(name).is_file())
}

/// The paths in the settings as a card may have them, and their last parts.
fn private(experiment: &Experiment) -> Vec<(String, String)> {
    let folder = match &experiment.setup.dataset {
        Source::Folder(path) => Some(path),
        Source::Known(_) | Source::Memory => None,
    };
    let init = experiment.setup.init.as_ref().map(|init| &init.run);
    let mut private = Vec::new();
    for path in folder.into_iter().chain(init) {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let name = path.file_name().map_or_else(String::new, |name| text(name.as_ref()));
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        private.extend([(text(&absolute), name.clone()), (text(path), name)]);
    }
    private.retain(|(path, name)| path != name);
    private
}

/// The card of the run, with data for the hub and with figures.
fn card(
    run: &RunDirectory,
    experiment: &Experiment,
    accuracy: f64,
    license: &License,
    private: &[(String, String)],
) -> Result<String> {
    let path = run.path().join("README.md");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the model card {}", path.display()))?;
    let mut card = card_data::text(&experiment.setup, accuracy, license);
    card += card_data::card_body(&text);
    for (path, name) in private {
        card = card.replace(path, name);
    }
    for (name, alt) in shown(run) {
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

/// Makes the folder `to` whole or not at all: `fill` fills one beside it that then takes its name.
fn in_new_folder(to: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let making = || format!("cannot make the folder {}", to.display());
    let mut name = OsString::from(UNFINISHED);
    name.push(to.file_name().with_context(making)?);
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let beside = parent.unwrap_or(Path::new(".")).join(name);
    // One that a kill left.
    let _ = std::fs::remove_dir_all(&beside);
    std::fs::create_dir_all(&beside).with_context(making)?;
    let filled = fill(&beside).and_then(|()| {
        // An empty folder of that name gives way.
        let _ = std::fs::remove_dir(to);
        std::fs::rename(&beside, to).with_context(making)
    });
    if filled.is_err() {
        let _ = std::fs::remove_dir_all(&beside);
    }
    filled
}
