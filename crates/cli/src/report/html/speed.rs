//! How fast it went, over time.

use reembed::figures::measure;

use super::axis::{short_number, time_axis};
use super::limit::tighter;
use super::{Document, Section};
use crate::page::{Form, Mark, Plot, Scale, Table, area, steps};
use crate::report::record::RunRecord;

/// The section.
pub fn section(record: &RunRecord, json: &Document<'_>) -> Section<Option<Plot>> {
    Section { chart: chart(record), sentence: sentence(record), table: table(record, json) }
}

fn chart(record: &RunRecord) -> Option<Plot> {
    let samples = &record.speed.over_time;
    let flow = record.flow_seconds.filter(|_| samples.len() > 1)?;
    let x = time_axis(record);
    let most = samples.iter().map(|sample| sample.tokens_per_second).fold(0.0, f64::max);
    let y = Scale::rounded(most, 4, short_number);
    let points: Vec<(f64, f64)> =
        samples.iter().map(|sample| (sample.at, sample.tokens_per_second)).collect();
    let marks = record
        .batches
        .limit_changes
        .iter()
        .filter(|change| tighter(change.to) < tighter(change.from))
        .map(|change| Mark {
            at: x.place(change.at),
            title: format!("batch limit lowered: {}", change.cause),
        })
        .collect();
    Some(Plot {
        label: sentence(record),
        unit: "tokens a second through the model".to_owned(),
        areas: vec![area(&points, flow, &x, &y)],
        lines: vec![steps(&points, flow, &x, &y)],
        marks,
        x,
        y,
        ..Plot::default()
    })
}

fn sentence(record: &RunRecord) -> String {
    let mut rates: Vec<f64> =
        record.speed.over_time.iter().map(|sample| sample.tokens_per_second).collect();
    rates.sort_by(f64::total_cmp);
    let at = |share: f64| rates.get(((rates.len().max(1) - 1) as f64 * share).round() as usize);
    match (at(0.5), at(0.1), at(0.9)) {
        (Some(median), Some(low), Some(high)) => format!(
            "Half of the time at {} tokens a second or more; between {} and {} for most of it. Tokens and not tasks: a \
             long text is more work than a short one, and the longest of a chunk come first.",
            measure(*median),
            measure(*low),
            measure(*high)
        ),
        _ => String::new(),
    }
}

fn table(record: &RunRecord, json: &Document<'_>) -> Table {
    let row = |number: usize| {
        let cell = |field, form| json.cell(&format!("/speed/over_time/{number}/{field}"), form);
        vec![
            cell("at", Form::Seconds),
            cell("tasks_per_second", Form::Measure),
            cell("tokens_per_second", Form::Measure),
        ]
    };
    let rows = (0..record.speed.over_time.len()).map(row).collect();
    Table::new("Speed over time", &["from", "tasks a second", "tokens a second"], rows).folded()
}
