//! The networks against Fig. 6 of the paper, written out layer by layer in plain candle.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use Layer::{BatchNorm, Conv, Fc, Flatten, MaxPool, Relu};
use candle_core::{D, Device, Result, Tensor};
use noprop_kernels::random::{StreamKey, normal, uniform};
use noprop_method::{
    BlockInput, Denoiser, EncoderKind, Needs, ParameterBuilder, ParameterKind, Part, Pass, Readout,
    Seed,
};
use noprop_models::{Embedding, ImageShape, Network, NetworkConfig};

const IMAGES: usize = 6;
const CLASSES: usize = 10;

/// A layer of the figure, with the width of its output. The number of inputs follows from the layer before. Dropout is left out: it
/// is for training.
#[derive(Debug, Clone, Copy)]
enum Layer {
    /// 3 × 3, no padding.
    Conv(usize),
    Relu,
    MaxPool,
    Flatten,
    Fc(usize),
    BatchNorm,
}

const CONVOLUTIONS: &[Layer] =
    &[Conv(32), Relu, MaxPool, Conv(64), Relu, Conv(128), Relu, MaxPool, Flatten];
const IMAGE_LEFT: &[Layer] = &[Fc(256), BatchNorm];
const IMAGE_RIGHT: &[Layer] = &[Fc(256), Relu];
const LABEL_LEFT: &[Layer] = &[Fc(256), BatchNorm, Relu];
const LABEL_LEFT_RESIDUAL: &[Layer] = &[Fc(256), BatchNorm, Relu, Fc(256), BatchNorm];
const LABEL_RIGHT: &[Layer] = &[Fc(256), Relu];
const TIME_RIGHT: &[Layer] = &[Fc(256), Relu];
const JOINT_LEFT: &[Layer] = &[Fc(256), BatchNorm, Relu, Fc(128), BatchNorm, Relu, Fc(CLASSES)];
const JOINT_RIGHT: &[Layer] = &[Fc(256), Relu, Fc(128), Relu, Fc(CLASSES)];

/// The side of the figure.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

/// The figure, run with the parameters of a built network.
struct Figure {
    /// Name and value of the parameters that no layer has taken yet, in the order of the layers.
    rest: Vec<(String, Tensor)>,
    /// Trainable numbers that layers have taken.
    trained: usize,
}

impl Figure {
    fn of(network: &Network) -> Self {
        let own = network.parameters().iter().filter(|parameter| {
            parameter.part == Part::Block(1) && !parameter.name.ends_with("mix.weight")
        });
        let own = own.map(|parameter| (parameter.name.clone(), parameter.var.as_detached_tensor()));
        Self { rest: own.collect(), trained: 0 }
    }

    /// The next parameter with this last name. It must have this shape.
    fn take(&mut self, name: &str, shape: &[usize]) -> Tensor {
        let mut rest = self.rest.iter();
        let next = rest.position(|(full, _)| full.rsplit('.').next() == Some(name));
        let (full, value) = self.rest.remove(next.unwrap());
        // The first dimension is that of blocks side by side.
        assert_eq!(&value.dims()[1..], shape, "{full}");
        if !["mean", "var"].contains(&name) {
            self.trained += value.elem_count();
        }
        value.squeeze(0).unwrap()
    }

    fn run(&mut self, layers: &[Layer], mut x: Tensor) -> Result<Tensor> {
        for &layer in layers {
            x = match layer {
                Conv(channels) => {
                    let weight = self.take("weight", &[channels, x.dim(1)?, 3, 3]);
                    let bias = self.take("bias", &[channels]).reshape((1, channels, 1, 1))?;
                    x.conv2d(&weight, 0, 1, 1, 1)?.broadcast_add(&bias)?
                }
                Relu => x.relu()?,
                MaxPool => x.max_pool2d(2)?,
                Flatten => x.flatten_from(1)?,
                Fc(width) => {
                    let weight = self.take("weight", &[width, x.dim(1)?]);
                    x.matmul(&weight.t()?)?.broadcast_add(&self.take("bias", &[width]))?
                }
                BatchNorm => {
                    let width = [x.dim(1)?];
                    let (mean, var) = (self.take("mean", &width), self.take("var", &width));
                    let normed = x.broadcast_sub(&mean)?;
                    let normed = normed.broadcast_div(&(var + 1e-5)?.sqrt()?)?;
                    let scaled = normed.broadcast_mul(&self.take("gamma", &width))?;
                    scaled.broadcast_add(&self.take("beta", &width))?
                }
            };
        }
        Ok(x)
    }

    /// The image column, for images and for embeddings that are images.
    fn image(&mut self, side: Side, images: &Tensor) -> Result<Tensor> {
        let x = self.run(CONVOLUTIONS, images.clone())?;
        self.run(if side == Side::Left { IMAGE_LEFT } else { IMAGE_RIGHT }, x)
    }

    /// The label column, for embeddings that are vectors.
    fn label(&mut self, side: Side, z: &Tensor) -> Result<Tensor> {
        match side {
            Side::Left => {
                let h = self.run(LABEL_LEFT, z.clone())?;
                &h + self.run(LABEL_LEFT_RESIDUAL, h.clone())?
            }
            Side::Right => self.run(LABEL_RIGHT, z.clone()),
        }
    }
}

/// Sines and cosines of 1,000 t at 32 frequencies from 1 down to 1/10,000. The figure says "positional embedding", 64 wide.
fn positions(time: &Tensor) -> Result<Tensor> {
    let frequencies: Vec<f32> =
        (0..32).map(|i| (1000.0 * 10_000f64.powf(-f64::from(i) / 32.0)) as f32).collect();
    let frequencies = Tensor::from_vec(frequencies, (1, 32), &Device::Cpu)?;
    let angles = time.unsqueeze(1)?.broadcast_mul(&frequencies)?;
    Tensor::cat(&[angles.sin()?, angles.cos()?], D::Minus1)
}

