//! Log lines on standard error. A closed or full standard error never fails the program.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{LogFormat, Logging};

/// Starts the log and silences the panic hook: a panic in a stage becomes that stage's error, and its message may
/// quote the data.
pub fn init(logging: &Logging) {
    let level = match (logging.quiet, logging.verbose) {
        (true, _) => LevelFilter::OFF,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let subscriber = fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false)
        // Otherwise `eprintln!` reports a failed write, and panics on the same descriptor.
        .log_internal_errors(false);
    let started = match logging.log_format {
        LogFormat::Text => subscriber.with_ansi(false).finish().try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).finish().try_init(),
    };
    // A process that runs the program again keeps its first log.
    drop(started);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::debug!(place, "caught a panic");
    }));
}
