//! `noprop reproduce`: a table or a figure of the paper, made again by `noprop train` and `noprop eval`.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;
use noprop_data::DatasetName;
use noprop_experiment::reproduce::{
    Classification, Command, Halt, Images, Processes, Refusal, Request, Training, Worker, reproduce,
};
use noprop_experiment::shell::word;
use noprop_experiment::{Remark, Source};
use noprop_train::Existing;

use crate::args::Reproduce;
use crate::display::{self, Verbosity};
use crate::output::{Failed, answer, note};
use crate::stop;

fn request(args: &Reproduce) -> Request {
    let typed: Vec<OsString> = std::env::args_os().skip(1).collect();
    Request {
        what: args.what,
        dataset: args.dataset.clone(),
        rows: args.rows.clone(),
        seeds: args.seeds,
        runs: args.runs,
        epochs: args.epochs,
        eval_steps: args.eval_steps,
        budget: args.budget.map(|budget| budget.0),
        out: args.out.clone(),
        data_dir: args.data_dir.clone(),
        command: line(&typed),
    }
}

pub fn run(args: &Reproduce) -> Result<()> {
    let verbosity = Verbosity::of(args.quiet);
    let program = Program { args, verbosity, processes: stop::processes()? };
    let made = reproduce(&request(args), &program)?;
    if args.json {
        answer!("{}", serde_json::json!({ "files": made.files, "rows": made.rows }))?;
    } else {
        for path in &made.files {
            answer!("{}", path.display())?;
        }
    }
    match made.refusals.first() {
        _ if made.stopped => note!("stopped; the same command goes on from here"),
        None => {}
        Some(first) => return Err(rows_failed(&made.refusals, first).into()),
    }
    Ok(())
}

fn rows_failed(refusals: &[Refusal], first: &Refusal) -> Failed {
    let plural = if refusals.len() == 1 { "" } else { "s" };
    let mendable = refusals.iter().all(|refusal| refusal.code == 2);
    Failed::Rows {
        rows: format!("{} row{plural}", refusals.len()),
        first: first.line.clone(),
        code: if mendable { 2 } else { 1 },
    }
}

/// This program, as the worker of a reproduction.
struct Program<'a> {
    args: &'a Reproduce,
    verbosity: Verbosity,
    processes: Processes,
}

impl Worker for Program<'_> {
    fn run(&self, command: Command<'_>) -> Result<String, Halt> {
        let mut arguments = self.arguments(command);
        if let Command::Classify { .. } = command {
            arguments.push("--json".into());
        }
        self.processes.run(&arguments, |line| {
            if self.verbosity == Verbosity::Normal {
                note!("{line}");
            }
        })
    }

    fn typed(&self, command: Command<'_>) -> String {
        line(&self.arguments(command))
    }

    fn fetching(&self, name: DatasetName) -> String {
        let folder = &self.args.data_dir;
        let elsewhere = match folder == Path::new("data") {
            true => String::new(),
            false => format!(" --data-dir {}", folder.display()),
        };
        format!("run `noprop fetch {name}{elsewhere}` first")
    }

    fn stop_is_asked(&self) -> bool {
        self.processes.stop_is_asked()
    }

    fn remark(&self, remark: Remark) {
        display::print(remark, self.verbosity);
    }
}

impl Program<'_> {
    /// The words of a command after `noprop`.
    fn arguments(&self, command: Command<'_>) -> Vec<OsString> {
        match command {
            Command::Train { training, existing } => self.train(training, existing),
            Command::Resume { run, data } => {
                let mut words = vec!["train".into(), "--resume".into(), run.into()];
                words.extend(self.machine(data));
                words
            }
            Command::Classify { run, data, asked, steps } => {
                let Classification { images, sampler, seed } = asked;
                let mut words: Vec<OsString> = vec!["eval".into(), "--run".into(), run.into()];
                let half = (images != Images::Test).then(|| images.half().name().to_owned());
                words.extend(flag("split", half));
                words.extend(flag("sampler", Some(sampler)));
                words.extend(flag("steps", steps));
                words.extend(flag("seed", Some(seed)));
                words.extend(self.machine(data));
                words
            }
        }
    }

    fn train(&self, training: &Training, existing: Existing) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["train".into()];
        words.extend(flag("preset", Some(training.preset)));
        words.extend(flag("dataset", Some(&training.data)));
        if let Some((key, value)) = training.change.setting() {
            words.extend(flag(key, Some(value)));
        }
        words.extend(flag("steps", training.steps));
        words.extend(flag("validation", training.validation));
        words.extend(flag("epochs", Some(training.epochs)));
        words.extend(flag("seed", Some(training.seed)));
        words.extend(self.machine(&training.data));
        words.extend(["--out".into(), training.run.clone().into()]);
        if existing == Existing::Replace {
            words.push("--force".into());
        }
        words
    }

    /// The folder of the data sets, if the data lie in it and it is not the usual one, and the threads.
    fn machine(&self, data: &Source) -> Vec<OsString> {
        let folder = &self.args.data_dir;
        let elsewhere = matches!(data, Source::Known(name) if *name != DatasetName::MnistSample)
            && folder != Path::new("data");
        let mut words = Vec::new();
        if elsewhere {
            words.extend(["--data-dir".into(), folder.into()]);
        }
        words.extend(flag("threads", self.args.threads));
        words
    }
}

/// A flag with its value, if it has one.
fn flag(name: &str, value: Option<impl ToString>) -> impl Iterator<Item = OsString> {
    let words = value.map(|value| [format!("--{name}").into(), value.to_string().into()]);
    words.into_iter().flatten()
}

