//! Tests of the written bytes, without a program that runs them: `xtask/python/test_onnx.py` compares what they compute.

use std::collections::BTreeSet;

use candle_core::Device;
use noprop_experiment::{
    Experiment, Images, Layers, Measured, Preset, Sampling, Settings, Trained,
};
use noprop_method::{SamplerKind, Solver};
use noprop_train::RunDirectory;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::proto::{GraphProto, ModelProto, TensorProto, element};

/// The operators that are used, all of them of opset 17 or older.
const OPERATORS: [&str; 22] = [
    "Add",
    "Concat",
    "Conv",
    "Flatten",
    "Gather",
    "GlobalMaxPool",
    "Identity",
    "LayerNormalization",
    "MatMul",
    "MaxPool",
    "Mul",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Scan",
    "Slice",
    "Softmax",
    "Split",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// A run with untrained weights for colour images of 18 × 22 pixels.
fn run(settings: Value) -> (TempDir, Trained) {
    let settings: Settings = serde_json::from_value(settings).unwrap();
    let mut setup = Layers { settings, ..Layers::default() }
        .resolve(|_| Ok(Preset::MnistSample))
        .unwrap()
        .setup;
    setup.normalize = noprop_experiment::Normalize::Channel;
    let images = Images {
        channels: 3,
        height: 18,
        width: 22,
        class_names: ["a", "b", "c"].map(String::from).into(),
        sha256: String::new(),
        normalization: Some(Measured { mean: vec![0.5; 3], std: vec![0.2; 3] }),
        range: None,
    };
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.toml", "metrics.jsonl"] {
        std::fs::write(folder.path().join(file), "").unwrap();
    }
    let run = RunDirectory::open(folder.path()).unwrap();
    let experiment = Experiment { setup, images };
    let network = experiment.network(experiment.setup.fresh(&Device::Cpu)).unwrap();
    let method = experiment.setup.build_method().unwrap();
    (folder, Trained { run, experiment, network, method })
}

fn export(trained: &Trained, sampling: &Sampling) -> Result<Model> {
    Model::new(trained, &sampling.of(&trained.experiment.setup).unwrap())
}

/// Settings of every kind, the samplings of each, and the number of blocks with beliefs.
fn kinds() -> Vec<(Value, Vec<Sampling>, usize)> {
    let mean = Sampling::default();
    let noisy = Sampling { kind: SamplerKind::Stochastic, runs: 3.try_into().unwrap(), ..mean };
    let path = |solver, steps| Sampling { solver: Some(solver), steps: Some(steps), ..noisy };
    let posterior = vec![path(Solver::Posterior, 5), path(Solver::Posterior, 200)];
    let heun = vec![path(Solver::EULER, 5), path(Solver::HEUN, 200)];
    vec![
        (json!({"method": "dt", "steps": 2}), vec![mean, noisy], 2),
        (
            json!({"method": "dt", "steps": 2, "network": "vit:32,1,2", "readout": "bayes"}),
            vec![noisy],
            2,
        ),
        (json!({"method": "ct", "steps": 5, "network": "mlp:8,1"}), posterior, 1),
        (
            json!({"method": "ct", "steps": 9, "intervals": 3, "network": "mlp:8,1", "readout": "posterior:0.5"}),
            heun.clone(),
            3,
        ),
        (json!({"method": "fm", "network": "resnet:2", "embedding": "learned:4"}), heun.clone(), 1),
        (json!({"method": "fm", "steps": 3, "embedding": "prototype"}), vec![mean], 1),
        (json!({"method": "adjoint", "network": "mlp:8,1"}), heun, 0),
        (json!({"method": "backprop", "steps": 2, "encoder": "per-block"}), vec![noisy], 0),
        (json!({"method": "classifier", "network": "mlp:8,2"}), vec![mean], 0),
    ]
}

