//! `bench.html`: the results of a bench for people. Every number comes from `bench.json` by its pointer.

use askama::Template;
use reembed::figures::{count, measure, percent};
use reembed_encoder::error::Result;

use super::measure::TOLERANCE;
use super::mode::Mode;
use super::record::{BenchRecord, MemoryLine, ModeRecord, Peer, SubjectRecord};
use crate::page::{self, Bar, Cell, Document, Figure, NumberFormat, Plot, Scale, Table, Tick};
use crate::timestamp;

/// The content of the file, from a record and its JSON.
///
/// # Errors
/// `Internal`, when the page cannot be rendered.
pub fn page(record: &BenchRecord, json: &str) -> Result<String> {
    page::render("the bench", json, |json| Page::new(record, json))
}

#[derive(Template)]
#[template(path = "bench.html")]
struct Page<'a> {
    record: &'a BenchRecord,
    when: String,
    headline: String,
    lede: String,
    figures: Vec<(&'static str, Figure)>,
    subjects: Vec<SubjectSection>,
    verified: Table,
    tfidf_sentence: Option<String>,
    peers: Table,
    memory_sentence: String,
    memory: Table,
    machine: Table,
}

/// The section of one engine.
struct SubjectSection {
    name: String,
    sentence: String,
    plot: Plot,
    table: Table,
}

