//! What a model says about itself.

use noprop_experiment::{Tested, Trained};
use noprop_method::{Sampler, SamplerKind};

use crate::error::Result;
use crate::graph::Port;
use crate::proto::StringStringEntryProto;

/// The model in a sentence.
pub(crate) const SUMMARY: &str = "An image classifier by NoProp: a chain of blocks that leads from noise to a class. Draw the input noise, if there is one, \
     from the standard normal distribution; the same noise gives the same answer.";

/// Settings, classes and accuracy of a trained run, and the sampler of its chain, as keys and values.
pub(crate) fn of(
    trained: &Trained,
    sampler: &Sampler,
    inputs: &[Port],
    tested: Option<Tested>,
) -> Result<Vec<StringStringEntryProto>> {
    let (setup, images) = (&trained.experiment.setup, &trained.experiment.images);
    let mut entries = Vec::new();
    let mut add = |key: &str, value: String| {
        entries.push(StringStringEntryProto { key: Some(key.into()), value: Some(value) });
    };
    add("noprop_version", env!("CARGO_PKG_VERSION").into());
    add("class_names", serde_json::json!(images.class_names).to_string());
    add("method", setup.method.to_string());
    add("sampler", sampler.kind.to_string());
    add("runs", sampler.runs.to_string());
    if let Some(path) = sampler.integration {
        add("solver", path.solver.to_string());
        add("steps", path.steps.to_string());
    }
    if let Some(noise) = inputs.iter().find(|input| input.name == "noise") {
        add("noise", format!("{noise}, float32, {}", noise.meaning));
    }
    if let Some(tested) = tested {
        add("test_accuracy", tested.accuracy.to_string());
        // Whatever sampler the file has.
        add("test_accuracy_sampler", SamplerKind::Mean.to_string());
    }
    // The file may go anywhere, and the paths of this machine need not.
    add("settings", trained.experiment.without_paths().to_json()?);
    Ok(entries)
}
