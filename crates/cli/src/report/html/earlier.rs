//! The throughput of this run and of the earlier runs.

use reembed::figures::{measure, percent};

use super::super::record::{EarlierRun, Outcome, RunRecord};
use super::axis::short_number;
use super::section::Section;
use crate::page::{Bar, Cell, Document, NumberFormat, Plot, Scale, Table};
use crate::timestamp;

/// The least ratio of the shares of computed vectors of two runs that are compared.
const LEAST_RATIO: f64 = 0.9;

/// The section. `links` is the path from this page to the earlier pages.
pub fn section(record: &RunRecord, json: &Document, links: &str) -> Section<Option<Plot>> {
    Section { chart: chart(record), sentence: sentence(record), table: table(record, json, links) }
}

fn chart(record: &RunRecord) -> Option<Plot> {
    if record.earlier.is_empty() {
        return None;
    }
    let this = (record.speed.tasks_per_second, record.outcome, &record.started);
    let earlier =
        record.earlier.iter().map(|run| (run.tasks_per_second, run.outcome, &run.started));
    let runs: Vec<_> = earlier.chain([this]).collect();
    let max = runs.iter().filter_map(|run| run.0).fold(0.0, f64::max);
    let y = Scale::rounded(max, 4, short_number);
    let slot = 100.0 / runs.len() as f64;
    let bars = runs
        .iter()
        .enumerate()
        .map(|(number, (rate, outcome, started))| {
            let failed = *outcome == Outcome::Failed;
            let width = slot.min(12.0) * 0.7;
            let result = match (failed, rate) {
                (true, _) => "failed".to_owned(),
                (false, Some(rate)) => format!("{} tasks/s", measure(*rate)),
                (false, None) => "done".to_owned(),
            };
            Bar {
                left: slot * (number as f64 + 0.5) - width / 2.0,
                width,
                // A failed run has no throughput, but a visible bar.
                height: if failed { 4.0 } else { y.place(rate.unwrap_or(0.0)) },
                class: match (failed, number + 1 == runs.len()) {
                    (true, _) => "failed",
                    (false, true) => "blue",
                    (false, false) => "mist",
                }
                .to_owned(),
                title: format!("{}: {result}", timestamp::readable(started)),
            }
        })
        .collect();
    Some(Plot {
        label: sentence(record),
        unit: "tasks/s of each run, the latest on the right".to_owned(),
        y,
        bars,
        ..Plot::default()
    })
}

fn sentence(record: &RunRecord) -> String {
    let share = record.rows.encoded_share();
    let done = || record.earlier.iter().filter(|run| run.outcome == Outcome::Done);
    let alike = done().filter(|run| is_alike(share, run.encoded_share));
    let mut rates: Vec<f64> = alike.filter_map(|run| run.tasks_per_second).collect();
    rates.sort_by(f64::total_cmp);
    let median = rates.get(rates.len() / 2);
    match (record.speed.tasks_per_second, median, record.outcome) {
        (Some(rate), Some(median), Outcome::Done) if *median > 0.0 => {
            let change = rate / median - 1.0;
            let baseline = match rates.len() {
                1 => "the last successful run that embedded a similar share of rows".to_owned(),
                runs => format!(
                    "the median of the last {runs} successful runs that embedded a similar share of rows"
                ),
            };
            match change {
                _ if change.abs() < 0.05 => format!("As fast as {baseline}."),
                _ if change > 0.0 => format!("{} faster than {baseline}.", percent(change)),
                _ => format!("{} slower than {baseline}.", percent(change.abs())),
            }
        }
        _ => format!("{} of the {} earlier runs succeeded.", done().count(), record.earlier.len()),
    }
}

/// Whether two runs can be compared by their throughput: a vector that the model computes takes a thousand times as
/// long as one that is reused. `one` and `other` are the shares of vectors that were computed.
fn is_alike(one: Option<f64>, other: Option<f64>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    let (less, more) = (one.min(other), one.max(other));
    less == more || less >= more * LEAST_RATIO
}

fn table(record: &RunRecord, json: &Document, links: &str) -> Table {
    let row = |(number, run): (usize, &EarlierRun)| {
        let cell = |field, format| json.cell(&format!("/earlier/{number}/{field}"), format);
        let outcome = match run.outcome {
            Outcome::Done => "done",
            Outcome::Failed => "failed",
        };
        let started = timestamp::readable(&run.started);
        vec![
            Cell::Link { to: format!("{links}{}.html", run.name), text: started },
            Cell::text(outcome),
            cell("rows", NumberFormat::Count),
            cell("seconds", NumberFormat::Seconds),
            cell("tasks_per_second", NumberFormat::Measure),
        ]
    };
    let rows = record.earlier.iter().enumerate().rev().map(row).collect();
    Table::new("Earlier runs", &["started", "", "rows", "duration", "tasks/s"], rows).folded()
}

#[cfg(test)]
mod tests {
    use super::super::super::example;
    use super::*;

    #[test]
    fn throughput_is_compared_with_runs_that_computed_as_much() {
        for (one, other, alike) in [
            (Some(1.0), Some(1.0), true),
            (Some(1.0), Some(0.95), true),
            (Some(0.95), Some(1.0), true),
            (Some(1.0), Some(0.5), false),
            (Some(0.0), Some(0.0), true),
            (Some(0.0), Some(0.001), false),
            (Some(0.01), Some(0.02), false),
            (None, Some(1.0), false),
            (None, None, false),
        ] {
            assert_eq!(is_alike(one, other), alike, "{one:?} {other:?}");
        }
    }

    #[test]
    fn reused_run_is_not_called_faster_than_runs_that_embedded() {
        let mut record = example::done();
        let compared = "embedded a similar share";
        record.rows.encoded = record.rows.wanted().expect("rows");
        for run in &mut record.earlier {
            run.encoded_share = Some(1.0);
        }
        assert!(sentence(&record).contains(compared), "{}", sentence(&record));
        record.rows.encoded = 0;
        record.speed.tasks_per_second = Some(9_000.0);
        assert_eq!(sentence(&record), "3 of the 4 earlier runs succeeded.");
    }
}
