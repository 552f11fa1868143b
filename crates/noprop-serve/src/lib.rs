//! The page of noprop, served on this machine: classify, train and compare runs in a browser.
//!
#![doc = include_str!("../README.md")]
//!
//! | file | subject |
//! | --- | --- |
//! | `server.rs`, `connections.rs`, `site.rs` | the server, and the bounds on its connections and its work |
//! | `routes.rs`, `reply.rs`, `headers.rs` | the addresses, bodies and headers |
//! | `access.rs` | who may ask |
//! | `page.rs` | the files of the page, which are part of the program |
//! | `models.rs`, `answers.rs` | models that classify |
//! | `runs.rs`, `stamp.rs`, `weights.rs` | runs and their files |
//! | `request.rs`, `trainer.rs`, `events.rs` | the training, and the pages that watch it |
//! | `error.rs`, `locked.rs` | errors and refusals; locks |

mod access;
mod answers;
mod connections;
mod error;
mod events;
mod headers;
mod locked;
mod models;
mod page;
mod reply;
mod request;
mod routes;
mod runs;
mod server;
mod site;
mod stamp;
mod trainer;
mod weights;

pub use error::ServeError;
pub use server::{Options, Server, Stopper};
