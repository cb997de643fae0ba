//! This run among those before it.

use reembed::figures::{measure, percent};

use super::axis::short_number;
use super::{Document, Section};
use crate::page::{Bar, Cell, Form, Plot, Scale, Table, moment};
use crate::report::record::{EarlierRun, Outcome, RunRecord};

/// The section. `links` is put before the names of the pages.
pub fn section(record: &RunRecord, json: &Document<'_>, links: &str) -> Section<Option<Plot>> {
    Section { chart: chart(record), sentence: sentence(record), table: table(record, json, links) }
}

fn chart(record: &RunRecord) -> Option<Plot> {
    if record.earlier.is_empty() {
        return None;
    }
    let now = (record.speed.tasks_per_second, record.outcome, &record.started);
    let before = record.earlier.iter().map(|run| (run.tasks_per_second, run.outcome, &run.started));
    let runs: Vec<_> = before.chain([now]).collect();
    let most = runs.iter().filter_map(|run| run.0).fold(0.0, f64::max);
    let y = Scale::rounded(most, 4, short_number);
    let wide = 100.0 / runs.len() as f64;
    let bars = runs
        .iter()
        .enumerate()
        .map(|(number, (rate, outcome, started))| {
            let failed = *outcome == Outcome::Failed;
            let bar = wide.min(12.0) * 0.7;
            let said = match (failed, rate) {
                (true, _) => "failed".to_owned(),
                (false, Some(rate)) => format!("{} tasks a second", measure(*rate)),
                (false, None) => "done".to_owned(),
            };
            Bar {
                left: wide * (number as f64 + 0.5) - bar / 2.0,
                width: bar,
                // A run that failed has no speed, and still a place.
                height: if failed { 4.0 } else { y.place(rate.unwrap_or(0.0)) },
                class: match (failed, number + 1 == runs.len()) {
                    (true, _) => "failed",
                    (false, true) => "blue",
                    (false, false) => "mist",
                }
                .to_owned(),
                title: format!("{}: {said}", moment(started)),
            }
        })
        .collect();
    Some(Plot {
        label: sentence(record),
        unit: "tasks a second of each run, the latest to the right".to_owned(),
        y,
        bars,
        ..Plot::default()
    })
}

fn sentence(record: &RunRecord) -> String {
    let mut rates: Vec<f64> =
        record.earlier.iter().filter_map(|run| run.tasks_per_second).collect();
    rates.sort_by(f64::total_cmp);
    let median = rates.get(rates.len() / 2);
    match (record.speed.tasks_per_second, median, record.outcome) {
        (Some(rate), Some(median), Outcome::Done) if *median > 0.0 => {
            let change = rate / median - 1.0;
            let before = match rates.len() {
                1 => "the run before it".to_owned(),
                runs => format!("the median of the {runs} runs before it that are done"),
            };
            match change {
                _ if change.abs() < 0.05 => format!("As fast as {before}."),
                _ if change > 0.0 => format!("{} faster than {before}.", percent(change)),
                _ => format!("{} slower than {before}.", percent(change.abs())),
            }
        }
        _ => {
            let done = record.earlier.iter().filter(|run| run.outcome == Outcome::Done).count();
            format!("Of the {} runs before it {done} are done.", record.earlier.len())
        }
    }
}

fn table(record: &RunRecord, json: &Document<'_>, links: &str) -> Table {
    let row = |(number, run): (usize, &EarlierRun)| {
        let cell = |field, form| json.cell(&format!("/earlier/{number}/{field}"), form);
        let outcome = match run.outcome {
            Outcome::Done => "done",
            Outcome::Failed => "failed",
        };
        vec![
            Cell::Link { to: format!("{links}{}.html", run.name), text: moment(&run.started) },
            Cell::text(outcome),
            cell("rows", Form::Count),
            cell("seconds", Form::Seconds),
            cell("tasks_per_second", Form::Measure),
        ]
    };
    let rows = record.earlier.iter().enumerate().rev().map(row).collect();
    Table::new("Runs before this one", &["began", "", "rows", "took", "tasks a second"], rows)
        .folded()
}
