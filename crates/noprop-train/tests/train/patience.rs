//! A training that ends early: after how many epochs, with which weights, and also where it was stopped or has several ranks.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use noprop_method::{EncoderKind, MethodKind, Sampler, SamplerKind};
use noprop_train::{
    Engine, Event, Fitting, MetricsLog, Outcome, Progress, RunDirectory, TrainConfig, Workers, fit,
};

use crate::case::{Case, ONEHOT, case};
use crate::distributed::Thread;
use crate::support::{self, StopAfter, few_images, model, new_run};

const CONFIG: TrainConfig = TrainConfig { epochs: 9, lr: 5e-3, ..support::CONFIG };
const SHARED: Case = case(MethodKind::DT, EncoderKind::Shared, ONEHOT);
const PATIENCE: Option<NonZeroU32> = NonZeroU32::new(2);
/// Steps of an epoch of [`few_images`].
const EPOCH: u64 = 3;

/// Trains well for two epochs and then spoils the weights, from the run's saved state if it has one.
fn go_on(run: &RunDirectory, engine: Engine, patience: Option<NonZeroU32>, stop: u32) -> Outcome {
    let images = few_images();
    let spoiled = |step| if step < 2 * EPOCH { CONFIG.lr } else { 0.5 };
    let trainer = SHARED.trainer(&images, CONFIG).rate(move |at| spoiled(at.step));
    let mut trainer = trainer.engine(engine);
    let progress = match Progress::read(run, "c") {
        Ok(progress) => {
            progress.restore(run, &mut trainer).unwrap();
            progress
        }
        Err(_) => Progress::start("c"),
    };
    let fitting = Fitting {
        run,
        validation: &images,
        sampler: Sampler::once(SamplerKind::Mean),
        metadata: "{}",
        patience,
        save_every: Duration::MAX,
    };
    fit(&mut trainer, &fitting, progress, &mut StopAfter(stop)).unwrap()
}

fn accuracies(run: &RunDirectory) -> Vec<f64> {
    let accuracy = |event| match event {
        Event::Epoch { validation_accuracy, .. } => Some(validation_accuracy),
        _ => None,
    };
    MetricsLog::read(&run.metrics()).unwrap().into_iter().filter_map(accuracy).collect()
}

/// The training ends after the patience, not an epoch sooner or later, with the weights of the best epoch. Stopped and resumed it is the
/// same training, and a resume of one that has ended trains no further.
#[test]
fn a_training_ends_early_with_its_best_weights() {
    let threads = || Engine::Threads(Workers::Auto);
    let dir = tempfile::tempdir().unwrap();
    let whole = new_run(&dir.path().join("whole"));
    let Outcome::Finished(all) = go_on(&whole, threads(), None, u32::MAX) else { panic!() };
    assert_eq!(all.epochs, CONFIG.epochs);
    let seen = accuracies(&whole);
    // What the patience must do, from the accuracies of the training without one.
    let best = |epochs: usize| {
        (0..epochs).fold(0, |best, epoch| if seen[epoch] >= seen[best] { epoch } else { best })
    };
    let end = (1..=seen.len()).find(|&epochs| epochs > best(epochs) + 2).unwrap();
    assert!(end < seen.len(), "nothing is spoiled: {seen:?}");

    let run = new_run(&dir.path().join("ended"));
    let Outcome::Finished(ended) = go_on(&run, threads(), PATIENCE, u32::MAX) else { panic!() };
    assert_eq!((ended.epochs as usize, ended.best.epoch as usize), (end, best(end) + 1));
    assert_eq!(accuracies(&run), &seen[..end]);
    let weights = model(&run);
    let Outcome::Finished(again) = go_on(&run, threads(), PATIENCE, u32::MAX) else { panic!() };
    assert_eq!((again.epochs, accuracies(&run).len()), (ended.epochs, end));

    let parts = new_run(&dir.path().join("in parts"));
    let stopped = go_on(&parts, threads(), PATIENCE, EPOCH as u32 + 1);
    assert_eq!(stopped, Outcome::Stopped { epoch: 1, step: 1 });
    let Outcome::Finished(resumed) = go_on(&parts, threads(), PATIENCE, u32::MAX) else { panic!() };
    assert_eq!((resumed.epochs, resumed.best), (ended.epochs, ended.best));
    assert!(model(&parts) == weights);
}

/// Rank 0 alone validates. If the others did not hear of the end, they would wait for its next step for ever.
#[test]
fn all_ranks_end_early_together() {
    let dir = tempfile::tempdir().unwrap();
    let run = &new_run(&dir.path().join("ranks"));
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let start = |rank: Thread| {
            let workers = Workers::Auto;
            let engine = Engine::Ranks { ranks: Arc::new(rank), workers };
            scope.spawn(move || go_on(run, engine, PATIENCE, u32::MAX))
        };
        let ranks: Vec<_> = Thread::among(2).into_iter().map(start).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    let [Outcome::Finished(first), Outcome::Trained] = outcomes[..] else { panic!("{outcomes:?}") };
    assert!(first.epochs == first.best.epoch + 2 && first.epochs < CONFIG.epochs, "{first:?}");
}
