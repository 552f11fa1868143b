//! `noprop fetch`: downloads, verifies and unpacks a data set. The work is noprop-data's.

use anyhow::Result;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use noprop_data::fetch::{Event, Progress, fetch};

use crate::args::Fetch;
use crate::output::{answer, note};

pub fn run(args: &Fetch) -> Result<()> {
    let mut display = Display(ProgressBar::no_length());
    if let Ok(style) = ProgressStyle::with_template("{msg}  {bytes}  {binary_bytes_per_sec}") {
        display.0.set_style(style);
    }
    let fetched = fetch(args.dataset, &args.data_dir, args.mirror.as_ref(), &mut display);
    display.0.finish_and_clear();
    let fetched = fetched?;
    answer!("{} is complete in {}", args.dataset, fetched.folder.display())?;
    Ok(())
}

/// A line that is rewritten on a terminal; elsewhere only what went wrong.
struct Display(ProgressBar);

impl Progress for Display {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Begin { file, done, total, .. } => {
                let size = total.map_or_else(String::new, |t| format!(" ({})", HumanBytes(t)));
                self.0.set_message(format!("{file}{size}"));
                self.0.set_position(done);
            }
            Event::Advance { bytes } => self.0.inc(bytes),
            Event::Failed { file, from, fault } => {
                self.0.suspend(|| note!("{file}: {from}: {fault}"));
            }
            _ => {}
        }
    }
}
