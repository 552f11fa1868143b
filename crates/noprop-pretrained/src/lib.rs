//! A trained network, as the bytes of its weights file.
//!
#![doc = include_str!("../README.md")]

/// The weights of the default network for MNIST, as a safetensors file in half precision. Its metadata hold the settings, so
/// `noprop_experiment::Classifier::of_weights` opens it.
pub const MNIST: &[u8] = include_bytes!("../mnist.safetensors");

/// The model card: how it was trained, on which data, and its accuracy after rounding.
pub const CARD: &str = include_str!("../README.md");
