//! Measures how the stages spend their time.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::events::{Stage, StageTimes};

/// The clocks of all stages. The times of a failed stage stay.
#[derive(Default)]
pub struct StageClocks {
    times: Mutex<BTreeMap<Stage, StageTimes>>,
}

impl StageClocks {
    /// Measures work of a stage.
    pub fn busy<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        self.measure(stage, work, |times| &mut times.busy)
    }

    /// Measures waiting for the stage before.
    pub fn waiting_for_input<T>(&self, stage: Stage, wait: impl FnOnce() -> T) -> T {
        self.measure(stage, wait, |times| &mut times.waiting_for_input)
    }

    /// Measures waiting for the stage after.
    pub fn waiting_for_output<T>(&self, stage: Stage, wait: impl FnOnce() -> T) -> T {
        self.measure(stage, wait, |times| &mut times.waiting_for_output)
    }

    /// The times so far. Inference and writer share a thread: while one works, the other waits.
    pub fn times(&self) -> Vec<(Stage, StageTimes)> {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let times_of = |stage| times.get(&stage).copied().unwrap_or_default();
        let (inference, writer): (StageTimes, StageTimes) =
            (times_of(Stage::Inference), times_of(Stage::Writer));
        times.entry(Stage::Inference).or_default().waiting_for_output += writer.busy;
        times.entry(Stage::Writer).or_default().waiting_for_input +=
            inference.busy + inference.waiting_for_input;
        times.into_iter().collect()
    }

    fn measure<T>(
        &self,
        stage: Stage,
        work: impl FnOnce() -> T,
        part: fn(&mut StageTimes) -> &mut Duration,
    ) -> T {
        let started = Instant::now();
        let result = work();
        let took = started.elapsed();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        *part(times.entry(stage).or_default()) += took;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inference_waits_while_the_writer_works_and_vice_versa() {
        let clocks = StageClocks::default();
        let long = || std::thread::sleep(Duration::from_millis(3));
        clocks.busy(Stage::Inference, long);
        clocks.waiting_for_input(Stage::Inference, long);
        clocks.busy(Stage::Writer, long);
        clocks.waiting_for_output(Stage::Reader, long);
        let times: BTreeMap<Stage, StageTimes> = clocks.times().into_iter().collect();
        let (inference, writer) = (times[&Stage::Inference], times[&Stage::Writer]);
        assert_eq!(inference.waiting_for_output, writer.busy);
        assert_eq!(writer.waiting_for_input, inference.busy + inference.waiting_for_input);
        assert_eq!(inference.total(), writer.total());
        assert_eq!(times[&Stage::Reader].busy, Duration::ZERO);
        assert!(times[&Stage::Reader].waiting_for_output >= Duration::from_millis(3));
    }
}
