//! `noprop serve`.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use noprop_experiment::Source;
use noprop_serve::{Options, Server};
use noprop_train::RunDirectory;

use crate::args::Serve;
use crate::output::note;
use crate::stop;

/// The programs that open an address in the browser of the system.
#[cfg(target_os = "macos")]
const OPENERS: &[&[&str]] = &[&["open"]];
#[cfg(windows)]
const OPENERS: &[&[&str]] = &[&["cmd", "/C", "start", ""]];
#[cfg(not(any(target_os = "macos", windows)))]
const OPENERS: &[&[&str]] = &[&["xdg-open"]];

pub fn run(args: &Serve) -> Result<()> {
    if let Some(run) = &args.run {
        RunDirectory::open(run)?;
    }
    let folders = args.data.iter().map(|source| match source {
        Source::Folder(path) => Ok(path.clone()),
        Source::Known(name) => {
            bail!("--data is for folder:PATH; {name} is looked for in --data-dir")
        }
        Source::Memory => bail!("--data is for folder:PATH"),
    });
    let server = Server::bind(Options {
        runs: args.runs.clone(),
        run: args.run.clone(),
        data_dir: args.data_dir.clone(),
        folders: folders.collect::<Result<_>>()?,
        host: args.host.clone(),
        port: args.port,
        device: args.compute.device.open()?,
    })?;
    let stopper = server.stopper();
    let listening = stop::on_request(move |number| {
        if number > 1 {
            std::process::exit(130);
        }
        stopper.stop();
        note!("\nending; a training is saved first; press Ctrl-C again to end at once");
    });
    if let Err(error) = listening {
        note!("warning: Ctrl-C ends a training without saving: {error}");
    }
    let address = server.address();
    note!("noprop is at {address}");
    if args.open {
        open(&address);
    }
    Ok(server.run()?)
}

/// Opens the address in a browser, where there is one.
fn open(address: &str) {
    let opened = OPENERS.iter().any(|opener| {
        let (program, arguments) = opener.split_first().unwrap_or((&"", &[]));
        let mut command = Command::new(program);
        command.args(arguments).arg(address);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().is_ok()
    });
    if !opened {
        note!("no browser was found: open the address yourself");
    }
}
