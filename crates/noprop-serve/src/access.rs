//! Checks of every request: the host, the origin, the content type and the token.
//!
//! A page of another site that is open in the same browser can send requests to this server. It cannot read the answers, but it could
//! start a training. Its requests have another origin, and a form has a content type that no request of our page has. A name that its
//! owner points to this machine (DNS rebinding) is another host.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use crate::error::{Refusal, ServeError};

/// The names of this machine for itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// The content types of a request with a body.
const CONTENT: [&str; 2] = ["application/json", "application/octet-stream"];

/// The hosts that requests may name, and the token that they must know.
#[derive(Debug)]
pub(crate) struct Access {
    /// The host that was given to listen on, if one was given.
    given: Option<String>,
    port: u16,
    /// The secret of a server that other machines can reach.
    token: Option<String>,
}

impl Access {
    /// For this machine alone, or for those that reach it as `host` and know a new token.
    ///
    /// # Errors
    /// [`ServeError::Token`].
    pub fn new(host: Option<&str>, port: u16) -> Result<Self, ServeError> {
        let token = host.map(|_| token()).transpose()?;
        Ok(Self { given: host.map(bracketed), port, token })
    }

    /// The address for a browser, with the token.
    pub fn address(&self) -> String {
        let host = match self.given.as_deref() {
            // A server on all addresses of this machine.
            Some("0.0.0.0" | "[::]") | None => LOOPBACK[1],
            Some(given) => given,
        };
        let token = self.token.as_ref().map_or_else(String::new, |token| format!("?token={token}"));
        format!("http://{host}:{}/{token}", self.port)
    }

    /// Returns whether a request is allowed to name `host`, which may have a port.
    fn knows(&self, host: &str) -> bool {
        let suffix = format!(":{}", self.port);
        let name = match host.strip_suffix(&suffix) {
            Some(name) => name,
            None if self.port == 80 => host,
            None => return false,
        };
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // A server on all addresses is reached by any of them. Rebinding needs a name.
        let any = matches!(self.given.as_deref(), Some("0.0.0.0" | "[::]"));
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        LOOPBACK.iter().any(|known| is(known))
            || self.given.as_deref().is_some_and(is)
            || any && is_address
    }

    /// Returns whether the headers hold the token, or none is needed.
    pub fn is_granted(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let values = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let name = self.cookie();
        let cookies = values(header::COOKIE).flat_map(|value| value.split(';'));
        let cookies = cookies.filter_map(|pair| pair.trim().strip_prefix(&*name));
        let cookies = cookies.filter_map(|rest| rest.strip_prefix('='));
        let bearers =
            values(header::AUTHORIZATION).filter_map(|value| value.strip_prefix("Bearer "));
        cookies.chain(bearers).any(|given| is_same(given, token))
    }

    /// The name of the cookie. Cookies do not tell ports apart.
    fn cookie(&self) -> String {
        format!("noprop-{}", self.port)
    }

    fn check(&self, request: &Request) -> Result<(), Refusal> {
        let (headers, uri) = (request.headers(), request.uri());
        let forbidden = |sentence| Err(Refusal::new(StatusCode::FORBIDDEN, sentence));
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let Some(host) = host.filter(|host| self.knows(host)) else {
            return forbidden("this server does not answer to that host name");
        };
        if uri.authority().is_some_and(|authority| !self.knows(authority.as_str())) {
            return forbidden("this server does not answer to that host name");
        }
        let same = |origin: &str| {
            origin.strip_prefix("http://").is_some_and(|from| from.eq_ignore_ascii_case(host))
        };
        let origins = headers.get_all(header::ORIGIN);
        if !origins.iter().all(|origin| origin.to_str().is_ok_and(same)) {
            return forbidden("pages of other sites have no access");
        }
        // A page of another site can ask for an image or a script without an origin; browsers say so in this header.
        let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
        if uri.path().starts_with("/api/") && matches!(site, Some("cross-site" | "same-site")) {
            return forbidden("pages of other sites have no access");
        }
        if request.method() == Method::POST {
            check_content(request)?;
        }
        if uri.path().starts_with("/api/")
            && uri.path() != "/api/engine"
            && !self.is_granted(headers)
        {
            return forbidden(
                "the token of this server is needed: open the address that it printed when it started",
            );
        }
        Ok(())
    }

    /// Answers the address that a person was given: keeps the token in a cookie, and leads to the same page without it.
    fn enter(&self, uri: &Uri) -> Option<Response> {
        let token = self.token.as_ref()?;
        let mut pairs: Vec<&str> = uri.query()?.split('&').collect();
        let given = pairs.iter().position(|pair| pair.starts_with("token="))?;
        let given = pairs.remove(given).trim_start_matches("token=");
        if !is_same(given, token) {
            let sentence =
                "this is not the token of this server: it has a new one whenever it is started";
            return Some(Refusal::new(StatusCode::FORBIDDEN, sentence).into_response());
        }
        let rest = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
        let cookie = format!("{}={token}; Path=/; HttpOnly; SameSite=Strict", self.cookie());
        Some(([(header::SET_COOKIE, cookie)], Redirect::to(&format!("/{rest}"))).into_response())
    }
}

/// Refuses a body of a form, which a page of another site can send without asking. A request without a body needs no type.
fn check_content(request: &Request) -> Result<(), Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_known = match kind.map(|kind| kind.to_str().unwrap_or_default()) {
        None => request.body().size_hint().exact() == Some(0),
        Some(kind) => {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            CONTENT.iter().any(|known| kind.eq_ignore_ascii_case(known))
        }
    };
    match is_known {
        true => Ok(()),
        false => {
            Err(Refusal::bad(format!("the content type must be {} or {}", CONTENT[0], CONTENT[1])))
        }
    }
}

/// Lets a request pass, or answers it.
pub(crate) async fn guard(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(refusal) = access.check(&request) {
        return refusal.into_response();
    }
    let entered = match request.uri().path() {
        "/" => access.enter(request.uri()),
        _ => None,
    };
    match entered {
        Some(response) => response,
        None => next.run(request).await,
    }
}

/// An address of IPv6 in brackets, as hosts have it; another host as it is.
fn bracketed(host: &str) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// 128 random bits as hexadecimal digits.
fn token() -> Result<String, ServeError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(ServeError::Token)?;
    let mut text = String::with_capacity(32);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Compares in a time that does not depend on the place of the first difference.
fn is_same(given: &str, secret: &str) -> bool {
    let pairs = given.bytes().zip(secret.bytes());
    given.len() == secret.len() && pairs.fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that a stranger points to this machine must not pass, whatever it looks like.
    #[test]
    fn only_its_own_names_are_known() {
        let own = Access::new(None, 8737).unwrap();
        for host in ["localhost:8737", "LOCALHOST:8737", "127.0.0.1:8737", "[::1]:8737"] {
            assert!(own.knows(host), "{host}");
        }
        let foreign = [
            "evil.example:8737",
            "localhost",
            "localhost:80",
            "localhost.evil.example:8737",
            "192.168.1.5:8737",
            ":8737",
            "",
        ];
        for host in foreign {
            assert!(!own.knows(host), "{host}");
        }
        assert!(Access::new(None, 80).unwrap().knows("localhost"));
        let all = Access::new(Some("0.0.0.0"), 8737).unwrap();
        assert!(all.knows("192.168.1.5:8737") && all.knows("[fe80::1]:8737"));
        assert!(!all.knows("evil.example:8737"));
        let named = Access::new(Some("box.local"), 8737).unwrap();
        assert!(named.knows("box.local:8737") && !named.knows("192.168.1.5:8737"));
    }
}
