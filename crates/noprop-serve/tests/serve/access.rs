//! Requests that are let in, and those that are not.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::json;

use crate::support::Home;

/// A name that a stranger points to this machine must not read runs or start trainings (DNS rebinding), and nor may a page of a stranger.
#[tokio::test]
async fn other_hosts_and_pages_of_other_sites_have_no_access() {
    let home = Home::new();
    let with = async |method: &str, name: &str, value: &str| {
        let request = home.request(method, "/api/runs");
        let mut request = request.body(Body::empty()).unwrap();
        request.headers_mut().insert(
            axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
        home.send(request).await
    };
    let port = home.port;
    for host in ["evil.example", &format!("evil.example:{port}"), "127.0.0.1", "127.0.0.1:1", ""] {
        with("GET", "host", host).await.refusal(403);
    }
    with("GET", "host", &format!("localhost:{port}")).await.fine();
    let own = format!("http://127.0.0.1:{port}");
    with("GET", "origin", &own).await.fine();
    for origin in
        ["http://evil.example", "null", "http://127.0.0.1:1", &format!("https://127.0.0.1:{port}")]
    {
        with("GET", "origin", origin).await.refusal(403);
        with("POST", "origin", origin).await.refusal(403);
    }
    // An image or a script of another page has no origin.
    for site in ["cross-site", "same-site"] {
        with("GET", "sec-fetch-site", site).await.refusal(403);
    }
    with("GET", "sec-fetch-site", "same-origin").await.fine();
    let address = format!("http://evil.example:{port}/api/runs");
    let absolute = home.request("GET", &address).body(Body::empty()).unwrap();
    home.send(absolute).await.refusal(403);
    let mut nameless = home.request("GET", "/api/runs").body(Body::empty()).unwrap();
    nameless.headers_mut().remove("host");
    home.send(nameless).await.refusal(403);
}

/// A browser sends forms of other sites without asking whether it may.
#[tokio::test]
async fn what_a_form_can_send_is_refused() {
    let home = Home::new();
    let kinds = [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "text/plain; application/json",
    ];
    for kind in kinds {
        let request = home.request("POST", "/api/training").header("content-type", kind);
        let request = request.body(Body::from("{}")).unwrap();
        assert!(home.send(request).await.refusal(400).contains("content type"));
    }
    let request = home.request("POST", "/api/training").body(Body::from("{}")).unwrap();
    home.send(request).await.refusal(400);
    assert_eq!(home.get("/api/training").await.fine()["state"], "none");
}

/// A server that others can reach answers only those who were given its address.
#[tokio::test]
async fn a_server_for_others_wants_its_token() {
    let home = Home::reached_as("127.0.0.1");
    let address = home.server.address();
    let token = address.split_once("token=").unwrap().1.to_owned();
    assert_eq!(token.len(), 32);
    let with = async |name: &'static str, value: String| {
        let request = home.request("GET", "/api/runs").header(name, value);
        home.send(request.body(Body::empty()).unwrap()).await
    };
    home.get("/api/runs").await.refusal(403);
    home.post("/api/training", json!({})).await.refusal(403);
    let wrong = format!("{}{}", &token[..31], if token.ends_with('0') { '1' } else { '0' });
    for wrong in [wrong.as_str(), "", &token[..31], "x"] {
        with("authorization", format!("Bearer {wrong}")).await.refusal(403);
        with("cookie", format!("noprop-{}={wrong}", home.port)).await.refusal(403);
        home.get(&format!("/?token={wrong}")).await.refusal(403);
    }
    with("authorization", format!("Bearer {token}")).await.fine();
    with("cookie", format!("a=b; noprop-{}={token}", home.port)).await.fine();

    // The page itself holds no secret, and says what is missing.
    assert_eq!(home.get("/").await.status, StatusCode::OK);
    assert_eq!(home.get("/engine.json").await.fine()["token_needed"], true);
    let entered = home.get(&format!("/?a=1&token={token}")).await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER);
    assert_eq!(entered.headers["location"], "/?a=1");
    let cookie = entered.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap().to_owned();
    with("cookie", pair).await.fine();

    let own = Home::new();
    assert!(!own.server.address().contains("token"));
    assert_eq!(own.get("/engine.json").await.fine()["token_needed"], false);
}

/// Without these headers a browser would run what a run's folder holds, or show the page inside of another.
#[tokio::test]
async fn every_answer_tells_the_browser_what_it_may_do() {
    let home = Home::new();
    let addresses = [
        "/",
        "/main.js",
        "/api/runs",
        "/api/runs/first",
        "/nowhere",
        "/api/runs/nobody",
        "/api/models/x/samples/y",
    ];
    for address in addresses {
        let answer = home.get(address).await;
        let header = |name: &str| answer.headers[name].to_str().unwrap();
        assert!(header("content-security-policy").starts_with("default-src 'self'"), "{address}");
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{address}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{address}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{address}");
        assert_eq!(header("cache-control"), "no-store", "{address}");
        if !answer.status.is_success() {
            answer.refusal(answer.status.as_u16());
        }
    }
    let view = home.get("/api/runs/first").await.fine();
    let figures = view["figures"].as_array().unwrap();
    let svg = figures.iter().filter_map(|name| name.as_str()).find(|name| name.ends_with(".svg"));
    let drawing = home.get(&format!("/api/runs/first/figures/{}", svg.unwrap())).await;
    assert!(drawing.headers["content-security-policy"].to_str().unwrap().contains("sandbox"));
    assert_eq!(
        home.send(home.request("DELETE", "/api/runs").body(Body::empty()).unwrap())
            .await
            .status
            .as_u16(),
        405
    );
}