/// A command as one types it.
fn line(arguments: &[OsString]) -> String {
    let words: Vec<String> = arguments.iter().map(|argument| word(argument)).collect();
    format!("noprop {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use clap::Parser;
    use noprop_experiment::reproduce::{Plan, Target};
    use noprop_method::SamplerKind;

    use super::*;
    use crate::args::{Args, Command as Parsed};

    fn reproduce(flags: &[&str]) -> Reproduce {
        let line = ["noprop", "reproduce"].iter().chain(flags);
        match Args::try_parse_from(line).unwrap().command {
            Parsed::Reproduce(args) => args,
            _ => panic!("not a reproduction"),
        }
    }

    fn program(args: &Reproduce) -> Program<'_> {
        let verbosity = Verbosity::Quiet;
        Program { args, verbosity, processes: Processes::new(PathBuf::new(), Arc::default()) }
    }

    /// A row's command trains it, with the paper's settings.
    #[test]
    fn a_row_is_its_command() {
        let args = reproduce(&["table1", "--dataset", "mnist-sample", "--out", "a b"]);
        let (request, program) = (request(&args), program(&args));
        let plan = Plan::new(&request, &program).unwrap();
        let item = plan.items.iter().find(|item| item.recipe.name() == "dt-learned20").unwrap();
        let training = plan.training(item, 7, 2).unwrap();
        let command = Command::Train { training: &training, existing: Existing::Refuse };
        assert_eq!(
            program.typed(command),
            "noprop train --preset paper-mnist-dt-learned20 --dataset mnist-sample --validation 500 --epochs 7 --seed 2 \
             --out 'a b/runs/mnist-sample-dt-learned20-7-epochs-seed-2'"
        );
    }

    /// A row's command and its settings in the library are the same training.
    #[test]
    fn every_rows_command_has_its_settings() {
        for target in Target::ALL {
            let args =
                reproduce(&[target.name(), "--dataset", "mnist-sample", "--eval-steps", "30"]);
            let args = Reproduce {
                eval_steps: args.eval_steps.filter(|_| target == Target::Table1),
                ..args
            };
            let (request, program) = (request(&args), program(&args));
            let plan = Plan::new(&request, &program).unwrap();
            for item in &plan.items {
                let training = plan.training(item, 3, 1).unwrap();
                let arguments = program.train(&training, Existing::Refuse);
                let line = std::iter::once("noprop".into()).chain(arguments);
                let Parsed::Train(train) = Args::try_parse_from(line).unwrap().command else {
                    panic!("not a training");
                };
                let resolved = train.layers().resolve(|_| Ok(training.preset)).unwrap();
                assert_eq!(&resolved.setup, training.expected(), "{}", item.recipe.name());
            }
        }
    }

    /// Other solver steps are another training where they choose its epoch, and never change what the adjoint method learns.
    #[test]
    fn solver_steps_concern_continuous_time_alone() {
        let args = reproduce(&["table1", "--dataset", "mnist-sample", "--eval-steps", "30"]);
        let (request, program) = (request(&args), program(&args));
        let plan = Plan::new(&request, &program).unwrap();
        let commands = |row: &str| {
            let item = plan.items.iter().find(|item| item.recipe.name() == row).unwrap();
            let training = plan.training(item, 1, 0).unwrap();
            let sampler = SamplerKind::Stochastic;
            let asked = Classification { images: Images::Training, sampler, seed: 4 };
            let train = Command::Train { training: &training, existing: Existing::Refuse };
            let eval = item.classification(Path::new("RUN"), asked);
            (program.typed(train), program.typed(eval))
        };
        let (train, eval) = commands("ct-onehot");
        assert!(train.contains(" --steps 30 ") && train.contains("-1-epochs-30-steps-seed-0"));
        assert_eq!(
            eval,
            "noprop eval --run RUN --split train --sampler stochastic --steps 30 --seed 4"
        );
        let (train, eval) = commands("adjoint-onehot");
        assert!(!train.contains("steps") && eval.contains(" --steps 30 "), "{train} {eval}");
        let (train, eval) = commands("dt-onehot");
        assert!(!train.contains("steps") && !eval.contains("steps"), "{train} {eval}");
    }

    #[test]
    fn rows_are_chosen_by_name_and_data_sets_once() {
        let args = reproduce(&[
            "table1",
            "--dataset",
            "mnist-sample",
            "mnist-sample",
            "cifar10",
            "--data-dir",
            "/nowhere",
            "--rows",
            "fm-onehot,dt-onehot",
        ]);
        let wanted = request(&args);
        let plan = Plan::new(&wanted, &program(&args)).unwrap();
        let rows: Vec<_> = plan.items.iter().map(|item| item.recipe.name()).collect();
        assert_eq!(rows, ["dt-onehot", "fm-onehot"]);
        assert_eq!(plan.missing.len(), 1);
        assert!(plan.missing[0].reason.contains("noprop fetch cifar10 --data-dir /nowhere"));
        let args = reproduce(&["fig3", "--rows", "dt-onehot", "--dataset", "mnist-sample"]);
        assert!(Plan::new(&request(&args), &program(&args)).is_err());
        let args = reproduce(&["fig3", "--dataset", "mnist-sample", "folder:a/mnist-sample"]);
        let refused = Plan::new(&request(&args), &program(&args)).is_err();
        assert!(refused, "their runs would have the same names");
    }
}
