//! The error type of all crates: what happened, where, and what to do.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error: a [kind](ErrorKind) to act on, a [place](Place), one sentence, and advice.
///
/// [`std::error::Error::source`] gives the cause, such as the error of the operating system.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    place: Place,
    message: String,
    advice: Option<String>,
    details: Vec<String>,
    cause: Option<Box<dyn StdError + Send + Sync>>,
    after_publish: bool,
}

/// The classes of failure that a caller may handle differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A setting is unknown, malformed, out of range, or contradicts another setting.
    Config,
    /// The input cannot be used. Its footer and schema show this before the model is loaded.
    Input,
    /// The output path cannot be used. This is checked before the model is loaded.
    Target,
    /// Another run holds the lock of this output.
    Locked,
    /// The model cannot be used: its files are damaged or not supported. This shows before a row is read.
    Model,
    /// The model is not on this machine, and could not be fetched. Another try may help.
    Fetch,
    /// A row, page or row group of the input is invalid. Reading it shows this.
    Data,
    /// A single row, or the model, does not fit in the memory that may be used.
    OutOfMemory,
    /// The existing vectors come from another model.
    OtherModel,
    /// The tokenizer or the model failed, or a vector has a component that is not finite.
    Encode,
    /// The output could not be written or published.
    Output,
    /// Some tables of a dataset could not be published; the others are in place.
    Tables,
    /// The vector cache could not be read or written, or holds a wrong vector.
    Cache,
    /// Another process has the vector cache open.
    CacheBusy,
    /// The caller requested a stop, or the deadline passed. Finished work is kept.
    Stopped(StopReason),
    /// An invariant does not hold: a bug in this program or in a library.
    Internal,
}

impl ErrorKind {
    /// Every kind, in the order of the codes below.
    pub const ALL: [ErrorKind; 18] = [
        ErrorKind::Config,
        ErrorKind::Input,
        ErrorKind::Target,
        ErrorKind::Locked,
        ErrorKind::Model,
        ErrorKind::Fetch,
        ErrorKind::Data,
        ErrorKind::OutOfMemory,
        ErrorKind::OtherModel,
        ErrorKind::Encode,
        ErrorKind::Output,
        ErrorKind::Tables,
        ErrorKind::Cache,
        ErrorKind::CacheBusy,
        ErrorKind::Stopped(StopReason::Interrupted),
        ErrorKind::Stopped(StopReason::Terminated),
        ErrorKind::Stopped(StopReason::Deadline),
        ErrorKind::Internal,
    ];

    /// A word for programs. It stays the same from version to version.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::Config => "config",
            ErrorKind::Input => "input",
            ErrorKind::Target => "output-path",
            ErrorKind::Locked => "output-locked",
            ErrorKind::Model => "model",
            ErrorKind::Fetch => "model-fetch",
            ErrorKind::Data => "input-data",
            ErrorKind::OutOfMemory => "out-of-memory",
            ErrorKind::OtherModel => "other-vectors",
            ErrorKind::Encode => "encode",
            ErrorKind::Output => "output",
            ErrorKind::Tables => "tables-failed",
            ErrorKind::Cache => "cache",
            ErrorKind::CacheBusy => "cache-busy",
            ErrorKind::Stopped(StopReason::Interrupted) => "interrupted",
            ErrorKind::Stopped(StopReason::Terminated) => "terminated",
            ErrorKind::Stopped(StopReason::Deadline) => "deadline",
            ErrorKind::Internal => "internal",
        }
    }
}

/// Why a run stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// The user interrupted it, for example with Ctrl-C.
    Interrupted,
    /// A service manager or another process terminated it.
    Terminated,
    /// The deadline passed (`run.deadline`).
    Deadline,
}

/// Where an error was found: the file, then the parts inside it, from the outside in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    file: Option<PathBuf>,
    parts: Vec<String>,
}

