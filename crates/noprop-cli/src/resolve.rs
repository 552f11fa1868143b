//! From a preset, a config file and flags to the settings of a run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use noprop_method::{EncoderKind, LossWeight};
use noprop_train::RunDirectory;

use crate::args::Train;
use crate::config::{Method, RunConfig, at, read};
use crate::format::{FORMAT, translate};
use crate::init::Init;
use crate::preset::Preset;

/// Settings of a run that do not pass on to one that starts from its weights: they follow from its data, or are another draw.
const FITTED: [&str; 5] = ["images", "init", "batch-size", "epochs", "warmup-steps"];

/// Settings that belong to the data of a run, and not to others that a flag names. On the same data the same images are held out.
const OF_DATA: [&str; 6] = ["dataset", "image-size", "split", "skip-bad", "validation", "seed"];

/// The part of a command line that the settings themselves do not hold.
#[derive(Debug, Default)]
pub struct Asked {
    /// The keys of the settings in a flag, a config file or a preset that was named.
    keys: BTreeSet<String>,
    /// The SHA-256 of the data that a config file was written for.
    pub sha256: Option<String>,
    /// The format of the config file of a run in which its settings mean another training than they do now.
    pub earlier_format: Option<u32>,
}

impl Asked {
    /// Returns whether a setting was asked for, by its key.
    pub fn contains(&self, key: &str) -> bool {
        self.keys.contains(key)
    }
}

/// Settings that belong to a method, and have no meaning in others.
const OF_METHOD: [&str; 5] = ["solver", "validation-steps", "intervals", "order", "path-noise"];

/// A key that the settings of every run have, and no settings that people write.
const OF_RUNS: &str = "images";

/// Takes out what belongs to the method of `settings` alone, where another one is asked for.
fn forget_method(settings: &mut toml::Table) {
    for key in OF_METHOD {
        settings.remove(key);
    }
}

/// The settings in a file: some that somebody wrote, or all of a run.
fn read_settings(path: &Path) -> Result<toml::Table> {
    let mut file: toml::Table = toml::from_str(&read(path)?).with_context(|| at(path))?;
    let format = file.get("format").and_then(toml::Value::as_integer).unwrap_or_default();
    ensure!(
        format <= i64::from(FORMAT),
        "{} has format {format}, and this noprop reads formats up to {FORMAT}: take a newer noprop",
        path.display()
    );
    if file.contains_key(OF_RUNS) {
        translate(&mut file);
    }
    Ok(file)
}

