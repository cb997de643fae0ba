//! What memory the run took.

use reembed::figures::bytes;

use super::{Document, Section};
use crate::page::{Cell, Form, Stack, Stacks, Table};
use crate::report::record::RunRecord;

/// The section.
pub fn section(record: &RunRecord, json: &Document<'_>) -> Section<Option<Stacks>> {
    Section { chart: chart(record), sentence: sentence(record), table: table(json) }
}

fn chart(record: &RunRecord) -> Option<Stacks> {
    let peak = record.memory.peak_resident?;
    let budget = record.memory.batch_budget?;
    let all = peak.max(budget) as f64;
    let bar = |name: &str, class: &str, size: u64| {
        Stack::new(
            name,
            bytes(size),
            all,
            &[(class, size as f64, format!("{name}: {}", bytes(size)))],
        )
    };
    Some(Stacks {
        label: sentence(record),
        bars: vec![bar("peak", "blue", peak), bar("budget", "mist", budget)],
        legend: Vec::new(),
    })
}

fn sentence(record: &RunRecord) -> String {
    match (record.memory.peak_resident, record.memory.batch_budget) {
        (Some(peak), Some(budget)) => format!(
            "The process took {} at its peak, model and all; a batch alone might have taken {}.",
            bytes(peak),
            bytes(budget)
        ),
        _ => String::new(),
    }
}

fn table(json: &Document<'_>) -> Table {
    let rows = vec![
        vec![Cell::text("peak of the process"), json.cell("/memory/peak_resident", Form::Bytes)],
        vec![Cell::text("budget of a batch"), json.cell("/memory/batch_budget", Form::Bytes)],
    ];
    Table::new("Memory", &["", "size"], rows).folded()
}
