//! The training of the server: one at a time, on a thread of its own with threads of its own. Pages watch it, and none can delay it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::StatusCode;
use noprop_experiment::candle_core::Device;
use noprop_experiment::watch::{Epoch, Pause, State, Training};
use noprop_experiment::{
    Control, Ending, EpochReport, Error, Length, Means, Moved, NewRun, Observer, Progress, Remark,
    StepReport, resume, train,
};
use tokio::sync::{oneshot, watch};

use crate::error::Refusal;
use crate::locked::locked;

/// The time between two messages to a page.
pub(crate) const EVERY: Duration = Duration::from_millis(200);
/// The most epochs that a message holds, beside the last: a chart shows no more. The view of the run has all of them.
const MOST_EPOCHS: u32 = 1000;

/// A training to carry out.
pub(crate) enum Job {
    New(Box<NewRun>),
    Resume(PathBuf, Moved),
}

/// The training, and what it is asked for.
pub(crate) struct Trainer {
    device: Device,
    shared: Arc<Shared>,
}

struct Shared {
    training: Mutex<Training>,
    stop: AtomicBool,
    /// Whether no training may begin any more. It is read and set under the lock of `training`.
    closed: AtomicBool,
    /// Counts the changes that pages should see. A page that is slow sees the last one.
    changes: watch::Sender<u64>,
}

/// The answer to the request that started a training: it has begun, or the reason why not.
pub(crate) type Begun = oneshot::Receiver<Result<(), Refusal>>;

impl Trainer {
    pub fn new(device: Device) -> Self {
        let shared = Shared {
            training: Mutex::default(),
            stop: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            changes: watch::Sender::new(0),
        };
        Self { device, shared: Arc::new(shared) }
    }

    /// Starts a training, which is shown as `planned`.
    ///
    /// # Errors
    /// 409 if there is one already, 503 if the server ends.
    pub fn start(&self, job: Job, planned: Training) -> Result<Begun, Refusal> {
        let mut training = locked(&self.shared.training);
        if self.shared.closed.load(Ordering::SeqCst) {
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server ends"));
        }
        if training.is_under_way() {
            let sentence = "a training is under way, and there is one at a time: stop it first";
            return Err(Refusal::new(StatusCode::CONFLICT, sentence));
        }
        let (tell, begun) = oneshot::channel();
        let (shared, device) = (Arc::clone(&self.shared), self.device.clone());
        shared.stop.store(false, Ordering::SeqCst);
        let earlier = std::mem::replace(&mut *training, planned);
        let watcher = Watcher { shared, tell: Some(tell), shown: Instant::now(), epochs: 0 };
        let name = thread::Builder::new().name("training".into());
        let before = earlier.clone();
        let spawned = name.spawn(move || watcher.carry_out(&job, &device, before));
        if let Err(error) = spawned {
            *training = earlier;
            return Err(Refusal::failed(error));
        }
        drop(training);
        self.shared.tell();
        Ok(begun)
    }

