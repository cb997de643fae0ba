//! What became of the rows.

use reembed::figures::count;

use super::{Document, Section};
use crate::page::{Cell, Form, Stack, Stacks, Table};
use crate::report::record::RunRecord;

/// The section.
pub fn section(record: &RunRecord, json: &Document<'_>) -> Section<Stacks> {
    Section { chart: chart(record), sentence: sentence(record), table: table(json) }
}

fn chart(record: &RunRecord) -> Stacks {
    let all = record.rows.input.unwrap_or(0).max(record.rows.handled()) as f64;
    let part = |(name, class, called, _): &(&str, &'static str, &str, &str)| {
        let rows = fate(record, name);
        (*class, rows as f64, format!("{} rows {called}", count(rows)))
    };
    let parts: Vec<_> = FATES.iter().map(part).collect();
    let said: Vec<String> = parts.iter().map(|(_, _, title)| title.clone()).collect();
    Stacks {
        label: format!("Of {} rows: {}.", count(all as u64), said.join(", ")),
        bars: vec![Stack::new("", String::new(), all, &parts)],
        legend: FATES
            .iter()
            .filter(|(name, ..)| fate(record, name) > 0)
            .map(|(_, class, called, _)| ((*class).to_owned(), (*called).to_owned()))
            .collect(),
    }
}

fn sentence(record: &RunRecord) -> String {
    let Some(input) = record.rows.input else {
        return "The input was not opened, so no row was counted.".to_owned();
    };
    let truncated = match record.rows.truncated {
        0 => "No text was longer than the model reads.".to_owned(),
        1 => "One text was longer than the model reads and was cut.".to_owned(),
        many => format!("{} texts were longer than the model reads and were cut.", count(many)),
    };
    match input.saturating_sub(record.rows.handled()) {
        0 => truncated,
        left => format!("{} rows were not reached. {truncated}", count(left)),
    }
}

fn table(json: &Document<'_>) -> Table {
    let mut rows = vec![vec![
        Cell::text("input"),
        json.cell("/rows/input", Form::Count),
        Cell::text("rows of the input"),
    ]];
    rows.extend(FATES.iter().map(|(name, _, called, meaning)| {
        vec![
            Cell::text(*called),
            json.cell(&format!("/rows/{name}"), Form::Count),
            Cell::text(*meaning),
        ]
    }));
    rows.push(vec![
        Cell::text("truncated"),
        json.cell("/rows/truncated", Form::Count),
        Cell::text("their text was cut at the model's maximum length"),
    ]);
    Table::new("Rows by what became of them", &["", "rows", ""], rows)
}

/// What can become of a row: its name in the JSON, the class of its colour, what it is called, what it means.
const FATES: [(&str, &str, &str, &str); 4] = [
    ("encoded", "blue", "encoded", "the model made their vector in this run"),
    ("reused", "mist", "reused", "their vector is from an earlier run"),
    ("duplicate", "sand", "duplicate", "they have the text of an earlier row, and its vector"),
    ("null", "wash", "null", "they have no text, and so no vector"),
];

fn fate(record: &RunRecord, name: &str) -> u64 {
    let rows = &record.rows;
    match name {
        "encoded" => rows.encoded,
        "reused" => rows.reused,
        "duplicate" => rows.duplicate,
        _ => rows.null,
    }
}
