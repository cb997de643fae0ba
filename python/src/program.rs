//! The program `reembed`, for `python -m reembed` and the command that the wheel installs.

use std::ffi::OsString;

use pyo3::prelude::*;
use reembed_cli::OwnProgram;

/// Runs the program and returns its exit code. `words` start it again in another process; `arguments` are those of
/// this call, the name of the program first.
///
/// It handles signals from then on, prints, and may end the process: for a process of its own.
#[pyfunction]
pub fn program(py: Python<'_>, words: Vec<OsString>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| reembed_cli::program(OwnProgram::from_words(words, arguments)).code())
}

/// The flags of a command that have long names, without dashes, and whether each takes a value.
#[pyfunction]
pub fn flags(command: &str) -> Vec<(String, bool)> {
    reembed_cli::flags(command)
}
