//! SIGINT, SIGTERM and the terminal's SIGHUP: the first is a request to stop, the second ends the process at once, and so does the first
//! when the work has not stopped within [`GRACE`]. A second SIGHUP counts for nothing: the system and the shell may each
//! send one. The output stays the old or the new complete file: it changes
//! by a rename, whenever the process ends.
//!
//! This is the one place, beside `main`, where the process may end.

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

/// How long the work may take to stop by itself: the part of a batch that is in flight is done long before. What may
/// take longer is a network that says nothing, or a disk.
pub const GRACE: Duration = Duration::from_secs(8);

/// How often a second signal is looked for after the first.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Listens from now on. `asked` hears of the first signal, after the request was made; `end` has the last word before
/// the process ends here by force.
///
/// # Errors
/// When the system refuses a handler or a thread.
pub fn listen(
    stop: &Stop,
    grace: Duration,
    asked: impl FnOnce(StopReason) + Send + 'static,
    end: impl FnOnce(StopReason) + Send + 'static,
) -> io::Result<()> {
    // A file at its size limit (`ulimit -f`) is then an error that is seen, not a death.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    if !outlives_its_terminal() {
        signals.add_signal(SIGHUP)?;
    }
    let stop = stop.clone();
    let listening = move || {
        let Some(first) = signals.forever().next() else { return };
        let since = Instant::now();
        stop.request(reason(first));
        asked(reason(first));
        let last = loop {
            match signals.pending().find(|signal| *signal != SIGHUP) {
                Some(second) => break second,
                None if since.elapsed() >= grace => break first,
                None => thread::sleep(LOOK_AGAIN),
            }
        };
        end(reason(last));
        low_level::exit(Exit::stopped(reason(last)).code().into());
    };
    start("signals", listening)
}

/// Ends the process when the work has not stopped so long after the deadline.
///
/// # Errors
/// When the system refuses a thread.
pub fn enforce(
    deadline: Option<Instant>,
    grace: Duration,
    end: impl FnOnce(StopReason) + Send + 'static,
) -> io::Result<()> {
    let Some(deadline) = deadline else { return Ok(()) };
    let enforcing = move || {
        thread::sleep(deadline.saturating_duration_since(Instant::now()).saturating_add(grace));
        end(StopReason::Deadline);
        low_level::exit(Exit::Deadline.code().into());
    };
    start("deadline", enforcing)
}

/// The error of a run that did not stop by itself.
pub fn forced(reason: StopReason) -> Error {
    let why = match reason {
        StopReason::Interrupted => "the run was interrupted",
        StopReason::Terminated => "the run was asked to end",
        StopReason::Deadline => "the run's time is over (`run.deadline`)",
    };
    Error::new(ErrorKind::Stopped(reason), format!("{why}, and it was ended by force")).advice(
        "the output is as it was; a new run goes on from the vectors that are in the cache, and removes what this \
         one left beside the output",
    )
}

/// A thread that waits for something, with the little stack that this takes: under `ulimit -v` it counts.
pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    const STACK: usize = 256 << 10;
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work).map(drop)
}

/// Whether SIGHUP is ignored, as `nohup` leaves it. Where the system does not tell, it is left as it is.
fn outlives_its_terminal() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_none_or(|mask| mask >> (SIGHUP - 1) & 1 == 1)
}

/// What a signal asks for.
fn reason(signal: c_int) -> StopReason {
    if signal == SIGINT { StopReason::Interrupted } else { StopReason::Terminated }
}