impl Error {
    /// An error with one sentence, without place, advice and cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            place: Place::default(),
            message: message.into(),
            advice: None,
            details: Vec::new(),
            cause: None,
            after_publish: false,
        }))
    }

    /// One error that tells all of several, in order; `None` without any. It has the kind of the
    /// first one, and names a file that all of them name once. Each keeps its advice, unless all
    /// have the same.
    pub fn all(mut errors: Vec<Error>) -> Option<Error> {
        if errors.len() <= 1 {
            return errors.pop();
        }
        let first = errors.first()?;
        let (kind, file) = (first.kind(), first.0.place.file.clone());
        let file = file.filter(|file| errors.iter().all(|e| e.0.place.file.as_ref() == Some(file)));
        let advice = first.0.advice.clone();
        let shared =
            advice.filter(|advice| errors.iter().all(|e| e.0.advice.as_ref() == Some(advice)));
        let mut told: Vec<String> = Vec::new();
        let mut details = Vec::new();
        for mut error in errors {
            if file.is_some() {
                error.0.place.file = None;
            }
            let advice = error.0.advice.as_ref().filter(|_| shared.is_none());
            let text = match advice {
                Some(advice) => format!("{error} ({advice})"),
                None => error.to_string(),
            };
            details.append(&mut error.0.details);
            if !told.contains(&text) {
                told.push(text);
            }
        }
        let mut all = Error::new(kind, told.join("; "));
        (all.0.advice, all.0.place.file, all.0.details) = (shared, file, details);
        Some(all)
    }

    /// Sets the file.
    #[must_use]
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.0.place.file = Some(file.as_ref().to_owned());
        self
    }

    /// Adds a part inside the place so far: a row group, a column, a row, a tensor, a stage.
    #[must_use]
    pub fn at(mut self, part: impl Into<String>) -> Self {
        self.0.place.parts.push(part.into());
        self
    }

    /// Sets what the user can do.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// Adds lines for a user who asks for more than the sentence (`--verbose`).
    #[must_use]
    pub fn details(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.0.details.extend(lines);
        self
    }

    /// Sets the cause: the error that led to this one.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Marks an error that occurred after the new output was renamed into place.
    ///
    /// The output is complete, but a power failure may lose it.
    #[must_use]
    pub fn after_publish(mut self) -> Self {
        self.0.after_publish = true;
        self
    }

    /// Whether the new output is in place although the run failed.
    ///
    /// After every other error the output path is unchanged.
    pub fn is_after_publish(&self) -> bool {
        self.0.after_publish
    }

    /// The class of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where the error was found.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// The sentence, without the place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the user can do; `None` if nothing is known.
    ///
    /// If a cause is a limit of the system, such as too many open files, raising that limit is all
    /// that helps, whatever the work was.
    pub fn advice_text(&self) -> Option<&str> {
        self.source().and_then(limit_advice).or(self.0.advice.as_deref())
    }

    /// The lines of [`Error::details`].
    pub fn detail_lines(&self) -> &[String] {
        &self.0.details
    }
}

impl Place {
    /// The file, if it is known.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The parts inside the file, from the outside in.
    pub fn parts(&self) -> &[String] {
        &self.parts
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

/// The place and the sentence, without causes and advice.
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

/// How to raise the limit of the system that an error, or a cause of it, is about; `None` if it is
/// about something else.
pub fn limit_advice(error: &(dyn StdError + 'static)) -> Option<&'static str> {
    let advice = match os_error(error) {
        Some(Errno::MFILE) => Some(
            "raise the limit on open files: `ulimit -n 1024` in the shell, LimitNOFILE=1024 in \
             systemd, --ulimit nofile=1024 in Docker",
        ),
        Some(Errno::NFILE) => Some("end other programs, or raise the system's limit fs.file-max"),
        // A thread or process that cannot be started: nothing else here answers so.
        Some(Errno::AGAIN) => Some(
            "lower `compute.threads`, or raise the limit on processes and threads: `ulimit -u` in \
             the shell, TasksMax in systemd, --pids-limit in Docker",
        ),
        _ => None,
    };
    advice.or_else(|| limit_advice(error.source()?))
}

/// The error of the system, also of a library that keeps only its text.
fn os_error(error: &(dyn StdError + 'static)) -> Option<Errno> {
    let known = error.downcast_ref::<io::Error>().and_then(Errno::from_io_error);
    let from_text = || {
        let text = error.to_string();
        let (_, number) = text.rsplit_once("(os error ")?;
        let number: i32 = number.split(')').next()?.parse().ok()?;
        (number > 0).then(|| Errno::from_raw_os_error(number))
    };
    known.or_else(from_text)
}

/// Runs `work` and converts a panic inside it into an error of this `kind`.
///
/// A decoder that panics on hostile bytes then fails the run and not the process. `what` names the
/// decoder in the message.
///
/// # Errors
/// Those of `work`, and the panic.
pub fn catch_panic<T>(kind: ErrorKind, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|payload| Err(from_panic(kind, what, payload.as_ref())))
}

fn from_panic(kind: ErrorKind, what: &str, payload: &(dyn std::any::Any + Send)) -> Error {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    // The message may quote the data. Its first line is enough to find the place in the code.
    let line: String = message.lines().next().unwrap_or("").chars().take(200).collect();
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
    fn display_reads_from_the_file_inwards() {
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
    fn catch_panic_keeps_the_first_line_of_the_message() {
        let error = catch_panic::<()>(ErrorKind::Data, "the decoder", || panic!("bad\nrow text"))
            .expect_err("it panics");
        assert_eq!(error.to_string(), "the decoder panicked: bad");
        assert_eq!(error.kind(), ErrorKind::Data);
    }

    #[test]
    fn limit_of_the_system_replaces_the_advice() {
        let advised = |cause: io::Error| {
            let error =
                Error::new(ErrorKind::Data, "it cannot be decoded").advice("write it again");
            error.caused_by(cause).advice_text().map(str::to_owned).unwrap_or_default()
        };
        let too_many = || io::Error::from(Errno::MFILE);
        // As tempfile and parquet wrap it: the text alone.
        let wrapped = io::Error::other(format!("External: {} at path x", too_many()));
        for (cause, advice) in [
            (too_many(), "`ulimit -n 1024`"),
            (wrapped, "`ulimit -n 1024`"),
            (Errno::NFILE.into(), "fs.file-max"),
            (Errno::AGAIN.into(), "`ulimit -u`"),
            (Errno::IO.into(), "write it again"),
            (io::Error::other("(os error )"), "write it again"),
            (io::Error::other("(os error 0)"), "write it again"),
        ] {
            let shown = cause.to_string();
            let found = advised(cause);
            assert!(found.contains(advice), "{shown}: {found}");
        }
    }
}
