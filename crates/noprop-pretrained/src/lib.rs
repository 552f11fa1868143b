//! A trained network, as the bytes of its weights file.
//!
#![doc = include_str!("../README.md")]

/// The weights of the default network for MNIST, as a safetensors file in half precision. Its metadata hold the settings, so
/// `noprop_experiment::Classifier::of_weights` opens it.
pub const MNIST: &[u8] = include_bytes!("../mnist.safetensors");

/// The model card: how it was trained, on which data, and its accuracy after rounding.
pub const CARD: &str = include_str!("../README.md");

/// The share of MNIST's test images that it classifies correctly, as the model card has it.
pub const TEST_ACCURACY: f64 = 0.9934;

/// The same of each block inside the chain, block 1 first.
pub const BLOCK_ACCURACY: [f64; 10] =
    [0.9935, 0.9933, 0.9932, 0.9935, 0.9935, 0.9933, 0.9933, 0.9937, 0.9934, 0.9934];

/// A sentence for a page that shows the bundled sample's images beside this network.
pub const SAMPLE_REMARK: &str =
    "The images here are of the bundled sample, and the network learned from most of them.";
