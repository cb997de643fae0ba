//! The `reembed` program as a library: [`program`] parses a command line, executes it and returns the exit code.
//!
//! The binary and the Python package call [`program`]; tests and benches also use [`sample`] and [`peak`].

mod atomic_file;
mod bench;
mod cli;
mod commands;
pub mod exit;
#[cfg(feature = "failpoints")]
mod failpoints;
mod flags;
mod json;
mod lengths;
mod limit_cause;
mod logging;
mod machine;
mod page;
pub mod peak;
mod print;
mod progress;
mod renamed;
mod report;
mod report_file;
pub mod sample;
mod signals;
mod supervisor;
mod text;
mod timestamp;

use std::ffi::OsString;

use exit::Exit;

/// Runs the program with these arguments, the name of the program first. Only the caller ends the process.
pub fn program(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match cli::parse(arguments) {
        Ok(cli) => cli,
        Err(usage) => return print::usage(&usage),
    };
    logging::init(&cli.logging);
    commands::execute(&cli.command, &cli.logging).unwrap_or_else(|error| {
        print::error(&error, &cli.logging);
        Exit::from(&error)
    })
}
