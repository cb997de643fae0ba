//! Accounts for the time of the stages, as they pass through their loops.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::events::{Stage, StageTimes};

/// The clocks of all stages. A stage that fails leaves what it had.
#[derive(Default)]
pub(super) struct StageClocks {
    times: Mutex<BTreeMap<Stage, StageTimes>>,
}

impl StageClocks {
    /// Does some of a stage's work.
    pub fn busy<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        self.measure(stage, work, |times| &mut times.busy)
    }

    /// Waits for what the stage before gives.
    pub fn waiting_for_input<T>(&self, stage: Stage, wait: impl FnOnce() -> T) -> T {
        self.measure(stage, wait, |times| &mut times.waiting_for_input)
    }

    /// Waits until the stage behind takes what was done.
    pub fn waiting_for_output<T>(&self, stage: Stage, wait: impl FnOnce() -> T) -> T {
        self.measure(stage, wait, |times| &mut times.waiting_for_output)
    }

    /// What each stage did so far. Inference and writer share a thread: while one works, the other waits.
    pub fn times(&self) -> Vec<(Stage, StageTimes)> {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of = |stage| times.get(&stage).copied().unwrap_or_default();
        let (inference, writer): (StageTimes, StageTimes) =
            (of(Stage::Inference), of(Stage::Writer));
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
    fn while_the_writer_works_the_model_waits_and_the_other_way_round() {
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
