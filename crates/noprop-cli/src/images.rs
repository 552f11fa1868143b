//! The images of a run: how they are read, what is done to them before a network sees them, and what the network was built for.

use anyhow::{Context, Result, bail};
use noprop_data::{
    BadPictures, Dataset, FolderOptions, Listing, Normalization, Split, TestPictures, TestShare,
};
use noprop_models::ImageShape;
use noprop_train::ClassWeights;
use serde::{Deserialize, Serialize};

use crate::config::{Method, RunConfig};
use crate::source::Source;

const MAX_CLASS_NAME: usize = 200;
/// Characters of a name that is too long which an error repeats.
const SHOWN_OF_A_NAME: usize = 20;

/// What is done to every image before a network sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Normalize {
    /// Nothing: pixels are 0 to 1
    #[default]
    None,
    /// Each channel gets mean 0 and deviation 1, as measured on the training images
    Channel,
}

impl Normalize {
    /// Whether nothing is done.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// The images that a network takes and the classes that it tells apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Images {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub class_names: Vec<String>,
    /// SHA-256 over the uncompressed data files.
    pub sha256: String,
    /// What was measured on the training images, if they are normalised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Measured>,
}

/// Mean and standard deviation of every channel, of pixels in 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

impl Images {
    /// What `data` holds; nothing is measured yet.
    pub fn of(data: &Dataset) -> Result<Self> {
        let (channels, height, width) = data.train.image_shape()?;
        Ok(Self {
            channels,
            height,
            width,
            class_names: data.class_names.clone(),
            sha256: data.sha256.clone(),
            normalization: None,
        })
    }

    /// Whether both come from the same data, whatever was measured on them.
    pub fn same_data(&self, other: &Self) -> bool {
        Self { normalization: None, ..self.clone() }
            == Self { normalization: None, ..other.clone() }
    }
}

impl RunConfig {
    /// Settles the settings for a network that takes `images`.
    pub fn with_images(&mut self, images: Images) {
        // Embeddings that are images have a length of their own.
        let dimension = match self.method {
            Method::Fm => self.embedding.dimension(images.class_names.len()),
            Method::Dt | Method::Ct | Method::Backprop | Method::Adjoint => None,
        };
        // The path of flow matching starts from noise of length √d, in which short embeddings of many classes drown. A tenth
        // of d is what was measured to learn at d = 100 and to be best at d = 10 (docs/results.md).
        let scale = dimension.map_or(1.0, |dimension| (dimension as f64 / 10.0).max(1.0));
        if !self.start_has_length_of_prototypes() {
            self.embedding_scale.get_or_insert(scale);
        }
        self.images = Some(images);
    }

    /// What the network is built for.
    pub fn images(&self) -> Result<&Images> {
        let images = self.images.as_ref().context(
            "config.toml lacks its [images] table, so it does not say what the network was built for",
        )?;
        let long = images.class_names.iter().find(|name| name.len() > MAX_CLASS_NAME);
        if let Some(name) = long {
            let start: String = name.chars().take(SHOWN_OF_A_NAME).collect();
            bail!(
                "the class name {start}… is longer than {MAX_CLASS_NAME} bytes: give the class a shorter one"
            );
        }
        Ok(images)
    }

    /// The way in which a folder's pictures are read: as the settings say, or again as the network was built for. The test pictures
    /// of a run that has `kept` a list of them stay what they were.
    pub fn folder_options(&self, kept: Option<&Listing>) -> Result<FolderOptions> {
        if let (Source::Known(name), Some(_)) = (&self.dataset, self.image_size) {
            bail!("--image-size is for folder:PATH; the images of {name} have a size");
        }
        if let (Source::Known(name), Some(_)) = (&self.dataset, self.split) {
            bail!("--split is for folder:PATH; {name} has test images");
        }
        if let Some(side) = self.image_size.filter(|side| !ImageShape::SIDES.contains(side)) {
            let (least, most) = (ImageShape::SIDES.start(), ImageShape::SIDES.end());
            bail!("image-size must be between {least} and {most} pixels, got {side}");
        }
        let test = match (self.split, kept) {
            (None, _) => TestPictures::OwnFolder,
            (Some(_), Some(listing)) => TestPictures::Kept(listing.clone()),
            (Some(share), None) => TestPictures::Share(TestShare::new(share)?),
        };
        let size = match &self.images {
            Some(images) => Some((images.height, images.width)),
            None => self.image_size.map(|side| (side, side)),
        };
        let channels = self.images.as_ref().map(|images| images.channels);
        Ok(FolderOptions { size, channels, bad: bad_pictures(self.skip_bad), test })
    }

