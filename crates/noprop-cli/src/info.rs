//! `noprop info`: the description of a run.

use anyhow::Result;
use noprop_experiment::Info;
use noprop_experiment::shell::{shown, shown_path};

use crate::args;
use crate::output::answer;

pub fn run(args: &args::Info) -> Result<()> {
    let info = Info::of(args.run.as_ref())?;
    let (images, tested) = (&info.experiment.images, info.tested);
    if args.json {
        let parts: serde_json::Map<String, serde_json::Value> =
            info.parts.iter().map(|(part, count)| (part.to_string(), (*count).into())).collect();
        answer!(
            "{}",
            serde_json::json!({
                "run": info.run.to_string_lossy(),
                "parameters": info.parameters(),
                "parameters_by_part": parts,
                "config": info.experiment,
                "data_sha256": images.sha256,
                "test_accuracy": tested.map(|tested| tested.accuracy),
                "training_accuracy": tested.and_then(|tested| tested.training_accuracy),
                "best_epoch": tested.map(|tested| tested.best_epoch),
                "seconds": tested.map(|tested| tested.seconds),
            })
        )?;
        return Ok(());
    }
    answer!("run         {}", shown_path(&info.run))?;
    match tested {
        Some(tested) => {
            let training = tested.training_accuracy.map_or_else(String::new, |training| {
                format!(", {:.2} % on the training images", 100.0 * training)
            });
            answer!(
                "accuracy    {:.2} % on the test images{training}, weights of epoch {}, trained in {:.1} s",
                100.0 * tested.accuracy,
                tested.best_epoch,
                tested.seconds
            )?;
        }
        None => answer!("accuracy    not tested yet: the training has not come to its end")?,
    }
    let names: Vec<_> = images.class_names.iter().map(|name| shown(name)).collect();
    answer!(
        "images      {} x {} pixels, {} channel(s), {} classes: {}",
        images.height,
        images.width,
        images.channels,
        names.len(),
        names.join(", ")
    )?;
    answer!("data        sha256 {}", images.sha256)?;
    answer!("parameters  {}", info.parameters())?;
    for (part, count) in &info.parts {
        answer!("  {:<10} {count}", part.to_string())?;
    }
    answer!("\nconfig.toml\n{}", info.experiment.to_toml()?)
}
