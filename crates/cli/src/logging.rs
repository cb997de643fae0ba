//! Log lines on standard error. A closed or full standard error is never a reason to fail.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{LogFormat, Logging};

/// Starts logging, and silences the panic hook: a panic inside a stage becomes that stage's error, and its
/// message may quote the data.
pub fn start(logging: &Logging) {
    let level = match (logging.quiet, logging.verbose) {
        (true, _) => LevelFilter::OFF,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let plain = fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false)
        // Without this a failed write is reported by `eprintln!`, which panics on the same descriptor.
        .log_internal_errors(false);
    let started = match logging.log_format {
        LogFormat::Text => plain.with_ansi(false).finish().try_init(),
        LogFormat::Json => plain.json().flatten_event(true).finish().try_init(),
    };
    // Only a second start can fail, and there is none.
    debug_assert!(started.is_ok());
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::debug!(place, "a panic was caught");
    }));
}
