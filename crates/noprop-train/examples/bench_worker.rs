//! Our side of `cargo xtask bench`: a process that does what it is told, one JSON request a line, and answers with one JSON
//! object a line. The peers under `xtask/peers` speak the same language.
//!
//! ```sh
//! cargo run -p noprop-train --example bench_worker -- 2   # threads
//! ```
//!
//! `setup` makes a network and writes its weights and the data for a peer to load; `logits` lets the two be compared;
//! `step`, `epoch` and `eval` do a piece of work and say how many seconds each took; `peak` is the most memory the process
//! has held, in bytes.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use noprop_data::{Dataset, DatasetName, Split, hold_out, load};
use noprop_kernels::{Backend, Precision};
use noprop_method::{
    BlockInput, Denoiser, DiscreteTime, EncoderKind, LossWeight, Needs, ParameterBuilder,
    ParameterKind, Pass, Readout, Sampler, SamplerKind, Schedule, ScheduleKind, Seed,
};
use noprop_models::{ImageShape, Network, NetworkConfig};
use noprop_train::{TrainConfig, TrainError, Trainer, Unit, peak_memory_bytes, save_weights};
use serde::Deserialize;
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Images that both sides compute logits for.
const COMPARED: usize = 128;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Request {
    Setup(Setup),
    /// Logits of every block for the first test images, in evaluation.
    Logits,
    /// So many training steps: of one block if blocks share nothing, else of all.
    Step(usize),
    /// So many steps of every block.
    StepAll(usize),
    /// One epoch.
    Epoch,
    /// All test images from noise to classes.
    Eval,
    /// Peak memory.
    Peak,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Setup {
    /// The image branch; `paper` if left out.
    network: Option<String>,
    encoder: EncoderKind,
    blocks: usize,
    backend: Option<String>,
    /// `cpu`, unless said, or `cuda`.
    device: Option<String>,
    /// `f32`, unless said, `tf32` or `bf16`.
    precision: Option<String>,
    /// A data directory with MNIST; without it the bundled sample.
    data: Option<PathBuf>,
    /// Where a peer finds weights and data: `weights.safetensors`, `data.safetensors`.
    share: Option<PathBuf>,
}

fn main() -> Result<()> {
    noprop_kernels::memory::keep_freed();
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(NonZeroUsize::MIN);
    noprop_kernels::threads::configure(threads)?;
    rayon::scope(|_| serve())
}

fn serve() -> Result<()> {
    let mut lines = std::io::stdin().lines();
    let mut worker: Option<Worker> = None;
    while let Some(line) = lines.next().transpose()? {
        let answer = match (serde_json::from_str(&line)?, worker.as_mut()) {
            (Request::Setup(setup), _) => {
                let made = Worker::new(&setup)?;
                let parameters = made.trainable();
                worker = Some(made);
                json!({ "parameters": parameters })
            }
            (Request::Peak, _) => json!({ "peak": peak_memory_bytes() }),
            (request, Some(worker)) => worker.answer(&request)?,
            (_, None) => return Err("setup comes first".into()),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

struct Worker {
    test: Split,
    trainer: Trainer<Network, DiscreteTime>,
}

impl Worker {
    fn new(setup: &Setup) -> Result<Self> {
        let data = match &setup.data {
            Some(folder) => load(DatasetName::Mnist, folder)?,
            None => Dataset::mnist_sample()?,
        };
        let (channels, height, width) = data.image_shape()?;
        let held_out = data.train.len() / 12;
        let (train, _) = hold_out(&data.train, held_out, 0)?;
        let backend = match setup.backend.as_deref() {
            Some("reference") => Backend::Reference,
            _ => Backend::Auto,
        };
        let device = device(setup.device.as_deref())?;
        let precision = match setup.precision.as_deref() {
            None | Some("f32") => Precision::F32,
            Some("tf32") => Precision::Tf32,
            Some("bf16") => Precision::Bf16,
            Some(other) => return Err(format!("no precision {other}").into()),
        };
        let network = setup.network.as_deref().unwrap_or("paper");
        let needs = Needs::discrete_time(setup.blocks, Readout::Softmax);
        let config =
            NetworkConfig::new(ImageShape { channels, height, width }, data.classes, needs)?
                .encoder(setup.encoder)
                .backbone(network.parse()?)
                .precision(precision)
                .backend(backend);
        let source = ParameterBuilder::seeded(Seed(0), &device);
        let network = Network::new(&config, source)?;
        let (train, test) = (train.to_device(&device)?, data.test.to_device(&device)?);
        network.calibrate_frozen_encoder(&train.range(0..1024)?)?;
        let schedule = Schedule::new(ScheduleKind::Cosine, setup.blocks)?;
        let method = DiscreteTime::new(schedule, 0.1, LossWeight::Uniform)?;
        if let Some(folder) = &setup.share {
            share(folder, &network, &train, &test)?;
        }
        let config = TrainConfig { epochs: 1000, ..TrainConfig::default() };
        Ok(Self { test, trainer: Trainer::new(network, method, &train, config, Seed(0))? })
    }

    /// The number of values that training changes.
    fn trainable(&self) -> usize {
        let all = self.trainer.network().parameters().iter();
        let trained = all.filter(|parameter| parameter.kind == ParameterKind::Trainable);
        trained.map(|parameter| parameter.var.elem_count()).sum()
    }

    fn answer(&mut self, request: &Request) -> Result<Value> {
        match *request {
            Request::Logits => Ok(json!({ "logits": self.logits()? })),
            Request::Step(count) => {
                let apart = matches!(self.trainer.units().first(), Some(Unit::Block(_)));
                times(count, || match apart {
                    true => self.trainer.step_unit(0).map(drop),
                    false => self.trainer.step().map(drop),
                })
            }
            Request::StepAll(count) => times(count, || self.trainer.step()),
            Request::Epoch => times(1, || self.trainer.epoch()),
            Request::Eval => {
                let sampler = Sampler::once(SamplerKind::Mean);
                times(1, || self.trainer.evaluate(&self.test, &sampler))
            }
            Request::Setup(_) | Request::Peak => Ok(Value::Null),
        }
    }

    fn logits(&self) -> Result<Vec<Vec<f32>>> {
        let images = self.test.range(0..COMPARED)?;
        let network = self.trainer.network();
        let width = network.class_embeddings().dim(1)?;
        // Any noise will do that both sides can write down.
        let noise = |i: usize| (i * 37 % 101) as f32 / 50.0 - 1.0;
        let z: Vec<f32> = (0..COMPARED * width).map(noise).collect();
        let device = images.device();
        let z = &Tensor::from_vec(z, (COMPARED, width), device)?;
        let time = &Tensor::zeros(COMPARED, DType::F32, device)?;
        let logits = |block| {
            let features = &network.encode(network.encoder_part(block), &images, Pass::Eval)?;
            let input = BlockInput { block, features, z, time, pass: Pass::Eval };
            Ok(network.logits(input)?.flatten_all()?.to_vec1()?)
        };
        (1..=network.blocks()).map(logits).collect()
    }
}

fn device(name: Option<&str>) -> Result<Device> {
    match name {
        None | Some("cpu") => Ok(Device::Cpu),
        #[cfg(feature = "cuda")]
        Some("cuda") => Ok(noprop_kernels::cuda_device(0)?),
        Some(other) => Err(format!("not built for {other}").into()),
    }
}

/// Seconds of each of `count` rounds of `work`.
fn times<T>(
    count: usize,
    mut work: impl FnMut() -> std::result::Result<T, TrainError>,
) -> Result<Value> {
    let mut seconds = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        work()?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    Ok(json!({ "seconds": seconds }))
}

fn share(folder: &std::path::Path, network: &Network, train: &Split, test: &Split) -> Result<()> {
    save_weights(&folder.join("weights.safetensors"), network.parameters())?;
    let bytes = |split: &Split| -> Result<Tensor> {
        Ok(((split.images()? * 255.0)?.round()?).to_dtype(DType::U8)?.to_device(&Device::Cpu)?)
    };
    let data = std::collections::HashMap::from([
        ("train.images", bytes(train)?),
        ("train.labels", train.labels.to_device(&Device::Cpu)?),
        ("test.images", bytes(test)?),
        ("test.labels", test.labels.to_device(&Device::Cpu)?),
    ]);
    Ok(candle_core::safetensors::save(&data, folder.join("data.safetensors"))?)
}
