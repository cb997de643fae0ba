//! What a dataset costs over the whole program. `cargo bench --bench dataset`
//!
//! 1. Tables of 24 rows against one table of as many rows, interleaved, with a seeded model of the shape of
//!    all-MiniLM-L6-v2.
//! 2. Ten thousand small tables, none of which changed.
//! 3. A million rows in tables of 25,000, with a seeded model of 32 components: speed, peak memory, disk, a second
//!    run, and a run that was killed in the middle. `cargo bench --bench dataset -- large 10000000` takes ten million.
//!
//! `small`, `unchanged` and `large` choose one of them.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends where it cannot go on"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use reembed_testing::model_directory::ModelDirectory;
use serde_json::Value;

const ROWS: u64 = 1_000_000;
const ROWS_PER_TABLE: u64 = 25_000;
const SMALL_TABLES: u64 = 500;
const ROWS_PER_SMALL_TABLE: u64 = 24;
const STILL_TABLES: u64 = 10_000;
const REPEATS: usize = 3;
/// Words of a text of a small table, so that batches are like those of task rows.
const WORDS: u64 = 40;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let rows = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(ROWS);
    let names = ["small", "unchanged", "large"];
    let is_chosen = |name: &str| {
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        has(name) || !names.iter().any(|name| has(name))
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    if is_chosen("small") {
        small_tables(directory.path());
    }
    if is_chosen("unchanged") {
        unchanged_tables(directory.path());
    }
    if is_chosen("large") {
        large_tables(directory.path(), rows);
    }
}

/// The same rows in one table and in many.
fn small_tables(directory: &Path) {
    let model = ModelDirectory::tiny()
        .hidden(384)
        .heads(12)
        .layers(6)
        .intermediate(1536)
        .max_seq_length(256)
        .write();
    let rows = SMALL_TABLES * ROWS_PER_SMALL_TABLE;
    let text = |row: u64| {
        let words =
            (0..4 + row * 7919 % WORDS).map(|word| ((row + 1) * (word + 3) % 977).to_string());
        words.collect::<Vec<_>>().join(" ") + &format!(" {row}")
    };
    let (one, many) = (directory.join("one"), directory.join("many"));
    write_table(&one.join("all.parquet"), 0..rows, &text);
    for table in 0..SMALL_TABLES {
        let first = table * ROWS_PER_SMALL_TABLE;
        let path = many.join(format!("{table:04}.parquet"));
        write_table(&path, first..first + ROWS_PER_SMALL_TABLE, &text);
    }
    let output = directory.join("small-out");
    let timed = |input: &Path| {
        let _ = fs::remove_dir_all(&output);
        run(model.path(), input, &output).0
    };
    let mut ratios: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let (one, many) = (timed(&one), timed(&many));
            println!("{rows} rows in one table {one:6.2} s, in {SMALL_TABLES} tables {many:6.2} s");
            many / one
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (least, most) = (ratios[0], ratios[REPEATS - 1]);
    let median = ratios[REPEATS / 2];
    println!(
        "tables of {ROWS_PER_SMALL_TABLE} rows take {median:.2} times as long ({least:.2} to {most:.2})\n"
    );
}

/// Many tables that are in place.
fn unchanged_tables(directory: &Path) {
    let model = ModelDirectory::tiny().write();
    let (input, output) = (directory.join("still"), directory.join("still-out"));
    for table in 0..STILL_TABLES {
        let path = input.join(format!("part={:02}/{table:05}.parquet", table % 100));
        write_table(&path, 0..3, &|row| format!("task number {row}"));
    }
    let (first, _) = run(model.path(), &input, &output);
    let mut again: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let (seconds, answer) = run(model.path(), &input, &output);
            assert_eq!(answer["tables"]["unchanged"].as_u64(), Some(STILL_TABLES), "{answer}");
            seconds
        })
        .collect();
    again.sort_by(f64::total_cmp);
    println!(
        "{STILL_TABLES} tables of 3 rows: {first:.1} s, nothing changed {:.2} s ({:.2} to {:.2})\n",
        again[REPEATS / 2],
        again[0],
        again[REPEATS - 1]
    );
}

