//! What went wrong, where, and what to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the library: a [kind](ErrorKind) to act on, the [place](Place) it was found at, one sentence,
/// and advice. Its causes are reached by [`std::error::Error::source`].
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    place: Place,
    message: String,
    advice: Option<String>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
    in_place: bool,
}

/// The classes of failure that a caller may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A setting is unknown, malformed, out of range, or contradicts another.
    Config,
    /// The input cannot be used; seen from its footer and schema, before the model is loaded.
    Input,
    /// The output path cannot be used; seen before the model is loaded.
    Target,
    /// Another run is writing this output.
    Locked,
    /// The model's files could not be had, or are not a model that this program runs.
    Model,
    /// A row, page or row group of the input is bad; seen while reading it.
    Data,
    /// A single row does not fit in the memory that may be used.
    OutOfMemory,
    /// The vectors at hand come from another model.
    OtherModel,
    /// The model failed, or gave a vector that is not finite.
    Encode,
    /// The output could not be written or published.
    Output,
    /// The vector cache could not be read or written, or a vector in it is not its text's.
    Cache,
    /// The caller asked to stop, or the time is over; what was finished is kept.
    Stopped(StopReason),
    /// A stage ended in a way that it never should: a bug in this program or in a library.
    Internal,
}

/// Why a run is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// Someone interrupted it, as with Ctrl-C.
    Interrupted,
    /// Someone or something wants it gone, as a service manager does.
    Terminated,
    /// Its time is over: `run.deadline`.
    Deadline,
}

/// Where an error was found: as much of it as is known, from the outside in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    file: Option<PathBuf>,
    parts: Vec<String>,
}

impl Error {
    /// An error with one sentence, no place and no advice yet.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            place: Place::default(),
            message: message.into(),
            advice: None,
            cause: None,
            in_place: false,
        }))
    }

    /// Names the file.
    #[must_use]
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.0.place.file = Some(file.as_ref().to_owned());
        self
    }

    /// Names a place inside what was named before: a row group, a column, a row, a tensor, a stage.
    #[must_use]
    pub fn at(mut self, part: impl Into<String>) -> Self {
        self.0.place.parts.push(part.into());
        self
    }

    /// Says what the user can do.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// Keeps the error that led to this one.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Notes that the new output is in place all the same; only whether it outlasts a power cut is not known.
    #[must_use]
    pub fn though_in_place(mut self) -> Self {
        self.0.in_place = true;
        self
    }

    /// Whether the new output is in place, although the run failed; after every other failure the output path is as it
    /// was.
    pub fn is_in_place(&self) -> bool {
        self.0.in_place
    }

    /// The class of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where it was found.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// What the user can do, where there is something.
    pub fn what_to_do(&self) -> Option<&str> {
        self.0.advice.as_deref()
    }
}

impl Place {
    /// The file, if one is known.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            separator = ": ";
        }
        for part in &self.parts {
            write!(f, "{separator}{part}")?;
            separator = ": ";
        }
        Ok(())
    }
}

/// The place and the sentence; neither the causes nor the advice.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.0.place.to_string();
        if place.is_empty() {
            f.write_str(&self.0.message)
        } else {
            write!(f, "{place}: {}", self.0.message)
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

/// Runs `work` and turns a panic inside it into an error, so that a library that trips over hostile bytes
/// fails the run and not the process.
pub fn catch_panic<T>(kind: ErrorKind, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|payload| Err(from_panic(kind, what, payload.as_ref())))
}

fn from_panic(kind: ErrorKind, what: &str, payload: &(dyn std::any::Any + Send)) -> Error {
    let said = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    // A panic's message may quote the data; the first line is enough to find the place in the code.
    let line: String = said.lines().next().unwrap_or("").chars().take(200).collect();
    let error = Error::new(kind, format!("{what} panicked: {line}"));
    match kind {
        ErrorKind::Internal => error.advice("this is a bug; please report it with this line"),
        _ => {
            error.advice("the file may be damaged; if it is not, please report this line as a bug")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_from_the_file_inwards() {
        let error = Error::new(ErrorKind::Data, "the page is damaged")
            .in_file("tasks.parquet")
            .at("row group 3")
            .at("column `title`");
        assert_eq!(
            error.to_string(),
            "tasks.parquet: row group 3: column `title`: the page is damaged"
        );
    }

    #[test]
    fn a_panic_becomes_an_error_with_its_first_line() {
        let error = catch_panic::<()>(ErrorKind::Data, "the decoder", || panic!("bad\nrow text"))
            .expect_err("it panics");
        assert_eq!(error.to_string(), "the decoder panicked: bad");
        assert_eq!(error.kind(), ErrorKind::Data);
    }
}
