//! The `reembed` command: see [`reembed_cli::program`].

use std::process::ExitCode;

fn main() -> ExitCode {
    reembed_cli::program(std::env::args_os()).into()
}
