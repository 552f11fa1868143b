//! `noprop completions` and `noprop man`, made from the command line itself.

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_mangen::Man as Page;

use crate::args::{Args, Completions, Man};
use crate::output::answer_bytes;

/// Prints the completions of a shell.
pub fn completions(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "noprop", &mut script);
    answer_bytes(&script)
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
    answer_bytes(&page)
}
