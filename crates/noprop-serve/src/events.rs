//! The stream of messages on the training that a page listens to.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use crate::error::Refusal;
use crate::site::Site;

/// Sends the training as it is, and whenever it has changed. A page that is slow misses messages, and delays nobody.
pub(crate) async fn stream(State(site): State<Arc<Site>>) -> Result<Response, Refusal> {
    let (messages, place) = site.watch()?;
    let messages = stream::unfold((messages, place, true), move |(mut messages, place, first)| {
        let site = Arc::clone(&site);
        async move {
            let message = if first {
                site.trainer.message()
            } else {
                tokio::select! {
                    changed = messages.changed() => changed.ok()?,
                    () = site.ended() => return None,
                }
                messages.borrow_and_update().clone()
            };
            let text = String::from_utf8_lossy(&message).into_owned();
            Some((Ok::<_, Infallible>(Event::default().data(text)), (messages, place, false)))
        }
    });
    Ok(Sse::new(messages).keep_alive(KeepAlive::default()).into_response())
}
