//! `report.html`: the report of a run for people. The verdict comes first, then problems, then rows and time.
//!
//! Every number comes from `report.json` by its pointer, so that page and document agree.

mod axis;
mod earlier;
mod lengths;
mod limit;
mod memory;
mod rows;
mod section;
mod speed;
mod stages;

use askama::Template;
use reembed::events::TableCounts;
use reembed_encoder::error::Result;
use reembed_encoder::model::identity::ModelIdentity;

use super::record::{ColumnRecord, ErrorRecord, Outcome, RestartRecord, RunRecord, SettingRecord};
use crate::page::{self, Cell, Document, Figure, NumberFormat, Plot, Stacks, Table};
use crate::timestamp;
use section::Section;

/// The content of the file, from a record and its JSON. `links` is the path from this page to the earlier pages.
///
/// # Errors
/// `Internal`, when the page cannot be rendered.
pub fn page(record: &RunRecord, json: &str, links: &str) -> Result<String> {
    page::render("the report", json, |json| Page::new(record, json, links))
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    record: &'a RunRecord,
    failed: bool,
    lede: String,
    error: Option<ErrorText>,
    state: &'static str,
    when: String,
    figures: Vec<(&'static str, Figure)>,
    restarts: Table,
    rows: Section<Stacks>,
    stages: Stacks,
    stages_table: Table,
    speed: Section<Option<Plot>>,
    lengths: Section<Option<Plot>>,
    limit: Section<Option<Plot>>,
    sizes: Table,
    memory: Section<Option<Stacks>>,
    earlier: Section<Option<Plot>>,
    lineage: Table,
    config: Table,
}

impl<'a> Page<'a> {
    fn new(record: &'a RunRecord, json: &Document, links: &str) -> Page<'a> {
        let failed = record.outcome == Outcome::Failed;
        Page {
            record,
            failed,
            lede: lede(record),
            error: record.error.as_ref().map(ErrorText::from),
            state: if failed { "failed" } else { "done" },
            when: timestamp::readable(&record.started),
            figures: figures(json),
            restarts: restarts(record, json),
            rows: rows::section(record, json),
            stages: stages::chart(record),
            stages_table: stages::table(record, json),
            speed: speed::section(record, json),
            lengths: lengths::section(record, json),
            limit: limit::section(record, json),
            sizes: limit::sizes(record, json),
            memory: memory::section(record, json),
            earlier: earlier::section(record, json, links),
            lineage: lineage(record),
            config: config(record),
        }
    }
}

/// An error with its code marked.
struct ErrorText {
    message: MarkedText,
    causes: Vec<MarkedText>,
    advice: Option<MarkedText>,
}

/// Parts of a sentence, and whether each is code.
type MarkedText = Vec<(bool, String)>;

impl From<&ErrorRecord> for ErrorText {
    fn from(error: &ErrorRecord) -> ErrorText {
        ErrorText {
            message: mark_code(&error.message),
            causes: error.causes.iter().map(|cause| mark_code(cause)).collect(),
            advice: error.advice.as_deref().map(mark_code),
        }
    }
}

/// Splits a sentence at its backticks.
fn mark_code(sentence: &str) -> MarkedText {
    let parts = sentence.split('`').enumerate();
    parts.map(|(at, part)| (at % 2 == 1, part.to_owned())).collect()
}

/// The paragraph below the verdict.
fn lede(record: &RunRecord) -> String {
    match (&record.error, &record.bottleneck) {
        (Some(error), _) => format!("{}.", error.message.trim_end_matches('.').replace('`', "")),
        (None, Some(bottleneck)) => bottleneck.clone(),
        (None, None) => "The run was too short to tell which stage is the bottleneck.".to_owned(),
    }
}

fn figures(json: &Document) -> Vec<(&'static str, Figure)> {
    vec![
        ("tasks/s", json.figure("/speed/tasks_per_second", NumberFormat::Measure)),
        ("tokens/s", json.figure("/speed/tokens_per_second", NumberFormat::Measure)),
        ("total time", json.figure("/seconds", NumberFormat::Seconds)),
        ("model load time", json.figure("/model_load_seconds", NumberFormat::Seconds)),
        ("peak memory", json.figure("/memory/peak_resident", NumberFormat::Bytes)),
        ("padding efficiency", json.figure("/tokens/padding_efficiency", NumberFormat::Percent)),
    ]
}

fn restarts(record: &RunRecord, json: &Document) -> Table {
    let row = |(number, restart): (usize, &RestartRecord)| {
        vec![
            json.cell(&format!("/restarts/{number}/at"), NumberFormat::Seconds),
            Cell::text(&restart.cause),
        ]
    };
    let rows = record.restarts.iter().enumerate().map(row).collect();
    Table::new("Restarts of the worker", &["after", "cause"], rows)
}

fn lineage(record: &RunRecord) -> Table {
    let row = |name: &str, value: String| vec![Cell::text(name), Cell::text(value)];
    let mut rows = Vec::new();
    if let Some(lineage) = &record.lineage {
        let model = &lineage.model;
        rows.extend([
            row("model", model.id.clone()),
            row("numerics", format!("{}, {}", model.numerics, model.precision)),
            row("vectors", format!("{} components, {} pooling", model.dimension, model.pooling)),
            row("maximum length", maximum_length(model)),
            row("fingerprint", lineage.fingerprint.clone()),
        ]);
    }
    rows.extend(record.runs_on.iter().map(|device| row("device", device.clone())));
    if let Some(tables) = &record.tables {
        let TableCounts { listed, published, unchanged, failed, .. } = *tables;
        let text =
            format!("{listed}: {published} published, {unchanged} unchanged, {failed} failed");
        rows.push(row("tables", text));
        rows.extend(record.failed_tables.iter().map(|table| row("failed table", table.clone())));
    }
    rows.push(row("input", record.input.path.clone()));
    rows.push(row("output", record.output.path.clone()));
    match (&record.output.columns[..], &record.output.form) {
        ([_, _, ..], _) => rows.extend(record.output.columns.iter().map(|column| {
            let ColumnRecord { column, form, model, fingerprint, .. } = column;
            row("column", format!("{column}, {form}, {model}, fingerprint {fingerprint:.12}"))
        })),
        (_, Some(form)) => rows.push(row("column", format!("{}, {form}", record.output.column))),
        (_, None) => {}
    }
    Table::new("Origin of the vectors", &["", ""], rows)
}

fn maximum_length(model: &ModelIdentity) -> String {
    match &model.truncation {
        None => format!("{} tokens", model.max_seq_length),
        Some(end) => {
            format!("{} tokens; longer texts are truncated at the {end}", model.max_seq_length)
        }
    }
}

fn config(record: &RunRecord) -> Table {
    let row = |setting: &SettingRecord| {
        vec![Cell::text(&setting.key), Cell::text(&setting.value), Cell::text(&setting.origin)]
    };
    let rows = record.config.iter().map(row).collect();
    Table::new("Configuration in force", &["setting", "value", "origin"], rows)
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use crate::json;

    fn render(record: &RunRecord) -> String {
        page(record, &json::to_document(record, "the report").expect("JSON"), "runs/")
            .expect("a page")
    }

    #[test]
    fn page_loads_nothing_and_runs_no_script() {
        for record in [example::done(), example::failed()] {
            let page = render(&record);
            // The namespace of SVG is a name, not a request.
            let page = page.replace("http://www.w3.org", "").replace("http%3A", "");
            for foreign in ["http:", "https:", "src=", "<script", "@import", "url("] {
                assert!(!page.contains(foreign), "{foreign}");
            }
            assert!(page.contains("default-src 'none'"));
        }
    }

    #[test]
    fn page_of_a_failure_has_verdict_and_advice() {
        let page = render(&example::failed());
        let verdict = "<h1>Failed after 12.5 s, with 640 of 1,200 rows handled.";
        assert!(page.contains(verdict), "{page}");
        assert!(page.contains("row 700 (id T-&#60;700&#62;)"), "ids are escaped");
        assert!(page.contains("<b>What to do:</b> "));
        assert!(render(&example::done()).contains("The model is the bottleneck"));
    }

    #[test]
    fn page_of_an_empty_record_has_no_nan() {
        let record = RunRecord {
            bottleneck: None,
            model_load_seconds: None,
            flow_seconds: None,
            rows: Default::default(),
            tokens: Default::default(),
            speed: Default::default(),
            stages: Vec::new(),
            batches: Default::default(),
            memory: Default::default(),
            restarts: Vec::new(),
            runs_on: None,
            lineage: None,
            earlier: Vec::new(),
            ..example::failed()
        };
        let page = render(&record);
        assert!(page.contains("What went wrong") && !page.contains("Throughput over time"));
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn each_chart_has_a_label_and_a_table() {
        let page = render(&example::done());
        let charts = page.matches("role=\"img\"").count();
        assert_eq!(page.matches("role=\"img\" aria-label=\"\"").count(), 0);
        assert!(charts >= 7, "{charts}");
        assert!(page.matches("<table>").count() >= charts, "{charts}");
    }
}
