//! A trainer as a field of the user's struct, with the user's training loop and learning rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use noprop_data::Split;
use noprop_method::{Denoiser, EncoderKind, MethodKind, Sampler, SamplerKind};
use noprop_train::{Control, EpochReport, Observer, Silent, StateError, TrainError};

use crate::case::{BLOCKS, CaseTrainer, ONEHOT, case};
use crate::support::{CONFIG, bits, few_images, go_on_saving, new_run};

/// A struct of a program that embeds a trainer. It owns all its fields, and can be sent to a thread.
struct Session {
    trainer: CaseTrainer,
    held_out: Split,
}

impl Session {
    fn new() -> Self {
        let case = case(MethodKind::DT, EncoderKind::Shared, ONEHOT);
        let trainer = case.trainer(&few_images(), CONFIG);
        Self { trainer, held_out: few_images() }
    }

    fn correct(&self) -> usize {
        let sampler = Sampler::once(SamplerKind::Mean);
        self.trainer.evaluate(&self.held_out, &sampler).unwrap().correct
    }
}

/// A loop over steps, a loop over epochs and a whole run give the same training.
#[test]
fn a_loop_of_steps_is_a_loop_of_epochs_is_a_run() {
    let trained = |train: fn(&mut CaseTrainer)| {
        let mut session = Session::new();
        // A trainer may move to another thread during training.
        let session = std::thread::spawn(move || {
            train(&mut session.trainer);
            session
        });
        let session = session.join().unwrap();
        assert!(session.correct() <= 24);
        bits(session.trainer.network())
    };
    let steps = trained(|trainer| {
        while !trainer.is_done(0) {
            trainer.step().unwrap();
        }
    });
    let epochs = trained(|trainer| {
        for _ in 0..CONFIG.epochs {
            let losses = trainer.epoch().unwrap();
            assert_eq!(losses.len(), BLOCKS + 1);
        }
    });
    let run = trained(|trainer| assert_eq!(trainer.run(&mut Silent).unwrap(), Control::Continue));
    assert!(steps == epochs && steps == run);
}

/// The function of the learning rate is called at every step of every unit, and replaces the rate of the settings.
#[test]
fn a_learning_rate_of_the_users_own_is_used() {
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let mut trainer = Session::new().trainer.rate(move |position| {
        counter.fetch_max(position.step + 1, Ordering::Relaxed);
        assert_eq!(position.steps, 6);
        0.0
    });
    let before = bits(trainer.network());
    let reports = trainer.step().unwrap();
    assert!(reports.iter().all(|report| report.lr == 0.0));
    trainer.run(&mut Silent).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 6);
    let network = trainer.network();
    let parts = network.parameters().parts();
    let trained: Vec<_> =
        network.parameters().trainable(&parts).map(|parameter| &parameter.name).collect();
    // With a learning rate of 0 only the running statistics of batch norms change.
    let moved = bits(network).into_iter().zip(before).filter(|(after, before)| after != before);
    assert!(moved.map(|(after, _)| after.0).all(|name| !trained.contains(&&name)));
}

/// An observer that stops after the first epoch.
struct OneEpoch(u32);

impl Observer for OneEpoch {
    fn epoch(&mut self, report: &EpochReport) -> Control {
        self.0 += 1;
        assert_eq!((report.epoch, report.validation.is_none()), (self.0, true));
        Control::Stop
    }
}

#[test]
fn an_observer_can_stop_after_an_epoch() {
    let mut trainer = Session::new().trainer;
    let mut observer = OneEpoch(0);
    assert_eq!(trainer.run(&mut observer).unwrap(), Control::Stop);
    assert_eq!(observer.0, 1);
    assert!(!trainer.is_done(0));
}

/// A run that is recorded from another position than the trainer's would be resumed in the wrong place.
#[test]
fn a_progress_that_is_not_the_trainers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = new_run(&folder.path().join("run"));
    let Session { mut trainer, held_out } = Session::new();
    trainer.step().unwrap();
    let refused = go_on_saving(&mut trainer, &run, &held_out, Duration::MAX, &mut Silent);
    let is_refused = matches!(refused, Err(TrainError::State(StateError::OtherPosition { .. })));
    assert!(is_refused, "{refused:?}");
    assert!(!run.metrics().exists(), "nothing is recorded");
}
