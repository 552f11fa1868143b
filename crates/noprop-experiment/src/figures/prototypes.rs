//! The prototype embeddings of a run before and after training, and their change: the paper's Fig. 2.

use candle_core::Tensor;
use noprop_method::Denoiser;
use noprop_plot::{Picture, Prototype, Prototypes};

use crate::error::{Context, Result};
use crate::trained::Trained;

/// The figure, if the run's embeddings are images.
pub(super) fn figure(trained: &Trained) -> Result<Option<Prototypes>> {
    let Some(starts) = trained.network.first_embeddings() else {
        return Ok(None);
    };
    let images = &trained.experiment.images;
    let rows = |embeddings: &Tensor| -> Result<Vec<Vec<f32>>> {
        let shape = ((), images.channels, images.height, images.width);
        Ok(embeddings.reshape(shape)?.permute((0, 2, 3, 1))?.flatten_from(1)?.to_vec2()?)
    };
    let (starts, learned) = (rows(&starts)?, rows(trained.network.class_embeddings())?);
    let change = |start: &[f32], learned: &[f32]| -> Vec<f32> {
        learned.iter().zip(start).map(|(learned, start)| learned - start).collect()
    };
    let changes: Vec<Vec<f32>> = starts.iter().zip(&learned).map(|(a, b)| change(a, b)).collect();
    let (low, high) = range(&starts);
    let largest = range(&changes);
    let largest = largest.1.max(-largest.0).max(f32::MIN_POSITIVE);
    let [width, height, channels] = [images.width, images.height, images.channels]
        .map(|length| u32::try_from(length).unwrap_or(u32::MAX));
    let picture = |values: &[f32], (low, high): (f32, f32)| {
        let span = (high - low).max(f32::MIN_POSITIVE);
        let byte = |value: &f32| (255.0 * (value - low) / span).round().clamp(0.0, 255.0) as u8;
        Picture::new(width, height, channels, values.iter().map(byte).collect())
    };
    let mut classes = Vec::with_capacity(starts.len());
    for (class, ((start, learned), change)) in starts.iter().zip(&learned).zip(&changes).enumerate()
    {
        classes.push(Prototype {
            name: images.class_names.get(class).cloned().unwrap_or_default(),
            start: picture(start, (low, high)).context("this prototype cannot be drawn")?,
            learned: picture(learned, (low, high))?,
            change: picture(change, (-largest, largest))?,
        });
    }
    let (method, dataset) =
        (trained.experiment.setup.method, trained.experiment.setup.dataset.name());
    Ok(Some(Prototypes {
        title: format!("Class embeddings before and after training: {method} on {dataset}"),
        note: format!(
            "start and learned on one scale; change: black −{largest:.2}, grey 0, white +{largest:.2}"
        ),
        classes,
    }))
}

/// The smallest and the largest value.
fn range(rows: &[Vec<f32>]) -> (f32, f32) {
    let values = || rows.iter().flatten().copied();
    (values().fold(f32::INFINITY, f32::min), values().fold(f32::NEG_INFINITY, f32::max))
}
