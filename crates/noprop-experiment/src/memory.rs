//! The memory that a training will need, held against what is free, before anything large is made.

use candle_core::Device;
use noprop_kernels::threads::Workers;
use noprop_train::free_memory_bytes;

use crate::error::{Error, Result};
use crate::experiment::Experiment;
use crate::progress::{Progress, Remark};

/// Refuses a training whose weights alone do not fit into memory, and remarks on one whose steps probably do not.
///
/// # Errors
/// [`Error::TooLarge`].
pub(crate) fn check(
    experiment: &Experiment,
    device: &Device,
    workers: Workers,
    progress: &mut dyn Progress,
) -> Result<()> {
    let (Device::Cpu, Some(free)) = (device, free_memory_bytes()) else { return Ok(()) };
    let config = experiment.network_config()?;
    let weights = config.weight_bytes()?;
    if weights > free {
        return Err(Error::TooLarge { needed: weights, free });
    }
    let threads = rayon::current_num_threads();
    let at_once = match workers {
        Workers::Auto => threads,
        Workers::Exactly(number) => number.get().min(threads),
    };
    // Beside a parameter and its two moments, its gradient, and its average if there is one. Measured peaks of images of 64 to 256
    // pixels a side, without averages, lie between 0.9 and 1.25 of the sum.
    let arrays = if experiment.setup.ema.is_some() { 5 } else { 4 };
    let needed = weights / 3 * arrays + config.step_bytes(experiment.setup.batch_size, at_once);
    if needed > free {
        progress.remark(Remark::Memory { needed, free });
    }
    Ok(())
}
