//! A graph under construction: nodes in the order of work, each with a name for its result.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::Result;
use crate::proto::{
    AttributeProto, DimensionProto, GraphProto, NodeProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto, attribute, element,
};

/// The name of a tensor in a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value(String);

impl fmt::Display for Port {
    /// Writes name and shape, as in `image [N, 1, 28, 28]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [N", self.name)?;
        self.shape.iter().try_for_each(|length| write!(f, ", {length}"))?;
        f.write_str("]")
    }
}

/// A setting of a node.
pub(crate) enum Attribute {
    Int(i64),
    Float(f64),
    Ints(Vec<i64>),
    Graph(GraphProto),
}

/// An input or output of a graph, f32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: &'static str,
    /// Its dimensions after N, the number of images.
    pub shape: Vec<usize>,
    /// Its values in words.
    pub meaning: &'static str,
}

/// A graph under construction.
#[derive(Default)]
pub(crate) struct Graph {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    /// Small constants by their bits, each of which stands in the graph once.
    numbers: BTreeMap<(i32, Vec<usize>, Vec<u8>), Value>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// Names that were given.
    named: usize,
}

impl Graph {
    /// An input of the graph.
    pub fn input(&mut self, port: Port) -> Value {
        let value = Value(port.name.into());
        self.inputs.push(port);
        value
    }

    /// An output of the graph that is equal to `value`.
    pub fn output(&mut self, port: Port, value: &Value) {
        self.node("Identity", &[value], vec![port.name.into()], []);
        self.outputs.push(port);
    }

    /// The inputs and the outputs.
    pub fn ports(&self) -> (&[Port], &[Port]) {
        (&self.inputs, &self.outputs)
    }

    /// The result of an operator without settings.
    pub fn op(&mut self, op: &str, inputs: &[&Value]) -> Value {
        self.op_with(op, inputs, [])
    }

    /// The result of an operator.
    pub fn op_with<const A: usize>(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: [(&str, Attribute); A],
    ) -> Value {
        let [result] = self.ops_with(op, inputs, attributes);
        result
    }

    /// The results of an operator that has several.
    pub fn ops_with<const A: usize, const N: usize>(
        &mut self,
        op: &str,
        inputs: &[&Value],
        attributes: [(&str, Attribute); A],
    ) -> [Value; N] {
        let results = std::array::from_fn(|_| self.name(&op.to_lowercase()));
        let outputs = results.iter().map(|Value(name)| name.clone()).collect();
        self.node(op, inputs, outputs, attributes);
        results
    }

