//! Runs work beside the calling thread, which looks for Ctrl-C.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use pyo3::prelude::*;
use reembed_encoder::error::catch_panic;
use reembed_encoder::{Error, ErrorKind, Result, Stop, StopReason};

use crate::errors::to_python;

/// The calling thread looks this often for signals, and tells the progress.
const TICK: Duration = Duration::from_millis(100);

/// Runs `work` without the GIL in the calling thread, which sees signals only after it: for what is done sooner than
/// another thread would begin to pay, far below a second.
pub fn at_once<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&Stop) -> Result<T> + Send,
) -> PyResult<T> {
    let result = py.detach(|| catch_panic(ErrorKind::Internal, "the work", || work(&Stop::new())));
    py.check_signals()?;
    result.map_err(|error| to_python(py, &error))
}

/// Runs `work` without the GIL. Every tenth of a second the calling thread lets Python handle its signals and calls
/// `on_tick`; if either raises, the work is asked to stop and the exception is returned once it has.
pub fn interruptible<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&Stop) -> Result<T> + Send,
    mut on_tick: impl FnMut(Python<'_>) -> PyResult<()> + Send,
) -> PyResult<T> {
    let stop = Stop::new();
    let mut raised: Option<PyErr> = None;
    let result = py.detach(|| {
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            let worker = std::thread::Builder::new().name("reembed".to_owned());
            let stop = &stop;
            let started = worker.spawn_scoped(scope, move || {
                let result = catch_panic(ErrorKind::Internal, "the work", || work(stop));
                // Nobody listens only if the caller panicked.
                let _ = sender.send(result);
            });
            if let Err(cause) = started {
                return Err(
                    Error::new(ErrorKind::Internal, "no thread can be started").caused_by(cause)
                );
            }
            loop {
                match receiver.recv_timeout(TICK) {
                    Ok(result) => return result,
                    Err(RecvTimeoutError::Timeout) if raised.is_none() => {
                        let looked = Python::attach(|py| {
                            py.check_signals()?;
                            on_tick(py)
                        });
                        if let Err(exception) = looked {
                            stop.request(StopReason::Interrupted);
                            raised = Some(exception);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(Error::new(ErrorKind::Internal, "the work ended early"));
                    }
                }
            }
        })
    });
    match raised {
        Some(exception) => Err(exception),
        None => {
            let value = result.map_err(|error| to_python(py, &error))?;
            // Work that was over before the first tick has been seen once.
            on_tick(py)?;
            Ok(value)
        }
    }
}
