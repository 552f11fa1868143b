//! Any number of ranks gives the bytes of a single process, also after a stop. Here the ranks are threads.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::case::{Case, CaseTrainer, LEARNED, ONEHOT, case};
use crate::killed::KilledAfter;
use crate::support::{self, few_images, go_on, go_on_saving, model, new_run};
use noprop_data::Split;
use noprop_method::{EncoderKind, MethodKind};
use noprop_train::{
    ClassWeights, Engine, Observer, OneRank, Order, Outcome, Progress, Ranks, RanksError,
    RunDirectory, Silent, Traffic, TrainConfig, Workers,
};

/// Settings in which every rank computes the class weights itself, and rank 0 needs the averages of the others.
const CONFIG: TrainConfig =
    TrainConfig { class_weights: ClassWeights::Balanced, ema: Some(0.9), ..support::CONFIG };

/// A rank on a thread, with a channel from each rank to each rank.
pub struct Thread {
    rank: usize,
    to: Vec<Sender<Vec<f32>>>,
    from: Vec<Mutex<Receiver<Vec<f32>>>>,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Thread {
    pub fn among(size: usize) -> Vec<Self> {
        let mut threads: Vec<Self> = (0..size)
            .map(|rank| Self {
                rank,
                to: Vec::new(),
                from: Vec::new(),
                sent: AtomicU64::new(0),
                received: AtomicU64::new(0),
            })
            .collect();
        for from in 0..size {
            for to in 0..size {
                let (sender, receiver) = channel();
                threads[from].to.push(sender);
                threads[to].from.push(Mutex::new(receiver));
            }
        }
        threads
    }

    fn send(&self, to: usize, numbers: Vec<f32>) -> Result<(), RanksError> {
        self.to[to].send(numbers).map_err(|_| RanksError::Gone(to))
    }

    fn hear(&self) -> Result<Vec<Vec<f32>>, RanksError> {
        let hear = |(rank, from): (usize, &Mutex<Receiver<Vec<f32>>>)| {
            let heard = from.lock().unwrap().recv().map_err(|_| RanksError::Gone(rank))?;
            let bytes = if rank == self.rank { 0 } else { 4 * heard.len() as u64 };
            self.received.fetch_add(bytes, Ordering::Relaxed);
            Ok(heard)
        };
        self.from.iter().enumerate().map(hear).collect()
    }
}

impl Ranks for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn gather(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, RanksError> {
        self.sent.fetch_add(4 * mine.len() as u64, Ordering::Relaxed);
        (0..self.size()).try_for_each(|to| self.send(to, mine.clone()))?;
        self.hear()
    }

    fn gather_first(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, RanksError> {
        self.sent.fetch_add(4 * mine.len() as u64, Ordering::Relaxed);
        self.send(0, mine)?;
        if self.is_first() { self.hear() } else { Ok(Vec::new()) }
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
        }
    }
}

/// Blocks share only the class embeddings; each block has its own encoder.
const LEARNED_EMBEDDINGS: Case = case(MethodKind::DT, EncoderKind::PerBlock, LEARNED);
/// Blocks share the class embeddings and an encoder.
const SHARED_ENCODER: Case = case(MethodKind::DT, EncoderKind::Shared, LEARNED);
/// Blocks share only an encoder; the readout is a separate unit.
const ONE_HOT: Case = case(MethodKind::DT, EncoderKind::Shared, ONEHOT);
/// Blocks share nothing.
const APART: Case = case(MethodKind::DT, EncoderKind::Frozen, ONEHOT);
/// Blocks share a noise schedule, and the readout learns with them.
const CONTINUOUS_TIME: Case =
    Case { intervals: 3, ..case(MethodKind::CT, EncoderKind::PerBlock, ONEHOT) };
/// Blocks take turns, so every rank trains all of them.
const IN_TURN: Case = Case { order: Order::Paper, ..LEARNED_EMBEDDINGS };

/// Trains as one rank, from the run's saved state if it has one, and stops after `stop` steps.
fn take_part(training: Case, run: &RunDirectory, ranks: Arc<dyn Ranks>, stop: u32) -> Outcome {
    with_trainer(training, ranks, |trainer, images| go_on(trainer, run, images, stop))
}

/// Calls `what` with the trainer of one rank and its images.
fn with_trainer<T>(
    training: Case,
    ranks: Arc<dyn Ranks>,
    what: impl FnOnce(&mut CaseTrainer, &Split) -> T,
) -> T {
    let images = few_images();
    let engine = Engine::Ranks { ranks, workers: Workers::Exactly(NonZeroUsize::MIN) };
    what(&mut training.trainer(&images, CONFIG).engine(engine), &images)
}

/// Runs every rank on its own thread. Returns the outcome and the traffic of rank 0.
fn together(
    training: Case,
    run: &RunDirectory,
    size: usize,
    stop_of_last: u32,
) -> (Outcome, Traffic) {
    let ranks = Thread::among(size);
    thread::scope(|scope| {
        let start = |rank: Arc<Thread>| {
            scope.spawn(move || {
                let stop = if rank.rank + 1 == rank.size() { stop_of_last } else { NEVER };
                let outcome = take_part(training, run, Arc::clone(&rank) as _, stop);
                assert!(rank.is_first() || !matches!(outcome, Outcome::Finished(_)));
                (outcome, rank.traffic())
            })
        };
        let running: Vec<_> = ranks.into_iter().map(Arc::new).map(start).collect();
        let mut ended = running.into_iter().map(|rank| rank.join().unwrap());
        let first = ended.next().unwrap();
        ended.for_each(drop);
        first
    })
}

const NEVER: u32 = u32::MAX;

/// A sum that depends on the spread of blocks over ranks would have other bits.
#[test]
fn any_number_of_processes_gives_the_bytes_of_one() {
    let dir = tempfile::tempdir().unwrap();
    for (number, training) in
        [LEARNED_EMBEDDINGS, SHARED_ENCODER, ONE_HOT, APART, CONTINUOUS_TIME, IN_TURN]
            .into_iter()
            .enumerate()
    {
        let run = |name: &str| new_run(&dir.path().join(format!("{number}-{name}")));
        let whole = run("whole");
        assert!(matches!(
            take_part(training, &whole, Arc::new(OneRank), NEVER),
            Outcome::Finished(_)
        ));
        for size in [1, 2, 4] {
            let spread = run(&size.to_string());
            let (outcome, traffic) = together(training, &spread, size, NEVER);
            assert!(matches!(outcome, Outcome::Finished(_)), "{training:?}: {outcome:?}");
            assert!(model(&whole) == model(&spread), "{training:?}, {size} ranks");
            assert_eq!(state_files(&whole), state_files(&spread), "{training:?}, {size} ranks");
            assert!((traffic.received > 0) == (size > 1));
        }
    }
}

/// Returns the weights and moments of the last save.
fn state_files(run: &RunDirectory) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for generation in std::fs::read_dir(run.state()).unwrap() {
        let path = generation.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(path).unwrap() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            files.push((name, std::fs::read(file.path()).unwrap()));
        }
    }
    files.sort();
    files
}

