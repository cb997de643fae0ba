//! The supervisor of a run: a small process that starts the worker and restarts it when it is killed.
//!
//! ```text
//!   reembed run                      supervisor: configuration, lock, waiting, decisions
//!      │  stdin: a socket            start, stop ►   ◄ budget, batch in flight, committed rows
//!      ▼
//!   reembed run --worker             worker: everything else, on the same standard output and error
//! ```
//!
//! docs/decisions/0008 says why there are two processes, and 0012 why stop requests go over the socket.

mod policy;
mod process;
mod wire;
pub mod worker;

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reembed::figures::bytes;
use reembed::{Config, Error, Stop, StopReason};
use reembed_encoder::error::ErrorKind;
use reembed_encoder::stop::stop_error;
use signal_hook::consts::{SIGABRT, SIGBUS, SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGSEGV, SIGTERM};

use crate::exit::Exit;
use crate::report::Recorder;
use crate::session::Session;
use crate::signals;
use policy::{Death, Decision};
use process::{CurrentWorker, Reported, StartOrder};
use wire::{Order, WorkerDeath, signal_name};

/// A worker ends itself after [`signals::GRACE`]; the supervisor kills one that does not.
const GRACE: Duration = signals::GRACE.saturating_add(Duration::from_secs(1));

/// The time for the error and the report after the worker was killed.
const EXIT_DELAY: Duration = Duration::from_millis(500);

/// Runs workers until one ends by itself or too many were killed, under the `lock`. With `stop_at_eof`, the end of standard
/// input counts as a SIGTERM.
///
/// # Errors
/// When another run holds the lock, when no worker can be started, when a stop is requested before one is, and when
/// workers were killed too often; that error names the rows in flight.
pub fn run<L>(
    config: &Config,
    lock: impl FnOnce() -> reembed::Result<L>,
    stop_at_eof: bool,
    session: &Session,
    recorder: &Recorder,
) -> Result<Exit> {
    let started = Instant::now();
    let _lock = lock()?;
    let worker = CurrentWorker::default();
    let deadline = config.run.deadline.and_then(|time| started.checked_add(time));
    let stop = handle_stop_requests(&worker, deadline)?;
    if stop_at_eof {
        signals::terminate_at_eof().context("cannot watch standard input")?;
    }
    // A parent that ignores SIGCHLD passes that on, and the kernel then discards the exit status of children.
    signal_hook::flag::register(SIGCHLD, Arc::default()).context("cannot handle SIGCHLD")?;

    let mut deaths_without_progress = 0;
    let mut deaths: Vec<WorkerDeath> = Vec::new();
    let mut budget = None;
    loop {
        stop.check()?;
        let deadline = config.run.deadline.map(|time| time.saturating_sub(started.elapsed()));
        let (own, run_id) = (&session.own, session.run_id.as_str());
        let order = StartOrder { own, run_id, deaths: &deaths, budget, deadline };
        let (status, reported) = worker.run(&stop, &order)?;
        let Some(signal) = status.signal() else { return exit_of_worker(status, &reported) };
        if let Some(reason) = stop.reason() {
            return Err(signals::forced_error(reason).into());
        }
        match signal {
            SIGKILL | SIGABRT | SIGSEGV | SIGBUS => {}
            // The signal came before the worker could handle it.
            SIGINT => return Err(stop_error(StopReason::Interrupted).into()),
            SIGTERM | SIGHUP => return Err(stop_error(StopReason::Terminated).into()),
            _ => return Err(unexpected_signal(signal).into()),
        }
        budget = reported.budget.or(budget);
        let decision;
        (deaths_without_progress, decision) = policy::decide(
            deaths_without_progress,
            Death {
                committed: reported.committed,
                budget,
                in_flight: reported.in_flight.as_ref().and_then(|batch| batch.bytes),
                min_budget: reported.one_text,
            },
        );
        match decision {
            Decision::Restart { budget: next } => {
                budget = next;
                let death = WorkerDeath { at: started.elapsed(), signal };
                recorder.restarted(death.at, death.cause());
                deaths.push(death);
                log_restart(signal, budget);
            }
            Decision::GiveUp => {
                return Err(killed_too_often(deaths_without_progress, signal, &reported).into());
            }
        }
    }
}

/// Passes stop requests on to the worker, and kills a worker that does not stop. Returns the stop of the run.
fn handle_stop_requests(worker: &CurrentWorker, deadline: Option<Instant>) -> Result<Stop> {
    let stop = Stop::new();
    let (to_stop, to_kill) = (worker.clone(), worker.clone());
    let on_request = move |reason| to_stop.send(Order::Stop(reason));
    let kill = move |_| {
        to_kill.kill();
        // The main thread prints the error and writes the report.
        thread::sleep(EXIT_DELAY);
    };
    signals::handle(&stop, GRACE, on_request, kill.clone()).context("cannot handle signals")?;
    signals::enforce_deadline(deadline, GRACE, kill).context("cannot enforce the deadline")?;
    Ok(stop.with_deadline(deadline))
}

/// The exit of a worker that ended by itself.
fn exit_of_worker(status: ExitStatus, reported: &Reported) -> Result<Exit> {
    let exit = status.code().and_then(Exit::from_code).ok_or_else(|| unexpected_exit(status))?;
    match exit.stop_reason() {
        Some(reason) if !reported.is_finished => Err(signals::forced_error(reason).into()),
        _ => Ok(exit),
    }
}

fn log_restart(signal: i32, budget: Option<u64>) {
    let limit = match budget {
        Some(budget) => format!("batches of at most {}", bytes(budget)),
        None => "the same memory limit".to_owned(),
    };
    tracing::warn!(
        "the worker was killed by {}, which usually means that memory ran out; restarting it with {limit}",
        signal_name(signal)
    );
}

fn unexpected_exit(status: ExitStatus) -> Error {
    Error::new(ErrorKind::Internal, format!("the worker ended with {status}"))
        .advice("the output path is unchanged; please report this line as a bug")
}

fn unexpected_signal(signal: i32) -> Error {
    Error::new(ErrorKind::Internal, format!("the worker was killed by {}", signal_name(signal)))
        .advice("the output path is unchanged; start the run again, and report this line if it happens again")
}

fn killed_too_often(deaths: u32, signal: i32, reported: &Reported) -> Error {
    let killed = format!("the worker was killed {deaths} times, last by {}", signal_name(signal));
    let error = |message: String| Error::new(ErrorKind::OutOfMemory, message);
    let error = match &reported.in_flight {
        Some(batch) => {
            let size = batch.bytes.map_or(String::new(), |size| {
                format!("; this batch needs {} beside the model", bytes(size))
            });
            let rows = match batch.rows {
                1 => batch.first.clone(),
                rows => format!("{rows} rows from {} to {}", batch.first, batch.last),
            };
            error(format!("{killed}, without a finished row in between{size}")).at(rows)
        }
        None if reported.has_model => error(format!("{killed}, before its first batch")),
        None => error(format!("{killed}, before the model was loaded")),
    };
    error.advice(
        "free memory, raise the limit of the container or `ulimit -v`, or lower `batch.start`, `input.chunk_rows` \
         and `compute.threads`",
    )
}
