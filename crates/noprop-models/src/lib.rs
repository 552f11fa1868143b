//! The networks of the NoProp paper.
//!
#![doc = include_str!("../README.md")]
//! ## Where to look
//!
//! | here | subject |
//! | --- | --- |
//! | [`NetworkConfig`] | the settings of a network, checked once, among them what its method [needs](noprop_method::Needs) |
//! | [`Network`] | T blocks, the encoder they share or own, and the readout |
//! | [`Embedding`], [`EmbeddingStart`] | class embeddings, and their values before training |
//! | [`Backbone`] | the image encoders: the paper's, `mlp.rs`, `resnet.rs` and `vit.rs` |
//! | [`ImageEncoder`], [`ImageBranch`], [`LabelBranch`] | an image, or a noised label embedding → 256 features |
//! | [`layers`] | convolution, linear and batch norm with named, seeded parameters; a max pooling with the right gradient |
//! | `head.rs` | image features, label embedding and time → class logits |
//! | [`RESNET`], [`HEAD`], [`time_positions`] | constants of the networks, for those who write them in another form |
//! | `size.rs` | the memory of a training, estimated before it begins |

mod backbone;
mod config;
mod conv_norm;
mod embedding;
mod error;
mod head;
mod image_branch;
mod label_branch;
pub mod layers;
mod mlp;
mod network;
mod pooling;
mod resnet;
mod size;
mod stacked;
mod vit;

pub use backbone::Backbone;
pub use config::NetworkConfig;
pub use embedding::{Embedding, EmbeddingStart};
pub use error::ModelError;
pub use head::time_positions;
pub use image_branch::{ImageBranch, ImageEncoder, ImageInput, ImageShape};
pub use label_branch::{LabelBranch, LabelInput};
pub use network::Network;
pub use resnet::RESNET;
pub use vit::HEAD;

pub use candle_core;
pub use noprop_kernels::{Backend, Precision};
