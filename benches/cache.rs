//! What the vector cache costs and saves over the whole program: 100,000 rows, vectors of 384 components, a
//! seeded model of one layer. `cargo bench --bench cache`
//!
//! Runs for a few minutes and prints the seconds per mode: no cache, an empty cache, the same file again, and
//! 1 % of the rows changed. Fails if the second run misses its throughput target.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends where it cannot go on"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use reembed::TaskRow;
use reembed_testing::model_directory::ModelDirectory;

const ROWS: u64 = 100_000;
/// One row in `CHANGED` is changed.
const CHANGED: usize = 100;
const REPEATS: usize = 3;
/// Minimum rows per second of a run that finds every vector in the cache.
const PROMISED: f64 = 50_000.0;

fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let model = ModelDirectory::tiny()
        .hidden(384)
        .heads(12)
        .layers(1)
        .intermediate(1536)
        .max_seq_length(32)
        .write();
    let bench = Bench { directory: directory.path().to_owned(), model: model.path().to_owned() };
    let same = bench.input("same", |_, row| row);
    let changed = bench.input("changed", |n, mut row| {
        if n % CHANGED == 0 {
            row.title = Some(format!("changed {}", row.title.unwrap_or_default()));
        }
        row
    });

    let without = bench.run(&same, "off");
    let first = bench.run(&same, "read-write");
    let (mut again, mut with_changes) = (Vec::new(), Vec::new());
    let kept = bench.cache();
    let copy = directory.path().join("kept");
    std::fs::copy(&kept, &copy).expect("a copy of the cache");
    for _ in 0..REPEATS {
        again.push(bench.run(&same, "read-write"));
        with_changes.push(bench.run(&changed, "read-write"));
        // Each run changes the rows to new texts.
        std::fs::copy(&copy, &kept).expect("the cache as it was");
    }
    let (again, with_changes) = (median(again), median(with_changes));
    let rows = ROWS as f64;
    let encoding = without - again;
    println!("without a cache        {without:7.2} s");
    println!(
        "with a fresh cache     {first:7.2} s, {:.1} µs a row more",
        (first - without) / rows * 1e6
    );
    println!("nothing changed        {again:7.2} s, {:.0} rows/s", rows / again);
    println!(
        "1 % of the rows changed {with_changes:6.2} s, {:.2} of lookups and 1 % of the encoding",
        with_changes / (again + encoding / CHANGED as f64)
    );
    assert!(rows / again >= PROMISED, "fewer than {PROMISED} rows/s");
}

struct Bench {
    directory: PathBuf,
    model: PathBuf,
}

impl Bench {
    fn input(&self, name: &str, change: impl Fn(usize, TaskRow) -> TaskRow) -> PathBuf {
        let path = self.directory.join(name).with_extension("parquet");
        let rows =
            reembed_cli::sample::task_rows(ROWS, 1).enumerate().map(|(n, row)| change(n, row));
        reembed_cli::sample::write_tasks(&path, rows).expect("a sample");
        path
    }

    fn cache(&self) -> PathBuf {
        self.directory.join("_reembed/out.parquet.cache")
    }

    /// The seconds of one run, model load excluded.
    fn run(&self, input: &Path, mode: &str) -> f64 {
        let config = self.directory.join("pipeline.toml");
        let output = self.directory.join("out.parquet");
        let text = format!(
            "[input]\npath = {input:?}\n[output]\npath = {output:?}\n[cache]\nmode = {mode:?}\n"
        );
        std::fs::write(&config, text).expect("a configuration");
        let done = Command::new(env!("CARGO_BIN_EXE_reembed"))
            .args(["run", "--quiet", "--config"])
            .arg(&config)
            .arg("--model-path")
            .arg(&self.model)
            .output()
            .expect("the program starts");
        let summary = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let line = |name: &str| {
            let line = summary.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {summary}")).trim().to_owned()
        };
        println!("{mode}: {}, {}", line("vectors"), line("seconds"));
        line("seconds").split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
