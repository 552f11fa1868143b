//! The memory that a training will need, held against what is free, before anything large is made.

use anyhow::{Result, ensure};
use candle_core::Device;
use noprop_kernels::threads::Workers;
use noprop_train::free_memory_bytes;

use crate::output::note;
use crate::task::Task;

/// Advice where memory is short.
const ADVICE: &str =
    "lower --batch-size, --image-size or --steps, or share one --encoder among the blocks";

/// Refuses a training whose weights alone do not fit into memory, and warns of one whose steps probably do not.
pub fn check(task: &Task, workers: Workers) -> Result<()> {
    let (Device::Cpu, Some(free)) = (&task.device, free_memory_bytes()) else { return Ok(()) };
    let config = task.config.network_config()?;
    let weights = config.weight_bytes()?;
    ensure!(
        weights <= free,
        "the weights of this training need {}, and {} are free: {ADVICE}",
        gigabytes(weights),
        gigabytes(free)
    );
    let threads = rayon::current_num_threads();
    let at_once = match workers {
        Workers::Auto => threads,
        Workers::Exactly(number) => number.get().min(threads),
    };
    // Beside a parameter and its two moments, its gradient. Measured peaks of images of 64 to 256 pixels a side lie between 0.9 and
    // 1.25 of the sum.
    let needed = weights / 3 * 4 + config.step_bytes(task.config.batch_size, at_once);
    if needed > free {
        note!(
            "warning: this training needs about {}, and {} are free: {ADVICE}",
            gigabytes(needed),
            gigabytes(free)
        );
    }
    Ok(())
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
