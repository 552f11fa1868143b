//! Every setting of a training, once: open in a layer of settings, and chosen in the setup of a training.

use std::io::Read;
use std::num::NonZeroU32;
use std::path::Path;

use noprop_data::Augmentation;
use noprop_method::{
    BlockLossKind, EncoderKind, LossWeight, MethodKind, Readout, ScheduleKind, Solver, Time,
};
use noprop_models::{Backbone, Embedding, EmbeddingStart};
use noprop_train::{ClassWeights, Decay, OptimizerKind, Order};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::choices::{Normalize, Precision};
use crate::error::{Context, Result, bail, ensure};
use crate::format::{FIRST_FORMAT, FORMAT, translate, usual_readout_lr_scale};
use crate::images::Images;
use crate::source::Source;

/// A config file is a page of text.
const MAX_BYTES: u64 = 1 << 20;

/// Declares every setting once: open in [`Settings`], and chosen in [`Setup`].
///
/// A setting is followed by its kind. `given` is in every preset. `open` may be left open, and is then absent from files; `null` is
/// then written as null in JSON. `chosen(value)` and `usual(value)` have that value if they are left open; the usual value is left out of
/// files, so that runs from before there was a choice can be resumed. `text(value)` is a usual one that is written as in flags.
macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])*
        $(#[serde $serde:tt])?
        $name:ident: $type:ty, $kind:ident $(($value:expr))?;
    )*) => {
        /// Settings of a training, each of which may be left open. A preset, a config file and the arguments of a call name a setting
        /// alike; [`crate::Layers`] puts them together.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Settings {
            $(
                $(#[doc = $doc])*
                $(#[serde $serde])?
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )*
            /// The images that the network was built for; every run has them, and no settings that people write.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub images: Option<Images>,
        }

        impl Settings {
            /// Lays these settings over `below`: what is open here is as it is there.
            #[must_use]
            pub fn over(self, below: Self) -> Self {
                Self {
                    $($name: self.$name.or(below.$name),)*
                    images: self.images.or(below.images),
                }
            }
        }

        /// The settings of a training with every choice made that does not depend on data.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Setup {
            $($(#[doc = $doc])* pub $name: settings!(@type $kind $type),)*
        }

        impl Setup {
            /// Completes `settings` with the values of settings that are left open.
            ///
            /// # Errors
            /// [`crate::Error::Refused`] if a setting is open that has no such value.
            pub fn new(settings: Settings) -> Result<Self> {
                Ok(Self {
                    $($name: settings!(@chosen $kind settings.$name, $name $(, $value)?),)*
                })
            }
        }

        impl Serialize for Setup {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let mut map = to.serialize_map(None)?;
                $(settings!(@write $kind map, $name, &self.$name $(, $value)?);)*
                map.end()
            }
        }
    };
    (@type open $type:ty) => { Option<$type> };
    (@type null $type:ty) => { Option<$type> };
    (@type $kind:ident $type:ty) => { $type };
    (@chosen open $value:expr, $name:ident) => { $value };
    (@chosen null $value:expr, $name:ident) => { $value };
    (@chosen given $value:expr, $name:ident) => {
        $value.with_context(|| format!("missing field `{}`", key(stringify!($name))))?
    };
    (@chosen $kind:ident $value:expr, $name:ident, $usual:expr) => { $value.unwrap_or($usual) };
    (@write open $map:ident, $name:ident, $value:expr) => {
        if $value.is_some() {
            settings!(@write given $map, $name, $value);
        }
    };
    (@write usual $map:ident, $name:ident, $value:expr, $usual:expr) => {
        if *$value != $usual {
            settings!(@write given $map, $name, $value);
        }
    };
    (@write text $map:ident, $name:ident, $value:expr, $usual:expr) => {
        if *$value != $usual {
            settings!(@write given $map, $name, &$value.to_string());
        }
    };
    (@write $kind:ident $map:ident, $name:ident, $value:expr $(, $chosen:expr)?) => {
        $map.serialize_entry(&key(stringify!($name)), $value)?
    };
}

/// The key of a setting in files.
fn key(name: &str) -> String {
    name.replace('_', "-")
}

