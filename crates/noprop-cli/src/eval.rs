//! `noprop eval`: how well a trained network classifies. Labels count hits and do nothing else.

use anyhow::Result;
use noprop_data::Half;
use noprop_method::{Sampler, Seed};
use noprop_train::{ClassScores, Evaluation, Keep, evaluate_keeping};

use crate::answers::AnswersFile;
use crate::args::{Eval, Form};
use crate::class_table::class_table;
use crate::eval_images::{Asked, EvalImages};
use crate::images::bad_pictures;
use crate::output::answer;
use crate::shell::shown;
use crate::trained::Trained;

/// Top-5 accuracy is given where there are more classes than this.
const FEW_CLASSES: usize = 10;

pub fn run(args: &Eval) -> Result<()> {
    let answers = args.answers.as_deref().map(AnswersFile::new).transpose()?;
    let device = args.compute.device.open()?;
    let trained = Trained::open(&args.run, &device)?;
    let asked = Asked {
        half: args.split,
        dataset: args.dataset.as_ref(),
        data_dir: args.data_dir.as_deref(),
        bad: bad_pictures(args.skip_bad),
    };
    let found = EvalImages::open(&trained, asked)?;
    let images = trained.config.seen(&found.part.images)?.to_device(&device)?;
    let integration = trained.config.integration_of(args.solver, args.steps)?;
    let sampler =
        Sampler { kind: args.sampler, runs: args.runs, seed: Seed(args.seed), integration };
    let classes = &trained.config.images()?.class_names;
    let keep = match answers.is_some() || classes.len() > FEW_CLASSES {
        true => Keep::Probabilities,
        false => Keep::Class,
    };
    let Trained { network, objective, .. } = &trained;
    let result = evaluate_keeping(keep, network, &**objective, &images, &sampler)?;
    let written = match &answers {
        Some(file) => file.write(classes, &result, &|number| found.picture(number)),
        None => Ok(()),
    };
    let (half, data) = (args.split, &found.name);
    let report = Report { half, data, classes, result: &result, sampler: &sampler };
    match Form::of(args.json) {
        Form::Json => answer!("{}", report.json())?,
        Form::Words => answer!("{}", report.words())?,
    }
    // The numbers are printed even if the file could not be written.
    written
}

/// The numbers of an evaluation.
struct Report<'a> {
    half: Half,
    /// The name of the data set.
    data: &'a str,
    classes: &'a [String],
    result: &'a Evaluation,
    sampler: &'a Sampler,
}

impl Report<'_> {
    /// The share of images whose true class is among the five most probable; `None` where there are few classes.
    fn top_5(&self) -> Option<f64> {
        (self.classes.len() > FEW_CLASSES).then(|| self.result.accuracy_within(5)).flatten()
    }

    fn json(&self) -> serde_json::Value {
        let Self { half, result, sampler, .. } = self;
        let scores = ClassScores::of(&result.confusion);
        serde_json::json!({
            "split": half.name(),
            "accuracy": result.accuracy(),
            "correct": result.correct,
            "total": result.total,
            "balanced_accuracy": scores.balanced_accuracy,
            "macro_f1": scores.macro_f1,
            "top_5": self.top_5(),
            "sampler": sampler.kind.to_string(),
            "runs": sampler.runs,
            "seed": sampler.seed.0,
            "per_block": result.per_block,
            "steps": sampler.integration.map(|integration| integration.steps),
            "solver": sampler.integration.map(|integration| integration.solver),
            "class_names": self.classes,
            "per_class": scores.per_class,
            "classes_without_images": scores.without_images,
            "confusion": result.confusion,
        })
    }

    fn words(&self) -> String {
        let Self { result, sampler, .. } = self;
        let scores = ClassScores::of(&result.confusion);
        let averaged = match sampler.runs.get() {
            1 => "one run".to_owned(),
            runs => format!("{runs} runs averaged"),
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
            self.half.adjective(),
            shown(self.data),
            sampler.kind,
        )];
        if let Some(top_5) = self.top_5() {
            lines.push(format!("top-5 accuracy {:.2} %", 100.0 * top_5));
        }
        if let (Some(accuracy), Some(f1)) = (scores.balanced_accuracy, scores.macro_f1) {
            let absent = match scores.without_images {
                0 => String::new(),
                absent => format!(" ({absent} of {} classes have no images)", self.classes.len()),
            };
            lines.push(format!(
                "balanced accuracy {:.2} %{absent}, macro F1 {:.2} %",
                100.0 * accuracy,
                100.0 * f1
            ));
        }
        lines.push(class_table(self.classes, &scores));
        if result.per_block.len() > 1 {
            lines.push("what each block inside the chain answers:".to_owned());
            let by_block = (1..).zip(&result.per_block);
            lines.extend(by_block.map(|(block, accuracy): (usize, _)| {
                format!("  block {block:>3}  {:.2} %", 100.0 * accuracy)
            }));
        }
        lines.join("\n")
    }
}
