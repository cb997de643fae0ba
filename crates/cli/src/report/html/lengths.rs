//! How long the texts were.

use reembed::figures::count;

use super::axis::short_number;
use super::{Document, Section};
use crate::page::{Bar, Form, Plot, Scale, Table};
use crate::report::record::RunRecord;

/// The section.
pub fn section(record: &RunRecord, json: &Document<'_>) -> Section<Option<Plot>> {
    Section { chart: chart(record), sentence: sentence(record), table: table(record, json) }
}

fn chart(record: &RunRecord) -> Option<Plot> {
    let bins = &record.tokens.lengths;
    let longest = record.tokens.longest? as f64;
    let most = bins.iter().map(|bin| bin.texts).max()? as f64;
    let x = Scale::exact(longest, 5, short_number);
    let y = Scale::rounded(most, 4, short_number);
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
        unit: "texts by their length in tokens".to_owned(),
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
    let cut = match record.rows.truncated {
        0 => String::new(),
        truncated => format!(", where {} were cut", count(truncated)),
    };
    format!("Half of the texts have {median} tokens or fewer; the longest has {longest}{cut}.")
}

fn table(record: &RunRecord, json: &Document<'_>) -> Table {
    let row = |number: usize| {
        let cell = |field| json.cell(&format!("/tokens/lengths/{number}/{field}"), Form::Count);
        vec![cell("from"), cell("to"), cell("texts")]
    };
    let rows = (0..record.tokens.lengths.len()).map(row).collect();
    Table::new("Texts by length", &["tokens, from", "to", "texts"], rows).folded()
}
