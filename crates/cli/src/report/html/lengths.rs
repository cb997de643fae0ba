//! Text lengths.

use reembed::figures::count;

use super::super::record::RunRecord;
use super::axis::short_number;
use super::section::Section;
use crate::page::{Bar, Document, NumberFormat, Plot, Scale, Table};

/// The section.
pub fn section(record: &RunRecord, json: &Document) -> Section<Option<Plot>> {
    Section { chart: chart(record), sentence: sentence(record), table: table(record, json) }
}

fn chart(record: &RunRecord) -> Option<Plot> {
    let bins = &record.tokens.lengths;
    let longest = record.tokens.longest? as f64;
    let max = bins.iter().map(|bin| bin.texts).max()? as f64;
    let x = Scale::exact(longest, 5, short_number);
    let y = Scale::rounded(max, 4, short_number);
    let bars = bins
        .iter()
        .map(|bin| {
            let (left, right) = (x.place(bin.from as f64 - 1.0), x.place(bin.to as f64));
            Bar {
                left: left + 0.08 * (right - left),
                width: 0.84 * (right - left),
                height: y.place(bin.texts as f64),
                class: "blue".to_owned(),
                title: format!("{} texts of {} to {} tokens", count(bin.texts), bin.from, bin.to),
            }
        })
        .collect();
    Some(Plot {
        label: sentence(record),
        unit: "texts by length in tokens".to_owned(),
        x,
        y,
        bars,
        ..Plot::default()
    })
}

fn sentence(record: &RunRecord) -> String {
    let (Some(median), Some(longest)) = (record.tokens.median_length, record.tokens.longest) else {
        return String::new();
    };
    let truncated = match record.rows.truncated {
        0 => String::new(),
        truncated => format!(", and {} texts were truncated", count(truncated)),
    };
    format!("The median text has {median} tokens, the longest {longest}{truncated}.")
}

fn table(record: &RunRecord, json: &Document) -> Table {
    let row = |number: usize| {
        let cell =
            |field| json.cell(&format!("/tokens/lengths/{number}/{field}"), NumberFormat::Count);
        vec![cell("from"), cell("to"), cell("texts")]
    };
    let rows = (0..record.tokens.lengths.len()).map(row).collect();
    Table::new("Texts by length", &["tokens, from", "to", "texts"], rows).folded()
}
