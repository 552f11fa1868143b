//! `noprop fetch`: downloads, verifies and unpacks a data set.

use anyhow::Result;
use noprop_fetch::command::fetch_and_show;

use crate::args::Fetch;
use crate::output::{answer, note};

pub fn run(args: &Fetch) -> Result<()> {
    let mirror = args.mirror.as_ref();
    let fetched = fetch_and_show(args.dataset, &args.data_dir, mirror, |line| note!("{line}"))?;
    answer!("{} is complete in {}", args.dataset, fetched.folder.display())?;
    Ok(())
}
