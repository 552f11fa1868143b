//! The whole model: image and noise → class probabilities.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{ErrorKind, Write};
use std::path::Path;

use noprop_experiment::{Existing, Sampling, Tested, Trained};
use noprop_files::{write_atomically, write_new};
use noprop_method::{Denoiser, Method, MethodKind, Part, Sampler};
use noprop_models::ImageShape;
use prost::Message;

use crate::block::Block;
use crate::chain::{Chain, End};
use crate::encoder::{EncoderSettings, encode};
use crate::error::{ExportError, Result};
use crate::graph::{Attribute, Graph, Port, Value};
use crate::layers::Builder;
use crate::metadata;
use crate::proto::{ModelProto, OperatorSetIdProto};
use crate::readout::{Embeddings, linear, probabilities};
use crate::steps::Steps;
use crate::weights::Weights;

/// The version of ONNX's operators: the first with layer norm.
pub const OPSET: u32 = 17;
/// The version of the file format that came with it.
const IR_VERSION: i64 = 8;
/// A protocol buffer has less than 2 GiB. Nodes and names need a small part of it.
const MOST_BYTES: usize = 2_000_000_000;

/// A trained network as an ONNX model.
#[derive(Debug)]
pub struct Model {
    /// The inputs: `image`, pixels in 0..=1, and `noise`, if the method has a chain.
    pub inputs: Vec<Port>,
    /// The outputs: `probabilities`, and `per_block`, if blocks have class probabilities.
    pub outputs: Vec<Port>,
    /// The file.
    pub bytes: Vec<u8>,
}

impl Model {
    /// Writes the chain of a trained run, as `sampler` walks it, as a graph. A sampler without an integration has that of the run. Its seed is
    /// not looked at: the noise is an input.
    ///
    /// # Errors
    /// [`ExportError`] if the sampler does not fit the method, or if the network has no form in ONNX here.
    pub fn new(trained: &Trained, sampler: &Sampler) -> Result<Self> {
        let own = Sampling::default().of(&trained.experiment.setup)?.integration;
        let sampler = &Sampler { integration: sampler.integration.or(own), ..*sampler };
        let (weights, norm) = (Weights::of(&trained.network), trained.method.needs().norm);
        let mut builder = Builder { graph: Graph::default(), weights, norm };
        classifier(&mut builder, trained, sampler)?;
        let Builder { graph, weights, .. } = builder;
        weights.finish()?;
        let bytes = graph.bytes();
        if bytes > MOST_BYTES {
            return Err(ExportError::TooLarge { bytes, most: MOST_BYTES });
        }
        let (inputs, outputs) = graph.ports();
        let (inputs, outputs) = (inputs.to_vec(), outputs.to_vec());
        let file = ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("noprop".into()),
            producer_version: Some(env!("CARGO_PKG_VERSION").into()),
            doc_string: Some(metadata::SUMMARY.into()),
            graph: Some(graph.finish("noprop")),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(OPSET.into()),
            }],
            metadata_props: metadata::of(trained, sampler, &inputs, Tested::of(trained)?)?,
        };
        Ok(Self { inputs, outputs, bytes: file.encode_to_vec() })
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`ExportError::Exists`] if there is one and it is not to be replaced, [`ExportError::Write`] if it cannot be written.
    pub fn write(&self, path: &Path, existing: Existing) -> Result<()> {
        let bytes = |file: &mut dyn Write| file.write_all(&self.bytes);
        let written = match existing {
            Existing::Refuse => write_new(path, bytes),
            Existing::Replace => write_atomically(path, bytes),
        };
        written.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => ExportError::Exists(path.into()),
            _ => ExportError::Write { path: path.into(), source },
        })
    }
}

