//! The `reembed` command: parse, run, print, one exit point.

mod cli;
mod commands;
mod exit;
mod logging;
mod print;
mod progress;
mod signals;
mod supervisor;

use std::process::ExitCode;

use clap::Parser;

use cli::{CacheCommand, Cli, Command, ModelCommand};
use exit::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version are asked for and go to standard output; the rest is a mistake.
            let _ = usage.print();
            let exit = if usage.use_stderr() { Exit::Refused } else { Exit::Done };
            return exit.into();
        }
    };
    logging::start(&cli.logging);
    #[cfg(feature = "failpoints")]
    if let Some(unknown) = commands::turn_failpoints_on() {
        print::error(&unknown, &cli.logging);
        return Exit::Refused.into();
    }
    let done = match cli.command {
        Command::Run(args) => commands::run(&args, &cli.logging),
        Command::Bench(args) => commands::bench(&args, &cli.logging),
        Command::Verify(args) => commands::verify(&args, &cli.logging),
        Command::Model(ModelCommand::Fetch(args)) => commands::model_fetch(&args, &cli.logging),
        Command::Model(ModelCommand::Show(args)) => commands::model_show(&args, &cli.logging),
        Command::Cache(CacheCommand::Stats(args)) => commands::cache_stats(&args),
        Command::Cache(CacheCommand::Prune(args)) => commands::cache_prune(&args),
        Command::Cache(CacheCommand::Verify(args)) => commands::cache_verify(&args, &cli.logging),
        Command::Sample(args) => commands::sample(&args),
        Command::Completions(args) => commands::completions(&args),
        Command::Man => commands::man(),
    };
    let exit = match done {
        Ok(exit) => exit,
        Err(error) => {
            print::error(&error, &cli.logging);
            Exit::of(&error)
        }
    };
    exit.into()
}
