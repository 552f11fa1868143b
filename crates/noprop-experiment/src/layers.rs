//! The layers of a training's settings, laid over each other: a preset, the method's defaults, a file, and what a call gives.

use std::path::PathBuf;

use noprop_method::{EmbeddingLength, EncoderKind, LossWeight};
use noprop_models::{Backbone, Embedding};
use noprop_train::RunDirectory;

use crate::error::Result;
use crate::init::init_of;
use crate::preset::{Preset, defaults_of};
use crate::settings::{Settings, Setup};
use crate::source::Source;

/// The places where the settings of a training stand, in rising order of precedence.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The preset, if one is named; else the one that suits the data.
    pub preset: Option<Preset>,
    /// A config file.
    pub config: Option<PathBuf>,
    /// A run that the first weights come from. Its settings stand in the place of a config file where there is none.
    pub init: Option<PathBuf>,
    /// The settings that a call gives.
    pub settings: Settings,
}

/// Settings laid over each other.
#[derive(Debug)]
pub struct Resolved {
    /// The settings, before they are fitted to data.
    pub setup: Setup,
    /// The settings that stand in a preset that was named, a config file or the call.
    pub asked: Settings,
    /// The SHA-256 of the data that a config file was written for.
    pub(crate) sha256: Option<String>,
    /// The format of the config file of a run in which its settings mean another training than they do now.
    pub(crate) earlier_format: Option<u32>,
}

impl Layers {
    /// Lays the settings over each other. Where no preset is named, `usual` chooses one for the data set that the config file names.
    ///
    /// # Errors
    /// Those of `usual`. If a file cannot be read or is not a config, or if the run that weights come from has none.
    pub fn resolve(
        &self,
        usual: impl FnOnce(Option<&Source>) -> Result<Preset>,
    ) -> Result<Resolved> {
        let config = self.config.as_deref().map(Settings::read).transpose()?;
        let preset = match self.preset {
            Some(preset) => preset,
            None => usual(config.as_ref().and_then(|config| config.dataset.as_ref()))?,
        };
        let (mut preset, given) = (preset.settings()?, self.settings.clone());
        // The number of held-out images fits a folder whatever the preset.
        let named = self.preset.map(|_| Settings { validation: None, ..preset.clone() });
        let init = self.init.as_deref().map(init_of).transpose()?;
        let of_init = match &init {
            Some(init) if config.is_none() && self.preset.is_none() => {
                let run = Settings::read(&RunDirectory::open(&init.run)?.config())?;
                Some(passed_on(run, &given))
            }
            _ => None,
        };
        // Another data set that the call names is meant to differ.
        let images = config.as_ref().and_then(|config| config.images.as_ref());
        let sha256 = images.filter(|_| given.dataset.is_none()).map(|images| images.sha256.clone());
        let format = config.as_ref().filter(|config| config.images.is_some());
        let format = format.map(|config| config.format.unwrap_or(1));
        let asked =
            given.clone().over(config.clone().unwrap_or_default()).over(named.unwrap_or_default());

        let mut file = config.or(of_init).unwrap_or_default();
        let method = given.method.or(file.method);
        // A preset that was made for the method has what the method needs.
        let other = method.filter(|method| preset.method != Some(*method));
        if let Some(other) = other {
            preset.forget_method(other);
        }
        if let (Some(method), Some(own)) = (method, file.method)
            && own != method
        {
            file.forget_method(method);
        }
        let defaults = other.map(defaults_of).transpose()?.unwrap_or_default();
        if given.network.is_some_and(|network| network != file.network.unwrap_or_default()) {
            // They belong to the network that the file names.
            (file.dropout, file.padding) = (None, None);
        }
        let written = given.dropout.or(file.dropout);
        let mut all = given.over(file).over(defaults).over(preset);

        // The SNR weights span 0.01 to 3,200: a shared encoder would be trained for the last block alone.
        all.loss_weight.get_or_insert(match all.encoder {
            Some(EncoderKind::Shared) | None => LossWeight::Uniform,
            Some(EncoderKind::PerBlock | EncoderKind::Frozen) => LossWeight::Snr,
        });
        if all.network.is_some_and(|network| network != Backbone::Paper)
            && all.embedding != Some(Embedding::Prototype)
        {
            // Presets have the paper's dropout, between its convolutions. The columns of prototypes have these too.
            all.dropout = written.or(Some(0.0));
        }
        all.embedding_start =
            all.embedding_start.or(all.embedding.unwrap_or_default().usual_start());
        all.init = init.or(all.init);
        let mut setup = Setup::new(all)?;
        let known = setup.method.embedding_length == EmbeddingLength::One
            || setup.embedding == Embedding::Prototype;
        if known && !setup.start_has_length_of_prototypes() {
            // Otherwise it depends on the number of classes.
            setup.embedding_scale.get_or_insert(1.0);
        }
        setup.format = setup.present_format();
        let earlier_format = format.filter(|&format| format < setup.format);
        Ok(Resolved { setup, asked, sha256, earlier_format })
    }
}

/// The settings of a run that pass on to a training that starts from its weights: not those that follow from its data, nor, on other
/// data that the call names, those that belong to them. On the same data the same images are held out.
fn passed_on(run: Settings, given: &Settings) -> Settings {
    let fitting = Settings {
        images: None,
        init: None,
        batch_size: None,
        epochs: None,
        warmup_steps: None,
        ..run
    };
    match given.dataset {
        None => fitting,
        Some(_) => Settings {
            dataset: None,
            image_size: None,
            split: None,
            skip_bad: None,
            validation: None,
            seed: None,
            ..fitting
        },
    }
}