impl<'a> Page<'a> {
    fn new(record: &'a BenchRecord, json: &Document) -> Page<'a> {
        let subjects = record.subjects.iter().enumerate();
        Page {
            record,
            when: timestamp::readable(&record.started),
            headline: headline(record),
            lede: lede(record),
            figures: figures(record, json),
            subjects: subjects
                .map(|(number, subject)| subject_section(record, json, number, subject))
                .collect(),
            verified: verified(record, json),
            tfidf_sentence: tfidf_sentence(record),
            peers: peers(record, json),
            memory_sentence: memory_sentence(record),
            memory: memory(record, json),
            machine: machine(record, json),
        }
    }
}

/// The fastest mode of all engines: the positions of engine and mode, the engine and the mode.
fn fastest(record: &BenchRecord) -> Option<(usize, usize, &SubjectRecord, &ModeRecord)> {
    let modes = record.subjects.iter().enumerate().flat_map(|(number, subject)| {
        subject.modes.iter().enumerate().map(move |(at, mode)| (number, at, subject, mode))
    });
    modes.max_by(|a, b| a.3.tokens_per_second.total_cmp(&b.3.tokens_per_second))
}

fn headline(record: &BenchRecord) -> String {
    match fastest(record) {
        Some((_, _, subject, mode)) => format!(
            "Fastest: {} tasks/s, {}, {}.",
            measure(mode.tasks_per_second),
            subject.name,
            mode.name
        ),
        None => "Nothing was measured.".to_owned(),
    }
}

fn lede(record: &BenchRecord) -> String {
    let slow = match record.subjects.iter().any(|subject| subject.rows < record.corpus.rows) {
        true => " Slow engines embedded fewer rows; engines are compared by tokens/s.",
        false => "",
    };
    format!(
        "{} rows, median of {} interleaved passes.{slow}",
        count(record.corpus.rows),
        record.repeats
    )
}

fn figures(record: &BenchRecord, json: &Document) -> Vec<(&'static str, Figure)> {
    let Some((subject, mode, ..)) = fastest(record) else { return Vec::new() };
    let figure =
        |field, format| json.figure(&format!("/subjects/{subject}/ways/{mode}/{field}"), format);
    vec![
        ("tasks/s", figure("tasks_per_second", NumberFormat::Measure)),
        ("tokens/s", figure("tokens_per_second", NumberFormat::Measure)),
        ("ms/task", figure("ms_per_task", NumberFormat::Measure)),
        ("speed-up over one at a time", figure("speed_up", NumberFormat::Times)),
        ("of the f32 peak", figure("of_ceiling", NumberFormat::Percent)),
        ("rows", json.figure("/corpus/rows", NumberFormat::Count)),
    ]
}

fn subject_section(
    record: &BenchRecord,
    json: &Document,
    number: usize,
    subject: &SubjectRecord,
) -> SubjectSection {
    // All engines share a scale, so that their charts can be compared by eye.
    let modes = record.subjects.iter().flat_map(|subject| &subject.modes);
    let max = modes.map(|mode| mode.tasks_per_second).fold(0.0, f64::max);
    let y = Scale::rounded(max, 4, measure);
    let slot = 100.0 / subject.modes.len().max(1) as f64;
    let middle = |at: usize| slot * (at as f64 + 0.5);
    let bars = subject.modes.iter().enumerate().map(|(at, mode)| Bar {
        left: middle(at) - 0.32 * slot,
        width: 0.64 * slot,
        height: y.place(mode.tasks_per_second),
        class: if mode.speed_up == Some(1.0) { "mist" } else { "blue" }.to_owned(),
        title: format!("{}: {} tasks/s", mode.name, measure(mode.tasks_per_second)),
    });
    let ticks = subject
        .modes
        .iter()
        .enumerate()
        .map(|(at, mode)| Tick { at: middle(at), text: short_name(&mode.name) });
    SubjectSection {
        plot: Plot {
            label: format!("{}: {}", subject.name, rates(&subject.modes)),
            unit: "tasks/s by texts in a batch".to_owned(),
            x: Scale { max: 1.0, ticks: ticks.collect() },
            bars: bars.collect(),
            y,
            ..Plot::default()
        },
        table: mode_table(json, number, subject),
        name: subject.name.clone(),
        sentence: format!(
            "{} on {}, {} rows of {} tokens in total.",
            subject.numerics,
            subject.runs_on,
            count(subject.rows),
            count(subject.tokens)
        ),
    }
}

/// The word of `--modes` for a mode.
fn short_name(mode: &str) -> String {
    match mode {
        _ if mode == Mode::Single.to_string() => "single".to_owned(),
        _ if mode == Mode::Auto.to_string() => "auto".to_owned(),
        name => name.replace("batch ", ""),
    }
}

fn rates(modes: &[ModeRecord]) -> String {
    let rates =
        modes.iter().map(|mode| format!("{} {}", mode.name, measure(mode.tasks_per_second)));
    format!("tasks/s: {}", rates.collect::<Vec<_>>().join(", "))
}

fn mode_table(json: &Document, number: usize, subject: &SubjectRecord) -> Table {
    let row = |(at, mode): (usize, &ModeRecord)| {
        let cell =
            |field, format| json.cell(&format!("/subjects/{number}/ways/{at}/{field}"), format);
        vec![
            Cell::text(&mode.name),
            cell("tasks_per_second", NumberFormat::Measure),
            cell("ms_per_task", NumberFormat::Measure),
            cell("tokens_per_second", NumberFormat::Measure),
            cell("speed_up", NumberFormat::Times),
            cell("spread", NumberFormat::Times),
            cell("padding_efficiency", NumberFormat::Percent),
            cell("of_ceiling", NumberFormat::Percent),
            cell("peak_resident", NumberFormat::Bytes),
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
        "of f32 peak",
        "peak memory",
    ];
    let rows = subject.modes.iter().enumerate().map(row).collect();
    Table::new(&format!("Modes of {}", subject.name), &heads, rows)
}

fn verified(record: &BenchRecord, json: &Document) -> Table {
    let row = |(number, subject): (usize, &SubjectRecord)| {
        let tolerance = match subject.batch_invariant {
            true => "the same bits in every batch".to_owned(),
            false => format!("within {TOLERANCE:.0e} in every batch"),
        };
        let cosine = match subject.lowest_cosine {
            Some(cosine) => format!("{cosine:.7}"),
            None => "the reference".to_owned(),
        };
        let neighbours = match subject.shared_neighbours {
            Some(share) => percent(share),
            None => "–".to_owned(),
        };
        let difference = format!("/subjects/{number}/largest_difference");
        vec![
            Cell::text(&subject.name),
            Cell::text(tolerance),
            Cell::text(cosine),
            Cell::text(neighbours),
            json.cell(&difference, NumberFormat::Scientific),
        ]
    };
    let rows = record.subjects.iter().enumerate().map(row).collect();
    let heads = [
        "",
        "vectors",
        "lowest cosine with the first engine",
        "ten nearest neighbours that stay",
        "largest difference",
    ];
    Table::new("Verified vectors", &heads, rows)
}

fn tfidf_sentence(record: &BenchRecord) -> Option<String> {
    let tfidf = record.tfidf?;
    Some(format!(
        "TF-IDF, which counts words and ignores their meaning, takes {} tasks/s on one core: {} times as fast as the \
         fastest mode above.",
        measure(tfidf.tasks_per_second),
        measure(tfidf.times)
    ))
}

fn peers(record: &BenchRecord, json: &Document) -> Table {
    let row = |(number, peer): (usize, &Peer)| {
        let pointer = format!("/peers/{number}/tasks_per_second");
        vec![Cell::text(&peer.name), json.cell(&pointer, NumberFormat::Measure)]
    };
    let rows = record.peers.iter().enumerate().map(row).collect();
    Table::new("Other tools on the same texts", &["", "tasks/s"], rows)
}

fn memory_sentence(record: &BenchRecord) -> String {
    let worst = record.memory.iter().map(|line| (line.ratio - 1.0).abs()).fold(0.0, f64::max);
    let verdict = if record.predictions_hold() { "within" } else { "beyond" };
    format!(
        "The memory of a batch beside the model, measured and predicted. The largest error is {}, {verdict} the \
         tolerance of 15 %.",
        percent(worst)
    )
}

fn memory(record: &BenchRecord, json: &Document) -> Table {
    let row = |(number, line): (usize, &MemoryLine)| {
        let cell = |field, format| json.cell(&format!("/memory/{number}/{field}"), format);
        vec![
            Cell::text(&line.engine),
            cell("length", NumberFormat::Count),
            cell("rows", NumberFormat::Count),
            cell("measured", NumberFormat::Bytes),
            cell("predicted", NumberFormat::Bytes),
            cell("measured_per_row", NumberFormat::Bytes),
            cell("ratio", NumberFormat::Times),
        ]
    };
    let rows = record.memory.iter().enumerate().map(row).collect();
    let heads =
        ["", "tokens", "texts", "measured", "predicted", "per text", "measured / predicted"];
    Table::new("Memory of a batch", &heads, rows)
}

fn machine(record: &BenchRecord, json: &Document) -> Table {
    let machine = &record.machine;
    let cpu = machine.cpu.clone().unwrap_or_else(|| "unknown".to_owned());
    let rows = vec![
        vec![Cell::text("CPU"), Cell::text(cpu)],
        vec![Cell::text("instruction sets"), Cell::text(machine.instruction_sets.join(", "))],
        vec![Cell::text("cores"), json.cell("/machine/cores", NumberFormat::Count)],
        vec![Cell::text("memory"), json.cell("/machine/memory_bytes", NumberFormat::Bytes)],
        vec![
            Cell::text("f32 peak, GFLOP/s"),
            json.cell("/ceiling/f32_gflops", NumberFormat::Measure),
        ],
        vec![Cell::text("model"), Cell::text(&record.model.id)],
        vec![Cell::text("program"), Cell::text(&record.tool)],
    ];
    Table::new("The machine", &["", ""], rows)
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use crate::json;

    #[test]
    fn page_leads_with_the_fastest_mode() {
        let record = example::record();
        let json = json::to_document(&record, "the bench").expect("JSON");
        let page = page(&record, &json).expect("a page");
        assert!(page.contains("<h1>Fastest: 90.0 tasks/s, packed f32, as a run plans.</h1>"));
        assert!(page.contains(
            "4.20 times as fast as stock candle f32, one at a time (target 10: not reached"
        ));
        assert!(page.contains("within the tolerance of 15 %"));
        assert!(!page.contains("NaN"));
    }
}
