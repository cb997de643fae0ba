//! Where the time of a run went, stage by stage, and which stage the others waited for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::figures::percent;

/// A stage of the run. Inference and writer share a thread; each is accounted for alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Parquet to rows.
    Reader,
    /// Texts to token ids and planned batches.
    Tokenizer,
    /// Batches to vectors.
    Inference,
    /// Vectors to Parquet; its end is the publishing of the file.
    Writer,
}

/// What a stage did with its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// It worked.
    pub busy: Duration,
    /// It had nothing to work on: the stage before it was slower.
    pub waiting_for_input: Duration,
    /// It could not hand on what was done: the stage behind it was slower.
    pub waiting_for_output: Duration,
}

impl StageTimes {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.busy + self.waiting_for_input + self.waiting_for_output
    }

    /// The busy part of the time that rows flowed, from 0 to 1: a stage that was done early counts as idle then.
    pub fn busy_share(&self, flow: Duration) -> f64 {
        let flow = flow.max(self.total()).as_secs_f64();
        self.busy.as_secs_f64() / flow.max(f64::MIN_POSITIVE)
    }
}

/// A stage that is busy for less than this part of the time is no bottleneck.
const DOMINATES: f64 = 0.6;

/// A run shorter than this tells nothing about its stages.
const TOO_SHORT: Duration = Duration::from_millis(100);

/// The bottleneck of stages while rows `flow`ed, in one sentence with what would help; `None` where there is too
/// little to judge by.
pub fn bottleneck(stages: &[(Stage, StageTimes)], flow: Duration) -> Option<String> {
    if flow < TOO_SHORT {
        return None;
    }
    let (stage, times) =
        stages.iter().max_by(|a, b| a.1.busy_share(flow).total_cmp(&b.1.busy_share(flow)))?;
    let share = percent(times.busy_share(flow));
    if times.busy_share(flow) < DOMINATES {
        let name = match stage {
            Stage::Reader => "the reader",
            Stage::Tokenizer => "the tokenizer",
            Stage::Inference => "the model",
            Stage::Writer => "the writer",
        };
        return Some(format!(
            "No stage is the bottleneck: the busiest, {name}, worked {share} of the time."
        ));
    }
    Some(match stage {
        Stage::Reader => format!(
            "Reading is the bottleneck: the reader was busy {share} of the time. A faster disk, or an input \
             with less compression, would shorten the run."
        ),
        Stage::Tokenizer => format!(
            "Tokenizing is the bottleneck: the tokenizer was busy {share} of the time, and the model waited \
             for it. A faster core would shorten the run; a faster model would not."
        ),
        Stage::Inference => format!(
            "The model is the bottleneck: it was busy {share} of the time. More cores, or a faster \
             precision where the CPU has one, would shorten the run; a faster disk would not."
        ),
        Stage::Writer => format!(
            "Writing is the bottleneck: the writer was busy {share} of the time. A faster disk below the \
             output would shorten the run."
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(busy: u64, input: u64, output: u64) -> StageTimes {
        StageTimes {
            busy: Duration::from_millis(busy),
            waiting_for_input: Duration::from_millis(input),
            waiting_for_output: Duration::from_millis(output),
        }
    }

    #[test]
    fn the_busiest_stage_is_named_and_the_rest_is_silent() {
        use Stage::*;
        for (stages, expected) in [
            (vec![], None),
            (
                // It was done before the model began: no bottleneck, though it never waited.
                vec![(Reader, times(300, 0, 0)), (Inference, times(900, 0, 0))],
                Some("The model is the bottleneck: it was busy 90 % of the time."),
            ),
            (
                vec![(Reader, times(10, 0, 990)), (Inference, times(970, 10, 20))],
                Some("The model is the bottleneck: it was busy 97 % of the time."),
            ),
            (
                vec![(Tokenizer, times(800, 0, 200)), (Inference, times(300, 700, 0))],
                Some("Tokenizing is the bottleneck: the tokenizer was busy 80 % of the time,"),
            ),
            (
                vec![(Reader, times(900, 0, 100)), (Tokenizer, times(100, 900, 0))],
                Some("Reading is the bottleneck: the reader was busy 90 % of the time."),
            ),
            (
                vec![(Inference, times(200, 0, 800)), (Writer, times(750, 250, 0))],
                Some("Writing is the bottleneck: the writer was busy 75 % of the time."),
            ),
            (
                vec![(Reader, times(400, 0, 600)), (Inference, times(550, 450, 0))],
                Some(
                    "No stage is the bottleneck: the busiest, the model, worked 55 % of the time.",
                ),
            ),
        ] {
            let found = bottleneck(&stages, Duration::from_secs(1));
            assert_eq!(bottleneck(&stages, Duration::from_millis(50)), None, "too short to judge");
            match expected {
                None => assert_eq!(found, None, "{stages:?}"),
                Some(start) => {
                    let found = found.unwrap_or_default();
                    assert!(found.starts_with(start), "{stages:?} gave {found:?}");
                }
            }
        }
    }
}
