//! The download of one file over HTTP, which continues where an earlier one broke off.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body, Proxy};

use crate::error::{Failure, Fault, FetchError, one_line};
use crate::event::{Event, Watch};

/// Connections to one mirror that may break before the next mirror is tried.
const TRIES: u32 = 5;
const CHUNK: usize = 1 << 16;
/// The time for a name to be resolved, and for a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// The time within which the next bytes must come. A slow but steady download has no overall limit.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// An HTTP client that waits for the next bytes as long as `silence`.
pub(crate) fn client(proxy: Option<Proxy>, silence: Duration) -> Agent {
    let config = Agent::config_builder()
        .proxy(proxy)
        .user_agent(concat!("noprop/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(5)
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(silence))
        .timeout_per_read(Some(silence));
    config.build().into()
}

/// The answer of a server.
struct Reply {
    /// The place in the file where it starts.
    start: u64,
    /// The size of the whole file, if the server gives it.
    total: Option<u64>,
    body: Body,
}

/// Downloads `url` to `part`, which may hold the beginning. Returns true if the file was joined from several answers, which
/// may have been of different versions.
///
/// After a fault, `part` holds the bytes that a later attempt continues from, or does not exist.
pub(crate) fn download(
    client: &Agent,
    url: &str,
    part: &Path,
    limit: u64,
    watch: &mut Watch<'_>,
) -> Result<bool, Failure> {
    let length = fs::metadata(part).map_or(0, |metadata| metadata.len());
    let mut have = if length > limit { 0 } else { length };
    let (from, file) = url.rsplit_once('/').unwrap_or(("", url));
    let mut joined = false;
    let mut tries = TRIES;
    loop {
        let Some(reply) = get(client, url, have)? else {
            // The server has no more bytes: the file may be complete. The hash decides.
            return Ok(true);
        };
        watch(Event::Begin { file, from, done: reply.start, total: reply.total });
        let (before, total) = (reply.start, reply.total);
        joined |= before > 0;
        let written = append(reply, part, limit, watch);
        if let Err(Failure::Source(Fault::Oversized(_)) | Failure::Fetch(_)) = written {
            // It is of no use, or takes the room that is missing.
            let _ = fs::remove_file(part);
        }
        have = written?;
        if total.is_none_or(|total| have >= total) {
            return Ok(joined);
        }
        // A server that has sent nothing will not begin to.
        tries -= 1;
        if tries == 0 || have == before {
            return Err(Fault::Broken(have).into());
        }
    }
}

/// Requests `url` from byte `from` on. `None` if the file has no more bytes.
fn get(client: &Agent, url: &str, from: u64) -> Result<Option<Reply>, Fault> {
    let mut request = client.get(url);
    if from > 0 {
        request = request.header(header::RANGE, format!("bytes={from}-"));
    }
    let response = request.call().map_err(fault)?;
    let (start, total) = match response.status() {
        StatusCode::OK => (0, response.body().content_length()),
        StatusCode::PARTIAL_CONTENT => {
            let range = content_range(&response).filter(|(start, _)| *start == from);
            range.ok_or(Fault::WrongRange)?
        }
        StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => return Ok(None),
        status => return Err(Fault::Status(status.as_u16())),
    };
    Ok(Some(Reply { start, total, body: response.into_body() }))
}

/// The start and the total of a `Content-Range`: (100, 200) for `bytes 100-199/200`.
fn content_range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let value = response.headers().get(header::CONTENT_RANGE)?;
    let (range, total) = value.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.parse().ok()?, total.parse().ok()))
}

/// Appends a reply to `part`, up to `limit` bytes in all. Returns the number of bytes that there are now; a connection that
/// breaks off is not an error here.
fn append(
    mut reply: Reply,
    part: &Path,
    limit: u64,
    watch: &mut Watch<'_>,
) -> Result<u64, Failure> {
    let oversized = || Failure::from(Fault::Oversized(limit));
    let disk = |e| FetchError::disk(part, e);
    if reply.total.is_some_and(|total| total > limit) {
        return Err(oversized());
    }
    let mut target = match reply.start {
        0 => File::create(part),
        _ => OpenOptions::new().append(true).open(part),
    }
    .map_err(disk)?;
    let mut have = reply.start;
    let mut body = reply.body.as_reader();
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = match body.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(_) if reply.total.is_some() => break,
            // Without a size, only the error tells a break from an end.
            Err(_) => return Err(Fault::Broken(have).into()),
        };
        have += n as u64;
        if have > limit {
            return Err(oversized());
        }
        let bytes = chunk.get(..n).unwrap_or_default();
        target.write_all(bytes).map_err(disk)?;
        watch(Event::Advance { bytes: n as u64 });
    }
    Ok(have)
}

fn fault(error: ureq::Error) -> Fault {
    match error {
        ureq::Error::Timeout(_) => Fault::TimedOut,
        ureq::Error::HostNotFound => Fault::Unreachable("the name cannot be resolved".into()),
        ureq::Error::Io(e) if e.kind() == ErrorKind::TimedOut => Fault::TimedOut,
        ureq::Error::Io(e) => Fault::Unreachable(one_line(&e)),
        other => Fault::Unreachable(one_line(&other)),
    }
}
