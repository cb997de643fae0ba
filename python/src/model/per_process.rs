//! A value with threads of its own, which no forked process can use.

use std::process;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use reembed_encoder::Result;

/// A value that each process makes for itself.
///
/// After a fork the threads of the value are gone and its locks may be held for ever. So a process looks at its own
/// number before it touches anything, and a child leaks what its parent made.
pub struct PerProcess<T> {
    process: u32,
    value: Mutex<Option<Arc<T>>>,
    /// The value of a process that was forked from this one.
    child: OnceLock<Box<PerProcess<T>>>,
}

impl<T> PerProcess<T> {
    /// The value of this process.
    pub fn new(value: T) -> Self {
        PerProcess::of(process::id(), Some(value))
    }

    /// Whether this process has its value. No lock is touched that a fork may have left.
    pub fn is_made(&self) -> bool {
        let current = process::id();
        let mut slot = self;
        while slot.process != current {
            let Some(child) = slot.child.get() else { return false };
            slot = child;
        }
        // Whoever holds it makes the value, or takes it and is done at once.
        slot.value.try_lock().is_ok_and(|value| value.is_some())
    }

    /// The value of this process, which `make` makes if it is a fork without one. Other threads wait for it.
    ///
    /// # Errors
    /// Those of `make`; the next call tries again.
    pub fn get_or_make(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let current = process::id();
        let mut slot = self;
        while slot.process != current {
            slot = slot.child.get_or_init(|| Box::new(PerProcess::of(current, None)));
        }
        let mut value = slot.value.lock().unwrap_or_else(PoisonError::into_inner);
        match &*value {
            Some(made) => Ok(made.clone()),
            None => Ok(value.insert(Arc::new(make()?)).clone()),
        }
    }

    fn of(process: u32, value: Option<T>) -> Self {
        PerProcess { process, value: Mutex::new(value.map(Arc::new)), child: OnceLock::new() }
    }
}

/// A child does not drop the value of its parent: that would wake threads that it does not have.
impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        if self.process != process::id() {
            let value = self.value.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(value.take());
        }
    }
}
