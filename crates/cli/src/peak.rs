//! The machine's f32 peak: fused multiply-adds in registers, which matrix products are compared with.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use rayon::ThreadPoolBuilder;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_kernels::{Isa, run_fma_chains};

/// Rounds of one trial: about ten milliseconds.
const ROUNDS: usize = 4_000_000;

/// Trials of each thread. The fastest counts, so that other processes do not lower the peak.
const TRIALS: usize = 16;

/// Measures floating point operations per second in f32, on all `threads` at once.
///
/// # Errors
/// `Internal` when the threads cannot be started.
pub fn measure(isa: Isa, threads: NonZeroUsize) -> Result<f64> {
    let pool = ThreadPoolBuilder::new().num_threads(threads.get()).build().map_err(|cause| {
        Error::new(ErrorKind::Internal, "cannot start threads for the measurement").caused_by(cause)
    })?;
    // No pause between trials: two threads that wake together may share a core until the scheduler moves one.
    let rates = pool.broadcast(|_| {
        fastest_rate((0..TRIALS).map(|_| {
            let started = Instant::now();
            let operations = run_fma_chains(isa, ROUNDS);
            (operations, started.elapsed())
        }))
    });
    Ok(rates.into_iter().sum())
}

/// Operations per second of the fastest of trials `(operations, time)`.
fn fastest_rate(trials: impl Iterator<Item = (f64, Duration)>) -> f64 {
    let rate = |(operations, time): (f64, Duration)| operations / time.as_secs_f64().max(1e-9);
    trials.map(rate).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fastest_trial_gives_the_rate() {
        let seconds = |seconds| Duration::from_secs(seconds);
        for (trials, rate) in [
            (vec![(6e9, seconds(3)), (6e9, seconds(2)), (6e9, seconds(60))], 3e9),
            (vec![(6e9, seconds(2)), (8e9, seconds(2))], 4e9),
            (vec![], 0.0),
        ] {
            assert_eq!(fastest_rate(trials.clone().into_iter()), rate, "{trials:?}");
        }
        let without_time = [(1.0, Duration::ZERO)].into_iter();
        assert!(fastest_rate(without_time).is_finite());
    }

    #[test]
    fn trial_counts_its_operations_on_every_isa() {
        for isa in Isa::available() {
            let (once, twice) = (run_fma_chains(isa, 1000), run_fma_chains(isa, 2000));
            assert!(once > 0.0 && twice == 2.0 * once, "{isa:?}: {once}, {twice}");
        }
    }
}
