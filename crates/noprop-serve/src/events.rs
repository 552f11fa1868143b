//! The stream of messages on the training that a page listens to: server-sent events, each with the training as JSON.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use crate::error::Refusal;
use crate::reply::event;
use crate::site::Site;

/// The time after which a stream without news says that it is there: so a connection that is gone is noticed.
const QUIET: Duration = Duration::from_secs(15);

/// Sends the training as it is, and whenever it has changed. A page that is slow misses messages, and delays nobody.
pub(crate) async fn stream(State(site): State<Arc<Site>>) -> Result<Response, Refusal> {
    let (messages, place) = site.watch()?;
    let first = event(&site.trainer.message());
    let messages =
        stream::unfold((Some(first), messages, place), move |(first, mut messages, place)| {
            let site = Arc::clone(&site);
            async move {
                let message = match first {
                    Some(first) => first,
                    None => tokio::select! {
                        changed = messages.changed() => {
                            changed.ok()?;
                            messages.borrow_and_update().clone()
                        }
                        () = site.ended() => return None,
                        () = tokio::time::sleep(QUIET) => Bytes::from_static(b":\n\n"),
                    },
                };
                Some((Ok::<_, Infallible>(message), (None, messages, place)))
            }
        });
    let kind = [(header::CONTENT_TYPE, "text/event-stream")];
    Ok((kind, Body::from_stream(messages)).into_response())
}
