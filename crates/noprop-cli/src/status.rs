//! `noprop status`: which units of a training that is spread over processes are done, running, stopped or missing.

use anyhow::Result;
use noprop_experiment::shell::quoted;
use noprop_train::UnitStatus;

use crate::args::Status;
use crate::output::answer;

pub fn run(args: &Status) -> Result<()> {
    let status = noprop_experiment::status(&args.run)?;
    let all = status.epochs;
    let line = |(unit, status)| {
        let (word, epochs) = match status {
            UnitStatus::Missing => ("missing", 0),
            UnitStatus::Running(done) => ("running", done),
            UnitStatus::Stopped(done) => ("stopped", done),
            UnitStatus::Done => ("done", all),
        };
        (noprop_train::Unit::to_string(&unit), word, epochs)
    };
    let lines: Vec<(String, &str, u32)> = status.units.into_iter().map(line).collect();
    if args.json {
        let line = |(unit, status, epochs): &(String, &str, u32)| serde_json::json!({ "unit": unit, "status": status, "epochs": epochs, "of": all });
        answer!("{}", serde_json::Value::from(lines.iter().map(line).collect::<Vec<_>>()))?;
        return Ok(());
    }
    for (unit, word, epochs) in &lines {
        answer!("{unit:<10} {word:<8} {epochs} of {all} epochs")?;
    }
    match lines.iter().filter(|(_, word, _)| *word != "done").count() {
        0 if status.merged => answer!("all are done, and merged"),
        0 => answer!("all are done: noprop merge {}", quoted(&status.run)),
        left => answer!("{left} of {} units are not done", lines.len()),
    }
}
