//! The commands: one function for each.

mod bench;
mod cache;
mod calibrate;
mod config;
mod init;
mod merge;
mod model;
mod run;
mod sample;
mod shell;
mod status;
mod verify;

use anyhow::Result;

use crate::cli::{CacheCommand, Command, ModelCommand};
use crate::exit::Exit;
use crate::session::Session;

/// Executes a command.
///
/// # Errors
/// The error of the command, to be printed as one line.
pub fn execute(command: &Command, session: &Session) -> Result<Exit> {
    #[cfg(feature = "failpoints")]
    crate::failpoints::turn_on_from_environment()?;
    let logging = &session.logging;
    match command {
        Command::Run(args) => run::run(args, session),
        Command::Bench(args) => bench::bench(args, session),
        Command::Calibrate(args) => calibrate::calibrate(args, logging),
        Command::Status(args) => status::status(args, session),
        Command::Merge(args) => merge::merge(args, session),
        Command::Verify(args) => verify::verify(args, session),
        Command::Model(ModelCommand::Fetch(args)) => model::fetch(args, logging),
        Command::Model(ModelCommand::Show(args)) => model::show(args, logging),
        Command::Model(ModelCommand::List) => model::list(),
        Command::Model(ModelCommand::Pin(args)) => model::pin(args, logging),
        Command::Model(ModelCommand::Convert(args)) => model::convert(args),
        Command::Model(ModelCommand::Check(args)) => model::check(args, logging),
        Command::Cache(CacheCommand::Stats(args)) => cache::stats(args),
        Command::Cache(CacheCommand::Prune(args)) => cache::prune(args),
        Command::Cache(CacheCommand::Verify(args)) => cache::verify(args, logging),
        Command::Init(args) => init::init(args),
        Command::Sample(args) => sample::sample(args),
        Command::Completions(args) => shell::completions(args),
        Command::Man => shell::man(),
    }
}
