//! `bench.html`: what was measured, for people. Every number on it is taken from `bench.json` by its pointer.

use askama::Template;
use reembed::figures::{count, measure, percent};
use reembed_encoder::error::Result;
use serde_json::Value;

use super::record::{BenchRecord, ModeRecord, SubjectRecord};
use crate::page::{Bar, Cell, Figure, Form, Plot, Scale, Table, Tick};

/// The file's content: the `record`, whose JSON is `json`.
///
/// # Errors
/// `Internal`, when the page cannot be built; no record is known for which it cannot.
pub fn page(record: &BenchRecord, json: &str) -> Result<String> {
    crate::page::render("bench", json, |json| Page::new(record, json))
}

#[derive(Template)]
#[template(path = "bench.html")]
struct Page<'a> {
    record: &'a BenchRecord,
    when: String,
    headline: String,
    lede: String,
    figures: Vec<(&'static str, Figure)>,
    subjects: Vec<Subject>,
    verified: Table,
    tfidf_sentence: Option<String>,
    peers: Table,
    memory_sentence: String,
    memory: Table,
    machine: Table,
}

struct Subject {
    name: String,
    sentence: String,
    plot: Plot,
    table: Table,
}

impl<'a> Page<'a> {
    fn new(record: &'a BenchRecord, json: &Value) -> Page<'a> {
        let subjects = record.subjects.iter().enumerate();
        Page {
            record,
            when: crate::page::moment(&record.started),
            headline: headline(record),
            lede: lede(record),
            figures: figures(record, json),
            subjects: subjects
                .map(|(number, subject)| section(record, json, number, subject))
                .collect(),
            verified: verified(record, json),
            tfidf_sentence: tfidf(record),
            peers: peers(record, json),
            memory_sentence: memory_sentence(record),
            memory: memory(record, json),
            machine: machine(record, json),
        }
    }
}

/// The fastest mode of all, with the engine it is of: their positions, and itself.
fn fastest(record: &BenchRecord) -> Option<(usize, usize, &SubjectRecord, &ModeRecord)> {
    let modes = record.subjects.iter().enumerate().flat_map(|(number, subject)| {
        subject.modes.iter().enumerate().map(move |(at, mode)| (number, at, subject, mode))
    });
    modes.max_by(|a, b| a.3.tokens_per_second.total_cmp(&b.3.tokens_per_second))
}

fn headline(record: &BenchRecord) -> String {
    match fastest(record) {
        Some((_, _, subject, mode)) => format!(
            "{} tasks a second at best: {}, {}.",
            measure(mode.tasks_per_second),
            subject.name,
            mode.name
        ),
        None => "Nothing was measured.".to_owned(),
    }
}

fn lede(record: &BenchRecord) -> String {
    let fewer = record.subjects.iter().any(|subject| subject.rows < record.corpus.rows);
    let fewer = if fewer {
        " Slow engines embedded fewer rows; engines are compared by their tokens a second."
    } else {
        ""
    };
    format!(
        "{} task rows, median of {} interleaved passes.{fewer}",
        count(record.corpus.rows),
        record.repeats
    )
}

fn figures(record: &BenchRecord, json: &Value) -> Vec<(&'static str, Figure)> {
    let Some((subject, mode, ..)) = fastest(record) else { return Vec::new() };
    let at =
        |field, form| Figure::at(json, &format!("/subjects/{subject}/ways/{mode}/{field}"), form);
    vec![
        ("tasks a second", at("tasks_per_second", Form::Measure)),
        ("tokens a second", at("tokens_per_second", Form::Measure)),
        ("milliseconds a task", at("ms_per_task", Form::Measure)),
        ("as fast as one at a time", at("speed_up", Form::Times)),
        ("of the f32 peak", at("of_ceiling", Form::Percent)),
        ("rows of the corpus", Figure::at(json, "/corpus/rows", Form::Count)),
    ]
}

fn section(record: &BenchRecord, json: &Value, number: usize, subject: &SubjectRecord) -> Subject {
    let most = record.subjects.iter().flat_map(|subject| &subject.modes);
    let most = most.map(|mode| mode.tasks_per_second).fold(0.0, f64::max);
    // One scale for all engines: their charts can be compared by eye.
    let y = Scale::rounded(most, 4, measure);
    let wide = 100.0 / subject.modes.len().max(1) as f64;
    let middle = |at: usize| wide * (at as f64 + 0.5);
    let bars = subject.modes.iter().enumerate().map(|(at, mode)| Bar {
        left: middle(at) - 0.32 * wide,
        width: 0.64 * wide,
        height: y.place(mode.tasks_per_second),
        class: if mode.speed_up == Some(1.0) { "mist" } else { "blue" }.to_owned(),
        title: format!("{}: {} tasks a second", mode.name, measure(mode.tasks_per_second)),
    });
    let ticks = subject.modes.iter().enumerate().map(|(at, mode)| Tick {
        at: middle(at),
        text: match mode.name.as_str() {
            "one at a time" => "alone".to_owned(),
            "as a run plans" => "plan".to_owned(),
            name => name.replace("batch ", ""),
        },
    });
    let sentence = format!(
        "{} on {}, {} rows of {} tokens.",
        subject.numerics,
        subject.runs_on,
        count(subject.rows),
        count(subject.tokens)
    );
    Subject {
        plot: Plot {
            label: format!("{}: {}", subject.name, spoken(&subject.modes)),
            unit: "tasks a second, by texts of a batch".to_owned(),
            x: Scale { max: 1.0, ticks: ticks.collect() },
            bars: bars.collect(),
            y,
            ..Plot::default()
        },
        table: modes(json, number, subject),
        name: subject.name.clone(),
        sentence,
    }
}

fn spoken(modes: &[ModeRecord]) -> String {
    let said = modes.iter().map(|mode| format!("{} {}", mode.name, measure(mode.tasks_per_second)));
    format!("tasks a second: {}", said.collect::<Vec<_>>().join(", "))
}

fn modes(json: &Value, number: usize, subject: &SubjectRecord) -> Table {
    let row = |(at, mode): (usize, &ModeRecord)| {
        let cell = |field, form| {
            Cell::Figure(Figure::at(json, &format!("/subjects/{number}/ways/{at}/{field}"), form))
        };
        vec![
            Cell::text(&mode.name),
            cell("tasks_per_second", Form::Measure),
            cell("ms_per_task", Form::Measure),
            cell("tokens_per_second", Form::Measure),
            cell("speed_up", Form::Times),
            cell("spread", Form::Times),
            cell("padding_efficiency", Form::Percent),
            cell("of_ceiling", Form::Percent),
            cell("peak_resident", Form::Bytes),
        ]
    };
    let heads = [
        "",
        "tasks/s",
        "ms/task",
        "tokens/s",
        "speed-up",
        "spread",
        "real tokens",
        "of peak",
        "peak memory",
    ];
    Table::new(
        &format!("Figures of {}", subject.name),
        &heads,
        subject.modes.iter().enumerate().map(row).collect(),
    )
}

fn verified(record: &BenchRecord, json: &Value) -> Table {
    let row = |(number, subject): (usize, &SubjectRecord)| {
        let cell = |field| {
            Cell::Figure(Figure::at(json, &format!("/subjects/{number}/{field}"), Form::Scientific))
        };
        let promise = match subject.batch_invariant {
            true => "the same bits in every batch".to_owned(),
            false => format!("within {:.0e} in every batch", super::TOLERANCE),
        };
        let cosine = match subject.lowest_cosine {
            Some(cosine) => format!("{cosine:.7}"),
            None => "the others are compared with it".to_owned(),
        };
        vec![
            Cell::text(&subject.name),
            Cell::text(promise),
            Cell::text(cosine),
            cell("largest_difference"),
        ]
    };
    let rows = record.subjects.iter().enumerate().map(row).collect();
    let heads = ["", "kept its promise", "lowest cosine with the first", "largest difference"];
    Table::new("What was verified", &heads, rows)
}

fn tfidf(record: &BenchRecord) -> Option<String> {
    let tfidf = record.tfidf?;
    Some(format!(
        "TF-IDF of the same texts, words alone on one core, takes {} tasks a second: {} times as many as the fastest mode \
         here. It knows no meaning; this is what meaning costs.",
        measure(tfidf.tasks_per_second),
        measure(tfidf.times)
    ))
}

fn peers(record: &BenchRecord, json: &Value) -> Table {
    let row = |(number, peer): (usize, &super::record::Peer)| {
        let pointer = format!("/peers/{number}/tasks_per_second");
        vec![Cell::text(&peer.name), Cell::Figure(Figure::at(json, &pointer, Form::Measure))]
    };
    let rows = record.peers.iter().enumerate().map(row).collect();
    Table::new("Other tools on the same texts", &["", "tasks/s"], rows)
}

fn memory_sentence(record: &BenchRecord) -> String {
    let worst = record.memory.iter().map(|line| (line.ratio - 1.0).abs()).fold(0.0, f64::max);
    let verdict = if record.prices_hold() { "within the 15 %" } else { "more than the 15 %" };
    format!(
        "What a batch takes beside the model, against its predicted price before it runs. The worst price is off by \
         {}, {verdict} that are promised.",
        percent(worst)
    )
}

fn memory(record: &BenchRecord, json: &Value) -> Table {
    let row = |(number, line): (usize, &super::record::MemoryLine)| {
        let cell = |field, form| {
            Cell::Figure(Figure::at(json, &format!("/memory/{number}/{field}"), form))
        };
        vec![
            Cell::text(&line.engine),
            cell("length", Form::Count),
            cell("rows", Form::Count),
            cell("measured", Form::Bytes),
            cell("predicted", Form::Bytes),
            cell("measured_per_row", Form::Bytes),
            cell("ratio", Form::Times),
        ]
    };
    let rows = record.memory.iter().enumerate().map(row).collect();
    let heads =
        ["", "tokens", "texts", "measured", "affordable", "a text", "measured / affordable"];
    Table::new("Memory of a batch", &heads, rows)
}

fn machine(record: &BenchRecord, json: &Value) -> Table {
    let machine = &record.machine;
    let unknown = || "unknown".to_owned();
    let rows = vec![
        vec![Cell::text("processor"), Cell::text(machine.cpu.clone().unwrap_or_else(unknown))],
        vec![Cell::text("instruction sets"), Cell::text(machine.instruction_sets.join(", "))],
        vec![Cell::text("cores"), figure(json, "/machine/cores", Form::Count)],
        vec![Cell::text("memory"), figure(json, "/machine/memory_bytes", Form::Bytes)],
        vec![Cell::text("f32 peak, GFLOP/s"), figure(json, "/ceiling/f32_gflops", Form::Measure)],
        vec![Cell::text("model"), Cell::text(&record.model.id)],
        vec![Cell::text("program"), Cell::text(&record.tool)],
    ];
    Table::new("The machine", &["", ""], rows)
}

fn figure(json: &Value, pointer: &str, form: Form) -> Cell {
    Cell::Figure(Figure::at(json, pointer, form))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::record::*;
    use super::*;

    pub(in crate::bench) fn record() -> BenchRecord {
        let mode = |name: &str, batch_rows, tasks: f64| ModeRecord {
            name: name.to_owned(),
            batch_rows,
            seconds: vec![10.0, 10.5, 11.0],
            median_seconds: 10.5,
            spread: 1.1,
            ms_per_task: 1000.0 / tasks,
            tasks_per_second: tasks,
            tokens_per_second: 66.0 * tasks,
            speed_up: Some(tasks / 60.0),
            padding_efficiency: 0.97,
            gflops: 90.0,
            of_peak: Some(0.55),
            peak_resident: Some(300_000_000),
            largest_difference: 0.0,
        };
        let subject = |name: &str, tasks: f64| SubjectRecord {
            name: name.to_owned(),
            engine: name.split(' ').next().unwrap_or("").to_owned(),
            precision: "f32".to_owned(),
            numerics: "packed-1-f32".to_owned(),
            fingerprint: "00".to_owned(),
            runs_on: "avx2, 2 threads".to_owned(),
            threads: Some(2),
            batch_invariant: name.starts_with("packed"),
            rows: 400,
            tokens: 26_400,
            lowest_cosine: (!name.starts_with("packed")).then_some(0.999_999_9),
            largest_difference: (!name.starts_with("packed")).then_some(2.6e-7),
            modes: vec![
                mode("one at a time", Some(1), tasks),
                mode("batch 32", Some(32), 1.4 * tasks),
                mode("as a run plans", None, 1.5 * tasks),
            ],
        };
        BenchRecord {
            schema: SCHEMA.to_owned(),
            tool: "reembed 0.1.0".to_owned(),
            started: "2026-11-24T05:53:25Z".to_owned(),
            machine: crate::machine::Machine::default(),
            peak: Some(Peak { f32_gflops: 164.0 }),
            model: ModelRecord { id: "a/b".to_owned(), max_seq_length: 256, dimension: 384 },
            corpus: CorpusRecord {
                rows: 1000,
                tokens: 66_000,
                median_length: Some(41),
                longest: Some(256),
            },
            repeats: 3,
            load_peak_resident: Some(400_000_000),
            subjects: vec![subject("packed f32", 60.0), subject("candle f32", 20.0)],
            acceptance: vec![Acceptance {
                what: "packed f32, batch 32,".to_owned(),
                baseline: "stock candle f32, one at a time".to_owned(),
                times: 4.2,
                target: TARGET,
                reached: false,
            }],
            tfidf: Some(TfIdf { tasks_per_second: 55_000.0, times: 611.0 }),
            memory: vec![MemoryLine {
                engine: "packed f32".to_owned(),
                rows: 32,
                length: 256,
                predicted: 63_000_000,
                measured: 64_000_000,
                measured_per_row: 2_000_000.0,
                ratio: 1.016,
            }],
            peers: vec![Peer { name: "another".to_owned(), tasks_per_second: 72.7 }],
        }
    }

    #[test]
    fn the_page_leads_with_the_fastest_way_and_says_what_was_not_reached() {
        let record = record();
        let json = super::super::json::json(&record).expect("JSON");
        let page = page(&record, &json).expect("a page");
        assert!(page.contains("<h1>90.0 tasks a second at best: packed f32, as a run plans.</h1>"));
        assert!(page.contains(
            "4.20 times as fast as stock candle f32, one at a time (target 10: not reached"
        ));
        assert!(page.contains("within the 15 %"));
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn every_field_is_documented() {
        let schemas = include_str!("../../../../docs/schemas.md");
        let json = super::super::json::json(&record()).expect("JSON");
        let value: Value = serde_json::from_str(&json).expect("JSON");
        let mut found = Vec::new();
        crate::report::json::fields(&value, "", &mut found);
        let missing: Vec<&String> =
            found.iter().filter(|field| !schemas.contains(&format!("`{field}`"))).collect();
        assert!(missing.is_empty(), "docs/schemas.md says nothing of {missing:?}");
    }
}
