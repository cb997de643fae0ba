//! The `reembed` program as a library: [`program`] parses a command line, executes it and returns the exit code.
//!
//! The binary and the Python package call [`program`]; tests and benches also use [`sample`] and [`peak`].

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
use session::Session;

/// Runs the program with these arguments, the name of the program first. Only the caller ends the process.
pub fn program(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match cli::parse(arguments.iter().cloned()) {
        Ok(cli) => cli,
        Err(usage) => return refuse(&usage, &arguments),
    };
    let session = Session::new(&cli);
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
