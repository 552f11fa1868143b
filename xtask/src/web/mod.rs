//! `cargo xtask web` and `cargo xtask test-web`: the page that computes in a browser.
//!
//! | file | subject |
//! | --- | --- |
//! | `build.rs` | the folder: the page, the module and the trained model |
//! | `site.rs` | a static host for the folder |
//! | `browser.rs` | the page that computes in the browser, in Chromium |
//! | `served.rs` | the page of `noprop serve`, in Chromium |
//!
//! Their packages are behind the features `web` and `test-web`, which the chores turn on by a second call of cargo.

#[cfg(feature = "test-web")]
mod browser;
#[cfg(feature = "web")]
mod build;
#[cfg(feature = "test-web")]
mod served;
#[cfg(feature = "test-web")]
mod site;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

/// The options of `cargo xtask web`.
#[derive(Args)]
pub struct Options {
    /// The folder to write
    dir: PathBuf,
    #[command(flatten)]
    model: Model,
}

/// The model that the page opens with.
#[derive(Args)]
pub struct Model {
    /// The trained model that the page opens with
    #[arg(long, value_name = "FILE", default_value = "crates/noprop-pretrained/mnist.safetensors")]
    model: PathBuf,
}

#[cfg(feature = "web")]
pub fn run(options: &Options) -> Result<()> {
    build::run(&options.dir, &options.model.model)
}

#[cfg(feature = "test-web")]
pub fn test(model: &Model) -> Result<()> {
    browser::test(&model.model)
}

#[cfg(not(feature = "web"))]
pub fn run(options: &Options) -> Result<()> {
    again("web", &options.model, Some(&options.dir))
}

#[cfg(not(feature = "test-web"))]
pub fn test(model: &Model) -> Result<()> {
    again("test-web", model, None)
}

/// Carries out a chore with the feature of its name.
#[cfg(not(feature = "test-web"))]
fn again(chore: &str, Model { model }: &Model, dir: Option<&PathBuf>) -> Result<()> {
    use crate::workspace;
    let mut cargo = workspace::cargo(workspace::root()?, "run --quiet --package xtask");
    // Paths are those of the folder that the person is in.
    cargo.current_dir(std::env::current_dir()?).args(["--features", chore, "--", chore]);
    workspace::run(cargo.arg("--model").arg(model).args(dir))
}
