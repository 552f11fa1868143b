//! `noprop merge`: from the units that processes trained apart to the run that a single process writes.

use anyhow::Result;
use noprop_train::{Merging, PeakMemory, RunDirectory, merge_units};

use crate::args::{Form, Merge};
use crate::images::bad_pictures;
use crate::output::note;
use crate::progress::Verbosity;
use crate::task::{Now, Task};

pub fn run(args: &Merge) -> Result<()> {
    let run = RunDirectory::open_to_write(&args.run)?;
    let task = Task::of_run(
        &run,
        &Now {
            dataset: args.dataset.as_ref(),
            data_dir: args.data_dir.as_deref(),
            bad: bad_pictures(args.skip_bad),
            epochs: None,
            compute: args.compute,
        },
    )?;
    task.introduce(Verbosity::Quiet);
    let network = task.network()?;
    let config = &task.config;
    let settings = config.train();
    let visited = settings.steps_per_epoch(task.train.len()) as usize * settings.batch_size;
    let merging = Merging {
        network: &network,
        method: &*task.objective,
        validation: &task.validation,
        sampler: config.validation_sampler()?,
        config: &config.to_json()?,
        epochs: config.epochs,
        order: config.order.into(),
        images_per_epoch: visited.min(task.train.len()),
    };
    let merged = merge_units(&run, &merging)?;
    if merged.processors.len() > 1 {
        let kinds: Vec<&str> = merged.processors.iter().map(String::as_str).collect();
        note!(
            "warning: units were trained on several kinds of processor, so one process may not repeat the bytes: {}",
            kinds.join("; ")
        );
    }
    // What this process took is not what training did.
    task.finish(&run, Form::of(args.json), &merged.report, PeakMemory::default())
}
