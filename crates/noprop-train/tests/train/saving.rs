//! Saves within epochs. A kill loses only the steps since the last save, and an error of the disk loses no saved state.

use std::fs;
use std::time::Duration;

use crate::case::{Case, CaseTrainer, ONEHOT, case};
use crate::killed::KilledAfter;
use crate::support::{few_images, go_on, go_on_saving, model, new_run};
use noprop_method::{EncoderKind, MethodKind, Sampler, SamplerKind};
use noprop_train::{
    Checkpoint, Control, Decay, Event, Existing, FileAction, Merging, MetricsLog, Observer, Order,
    Outcome, Progress, RunDirectory, Silent, StepReport, TrainConfig, TrainError, UnitFitting,
    fit_units, merge_units,
};

const EPOCHS: u32 = 2;
const NEVER: u32 = u32::MAX;
/// The weights are averaged, so that the averages are saved too.
const EMA: Option<f64> = Some(0.9);

/// A training on [`few_images`].
#[derive(Debug, Clone, Copy)]
struct Training {
    encoder: EncoderKind,
    batch_size: usize,
    /// The number of steps between two opportunities to save.
    stride: u32,
}

/// Blocks that share an encoder make three steps in an epoch, one in each call.
const SHARED: Training = Training { encoder: EncoderKind::Shared, batch_size: 8, stride: 1 };
/// Blocks that share nothing make twelve steps in an epoch, three in each call.
const APART: Training = Training { encoder: EncoderKind::Frozen, batch_size: 2, stride: 3 };

impl Training {
    fn steps(self) -> u32 {
        24 / u32::try_from(self.batch_size).unwrap()
    }

    fn case(self) -> Case {
        case(MethodKind::DT, self.encoder, ONEHOT)
    }

    /// Returns a trainer at the beginning of training.
    fn trainer(self) -> CaseTrainer {
        let batch_size = self.batch_size;
        let config = TrainConfig { epochs: EPOCHS, batch_size, ema: EMA, ..TrainConfig::default() };
        self.case().trainer(&few_images(), config)
    }

    /// Trains to the end, from the run's saved state if it has one.
    fn finish(self, run: &RunDirectory) {
        let outcome = go_on(&mut self.trainer(), run, &few_images(), NEVER);
        assert!(matches!(outcome, Outcome::Finished(_)), "{outcome:?}");
    }

    /// As [`Self::finish`], with a save at every opportunity.
    fn finish_saving(
        self,
        run: &RunDirectory,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        go_on_saving(&mut self.trainer(), run, &few_images(), Duration::ZERO, observer)
    }
}

/// A training that is killed in the second epoch, after a save in it, and resumed has the weights of a training without a kill.
/// The log contains every epoch once, although it was ahead of the saved state.
#[test]
fn killed_within_an_epoch_goes_on_to_the_same_bytes() {
    for training in [SHARED, APART] {
        let dir = tempfile::tempdir().unwrap();
        let whole = new_run(&dir.path().join("whole"));
        training.finish(&whole);

        let (saved, left) = (new_run(&dir.path().join("saved")), dir.path().join("left"));
        let killed = training.steps() + 2 * training.stride;
        training.finish_saving(&saved, &mut KilledAfter::new(killed, &saved, &left)).unwrap();
        assert!(model(&whole) == model(&saved), "{training:?}: saving changed something");

        let left = RunDirectory::open_to_write(&left).unwrap();
        let progress = Progress::read(&left, "c").unwrap();
        assert_eq!((progress.epoch, progress.step), (1, training.stride), "{training:?}");
        // The second epoch had ended and was in the log, but its state was not saved.
        fs::copy(saved.metrics(), left.metrics()).unwrap();
        training.finish(&left);
        assert!(model(&whole) == model(&left), "{training:?}");
        let events = MetricsLog::read(&left.metrics()).unwrap();
        let told: Vec<(&str, u32, u32)> = events
            .iter()
            .map(|event| match event {
                Event::Start { epoch, step, .. } => ("start", *epoch, *step),
                Event::Epoch { epoch, .. } => ("epoch", *epoch, 0),
                Event::Stop { epoch, step } => ("stop", *epoch, *step),
                Event::Pause { epoch, step, .. } => ("pause", *epoch, *step),
                Event::Test { .. } => ("test", 0, 0),
            })
            .collect();
        let expected =
            [("start", 0, 0), ("epoch", 1, 0), ("start", 1, training.stride), ("epoch", 2, 0)];
        assert_eq!(told, expected, "{training:?}");
    }
}

