//! The networks of the NoProp paper (Fig. 6), as [`Denoiser`](noprop_method::Denoiser)s.
//!
//! | file | subject |
//! | --- | --- |
//! | `config.rs` | what a network is built from, checked once |
//! | `layers.rs` | convolution, linear and batch norm with named, seeded parameters |
//! | `image_branch.rs` | image → 256 features |
//! | `label_branch.rs` | noised label embedding, a vector or an image → 256 features |
//! | `head.rs` | image features, label embedding and time → class logits |
//! | `network.rs` | T blocks, the encoder they share or own, and the readout |
//! | `size.rs` | the memory of a training, estimated before it begins |
//!
//! **One design decision:** a network is always built *from something* (a seed or stored tensors) through one
//! [`ParameterBuilder`](noprop_method::ParameterBuilder), so that fresh and loaded networks cannot differ in shape, and
//! loading a file never allocates more than the file holds.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use noprop_method::{ParameterBuilder, Sampler, SamplerKind, Schedule, ScheduleKind, Seed, classify};
//! use noprop_method::{DiscreteTime, LossWeight, Needs, Readout};
//! use noprop_models::{ImageShape, Network, NetworkConfig};
//!
//! let needs = Needs::discrete_time(2, Readout::Softmax);
//! let config = NetworkConfig::new(ImageShape { channels: 1, height: 16, width: 16 }, 10, needs)?;
//! let network = Network::new(&config, ParameterBuilder::seeded(Seed(1), &Device::Cpu))?;
//! let objective = DiscreteTime::new(Schedule::new(ScheduleKind::Cosine, 2)?, 0.1, LossWeight::Uniform)?;
//!
//! let images = Tensor::zeros((3, 1, 16, 16), DType::F32, &Device::Cpu)?;
//! let answer = classify(&network, &objective, &images, &[0, 1, 2], &Sampler::once(SamplerKind::Mean))?;
//! assert_eq!(answer.probabilities.dims(), [3, 10]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod head;
mod image_branch;
mod label_branch;
mod layers;
mod network;
mod size;
mod stacked;

pub use config::{Embedding, EmbeddingStart, ImageShape, ModelError, NetworkConfig};
pub use network::Network;
