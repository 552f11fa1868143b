//! `noprop eval`: how well a trained network classifies. Labels count hits and do nothing else.

use anyhow::Result;
use noprop_method::{Sampler, Seed};
use noprop_train::evaluate;

use crate::args::Eval;
use crate::images::bad_pictures;
use crate::output::answer;
use crate::test_images::TestImages;
use crate::trained::Trained;

pub fn run(args: &Eval) -> Result<()> {
    let device = args.compute.device.open()?;
    let trained = Trained::open(&args.run, &device)?;
    let asked = TestImages::asked(
        &trained,
        args.dataset.as_ref(),
        args.data_dir.as_deref(),
        bad_pictures(args.skip_bad),
    )?;
    let name = &asked.name;
    let test = trained.config.seen(&asked.images)?.to_device(&device)?;
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
