//! The step from the last embeddings to class probabilities.

use noprop_method::{Denoiser, Method, MethodKind, Readout};
use noprop_models::Network;

use crate::error::{ExportError, Result};
use crate::graph::{Graph, Value};
use crate::layers::Builder;

/// The class embeddings.
pub(crate) struct Embeddings {
    /// W_embed in the graph, [classes, d].
    pub rows: Value,
    pub classes: usize,
    /// d.
    pub dimension: usize,
    /// Its values in row-major order.
    values: Vec<f32>,
}

impl Embeddings {
    /// Those of `network`.
    pub fn new(graph: &mut Graph, network: &Network) -> Result<Self> {
        let rows = network.class_embeddings().detach();
        let (classes, dimension) = rows.dims2()?;
        let values: Vec<f32> = rows.flatten_all()?.to_vec1()?;
        let rows = graph.tensor("embedding.weight", &[classes, dimension], &values);
        Ok(Self { rows, classes, dimension, values })
    }
}

/// Probabilities ∝ exp(−`sharpness` ‖z − `length` u‖² / 2) of the classes, whose embeddings are u: […, d] → […, classes].
fn by_distance(
    graph: &mut Graph,
    embeddings: &Embeddings,
    z: &Value,
    (sharpness, length): (f64, f64),
) -> Value {
    let &Embeddings { classes, dimension, ref values, .. } = embeddings;
    let row = |class: usize| values.iter().skip(class * dimension).take(dimension);
    let columns: Vec<f64> = (0..dimension)
        .flat_map(|index| values.iter().skip(index).step_by(dimension.max(1)))
        .map(|value| sharpness * length * f64::from(*value))
        .collect();
    // ‖z‖², which all classes share, is left out.
    let squares: Vec<f64> = (0..classes)
        .map(|class| row(class).map(|value| (length * f64::from(*value)).powi(2)).sum::<f64>())
        .map(|square| -0.5 * sharpness * square)
        .collect();
    let columns = graph.numbers(&[dimension, classes], &columns);
    let squares = graph.numbers(&[classes], &squares);
    let products = graph.op("MatMul", &[z, &columns]);
    let logits = graph.op("Add", &[&products, &squares]);
    graph.softmax(&logits)
}

/// Probabilities ∝ exp(−‖z − u‖²): the answer of flow matching, and what its blocks believe.
pub(crate) fn nearest(graph: &mut Graph, embeddings: &Embeddings, z: &Value) -> Value {
    by_distance(graph, embeddings, z, (2.0, 1.0))
}

/// The class probabilities […, classes] of the last embeddings `z` […, d].
pub(crate) fn probabilities(
    builder: &mut Builder,
    (kind, readout): (MethodKind, Readout),
    (method, network): (&dyn Method, &Network),
    embeddings: &Embeddings,
    z: &Value,
) -> Result<Value> {
    if kind == MethodKind::FM {
        return Ok(nearest(&mut builder.graph, embeddings, z));
    }
    match readout {
        Readout::Softmax => linear(builder, z),
        Readout::Posterior { sigma } => {
            let probabilities = linear(builder, z)?;
            let graph = &mut builder.graph;
            let point = graph.op("MatMul", &[&probabilities, &embeddings.rows]);
            Ok(by_distance(graph, embeddings, &point, (sigma.powi(-2), 1.0)))
        }
        Readout::Bayes => {
            let levels = method.noise_levels(network, 1)?;
            let last = levels.as_ref().and_then(|levels| levels.schedule.alpha_bars().last());
            let alpha_bar = *last.ok_or_else(|| unsupported(readout))?;
            let numbers = ((1.0 - alpha_bar).recip(), alpha_bar.sqrt());
            Ok(by_distance(&mut builder.graph, embeddings, z, numbers))
        }
        other => Err(unsupported(other)),
    }
}

/// softmax of the trained layer.
pub(crate) fn linear(builder: &mut Builder, z: &Value) -> Result<Value> {
    let readout = builder.linear("readout")?;
    let logits = builder.graph.apply(&readout, z);
    Ok(builder.graph.softmax(&logits))
}

fn unsupported(readout: Readout) -> ExportError {
    ExportError::Unsupported { setting: "readout", value: readout.to_string() }
}
