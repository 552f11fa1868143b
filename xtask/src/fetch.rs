//! `cargo xtask fetch-*`: gets a data set, and shows how it goes.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use noprop_data::DatasetName;
use noprop_data::fetch::{Event, Mirror, Progress, fetch};

/// Where from and where to.
#[derive(clap::Args)]
pub struct Options {
    /// Take the files from this address, or from this folder, instead of the public mirrors
    #[arg(long, value_name = "URL-OR-DIR")]
    mirror: Option<Mirror>,
    /// Folder that holds the data sets, one folder each
    #[arg(long, env = "NOPROP_DATA_DIR", default_value = "data", value_name = "DIR")]
    data_dir: PathBuf,
}

/// Gets the data set and says where it is.
pub fn run(name: DatasetName, options: &Options) -> Result<()> {
    let mut display = Display::new();
    let fetched = fetch(name, &options.data_dir, options.mirror.as_ref(), &mut display);
    display.end();
    let fetched = fetched?;
    let state = if fetched.new.is_empty() { "was there already" } else { "is ready" };
    let folder = fetched.folder.display();
    writeln!(std::io::stdout(), "{name} {state} in {folder}: every file has the right SHA-256")?;
    Ok(())
}

/// A bar on a terminal, a line an event elsewhere; on stderr.
struct Display {
    bar: Option<ProgressBar>,
    terminal: bool,
}

impl Display {
    fn new() -> Self {
        Self { bar: None, terminal: std::io::stderr().is_terminal() }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => {
                // Somebody who closed stderr does not want to know.
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
    }

    fn begin(&mut self, file: &str, from: &str, done: u64, total: Option<u64>) {
        self.end();
        if !self.terminal {
            let resumed = match done {
                0 => String::new(),
                n => format!(", from byte {n} on"),
            };
            self.line(&format!("{file} from {from}{resumed}"));
            return;
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left",
            None => "{msg} {bytes} {binary_bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(file.to_owned());
        bar.set_position(done);
        bar.reset_eta();
        self.bar = Some(bar);
    }
}

impl Progress for Display {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Begin { file, from, done, total } => self.begin(file, from, done, total),
            Event::Advance { bytes } => {
                if let Some(bar) = &self.bar {
                    bar.inc(bytes);
                }
            }
            Event::Verify { .. } => self.end(),
            Event::Failed { file, from, fault } => {
                self.end();
                self.line(&format!("{file}: {from}: {fault}"));
            }
            Event::SetAside { path } => {
                self.line(&format!("a file that was in the way is kept as {}", path.display()))
            }
            Event::AlreadyThere { file } => self.line(&format!("{file}: there already")),
            Event::Done { file } => self.line(&format!("{file}: right")),
            // Events to come need no words here.
            _ => {}
        }
    }
}
