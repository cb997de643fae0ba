//! `report.html`: a run for people. Verdict first, then what needs attention, then where rows and time went.
//!
//! Every number on it is taken from `report.json` by its pointer, so that page and document cannot tell two
//! stories.

mod axis;
mod earlier;
mod lengths;
mod limit;
mod memory;
mod rows;
mod speed;
mod stages;

use askama::Template;
use reembed_encoder::error::Result;
use serde_json::Value;

use super::record::{ErrorRecord, Outcome, Restart, RunRecord, Setting};
use crate::page::{self, Cell, Figure, Form, Plot, Stacks, Table, moment};

/// The file's content: the `record`, whose JSON is `json`. `links` is put before the names of the pages of earlier
/// runs.
///
/// # Errors
/// `Internal`, when the page cannot be built; no record is known for which it cannot.
pub fn page(record: &RunRecord, json: &str, links: &str) -> Result<String> {
    page::render("report", json, |json| Page::new(record, &Document(json), links))
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    record: &'a RunRecord,
    failed: bool,
    lede: String,
    error: Option<Told>,
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

/// A part of the page: a chart, what is seen in it in words, and the numbers behind it.
struct Section<C> {
    chart: C,
    sentence: String,
    table: Table,
}

/// An error, its sentences cut where words of code begin and end.
struct Told {
    message: Words,
    causes: Vec<Words>,
    advice: Option<Words>,
}

/// Parts of a sentence, and whether each is code: what stood between backticks.
type Words = Vec<(bool, String)>;

impl Told {
    fn new(error: &ErrorRecord) -> Told {
        let words = |sentence: &String| {
            sentence
                .split('`')
                .enumerate()
                .map(|(at, part)| (at % 2 == 1, part.to_owned()))
                .collect()
        };
        Told {
            message: words(&error.message),
            causes: error.causes.iter().map(words).collect(),
            advice: error.advice.as_ref().map(words),
        }
    }
}

/// What stands below the verdict.
fn lede(record: &RunRecord) -> String {
    match (&record.error, &record.bottleneck) {
        (Some(error), _) => format!("{}.", error.message.trim_end_matches('.').replace('`', "")),
        (None, Some(bottleneck)) => bottleneck.clone(),
        (None, None) => "It was too short to say which stage was the bottleneck.".to_owned(),
    }
}

/// `report.json`, from which every number of the page is taken.
struct Document<'a>(&'a Value);

impl Document<'_> {
    fn figure(&self, pointer: &str, form: Form) -> Figure {
        Figure::at(self.0, pointer, form)
    }

    fn cell(&self, pointer: &str, form: Form) -> Cell {
        Cell::Figure(self.figure(pointer, form))
    }
}

impl<'a> Page<'a> {
    fn new(record: &'a RunRecord, json: &Document<'_>, links: &str) -> Page<'a> {
        let failed = record.outcome == Outcome::Failed;
        Page {
            record,
            failed,
            lede: lede(record),
            error: record.error.as_ref().map(Told::new),
            state: if failed { "failed" } else { "done" },
            when: moment(&record.started),
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

fn figures(json: &Document<'_>) -> Vec<(&'static str, Figure)> {
    vec![
        ("tasks a second", json.figure("/speed/tasks_per_second", Form::Measure)),
        ("tokens a second", json.figure("/speed/tokens_per_second", Form::Measure)),
        ("in all", json.figure("/seconds", Form::Seconds)),
        ("to load the model", json.figure("/model_load_seconds", Form::Seconds)),
        ("peak memory", json.figure("/memory/peak_resident", Form::Bytes)),
        ("of tokens are real", json.figure("/tokens/padding_efficiency", Form::Percent)),
    ]
}

fn restarts(record: &RunRecord, json: &Document<'_>) -> Table {
    let row = |(number, restart): (usize, &Restart)| {
        vec![
            json.cell(&format!("/restarts/{number}/at"), Form::Seconds),
            Cell::text(&restart.cause),
        ]
    };
    let rows = record.restarts.iter().enumerate().map(row).collect();
    Table::new("Restarts of the worker", &["after", "because"], rows)
}

fn lineage(record: &RunRecord) -> Table {
    let row = |name: &str, value: String| vec![Cell::text(name), Cell::text(value)];
    let mut rows = Vec::new();
    if let Some(lineage) = &record.lineage {
        let model = &lineage.model;
        rows.extend([
            row("model", model.id.clone()),
            row("arithmetic", format!("{}, {}", model.numerics, model.precision)),
            row("vectors", format!("{} components, {} pooling", model.dimension, model.pooling)),
            row("longest text", format!("{} tokens", model.max_seq_length)),
            row("fingerprint", lineage.fingerprint.clone()),
        ]);
    }
    rows.extend(record.runs_on.iter().map(|on| row("ran on", on.clone())));
    rows.push(row("input", record.input.path.clone()));
    rows.push(row("output", record.output.path.clone()));
    Table::new("What made the vectors", &["", ""], rows)
}

fn config(record: &RunRecord) -> Table {
    let row = |setting: &Setting| {
        vec![Cell::text(&setting.key), Cell::text(&setting.value), Cell::text(&setting.origin)]
    };
    let rows = record.config.iter().map(row).collect();
    Table::new("Configuration in force", &["setting", "value", "from"], rows)
}

#[cfg(test)]
mod tests {
    use super::super::{example, json};
    use super::*;

    fn of(record: &RunRecord) -> String {
        page(record, &json::json(record).expect("JSON"), "runs/").expect("a page")
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere_and_runs_nothing() {
        for record in [example::done(), example::failed()] {
            let page = of(&record);
            for foreign in ["http:", "https:", "src=", "<script", "@import", "url("] {
                let found = page.replace("http://www.w3.org/2000/svg", "").replace("http%3A", "");
                let found = found.replace("http://www.w3.org", "");
                assert!(!found.contains(foreign), "{foreign}");
            }
            assert!(page.contains("default-src 'none'"));
        }
    }

    #[test]
    fn a_page_leads_with_the_verdict_and_a_failure_with_what_to_do() {
        let page = of(&example::failed());
        let verdict = "<h1>Failed after 12.5 s, with 640 of 1,200 rows handled.";
        assert!(page.contains(verdict), "{page}");
        assert!(page.contains("row 700 (id T-&#60;700&#62;)"), "ids are escaped");
        assert!(page.contains("<b>What to do:</b> "));
        assert!(of(&example::done()).contains("The model is the bottleneck"));
    }

    #[test]
    fn a_run_that_saw_nothing_has_a_page_too() {
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
        let page = of(&record);
        assert!(page.contains("What went wrong") && !page.contains("Speed over time"));
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn each_chart_has_a_label_and_a_table_behind_it() {
        let page = of(&example::done());
        let charts = page.matches("role=\"img\"").count();
        assert_eq!(page.matches("role=\"img\" aria-label=\"\"").count(), 0);
        assert!(charts >= 7, "{charts}");
        assert!(page.matches("<table>").count() >= charts, "{charts}");
    }
}
