//! An experiment: a setup whose data are known. `config.toml` and the weights file carry it, enough to repeat the run.

use std::path::{Path, PathBuf};

use noprop_data::{
    BadPictures, FolderOptions, Listing, Normalization, Split, TestPictures, TestShare,
};
use noprop_method::{ParameterBuilder, Time};
use noprop_models::{ImageShape, Network, NetworkConfig};
use serde::Serialize;
use serde_json::Value;

use crate::choices::Normalize;
use crate::error::{Context, Error, Result, bail, ensure};
use crate::format::{FIRST_FORMAT, FORMAT, translate_json};
use crate::images::{Images, Measured};
use crate::settings::{Settings, Setup};
use crate::source::Source;

/// The longest class name in bytes.
const MAX_CLASS_NAME: usize = 200;
/// Characters of a name that is too long which an error repeats.
const SHOWN_OF_A_NAME: usize = 20;

/// Everything that a run's results depend on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Experiment {
    /// The settings.
    #[serde(flatten)]
    pub setup: Setup,
    /// The images that the network is built for.
    pub images: Images,
}

impl Experiment {
    /// Puts a setup and its images together.
    ///
    /// # Errors
    /// [`Error::Refused`] if a class name is too long, or if the settings and what was measured contradict each other.
    pub(crate) fn new(setup: Setup, images: Images) -> Result<Self> {
        if let Some(name) = images.class_names.iter().find(|name| name.len() > MAX_CLASS_NAME) {
            let start: String = name.chars().take(SHOWN_OF_A_NAME).collect();
            bail!(
                "the class name {start}… is longer than {MAX_CLASS_NAME} bytes: give the class a shorter one"
            );
        }
        Ok(Self { setup, images })
    }

    /// Completes the settings of a run.
    fn of_settings(mut settings: Settings) -> Result<Self> {
        let images = settings.images.take().context(
            "config.toml lacks its [images] table, so the images that the network was built for are not known",
        )?;
        let experiment = Self::new(Setup::new(settings)?, images)?;
        experiment.normalization()?;
        Ok(experiment)
    }

    /// Reads the config file of a run.
    ///
    /// # Errors
    /// If it cannot be read or is not one of a run; if its network is not built any more, or if it has a later format.
    pub fn read(path: &Path) -> Result<Self> {
        let experiment = Self::read_any(path)?;
        experiment.check_network(path)?;
        Ok(experiment)
    }

    /// Reads the settings in the `metadata` of weights whose network is to be built. Errors call the weights `name`.
    ///
    /// # Errors
    /// If they are not those of a run; if their network is not built any more, or if they have a later format.
    pub(crate) fn of_weights(name: &Path, metadata: &str) -> Result<Self> {
        // As in `Settings::read`, this comes first: a later format may have settings that are unknown here.
        let raw: Value = serde_json::from_str(metadata).unwrap_or_default();
        let format = raw.get("format").and_then(Value::as_u64).unwrap_or_default();
        ensure!(
            format <= u64::from(FORMAT),
            "{} has format {format}, and this noprop reads formats up to {FORMAT}: take a newer noprop",
            name.display()
        );
        let experiment = Self::of_json(metadata)
            .with_context(|| format!("{} does not carry the settings of a run", name.display()))?;
        experiment.check_network(name)?;
        Ok(experiment)
    }

    /// Refuses a network that is not built any more: its weights in the present one would answer, and answer wrongly. `name` is the file
    /// that carries the settings.
    fn check_network(&self, name: &Path) -> Result<()> {
        ensure!(
            self.setup.format != FIRST_FORMAT || self.setup.method.time != Time::Continuous,
            "{} has format {FIRST_FORMAT}: the image branch of its network lacks the last ReLU of the paper's Fig. 6. Train the network again from these settings",
            name.display()
        );
        Ok(())
    }

    /// Reads the config file of a run of any earlier format.
    pub(crate) fn read_any(path: &Path) -> Result<Self> {
        let of = |settings| {
            Self::of_settings(settings)
                .with_context(|| format!("{} is not a valid config", path.display()))
        };
        Settings::read(path).and_then(of)
    }

    /// Reads the settings that weights carry, as [`Self::to_json`] wrote them.
    pub(crate) fn of_json(text: &str) -> Option<Self> {
        Self::of_settings(serde_json::from_str(&translate_json(text)).ok()?).ok()
    }

