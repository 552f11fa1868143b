//! Everything that answers requests, and the bound on the work that they may ask for at a time.

use std::sync::{Arc, Once};

use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;

use crate::access::Access;
use crate::error::Refusal;
use crate::models::Models;
use crate::reply::event;
use crate::request::Data;
use crate::runs::Runs;
use crate::trainer::{EVERY, Trainer};

/// Requests that may hold a body or read files at a time; the others wait.
const AT_WORK: usize = 8;
/// Pages that may watch the training at a time.
const STREAMS: usize = 200;

/// The parts of the server.
pub(crate) struct Site {
    pub access: Arc<Access>,
    pub runs: Runs,
    pub models: Models,
    pub data: Data,
    pub trainer: Trainer,
    work: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// The last event of the training, which all pages are sent.
    message: watch::Sender<Bytes>,
    speaks: Once,
    ended: watch::Sender<bool>,
}

impl Site {
    pub fn new(
        access: Arc<Access>,
        runs: Runs,
        models: Models,
        data: Data,
        trainer: Trainer,
    ) -> Self {
        Self {
            access,
            runs,
            models,
            data,
            trainer,
            work: Arc::new(Semaphore::new(AT_WORK)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            message: watch::Sender::new(Bytes::new()),
            speaks: Once::new(),
            ended: watch::Sender::new(false),
        }
    }

    /// Waits for a place among the requests at work.
    pub async fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = Arc::clone(&self.work).acquire_owned().await;
        place.map_err(|_| Refusal::failed("the server ends"))
    }

    /// Does work that reads files or computes, on a thread that may wait. The place is free again at its end, also where nobody waits
    /// for its result any more.
    pub async fn compute<T: Send + 'static>(
        self: Arc<Self>,
        place: OwnedSemaphorePermit,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let done = spawn_blocking(move || {
            let _place = place;
            work(&self)
        });
        done.await.unwrap_or_else(|_| Err(Refusal::failed("the server broke off this work")))
    }

    /// Messages on the training for one page, and its place among the pages that watch.
    ///
    /// # Errors
    /// 503 if too many watch.
    pub fn watch(
        self: &Arc<Self>,
    ) -> Result<(watch::Receiver<Bytes>, OwnedSemaphorePermit), Refusal> {
        let place = Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            let sentence =
                format!("{STREAMS} pages watch the training already: close some of them");
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
        })?;
        let messages = self.message.subscribe();
        self.speaks.call_once(|| {
            // From here on no change is missed.
            let changes = self.trainer.changes();
            tokio::spawn(Arc::clone(self).speak(changes));
        });
        Ok((messages, place))
    }

    /// Stops the training, waits until it is saved, and ends the streams.
    pub async fn end(&self) {
        self.trainer.close();
        self.trainer.idle().await;
        // Pages hear of it before their streams end.
        tokio::time::sleep(EVERY).await;
        self.ended.send_replace(true);
    }

    /// Waits for [`Self::end`].
    pub async fn ended(&self) {
        // The sender lives as long as this.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Writes a message whenever the training has changed, one for all pages.
    async fn speak(self: Arc<Self>, mut changes: watch::Receiver<u64>) {
        while changes.changed().await.is_ok() {
            if self.message.receiver_count() > 0 {
                self.message.send_replace(event(&self.trainer.message()));
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}
