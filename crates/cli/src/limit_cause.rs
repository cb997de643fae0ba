//! Why the batch limit changed, in words: for the log and for the report.

use reembed_encoder::limit::LimitCause;

/// Describes the cause: `8 batches in a row fitted`.
pub fn describe(cause: LimitCause) -> String {
    match cause {
        LimitCause::OutOfMemory(shape) => {
            format!("{} texts of up to {} tokens did not fit in memory", shape.rows, shape.longest)
        }
        LimitCause::Successes(successes) => format!("{successes} batches in a row fitted"),
    }
}