/// A save that fails ends the training. The state before it remains whole, and a resume from it gives the same bytes.
#[test]
fn a_save_that_fails_leaves_the_state_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let whole = new_run(&dir.path().join("whole"));
    SHARED.finish(&whole);
    let run = new_run(&dir.path().join("run"));
    // A file blocks the path of the second, third or fourth state's folder. The third state is that of the end of the first
    // epoch.
    for (in_the_way, saved) in [("2", (0, 1)), ("3", (0, 2)), ("4", (1, 0))] {
        let in_the_way = run.state().join(in_the_way);
        fs::create_dir_all(run.state()).unwrap();
        fs::write(&in_the_way, "").unwrap();
        let failed = SHARED.finish_saving(&run, &mut Silent).unwrap_err();
        let named = in_the_way.display().to_string();
        assert!(matches!(&failed, TrainError::File { action: FileAction::Write, .. }), "{failed}");
        assert!(failed.to_string().contains(&named), "{failed}");
        let progress = Progress::read(&run, "c").unwrap();
        assert_eq!((progress.epoch, progress.step), saved);
        fs::remove_file(&in_the_way).unwrap();
    }
    SHARED.finish(&run);
    assert!(model(&whole) == model(&run));
}

/// An observer that keeps the epoch and step of the first report.
#[derive(Default)]
struct First(Option<(u32, u32)>);

impl Observer for First {
    fn step(&mut self, reports: &[StepReport]) -> Control {
        self.0 = self.0.or(reports.first().map(|report| (report.epoch, report.step)));
        Control::Continue
    }
}

/// Units are saved within an epoch, as a whole training is, and their merge gives the same bytes as a whole training.
#[test]
fn units_killed_within_an_epoch_go_on_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let whole = new_run(&dir.path().join("whole"));
    APART.finish(&whole);

    let train = |run: &RunDirectory, save_every: Duration, observer: &mut dyn Observer| {
        let fitting = UnitFitting { run, config: "{}", existing: Existing::Refuse, save_every };
        let outcome = fit_units(&mut APART.trainer(), &fitting, observer).unwrap();
        assert_eq!(outcome, Outcome::Trained);
    };
    let join = |name: &str| RunDirectory::join(&dir.path().join(name), "", &[]).unwrap();
    let saved = join("saved");
    let left = dir.path().join("left");
    let killed = APART.steps() + 2 * APART.stride;
    train(&saved, Duration::ZERO, &mut KilledAfter::new(killed, &saved, &left));
    let left = join("left");
    let mut first = First::default();
    train(&left, Duration::MAX, &mut first);
    assert_eq!(first.0, Some((2, APART.stride + 1)));

    for run in [saved, left] {
        let merging = Merging {
            network: &APART.case().network(),
            method: &APART.case().objective(),
            validation: &few_images(),
            sampler: Sampler::once(SamplerKind::Mean),
            config: "{}",
            epochs: EPOCHS,
            order: Order::Batch,
            ema: EMA,
            images_per_epoch: 24,
        };
        merge_units(&run, &merging).unwrap();
        assert!(model(&whole) == model(&run), "{}", run.path().display());
    }
}

/// The last update of an epoch can leave weights that are not numbers, when its loss still was one. They replace neither the weights nor
/// the state of the epoch before.
#[test]
fn weights_that_are_no_numbers_replace_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let run = new_run(&dir.path().join("run"));
    let part = |epochs, lr| {
        // One step in an epoch. A step is about as long as its rate, and a steep one leaves what f32 can hold.
        let (batch_size, warmup_steps, lr_decay) = (24, 0, Decay::Constant);
        let config = TrainConfig {
            epochs,
            lr,
            lr_decay,
            batch_size,
            warmup_steps,
            ..TrainConfig::default()
        };
        let case = case(MethodKind::DT, EncoderKind::Shared, ONEHOT);
        let mut trainer = case.trainer(&few_images(), config);
        go_on_saving(&mut trainer, &run, &few_images(), Duration::MAX, &mut Silent)
    };
    let steep = |epochs| part(epochs, f64::from(f32::MAX)).unwrap_err();
    let error = steep(1);
    assert!(matches!(error, TrainError::Diverged { loss: None, epoch: 1, step: 1, .. }), "{error}");
    assert!(!run.model().exists() && Progress::read(&run, "c").is_err());

    assert!(matches!(part(1, 1e-3).unwrap(), Outcome::Finished(_)));
    let (weights, log) = (model(&run), fs::read(run.metrics()).unwrap());
    let error = steep(2);
    let saved = Checkpoint::Saved { path: run.state(), epoch: 1, step: 0 };
    assert!(
        matches!(&error, TrainError::Diverged { loss: None, epoch: 2, step: 1, checkpoint, .. } if *checkpoint == saved),
        "{error}"
    );
    assert!(model(&run) == weights && fs::read(run.metrics()).unwrap().starts_with(&log));
    assert!(matches!(part(2, 1e-3).unwrap(), Outcome::Finished(_)));
}
