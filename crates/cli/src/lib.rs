//! The `reembed` program as a library: [`program`] parses a command line, executes it and returns the exit code.
//!
//! The binary and the Python package call [`program`], each with its [`OwnProgram`]; tests and benches also use [`sample`] and [`peak`].

mod answer;
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
mod own_program;
mod page;
pub mod peak;
mod print;
mod progress;
mod renamed;
mod report;
mod report_file;
pub mod sample;
mod session;
mod signals;
mod supervisor;
mod text;
mod timestamp;

use std::ffi::OsString;

use answer::{Answer, ErrorAnswer};
use exit::Exit;
pub use own_program::OwnProgram;
use session::Session;

/// Runs the program with the arguments of this call. Only the caller ends the process, and only a signal that does not
/// wait.
pub fn program(own: OwnProgram) -> Exit {
    let cli = match cli::parse(own.arguments().iter().cloned()) {
        Ok(cli) => cli,
        Err(usage) => return refuse(&usage, own.arguments()),
    };
    let session = Session::new(&cli, own);
    logging::init(&cli.logging, &session.run_id);
    let ended = commands::execute(&cli.command, &session);
    let (exit, error) = match &ended {
        Ok(exit) => (*exit, None),
        Err(error) => {
            print::error(error, &cli.logging);
            (Exit::from(error), Some(ErrorAnswer::new(error)))
        }
    };
    session.answer.end(exit, error);
    exit
}

/// The flags of a command that have long names, without dashes, and whether each takes a value. Hidden ones are left
/// out; none if there is no such command.
pub fn flags(command: &str) -> Vec<(String, bool)> {
    cli::flags(command)
}

/// Answers arguments that cannot be understood, and those that ask for help.
fn refuse(usage: &clap::Error, arguments: &[OsString]) -> Exit {
    let exit = print::usage(usage);
    let wants_json =
        arguments.windows(2).any(|pair| pair[0] == "--output-format" && pair[1] == "json")
            || arguments.iter().any(|argument| argument == "--output-format=json");
    if wants_json && exit != Exit::Done {
        let answer = Answer::in_json("", String::new());
        answer.end(exit, Some(ErrorAnswer::of_usage(usage)));
    }
    exit
}
