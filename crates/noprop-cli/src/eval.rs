//! `noprop eval`.

use anyhow::Result;
use noprop_method::{ParameterBuilder, Sampler, Seed};
use noprop_train::{RunDirectory, evaluate, read_weights};

use crate::args::Eval;
use crate::config::{RunConfig, load};

pub fn run(args: &Eval) -> Result<()> {
    if let Some(threads) = args.threads {
        noprop_kernels::threads::configure(threads)?;
    }
    let run = RunDirectory::open(&args.run)?;
    let config = RunConfig::read(&run.config())?;
    let stored = read_weights(&run.model())?;
    let name = match args.dataset {
        Some(name) => name,
        None => config.dataset_name()?,
    };
    let data = load(name, &args.data_dir)?;
    let source = ParameterBuilder::stored(stored.tensors, &candle_core::Device::Cpu);
    let network = config.network(&data, source)?;
    let sampler = Sampler {
        kind: args.sampler,
        runs: args.runs,
        seed: Seed(args.seed),
    };
    let result = evaluate(&network, &config.objective()?, &data.test, &sampler)?;
    if args.json {
        println!(
            "{}",
            serde_json::json!({
                "accuracy": result.accuracy(),
                "correct": result.correct,
                "total": result.total,
                "sampler": sampler.kind.to_string(),
                "runs": sampler.runs,
                "seed": args.seed,
                "per_block": result.per_block,
            })
        );
        return Ok(());
    }
    println!(
        "accuracy {:.2} % ({} of {}), sampler {}, {} run(s)",
        100.0 * result.accuracy(),
        result.correct,
        result.total,
        sampler.kind,
        sampler.runs
    );
    for (block, accuracy) in (1..).zip(&result.per_block) {
        println!("  block {block:>3} alone {:.2} %", 100.0 * accuracy);
    }
    Ok(())
}
