//! Batches and the batch limit.

use reembed::figures::count;

use super::super::record::{LimitChangeRecord, RunRecord};
use super::axis::{short_number, time_axis};
use super::section::Section;
use crate::page::{Cell, Document, Mark, NumberFormat, Plot, Scale, Table, area, steps};

/// The section.
pub fn section(record: &RunRecord, json: &Document) -> Section<Option<Plot>> {
    Section { chart: chart(record), sentence: sentence(record), table: table(record, json) }
}

/// The number of batches of each size.
pub fn sizes(record: &RunRecord, json: &Document) -> Table {
    let row = |number: usize| {
        let cell =
            |field| json.cell(&format!("/batches/sizes/{number}/{field}"), NumberFormat::Count);
        vec![cell("rows"), cell("batches")]
    };
    let rows = (0..record.batches.sizes.len()).map(row).collect();
    Table::new("Batches by size", &["texts", "batches"], rows).folded()
}

/// The times at which the limit was lowered, with the cause.
pub fn lowered_marks(record: &RunRecord, x: &Scale) -> Vec<Mark> {
    let lowered = record.batches.limit_changes.iter().filter(|change| change.is_lower());
    lowered
        .map(|change| Mark {
            at: x.place(change.at),
            title: format!("batch limit lowered: {}", change.cause),
        })
        .collect()
}

fn chart(record: &RunRecord) -> Option<Plot> {
    let start = record.batches.limit_at_start?;
    let flow = record.flow_seconds?;
    let changes = &record.batches.limit_changes;
    let mut points = vec![(0.0, start.tighter() as f64)];
    points.extend(changes.iter().map(|change| (change.at, change.to.tighter() as f64)));
    let max = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let (x, y) = (time_axis(record), Scale::rounded(max, 4, short_number));
    Some(Plot {
        label: sentence(record),
        unit: format!("maximum {} in a batch", start.unit()),
        areas: vec![area(&points, flow, &x, &y)],
        lines: vec![steps(&points, flow, &x, &y)],
        marks: lowered_marks(record, &x),
        x,
        y,
        ..Plot::default()
    })
}

fn sentence(record: &RunRecord) -> String {
    let batches = &record.batches;
    let ran = format!("{} batches ran", count(batches.count));
    let (Some(start), Some(end)) = (batches.limit_at_start, batches.limit_at_end) else {
        return format!("{ran}.");
    };
    let (from, to) = (count(start.tighter()), format!("{} {}", count(end.tighter()), end.unit()));
    let lowered = batches.limit_changes.iter().filter(|change| change.is_lower()).count();
    match (batches.limit_moves, lowered) {
        (0, _) => format!("{ran}; the limit stayed at {to}."),
        (changes, 0) => format!("{ran}; the limit changed {changes} times, from {from} to {to}."),
        (changes, lowered) => format!(
            "{ran}; the limit changed {changes} times, from {from} to {to}. It was lowered {lowered} times, because \
             a batch did not fit in memory; each such batch was split and retried."
        ),
    }
}

fn table(record: &RunRecord, json: &Document) -> Table {
    let row = |(number, change): (usize, &LimitChangeRecord)| {
        let cell =
            |field, format| json.cell(&format!("/batches/limit_changes/{number}/{field}"), format);
        vec![
            cell("at", NumberFormat::Seconds),
            cell("from/rows", NumberFormat::Count),
            cell("to/rows", NumberFormat::Count),
            cell("from/tokens", NumberFormat::Count),
            cell("to/tokens", NumberFormat::Count),
            Cell::text(&change.cause),
        ]
    };
    let rows = record.batches.limit_changes.iter().enumerate().map(row).collect();
    Table::new(
        "Changes of the batch limit",
        &["after", "texts, from", "to", "tokens, from", "to", "cause"],
        rows,
    )
    .folded()
}
