//! The weights of a run as a file to keep.

use std::path::Path;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use noprop_files::open_file;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::error::Refusal;

/// Bytes that are sent at a time: weights may be larger than memory.
const PIECE: usize = 1 << 16;

/// Sends `model.safetensors` of the run `id` in the folder `run`.
pub(crate) async fn file(id: &str, run: &Path) -> Result<Response, Refusal> {
    let gone = |_| Refusal::missing("this run has no weights");
    let file = File::from_std(open_file(&run.join("model.safetensors")).map_err(gone)?);
    let length = file.metadata().await.map_err(gone)?.len();
    let pieces = stream::unfold(file.take(length), async |mut file| {
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(read) => {
                piece.truncate(read);
                Some((Ok(Bytes::from(piece)), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    });
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name = if id.chars().all(is_plain) { id } else { "model" };
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.safetensors\"")),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
