//! `report.html`: a run for people. Verdict first, then what needs attention, then where rows and time went.
//!
//! Every number on it is taken from `report.json` by its pointer, so that page and document cannot tell two
//! stories.

use askama::Template;
use serde_json::Value;

use super::record::{Limit, Outcome, RunRecord};
use super::stages::Stage;
use crate::error::{Error, ErrorKind, Result};
use crate::figures::{bytes, count, measure, percent, seconds};
use crate::page::{
    Bar, Cell, Figure, Form, Mark, Plot, Scale, Stack, Stacks, Table, area, moment, steps,
};

/// The file's content: the `record`, whose JSON is `json`. `links` is put before the names of the pages of earlier
/// runs.
///
/// # Errors
/// `Internal`, when the page cannot be built; no record is known for which it cannot.
pub fn page(record: &RunRecord, json: &str, links: &str) -> Result<String> {
    let internal = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Internal, "the page of the report cannot be built").caused_by(cause)
    };
    let json: Value = serde_json::from_str(json).map_err(|cause| internal(cause.into()))?;
    Page::new(record, &Document(&json), links).render().map_err(|cause| internal(cause.into()))
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
    rows_sentence: String,
    rows: Stacks,
    rows_table: Table,
    stages: Stacks,
    stages_table: Table,
    speed: Option<Plot>,
    speed_sentence: String,
    speed_table: Table,
    lengths: Option<Plot>,
    lengths_sentence: String,
    lengths_table: Table,
    limit: Option<Plot>,
    limit_sentence: String,
    limit_table: Table,
    sizes_table: Table,
    memory: Option<Stacks>,
    memory_sentence: String,
    memory_table: Table,
    earlier: Option<Plot>,
    earlier_sentence: String,
    earlier_table: Table,
    lineage: Table,
    config: Table,
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
    fn new(error: &super::record::ErrorRecord) -> Told {
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
            rows_sentence: rows_sentence(record),
            rows: rows(record),
            rows_table: rows_table(json),
            stages: stages(record),
            stages_table: stages_table(record, json),
            speed: speed(record),
            speed_sentence: speed_sentence(record),
            speed_table: speed_table(record, json),
            lengths: lengths(record),
            lengths_sentence: lengths_sentence(record),
            lengths_table: lengths_table(record, json),
            limit: limit(record),
            limit_sentence: limit_sentence(record),
            limit_table: limit_table(record, json),
            sizes_table: sizes_table(record, json),
            memory: memory(record),
            memory_sentence: memory_sentence(record),
            memory_table: memory_table(json),
            earlier: earlier(record),
            earlier_sentence: earlier_sentence(record),
            earlier_table: earlier_table(record, json, links),
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
    let row = |(number, restart): (usize, &super::record::Restart)| {
        vec![
            json.cell(&format!("/restarts/{number}/at"), Form::Seconds),
            Cell::text(&restart.cause),
        ]
    };
    let rows = record.restarts.iter().enumerate().map(row).collect();
    Table::new("Restarts of the worker", &["after", "because"], rows)
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

fn rows_sentence(record: &RunRecord) -> String {
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

fn rows(record: &RunRecord) -> Stacks {
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

fn rows_table(json: &Document<'_>) -> Table {
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

fn name_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Reader => "reader",
        Stage::Tokenizer => "tokenizer",
        Stage::Inference => "model",
        Stage::Writer => "writer",
    }
}

fn stages(record: &RunRecord) -> Stacks {
    let mut said = Vec::new();
    let bars = record
        .stages
        .iter()
        .map(|stage| {
            let own = stage.busy + stage.waiting_for_input + stage.waiting_for_output;
            // What is left of the bar is the time after the stage was done.
            let all = record.flow_seconds.unwrap_or(0.0).max(own);
            let share = percent(stage.busy / all.max(f64::MIN_POSITIVE));
            let name = name_of(stage.stage);
            said.push(format!("{name} busy {share}"));
            let title = |what: &str, time: f64| format!("{name}: {} {what}", seconds(time));
            Stack::new(
                name,
                format!("{share} busy"),
                all,
                &[
                    ("blue", stage.busy, title("busy", stage.busy)),
                    (
                        "sand",
                        stage.waiting_for_input,
                        title("waiting for input", stage.waiting_for_input),
                    ),
                    (
                        "mist",
                        stage.waiting_for_output,
                        title("waiting for the next stage", stage.waiting_for_output),
                    ),
                ],
            )
        })
        .collect();
    let legend =
        [("blue", "busy"), ("sand", "waiting for input"), ("mist", "waiting for the next stage")];
    Stacks {
        label: format!("Share of the time: {}.", said.join(", ")),
        bars,
        legend: legend.map(|(class, name)| (class.to_owned(), name.to_owned())).to_vec(),
    }
}

fn stages_table(record: &RunRecord, json: &Document<'_>) -> Table {
    let row = |(number, stage): (usize, &super::record::StageRecord)| {
        let time = |state| json.cell(&format!("/stages/{number}/{state}"), Form::Seconds);
        vec![
            Cell::text(name_of(stage.stage)),
            time("busy"),
            time("waiting_for_input"),
            time("waiting_for_output"),
        ]
    };
    let rows = record.stages.iter().enumerate().map(row).collect();
    let heads = ["stage", "busy", "waiting for input", "waiting for the next stage"];
    Table::new("Time of each stage", &heads, rows).folded()
}

/// An axis of time since the first row.
fn time_axis(record: &RunRecord) -> Scale {
    Scale::exact(record.flow_seconds.unwrap_or(0.0), 6, short_time)
}

/// A time on an axis.
fn short_time(time: f64) -> String {
    match time {
        _ if time < 1.0 && time > 0.0 => format!("{} s", measure(time)),
        _ if time < 120.0 => format!("{} s", (10.0 * time).round() / 10.0),
        _ if time < 7200.0 => format!("{} min", (time / 6.0).round() / 10.0),
        _ => format!("{} h", (time / 360.0).round() / 10.0),
    }
}

/// A value on an axis of counts or rates.
fn short_number(value: f64) -> String {
    let trimmed = |value: f64, unit: &str| format!("{}{unit}", (10.0 * value).round() / 10.0);
    match value {
        _ if value >= 1e6 => trimmed(value / 1e6, " M"),
        _ if value >= 1e4 => trimmed(value / 1e3, " k"),
        _ if value >= 1e3 => count(value as u64),
        _ if value >= 1.0 || value == 0.0 => trimmed(value, ""),
        _ => format!("{}", (1000.0 * value).round() / 1000.0),
    }
}

fn speed(record: &RunRecord) -> Option<Plot> {
    let samples = &record.speed.over_time;
    let flow = record.flow_seconds.filter(|_| samples.len() > 1)?;
    let x = time_axis(record);
    let most = samples.iter().map(|sample| sample.tokens_per_second).fold(0.0, f64::max);
    let y = Scale::rounded(most, 4, short_number);
    let points: Vec<(f64, f64)> =
        samples.iter().map(|sample| (sample.at, sample.tokens_per_second)).collect();
    let marks = record
        .batches
        .limit_changes
        .iter()
        .filter(|change| tighter(change.to) < tighter(change.from))
        .map(|change| Mark {
            at: x.place(change.at),
            title: format!("batch limit lowered: {}", change.cause),
        })
        .collect();
    Some(Plot {
        label: speed_sentence(record),
        unit: "tokens a second through the model".to_owned(),
        areas: vec![area(&points, flow, &x, &y)],
        lines: vec![steps(&points, flow, &x, &y)],
        marks,
        x,
        y,
        ..Plot::default()
    })
}

fn speed_sentence(record: &RunRecord) -> String {
    let mut rates: Vec<f64> =
        record.speed.over_time.iter().map(|sample| sample.tokens_per_second).collect();
    rates.sort_by(f64::total_cmp);
    let at = |share: f64| rates.get(((rates.len().max(1) - 1) as f64 * share).round() as usize);
    match (at(0.5), at(0.1), at(0.9)) {
        (Some(median), Some(low), Some(high)) => format!(
            "Half of the time at {} tokens a second or more; between {} and {} for most of it. Tokens and not tasks: a \
             long text is more work than a short one, and the longest of a chunk come first.",
            measure(*median),
            measure(*low),
            measure(*high)
        ),
        _ => String::new(),
    }
}

fn speed_table(record: &RunRecord, json: &Document<'_>) -> Table {
    let row = |number: usize| {
        let cell = |field, form| json.cell(&format!("/speed/over_time/{number}/{field}"), form);
        vec![
            cell("at", Form::Seconds),
            cell("tasks_per_second", Form::Measure),
            cell("tokens_per_second", Form::Measure),
        ]
    };
    let rows = (0..record.speed.over_time.len()).map(row).collect();
    Table::new("Speed over time", &["from", "tasks a second", "tokens a second"], rows).folded()
}

fn lengths(record: &RunRecord) -> Option<Plot> {
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
        label: lengths_sentence(record),
        unit: "texts by their length in tokens".to_owned(),
        x,
        y,
        bars,
        ..Plot::default()
    })
}

