//! A request to stop, and whoever looks for it.
//!
//! Nothing is torn off: stages look between chunks and batches, our own encoder between the parts of one, and end the run with an error of the kind
//! [`ErrorKind::Stopped`]. Who asks (a signal handler, another thread) is the caller's affair.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use crate::error::StopReason;
use crate::error::{Error, ErrorKind, Result};

/// A request to stop, shared by who makes it and who follows it. Clones share the request; a deadline belongs to
/// the clone that has it.
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
    /// Nobody has asked yet.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// The same request; and the clock makes one too, at `deadline`.
    #[must_use]
    pub fn or_at(&self, deadline: Option<Instant>) -> Stop {
        let earliest = [self.deadline, deadline].into_iter().flatten().min();
        Stop { shared: self.shared.clone(), deadline: earliest }
    }

    /// Asks to stop. The first reason holds.
    pub fn request(&self, reason: StopReason) {
        self.requested().get_or_insert(reason);
        self.shared.changed.notify_all();
    }

    /// Why to stop, once there is a reason.
    pub fn reason(&self) -> Option<StopReason> {
        let passed = || self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        (*self.requested()).or_else(|| passed().then_some(StopReason::Deadline))
    }

    /// Fails once there is a reason to stop.
    ///
    /// # Errors
    /// `Stopped`.
    pub fn check(&self) -> Result<()> {
        self.reason().map_or(Ok(()), |reason| Err(stopped(reason)))
    }

    /// Waits so long, or until someone asks; gives the reason to stop, if there is one then.
    pub fn wait(&self, at_most: Duration) -> Option<StopReason> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let at_most = left.map_or(at_most, |left| left.min(at_most));
        let requested = self.requested();
        let waited =
            self.shared.changed.wait_timeout_while(requested, at_most, |reason| reason.is_none());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.reason()
    }

    fn requested(&self) -> std::sync::MutexGuard<'_, Option<StopReason>> {
        // A value that is replaced whole: a panic elsewhere cannot leave it half-changed.
        self.shared.requested.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of a run that was asked to stop.
pub(crate) fn stopped(reason: StopReason) -> Error {
    let message = match reason {
        StopReason::Interrupted => "the run was interrupted",
        StopReason::Terminated => "the run was asked to end",
        StopReason::Deadline => "the run's time is over (`run.deadline`)",
    };
    Error::new(ErrorKind::Stopped(reason), message)
        .advice("the output is as it was; a new run goes on from the vectors that are in the cache")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_holds_and_every_clone_sees_it() {
        let stop = Stop::new();
        let clone = stop.or_at(None);
        assert!(clone.check().is_ok());
        stop.request(StopReason::Terminated);
        stop.request(StopReason::Interrupted);
        assert_eq!(clone.reason(), Some(StopReason::Terminated));
        let error = clone.check().expect_err("it is to stop");
        assert_eq!(error.kind(), ErrorKind::Stopped(StopReason::Terminated));
    }

    #[test]
    fn a_deadline_is_a_reason_when_it_has_passed_and_the_earliest_counts() {
        let stop = Stop::new();
        let now = Instant::now();
        let later = stop.or_at(Some(now + Duration::from_secs(3600)));
        assert_eq!(later.reason(), None);
        assert_eq!(later.or_at(Some(now)).reason(), Some(StopReason::Deadline));
        assert_eq!(stop.or_at(Some(now)).or_at(None).reason(), Some(StopReason::Deadline));
        assert_eq!(stop.reason(), None, "a deadline belongs to its clone");
    }

    #[test]
    fn waiting_ends_with_a_request_or_with_the_deadline() {
        let hour = Duration::from_secs(3600);
        let stop = Stop::new();
        assert_eq!(stop.wait(Duration::ZERO), None);
        let soon = stop.or_at(Some(Instant::now() + Duration::from_millis(5)));
        assert_eq!(soon.wait(hour), Some(StopReason::Deadline));
        let waiting = stop.clone();
        let waiter = std::thread::spawn(move || waiting.wait(hour));
        stop.request(StopReason::Interrupted);
        assert_eq!(waiter.join().expect("no panic"), Some(StopReason::Interrupted));
    }
}
