//! The small process that watches over the one that works.
//!
//! ```text
//!   reembed run                      the parent: reads the configuration, waits, decides
//!      │  stdin: a socket            start, stop ►   ◄ budget, rows on their way, rows kept
//!      ▼
//!   reembed run --worker             the worker: everything else, on the same standard output and error
//! ```
//!
//! What kills a process that needs much memory (the kernel, an allocation that fails inside a library) kills the
//! worker alone. The parent says so, halves the memory that batches may take, and starts it again; what was
//! finished is in the cache. [`policy`] decides when that has no point. The worker dies with its parent, and the
//! kernel is told to prefer it when memory runs out.
//!
//! A terminal's Ctrl-C and its end reach both processes, a SIGTERM often the parent alone. Either is passed on as a word, not
//! as a signal: a worker that gets both still has got one signal.

mod policy;
mod wire;
pub mod worker;

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reembed::publish::Hold;
use reembed::{Config, Error, Stop};
use reembed_encoder::error::ErrorKind;
use reembed_encoder::events::InFlight;
use reembed_encoder::memory;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::consts::{SIGABRT, SIGBUS, SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGSEGV, SIGTERM};
use signal_hook::low_level::signal_name;

use crate::exit::Exit;
use crate::print::bytes;
use crate::report::Recorder;
use crate::signals;
use policy::{Death, Decision};
use wire::{EarlierDeath, Order, Status};

/// The worker ends itself after [`signals::GRACE`]; a worker that cannot even do that is killed a little later.
const GRACE: Duration = signals::GRACE.saturating_add(Duration::from_secs(1));

/// How long this process may take to end once its worker was killed.
const LAST_WORD: Duration = Duration::from_millis(500);

/// glibc: how many areas small blocks may come from.
const ARENAS: &str = "MALLOC_ARENA_MAX";
/// glibc: from how many bytes on a block goes back to the system the moment it is freed.
const MAPPED_FROM: &str = "MALLOC_MMAP_THRESHOLD_";

/// Runs a worker until it ends by itself, or has been killed too often.
///
/// # Errors
/// When the output cannot be used or another run has it, when no worker can be started, when the work is to stop
/// before one is, and when the work was killed too often: it then names the rows that were on their way.
pub fn run(config: &Config, recorder: &Recorder) -> Result<Exit> {
    let started = Instant::now();
    let _hold = Hold::take(config)?;
    let stop = Stop::new();
    let worker = Arc::new(Mutex::new(None::<Running>));
    let (told, ended) = (worker.clone(), worker.clone());
    let tell = move |reason| {
        if let Some(running) = &mut *locked(&told) {
            running.send(&Order::Stop(reason));
        }
    };
    let end = move |_| {
        if let Some(running) = &*locked(&ended) {
            running.kill();
        }
        // Whoever waits for the worker now says so and writes the report.
        thread::sleep(LAST_WORD);
    };
    signals::listen(&stop, GRACE, tell, end.clone()).context("signals cannot be listened to")?;
    let deadline = config.run.deadline.and_then(|time| started.checked_add(time));
    signals::enforce(deadline, GRACE, end).context("the deadline cannot be kept")?;
    let stop = stop.or_at(deadline);
    // Where whoever started this one ignores the deaths of children, and that is inherited, the kernel takes a dead
    // worker away before anyone can ask how it ended. Handled, they are not ignored.
    signal_hook::flag::register(SIGCHLD, Arc::default())
        .context("the death of a worker cannot be listened to")?;

    let (mut deaths, mut budget) = (0, None);
    let mut earlier: Vec<EarlierDeath> = Vec::new();
    loop {
        stop.check()?;
        let left = config.run.deadline.map(|time| time.saturating_sub(started.elapsed()));
        let (status, seen) = watch(&worker, &stop, &earlier, budget, left)?;
        let Some(signal) = status.signal() else {
            let exit = status.code().and_then(Exit::from_code).ok_or_else(|| odd(status))?;
            return match exit.stop_reason() {
                Some(reason) if !seen.is_over => Err(signals::forced(reason).into()),
                _ => Ok(exit),
            };
        };
        if let Some(reason) = stop.reason() {
            return Err(signals::forced(reason).into());
        }
        match signal {
            SIGKILL | SIGABRT | SIGSEGV | SIGBUS => {}
            // Someone meant the worker, before it could listen.
            SIGINT => return Ok(Exit::Interrupted),
            SIGTERM | SIGHUP => return Ok(Exit::Terminated),
            _ => return Err(killed(signal).into()),
        }
        budget = seen.budget.or(budget);
        let death = Death {
            committed: seen.committed,
            budget,
            in_flight: seen.in_flight.as_ref().and_then(|batch| batch.bytes),
            least: seen.least,
        };
        let decision;
        (deaths, decision) = policy::decide(deaths, death);
        let at = started.elapsed();
        let earlier_death = EarlierDeath { at, signal };
        match decision {
            Decision::Again { budget: next } => {
                recorder.restarted(at, earlier_death.cause());
                earlier.push(earlier_death);
                let limit = next.map_or("the same memory".to_owned(), |next| {
                    format!("batches of at most {}", bytes(next))
                });
                tracing::warn!(
                    "the work was killed by {}, as it is when memory runs out; it starts again with {limit}",
                    name(signal)
                );
                budget = next;
            }
            Decision::GiveUp => return Err(killed_too_often(deaths, signal, &seen).into()),
        }
    }
}

