//! Batches and their limit.

use reembed::figures::count;

use super::axis::{short_number, time_axis};
use super::{Document, Section};
use crate::page::{Cell, Form, Mark, Plot, Scale, Table, area, steps};
use crate::report::record::{Limit, LimitMove, RunRecord};

/// The section.
pub fn section(record: &RunRecord, json: &Document<'_>) -> Section<Option<Plot>> {
    Section { chart: chart(record), sentence: sentence(record), table: table(record, json) }
}

fn chart(record: &RunRecord) -> Option<Plot> {
    let start = record.batches.limit_at_start?;
    let flow = record.flow_seconds?;
    let changes = &record.batches.limit_changes;
    let mut points = vec![(0.0, tighter(start) as f64)];
    points.extend(changes.iter().map(|change| (change.at, tighter(change.to) as f64)));
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let (x, y) = (time_axis(record), Scale::rounded(most, 4, short_number));
    let marks = changes
        .iter()
        .filter(|change| tighter(change.to) < tighter(change.from))
        .map(|change| Mark { at: x.place(change.at), title: change.cause.clone() })
        .collect();
    Some(Plot {
        label: sentence(record),
        unit: format!("{} a batch may have", counted(start)),
        areas: vec![area(&points, flow, &x, &y)],
        lines: vec![steps(&points, flow, &x, &y)],
        marks,
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
    let lowered = batches
        .limit_changes
        .iter()
        .filter(|change| tighter(change.to) < tighter(change.from))
        .count();
    match (batches.limit_moves, lowered) {
        (0, _) => {
            format!("{ran}; the limit stayed at {} {}.", count(tighter(start)), counted(start))
        }
        (moves, 0) => format!(
            "{ran}; the limit moved {moves} times, from {} to {} {}.",
            count(tighter(start)),
            count(tighter(end)),
            counted(end)
        ),
        (moves, lowered) => format!(
            "{ran}; the limit moved {moves} times, from {} to {} {}. It was lowered {lowered} times, because \
             a batch did not fit in memory; each such batch was split and tried again.",
            count(tighter(start)),
            count(tighter(end)),
            counted(end)
        ),
    }
}

fn table(record: &RunRecord, json: &Document<'_>) -> Table {
    let row = |(number, change): (usize, &LimitMove)| {
        let cell =
            |field, form| json.cell(&format!("/batches/limit_changes/{number}/{field}"), form);
        vec![
            cell("at", Form::Seconds),
            cell("from/rows", Form::Count),
            cell("to/rows", Form::Count),
            cell("from/tokens", Form::Count),
            cell("to/tokens", Form::Count),
            Cell::text(&change.cause),
        ]
    };
    let rows = record.batches.limit_changes.iter().enumerate().map(row).collect();
    Table::new(
        "Moves of the batch limit",
        &["after", "texts, from", "to", "tokens, from", "to", "because"],
        rows,
    )
    .folded()
}

/// How many batches there were of each size.
pub fn sizes(record: &RunRecord, json: &Document<'_>) -> Table {
    let row = |number: usize| {
        let cell = |field| json.cell(&format!("/batches/sizes/{number}/{field}"), Form::Count);
        vec![cell("rows"), cell("batches")]
    };
    let rows = (0..record.batches.sizes.len()).map(row).collect();
    Table::new("Batches by their size", &["texts", "batches"], rows).folded()
}

/// The tighter part of a limit: as many texts as tokens are no limit on texts.
pub fn tighter(limit: Limit) -> u64 {
    limit.rows.min(limit.tokens)
}

/// What the tighter part counts.
fn counted(limit: Limit) -> &'static str {
    if limit.rows < limit.tokens { "texts" } else { "tokens" }
}
