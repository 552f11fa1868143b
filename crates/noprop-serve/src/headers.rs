//! Headers of every answer, which tell a browser what the page may do; and answers of the router itself, in the form of all others.

use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

use crate::error::Refusal;

/// Nothing is loaded from elsewhere, nothing runs that is not a file of the page, and no other page may frame it. Pictures that a person
/// chooses are shown from memory.
const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// Headers that are set unless an answer has its own.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // Files of the page change with the program, and all else while it runs.
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Adds the headers to an answer. A refusal by the router becomes a sentence.
pub(crate) async fn dress(response: Response) -> Response {
    let status = response.status();
    let is_json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let mut response = match (status.is_client_error() || status.is_server_error()) && !is_json {
        true => Refusal::new(status, "this address cannot be read").into_response(),
        false => response,
    };
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