/// A reader finds what the writer put in, and a runtime can make every node in its turn. Two calls give the same bytes.
#[test]
fn the_bytes_are_a_graph_in_order() {
    let mut used = BTreeSet::new();
    for (settings, samplings, beliefs) in kinds() {
        let (_folder, trained) = run(settings.clone());
        for sampling in samplings {
            let model = export(&trained, &sampling).unwrap();
            let file = ModelProto::decode(&*model.bytes).unwrap();
            assert_eq!(file.encode_to_vec(), model.bytes);
            assert_eq!(export(&trained, &sampling).unwrap().bytes, model.bytes);
            assert_eq!(file.opset_import[0].version, Some(17));
            let graph = file.graph.unwrap();
            graph.initializer.iter().for_each(has_its_size);
            let mut known = BTreeSet::new();
            for tensor in &graph.initializer {
                let name = tensor.name.clone().unwrap();
                assert!(known.insert(name.clone()), "{settings}: two constants {name}");
            }
            in_order(&graph, &mut known, &mut used);
            let names: Vec<_> = model.outputs.iter().map(|port| port.name).collect();
            let expected =
                if beliefs == 0 { &["probabilities"][..] } else { &["probabilities", "per_block"] };
            assert_eq!(names, expected, "{settings}");
            assert!(model.outputs.iter().skip(1).all(|port| port.shape == [beliefs, 3]));
        }
    }
    // An operator that no kind uses would stand in the list for nothing.
    assert_eq!(used, OPERATORS.map(String::from).into());
}

/// Checks that the values of `graph` are made before they are used, and each once. `known` holds those of the graph around it.
fn in_order(graph: &GraphProto, known: &mut BTreeSet<String>, used: &mut BTreeSet<String>) {
    for input in &graph.input {
        assert!(known.insert(input.name.clone().unwrap()), "{input:?} is there twice");
    }
    for node in &graph.node {
        let op = node.op_type.clone().unwrap();
        let unknown = node.input.iter().find(|name| !known.contains(*name));
        assert_eq!(unknown, None, "{op}");
        for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            in_order(body, known, used);
        }
        for output in &node.output {
            assert!(known.insert(output.clone()), "{op} makes {output} again");
        }
        used.insert(op);
    }
    assert!(graph.output.iter().all(|output| known.contains(output.name.as_ref().unwrap())));
}

/// Checks that a tensor has as many bytes as its shape needs.
fn has_its_size(tensor: &TensorProto) {
    let elements: i64 = tensor.dims.iter().product();
    let each = match tensor.data_type.unwrap() {
        element::FLOAT => 4,
        element::INT64 => 8,
        other => panic!("{other}"),
    };
    assert_eq!(
        tensor.raw_data.as_ref().unwrap().len() as i64,
        each * elements,
        "{:?}",
        tensor.name
    );
}

/// A sampler that leaves the solver open walks as the run does: another solver would be another classifier.
#[test]
fn a_sampler_without_a_solver_has_that_of_the_run() {
    for settings in [
        json!({"method": "ct", "steps": 5, "solver": "heun", "network": "mlp:8,1"}),
        json!({"method": "fm", "steps": 3, "network": "resnet:2", "embedding": "learned:4"}),
    ] {
        let (_folder, trained) = run(settings.clone());
        let open = Model::new(&trained, &trained.experiment.setup.sampler()).unwrap();
        let own = export(&trained, &Sampling::default()).unwrap();
        assert!(open.bytes == own.bytes, "{settings}");
    }
}

/// A loop keeps a file small: its size does not grow with the steps, but for their times and factors.
#[test]
fn a_thousand_steps_are_a_small_file() {
    let (_folder, trained) = run(json!({"method": "ct", "network": "mlp:8,1"}));
    let size = |steps| {
        let sampling = Sampling { steps: Some(steps), ..Sampling::default() };
        export(&trained, &sampling).unwrap().bytes.len()
    };
    assert!(size(1000) < size(100) + 900 * 300, "{} {}", size(1000), size(100));
}

/// A layer that the graph forgets, or expects and does not find, would be another network.
#[test]
fn settings_that_do_not_fit_the_network_are_refused() {
    let (_folder, mut trained) = run(json!({"method": "dt", "steps": 2, "network": "mlp:8,2"}));
    let as_if = |trained: &mut Trained, network: &str| {
        trained.experiment.setup.network = network.parse().unwrap();
        export(trained, &Sampling::default()).unwrap_err()
    };
    let error = as_if(&mut trained, "mlp:8,1");
    assert!(matches!(&error, ExportError::Unused(name) if name.contains("fc2")), "{error}");
    let error = as_if(&mut trained, "mlp:8,3");
    assert!(matches!(&error, ExportError::Missing(name) if name.contains("fc3")), "{error}");
}
