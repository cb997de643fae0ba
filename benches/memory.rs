//! Peak memory does not grow with the number of rows: 50,000 against 1,000,000 rows through the whole program,
//! with a tiny seeded model. `cargo bench --bench memory`, or `cargo test --bench memory`, which builds less.
//!
//! It runs for some minutes, prints both peaks and fails when they differ by more than 10 %.

#[path = "../tests/common/model_folder.rs"]
mod model_folder;

use std::path::Path;
use std::process::Command;

use model_folder::ModelFolder;

const ROWS: [u64; 2] = [50_000, 1_000_000];
const MOST_GROWTH: f64 = 1.10;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = ModelFolder::tiny().max_seq_length(16).write();
    let peaks = ROWS.map(|rows| {
        let input = folder.path().join(format!("{rows}.parquet"));
        reembed::writer::write_tasks(&input, reembed::sample::task_rows(rows, 1))
            .expect("a sample");
        let (peak, seconds) = run(folder.path(), &input, model.path());
        println!("{rows:>9} rows: peak resident {:.1} MB, {seconds} s", peak as f64 / 1e6);
        peak as f64
    });
    let growth = peaks[1] / peaks[0];
    println!("1,000,000 rows take {growth:.3} × the memory of 50,000");
    assert!(growth <= MOST_GROWTH, "more than {MOST_GROWTH}");
}

/// The program's own account: peak resident bytes and seconds, out of its summary.
fn run(folder: &Path, input: &Path, model: &Path) -> (u64, String) {
    let config = folder.join("pipeline.toml");
    let output = folder.join("out.parquet");
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
        other => panic!("a peak in {other}"),
    };
    let seconds = field("seconds");
    let bytes = number.parse::<f64>().expect("a number") * scale;
    (bytes as u64, seconds.split(' ').next().unwrap_or("").to_owned())
}
