//! Throughput over time.

use reembed::figures::measure;

use super::super::record::RunRecord;
use super::axis::{short_number, time_axis};
use super::limit::lowered_marks;
use super::section::Section;
use crate::page::{Document, NumberFormat, Plot, Scale, Table, area, steps};

/// The section.
pub fn section(record: &RunRecord, json: &Document) -> Section<Option<Plot>> {
    Section { chart: chart(record), sentence: sentence(record), table: table(record, json) }
}

fn chart(record: &RunRecord) -> Option<Plot> {
    let samples = &record.speed.over_time;
    let flow = record.flow_seconds.filter(|_| samples.len() > 1)?;
    let x = time_axis(record);
    let max = samples.iter().map(|sample| sample.tokens_per_second).fold(0.0, f64::max);
    let y = Scale::rounded(max, 4, short_number);
    let points: Vec<(f64, f64)> =
        samples.iter().map(|sample| (sample.at, sample.tokens_per_second)).collect();
    Some(Plot {
        label: sentence(record),
        unit: "tokens/s through the model".to_owned(),
        areas: vec![area(&points, flow, &x, &y)],
        lines: vec![steps(&points, flow, &x, &y)],
        marks: lowered_marks(record, &x),
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
            "Median {} tokens/s; 10th percentile {}, 90th percentile {}. The chart shows tokens, since a long text is \
             more work than a short one and the longest texts of a chunk come first.",
            measure(*median),
            measure(*low),
            measure(*high)
        ),
        _ => String::new(),
    }
}

fn table(record: &RunRecord, json: &Document) -> Table {
    let row = |number: usize| {
        let cell = |field, format| json.cell(&format!("/speed/over_time/{number}/{field}"), format);
        vec![
            cell("at", NumberFormat::Seconds),
            cell("tasks_per_second", NumberFormat::Measure),
            cell("tokens_per_second", NumberFormat::Measure),
        ]
    };
    let rows = (0..record.speed.over_time.len()).map(row).collect();
    Table::new("Throughput over time", &["from", "tasks/s", "tokens/s"], rows).folded()
}
