//! The worker process as the supervisor sees it: started, signalled, waited for.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use reembed::{Error, ErrorKind, Stop};
use reembed_encoder::events::InFlight;
use reembed_encoder::memory;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::wire::{Order, Status, WorkerDeath};
use crate::own_program::OwnProgram;

/// glibc: the maximum number of arenas.
const ARENA_MAX: &str = "MALLOC_ARENA_MAX";
/// glibc: the size in bytes from which a block returns to the system when it is freed.
const MMAP_THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";

/// What a worker reported until it ended.
#[derive(Debug, Default)]
pub struct Reported {
    /// The memory budget of a batch in bytes.
    pub budget: Option<u64>,
    /// The size in bytes of one text of maximum length.
    pub one_text: Option<u64>,
    /// Whether the model was loaded.
    pub has_model: bool,
    /// Rows whose vectors are committed to the cache.
    pub committed: u64,
    /// The batch in flight, or the last one.
    pub in_flight: Option<InFlight>,
    /// Whether the run ended and its report is written.
    pub is_finished: bool,
}

/// The current worker, if there is one. Clones share it.
#[derive(Clone, Default)]
pub struct CurrentWorker(Arc<Mutex<Option<Worker>>>);

struct Worker {
    pid: Pid,
    socket: UnixStream,
}

/// The order to start, and the deaths before it.
pub struct StartOrder<'a> {
    /// How this program is started again.
    pub own: &'a OwnProgram,
    /// The name of the run.
    pub run_id: &'a str,
    /// The deaths of the previous workers.
    pub deaths: &'a [WorkerDeath],
    /// The memory budget of a batch, instead of the configured one.
    pub budget: Option<u64>,
    /// The time left until `run.deadline`.
    pub deadline: Option<Duration>,
}

impl CurrentWorker {
    /// Sends an order to the worker.
    pub fn send(&self, order: Order) {
        if let Some(worker) = &mut *self.lock() {
            worker.send(order);
        }
    }

    /// Kills the worker.
    pub fn kill(&self) {
        if let Some(worker) = &*self.lock() {
            let _ = kill_process(worker.pid, Signal::KILL);
        }
    }

    /// Starts a worker and waits for its end. Returns its exit status and what it reported.
    ///
    /// # Errors
    /// When it cannot be started or waited for.
    pub fn run(&self, stop: &Stop, start: &StartOrder<'_>) -> Result<(ExitStatus, Reported)> {
        let (mut child, socket) = spawn(start.own, start.run_id).map_err(|cause| {
            Error::new(ErrorKind::Internal, "cannot start the worker process")
                .advice("run in one process, with --no-supervise")
                .caused_by(cause)
        })?;
        let pid = Pid::from_child(&child);
        let reader = socket.try_clone().context("cannot read from the worker")?;
        let listener = thread::Builder::new()
            .name("status".to_owned())
            .spawn(move || read_statuses(reader))
            .context("cannot read from the worker")?;
        let mut worker = Worker { pid, socket };
        start.deaths.iter().for_each(|death| worker.send(Order::PreviousDeath(*death)));
        let (budget, deadline) = (start.budget, start.deadline);
        worker.send(Order::Start { supervisor: std::process::id(), budget, deadline });
        {
            let mut current = self.lock();
            // The request may have come while there was no worker.
            if let Some(reason) = stop.reason() {
                worker.send(Order::Stop(reason));
            }
            *current = Some(worker);
        }
        let ended = wait_without_reaping(pid);
        // The dead worker keeps its PID until it is reaped, so `kill` cannot hit another process.
        *self.lock() = None;
        ended.context("cannot wait for the worker")?;
        let status = child.wait().context("cannot wait for the worker")?;
        let reported = listener.join().unwrap_or_default();
        Ok((status, reported))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Worker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    fn send(&mut self, order: Order) {
        // A worker that is gone needs no order.
        let _ = self.socket.write_all(order.to_line().as_bytes());
    }
}

/// Starts this program again as a worker; returns the process and the supervisor's end of the socket.
fn spawn(own: &OwnProgram, run_id: &str) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = own.command()?;
    let arguments = own.arguments().iter().skip(1).cloned();
    command.args(worker_arguments(arguments, run_id)).stdin(Stdio::from(OwnedFd::from(theirs)));
    let is_limited = memory::read().address_space_left.is_some();
    for (name, value) in allocator_settings(is_limited) {
        if std::env::var_os(name).is_none() {
            command.env(name, value);
        }
    }
    Ok((command.spawn()?, ours))
}

/// The same arguments with `--worker` and the name of the run, before a `--` that ends the options.
fn worker_arguments(arguments: impl Iterator<Item = OsString>, run_id: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let end = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let is_named = arguments[..end].iter().any(|argument| {
        argument == "--run-id" || argument.as_encoded_bytes().starts_with(b"--run-id=")
    });
    let name = [OsString::from("--run-id"), run_id.into()];
    let name = name.into_iter().filter(|_| !is_named);
    arguments.splice(end..end, std::iter::once("--worker".into()).chain(name));
    arguments
}

/// The settings of glibc's allocator: docs/decisions/0005. `is_limited`: the address space has a limit.
fn allocator_settings(is_limited: bool) -> [(&'static str, &'static str); 2] {
    [(MMAP_THRESHOLD, "131072"), (ARENA_MAX, if is_limited { "1" } else { "2" })]
}

/// Waits for the end of a process, which stays a zombie.
fn wait_without_reaping(pid: Pid) -> io::Result<()> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}

/// Reads the worker's messages until it ends.
fn read_statuses(socket: UnixStream) -> Reported {
    let mut reported = Reported::default();
    for line in BufReader::new(socket).lines() {
        let Ok(line) = line else { break };
        match Status::parse(&line) {
            Some(Status::Budget { bytes, one_text }) => {
                (reported.budget, reported.one_text) = (bytes, one_text);
                reported.has_model = true;
            }
            Some(Status::BatchStarted(batch)) => reported.in_flight = Some(batch),
            Some(Status::Committed(rows)) => reported.committed += rows,
            Some(Status::Finished) => reported.is_finished = true,
            None => tracing::debug!("unrecognised status line from the worker"),
        }
    }
    reported
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_flag_precedes_a_double_dash() {
        let arguments = |words: &[&str]| worker_arguments(words.iter().map(OsString::from), "7");
        assert_eq!(arguments(&["run", "a", "b"]), ["run", "a", "b", "--worker", "--run-id", "7"]);
        assert_eq!(
            arguments(&["run", "--run-id", "8", "--", "a", "b"]),
            ["run", "--run-id", "8", "--worker", "--", "a", "b"]
        );
        assert_eq!(arguments(&["run", "--run-id=8"]), ["run", "--run-id=8", "--worker"]);
    }
}
