//! `noprop merge`: from units that processes trained apart to the run that a single process writes.

use anyhow::Result;

use crate::args::{Form, Merge, moved};
use crate::display::{Display, Verbosity};
use crate::train::finish;

pub fn run(args: &Merge) -> Result<()> {
    let device = args.compute.device.open()?;
    let moved = moved(&args.dataset, &args.data_dir, args.skip_bad);
    let mut display = Display::new(Verbosity::Normal);
    let finished = noprop_experiment::merge(&args.run, &moved, &device, &mut display)?;
    finish(&finished, Form::of(args.json)).map(drop)
}