/// What is known of a worker when it has ended.
#[derive(Debug, Default)]
struct Seen {
    budget: Option<u64>,
    least: Option<u64>,
    has_model: bool,
    committed: u64,
    in_flight: Option<InFlight>,
    is_over: bool,
}

/// A worker that can be told something.
struct Running {
    pid: Pid,
    link: UnixStream,
}

impl Running {
    /// A worker that is gone hears nothing, and needs not.
    fn send(&mut self, order: &Order) {
        let _ = self.link.write_all(order.line().as_bytes());
    }

    fn kill(&self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

/// Starts a worker, waits for its end, and gives what it said of itself.
fn watch(
    place: &Mutex<Option<Running>>,
    stop: &Stop,
    earlier: &[EarlierDeath],
    budget: Option<u64>,
    deadline: Option<Duration>,
) -> Result<(ExitStatus, Seen)> {
    let (mut child, link) = start().context("the process that does the work cannot be started")?;
    let pid = Pid::from_child(&child);
    let listener = link.try_clone().context("the worker cannot be listened to")?;
    let listening = thread::Builder::new()
        .name("status".to_owned())
        .spawn(move || listen(listener))
        .context("the worker cannot be listened to")?;
    {
        let mut running = Running { pid, link };
        let parent = std::process::id();
        earlier.iter().for_each(|death| running.send(&Order::Died(*death)));
        running.send(&Order::Start { parent, budget, deadline });
        let mut place = locked(place);
        // A signal may have come before there was anyone to tell.
        if let Some(reason) = stop.reason() {
            running.send(&Order::Stop(reason));
        }
        *place = Some(running);
    }
    let ended = until_dead(pid);
    // As long as nobody has waited for it, the number is the dead worker's own, and a kill hits nobody else.
    *locked(place) = None;
    ended.context("the worker cannot be waited for")?;
    let status = child.wait().context("the worker cannot be waited for")?;
    let seen = listening.join().unwrap_or_default();
    Ok((status, seen))
}

/// This program again, with the same arguments, as a worker.
fn start() -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut program = std::env::current_exe()?;
    // Someone has put a new version in its place: the worker must be of the same.
    if cfg!(target_os = "linux") && !program.exists() {
        program = "/proc/self/exe".into();
    }
    let mut command = Command::new(program);
    command
        .args(std::env::args_os().skip(1))
        .arg("--worker")
        .stdin(Stdio::from(OwnedFd::from(theirs)));
    for (name, value) in frugal(memory::read().address_space_left.is_some()) {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    Ok((command.spawn()?, ours))
}

/// What keeps glibc's allocator from holding more memory the longer a run lasts. Blocks of 128 KiB and more go back to the
/// system: left alone, it raises that bound to the largest block ever freed, up to 32 MiB, and keeps such blocks in pieces.
/// Few areas, since what one thread allocates another frees; only the kernels work on many threads, and they allocate
/// nothing. Each area takes 64 MiB of the address space, of which nothing may be `scarce`.
fn frugal(scarce: bool) -> [(&'static str, &'static str); 2] {
    [(MAPPED_FROM, "131072"), (ARENAS, if scarce { "1" } else { "2" })]
}

/// Waits until the process is dead, and leaves it a zombie.
fn until_dead(pid: Pid) -> io::Result<()> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}

/// Takes note of what a worker says, until it is gone.
fn listen(link: UnixStream) -> Seen {
    let mut seen = Seen::default();
    for line in BufReader::new(link).lines() {
        let Ok(line) = line else { break };
        match Status::of_line(&line) {
            Some(Status::Budget { bytes, least }) => {
                (seen.budget, seen.least, seen.has_model) = (bytes, least, true);
            }
            Some(Status::Trying(batch)) => seen.in_flight = Some(batch),
            Some(Status::Committed(rows)) => seen.committed += rows,
            Some(Status::Over) => seen.is_over = true,
            None => tracing::debug!("the worker said what nobody understands"),
        }
    }
    seen
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(signal: i32) -> String {
    signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

fn odd(status: ExitStatus) -> Error {
    Error::new(ErrorKind::Internal, format!("the process that does the work ended with {status}"))
        .advice("nothing was published; please report this line as a bug")
}

fn killed(signal: i32) -> Error {
    Error::new(ErrorKind::Internal, format!("the work was killed by {}", name(signal)))
        .advice("nothing was published; start it again, and report this line if it happens again")
}

fn killed_too_often(deaths: u32, signal: i32, seen: &Seen) -> Error {
    let often = format!("the work was killed {deaths} times, last by {}", name(signal));
    let error = |message: String| Error::new(ErrorKind::OutOfMemory, message);
    let error = match &seen.in_flight {
        Some(batch) => {
            let needs = batch.bytes.map_or(String::new(), |needed| {
                format!("; this batch needs {} beside the model", bytes(needed))
            });
            let rows = match batch.rows {
                1 => batch.first.clone(),
                rows => format!("{rows} rows from {} to {}", batch.first, batch.last),
            };
            error(format!("{often}, and no row was finished in between{needs}")).at(rows)
        }
        None if seen.has_model => error(format!("{often}, before it had a batch")),
        None => error(format!("{often}, before the model was loaded")),
    };
    error.advice(
        "free memory, raise the limit of the container or `ulimit -v`, or set a smaller `batch.start`, \
         `input.chunk_rows` and `compute.threads`",
    )
}