fn lengths_sentence(record: &RunRecord) -> String {
    let (Some(median), Some(longest)) = (record.tokens.median_length, record.tokens.longest) else {
        return String::new();
    };
    let cut = match record.rows.truncated {
        0 => String::new(),
        truncated => format!(", where {} were cut", count(truncated)),
    };
    format!("Half of the texts have {median} tokens or fewer; the longest has {longest}{cut}.")
}

fn lengths_table(record: &RunRecord, json: &Document<'_>) -> Table {
    let row = |number: usize| {
        let cell = |field| json.cell(&format!("/tokens/lengths/{number}/{field}"), Form::Count);
        vec![cell("from"), cell("to"), cell("texts")]
    };
    let rows = (0..record.tokens.lengths.len()).map(row).collect();
    Table::new("Texts by length", &["tokens, from", "to", "texts"], rows).folded()
}

fn limit(record: &RunRecord) -> Option<Plot> {
    let start = record.batches.limit_at_start?;
    let flow = record.flow_seconds?;
    let changes = &record.batches.limit_changes;
    let mut points = vec![(0.0, tighter(start) as f64)];
    points.extend(changes.iter().map(|change| (change.at, tighter(change.to) as f64)));
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let (x, y) = (time_axis(record), Scale::rounded(most, 4, short_number));
    let marks = changes
        .iter()
        .filter(|change| tighter(change.to) < tighter(change.from))
        .map(|change| Mark { at: x.place(change.at), title: change.cause.clone() })
        .collect();
    Some(Plot {
        label: limit_sentence(record),
        unit: format!("{} a batch may have", counted(start)),
        areas: vec![area(&points, flow, &x, &y)],
        lines: vec![steps(&points, flow, &x, &y)],
        marks,
        x,
        y,
        ..Plot::default()
    })
}