/// Puts the network and its chain into the graph.
fn classifier(builder: &mut Builder, trained: &Trained, sampler: &Sampler) -> Result<()> {
    let Trained { experiment, network, method, .. } = trained;
    let setup = &experiment.setup;
    let (channels, height, width) = experiment.images.shape();
    let shape = vec![channels, height, width];
    let image =
        builder.graph.input(Port { name: "image", shape, meaning: "pixels in 0..=1, by row" });
    let image = match experiment.normalization()? {
        Some(known) => normalised(&mut builder.graph, &image, known.mean(), known.std()),
        None => image,
    };
    let settings = EncoderSettings {
        backbone: setup.network,
        image: ImageShape { channels, height, width },
        padding: setup.padding,
    };
    // By block; one that is shared is computed once.
    let mut by_part = BTreeMap::new();
    let mut features = Vec::new();
    for block in 1..=network.blocks() {
        let part = network.encoder_part(block);
        let known: &Value = match by_part.entry(part) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                new.insert(encode(builder, settings, &format!("{part}.image"), &image)?)
            }
        };
        features.push(known.clone());
    }
    let steps = Steps::of(setup.method, (&**method, network), sampler, &mut builder.weights)?;
    match (steps, &*features) {
        (Some(steps), _) => chain(builder, trained, sampler, &steps, settings, &features)?,
        (None, [features]) => {
            let answer = linear(builder, features)?;
            outputs(&mut builder.graph, trained, &answer, &[]);
        }
        (None, _) => return Err(ExportError::Missing("readout.weight".into())),
    }
    // Constants stand in their place.
    builder.weights.leave_out(Part::Embedding);
    builder.weights.leave_out(Part::Schedule);
    if setup.method == MethodKind::FM {
        // It keeps embeddings apart in training, and does not classify.
        builder.weights.leave_out(Part::Readout);
    }
    Ok(())
}

/// Puts blocks, steps and readout behind the features of the images, one for each block.
fn chain(
    builder: &mut Builder,
    trained: &Trained,
    sampler: &Sampler,
    steps: &Steps,
    settings: EncoderSettings,
    features: &[Value],
) -> Result<()> {
    let Trained { experiment, network, method, .. } = trained;
    let setup = &experiment.setup;
    let chains = sampler.runs.get() as usize;
    let embeddings = Embeddings::new(&mut builder.graph, network)?;
    let mut blocks = BTreeMap::new();
    for (block, features) in (1..).zip(features) {
        let (place, needs) = (Part::Block(block).to_string(), method.needs());
        let (label, images) = ((&needs, setup.embedding), (settings, chains));
        blocks.insert(block, Block::new(builder, &place, features, label, images)?);
    }
    let shape = vec![chains, steps.draws, embeddings.dimension];
    let meaning = "drawn from the standard normal distribution";
    let noise = &builder.graph.input(Port { name: "noise", shape, meaning });
    let walk = Chain { blocks: &blocks, embeddings: &embeddings, steps, noise };
    let End { z, beliefs } = walk.walk(&mut builder.graph)?;
    let rule = (setup.method, setup.readout);
    let answer = probabilities(builder, rule, (&**method, network), &embeddings, &z)?;
    let graph = &mut builder.graph;
    // Over the chains.
    let answer = graph.mean(&answer);
    let beliefs: Vec<Value> = beliefs.iter().map(|belief| graph.mean(belief)).collect();
    outputs(graph, trained, &answer, &beliefs);
    Ok(())
}

/// Declares the class probabilities of the answer and of each block, [N, classes] each.
fn outputs(graph: &mut Graph, trained: &Trained, answer: &Value, beliefs: &[Value]) {
    let classes = trained.experiment.images.class_names.len();
    let meaning = "class probabilities";
    graph.output(Port { name: "probabilities", shape: vec![classes], meaning }, answer);
    if beliefs.is_empty() {
        return;
    }
    let one = graph.integers(&[1]);
    let rows: Vec<Value> =
        beliefs.iter().map(|belief| graph.op("Unsqueeze", &[belief, &one])).collect();
    let rows: Vec<&Value> = rows.iter().collect();
    let joined = graph.op_with("Concat", &rows, [("axis", Attribute::Int(1))]);
    let (shape, meaning) =
        (vec![rows.len(), classes], "class probabilities of each block in its last step");
    graph.output(Port { name: "per_block", shape, meaning }, &joined);
}

/// (image − mean) / std of each channel.
fn normalised(graph: &mut Graph, image: &Value, mean: &[f64], std: &[f64]) -> Value {
    let factors: Vec<f64> = std.iter().map(|std| std.recip()).collect();
    let mean = graph.numbers(&[mean.len(), 1, 1], mean);
    let factors = graph.numbers(&[factors.len(), 1, 1], &factors);
    let centred = graph.op("Sub", &[image, &mean]);
    graph.op("Mul", &[&centred, &factors])
}
