//! What the cores can do when nothing is in their mode: the figure that products are measured against.

use std::num::NonZeroUsize;
use std::time::Instant;

use rayon::ThreadPoolBuilder;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_kernels::{Isa, run_fma_chains};

/// Rounds of one measurement: some ten milliseconds.
const ROUNDS: usize = 4_000_000;

/// Measurements, of which each thread's fastest counts: a peak is not lowered by other work on the machine.
const TRIALS: usize = 16;

/// Floating point operations a second of fused multiply-adds in f32, on all `threads` at once.
///
/// # Errors
/// `Internal` when the threads cannot be started.
pub fn measure(isa: Isa, threads: NonZeroUsize) -> Result<f64> {
    let pool = ThreadPoolBuilder::new().num_threads(threads.get()).build().map_err(|cause| {
        Error::new(ErrorKind::Internal, "no threads for the measurement").caused_by(cause)
    })?;
    // Each thread goes on without a pause: woken together, two may begin on one core until the system parts them.
    let fastest = pool.broadcast(|_| {
        let trial = || {
            let started = Instant::now();
            run_fma_chains(isa, ROUNDS) / started.elapsed().as_secs_f64().max(1e-9)
        };
        (0..TRIALS).map(|_| trial()).fold(0.0, f64::max)
    });
    Ok(fastest.into_iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_does_more_than_a_hundred_million_operations_a_second() {
        let peak = measure(Isa::detect(), NonZeroUsize::MIN).expect("a thread");
        assert!(peak.is_finite() && peak > 1e8, "{peak}");
    }
}