    /// Asks the training to save and stop, and returns without waiting for it. Returns whether there is one.
    pub fn stop(&self) -> bool {
        let mut training = locked(&self.shared.training);
        if !training.is_under_way() {
            return false;
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        training.state = State::Stopping;
        drop(training);
        self.shared.tell();
        true
    }

    /// Lets no training begin any more, and stops the one that is under way.
    pub fn close(&self) {
        let training = locked(&self.shared.training);
        self.shared.closed.store(true, Ordering::SeqCst);
        drop(training);
        self.stop();
    }

    /// Pauses a block, or lets it go on: at the next step, on a GPU at the next epoch.
    ///
    /// # Errors
    /// 409 if no training is under way, 400 if it has no such block to pause.
    pub fn pause(&self, block: usize, pause: Pause) -> Result<(), Refusal> {
        let mut training = locked(&self.shared.training);
        if !training.is_under_way() {
            return Err(Refusal::new(StatusCode::CONFLICT, "no training is under way"));
        }
        training.pause(block, pause).map_err(Refusal::bad)?;
        drop(training);
        self.shared.tell();
        Ok(())
    }

    /// Waits until no training computes.
    pub async fn idle(&self) {
        let mut changes = self.changes();
        while locked(&self.shared.training).is_under_way() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Counts the changes of the training.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// The training as JSON.
    pub fn message(&self) -> Bytes {
        // Its steps wait while it is copied, and not until it is written.
        let training = {
            let mut training = locked(&self.shared.training);
            training.measure();
            training.clone()
        };
        // The types of its fields can all be written.
        serde_json::to_vec(&training).unwrap_or_default().into()
    }
}

impl Shared {
    fn tell(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}

/// Sees a training and notes what pages are told.
struct Watcher {
    shared: Arc<Shared>,
    /// Answers the request, once.
    tell: Option<oneshot::Sender<Result<(), Refusal>>>,
    shown: Instant,
    /// Epochs of the whole training, once it has begun.
    epochs: u32,
}

impl Watcher {
    /// Trains to the end, on this thread. `before` is shown again if the training does not begin.
    fn carry_out(mut self, job: &Job, device: &Device, before: Training) {
        let done = catch_unwind(AssertUnwindSafe(|| self.compute(job, device)));
        let mut training = locked(&self.shared.training);
        match (done, self.tell.take()) {
            (Ok(Ok(Some(accuracy))), _) => {
                training.test_accuracy = Some(accuracy);
                training.end(State::Finished);
            }
            (Ok(Ok(None)), _) => training.end(State::Stopped),
            // It was refused before its first step.
            (Ok(Err(error)), Some(tell)) => {
                *training = before;
                // The page that asked may be gone.
                let _ = tell.send(Err(error.into()));
            }
            (Ok(Err(error)), None) => {
                training.error = Some(error.to_string());
                training.end(State::Failed);
            }
            (Err(panic), _) => {
                training.error = Some(format!("the training broke off: {}", words(&*panic)));
                training.end(State::Failed);
            }
        }
        drop(training);
        self.shared.tell();
    }

    /// Returns the accuracy on the test images, or nothing if it was stopped.
    ///
    /// Its threads are its own: a classification that waits on a shared thread could be given the training to carry out.
    fn compute(&mut self, job: &Job, device: &Device) -> Result<Option<f64>, Error> {
        let threads = rayon::current_num_threads();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| Error::Io(std::io::Error::other(error)))?;
        pool.install(|| {
            let means = Means::on(device);
            let ending = match job {
                Job::New(new) => train(new, means, self)?,
                Job::Resume(run, moved) => resume(run, moved, None, means, self)?,
            };
            let Ending::Finished(finished) = ending else { return Ok(None) };
            if let Err(error) = finished.draw() {
                // The training is done and saved nevertheless.
                self.remark(Remark::Warning(format!("the figures could not be drawn: {error}")));
            }
            Ok(Some(finished.test.accuracy()))
        })
    }
}

impl Observer for Watcher {
    fn step(&mut self, reports: &[StepReport]) -> Control {
        locked(&self.shared.training).step(reports);
        if self.shown.elapsed() >= EVERY {
            self.shown = Instant::now();
            self.shared.tell();
        }
        match self.shared.stop.load(Ordering::SeqCst) {
            true => Control::Stop,
            false => Control::Continue,
        }
    }

    fn paused(&mut self) -> Vec<usize> {
        locked(&self.shared.training).paused().into()
    }

    fn epoch(&mut self, report: &EpochReport) -> Control {
        let mut training = locked(&self.shared.training);
        training.epoch(report);
        training.thin(|epoch| is_told(epoch, self.epochs));
        drop(training);
        self.shared.tell();
        Control::Continue
    }
}

impl Progress for Watcher {
    fn remark(&mut self, remark: Remark) {
        locked(&self.shared.training).remark(&remark);
    }

    fn begin(&mut self, _: &Path, length: Length) {
        self.epochs = length.epochs;
        locked(&self.shared.training).begin(length);
        self.shared.tell();
        if let Some(tell) = self.tell.take() {
            // The page that asked may be gone.
            let _ = tell.send(Ok(()));
        }
    }
}

/// Returns whether messages hold epoch `epoch` of a training of `epochs` epochs: they hold the first, the last and, of many, some between.
fn is_told(epoch: u32, epochs: u32) -> bool {
    let stride = epochs.div_ceil(MOST_EPOCHS).max(1);
    epoch == epochs || epoch.saturating_sub(1).is_multiple_of(stride)
}

/// The epochs of `history` that messages hold, of a training of `epochs` epochs. The last of them is kept.
pub(crate) fn told(mut history: Vec<Epoch>, epochs: u32) -> Vec<Epoch> {
    let last = history.last().map(|epoch| epoch.epoch);
    history.retain(|epoch| is_told(epoch.epoch, epochs) || Some(epoch.epoch) == last);
    history
}

/// The words of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason is known")
}

#[cfg(test)]
mod tests {
    use noprop_method::Part;
    use noprop_train::Loss;
    use serde_json::Value;

    use super::*;

    /// Every page is sent five messages a second: those of a training of days must stay short, and tell its first and its last epoch.
    #[test]
    fn messages_of_a_long_training_stay_short() {
        let trainer = Trainer::new(Device::Cpu);
        let shared = Arc::clone(&trainer.shared);
        let mut watcher = Watcher { shared, tell: None, shown: Instant::now(), epochs: 0 };
        let epochs = 100_000;
        watcher.begin(Path::new("run"), Length { epochs, steps_per_epoch: 1, done: 0 });
        let loss = |block| Loss { part: Part::Block(block), loss: 0.1 + 0.2, error: 0.1 + 0.2 };
        for epoch in 1..=epochs {
            watcher.epoch(&EpochReport {
                epoch,
                losses: (1..=10).map(loss).collect(),
                validation: None,
                images_per_second: 1e5 / 3.0,
                seconds: 1.0 / 3.0,
            });
        }
        let message = trainer.message();
        assert!(message.len() < 1_000_000, "{} bytes", message.len());
        let training: Value = serde_json::from_slice(&message).unwrap();
        let history = training["history"].as_array().unwrap();
        let [first, .., last] = history.as_slice() else { panic!("{} epochs", history.len()) };
        assert_eq!((&first["epoch"], &last["epoch"]), (&Value::from(1), &Value::from(epochs)));
    }

    /// A training that goes on shows the epochs of its log. A short one shows all, a long one some and the last.
    #[test]
    fn the_history_of_a_long_training_is_thinned() {
        let log = |epochs: u32| -> Vec<Epoch> {
            let of = |epoch| Epoch {
                epoch,
                validation: None,
                losses: Vec::new(),
                seconds: 1.0,
                images_per_second: 1.0,
            };
            (1..=epochs).map(of).collect()
        };
        assert_eq!(told(log(1000), 1000), log(1000));
        assert!(told(Vec::new(), 0).is_empty());
        let kept = told(log(303), 100_000);
        let kept: Vec<u32> = kept.iter().map(|epoch| epoch.epoch).collect();
        assert_eq!(kept, [1, 101, 201, 301, 303]);
    }
}