impl RunConfig {
    /// Preset, config file and flags, in rising order of precedence. The settings of a run that weights come from stand in the place
    /// of a config file where there is none.
    pub fn resolve(preset: Preset, flags: &Train) -> Result<(Self, Asked)> {
        let mut table =
            preset.settings().with_context(|| format!("preset {preset} cannot be read"))?;
        let mut asked = Asked::default();
        if flags.preset.is_some() {
            // The number of held-out images fits a folder whatever the preset.
            asked.keys.extend(table.keys().filter(|key| *key != "validation").cloned());
        }
        let init = flags.init.as_deref().map(Init::of).transpose()?;
        let file: Option<(PathBuf, toml::Table)> = match (&flags.config, &init) {
            (Some(path), _) => {
                let file = read_settings(path)?;
                asked.keys.extend(file.keys().cloned());
                let sha256 = file.get("images").and_then(|images| images.get("sha256")?.as_str());
                // Another data set that a flag names is meant to differ.
                asked.sha256 = sha256.filter(|_| flags.dataset.is_none()).map(str::to_owned);
                Some((path.clone(), file))
            }
            (None, Some(init)) if flags.preset.is_none() => {
                let path = RunDirectory::open(&init.run)?.config();
                let mut file = read_settings(&path)?;
                let of_data = OF_DATA.iter().filter(|_| flags.dataset.is_some());
                for key in FITTED.iter().chain(of_data) {
                    file.remove(*key);
                }
                Some((path, file))
            }
            (None, _) => None,
        };
        for (key, flag) in [
            ("validation", flags.validation.is_some()),
            ("batch-size", flags.batch_size.is_some()),
            ("epochs", flags.epochs.is_some()),
            ("embedding-start", flags.embedding_start.is_some()),
        ] {
            if flag {
                asked.keys.insert(key.into());
            }
        }
        let named = file.as_ref().and_then(|(_, file)| file.get("method")?.as_str());
        let named = named.and_then(|name| Method::from_str(name, false).ok());
        let method = flags.method.or(named);
        // A preset that was made for the method has what the method needs.
        let of_preset = table.get("method").and_then(toml::Value::as_str);
        let other = method.filter(|method| of_preset != Some(method.name()));
        if other.is_some() {
            forget_method(&mut table);
        }
        let defaults = other.map_or("", Method::defaults);
        table.extend(toml::from_str::<toml::Table>(defaults).context("the method's defaults")?);
        let format =
            file.as_ref().filter(|(_, file)| file.contains_key(OF_RUNS)).map(|(_, file)| {
                let format = file.get("format").and_then(toml::Value::as_integer);
                format.and_then(|format| u32::try_from(format).ok()).unwrap_or(1)
            });
        if let Some((path, mut file)) = file {
            if named.is_some() && named != method {
                forget_method(&mut file);
            }
            table.extend(file);
            // Here a wrong key or type can only come from the file.
            Self::from_table(table.clone()).with_context(|| at(&path))?;
        }
        let mut config = Self::from_table(table)?.with_flags(flags);
        // The SNR weights span 0.01 to 3,200: a shared encoder would be trained for the last block alone.
        config.loss_weight.get_or_insert(match config.encoder {
            EncoderKind::Shared => LossWeight::Uniform,
            EncoderKind::PerBlock | EncoderKind::Frozen => LossWeight::Snr,
        });
        config.embedding_start = config.embedding_start.or(config.embedding.usual_start());
        if config.method != Method::Fm && !config.start_has_length_of_prototypes() {
            // In flow matching it depends on the number of classes.
            config.embedding_scale.get_or_insert(1.0);
        }
        config.images = None;
        if init.is_some() {
            config.init = init;
        }
        config.set_format();
        asked.earlier_format = format.filter(|&format| format < config.format);
        Ok((config, asked))
    }

    fn with_flags(mut self, flags: &Train) -> Self {
        fn set<T: Copy>(slot: &mut T, flag: Option<T>) {
            if let Some(value) = flag {
                *slot = value;
            }
        }
        if let Some(dataset) = &flags.dataset {
            self.dataset = dataset.clone();
        }
        if flags.image_size.is_some() {
            self.image_size = flags.image_size;
        }
        if flags.split.is_some() {
            self.split = flags.split;
        }
        self.skip_bad |= flags.skip_bad;
        set(&mut self.validation, flags.validation);
        set(&mut self.method, flags.method);
        set(&mut self.encoder, flags.encoder);
        set(&mut self.steps, flags.steps);
        set(&mut self.intervals, flags.intervals);
        set(&mut self.schedule, flags.schedule);
        set(&mut self.order, flags.order);
        set(&mut self.path_noise, flags.path_noise);
        set(&mut self.eta, flags.eta);
        set(&mut self.normalize, flags.normalize);
        set(&mut self.padding, flags.padding);
        set(&mut self.dropout, flags.dropout);
        set(&mut self.embedding, flags.embedding);
        set(&mut self.readout, flags.readout);
        set(&mut self.epochs, flags.epochs);
        set(&mut self.batch_size, flags.batch_size);
        set(&mut self.lr, flags.lr);
        set(&mut self.augment, flags.augment);
        set(&mut self.class_weights, flags.class_weights);
        set(&mut self.seed, flags.seed);
        set(&mut self.precision, flags.precision);
        if flags.loss_weight.is_some() {
            self.loss_weight = flags.loss_weight;
        }
        if flags.validation_steps.is_some() {
            self.validation_steps = flags.validation_steps;
        }
        if flags.solver.is_some() {
            self.solver = flags.solver;
        }
        if flags.embedding_scale.is_some() {
            self.embedding_scale = flags.embedding_scale;
        }
        if flags.embedding_start.is_some() {
            self.embedding_start = flags.embedding_start;
        }
        self
    }
}
