//! The verdict: a run in one sentence.

use reembed::figures::{count, measure, seconds};

use super::record::{Outcome, RunRecord};

/// The verdict of a run, from its counts.
pub fn verdict(record: &RunRecord) -> String {
    match record.outcome {
        Outcome::Done => done(record),
        Outcome::Failed => failed(record),
    }
}

fn done(record: &RunRecord) -> String {
    let time = seconds(record.seconds);
    let rows = record.rows.wanted().unwrap_or(record.rows.handled());
    let noun = noun(record);
    let speed = record.speed.tasks_per_second;
    let speed = speed.map_or(String::new(), |speed| format!(", {} tasks/s", measure(speed)));
    match (rows, record.rows.encoded) {
        (0, _) => format!("The input has no rows; the output is empty, after {time}."),
        (rows, 0) => format!("{} {noun} in {time}, none of which needed the model.", count(rows)),
        (rows, encoded) if encoded == rows => {
            format!("{} {noun} embedded in {time}{speed}.", count(rows))
        }
        (rows, encoded) => format!(
            "{} {noun} in {time}, {} of them through the model{speed}.",
            count(rows),
            count(encoded)
        ),
    }
}

/// What is counted: a row has a vector in each vector column.
fn noun(record: &RunRecord) -> &'static str {
    match record.rows.chunks {
        _ if record.rows.columns > 1 => "vectors",
        Some(_) => "chunks",
        None => "rows",
    }
}

fn failed(record: &RunRecord) -> String {
    let time = seconds(record.seconds);
    let noun = noun(record);
    let progress = match (record.rows.handled(), record.rows.wanted()) {
        (0, _) => "before the first row".to_owned(),
        (handled, Some(all)) => format!("with {} of {} {noun} handled", count(handled), count(all)),
        (handled, None) => format!("with {} {noun} handled", count(handled)),
    };
    let output = match &record.error {
        Some(error) if error.output_in_place => {
            "The new output is in place, but a power failure may lose it."
        }
        _ if record.tables.is_some_and(|tables| tables.published > 0) => {
            "The tables that were published are in place."
        }
        _ => "The output is unchanged.",
    };
    format!("Failed after {time}, {progress}. {output}")
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::super::record::{ErrorRecord, RowCounts};
    use super::*;

    #[test]
    fn verdict_follows_from_outcome_and_counts() {
        let rows = |input, encoded, reused, null| RowCounts {
            input: Some(input),
            encoded,
            reused,
            null,
            ..RowCounts::default()
        };
        for (outcome, rows, expected) in [
            (Outcome::Done, rows(1200, 1200, 0, 0), "1,200 rows embedded in 34.6 s, 35.1 tasks/s."),
            (
                Outcome::Done,
                rows(1200, 12, 1188, 0),
                "1,200 rows in 34.6 s, 12 of them through the model, 35.1 tasks/s.",
            ),
            (Outcome::Done, rows(9, 0, 8, 1), "9 rows in 34.6 s, none of which needed the model."),
            (
                Outcome::Done,
                rows(0, 0, 0, 0),
                "The input has no rows; the output is empty, after 34.6 s.",
            ),
            (
                Outcome::Failed,
                rows(1200, 64, 0, 0),
                "Failed after 34.6 s, with 64 of 1,200 rows handled. The output is unchanged.",
            ),
            (
                Outcome::Failed,
                RowCounts::default(),
                "Failed after 34.6 s, before the first row. The output is unchanged.",
            ),
        ] {
            let record =
                RunRecord { outcome, rows: rows.clone(), seconds: 34.65, ..example::done() };
            assert_eq!(verdict(&record), expected, "{rows:?}");
        }
    }

    #[test]
    fn verdict_names_an_output_that_is_in_place() {
        let mut record = RunRecord { seconds: 34.65, ..example::failed() };
        record.rows = RowCounts { input: Some(9), encoded: 9, ..RowCounts::default() };
        record.error = record.error.map(|error| ErrorRecord { output_in_place: true, ..error });
        assert_eq!(
            verdict(&record),
            "Failed after 34.6 s, with 9 of 9 rows handled. The new output is in place, but a power failure may \
             lose it."
        );
    }
}
