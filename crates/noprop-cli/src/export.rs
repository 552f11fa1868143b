//! `noprop export`: a run as one file for programs in other languages.

use anyhow::Result;
use candle_core::Device;
use noprop_experiment::shell::shown_path;
use noprop_experiment::{Existing, Trained};
use noprop_onnx::{ExportError, Model, OPSET, Port};

use crate::args::{Export, Format};
use crate::output::answer;

pub fn run(args: &Export) -> Result<()> {
    match args.format {
        Format::Onnx => onnx(args),
    }
}

fn onnx(args: &Export) -> Result<()> {
    let existing = if args.force { Existing::Replace } else { Existing::Refuse };
    if existing == Existing::Refuse && args.out.exists() {
        return Err(ExportError::Exists(args.out.clone()).into());
    }
    let trained = Trained::open(&args.run, &Device::Cpu)?;
    // The noise is an input of the model, so there is no seed.
    let sampler = args.classify.sampling(0).of(&trained.experiment.setup)?;
    let model = Model::new(&trained, &sampler)?;
    model.write(&args.out, existing)?;
    let listed = |ports: &[Port]| ports.iter().map(Port::to_string).collect::<Vec<_>>();
    let (inputs, outputs) = (listed(&model.inputs), listed(&model.outputs));
    if args.json {
        let shape = |port: &Port| (port.name.to_owned(), port.shape.clone().into());
        let shapes = |ports: &[Port]| -> serde_json::Map<String, serde_json::Value> {
            ports.iter().map(shape).collect()
        };
        return answer!(
            "{}",
            serde_json::json!({
                "path": args.out.to_string_lossy(),
                "bytes": model.bytes.len(),
                "opset": OPSET,
                "inputs": shapes(&model.inputs),
                "outputs": shapes(&model.outputs),
            })
        );
    }
    answer!(
        "{}: {:.1} MB, opset {OPSET}; {} → {}",
        shown_path(&args.out),
        model.bytes.len() as f64 / 1e6,
        inputs.join(", "),
        outputs.join(", ")
    )
}
