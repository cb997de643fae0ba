//! What the cores can do when nothing is in their way: the figure that products are measured against.

use std::num::NonZeroUsize;
use std::time::Instant;

use rayon::ThreadPoolBuilder;

use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{Isa, fused_multiply_adds};

/// Rounds of one measurement: some milliseconds.
const ROUNDS: usize = 400_000;

/// Measurements, of which the fastest counts: a ceiling is not lowered by whoever else uses the machine.
const TRIALS: usize = 8;

/// Floating point operations a second of fused multiply-adds in f32, on all `threads` at once.
///
/// # Errors
/// `Internal` when the threads cannot be started.
pub fn measure(isa: Isa, threads: NonZeroUsize) -> Result<f64> {
    let pool = ThreadPoolBuilder::new().num_threads(threads.get()).build().map_err(|cause| {
        Error::new(ErrorKind::Internal, "no threads for the measurement").caused_by(cause)
    })?;
    let trial = || {
        let started = Instant::now();
        // Once on each thread: a parallel iterator may give one of them two shares, one after the other.
        let done = pool.broadcast(|_| fused_multiply_adds(isa, ROUNDS));
        done.iter().sum::<f64>() / started.elapsed().as_secs_f64().max(1e-9)
    };
    trial();
    Ok((0..TRIALS).map(|_| trial()).fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_does_more_than_a_hundred_million_operations_a_second() {
        let ceiling = measure(Isa::detect(), NonZeroUsize::MIN).expect("a thread");
        assert!(ceiling.is_finite() && ceiling > 1e8, "{ceiling}");
    }
}
