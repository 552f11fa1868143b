//! Requests that mean harm: paths that climb, bodies without end, pictures that would fill the memory, streams by the hundred.

use std::convert::Infallible;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use futures_util::stream;
use serde_json::json;
use tower::ServiceExt;

use crate::support::{Home, RUN, copy};

/// No path of a request reaches the file system: not even a run beside the folder of runs.
#[tokio::test]
async fn paths_do_not_climb() {
    let home = Home::new();
    copy(&home.runs().join(RUN), &home.dir.path().join("outside"));
    fs::write(home.dir.path().join("secret"), "a secret").unwrap();
    fs::write(home.runs().join(RUN).join("secret.png"), "a secret").unwrap();
    let ids = [
        "..%2Foutside",
        "%2e%2e%2foutside",
        "..",
        "%2e%2e",
        ".",
        "%2E",
        "first%2F..%2F..%2Foutside",
        "..%5Coutside",
        "first%00",
        "%2F",
        "%ff",
    ];
    for id in ids {
        for rest in ["", "/model.safetensors", "/figures/x.png"] {
            let answer = home.get(&format!("/api/runs/{id}{rest}")).await;
            assert!(matches!(answer.status.as_u16(), 400 | 404), "{id}{rest}: {answer:?}");
        }
        let answer = home.classify(id, "image=sample&index=0", Body::empty()).await;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{id}: {answer:?}");
    }
    let absolute = home.dir.path().join("outside");
    for id in ["../outside", "..", ".", "", absolute.to_str().unwrap()] {
        home.post("/api/training/resume", json!({ "run": id })).await.refusal(404);
        home.post("/api/compare", json!({ "runs": [id] })).await.refusal(404);
    }
    let names = ["..%2Fsecret.png", "%2e%2e%2fconfig.toml", "..%2F..%2F..%2Fsecret", "config.toml"];
    for name in names {
        home.get(&format!("/api/runs/{RUN}/figures/{name}")).await.refusal(404);
    }
    let files = [
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/..%2FCargo.toml",
        "/page/index.html",
        "//etc/passwd",
        "/./index.html",
    ];
    for address in files {
        home.get(address).await.refusal(404);
    }
}

/// A body that is too long is refused before it is in memory, whether it says so or not.
#[tokio::test]
async fn uploads_are_bounded() {
    let home = Home::new();
    let taken = Arc::new(AtomicUsize::new(0));
    let endless = stream::unfold(Arc::clone(&taken), async |taken| {
        taken.fetch_add(1, Ordering::SeqCst);
        Some((Ok::<_, Infallible>(Bytes::from_static(&[0; 1 << 20])), taken))
    });
    let answer = home.classify(RUN, "image=picture", Body::from_stream(endless)).await;
    assert!(answer.refusal(413).contains("16 MB"));
    assert!(taken.load(Ordering::SeqCst) <= 17, "{taken:?} MB were taken");

    let long = vec![b' '; (16 << 20) + 1];
    home.classify(RUN, "image=picture", long).await.refusal(413);
    let request = home.request("POST", "/api/training").header("content-type", "application/json");
    let request = request.body(Body::from(vec![b' '; (1 << 20) + 1])).unwrap();
    assert!(home.send(request).await.refusal(413).contains("1 MB"));
}

/// Over a real connection: the answer comes before a byte of the gigabyte that was announced.
#[test]
fn an_announced_gigabyte_is_refused_at_once() {
    let home = Home::new();
    let (port, stopper) = (home.port, home.server.stopper());
    let serving = std::thread::spawn(move || home.server.run());
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        connection,
        "POST /api/models/{RUN}/classify?image=picture HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: 1073741824\r\n\r\n"
    )
    .unwrap();
    let mut start = [0; 12];
    connection.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    drop(connection);
    stopper.stop();
    serving.join().unwrap().unwrap();
}

/// A few bytes that announce 60,000 × 60,000 pixels must not be believed.
#[tokio::test]
async fn a_picture_bomb_is_refused() {
    let home = Home::new();
    let bomb = png_header(60_000, 60_000);
    let sentence = home.classify(RUN, "image=picture", bomb).await.refusal(400);
    assert!(sentence.contains("picture"), "{sentence}");
    for bytes in [&b""[..], b"GIF89a", b"no picture"] {
        home.classify(RUN, "image=picture", bytes.to_vec()).await.refusal(400);
    }
    for side in ["0", "9", "65536", "18446744073709551615", "-1", "x"] {
        home.classify(RUN, &format!("image=drawing&side={side}"), vec![0; 100]).await.refusal(400);
    }
    home.classify(RUN, "image=drawing&side=10", vec![0; 100]).await.fine();
    for query in [
        "image=x",
        "image=sample",
        "image=sample&index=0&runs=0",
        "image=sample&index=0&runs=1000000",
        "image=sample&index=0&sampler=x",
        "image=sample&index=0&route=1,x",
        "",
    ] {
        home.classify(RUN, query, Body::empty()).await.refusal(400);
    }
    home.classify(RUN, "image=sample&index=1000", Body::empty()).await.refusal(404);
}

/// The beginning and the end of a PNG, with nothing between.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, 0, 0, 0, 0]);
    for (name, data) in [(b"IHDR", header.as_slice()), (b"IDAT", &[]), (b"IEND", &[])] {
        file.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        let body = [&name[..], data].concat();
        file.extend(&body);
        file.extend(crc32(&body).to_be_bytes());
    }
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

/// Streams that nobody reads take a place each, and no more than there are.
#[tokio::test]
async fn streams_are_counted_and_places_come_back() {
    let home = Home::new();
    let open = async || {
        let request = home.request("GET", "/api/training/events").body(Body::empty()).unwrap();
        home.router.clone().oneshot(request).await.unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..200 {
        let response = open().await;
        assert_eq!(response.status().as_u16(), 200);
        streams.push(response);
    }
    assert!(home.get("/api/training/events").await.refusal(503).contains("200"));
    // Everything else still answers.
    home.get("/api/training").await.fine();
    drop(streams.pop());
    assert_eq!(open().await.status().as_u16(), 200);
}
