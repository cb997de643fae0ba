//! How this program is started again: as the worker of a supervisor, or to measure the memory of a batch.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The words that start this program, and the arguments of this call.
///
/// They are not those of the process where an interpreter runs the program, as `python -m reembed` does.
#[derive(Debug, Clone)]
pub struct OwnProgram {
    /// The words before the arguments; none if the file of this process is the program.
    words: Vec<OsString>,
    arguments: Vec<OsString>,
}

impl OwnProgram {
    /// The file of this process, called with `arguments`, the name of the program first.
    pub fn from_file(arguments: impl IntoIterator<Item = OsString>) -> OwnProgram {
        OwnProgram::from_words(Vec::new(), arguments)
    }

    /// A program that `words` start, such as `python -m reembed`, called with `arguments`, its name first.
    pub fn from_words(
        words: Vec<OsString>,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> OwnProgram {
        OwnProgram { words, arguments: arguments.into_iter().collect() }
    }

    /// The arguments of this call, the name of the program first.
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// A command that starts the program, still without arguments.
    ///
    /// # Errors
    /// What the system answers, on Linux without `/proc`.
    pub fn command(&self) -> io::Result<Command> {
        match self.words.split_first() {
            Some((first, others)) => {
                let mut command = Command::new(first);
                command.args(others);
                Ok(command)
            }
            None => Ok(Command::new(file_of_this_process()?)),
        }
    }

    /// The program as one file, for a script that starts it.
    ///
    /// # Errors
    /// What the system answers, and `Unsupported` if an interpreter runs it.
    pub fn file(&self) -> io::Result<PathBuf> {
        match self.words.first() {
            Some(interpreter) => {
                let message = format!("{} runs this program", Path::new(interpreter).display());
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
            None => file_of_this_process(),
        }
    }
}

fn file_of_this_process() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    // After an upgrade the path has another version, and supervisor and worker must have the same.
    let is_replaced = cfg!(target_os = "linux") && !program.exists();
    Ok(if is_replaced { "/proc/self/exe".into() } else { program })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_before_the_arguments() {
        let words = ["python3", "-m", "reembed"].map(OsString::from).to_vec();
        let program = OwnProgram::from_words(words, ["reembed", "run"].map(OsString::from));
        let command = program.command().expect("a command");
        assert_eq!(command.get_program(), "python3");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["-m", "reembed"]);
        assert_eq!(program.arguments(), ["reembed", "run"]);
        assert!(program.file().is_err_and(|error| error.to_string().contains("python3")));
    }

    #[test]
    fn without_words_it_is_the_file_of_this_process() {
        let program = OwnProgram::from_file([OsString::from("reembed")]);
        assert_eq!(program.file().expect("a file"), std::env::current_exe().expect("a file"));
    }
}