settings! {
    /// The format, where settings mean another training than they did in the first one.
    format: u32, usual(FIRST_FORMAT);
    /// The images.
    dataset: Source, given;
    /// Side in pixels that a folder's pictures are scaled to; without it they must be of one size.
    image_size: usize, open;
    /// The share of a folder's pictures that are for testing, where it is not divided into train and test.
    split: f64, open;
    /// `true` leaves out a folder's files that are not pictures, instead of refusing the folder.
    skip_bad: bool, usual(false);
    /// The normalisation of every image.
    normalize: Normalize, usual(Normalize::None);
    /// Training images held out to choose the epoch.
    validation: usize, given;
    /// The variant of NoProp.
    method: MethodKind, given;
    /// T in discrete time, else the solver's steps.
    steps: usize, given;
    /// The solver of continuous time; without it the method's usual one.
    solver: Solver, null;
    /// The solver's steps where held-out images choose the epoch, if fewer than `steps` are enough for that.
    validation_steps: usize, open;
    /// B, the number of blocks that share time between them, where it is continuous.
    intervals: usize, usual(1);
    /// The noise schedule of discrete time.
    schedule: ScheduleKind, given;
    /// The weight of the denoising term.
    eta: f64, given;
    /// σ of the path in flow matching (Eq. 10). The paper gives no value.
    path_noise: f64, usual(0.0);
    /// The weight of each block's error. A new training without it has what suits its encoder.
    loss_weight: LossWeight, chosen(LossWeight::Uniform);
    /// The loss function of a block.
    block_loss: BlockLossKind, usual(BlockLossKind::Squared);
    /// The image encoder.
    encoder: EncoderKind, given;
    /// The layers of an image encoder.
    network: Backbone, usual(Backbone::Paper);
    /// The share of activations that training drops in the convolutions of the paper's image branch.
    dropout: f64, given;
    /// Rings of zeros around the input of each convolution of an image branch.
    padding: usize, usual(0);
    /// The class embeddings.
    embedding: Embedding, chosen(Embedding::default());
    /// The start of class embeddings, where they are trained. A new training without it has what suits its embedding.
    embedding_start: EmbeddingStart, open;
    /// The step from the last embedding to a class.
    readout: Readout, usual(Readout::default());
    /// The length of every class embedding. A new training without it has what suits its method, unless each embedding has the length of
    /// its class's prototype: see [`Setup::start_has_length_of_prototypes`].
    embedding_scale: f64, null;
    /// Passes over the training images.
    epochs: u32, given;
    /// Images a step.
    batch_size: usize, given;
    /// The optimizer.
    optimizer: OptimizerKind, given;
    /// The peak learning rate.
    lr: f64, given;
    /// The decay of the learning rate.
    lr_decay: Decay, given;
    /// Steps until the learning rate has its peak.
    warmup_steps: u32, given;
    /// The weight decay.
    weight_decay: f64, given;
    /// The readout's learning rate as a multiple of the others'. `config.toml` always has it; the weights file leaves the usual one out.
    readout_lr_scale: f64, usual(usual_readout_lr_scale());
    /// The blocks that learn from a mini-batch.
    order: Order, usual(Order::Batch);
    /// The random changes of training images.
    #[serde(with = "as_text")]
    augment: Augmentation, text(Augmentation::NONE);
    /// The weights of the training images.
    class_weights: ClassWeights, usual(ClassWeights::default());
    /// The rate of the exponential moving average of the weights, which is then validated and kept; without it they are not averaged.
    ema: f64, open;
    /// The greatest norm that the gradients of one part may have together; without it they are as they come.
    clip_gradients: f64, open;
    /// The epochs in a row after which the training ends early, if held-out images show all of them to be worse than the best before;
    /// without it all epochs are trained.
    patience: NonZeroU32, open;
    /// The seed of everything random.
    seed: u64, given;
    /// The precision of the factors of products.
    precision: Precision, usual(Precision::F32);
    /// The run that the first weights come from, if they are not random.
    init: Init, open;
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

    /// Leaves open what was chosen for a method, and the class embeddings if `other` has no chain.
    pub(crate) fn forget_method(&mut self, other: MethodKind) {
        *self = Self {
            solver: None,
            validation_steps: None,
            intervals: None,
            order: None,
            path_noise: None,
            ..std::mem::take(self)
        };
        if other.time == Time::None {
            *self = Self {
                embedding: None,
                embedding_start: None,
                embedding_scale: None,
                ..std::mem::take(self)
            };
        }
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
