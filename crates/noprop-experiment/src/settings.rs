//! Settings that may be left open, and how layers of them are laid over each other.

use std::io::Read;
use std::path::Path;

use noprop_data::Augmentation;
use noprop_method::{EncoderKind, LossWeight, Readout, ScheduleKind, Solver};
use noprop_models::{Embedding, EmbeddingStart};
use noprop_train::{ClassWeights, Decay, OptimizerKind};
use serde::{Deserialize, Serialize};

use crate::choices::{Normalize, Order, Precision};
use crate::error::{Context, Result, bail, ensure};
use crate::format::{FORMAT, translate};
use crate::images::Images;
use crate::source::Source;
use noprop_method::MethodKind;

/// A config file is a page of text.
const MAX_BYTES: u64 = 1 << 20;

/// Declares [`Settings`] and what is done to each of them alike.
macro_rules! settings {
    ($($(#[$attribute:meta])* $name:ident: $type:ty,)*) => {
        /// Settings of a training, each of which may be left open. A preset, a config file and the arguments of a call name a setting
        /// alike; [`crate::Layers`] puts them together.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Settings {
            $($(#[$attribute])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)*
        }

        impl Settings {
            /// Lays these settings over `below`: what is open here is as it is there.
            #[must_use]
            pub fn over(self, below: Self) -> Self {
                Self { $($name: self.$name.or(below.$name),)* }
            }
        }
    };
}

settings! {
    /// The format, where settings mean another training than they did in the first one.
    format: u32,
    /// The images.
    dataset: Source,
    /// Side in pixels that a folder's pictures are scaled to; without it they must be of one size.
    image_size: usize,
    /// The share of a folder's pictures that are for testing, where it is not divided into train and test.
    split: f64,
    /// `true` leaves a folder's files out that are not pictures, instead of refusing them.
    skip_bad: bool,
    /// The normalisation of every image.
    normalize: Normalize,
    /// Training images held out to choose the epoch.
    validation: usize,
    /// The variant of NoProp.
    method: MethodKind,
    /// T in discrete time, else the solver's steps.
    steps: usize,
    /// The solver of continuous time.
    solver: Solver,
    /// The solver's steps where held-out images choose the epoch, if fewer than `steps` are enough for that.
    validation_steps: usize,
    /// B, the number of blocks that share time between them, where it is continuous.
    intervals: usize,
    /// The noise schedule of discrete time.
    schedule: ScheduleKind,
    /// The weight of the denoising term.
    eta: f64,
    /// σ of the path in flow matching (Eq. 10). The paper gives no value; without one it is 0.
    path_noise: f64,
    /// The weight of each block's error; without it what suits the encoder.
    loss_weight: LossWeight,
    /// The image encoder.
    encoder: EncoderKind,
    /// The share of activations that training drops in an image branch.
    dropout: f64,
    /// Rings of zeros around the input of each convolution of an image branch.
    padding: usize,
    /// The class embeddings.
    embedding: Embedding,
    /// The start of trained class embeddings; without it what suits the embedding.
    embedding_start: EmbeddingStart,
    /// The step from the last embedding to a class.
    readout: Readout,
    /// The length of every class embedding; without it what suits the method.
    embedding_scale: f64,
    /// Passes over the training images.
    epochs: u32,
    /// Images a step.
    batch_size: usize,
    /// The optimizer.
    optimizer: OptimizerKind,
    /// The peak learning rate.
    lr: f64,
    /// The decay of the learning rate.
    lr_decay: Decay,
    /// Steps until the learning rate has its peak.
    warmup_steps: u32,
    /// The weight decay.
    weight_decay: f64,
    /// The readout's learning rate as a multiple of the others'.
    readout_lr_scale: f64,
    /// The blocks that learn from a mini-batch.
    order: Order,
    /// The random changes of training images.
    #[serde(with = "as_text")]
    augment: Augmentation,
    /// The weights of the training images.
    class_weights: ClassWeights,
    /// The seed of everything random.
    seed: u64,
    /// The precision of the factors of products.
    precision: Precision,
    /// The run that the first weights come from, if they are not random.
    init: Init,
    /// The images that the network was built for; every run has them, and no settings that people write.
    images: Images,
}

/// The run that the first weights come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Init {
    /// Its run directory.
    pub run: std::path::PathBuf,
    /// The SHA-256 of its `model.safetensors`.
    pub sha256: String,
}

impl Settings {
    /// Reads a config file: some settings that a person wrote, or all of a run.
    ///
    /// # Errors
    /// [`crate::Error::At`] with the path if the file cannot be read, is not TOML or has an unknown key;
    /// [`crate::Error::Refused`] if its format is a later one.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let at = || format!("{} is not a valid config", path.display());
        let mut table: toml::Table = toml::from_str(&text).with_context(at)?;
        let format = table.get("format").and_then(toml::Value::as_integer).unwrap_or_default();
        ensure!(
            format <= i64::from(FORMAT),
            "{} has format {format}, and this noprop reads formats up to {FORMAT}: take a newer noprop",
            path.display()
        );
        if table.contains_key("images") {
            translate(&mut table);
        }
        table.try_into().with_context(at)
    }

    /// Leaves open what belongs to a method and has no meaning in others.
    pub(crate) fn forget_method(&mut self) {
        let open = Self {
            solver: None,
            validation_steps: None,
            intervals: None,
            order: None,
            path_noise: None,
            ..std::mem::take(self)
        };
        *self = open;
    }
}

/// Reads a config file as text.
///
/// # Errors
/// If it cannot be read, or is larger than a config file can be.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let reading = || format!("cannot read {}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(reading)?;
    let read = file.take(MAX_BYTES).read_to_string(&mut text).with_context(reading)?;
    if read as u64 == MAX_BYTES {
        bail!("{} is not a config: it is larger than {MAX_BYTES} bytes", path.display());
    }
    Ok(text)
}

/// Values that are written in files as in flags.
mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(
        value: &Option<impl Display>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().map(ToString::to_string).serialize(to)
    }

    pub fn deserialize<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}
