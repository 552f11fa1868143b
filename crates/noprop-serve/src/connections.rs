//! Connections: how many there are at a time, and how long one may say nothing. Each is an open file of a process that may be training,
//! and anyone can open one: a token is asked for later, with a request. Who asks again and again can still hold all places and keep others
//! from the page, but not end the training.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The bounds on connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Connections at a time; the others wait. Pages that watch a training hold one each.
    pub most: usize,
    /// The time in which the head of a request must arrive, the first as well as the next.
    pub head: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { most: 256, head: Duration::from_secs(30) }
    }
}

/// Answers connections until `end`, and then lets those that are open finish their answers.
pub(crate) async fn serve(
    mut listener: TcpListener,
    router: Router,
    bounds: Bounds,
    end: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(bounds.most));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head);
    let open = GracefulShutdown::new();
    let mut end = pin!(end);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            // `Listener::accept` waits and tries again if the process has too many open files.
            (place, Listener::accept(&mut listener).await)
        };
        let (place, (stream, _)) = tokio::select! {
            next = next => next,
            () = &mut end => break,
        };
        // Without it the last part of a reply waits up to 40 ms, until the browser has acknowledged the part before. Where it cannot be set
        // the replies are late and right.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            let _place = place;
            // An error means that the connection broke off, so no reply can be sent.
            let _ = connection.await;
        });
    }
    drop(listener);
    open.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    /// Longer than any answer takes: a test that hangs fails.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// The address of a server with these bounds.
    async fn served(most: usize, head: Duration) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(async || "here"));
        tokio::spawn(serve(listener, router, Bounds { most, head }, pending()));
        address
    }

    /// The answer of the server.
    async fn ask(address: SocketAddr) -> String {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
        connection.write_all(request).await.unwrap();
        let mut answer = String::new();
        let read = connection.read_to_string(&mut answer);
        timeout(PATIENCE, read).await.unwrap().unwrap();
        answer
    }

    /// Strangers who open connections and say nothing, or half of a request, must not keep others out for good.
    #[tokio::test]
    async fn silent_connections_are_closed() {
        let address = served(2, Duration::from_millis(100)).await;
        let mut silent = Vec::new();
        for start in ["", "GET / HTTP/1.1\r\nHost:"].into_iter().cycle().take(6) {
            let mut connection = TcpStream::connect(address).await.unwrap();
            connection.write_all(start.as_bytes()).await.unwrap();
            silent.push(connection);
        }
        let answer = ask(address).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        for mut connection in silent {
            // The end of the connection, or its reset.
            let _ = timeout(PATIENCE, connection.read_to_end(&mut Vec::new())).await.unwrap();
        }
    }

    /// A thousand connections would take all files that a process may open, and a training in it could not be saved. Those beyond the bound
    /// wait for a place.
    #[tokio::test]
    async fn connections_are_bounded() {
        let address = served(1, 60 * PATIENCE).await;
        let silent = TcpStream::connect(address).await.unwrap();
        let mut answer = pin!(ask(address));
        let early = timeout(Duration::from_millis(200), &mut answer).await;
        assert!(early.is_err(), "{early:?}");
        drop(silent);
        let answer = timeout(PATIENCE, answer).await.unwrap();
        assert!(answer.ends_with("here"), "{answer}");
    }
}
