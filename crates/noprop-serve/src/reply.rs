//! Bodies: JSON that is sent, and bytes of a bounded length that are received.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::timeout;

/// The time in which a body must arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers with JSON. Numbers that are not finite become null.
pub(crate) fn answer(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// JSON as a server-sent event. It has no line breaks.
pub(crate) fn event(json: &[u8]) -> Bytes {
    [b"data: ", json, b"\n\n"].concat().into()
}

/// The reason why a body was not received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    TooLong,
    TooSlow,
}

/// Receives a body of at most `most` bytes. One that is declared to be longer is refused before it arrives.
pub(crate) async fn receive(body: Body, most: usize) -> Result<Bytes, BodyFault> {
    if body.size_hint().lower() > most as u64 {
        return Err(BodyFault::TooLong);
    }
    match timeout(PATIENCE, to_bytes(body, most)).await {
        // Where the connection has ended, nobody reads the reason.
        Ok(received) => received.map_err(|_| BodyFault::TooLong),
        Err(_) => Err(BodyFault::TooSlow),
    }
}
