//! `noprop predict`: which class a picture belongs to, and what each block thought on the way.

use anyhow::Result;
use candle_core::{D, Tensor};
use noprop_data::picture::{self, Polarity};
use noprop_method::{Sampler, Seed, classify};

use crate::args::Predict;
use crate::output::answer;
use crate::trained::Trained;

/// Blocks named one by one in the readable answer; the JSON has them all.
const CLASSES_SHOWN: usize = 3;

pub fn run(args: &Predict) -> Result<()> {
    let device = args.compute.device.open()?;
    let trained = Trained::open(&args.run, &device)?;
    let images = trained.config.images()?;
    let wanted = (images.channels, images.height, images.width);
    let normalization = trained.config.normalization()?;
    let polarity = if args.invert { Polarity::Inverted } else { Polarity::AsIs };
    let (kind, runs, seed) = (args.sampler, args.runs, Seed(args.seed));
    let integration = trained.config.integration_of(args.solver, args.steps)?;
    let sampler = Sampler { kind, runs, seed, integration };
    // All pictures are opened before the first answer, so that a bad one does not leave half a list.
    let pictures = args
        .pictures
        .iter()
        .map(|path| {
            let picture = picture::open(path, wanted, polarity)?;
            let seen = match &normalization {
                Some(normalization) => normalization.apply(&picture)?,
                None => picture,
            };
            Ok((path, seen.to_device(&device)?))
        })
        .collect::<Result<Vec<_>>>()?;
    let name = |class: u32| images.class_names.get(class as usize).map_or("?", String::as_str);
    for (path, picture) in pictures {
        // Every picture is image number 0: its answer does not depend on what else was asked.
        let answer = classify(&trained.network, &*trained.objective, &picture, &[0], &sampler)?;
        let probabilities = answer.probabilities.squeeze(0)?.to_vec1::<f32>()?;
        let label = top(&answer.probabilities)?;
        let per_block = answer.per_block.iter().map(top).collect::<Result<Vec<_>>>()?;
        if args.json {
            answer!(
                "{}",
                serde_json::json!({
                    "path": path.to_string_lossy(),
                    "label": label,
                    "class": name(label),
                    "probabilities": probabilities,
                    "per_block": per_block,
                })
            )?;
            continue;
        }
        let mut ranked: Vec<(u32, f32)> = (0..).zip(probabilities).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let ranked: Vec<String> = ranked
            .iter()
            .take(CLASSES_SHOWN)
            .map(|&(class, p)| format!("{} {:.1} %", name(class), 100.0 * p))
            .collect();
        let blocks: Vec<&str> = per_block.iter().map(|&label| name(label)).collect();
        answer!("{}: {}", path.display(), name(label))?;
        answer!("  probabilities {}", ranked.join(", "))?;
        if blocks.len() > 1 {
            answer!("  blocks 1 to {}: {}", blocks.len(), blocks.join(" "))?;
        }
    }
    Ok(())
}

fn top(probabilities: &Tensor) -> Result<u32> {
    Ok(probabilities.argmax(D::Minus1)?.squeeze(0)?.to_scalar()?)
}
