//! The batch of a step. Its images are gathered in the epoch's order and augmented at random if the settings require it. The
//! last batches are kept for the units that come next.

use std::collections::VecDeque;

use candle_core::{Device, Tensor};
use noprop_data::{Augmentation, Change, Placed, Split, epoch_order};
use noprop_kernels::random::uniform;
use noprop_method::{Denoiser, Part, Pass, Seed, Targets};

use crate::{TrainConfig, TrainError};

/// The number of steps that a unit makes before the next unit's turn.
pub(crate) const STRIDE: u32 = 8;

/// The number of images that go through a frozen encoder at a time.
const FROZEN_CHUNK: usize = 512;

/// The number of batches that are kept for the units that come next.
const KEPT_BATCHES: usize = STRIDE as usize;

/// Gathers batches.
pub(crate) struct Batches {
    pub images: Split,
    /// The features of all images if the encoder is frozen.
    features: Option<Tensor>,
    /// The weight of the images of each class, `[classes]`; `None` if all images count 1.
    class_weights: Option<Tensor>,
    size: usize,
    augment: Augmentation,
    seed: Seed,
    /// The last batches. All units share them.
    last: VecDeque<Batch>,
    /// The order of the images in the current epoch.
    order: Option<Order>,
}

struct Order {
    epoch: u32,
    rows: Vec<u32>,
    /// The rows on a GPU, so that a step copies nothing to it.
    placed: Option<Placed>,
}

#[derive(Clone)]
pub(crate) struct Batch {
    /// The epoch. Epoch and step count from 0.
    pub epoch: u32,
    pub step: u32,
    /// The images, or the features of a frozen encoder.
    pub inputs: Tensor,
    pub labels: Tensor,
    /// The weight of each image; `None` if all images count 1.
    weights: Option<Tensor>,
}

impl Batch {
    /// Returns the labels and weights of the images, for the losses.
    pub fn targets(&self) -> Targets<'_> {
        Targets { labels: &self.labels, weights: self.weights.as_ref() }
    }
}

impl Batches {
    pub fn new(
        images: Split,
        features: Option<Tensor>,
        class_weights: Option<Tensor>,
        config: &TrainConfig,
        seed: Seed,
    ) -> Self {
        let (size, augment) = (config.batch_size, config.augment);
        let last = VecDeque::new();
        Self { images, features, class_weights, size, augment, seed, last, order: None }
    }

    /// Returns the batch of a step. Units that make the same step get the same batch; it is gathered once.
    pub fn at(&mut self, (epoch, step): (u32, u32)) -> Result<Batch, TrainError> {
        if let Some(batch) = self.last.iter().find(|b| (b.epoch, b.step) == (epoch, step)) {
            return Ok(batch.clone());
        }
        let order = match self.order.take() {
            Some(order) if order.epoch == epoch => order,
            _ => self.order_of(epoch)?,
        };
        let batch = self.gather(&order, step)?;
        self.order = Some(order);
        if self.last.len() == KEPT_BATCHES {
            self.last.pop_front();
        }
        self.last.push_back(batch.clone());
        Ok(batch)
    }

    fn order_of(&self, epoch: u32) -> Result<Order, TrainError> {
        let rows = epoch_order(self.seed.0, epoch.into(), self.images.len());
        let placed = match (self.images.labels.device(), self.augment.is_none()) {
            (Device::Cpu, _) => None,
            // candle has no gather of bytes for Metal.
            (Device::Metal(_), false) => None,
            // A rotation mixes pixels, so it is more than a gather. Each batch is changed on the host.
            (_, false) if self.augment.rotate > 0 => None,
            (_, true) => Some(self.images.place(&rows)?),
            (_, false) => Some(self.images.place_changed(&rows, &self.changes(epoch, &rows)?)?),
        };
        Ok(Order { epoch, rows, placed })
    }

    fn gather(&self, order: &Order, step: u32) -> Result<Batch, TrainError> {
        let epoch = order.epoch;
        let start = step as usize * self.size;
        let end = (start + self.size).min(order.rows.len());
        let rows = order.rows.get(start..end).unwrap_or_default();
        let (inputs, labels) = match (&self.features, &order.placed) {
            (None, Some(placed)) => self.images.placed_batch(placed, start..end)?,
            (None, None) if self.augment.is_none() => self.images.batch(rows)?,
            (None, None) => self.images.changed_batch(rows, &self.changes(epoch, rows)?)?,
            (Some(features), placed) => {
                let rows = match placed {
                    Some(placed) => placed.numbers(start..end)?,
                    None => Tensor::new(rows, features.device())?,
                };
                (features.index_select(&rows, 0)?, self.images.labels.index_select(&rows, 0)?)
            }
        };
        let weights = self.class_weights.as_ref();
        let weights = weights.map(|of_class| of_class.index_select(&labels, 0)).transpose()?;
        Ok(Batch { epoch, step, inputs, labels, weights })
    }

    /// Returns the augmentation of each of the images `rows` in `epoch`.
    fn changes(&self, epoch: u32, rows: &[u32]) -> Result<Vec<Change>, TrainError> {
        let (_, height, width) = self.images.image_shape()?;
        let change = |&image: &u32| {
            let key = self.seed.augmentation(epoch, image);
            let draws = uniform(key, Augmentation::DRAWS, &Device::Cpu);
            let draws = draws.map_err(candle_core::Error::from)?.to_vec1::<f32>()?;
            let draws = std::array::from_fn(|draw| draws[draw]);
            Ok(self.augment.change(draws, height, width))
        };
        rows.iter().map(change).collect()
    }
}

/// Returns the output of a frozen encoder for all images.
pub(crate) fn frozen_features(
    network: &dyn Denoiser,
    images: &Split,
) -> Result<Tensor, TrainError> {
    let mut chunks = Vec::new();
    for start in (0..images.len()).step_by(FROZEN_CHUNK) {
        let chunk = images.range(start..start + FROZEN_CHUNK)?;
        chunks.push(network.encode(Part::Encoder, &chunk, Pass::Eval)?.detach());
    }
    Ok(Tensor::cat(&chunks, 0)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The augmentation of an image depends on seed, epoch and image; the batch size must not affect it.
    #[test]
    fn an_image_is_changed_alike_in_whatever_batch_it_travels() {
        let images = Tensor::arange(0f32, 24.0 * 9.0, &Device::Cpu).unwrap();
        let images = images.reshape((24, 1, 3, 3)).unwrap();
        let labels = Tensor::arange(0u32, 24, &Device::Cpu).unwrap();
        let split = Split::new(images, labels, 24).unwrap();
        // Each image has a label of its own, which identifies it.
        let epoch = |seed, epoch, batch_size: usize| {
            let augment = "rotate:20+flip+crop:1+cutout:1".parse().unwrap();
            let config = TrainConfig { batch_size, augment, ..TrainConfig::default() };
            let mut batches = Batches::new(split.clone(), None, None, &config, Seed(seed));
            let mut seen = BTreeMap::new();
            for step in 0..24 / batch_size {
                let batch = batches.at((epoch, u32::try_from(step).unwrap())).unwrap();
                let labels = batch.labels.to_vec1::<u32>().unwrap();
                let pixels = batch.inputs.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
                seen.extend(labels.into_iter().zip(pixels));
            }
            seen
        };
        let first = epoch(1, 0, 8);
        assert_eq!(first.len(), 24);
        assert_eq!(first, epoch(1, 0, 4));
        assert_ne!(first, epoch(1, 1, 8));
        assert_ne!(first, epoch(2, 0, 8));
    }
}
