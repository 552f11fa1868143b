//! `cargo xtask fetch-*`: fetches a data set, as `noprop fetch` does.

use std::io::{Write, stderr, stdout};
use std::path::PathBuf;

use anyhow::Result;
use noprop_fetch::Mirror;
use noprop_fetch::command::fetch_and_show;
use noprop_files::DatasetName;

/// The source and the target.
#[derive(clap::Args)]
pub struct Options {
    /// Take the files from this address, or from this folder, instead of the public mirrors
    #[arg(long, value_name = "URL-OR-DIR")]
    mirror: Option<Mirror>,
    /// Folder that holds the data sets, one folder each
    #[arg(long, env = "NOPROP_DATA_DIR", default_value = "data", value_name = "DIR")]
    data_dir: PathBuf,
}

/// Fetches the data set, and prints the folder that it is in.
pub fn run(name: DatasetName, options: &Options) -> Result<()> {
    let fetched = fetch_and_show(name, &options.data_dir, options.mirror.as_ref(), |line| {
        // A closed stderr must not end the download.
        let _ = writeln!(stderr(), "{line}");
    })?;
    writeln!(stdout(), "{name} is complete in {}", fetched.folder.display())?;
    Ok(())
}
