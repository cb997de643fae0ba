//! The `reembed` program as a library, for its own binary and for the Python package: [`program`] is all of it.

pub mod bench;
pub mod cli;
pub mod commands;
pub mod exit;
pub mod flags;
mod logging;
pub mod machine;
mod page;
mod print;
mod progress;
pub mod report;
pub mod sample;
mod signals;
mod supervisor;

use std::ffi::OsString;

use clap::Parser;

use cli::Cli;
use exit::Exit;

/// Runs the program: parse, do, print. Only its caller ends the process.
pub fn program(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version are asked for and go to standard output; the rest is a mistake.
            let _ = usage.print();
            return if usage.use_stderr() { Exit::Refused } else { Exit::Done };
        }
    };
    logging::start(&cli.logging);
    #[cfg(feature = "failpoints")]
    if let Some(unknown) = commands::turn_failpoints_on() {
        print::error(&unknown, &cli.logging);
        return Exit::Refused;
    }
    commands::execute(&cli.command, &cli.logging).unwrap_or_else(|error| {
        print::error(&error, &cli.logging);
        Exit::from(&error)
    })
}
