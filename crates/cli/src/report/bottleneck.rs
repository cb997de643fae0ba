//! The bottleneck: the stage that the others waited for.

use std::time::Duration;

use reembed::events::{Stage, StageTimes};
use reembed::figures::percent;

/// A bottleneck is busy for at least this part of the time.
const MIN_BUSY_SHARE: f64 = 0.6;

/// The minimum duration of a run whose stages are judged.
const MIN_DURATION: Duration = Duration::from_millis(100);

/// Names the bottleneck and what would help, in one or two sentences; `None` for a run too short to tell. `flow` is
/// the time from the first row to the end. The model is none if no row needed it (`uses_model`).
pub fn bottleneck(
    stages: &[(Stage, StageTimes)],
    flow: Duration,
    uses_model: bool,
) -> Option<String> {
    if flow < MIN_DURATION {
        return None;
    }
    let (stage, times) =
        stages.iter().max_by(|a, b| a.1.busy_share(flow).total_cmp(&b.1.busy_share(flow)))?;
    let share = percent(times.busy_share(flow));
    if *stage == Stage::Inference && !uses_model {
        return Some(
            "No row needed the model; looking vectors up took most of the time.".to_owned(),
        );
    }
    if times.busy_share(flow) < MIN_BUSY_SHARE {
        let name = match stage {
            Stage::Reader => "the reader",
            Stage::Tokenizer => "the tokenizer",
            Stage::Inference => "the model",
            Stage::Writer => "the writer",
        };
        return Some(format!(
            "No stage is the bottleneck: the busiest, {name}, was busy {share} of the time."
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
             precision if the CPU supports one, would shorten the run; a faster disk would not."
        ),
        Stage::Writer => format!(
            "Writing is the bottleneck: the writer was busy {share} of the time. A faster disk for the \
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
    fn model_that_no_row_needed_is_no_bottleneck() {
        let stages = [(Stage::Inference, times(900, 0, 0))];
        let found = bottleneck(&stages, Duration::from_secs(1), false).unwrap_or_default();
        assert!(found.starts_with("No row needed the model"), "{found}");
    }

    #[test]
    fn busiest_stage_is_the_bottleneck() {
        use Stage::*;
        for (stages, expected) in [
            (vec![], None),
            (
                // The reader ended before the model started: no bottleneck, although it never waited.
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
                    "No stage is the bottleneck: the busiest, the model, was busy 55 % of the time.",
                ),
            ),
        ] {
            let found = bottleneck(&stages, Duration::from_secs(1), true);
            assert_eq!(
                bottleneck(&stages, Duration::from_millis(50), true),
                None,
                "too short to judge"
            );
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
