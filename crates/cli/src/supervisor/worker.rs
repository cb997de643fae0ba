//! The worker's side: it dies with its parent, offers itself when memory runs out, and says how far it is.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use reembed::pipeline::RunOptions;
use reembed::publish::LockHolder;
use reembed::{Event, Stop, StopReason};
use rustix::process::getppid;

use super::wire::{EarlierDeath, Order, Status};
use crate::signals;

/// Where the kernel keeps how gladly it kills this process, from -1000 to 1000, when memory runs out.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Enough to go before a process of half of the machine's memory, and well before the parent.
const WORKERS_OOM_SCORE: i32 = 500;

/// The worker's end of the socket to its parent.
pub struct Link {
    /// What the parent and the signals ask for.
    pub stop: Stop,
    /// The workers before this one.
    pub deaths: Vec<EarlierDeath>,
    order: (Option<u64>, Option<std::time::Duration>),
    parent: Mutex<UnixStream>,
}

/// Takes up the connection that standard input is, waits for the order to begin, and listens for the one to stop.
///
/// # Errors
/// When standard input is no such connection, and when the parent is gone.
pub fn attach() -> Result<Link> {
    die_with_parent();
    raise_oom_score();
    let stdin = io::stdin().as_fd().try_clone_to_owned().context("there is no standard input")?;
    let stream = UnixStream::from(stdin);
    if stream.peer_addr().is_err() {
        bail!("--worker is for reembed itself, which starts its worker with it");
    }
    let mut orders =
        BufReader::new(stream.try_clone().context("the parent cannot be heard")?).lines();
    let mut deaths = Vec::new();
    let mut next = || Order::of_line(&orders.next()?.ok()?);
    let first = loop {
        match next() {
            Some(Order::Died(death)) => deaths.push(death),
            other => break other,
        }
    };
    let Some(Order::Start { parent, budget, deadline }) = first else {
        bail!("the process that started this one gave it no order");
    };
    if getppid().is_none_or(|pid| pid.as_raw_nonzero().get().unsigned_abs() != parent) {
        bail!("the process that started this one is gone");
    }
    let stop = Stop::new();
    // The parent says it, and writes the report.
    signals::listen(&stop, signals::GRACE, |_| (), |_| ())
        .context("signals cannot be listened to")?;
    let asked = stop.clone();
    let listening = move || {
        for line in orders.map_while(io::Result::ok) {
            if let Some(Order::Stop(reason)) = Order::of_line(&line) {
                asked.request(reason);
            }
        }
        // The parent is gone. Where the kernel does not end this process for that, it ends itself.
        asked.request(StopReason::Terminated);
    };
    signals::start("orders", listening).context("the parent cannot be listened to")?;
    Ok(Link { stop, deaths, order: (budget, deadline), parent: Mutex::new(stream) })
}

impl Link {
    /// What the parent decided for this worker.
    pub fn options(&self) -> RunOptions {
        let (memory_limit, deadline) = self.order;
        RunOptions { lock: LockHolder::Parent, memory_limit, deadline }
    }

    /// Passes on what the parent wants to know.
    pub fn tell(&self, event: &Event) {
        let status = match event {
            Event::Budget { bytes, least } => Status::Budget { bytes: *bytes, least: *least },
            Event::Trying(batch) => Status::Trying(batch.clone()),
            Event::Kept { rows } => Status::Committed(*rows as u64),
            _ => return,
        };
        self.say(&status);
    }

    /// The report is written; what is left is to end.
    pub fn over(&self) {
        self.say(&Status::Over);
    }

    fn say(&self, status: &Status) {
        let mut parent = self.parent.lock().unwrap_or_else(PoisonError::into_inner);
        // A parent that does not hear is gone, and this process is about to follow.
        let _ = parent.write_all(status.line().as_bytes());
    }
}

/// A worker without its parent would work for nobody, and beside the next run.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        if let Err(cause) = set_parent_process_death_signal(Some(Signal::KILL)) {
            tracing::debug!("the system does not end this process with its parent: {cause}");
        }
    }
}

fn raise_oom_score() {
    let score = fs::read_to_string(OOM_SCORE).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if score.is_some_and(|score| score < WORKERS_OOM_SCORE)
        && let Err(cause) = fs::write(OOM_SCORE, WORKERS_OOM_SCORE.to_string())
    {
        tracing::debug!("the worker's {OOM_SCORE} cannot be raised: {cause}");
    }
}