fn limit_sentence(record: &RunRecord) -> String {
    let batches = &record.batches;
    let ran = format!("{} batches ran", count(batches.count));
    let (Some(start), Some(end)) = (batches.limit_at_start, batches.limit_at_end) else {
        return format!("{ran}.");
    };
    let lowered = batches
        .limit_changes
        .iter()
        .filter(|change| tighter(change.to) < tighter(change.from))
        .count();
    match (batches.limit_moves, lowered) {
        (0, _) => {
            format!("{ran}; the limit stayed at {} {}.", count(tighter(start)), counted(start))
        }
        (moves, 0) => format!(
            "{ran}; the limit moved {moves} times, from {} to {} {}.",
            count(tighter(start)),
            count(tighter(end)),
            counted(end)
        ),
        (moves, lowered) => format!(
            "{ran}; the limit moved {moves} times, from {} to {} {}. It was lowered {lowered} times, because \
             a batch did not fit in memory; each such batch was split and tried again.",
            count(tighter(start)),
            count(tighter(end)),
            counted(end)
        ),
    }
}

/// The tighter part of a limit: as many texts as tokens are no limit on texts.
fn tighter(limit: Limit) -> u64 {
    limit.rows.min(limit.tokens)
}

/// What the tighter part counts.
fn counted(limit: Limit) -> &'static str {
    if limit.rows < limit.tokens { "texts" } else { "tokens" }
}

fn limit_table(record: &RunRecord, json: &Document<'_>) -> Table {
    let row = |(number, change): (usize, &super::record::LimitMove)| {
        let cell =
            |field, form| json.cell(&format!("/batches/limit_changes/{number}/{field}"), form);
        vec![
            cell("at", Form::Seconds),
            cell("from/rows", Form::Count),
            cell("to/rows", Form::Count),
            cell("from/tokens", Form::Count),
            cell("to/tokens", Form::Count),
            Cell::text(&change.cause),
        ]
    };
    let rows = record.batches.limit_changes.iter().enumerate().map(row).collect();
    Table::new(
        "Moves of the batch limit",
        &["after", "texts, from", "to", "tokens, from", "to", "because"],
        rows,
    )
    .folded()
}

fn sizes_table(record: &RunRecord, json: &Document<'_>) -> Table {
    let row = |number: usize| {
        let cell = |field| json.cell(&format!("/batches/sizes/{number}/{field}"), Form::Count);
        vec![cell("rows"), cell("batches")]
    };
    let rows = (0..record.batches.sizes.len()).map(row).collect();
    Table::new("Batches by their size", &["texts", "batches"], rows).folded()
}

fn memory(record: &RunRecord) -> Option<Stacks> {
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
        label: memory_sentence(record),
        bars: vec![bar("peak", "blue", peak), bar("budget", "mist", budget)],
        legend: Vec::new(),
    })
}

fn memory_sentence(record: &RunRecord) -> String {
    match (record.memory.peak_resident, record.memory.batch_budget) {
        (Some(peak), Some(budget)) => format!(
            "The process took {} at its peak, model and all; a batch alone might have taken {}.",
            bytes(peak),
            bytes(budget)
        ),
        _ => String::new(),
    }
}

