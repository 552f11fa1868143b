//! `noprop export`: a run for other programs.

use anyhow::{Result, ensure};
use candle_core::Device;
use noprop_experiment::shell::{quoted, shown_path};
use noprop_experiment::{Error, Existing, Source, Tested, Trained, write_hub_folder};
use noprop_onnx::{ExportError, Model, OPSET, Port};
use noprop_train::RunDirectory;

use crate::args::{Export, Format};
use crate::output::answer;

pub fn run(args: &Export) -> Result<()> {
    match args.format {
        Format::Onnx => onnx(args),
        Format::Hub => hub(args),
    }
}

fn hub(args: &Export) -> Result<()> {
    ensure!(!args.force, "--force is for --format onnx: a folder is never replaced");
    ensure!(
        !args.classify.is_asked_for(),
        "--sampler, --runs, --steps and --solver are for --format onnx: a folder holds the weights, which classify in any way"
    );
    let license = args.license.clone().unwrap_or_default();
    write_hub_folder(args.run.as_ref(), &args.out, &license)?;
    if args.json {
        let path = args.out.to_string_lossy();
        return answer!("{}", serde_json::json!({ "path": path, "license": license.to_string() }));
    }
    let out = shown_path(&args.out);
    answer!("{out}: licence {license}; upload it with: hf upload OWNER/NAME {}", quoted(&args.out))
}

fn onnx(args: &Export) -> Result<()> {
    ensure!(args.license.is_none(), "--license is for --format hub");
    ensure!(
        !RunDirectory::is_of_a_run(&args.out),
        "{} is a file of a run, which an export would destroy: choose another --out",
        shown_path(&args.out)
    );
    let existing = if args.force { Existing::Replace } else { Existing::Refuse };
    if existing == Existing::Refuse && args.out.exists() {
        return Err(ExportError::Exists(args.out.clone()).into());
    }
    let trained = Trained::open(&args.run, &Device::Cpu)?;
    // A program that trains in memory tests as it likes.
    let is_of_program = trained.experiment.setup.dataset == Source::Memory;
    if !is_of_program && Tested::of(&trained)?.is_none() {
        return Err(Error::NotFinished { run: trained.run.path().into() }.into());
    }
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
