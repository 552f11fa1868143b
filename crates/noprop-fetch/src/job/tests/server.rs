//! A server on this machine, which answers as a test wants.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::mirror::Mirror;

/// A request to the server.
pub struct Request {
    pub path: String,
    /// From `Range: bytes=<from>-`.
    pub from: Option<usize>,
    /// The number of requests before it.
    pub nth: usize,
}

/// Starts a server that runs until the test process ends. Returns the address of its root, and the ranges it is asked for.
pub fn serve(
    answer: impl Fn(&Request, &mut TcpStream) + Send + 'static,
) -> (Mirror, Arc<Mutex<Vec<Option<usize>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&log);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            let mut from = None;
            for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
                let line = line.to_ascii_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    from = range.trim_end_matches('-').parse().ok();
                }
            }
            let mut log = requests.lock().unwrap();
            let request =
                Request { path: first.split(' ').nth(1).unwrap().into(), from, nth: log.len() };
            log.push(from);
            drop(log);
            answer(&request, &mut stream);
        }
    });
    (Mirror::Url(format!("http://{address}/")), log)
}

pub fn send(stream: &mut TcpStream, head: &str, body: &[u8]) {
    // The client may rightly have hung up.
    let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(body);
    let _ = stream.flush();
}

/// Answers with the rest of `body` from byte `from` on, of which only the bytes up to `end` are sent.
pub fn send_part(stream: &mut TcpStream, body: &[u8], from: Option<usize>, end: usize) {
    let length = body.len();
    let first = from.unwrap_or(0);
    let head = format!("Content-Length: {}", length - first);
    let head = match from {
        None => format!("200 OK\r\n{head}"),
        Some(_) => format!(
            "206 Partial Content\r\n{head}\r\nContent-Range: bytes {first}-{}/{length}",
            length - 1
        ),
    };
    send(stream, &head, &body[first..end]);
}

/// Answers as a good server does, with the whole file or with the range asked for.
pub fn send_file(request: &Request, stream: &mut TcpStream, body: &[u8]) {
    match request.from {
        Some(from) if from >= body.len() => send(stream, "416 Range Not Satisfiable", b""),
        from => send_part(stream, body, from, body.len()),
    }
}