/// When it is time to save on one rank, all ranks save at the same step. Rank 0 writes the state with the weights and moments
/// of all ranks, and any number of processes can resume from it after a kill.
#[test]
fn a_training_that_was_saved_within_an_epoch_goes_on_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    for (number, training) in [LEARNED_EMBEDDINGS, ONE_HOT, APART, IN_TURN].into_iter().enumerate()
    {
        let whole = new_run(&dir.path().join(format!("{number}-whole")));
        take_part(training, &whole, Arc::new(OneRank), NEVER);
        for (before, after) in [(3, 1), (2, 3)] {
            let name = format!("{number}-{before}-{after}");
            let (run, left) = (&new_run(&dir.path().join(&name)), dir.path().join(name + "-left"));
            thread::scope(|scope| {
                for rank in Thread::among(before).into_iter().map(Arc::new) {
                    let mut killed = KilledAfter::new(3, run, &left);
                    scope.spawn(move || {
                        let is_last = rank.rank + 1 == rank.size();
                        let every = if is_last { Duration::ZERO } else { Duration::MAX };
                        let observer: &mut dyn Observer =
                            if rank.is_first() { &mut killed } else { &mut Silent };
                        with_trainer(training, rank, |trainer, images| {
                            go_on_saving(trainer, run, images, every, observer).unwrap()
                        });
                    });
                }
            });
            assert!(model(&whole) == model(run), "{training:?}: saving changed something");
            let left = RunDirectory::open_to_write(&left).unwrap();
            let progress = Progress::read(&left, "c").unwrap();
            assert_eq!((progress.epoch, progress.step), (0, 2), "{training:?}");
            let (finished, _) = together(training, &left, after, NEVER);
            assert!(matches!(finished, Outcome::Finished(_)));
            assert!(model(&whole) == model(&left), "{training:?}: {before}, then {after}");
        }
    }
}

/// When the observer of one rank stops, all ranks stop at the same step. Another number of processes can resume the training.
#[test]
fn a_stopped_training_goes_on_with_another_number_of_processes() {
    let dir = tempfile::tempdir().unwrap();
    for (number, training) in [LEARNED_EMBEDDINGS, APART].into_iter().enumerate() {
        let run = |name: &str| new_run(&dir.path().join(format!("{number}-{name}")));
        let whole = run("whole");
        take_part(training, &whole, Arc::new(OneRank), NEVER);
        for (before, after) in [(4, 2), (1, 3), (3, 1)] {
            let halves = run(&format!("{before}-{after}"));
            let (stopped, _) = together(training, &halves, before, 2);
            assert_eq!(stopped, Outcome::Stopped { epoch: 0, step: 2 }, "{training:?}");
            let (finished, _) = together(training, &halves, after, NEVER);
            assert!(matches!(finished, Outcome::Finished(_)));
            assert!(model(&whole) == model(&halves), "{training:?}: {before}, then {after}");
        }
    }
}
