//! `noprop status`: which units of a training that is spread over processes are done, running, stopped or missing.

use anyhow::{Result, ensure};
use noprop_train::{RunDirectory, Unit, UnitStatus, unit_status};

use crate::args::Status;
use crate::config::RunConfig;
use crate::output::answer;
use crate::shell::quoted;

pub fn run(args: &Status) -> Result<()> {
    let run = RunDirectory::open(&args.run)?;
    let config = RunConfig::of_run(&run.config())?;
    let network = config.network(config.fresh(&candle_core::Device::Cpu))?;
    let units = Unit::of(&network, &*config.objective()?, config.order.into());
    ensure!(
        run.units().is_dir() || !run.state().is_dir(),
        "{} was trained as a whole, not in units: see noprop info {0}",
        quoted(run.path())
    );
    let mut lines = Vec::new();
    for unit in units {
        unit.stands_alone()?;
        let status = unit_status(&run, unit, config.epochs)?;
        let (word, epochs) = match status {
            UnitStatus::Missing => ("missing", 0),
            UnitStatus::Running(done) => ("running", done),
            UnitStatus::Stopped(done) => ("stopped", done),
            UnitStatus::Done => ("done", config.epochs),
        };
        lines.push((unit.to_string(), word, epochs));
    }
    if args.json {
        let line = |(unit, status, epochs): &(String, &str, u32)| serde_json::json!({ "unit": unit, "status": status, "epochs": epochs, "of": config.epochs });
        answer!("{}", serde_json::Value::from(lines.iter().map(line).collect::<Vec<_>>()))?;
        return Ok(());
    }
    for (unit, word, epochs) in &lines {
        answer!("{unit:<10} {word:<8} {epochs} of {} epochs", config.epochs)?;
    }
    let path = quoted(run.path());
    if lines.iter().any(|(_, word, _)| *word != "done") {
        let left = lines.iter().filter(|(_, word, _)| *word != "done").count();
        answer!("{left} of {} units are not done", lines.len())?;
    } else if run.model().is_file() {
        answer!("all are done, and merged")?;
    } else {
        answer!("all are done: noprop merge {path}")?;
    }
    Ok(())
}
