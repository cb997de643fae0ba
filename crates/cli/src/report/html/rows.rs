//! Rows by where their vectors come from.

use reembed::figures::count;

use super::super::record::{RowCounts, RunRecord};
use super::section::Section;
use crate::page::{Cell, Document, NumberFormat, Stack, Stacks, Table};

/// The section.
pub fn section(record: &RunRecord, json: &Document) -> Section<Stacks> {
    Section { chart: chart(record), sentence: sentence(record), table: table(json) }
}

/// A group of rows.
struct Group {
    /// Its field of `rows` in `report.json`, and its name.
    name: &'static str,
    /// The class of its colour.
    class: &'static str,
    meaning: &'static str,
    count: fn(&RowCounts) -> u64,
}

const GROUPS: [Group; 5] = [
    Group {
        name: "encoded",
        class: "blue",
        meaning: "the model computed their vector in this run",
        count: |rows| rows.encoded,
    },
    Group {
        name: "reused",
        class: "mist",
        meaning: "their vector comes from the vector cache",
        count: |rows| rows.reused,
    },
    Group {
        name: "duplicate",
        class: "sand",
        meaning: "they have the text of an earlier row, and its vector",
        count: |rows| rows.duplicate,
    },
    Group {
        name: "null",
        class: "wash",
        meaning: "they have no text, and no vector",
        count: |rows| rows.null,
    },
    // A run has rows of this group or of the one above.
    Group {
        name: "dropped",
        class: "wash",
        meaning: "they have no text, and are not in the output",
        count: |rows| rows.dropped,
    },
];

fn chart(record: &RunRecord) -> Stacks {
    let rows = &record.rows;
    let whole = rows.wanted().unwrap_or(0).max(rows.handled());
    let parts: Vec<_> = GROUPS
        .iter()
        .map(|group| {
            let number = (group.count)(rows);
            (group.class, number as f64, format!("{} rows {}", count(number), group.name))
        })
        .collect();
    let titles: Vec<&str> = parts.iter().map(|(_, _, title)| title.as_str()).collect();
    let used = GROUPS.iter().filter(|group| (group.count)(rows) > 0);
    Stacks {
        label: format!("{} rows: {}.", count(whole), titles.join(", ")),
        bars: vec![Stack::new("", String::new(), whole as f64, &parts)],
        legend: used.map(|group| (group.class.to_owned(), group.name.to_owned())).collect(),
    }
}

fn sentence(record: &RunRecord) -> String {
    let Some(wanted) = record.rows.wanted() else {
        return "The input was not opened, so its rows are unknown.".to_owned();
    };
    let truncated = match record.rows.truncated {
        0 => "No text was truncated.".to_owned(),
        1 => "One text was longer than the model's maximum length and was truncated.".to_owned(),
        many => format!(
            "{} texts were longer than the model's maximum length and were truncated.",
            count(many)
        ),
    };
    match wanted.saturating_sub(record.rows.handled()) {
        0 => truncated,
        left if record.rows.chunks.is_some() => {
            format!("The run did not reach {} chunks. {truncated}", count(left))
        }
        left if record.rows.columns > 1 => {
            format!("The run did not reach {} vectors. {truncated}", count(left))
        }
        left => format!("The run did not reach {} rows. {truncated}", count(left)),
    }
}

fn table(json: &Document) -> Table {
    let row = |name: &str, meaning: &str| {
        let number = json.cell(&format!("/rows/{name}"), NumberFormat::Count);
        vec![Cell::text(name), number, Cell::text(meaning)]
    };
    let mut rows = vec![row("input", "rows of the input")];
    rows.push(row(
        "chunks",
        "chunks of their texts, each a row of the output; below, they are counted",
    ));
    rows.push(row("columns", "vector columns; below, a row counts once for each"));
    rows.extend(GROUPS.iter().map(|group| row(group.name, group.meaning)));
    rows.push(row("truncated", "their text was truncated at the model's maximum length"));
    rows.push(row("repeated_ids", "an earlier row has their id"));
    Table::new("Rows by where their vectors come from", &["", "rows", ""], rows)
}
