//! The manual pages and the completions of shells, generated from the definition of the command line.

use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use super::output::print_bytes;
use crate::service::Failure;

/// Prints toyhub(1), or writes the pages of all commands into `out`.
pub fn pages(command: &Command, out: Option<&Path>) -> Result<(), Failure> {
    match out {
        None => print_bytes(&page(command).map_err(Failure::Output)?),
        Some(folder) => std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command.clone(), folder))
            .map_err(|error| Failure::Command(format!("{}: {error}", folder.display()))),
    }
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    // As `generate_to` does, so that both write the same page.
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let mut text = Vec::new();
    Man::new(command).render(&mut text)?;
    Ok(text)
}

/// Prints the completions for `shell`.
pub fn completions(command: &mut Command, shell: Shell) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, command, "toyhub", &mut text);
    print_bytes(&text)
}