    fn node<const A: usize>(
        &mut self,
        op: &str,
        inputs: &[&Value],
        outputs: Vec<String>,
        attributes: [(&str, Attribute); A],
    ) {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|Value(name)| name.clone()).collect(),
            name: outputs.first().cloned(),
            output: outputs,
            op_type: Some(op.into()),
            attribute: attributes.into_iter().map(|(name, value)| value.proto(name)).collect(),
        });
    }

    /// A new name.
    fn name(&mut self, stem: &str) -> Value {
        self.named += 1;
        Value(format!("{stem}_{}", self.named))
    }

    /// A constant tensor with a name of its own, in row-major order.
    pub fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        self.constant(name, shape, element::FLOAT, floats(values.iter().copied()))
    }

    /// A small constant tensor, in row-major order.
    pub fn numbers(&mut self, shape: &[usize], values: &[f64]) -> Value {
        self.small(shape, element::FLOAT, floats(values.iter().map(|&value| value as f32)))
    }

    /// A constant number.
    pub fn number(&mut self, value: f64) -> Value {
        self.numbers(&[], &[value])
    }

    /// A constant list of whole numbers, such as a shape.
    pub fn integers(&mut self, values: &[i64]) -> Value {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.small(&[values.len()], element::INT64, bytes)
    }

    /// A constant whole number.
    pub fn integer(&mut self, value: i64) -> Value {
        self.small(&[], element::INT64, value.to_le_bytes().to_vec())
    }

    fn small(&mut self, shape: &[usize], data_type: i32, bytes: Vec<u8>) -> Value {
        let key = (data_type, shape.to_vec(), bytes);
        if let Some(known) = self.numbers.get(&key) {
            return known.clone();
        }
        let Value(name) = self.name("constant");
        let value = self.constant(&name, shape, data_type, key.2.clone());
        self.numbers.insert(key, value.clone());
        value
    }

    fn constant(&mut self, name: &str, shape: &[usize], data_type: i32, bytes: Vec<u8>) -> Value {
        self.constants.push(TensorProto {
            dims: shape.iter().map(|&length| length as i64).collect(),
            data_type: Some(data_type),
            name: Some(name.into()),
            raw_data: Some(bytes),
        });
        Value(name.into())
    }

    /// Repeats `body` for each row of `rows`, tensors that are each cut along an axis. It is given the state and the rows' slices, and
    /// returns the next state. Returns the last state.
    pub fn scan(
        &mut self,
        state: &Value,
        rows: &[(Value, i64)],
        body: impl FnOnce(&mut Self, &Value, &[Value]) -> Result<Value>,
    ) -> Result<Value> {
        let before = self.name("state");
        let slices: Vec<Value> = rows.iter().map(|_| self.name("slice")).collect();
        let outside = std::mem::take(&mut self.nodes);
        let after = body(self, &before, &slices);
        let inside = std::mem::replace(&mut self.nodes, outside);
        // Their shapes are found when the graph is loaded.
        let bare = |Value(name): &Value| value_info(name, None);
        let Value(name) = self.name("body");
        let body = GraphProto {
            node: inside,
            name: Some(name),
            initializer: Vec::new(),
            input: std::iter::once(&before).chain(&slices).map(bare).collect(),
            output: vec![bare(&after?)],
        };
        let inputs: Vec<&Value> = std::iter::once(state).chain(rows.iter().map(|r| &r.0)).collect();
        let attributes = [
            ("body", Attribute::Graph(body)),
            ("num_scan_inputs", Attribute::Int(rows.len() as i64)),
            ("scan_input_axes", Attribute::Ints(rows.iter().map(|row| row.1).collect())),
        ];
        Ok(self.op_with("Scan", &inputs, attributes))
    }

    /// Bytes of its constants.
    pub fn bytes(&self) -> usize {
        self.constants.iter().filter_map(|tensor| tensor.raw_data.as_ref()).map(Vec::len).sum()
    }

    /// The finished graph.
    pub fn finish(self, name: &str) -> GraphProto {
        GraphProto {
            node: self.nodes,
            name: Some(name.into()),
            initializer: self.constants,
            input: self.inputs.iter().map(Port::proto).collect(),
            output: self.outputs.iter().map(Port::proto).collect(),
        }
    }
}

impl Attribute {
    fn proto(self, name: &str) -> AttributeProto {
        let empty = AttributeProto { name: Some(name.into()), ..AttributeProto::default() };
        match self {
            Self::Int(i) => AttributeProto { i: Some(i), r#type: Some(attribute::INT), ..empty },
            Self::Float(f) => {
                AttributeProto { f: Some(f as f32), r#type: Some(attribute::FLOAT), ..empty }
            }
            Self::Ints(ints) => AttributeProto { ints, r#type: Some(attribute::INTS), ..empty },
            Self::Graph(g) => {
                AttributeProto { g: Some(g), r#type: Some(attribute::GRAPH), ..empty }
            }
        }
    }
}

fn floats(values: impl Iterator<Item = f32>) -> Vec<u8> {
    values.flat_map(f32::to_le_bytes).collect()
}

/// The description of an f32 tensor.
fn value_info(name: &str, shape: Option<TensorShapeProto>) -> ValueInfoProto {
    let tensor = TensorTypeProto { elem_type: Some(element::FLOAT), shape };
    let r#type = Some(TypeProto { tensor_type: Some(tensor) });
    ValueInfoProto { name: Some(name.into()), r#type, doc_string: None }
}

impl Port {
    fn proto(&self) -> ValueInfoProto {
        let images = DimensionProto { dim_value: None, dim_param: Some("N".into()) };
        let known = self
            .shape
            .iter()
            .map(|&length| DimensionProto { dim_value: Some(length as i64), dim_param: None });
        let shape = TensorShapeProto { dim: std::iter::once(images).chain(known).collect() };
        let doc_string = Some(self.meaning.into());
        ValueInfoProto { doc_string, ..value_info(self.name, Some(shape)) }
    }
}
