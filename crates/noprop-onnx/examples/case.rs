//! Writes a run as ONNX, and beside it images, noise and noprop's own answers to them, for a test in another language to compare:
//! `cargo run -p noprop-onnx --example case -- RUN FOLDER SAMPLER RUNS [SOLVER STEPS]`.
//!
//! FOLDER gets `model.onnx` and `case.npz` with `image`, `noise` (if the method has a chain), `probabilities` and `per_block` (if blocks
//! have class probabilities), in the shapes of the model.

use std::path::PathBuf;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use noprop_experiment::{Existing, Moved, Sampling, Trained, test_images};
use noprop_kernels::random::normal_rows;
use noprop_method::{Sampler, classify};
use noprop_onnx::Model;

/// The most images.
const IMAGES: u32 = 64;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [run, folder, sampler, runs, path @ ..] = &*args else {
        anyhow::bail!("RUN FOLDER SAMPLER RUNS [SOLVER STEPS]")
    };
    let mut sampling =
        Sampling { kind: sampler.parse()?, runs: runs.parse()?, ..Sampling::default() };
    if let [solver, steps] = path {
        sampling =
            Sampling { solver: Some(solver.parse()?), steps: Some(steps.parse()?), ..sampling };
    }
    let (folder, trained) = (PathBuf::from(folder), Trained::open(run, &Device::Cpu)?);
    let sampler = sampling.of(&trained.experiment.setup)?;
    let model = Model::new(&trained, &sampler)?;
    model.write(&folder.join("model.onnx"), Existing::Replace)?;

    let images = test_images(run, &Moved::default())?;
    // Data sets may hold their classes one after another.
    let count = images.len() as u32;
    let rows: Vec<u32> = (0..count).step_by(count.div_ceil(IMAGES).max(1) as usize).collect();
    let (image, _) = images.batch(&rows)?;
    let (seen, _) = trained.experiment.seen(&images)?.batch(&rows)?;
    let answer = classify(&trained.network, &*trained.method, &seen, &rows, &sampler)?;
    let mut arrays = vec![("image", image), ("probabilities", answer.probabilities)];
    if !answer.per_block.is_empty() {
        arrays.push(("per_block", Tensor::stack(&answer.per_block, 1)?));
    }
    if let Some(noise) = model.inputs.iter().find(|input| input.name == "noise") {
        let [_, draws, width] = *noise.shape else { anyhow::bail!("noise of another shape") };
        arrays.push(("noise", noise_of(&sampler, &rows, (draws, width))?));
    }
    let file = folder.join("case.npz");
    Tensor::write_npz(&arrays, &file).with_context(|| format!("cannot write {}", file.display()))
}

/// The noise that noprop draws for images `rows`: [N, runs, draws, width].
fn noise_of(sampler: &Sampler, rows: &[u32], (draws, width): (usize, usize)) -> Result<Tensor> {
    let mut chains = Vec::new();
    for run in 0..sampler.runs.get() {
        let key = |draw: usize| match draw {
            0 => sampler.seed.sampler_start(run),
            step => sampler.seed.sampler_step(run, step),
        };
        let drawn = (0..draws).map(|draw| normal_rows(key(draw), rows, width, &Device::Cpu));
        chains.push(Tensor::stack(&drawn.collect::<Result<Vec<_>, _>>()?, 1)?);
    }
    Ok(Tensor::stack(&chains, 1)?)
}
