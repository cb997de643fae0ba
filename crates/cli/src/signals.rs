//! Signals and the deadline. The first SIGINT, SIGTERM or SIGHUP requests a stop; a second signal ends the process, as
//! does the end of [`GRACE`]. docs/decisions/0012 has the details.
//!
//! Exiting at any moment is safe: the output changes by a rename. Only this module and `main` end the process.

use std::ffi::c_int;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use reembed::{Error, ErrorKind, Stop, StopReason};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use crate::exit::Exit;

/// How long the stages may take to stop. A batch in flight takes far less; a silent network or a disk may take longer.
pub const GRACE: Duration = Duration::from_secs(8);

/// The interval of checks for a second signal.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Handles signals from now on. It calls `on_request` after the first signal, and `before_exit` before it ends the
/// process.
///
/// # Errors
/// When the system refuses a handler or a thread.
pub fn handle(
    stop: &Stop,
    grace: Duration,
    on_request: impl FnOnce(StopReason) + Send + 'static,
    before_exit: impl FnOnce(StopReason) + Send + 'static,
) -> io::Result<()> {
    // Handled, a write beyond `ulimit -f` is an error instead of a fatal signal.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    if !ignores_sighup() {
        signals.add_signal(SIGHUP)?;
    }
    let stop = stop.clone();
    spawn_small("signals", move || {
        let Some(first) = signals.forever().next() else { return };
        let since = Instant::now();
        stop.request(stop_reason(first));
        on_request(stop_reason(first));
        let last = loop {
            // The kernel and the shell may each send a SIGHUP, so a second one does not count.
            match signals.pending().find(|signal| *signal != SIGHUP) {
                Some(second) => break second,
                None if since.elapsed() >= grace => break first,
                None => thread::sleep(POLL_INTERVAL),
            }
        };
        before_exit(stop_reason(last));
        low_level::exit(Exit::from(stop_reason(last)).code().into());
    })
}

/// Ends the process if the work has not stopped within `grace` after the deadline.
///
/// # Errors
/// When the system refuses a thread.
pub fn enforce_deadline(
    deadline: Option<Instant>,
    grace: Duration,
    before_exit: impl FnOnce(StopReason) + Send + 'static,
) -> io::Result<()> {
    let Some(deadline) = deadline else { return Ok(()) };
    spawn_small("deadline", move || {
        thread::sleep(deadline.saturating_duration_since(Instant::now()).saturating_add(grace));
        before_exit(StopReason::Deadline);
        low_level::exit(Exit::Deadline.code().into());
    })
}

/// Treats the end of standard input as a SIGTERM, which [`handle`] must handle already: the input may have ended.
///
/// # Errors
/// When the system refuses a thread.
pub fn terminate_at_eof() -> io::Result<()> {
    spawn_small("stdin", || {
        // What comes before the end has no meaning. An input that cannot be read has ended.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = low_level::raise(SIGTERM);
    })
}

/// The error of a run that was ended because it did not stop.
pub fn forced_error(reason: StopReason) -> Error {
    let why = match reason {
        StopReason::Interrupted => "the run was interrupted",
        StopReason::Terminated => "the run was asked to end",
        StopReason::Deadline => "deadline exceeded (`run.deadline`)",
    };
    Error::new(ErrorKind::Stopped(reason), format!("{why}, and it was ended by force")).advice(
        "the output path is unchanged; start the run again: it continues from the vector cache and removes leftover \
         temporary files",
    )
}

/// Starts a thread that mostly waits. Its small stack matters under `ulimit -v`.
pub fn spawn_small(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    const STACK_BYTES: usize = 256 << 10;
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(work).map(drop)
}

/// Whether SIGHUP is ignored, as under `nohup`. Without `/proc` the signal is left as it is.
fn ignores_sighup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_none_or(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}

fn stop_reason(signal: c_int) -> StopReason {
    if signal == SIGINT { StopReason::Interrupted } else { StopReason::Terminated }
}
