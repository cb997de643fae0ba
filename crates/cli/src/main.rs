//! The `reembed` command: see [`reembed_cli::program`].

use std::process::ExitCode;

use reembed_cli::OwnProgram;

fn main() -> ExitCode {
    reembed_cli::program(OwnProgram::from_file(std::env::args_os())).into()
}