    /// The settings on one line: a resume compares them, and the weights file carries them.
    ///
    /// # Errors
    /// If they cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// The settings as `config.toml` has them.
    ///
    /// # Errors
    /// If they cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        let context = "cannot write the settings as TOML";
        let mut table = toml::Table::try_from(self).context(context)?;
        table.insert("readout-lr-scale".into(), self.setup.readout_lr_scale.into());
        toml::to_string_pretty(&table).context(context)
    }

    /// The settings with the last part of every path in them alone, for files that leave this machine.
    #[must_use]
    pub fn without_paths(&self) -> Self {
        let mut public = self.clone();
        // A path such as `.` has no last part.
        let shorten =
            |path: &mut PathBuf| *path = path.file_name().unwrap_or("folder".as_ref()).into();
        if let Source::Folder(path) = &mut public.setup.dataset {
            shorten(path);
        }
        if let Some(init) = &mut public.setup.init {
            shorten(&mut init.run);
        }
        public
    }

    /// Refuses to go on with a training whose settings have another meaning now.
    pub(crate) fn check_resumable(&self, run: &Path) -> Result<()> {
        ensure!(
            self.setup.format == self.setup.present_format(),
            "{} has format {}, in which these settings mean another loss (docs/method.md): its weights can be used, but not trained further",
            run.display(),
            self.setup.format
        );
        Ok(())
    }

    /// The settings without what follows from the seed: alike in runs that differ in their seed alone.
    #[cfg(feature = "figures")]
    pub(crate) fn without_seed(&self) -> Self {
        let mut experiment = self.clone();
        experiment.setup.seed = 0;
        // Measured on the images that the seed did not hold out.
        experiment.images.normalization = None;
        experiment
    }

    /// Builds the network from fresh or stored parameters.
    ///
    /// # Errors
    /// [`Error::Model`] if a setting is outside its range or the parameters do not fit.
    pub fn network(&self, source: ParameterBuilder) -> Result<Network> {
        Ok(Network::new(&self.network_config()?, source)?)
    }

    /// The settings of the network.
    ///
    /// # Errors
    /// [`Error::Model`] if a setting is outside its range.
    pub fn network_config(&self) -> Result<NetworkConfig> {
        let Self { setup, images } = self;
        let (channels, height, width) = images.shape();
        let needs = setup.build_method()?.needs();
        let shape = ImageShape { channels, height, width };
        let mut config = NetworkConfig::new(shape, images.class_names.len(), needs)?
            .encoder(setup.encoder)
            .backbone(setup.network)
            .embedding(setup.embedding)
            .precision(setup.precision.into())
            .embedding_scale(setup.embedding_scale.unwrap_or(1.0))?
            .dropout(setup.dropout)?
            .padding(setup.padding)?;
        if let Some(start) = setup.embedding_start {
            config = config.embedding_start(start);
        }
        Ok(config)
    }

    /// Measures what normalisation needs on the images that the network learns from, unless a run has it already.
    pub(crate) fn measure(&mut self, train: &Split) -> Result<()> {
        if self.setup.normalize == Normalize::Channel && self.images.normalization.is_none() {
            let measured = Normalization::of(train)?;
            let (mean, std) = (measured.mean().to_vec(), measured.std().to_vec());
            self.images.normalization = Some(Measured { mean, std });
        }
        Ok(())
    }

    /// The normalisation of every image that the network is given.
    ///
    /// # Errors
    /// [`Error::Refused`] if the settings and what was measured contradict each other.
    pub fn normalization(&self) -> Result<Option<Normalization>> {
        match (self.setup.normalize, &self.images.normalization) {
            (Normalize::None, None) => Ok(None),
            (Normalize::Channel, Some(Measured { mean, std })) => {
                let found = Normalization::new(mean.clone(), std.clone());
                Ok(Some(found.context("config.toml, [images.normalization]")?))
            }
            (Normalize::None, Some(_)) | (Normalize::Channel, None) => {
                bail!(
                    "config.toml: its key normalize and its table [images.normalization] contradict each other"
                )
            }
        }
    }

    /// `images` as the network is given them.
    ///
    /// # Errors
    /// If they have another number of channels.
    pub fn seen(&self, images: &Split) -> Result<Split> {
        match self.normalization()? {
            Some(normalization) => Ok(images.normalised(&normalization)?),
            None => Ok(images.clone()),
        }
    }

    /// The way in which a folder's pictures are read again, for the network as it was built. The test pictures of a run that has `kept`
    /// a list of them stay what they were.
    pub(crate) fn folder_options(&self, kept: Option<&Listing>) -> Result<FolderOptions> {
        let (channels, height, width) = self.images.shape();
        let options = folder_options(&self.setup, kept)?;
        Ok(FolderOptions { size: Some((height, width)), channels: Some(channels), ..options })
    }
}

/// The way in which the settings read a folder's pictures.
///
/// # Errors
/// [`Error::Setting`] if the data set is not a folder and a setting is for folders.
pub(crate) fn folder_options(setup: &Setup, kept: Option<&Listing>) -> Result<FolderOptions> {
    refuse_options_of_folders(setup)?;
    if let Some(side) = setup.image_size.filter(|side| !ImageShape::SIDES.contains(side)) {
        let (least, most) = (ImageShape::SIDES.start(), ImageShape::SIDES.end());
        bail!("image-size must be between {least} and {most} pixels, got {side}");
    }
    let test = match (setup.split, kept) {
        (None, _) => TestPictures::OwnFolder,
        (Some(_), Some(listing)) => TestPictures::Kept(listing.clone()),
        (Some(share), None) => TestPictures::Share(TestShare::new(share)?),
    };
    let size = setup.image_size.map(|side| (side, side));
    let bad = if setup.skip_bad { BadPictures::Skip } else { BadPictures::Refuse };
    Ok(FolderOptions { size, channels: None, bad, test })
}

/// Refuses settings for folders where the data set is another.
pub(crate) fn refuse_options_of_folders(setup: &Setup) -> Result<()> {
    let name = match &setup.dataset {
        Source::Folder(_) => return Ok(()),
        other => other,
    };
    if setup.image_size.is_some() {
        let reason = format!("is for folder:PATH; the images of {name} have a size");
        return Err(Error::setting("image-size", reason));
    }
    if setup.split.is_some() {
        let reason = format!("is for folder:PATH; {name} has test images");
        return Err(Error::setting("split", reason));
    }
    Ok(())
}
