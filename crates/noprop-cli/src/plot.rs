//! `noprop plot`: every figure of a run.

use anyhow::Result;

use crate::args::{Plot, moved};
use crate::display::{Display, Verbosity};
use crate::output::answer;

pub fn run(args: &Plot) -> Result<()> {
    let device = args.compute.device.open()?;
    let (run, moved) = (args.run.as_ref(), moved(&args.dataset, &args.data_dir, false));
    let mut display = Display::new(Verbosity::Normal);
    let figures = noprop_experiment::plot(run, &moved, &device, &mut display)?;
    if args.json {
        let figures: Vec<_> = figures.iter().map(|path| path.to_string_lossy()).collect();
        let run = run.to_string_lossy();
        answer!("{}", serde_json::json!({ "run": run, "figures": figures }))?;
        return Ok(());
    }
    for path in figures {
        answer!("{}", path.display())?;
    }
    Ok(())
}
