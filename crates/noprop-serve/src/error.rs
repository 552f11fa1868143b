//! The reasons why a server does not start, and the refusals of requests.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use noprop_experiment::Error;
use noprop_train::TrainError;
use serde_json::json;

use crate::reply::answer;

/// The reason why a server does not start, or ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Nothing can listen at the address: another program may do so already.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The host and the port.
        address: String,
        /// The reason that the operating system gives.
        source: io::Error,
    },
    /// The folder of runs is a file.
    #[error("{0} is not a folder, so runs cannot be in it")]
    NotAFolder(PathBuf),
    /// The operating system gave no random bytes for the token.
    #[error("a token could not be made: {0}")]
    Token(getrandom::Error),
    /// The server could not go on.
    #[error("the server ended: {0}")]
    Io(#[from] io::Error),
}

/// The refusal of a request: a status, and one sentence for a person.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub sentence: String,
}

impl Refusal {
    pub fn new(status: StatusCode, sentence: impl Display) -> Self {
        Self { status, sentence: sentence.to_string() }
    }

    /// The request asks for something that cannot be.
    pub fn bad(sentence: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    /// The thing that is asked for is not there, or not any more.
    pub fn missing(sentence: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, sentence)
    }

    /// The server or its files are at fault.
    pub fn failed(sentence: impl Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = answer(&json!({ "error": self.sentence }));
        *response.status_mut() = self.status;
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.root() {
            Error::Train(TrainError::RunLocked { .. }) => StatusCode::CONFLICT,
            Error::Train(TrainError::NotARun { .. }) => StatusCode::NOT_FOUND,
            Error::Io(_)
            | Error::Weights(_)
            | Error::Tensor(_)
            | Error::Train(
                TrainError::File { .. } | TrainError::Weights(_) | TrainError::Tensor(_),
            ) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error)
    }
}

impl From<TrainError> for Refusal {
    fn from(error: TrainError) -> Self {
        Error::from(error).into()
    }
}
