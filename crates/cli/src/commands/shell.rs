//! `reembed completions` and `reembed man`, generated from the definition of the command line.

use std::io::Write as _;

use anyhow::Result;
use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::exit::Exit;
use crate::print;

/// `reembed completions`.
pub fn completions(args: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "reembed", &mut script);
    print::result(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// `reembed man`.
pub fn man() -> Result<Exit> {
    let mut page = Vec::new();
    let main = Cli::command();
    clap_mangen::Man::new(main.clone()).render(&mut page)?;
    for command in main.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("reembed {}", command.get_name());
        let command = command.clone().bin_name(name.clone()).display_name(name.clone());
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        let man = clap_mangen::Man::new(command);
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    print::result(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}
