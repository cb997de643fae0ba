//! Waits for a cache that another process has open.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use reembed_encoder::error::{Error, ErrorKind};
use reembed_encoder::stop::Stop;

use super::database::DbError;
use crate::events::Event;

/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// How long to wait for a cache that another process has open.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// The longest time (`cache.wait`).
    pub time: Duration,
    /// Ends the wait.
    pub stop: &'a Stop,
    /// Hears that there is a wait.
    pub on_event: &'a (dyn Fn(Event) + Sync),
}

impl Patience<'_> {
    /// Opens a cache as soon as no other process has it open.
    ///
    /// # Errors
    /// Those of `open`; `CacheBusy` when the time is over, `Stopped` when a stop is requested.
    pub(super) fn open<T>(
        &self,
        path: &Path,
        mut open: impl FnMut() -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        let started = Instant::now();
        let mut is_told = false;
        loop {
            let busy = match open() {
                Err(DbError::Failed(error)) if error.kind() == ErrorKind::CacheBusy => error,
                other => return other,
            };
            if let Err(stopped) = self.stop.check() {
                return Err(DbError::Failed(stopped));
            }
            if started.elapsed() >= self.time {
                return Err(DbError::Failed(told_how_long(busy, self.time)));
            }
            if !std::mem::replace(&mut is_told, true) {
                (self.on_event)(Event::WaitingForCache { path: path.to_owned() });
            }
            thread::sleep(PAUSE);
        }
    }
}

/// The error with the time that was waited.
fn told_how_long(busy: Error, time: Duration) -> Error {
    let message = format!("{}, and still had it after {} s", busy.message(), time.as_secs());
    let place = busy.place().file().map(Path::to_owned);
    let advice = "start the run again later, raise `cache.wait`, set `cache.path` to another file, or \
                  use no cache with --cache-mode off";
    let error = Error::new(ErrorKind::CacheBusy, message).advice(advice);
    match place {
        Some(file) => error.in_file(file),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> DbError {
        DbError::Failed(Error::new(ErrorKind::CacheBusy, "another process has it"))
    }

    fn opened(time: Duration, busy_tries: usize, stop: &Stop) -> (Result<(), DbError>, usize) {
        let (mut tries, heard) = (0, std::sync::atomic::AtomicUsize::new(0));
        let on_event = |_: Event| {
            heard.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let patience = Patience { time, stop, on_event: &on_event };
        let result = patience.open(Path::new("cache"), || {
            tries += 1;
            if tries > busy_tries { Ok(()) } else { Err(busy()) }
        });
        (result, heard.into_inner())
    }

    #[test]
    fn cache_is_opened_when_it_is_free_and_the_wait_is_told_once() {
        let (result, heard) = opened(Duration::from_secs(60), 3, &Stop::new());
        assert!(result.is_ok());
        assert_eq!(heard, 1);
        let (result, heard) = opened(Duration::from_secs(60), 0, &Stop::new());
        assert!(result.is_ok());
        assert_eq!(heard, 0);
    }

    #[test]
    fn wait_ends_with_its_time_or_a_request_to_stop() {
        let (result, _) = opened(Duration::ZERO, 9, &Stop::new());
        let Err(DbError::Failed(error)) = result else { panic!("it was opened") };
        assert_eq!(error.kind(), ErrorKind::CacheBusy);
        assert!(error.to_string().ends_with("still had it after 0 s"), "{error}");
        let stop = Stop::new();
        stop.request(reembed_encoder::error::StopReason::Terminated);
        let (result, _) = opened(Duration::from_secs(60), 9, &stop);
        let Err(DbError::Failed(error)) = result else { panic!("it was opened") };
        assert!(matches!(error.kind(), ErrorKind::Stopped(_)), "{error}");
    }
}
