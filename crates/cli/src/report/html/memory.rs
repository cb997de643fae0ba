//! Memory of the run.

use reembed::figures::bytes;

use super::super::record::RunRecord;
use super::section::Section;
use crate::page::{Cell, Document, NumberFormat, Stack, Stacks, Table};

/// The section.
pub fn section(record: &RunRecord, json: &Document) -> Section<Option<Stacks>> {
    Section { chart: chart(record), sentence: sentence(record), table: table(json) }
}

fn chart(record: &RunRecord) -> Option<Stacks> {
    let peak = record.memory.peak_resident?;
    let budget = record.memory.batch_budget?;
    let max = peak.max(budget) as f64;
    let bar = |name: &str, class: &str, size: u64| {
        let part = (class, size as f64, format!("{name}: {}", bytes(size)));
        Stack::new(name, bytes(size), max, &[part])
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
            "The peak RSS of the process was {}, model included; the budget of one batch was {}.",
            bytes(peak),
            bytes(budget)
        ),
        _ => String::new(),
    }
}

fn table(json: &Document) -> Table {
    let row =
        |name: &str, pointer: &str| vec![Cell::text(name), json.cell(pointer, NumberFormat::Bytes)];
    let rows = vec![
        row("peak RSS of the process", "/memory/peak_resident"),
        row("budget of a batch", "/memory/batch_budget"),
    ];
    Table::new("Memory", &["", "size"], rows).folded()
}
