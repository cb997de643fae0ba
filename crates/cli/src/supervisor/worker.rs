//! The worker's side of the supervision: it dies with its supervisor, receives orders and reports its progress.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reembed::pipeline::RunOptions;
use reembed::publish::LockHolder;
use reembed::{Event, Stop, StopReason};
use rustix::process::getppid;

use super::wire::{Order, Status, WorkerDeath};
use crate::signals;

/// The file with this process's preference as a victim of the OOM killer, from -1000 to 1000.
const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

/// High enough that the OOM killer takes the worker before its supervisor.
const WORKER_OOM_SCORE_ADJ: i32 = 500;

/// The worker's end of the socket to its supervisor.
pub struct SupervisorLink {
    /// The stop that the supervisor and signals request.
    pub stop: Stop,
    /// The deaths of the previous workers.
    pub deaths: Vec<WorkerDeath>,
    budget: Option<u64>,
    deadline: Option<Duration>,
    socket: Mutex<UnixStream>,
}

impl SupervisorLink {
    /// Connects through standard input, waits for the order to start, and listens for the order to stop.
    ///
    /// # Errors
    /// When standard input is not the supervisor's socket, and when the supervisor is gone.
    pub fn connect() -> Result<SupervisorLink> {
        die_with_parent();
        raise_oom_score();
        let stdin = io::stdin().as_fd().try_clone_to_owned().context("standard input is closed")?;
        let socket = UnixStream::from(stdin);
        if socket.peer_addr().is_err() {
            bail!("--worker is for reembed itself, which starts its worker with it");
        }
        let reader = socket.try_clone().context("cannot read from the supervisor")?;
        let mut orders = BufReader::new(reader).lines();
        let mut deaths = Vec::new();
        let first = loop {
            match orders.next().and_then(|line| Order::parse(&line.ok()?)) {
                Some(Order::PreviousDeath(death)) => deaths.push(death),
                other => break other,
            }
        };
        let Some(Order::Start { supervisor, budget, deadline }) = first else {
            bail!("the supervisor sent no order to start");
        };
        if getppid().is_none_or(|pid| pid.as_raw_nonzero().get().unsigned_abs() != supervisor) {
            bail!("the supervisor is gone");
        }
        let stop = Stop::new();
        // The supervisor reports a forced end and writes the report, so nothing is left to do before the exit.
        signals::handle(&stop, signals::GRACE, |_| (), |_| ()).context("cannot handle signals")?;
        let requested = stop.clone();
        let listen = move || {
            for line in orders.map_while(io::Result::ok) {
                if let Some(Order::Stop(reason)) = Order::parse(&line) {
                    requested.request(reason);
                }
            }
            // The supervisor is gone. Systems other than Linux do not kill this process then.
            requested.request(StopReason::Terminated);
        };
        signals::spawn_small("orders", listen).context("cannot listen to the supervisor")?;
        Ok(SupervisorLink { stop, deaths, budget, deadline, socket: Mutex::new(socket) })
    }

    /// The options of this worker's run.
    pub fn run_options(&self) -> RunOptions {
        RunOptions { lock: LockHolder::Parent, memory_limit: self.budget, deadline: self.deadline }
    }

    /// Reports an event, if the supervisor needs it.
    pub fn report(&self, event: &Event) {
        let status = match event {
            Event::Budget { bytes, least, .. } => {
                Status::Budget { bytes: *bytes, one_text: *least }
            }
            Event::BatchStarted(batch) => Status::BatchStarted(batch.clone()),
            Event::Committed { rows } => Status::Committed(*rows as u64),
            _ => return,
        };
        self.send(&status);
    }

    /// Reports that the run ended and its report is written.
    pub fn finish(&self) {
        self.send(&Status::Finished);
    }

    fn send(&self, status: &Status) {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed socket means that the supervisor is gone; the listener then stops this process.
        let _ = socket.write_all(status.to_line().as_bytes());
    }
}

/// Asks for SIGKILL when the supervisor dies: a worker without it would run beside the next run.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        if let Err(cause) = set_parent_process_death_signal(Some(Signal::KILL)) {
            tracing::debug!("cannot set the parent death signal: {cause}");
        }
    }
}

fn raise_oom_score() {
    let score = fs::read_to_string(OOM_SCORE_ADJ).ok();
    let score = score.and_then(|text| text.trim().parse::<i32>().ok());
    if score.is_some_and(|score| score < WORKER_OOM_SCORE_ADJ)
        && let Err(cause) = fs::write(OOM_SCORE_ADJ, WORKER_OOM_SCORE_ADJ.to_string())
    {
        tracing::debug!("cannot raise {OOM_SCORE_ADJ}: {cause}");
    }
}