    /// Measures what normalisation needs on the images that the network learns from, and notes it; of a run that has it noted
    /// already nothing is changed.
    pub fn measure(&mut self, train: &Split) -> Result<()> {
        if let (Normalize::Channel, Some(images @ Images { normalization: None, .. })) =
            (self.normalize, &mut self.images)
        {
            let measured = Normalization::of(train)?;
            let (mean, std) = (measured.mean().to_vec(), measured.std().to_vec());
            images.normalization = Some(Measured { mean, std });
        }
        Ok(())
    }

    /// What is done to every image that the network is shown.
    pub fn normalization(&self) -> Result<Option<Normalization>> {
        match (self.normalize, &self.images()?.normalization) {
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

    /// The differences from pixels of 0 to 1 as they are in the files, from images that all count alike, and from the paper's
    /// convolutions, in words.
    pub fn treatment(&self) -> Option<String> {
        let mut words = Vec::new();
        match self.normalize {
            Normalize::None => {}
            Normalize::Channel => words.push("normalised by channel".to_owned()),
        }
        if !self.augment.is_none() {
            words.push(format!("changed by {}", self.augment));
        }
        if self.class_weights == ClassWeights::Balanced {
            words.push("classes balanced".to_owned());
        }
        if self.padding > 0 {
            words.push(format!("padding {}", self.padding));
        }
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// The settings without what follows from the seed: alike in runs that differ in their seed alone.
    pub fn without_seed(&self) -> Self {
        let mut config = Self { seed: 0, ..self.clone() };
        if let Some(images) = &mut config.images {
            // Measured on what the seed did not hold out.
            images.normalization = None;
        }
        config
    }

    /// `images` as the network sees them.
    pub fn seen(&self, images: &Split) -> Result<Split> {
        match self.normalization()? {
            Some(normalization) => Ok(images.normalised(&normalization)?),
            None => Ok(images.clone()),
        }
    }
}

/// What a command line says of bad pictures.
pub fn bad_pictures(skip: bool) -> BadPictures {
    if skip { BadPictures::Skip } else { BadPictures::Refuse }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Train;
    use crate::preset::Preset;

    fn resolved(flags: &[&str]) -> RunConfig {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            train: Train,
        }
        let line = Line::try_parse_from([&["train"], flags].concat()).unwrap();
        RunConfig::resolve(Preset::Mnist, &line.train).unwrap().0
    }

    /// Settings from before there was a choice have no such key, and a resume compares the text.
    #[test]
    fn class_weights_are_noted_where_they_are_not_uniform() {
        assert!(!resolved(&[]).to_toml().unwrap().contains("class-weights"));
        assert!(resolved(&["--class-weights", "uniform"]) == resolved(&[]));
        let balanced = resolved(&["--class-weights", "balanced"]);
        assert!(balanced.to_toml().unwrap().contains("class-weights = \"balanced\"\n"));
        assert_eq!(balanced.train().class_weights, ClassWeights::Balanced);
        assert_eq!(balanced.treatment().as_deref(), Some("classes balanced"));
    }

    fn scale(flags: &[&str], classes: usize) -> Option<f64> {
        let mut config = resolved(flags);
        config.with_images(Images {
            channels: 1,
            height: 28,
            width: 28,
            class_names: vec![String::new(); classes],
            sha256: String::new(),
            normalization: None,
        });
        config.embedding_scale
    }

    /// A unit vector among a hundred classes drowns in the noise of flow matching, and learns nothing.
    #[test]
    fn embeddings_of_many_classes_stand_out_of_the_noise() {
        assert_eq!(scale(&["--method", "fm"], 10), Some(1.0));
        assert_eq!(scale(&["--method", "fm"], 100), Some(10.0));
        assert_eq!(scale(&["--method", "fm", "--embedding", "learned:20"], 100), Some(2.0));
        assert_eq!(scale(&["--method", "fm", "--embedding", "prototype"], 100), Some(1.0));
        assert_eq!(scale(&["--method", "fm", "--embedding-scale", "3"], 100), Some(3.0));
        assert_eq!(scale(&["--method", "dt"], 100), Some(1.0));
    }
}