/// Draws every number of the network anew, so that a layer that is left out or swapped shows.
fn scramble(network: &Network) {
    for (number, parameter) in network.parameters().iter().enumerate() {
        let key = StreamKey::derive(7, &[number as u64]);
        let (shape, count) = (parameter.var.shape(), parameter.var.elem_count());
        let values = match parameter.name.rsplit('.').next() {
            Some("var" | "gamma") => uniform(key, count, &Device::Cpu).unwrap() + 0.5,
            _ => {
                let inputs: usize = shape.dims().iter().skip(2).product();
                let scale = (2.0 / inputs.max(4) as f64).sqrt();
                normal(key, count, &Device::Cpu).unwrap() * scale
            }
        };
        parameter.var.set(&values.unwrap().reshape(shape).unwrap()).unwrap();
    }
}

fn close(ours: &Tensor, expected: &Tensor) -> bool {
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (ours, expected) = (values(ours), values(expected));
    let size = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    ours.len() == expected.len()
        && ours.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4 * size)
}

/// Trainable numbers of a block, counted by hand from the figure for images of 28 × 28, 10 classes and embeddings of `d` numbers, or
/// of images.
fn count(side: Side, d: Option<usize>) -> usize {
    let fc = |inputs: usize, outputs: usize| inputs * outputs + outputs;
    // Nothing on the right.
    let norm = |width: usize| if side == Side::Left { 2 * width } else { 0 };
    // The convolutions leave 128 × 4 × 4 numbers.
    let column = 320 + 18_496 + 73_856 + 524_544 + norm(256);
    let label = match (d, side) {
        (None, _) => column,
        (Some(d), Side::Left) => fc(d, 256) + 2 * fc(256, 256) + 3 * norm(256),
        (Some(d), Side::Right) => fc(d, 256),
    };
    let joint = match side {
        Side::Left => fc(512, 256),
        Side::Right => fc(64, 256) + fc(768, 256),
    };
    column + label + joint + norm(256) + fc(256, 128) + norm(128) + fc(128, 10)
}

/// Order, widths, activations and parameter counts of both sides of the figure, with label embeddings that are vectors and that are
/// images. Without the ReLU behind the image column's linear layer on the right, which was once missing, the numbers are others.
#[test]
fn networks_are_those_of_figure_6() {
    let shape = ImageShape { channels: 1, height: 28, width: 28 };
    let draw = |word, count: usize| normal(StreamKey::derive(3, &[word]), count, &Device::Cpu);
    let images = draw(1, IMAGES * 784).unwrap().reshape((IMAGES, 1, 28, 28)).unwrap();
    let time = &uniform(StreamKey::derive(3, &[2]), IMAGES, &Device::Cpu).unwrap();
    let of_all = |(method, side, needs)| {
        [Embedding::Onehot, Embedding::Learned { dimension: 20 }, Embedding::Prototype]
            .map(|embedding| (method, side, needs, embedding))
    };
    let methods = [
        ("dt", Side::Left, Needs::discrete_time(1, Readout::Softmax)),
        ("backprop", Side::Left, Needs::backprop(1)),
        ("ct", Side::Right, Needs::continuous_time(1, Readout::Softmax)),
        ("fm", Side::Right, Needs::flow_matching(1)),
        ("adjoint", Side::Right, Needs::adjoint()),
    ];
    for (method, side, needs, embedding) in methods.into_iter().flat_map(of_all) {
        let config = NetworkConfig::new(shape, CLASSES, needs).unwrap();
        let config = config.embedding(embedding).encoder(EncoderKind::PerBlock);
        let source = ParameterBuilder::seeded(Seed(1), &Device::Cpu);
        let network = match Network::new(&config, source) {
            Ok(network) => network,
            // The baseline has vectors alone.
            Err(_) if (method, embedding) == ("adjoint", Embedding::Prototype) => continue,
            Err(error) => panic!("{method}, {embedding}: {error}"),
        };
        scramble(&network);
        let d = embedding.dimension(CLASSES);
        let width = d.unwrap_or(784);
        let z = &draw(4, IMAGES * width).unwrap().reshape((IMAGES, width)).unwrap();

        let mut figure = Figure::of(&network);
        let image = figure.image(side, &images).unwrap();
        let label = match d {
            Some(_) => figure.label(side, z).unwrap(),
            None => figure.image(side, &z.reshape(images.shape()).unwrap()).unwrap(),
        };
        let logits = match side {
            Side::Left => figure.run(JOINT_LEFT, Tensor::cat(&[&image, &label], 1).unwrap()),
            Side::Right => {
                let time = figure.run(TIME_RIGHT, positions(time).unwrap()).unwrap();
                let joined = Tensor::cat(&[&image, &label, &time], 1).unwrap();
                figure.run(JOINT_RIGHT, joined)
            }
        };
        assert!(figure.rest.is_empty(), "more than in the figure: {}", figure.rest[0].0);
        assert_eq!(figure.trained, count(side, d), "{method}, {embedding}");

        let features = &network.encode(Part::Block(1), &images, Pass::Eval).unwrap();
        assert!(close(features, &image), "{method}, {embedding}: image column");
        let input = BlockInput { block: 1, features, z, time, pass: Pass::Eval };
        let ours = network.logits(input).unwrap();
        assert!(close(&ours, &logits.unwrap()), "{method}, {embedding}: logits");
        let norms = network.parameters().iter().any(|parameter| {
            parameter.kind == ParameterKind::Buffer && parameter.part == Part::Block(1)
        });
        assert_eq!(norms, side == Side::Left, "{method}: batch norm is on the left alone");
    }
}
