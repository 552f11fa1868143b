//! `noprop info`: what a run is, without running it.

use anyhow::Result;
use noprop_method::{Denoiser, Part};
use noprop_train::Event;

use crate::args::Info;
use crate::output::answer;
use crate::shell::{shown, shown_path};
use crate::trained::Trained;

pub fn run(args: &Info) -> Result<()> {
    let trained = Trained::open(&args.run, &candle_core::Device::Cpu)?;
    let parameters = trained.network.parameters();
    let parts: Vec<(Part, usize)> =
        parameters.parts().into_iter().map(|part| (part, parameters.count(part))).collect();
    let total: usize = parts.iter().map(|(_, count)| count).sum();
    let test = trained.events()?.into_iter().rev().find_map(|event| match event {
        Event::Test { accuracy, training_accuracy, best_epoch, seconds, .. } => {
            Some((accuracy, training_accuracy, best_epoch, seconds))
        }
        _ => None,
    });
    let images = trained.config.images()?;
    if args.json {
        let parts: serde_json::Map<String, serde_json::Value> =
            parts.iter().map(|(part, count)| (part.to_string(), (*count).into())).collect();
        answer!(
            "{}",
            serde_json::json!({
                "run": trained.run.path().to_string_lossy(),
                "parameters": total,
                "parameters_by_part": parts,
                "config": trained.config,
                "data_sha256": images.sha256,
                "test_accuracy": test.map(|(accuracy, ..)| accuracy),
                "training_accuracy": test.and_then(|(_, training, ..)| training),
                "best_epoch": test.map(|(_, _, epoch, _)| epoch),
                "seconds": test.map(|(.., seconds)| seconds),
            })
        )?;
        return Ok(());
    }
    answer!("run         {}", shown_path(trained.run.path()))?;
    match test {
        Some((accuracy, training, epoch, seconds)) => {
            let training = training.map_or_else(String::new, |training| {
                format!(", {:.2} % on the training images", 100.0 * training)
            });
            answer!(
                "accuracy    {:.2} % on the test images{training}, weights of epoch {epoch}, trained in {seconds:.1} s",
                100.0 * accuracy
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
    answer!("parameters  {total}")?;
    for (part, count) in parts {
        answer!("  {:<10} {count}", part.to_string())?;
    }
    answer!("\nconfig.toml\n{}", trained.config.to_toml()?)?;
    Ok(())
}
