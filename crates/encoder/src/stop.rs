//! A request to stop, shared between the caller and the stages.
//!
//! Stages check it between chunks and batches, the packed encoder also between the parts of a
//! batch, and return an error of the kind [`ErrorKind::Stopped`]. A signal handler or another
//! thread makes the request.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use crate::error::StopReason;
use crate::error::{Error, ErrorKind, Result};

/// A request to stop, with an optional deadline.
///
/// Clones share the request. A deadline belongs to the clone that [`Stop::with_deadline`] returns.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    shared: Arc<Shared>,
    deadline: Option<Instant>,
}

#[derive(Debug, Default)]
struct Shared {
    requested: Mutex<Option<StopReason>>,
    changed: Condvar,
}

impl Stop {
    /// A stop that is not requested and has no deadline.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// A clone that also stops at `deadline`. The earlier of two deadlines counts.
    #[must_use]
    pub fn with_deadline(&self, deadline: Option<Instant>) -> Stop {
        let earliest = [self.deadline, deadline].into_iter().flatten().min();
        Stop { shared: self.shared.clone(), deadline: earliest }
    }

    /// Requests a stop. The first reason is kept.
    pub fn request(&self, reason: StopReason) {
        self.requested().get_or_insert(reason);
        self.shared.changed.notify_all();
    }

    /// The reason to stop; `None` while there is none.
    pub fn reason(&self) -> Option<StopReason> {
        let passed = || self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        (*self.requested()).or_else(|| passed().then_some(StopReason::Deadline))
    }

    /// Returns an error once there is a reason to stop.
    ///
    /// # Errors
    /// `Stopped`.
    pub fn check(&self) -> Result<()> {
        self.reason().map_or(Ok(()), |reason| Err(stop_error(reason)))
    }

    /// Waits for a request, for the deadline or for `timeout`, and returns the reason to stop, if
    /// any.
    pub fn wait(&self, timeout: Duration) -> Option<StopReason> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(timeout, |left| left.min(timeout));
        let requested = self.requested();
        let waited =
            self.shared.changed.wait_timeout_while(requested, timeout, |reason| reason.is_none());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.reason()
    }

    fn requested(&self) -> std::sync::MutexGuard<'_, Option<StopReason>> {
        // Writers replace the whole value, so a poisoned lock holds no half-written one.
        self.shared.requested.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of a run that stops for this reason.
pub fn stop_error(reason: StopReason) -> Error {
    let message = match reason {
        StopReason::Interrupted => "the run was interrupted",
        StopReason::Terminated => "the run was asked to end",
        StopReason::Deadline => "deadline exceeded (`run.deadline`)",
    };
    Error::new(ErrorKind::Stopped(reason), message).advice(
        "the output path is unchanged; start the run again: it continues from the vector cache",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_reason_is_kept_and_every_clone_sees_it() {
        let stop = Stop::new();
        let clone = stop.with_deadline(None);
        assert!(clone.check().is_ok());
        stop.request(StopReason::Terminated);
        stop.request(StopReason::Interrupted);
        assert_eq!(clone.reason(), Some(StopReason::Terminated));
        let error = clone.check().expect_err("it is to stop");
        assert_eq!(error.kind(), ErrorKind::Stopped(StopReason::Terminated));
    }

    #[test]
    fn earliest_deadline_counts_and_belongs_to_its_clone() {
        let stop = Stop::new();
        let now = Instant::now();
        let later = stop.with_deadline(Some(now + Duration::from_secs(3600)));
        assert_eq!(later.reason(), None);
        assert_eq!(later.with_deadline(Some(now)).reason(), Some(StopReason::Deadline));
        let passed = stop.with_deadline(Some(now));
        assert_eq!(passed.with_deadline(None).reason(), Some(StopReason::Deadline));
        assert_eq!(stop.reason(), None, "the original has no deadline");
        let error = passed.check().expect_err("the deadline passed");
        assert_eq!(error.to_string(), "deadline exceeded (`run.deadline`)");
    }

    #[test]
    fn wait_ends_with_a_request_or_the_deadline() {
        let hour = Duration::from_secs(3600);
        let stop = Stop::new();
        assert_eq!(stop.wait(Duration::ZERO), None);
        let soon = stop.with_deadline(Some(Instant::now() + Duration::from_millis(5)));
        assert_eq!(soon.wait(hour), Some(StopReason::Deadline));
        let waiting = stop.clone();
        let waiter = std::thread::spawn(move || waiting.wait(hour));
        stop.request(StopReason::Interrupted);
        assert_eq!(waiter.join().expect("no panic"), Some(StopReason::Interrupted));
    }
}
