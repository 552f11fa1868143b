//! `noprop eval`: how well a trained network classifies.

use anyhow::Result;
use noprop_experiment::shell::shown;
use noprop_experiment::{AnswersFile, Asked, Evaluated, Keep, evaluate};

use crate::args::{Eval, moved};
use crate::class_table::class_table;
use crate::display::{Display, Verbosity};
use crate::output::answer;

pub fn run(args: &Eval) -> Result<()> {
    let answers = args.answers.as_deref().map(AnswersFile::new).transpose()?;
    let device = args.compute.device.open()?;
    let place = moved(&args.dataset, &args.data_dir, args.skip_bad);
    let asked = Asked { half: args.split, place };
    let sampling = args.classify.sampling(args.seed);
    let mut display = Display::new(Verbosity::Normal);
    let keep = if answers.is_some() { Keep::Probabilities } else { Keep::Class };
    let evaluated = evaluate(args.run.as_ref(), &asked, &sampling, keep, &device, &mut display)?;
    let written = answers.map_or(Ok(()), |file| evaluated.write_answers(&file));
    match args.json {
        true => answer!("{}", json(&evaluated))?,
        false => answer!("{}", words(&evaluated))?,
    }
    // The numbers are printed even if the file could not be written.
    Ok(written?)
}

fn json(evaluated: &Evaluated) -> serde_json::Value {
    let Evaluated { half, evaluation: result, scores, sampler, class_names, .. } = evaluated;
    serde_json::json!({
        "split": half.name(),
        "accuracy": result.accuracy(),
        "correct": result.correct,
        "total": result.total,
        "balanced_accuracy": scores.balanced_accuracy,
        "macro_f1": scores.macro_f1,
        "top_5": evaluated.top_5(),
        "sampler": sampler.kind.to_string(),
        "runs": sampler.runs,
        "seed": sampler.seed.0,
        "per_block": result.per_block,
        "steps": sampler.integration.map(|integration| integration.steps),
        "solver": sampler.integration.map(|integration| integration.solver),
        "class_names": class_names,
        "per_class": scores.per_class,
        "classes_without_images": scores.without_images,
        "confusion": result.confusion,
    })
}

fn words(evaluated: &Evaluated) -> String {
    let Evaluated { half, data, class_names, evaluation: result, scores, sampler, .. } = evaluated;
    let averaged = match sampler.runs.get() {
        1 => "one chain".to_owned(),
        runs => format!("{runs} chains averaged"),
    };
    let path = match sampler.integration {
        Some(path) => format!(", {} steps of {}", path.steps, path.solver),
        None => String::new(),
    };
    let mut lines = vec![format!(
        "accuracy {:.2} % ({} of the {} {} images of {}), sampler {}{path}, {averaged}",
        100.0 * result.accuracy(),
        result.correct,
        result.total,
        half.adjective(),
        shown(data),
        sampler.kind,
    )];
    if let Some(top_5) = evaluated.top_5() {
        lines.push(format!("top-5 accuracy {:.2} %", 100.0 * top_5));
    }
    if let (Some(accuracy), Some(f1)) = (scores.balanced_accuracy, scores.macro_f1) {
        let absent = match scores.without_images {
            0 => String::new(),
            absent => format!(" ({absent} of {} classes have no images)", class_names.len()),
        };
        lines.push(format!(
            "balanced accuracy {:.2} %{absent}, macro F1 {:.2} %",
            100.0 * accuracy,
            100.0 * f1
        ));
    }
    lines.push(class_table(class_names, scores));
    if result.per_block.len() > 1 {
        lines.push("the accuracy of each block inside the chain:".to_owned());
        let by_block = (1..).zip(&result.per_block);
        lines.extend(by_block.map(|(block, accuracy): (usize, _)| {
            format!("  block {block:>3}  {:.2} %", 100.0 * accuracy)
        }));
    }
    lines.join("\n")
}