fn memory_table(json: &Document<'_>) -> Table {
    let rows = vec![
        vec![Cell::text("peak of the process"), json.cell("/memory/peak_resident", Form::Bytes)],
        vec![Cell::text("budget of a batch"), json.cell("/memory/batch_budget", Form::Bytes)],
    ];
    Table::new("Memory", &["", "size"], rows).folded()
}

fn earlier(record: &RunRecord) -> Option<Plot> {
    if record.earlier.is_empty() {
        return None;
    }
    let now = (record.speed.tasks_per_second, record.outcome, &record.started);
    let before = record.earlier.iter().map(|run| (run.tasks_per_second, run.outcome, &run.started));
    let runs: Vec<_> = before.chain([now]).collect();
    let most = runs.iter().filter_map(|run| run.0).fold(0.0, f64::max);
    let y = Scale::rounded(most, 4, short_number);
    let wide = 100.0 / runs.len() as f64;
    let bars = runs
        .iter()
        .enumerate()
        .map(|(number, (rate, outcome, started))| {
            let failed = *outcome == Outcome::Failed;
            let bar = wide.min(12.0) * 0.7;
            let said = match (failed, rate) {
                (true, _) => "failed".to_owned(),
                (false, Some(rate)) => format!("{} tasks a second", measure(*rate)),
                (false, None) => "done".to_owned(),
            };
            Bar {
                left: wide * (number as f64 + 0.5) - bar / 2.0,
                width: bar,
                // A run that failed has no speed, and still a place.
                height: if failed { 4.0 } else { y.place(rate.unwrap_or(0.0)) },
                class: match (failed, number + 1 == runs.len()) {
                    (true, _) => "failed",
                    (false, true) => "blue",
                    (false, false) => "mist",
                }
                .to_owned(),
                title: format!("{}: {said}", moment(started)),
            }
        })
        .collect();
    Some(Plot {
        label: earlier_sentence(record),
        unit: "tasks a second of each run, the latest to the right".to_owned(),
        y,
        bars,
        ..Plot::default()
    })
}

fn earlier_sentence(record: &RunRecord) -> String {
    let mut rates: Vec<f64> =
        record.earlier.iter().filter_map(|run| run.tasks_per_second).collect();
    rates.sort_by(f64::total_cmp);
    let median = rates.get(rates.len() / 2);
    match (record.speed.tasks_per_second, median, record.outcome) {
        (Some(rate), Some(median), Outcome::Done) if *median > 0.0 => {
            let change = rate / median - 1.0;
            let before = match rates.len() {
                1 => "the run before it".to_owned(),
                runs => format!("the median of the {runs} runs before it that are done"),
            };
            match change {
                _ if change.abs() < 0.05 => format!("As fast as {before}."),
                _ if change > 0.0 => format!("{} faster than {before}.", percent(change)),
                _ => format!("{} slower than {before}.", percent(change.abs())),
            }
        }
        _ => {
            let done = record.earlier.iter().filter(|run| run.outcome == Outcome::Done).count();
            format!("Of the {} runs before it {done} are done.", record.earlier.len())
        }
    }
}

fn earlier_table(record: &RunRecord, json: &Document<'_>, links: &str) -> Table {
    let row = |(number, run): (usize, &super::record::EarlierRun)| {
        let cell = |field, form| json.cell(&format!("/earlier/{number}/{field}"), form);
        let outcome = match run.outcome {
            Outcome::Done => "done",
            Outcome::Failed => "failed",
        };
        vec![
            Cell::Link { to: format!("{links}{}.html", run.name), text: moment(&run.started) },
            Cell::text(outcome),
            cell("rows", Form::Count),
            cell("seconds", Form::Seconds),
            cell("tasks_per_second", Form::Measure),
        ]
    };
    let rows = record.earlier.iter().enumerate().rev().map(row).collect();
    Table::new("Runs before this one", &["began", "", "rows", "took", "tasks a second"], rows)
        .folded()
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
    let row = |setting: &super::record::Setting| {
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

    #[test]
    fn labels_of_an_axis_are_short() {
        let labels = [0.0, 0.25, 7.0, 1500.0, 12_000.0, 3_400_000.0].map(short_number);
        assert_eq!(labels, ["0", "0.25", "7", "1,500", "12 k", "3.4 M"]);
        let labels = [0.0, 0.5, 30.0, 600.0, 10_800.0].map(short_time);
        assert_eq!(labels, ["0 s", "0.500 s", "30 s", "10 min", "3 h"]);
    }
}
