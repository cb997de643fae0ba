//! Peak memory does not grow with the number of rows: 50,000 and 1,000,000 rows through the whole program
//! with a tiny seeded model. `cargo bench --bench memory`, or `cargo test --bench memory`, which builds less.
//!
//! Runs for some minutes and prints the peaks of three rounds; fails if their medians differ by more than 10
//! %. A single peak is noisy: it depends on the number of chunks in flight.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends where it cannot go on"
)]

use std::path::Path;
use std::process::Command;

use reembed_testing::model_directory::ModelDirectory;

const ROWS: [u64; 2] = [50_000, 1_000_000];
const ROUNDS: usize = 3;
const MOST_GROWTH: f64 = 1.10;

fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let model = ModelDirectory::tiny().max_seq_length(16).write();
    let inputs = ROWS.map(|rows| {
        let input = directory.path().join(format!("{rows}.parquet"));
        reembed_cli::sample::write_tasks(&input, reembed_cli::sample::task_rows(rows, 1))
            .expect("a sample");
        input
    });
    let mut peaks = [const { Vec::new() }; ROWS.len()];
    for _ in 0..ROUNDS {
        for ((rows, input), peaks) in ROWS.iter().zip(&inputs).zip(&mut peaks) {
            let (peak, seconds) = run(input, model.path());
            println!("{rows:>9} rows: peak resident {:.1} MB, {seconds} s", peak as f64 / 1e6);
            peaks.push(peak);
        }
    }
    let [few, many] = peaks.map(median);
    let growth = many as f64 / few as f64;
    println!("1,000,000 rows take {growth:.3} × the memory of 50,000, by the medians of {ROUNDS}");
    assert!(growth <= MOST_GROWTH, "more than {MOST_GROWTH}");
}

fn median(mut peaks: Vec<u64>) -> u64 {
    peaks.sort_unstable();
    peaks[peaks.len() / 2]
}

/// Peak resident bytes and seconds, from the program's summary.
fn run(input: &Path, model: &Path) -> (u64, String) {
    // A directory per run, so that each run starts with an empty cache.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("pipeline.toml");
    let output = directory.path().join("out.parquet");
    std::fs::write(&config, format!("[input]\npath = {input:?}\n[output]\npath = {output:?}\n"))
        .expect("a configuration");
    let done = Command::new(env!("CARGO_BIN_EXE_reembed"))
        .args(["run", "--quiet", "--config"])
        .arg(&config)
        .arg("--model-path")
        .arg(model)
        .output()
        .expect("the program starts");
    let summary = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let field = |name: &str| {
        let line = summary.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {summary}")).trim().to_owned()
    };
    let peak = field("peak memory");
    let (number, unit) = peak.split_once(' ').expect("a size and its unit");
    let scale = match unit {
        "MB" => 1e6,
        "GB" => 1e9,
        other => panic!("unknown unit of the peak: {other}"),
    };
    let seconds = field("seconds");
    let bytes = number.parse::<f64>().expect("a number") * scale;
    (bytes as u64, seconds.split(' ').next().unwrap_or("").to_owned())
}
