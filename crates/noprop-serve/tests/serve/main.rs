//! The server as a browser, a stranger's page and a careless program meet it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod hostile;
mod runs;
mod support;
mod training;