/// Many rows in large tables.
fn large_tables(directory: &Path, rows: u64) {
    let model = ModelDirectory::tiny().write();
    let input = directory.join("large");
    let tables = rows.div_ceil(ROWS_PER_TABLE);
    for table in 0..tables {
        let first = table * ROWS_PER_TABLE;
        let path = input.join(format!("part={:02}/{table:05}.parquet", table % 10));
        write_table(&path, first..first + ROWS_PER_TABLE, &|row| format!("task number {row}"));
    }
    let output = directory.join("large-out");
    let (seconds, answer) = run(model.path(), &input, &output);
    let rows = tables * ROWS_PER_TABLE;
    let peak = peak_memory(&output);
    println!(
        "{rows} rows in {tables} tables: {seconds:.1} s, {:.0} rows/s, peak memory {peak:.0} MB",
        rows as f64 / seconds
    );
    let counts = &answer["counts"];
    assert_eq!(counts["embedded"].as_u64(), Some(rows), "{counts}");
    println!("{}", disk(&input, &output, rows, tables));
    let (seconds, answer) = run(model.path(), &input, &output);
    assert_eq!(answer["tables"]["unchanged"].as_u64(), Some(tables), "{answer}");
    println!("nothing changed: {seconds:.2} s");

    // One of a hundred texts is another one, in every table.
    for table in 0..tables {
        let first = table * ROWS_PER_TABLE;
        let path = input.join(format!("part={:02}/{table:05}.parquet", table % 10));
        let text = |row: u64| match row % 100 {
            0 => format!("changed task number {row}"),
            _ => format!("task number {row}"),
        };
        write_table(&path, first..first + ROWS_PER_TABLE, &text);
    }
    let (seconds, answer) = run(model.path(), &input, &output);
    assert_eq!(answer["counts"]["embedded"].as_u64(), Some(rows / 100), "{answer}");
    println!(
        "1 % of the texts changed, in every table: {seconds:.1} s, peak memory {:.0} MB",
        peak_memory(&output)
    );
    println!("{}", disk(&input, &output, rows, tables));

    fs::remove_dir_all(&output).expect("it is removed");
    let mut child = start(model.path(), &input, &output);
    let journal = output.join("_reembed/dataset/journal");
    let done = || fs::read_to_string(&journal).map_or(0, |text| text.lines().count() as u64);
    while done() < tables / 2 {
        assert!(child.try_wait().expect("a child").is_none(), "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("it is killed");
    child.wait().expect("it has ended");
    let published = done();
    let (seconds, answer) = run(model.path(), &input, &output);
    let number = |name: &str| answer["counts"][name].as_u64().expect("a number");
    println!(
        "killed after {published} of {tables} tables; the next run: {seconds:.1} s, {} rows embedded, {} reused",
        number("embedded"),
        number("reused")
    );
    assert_eq!(number("embedded") + number("reused"), rows);
    assert!(answer["tables"]["unchanged"].as_u64() >= Some(published));
}

/// What lies on the disk.
fn disk(input: &Path, output: &Path, rows: u64, tables: u64) -> String {
    let own = output.join("_reembed");
    let a_row = |below: &str| size(&own.join(below)) / rows as f64;
    format!(
        "input {:.2} GB, outputs {:.2} GB; bytes a row: index {:.1}, keys {:.1}, cache {:.1}; manifest {:.0} bytes a table",
        size(input) / 1e9,
        (size(output) - size(&own)) / 1e9,
        a_row("dataset/index"),
        a_row("keys"),
        a_row("dataset/cache"),
        size(&own.join("manifest.json")) / tables as f64
    )
}

fn write_table(path: &Path, rows: std::ops::Range<u64>, text: &dyn Fn(u64) -> String) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row as i64)));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.map(text)));
    let batch = RecordBatch::try_from_iter([("id", ids), ("text", texts)]).expect("a batch");
    let file = fs::File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
}

fn command(model: &Path, input: &Path, output: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reembed"));
    command.args(["run", "--quiet", "--no-supervise", "--output-format", "json", "--text", "text"]);
    command.arg("--model-path").arg(model).arg(input).arg(output);
    command
}

/// Runs to the end; returns the seconds and the answer.
fn run(model: &Path, input: &Path, output: &Path) -> (f64, Value) {
    let started = Instant::now();
    let ended = command(model, input, output).output().expect("a child");
    let seconds = started.elapsed().as_secs_f64();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    (seconds, serde_json::from_slice(&ended.stdout).expect("an answer"))
}

fn start(model: &Path, input: &Path, output: &Path) -> Child {
    command(model, input, output).stdout(Stdio::null()).spawn().expect("a child")
}

/// The peak memory of the last run, in MB.
fn peak_memory(output: &Path) -> f64 {
    let report = fs::read(output.join("_reembed/reports/_dataset/report.json")).expect("a report");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    report["memory"]["peak_resident"].as_f64().unwrap_or(f64::NAN) / 1e6
}

/// Bytes of a file or of all files below a directory.
fn size(path: &Path) -> f64 {
    let found = fs::metadata(path).expect("it exists");
    if !found.is_dir() {
        return found.len() as f64;
    }
    let entries = fs::read_dir(path).expect("a directory");
    let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.iter().map(|path| size(path)).sum()
}
