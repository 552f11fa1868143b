//! A service that trains in the background: the trainer is a field, has a learning rate of its user's, and is watched from outside.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use noprop_data::{Dataset, Split};
use noprop_method::candle_core::Device;
use noprop_method::{
    DiscreteTime, EncoderKind, LossWeight, Method, ParameterBuilder, Sampler, SamplerKind, Schedule, ScheduleKind,
    Seed,
};
use noprop_models::{ImageShape, Network, NetworkConfig};
use noprop_train::{Control, EpochReport, Observer, TrainConfig, Trainer};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

struct Service {
    trainer: Trainer<Network, DiscreteTime>,
    held_out: Split,
    told: Sender<f64>,
}

/// Sends the mean loss of every epoch, and stops after the second.
struct Told<'a>(&'a Sender<f64>);

impl Observer for Told<'_> {
    fn epoch(&mut self, report: &EpochReport) -> Control {
        let mean = report.losses.iter().map(|loss| loss.error).sum::<f64>() / report.losses.len() as f64;
        let _ = self.0.send(mean);
        if report.epoch == 2 { Control::Stop } else { Control::Continue }
    }
}

impl Service {
    fn new() -> Result<(Self, Receiver<f64>)> {
        let data = Dataset::mnist_sample()?;
        let method = DiscreteTime::new(Schedule::new(ScheduleKind::Cosine, 2)?, 0.1, LossWeight::Uniform)?;
        let image = ImageShape { channels: 1, height: 28, width: 28 };
        let config = NetworkConfig::new(image, 10, method.needs())?.encoder(EncoderKind::Shared);
        let network = Network::new(&config, ParameterBuilder::seeded(Seed(1), &Device::Cpu))?;
        let few = data.train.select(&(0..512).collect::<Vec<_>>())?;
        let settings = TrainConfig { epochs: 10, ..TrainConfig::default() };
        // Triangles: up and down again within a tenth of the training.
        let trainer = Trainer::new(network, method, &few, settings, Seed(1))?.rate(|at| {
            let tenth = (at.steps as f64 / 10.0).max(1.0);
            let phase = (at.step as f64 / tenth).fract();
            2e-3 * (1.0 - (2.0 * phase - 1.0).abs()).max(0.05)
        });
        let held_out = data.test.select(&(0..200).collect::<Vec<_>>())?;
        let (told, hears) = channel();
        Ok((Self { trainer, held_out, told }, hears))
    }

    fn start(mut self) -> JoinHandle<Result<f64>> {
        thread::spawn(move || {
            self.trainer.run(&mut Told(&self.told))?;
            let found = self.trainer.evaluate(&self.held_out, &Sampler::once(SamplerKind::Mean))?;
            Ok(found.accuracy())
        })
    }
}

fn run() -> Result<(Vec<f64>, f64)> {
    let (service, hears) = Service::new()?;
    let running = service.start();
    let losses = hears.iter().collect();
    let accuracy = running.join().map_err(|_| "the service panicked")??;
    Ok((losses, accuracy))
}

fn main() -> Result<()> {
    let (losses, accuracy) = run()?;
    println!("losses {losses:?}, accuracy {:.1} %", 100.0 * accuracy);
    Ok(())
}

#[test]
fn it_is_watched_and_stopped() {
    let (losses, accuracy) = run().unwrap();
    assert!(losses.len() == 2 && losses[1] < losses[0], "{losses:?}");
    assert!((0.0..=1.0).contains(&accuracy));
}
