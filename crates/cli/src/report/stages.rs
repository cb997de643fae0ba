//! Where the time of a run went, stage by stage, and which stage the others waited for.

use std::time::Duration;

use reembed::events::{Stage, StageTimes};
use reembed::figures::percent;

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
