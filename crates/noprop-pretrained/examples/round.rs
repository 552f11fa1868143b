//! Rounds the weights of a finished MNIST run to half precision, and measures the accuracy of what is left:
//! `cargo run -p noprop-pretrained --example round -- RUN DATA-DIR OUT`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::Device;
use half::f16;
use noprop_data::DatasetName;
use noprop_experiment::{Classifier, Trained};
use noprop_train::{evaluate, read_weights};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

#[expect(clippy::print_stdout, reason = "an example answers on stdout")]
fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [run, data, out] = arguments.as_slice() else {
        anyhow::bail!("name a run, the folder of the data sets, and the file to write");
    };
    let exact = Trained::open(run, &Device::Cpu)?;
    let bytes = rounded(&exact.run.model())?;
    std::fs::write(out, &bytes)?;

    let test = noprop_data::load(DatasetName::Mnist, data)?.test;
    let test = exact.experiment.seen(&test)?;
    let sampler = exact.experiment.setup.sampler();
    let before = evaluate(&exact.network, &*exact.method, &test, &sampler)?;
    let after = Classifier::of_weights(out, &bytes, &Device::Cpu)?;
    let (network, method) = after.model();
    let after = evaluate(network, method, &test, &sampler)?;
    let shares = |shares: &[f64]| {
        shares.iter().map(|share| format!("{:.2}", 100.0 * share)).collect::<Vec<_>>().join(", ")
    };
    println!("{} bytes", bytes.len());
    println!(
        "test accuracy before {:.2} %, after {:.2} %",
        100.0 * before.accuracy(),
        100.0 * after.accuracy()
    );
    println!("blocks {}", shares(&after.per_block));
    let others = before.predictions.iter().zip(&after.predictions).filter(|(a, b)| a != b).count();
    println!("{others} of {} answers differ", after.total);
    Ok(())
}

/// Returns a weights file as one in half precision, with the same names and metadata.
fn rounded(path: &Path) -> Result<Vec<u8>> {
    let weights = read_weights(path)?;
    let halves: Vec<(String, Vec<usize>, Vec<u8>)> = weights
        .tensors
        .into_iter()
        .map(|(name, tensor)| {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            let bytes = values.into_iter().flat_map(|value| f16::from_f32(value).to_le_bytes());
            Ok((name, tensor.dims().to_vec(), bytes.collect()))
        })
        .collect::<Result<_>>()?;
    let views = halves
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F16, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    let settings = weights.metadata.context("the weights do not carry their settings")?;
    let metadata = Some([("noprop".to_owned(), settings)].into());
    Ok(safetensors::serialize(views, metadata)?)
}
