//! Memory does not grow with the number of blocks, beyond their parameters and moments.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use candle_core::Device;
use noprop_data::Dataset;
use noprop_method::{
    Denoiser, DiscreteTime, LossWeight, Needs, ParameterBuilder, Readout, Schedule, ScheduleKind,
    Seed,
};
use noprop_models::{ImageShape, Network, NetworkConfig};
use noprop_train::{TrainConfig, Trainer};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Returns the peak memory of a training step of `blocks` blocks with one shared encoder, without weights and moments, in
/// bytes.
fn beyond_parameters(blocks: usize, dataset: &Dataset) -> usize {
    let before = ALLOCATOR.current_usage();
    let shape = ImageShape { channels: 1, height: 28, width: 28 };
    let config =
        NetworkConfig::new(shape, 10, Needs::discrete_time(blocks, Readout::Softmax)).unwrap();
    let source = ParameterBuilder::seeded(Seed(0), &Device::Cpu);
    let network = Network::new(&config, source).unwrap();
    let schedule = Schedule::new(ScheduleKind::Cosine, blocks).unwrap();
    let objective = DiscreteTime::new(schedule, 0.1, LossWeight::Uniform).unwrap();
    let config = TrainConfig { batch_size: 128, ..TrainConfig::default() };
    let train = &dataset.train;
    let mut trainer = Trainer::new(&network, &objective, train, config, Seed(0)).unwrap();
    // Working buffers are allocated in the first step and kept.
    for _ in 0..3 {
        ALLOCATOR.reset_peak_usage();
        trainer.steps(1).unwrap();
    }
    let held = ALLOCATOR.peak_usage() - before;
    let bytes = |numbers: usize| numbers * size_of::<f32>();
    let parameters = network.parameters();
    let trained: usize = parameters.parts().into_iter().map(|part| parameters.count(part)).sum();
    let all: usize = parameters.iter().map(|parameter| parameter.var.elem_count()).sum();
    held - bytes(all) - 2 * bytes(trained)
}

/// A block's activations are megabytes and its gradient at the shared features is 128 kB: neither may be held until all blocks
/// are done. The remaining 27 kB are the bookkeeping of a block's parameters.
#[test]
fn thirty_blocks_more_cost_their_parameters_and_moments() {
    let dataset = Dataset::mnist_sample().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let (few, many) = pool.install(|| {
        // The working buffers of the threads are allocated once, so this first call is not counted as growth.
        beyond_parameters(10, &dataset);
        (beyond_parameters(10, &dataset), beyond_parameters(40, &dataset))
    });
    let growth = many.saturating_sub(few) / 30;
    assert!(growth < 64 << 10, "{growth} bytes a block: {few} at 10 blocks, {many} at 40");
}
