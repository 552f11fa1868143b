//! `noprop completions` and `noprop man`, made from the command line itself.

use std::io::Write;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_mangen::Man as Page;

use crate::args::{Args, Completions, Man};
use crate::output::ReaderGone;

/// Prints the completions of a shell.
pub fn completions(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "noprop", &mut script);
    print(&script)
}

/// Prints the manual page of the program, or of a command.
pub fn page(args: &Man) -> Result<()> {
    let mut program = Args::command();
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => program
            .find_subcommand(name)
            .with_context(|| format!("there is no command {name}: see noprop --help"))?
            .clone()
            .name(format!("noprop-{name}").leak() as &str),
    };
    let mut page = Vec::new();
    Page::new(command).render(&mut page)?;
    print(&page)
}

fn print(text: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text).and_then(|()| stdout.flush()).map_err(|_| ReaderGone.into())
}
