//! `noprop eval`: how well a trained network classifies. Labels count hits and do nothing else.

use anyhow::{Result, ensure};
use noprop_data::BadPictures;
use noprop_method::{Sampler, Seed};
use noprop_train::evaluate;

use crate::args::Eval;
use crate::images::Images;
use crate::output::answer;
use crate::trained::Trained;

pub fn run(args: &Eval) -> Result<()> {
    let device = args.compute.device.open()?;
    let trained = Trained::open(&args.run, &device)?;
    let source = args.dataset.as_ref().unwrap_or(&trained.config.dataset);
    let mut options = trained.config.folder_options()?;
    if *source != trained.config.dataset {
        // The split is the run's own; other folders say for themselves what is for testing.
        options.split = None;
    }
    if args.skip_bad {
        options.bad = BadPictures::Skip;
    }
    let data = source.load(&args.data_dir, options)?;
    let name = source.name();
    let (built_for, given) = (trained.config.images()?, Images::of(&data)?);
    let shape = |images: &Images| (images.channels, images.height, images.width);
    ensure!(
        shape(built_for) == shape(&given) && built_for.class_names.len() == given.class_names.len(),
        "{name} has other images or classes than the run was trained on ({})",
        trained.config.dataset.name()
    );
    let test = trained.config.seen(&data.test)?.to_device(&device)?;
    let integration = trained.config.integration_of(args.solver, args.steps)?;
    let sampler =
        Sampler { kind: args.sampler, runs: args.runs, seed: Seed(args.seed), integration };
    let result = evaluate(&trained.network, &*trained.objective, &test, &sampler)?;
    if args.json {
        answer!(
            "{}",
            serde_json::json!({
                "accuracy": result.accuracy(),
                "correct": result.correct,
                "total": result.total,
                "sampler": sampler.kind.to_string(),
                "runs": sampler.runs,
                "seed": args.seed,
                "per_block": result.per_block,
                "steps": sampler.integration.map(|integration| integration.steps),
                "solver": sampler.integration.map(|integration| integration.solver),
            })
        )?;
        return Ok(());
    }
    let averaged = match sampler.runs.get() {
        1 => "one run".to_owned(),
        runs => format!("{runs} runs averaged"),
    };
    let path = match sampler.integration {
        Some(path) => format!(", {} steps of {}", path.steps, path.solver),
        None => String::new(),
    };
    answer!(
        "accuracy {:.2} % ({} of {} images of {name}), sampler {}{path}, {averaged}",
        100.0 * result.accuracy(),
        result.correct,
        result.total,
        sampler.kind,
    )?;
    if result.per_block.len() <= 1 {
        return Ok(());
    }
    answer!("what each block alone would have answered:")?;
    for (block, accuracy) in (1..).zip(&result.per_block) {
        answer!("  block {block:>3}  {:.2} %", 100.0 * accuracy)?;
    }
    Ok(())
}
