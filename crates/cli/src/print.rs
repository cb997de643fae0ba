//! Writes results to standard output and errors to standard error.

use std::io::{self, Write};

use anyhow::{Context, Result};
use reembed::{Error, ErrorKind};

use crate::cli::{LogFormat, Logging};
use crate::exit::Exit;
use crate::text::{error_line, printable};

/// Writes the result of a command to standard output. A reader that has closed its pipe, like `head`, has
/// seen what it wanted.
///
/// # Errors
/// When standard output is full.
pub fn result(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("the result cannot be printed"),
    }
}

/// The same after the work was published: a closed standard output is a warning, not a failure.
pub fn result_or_warn(text: &str) {
    if let Err(error) = result(text) {
        tracing::warn!("{}", error_line(&error));
    }
}

/// Writes an error to standard error as one line. Its details follow with `--verbose`.
pub fn error(error: &anyhow::Error, logging: &Logging) {
    let line = error_line(error);
    match logging.log_format {
        LogFormat::Json if !logging.quiet => {
            let code = error.downcast_ref::<Error>().map_or("failed", |error| error.kind().code());
            tracing::error!(code, "{line}");
        }
        // A closed standard error must not end the program with a panic.
        _ => drop(writeln!(io::stderr(), "error: {line}")),
    }
    let details = error.downcast_ref::<Error>().map_or(&[][..], Error::detail_lines);
    details.iter().for_each(|detail| tracing::debug!("{}", printable(detail)));
}

/// The name of an error's kind in reports and answers, which keep those of version 0.1.
pub fn kind_name(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::Cache => "Store".to_owned(),
        kind => format!("{kind:?}"),
    }
}

/// Prints help and version to standard output, a usage error to standard error.
pub fn usage(usage: &clap::Error) -> Exit {
    let _ = usage.print();
    if usage.use_stderr() { Exit::Refused } else { Exit::Done }
}
