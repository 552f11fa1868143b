//! The layers of a vision transformer: image [N, C, H, W] → the mean of its tokens [N, W].

use std::f64::consts::FRAC_2_SQRT_PI;

use noprop_kernels::LayerNorm;
use noprop_models::{HEAD, ImageShape};

use crate::error::Result;
use crate::graph::{Attribute, Value};
use crate::layers::Builder;

/// The tokens of `image`, averaged.
pub(crate) fn pooled(
    builder: &mut Builder,
    place: &str,
    (shape, depth, patch): (ImageShape, usize, usize),
    image: &Value,
) -> Result<Value> {
    let tokens = (shape.height / patch) * (shape.width / patch);
    let mut x = patches(builder, place, (shape.channels, patch), image)?;
    let (_, positions) = builder.weights.take(&format!("{place}.positions"))?;
    let width = positions.len() / tokens.max(1);
    let graph = &mut builder.graph;
    let positions = graph.tensor(&format!("{place}.positions"), &[tokens, width], &positions);
    x = graph.op("Add", &[&x, &positions]);
    for layer in 1..=depth {
        let place = format!("{place}.layer{layer}");
        let normal = norm(builder, &format!("{place}.norm1"), &x)?;
        let attention = attention(builder, &place, (tokens, width), &normal)?;
        x = builder.graph.op("Add", &[&x, &attention]);
        let normal = norm(builder, &format!("{place}.norm2"), &x)?;
        let [wide, narrow] = ["fc1", "fc2"].map(|name| builder.linear(&format!("{place}.{name}")));
        let inner = builder.graph.apply(&wide?, &normal);
        let inner = gelu(builder, &inner);
        let inner = builder.graph.apply(&narrow?, &inner);
        x = builder.graph.op("Add", &[&x, &inner]);
    }
    let x = norm(builder, &format!("{place}.layer_norm"), &x)?;
    Ok(builder.graph.mean(&x))
}

/// [N, C, H, W] → [N, tokens, W]. A linear layer on patches is a convolution whose windows do not overlap.
fn patches(
    builder: &mut Builder,
    place: &str,
    (channels, patch): (usize, usize),
    image: &Value,
) -> Result<Value> {
    let place = format!("{place}.tokens");
    let layer = builder.weights.linear(&place)?;
    let (graph, width) = (&mut builder.graph, layer.outputs());
    let shape = [width, channels, patch, patch];
    let weight = graph.tensor(&format!("{place}.weight"), &shape, &layer.weight);
    let bias = graph.bias(&layer);
    let window = || Attribute::Ints(vec![patch as i64; 2]);
    let settings = [("kernel_shape", window()), ("strides", window())];
    let x = graph.op_with("Conv", &[image, &weight, &bias], settings);
    let rows = graph.integers(&[0, width as i64, -1]);
    let x = graph.op("Reshape", &[&x, &rows]);
    Ok(graph.op_with("Transpose", &[&x], [("perm", Attribute::Ints(vec![0, 2, 1]))]))
}

fn norm(builder: &mut Builder, place: &str, x: &Value) -> Result<Value> {
    let mut list = |word: &str| -> Result<Value> {
        let name = format!("{place}.{word}");
        let (shape, values) = builder.weights.take(&name)?;
        Ok(builder.graph.tensor(&name, &shape, &values))
    };
    let (scale, shift) = (list("gamma")?, list("beta")?);
    let settings =
        [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(LayerNorm::default().eps))];
    Ok(builder.graph.op_with("LayerNormalization", &[x, &scale, &shift], settings))
}

/// softmax(q kᵀ / √32) v for each head of 32 numbers, and a linear layer.
fn attention(
    builder: &mut Builder,
    place: &str,
    (tokens, width): (usize, usize),
    x: &Value,
) -> Result<Value> {
    let qkv = builder.linear(&format!("{place}.qkv"))?;
    let out = builder.linear(&format!("{place}.out"))?;
    let graph = &mut builder.graph;
    let qkv = graph.apply(&qkv, x);
    let parts: [Value; 3] = graph.ops_with("Split", &[&qkv], [("axis", Attribute::Int(-1))]);
    let by_head = graph.integers(&[0, tokens as i64, (width / HEAD) as i64, HEAD as i64]);
    // [N, heads, tokens, 32], the keys [N, heads, 32, tokens].
    let [q, k, v] = [vec![0, 2, 1, 3], vec![0, 2, 3, 1], vec![0, 2, 1, 3]].map(Attribute::Ints);
    let [queries, keys, values] = parts;
    let [q, k, v] = [(queries, q), (keys, k), (values, v)].map(|(part, order)| {
        let heads = graph.op("Reshape", &[&part, &by_head]);
        graph.op_with("Transpose", &[&heads], [("perm", order)])
    });
    let scale = graph.number((HEAD as f64).sqrt().recip());
    let q = graph.op("Mul", &[&q, &scale]);
    let scores = graph.op("MatMul", &[&q, &k]);
    let shares = graph.softmax(&scores);
    let mixed = graph.op("MatMul", &[&shares, &v]);
    let order = Attribute::Ints(vec![0, 2, 1, 3]);
    let mixed = graph.op_with("Transpose", &[&mixed], [("perm", order)]);
    let joined = graph.integers(&[0, tokens as i64, width as i64]);
    let mixed = graph.op("Reshape", &[&mixed, &joined]);
    Ok(graph.apply(&out, &mixed))
}

/// GELU in the form with tanh, ½ v (1 + tanh(√(2/π) (v + 0.044715 v³))). The operator of that name is younger than the opset.
fn gelu(builder: &mut Builder, v: &Value) -> Value {
    let graph = &mut builder.graph;
    let inner = graph.number(FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
    let [cube, one, half] = [0.044_715, 1.0, 0.5].map(|value| graph.number(value));
    let square = graph.op("Mul", &[v, v]);
    let scaled = graph.op("Mul", &[&square, &cube]);
    let sum = graph.op("Add", &[&scaled, &one]);
    let product = graph.op("Mul", &[&sum, v]);
    let angle = graph.op("Mul", &[&product, &inner]);
    let tanh = graph.op("Tanh", &[&angle]);
    let share = graph.op("Add", &[&tanh, &one]);
    let twice = graph.op("Mul", &[v, &share]);
    graph.op("Mul", &[&twice, &half])
}
