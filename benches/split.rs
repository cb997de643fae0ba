//! What several processes gain that embed one table together. `cargo bench --bench split`
//!
//! One table of 20,000 rows in 20 row groups, with a seeded model of the shape of all-MiniLM-L6-v2: embedded by one process with
//! one thread and with all threads of this machine, and by 2 and 4 processes that share them. Rounds are interleaved. On a busy
//! machine only the seconds of CPU can be compared: they tell what splitting costs.
//! `cargo bench --bench split -- 2000 3` takes 2,000 rows and three rounds.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends where it cannot go on"
)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use reembed_testing::model_directory::ModelDirectory;

const ROWS: usize = 20_000;
const ROUNDS: usize = 5;
const ROW_GROUPS: usize = 20;
/// Most words of a text, so that batches are like those of task rows.
const WORDS: usize = 40;

fn main() {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let (rows, rounds) = (numbers.next().unwrap_or(ROWS), numbers.next().unwrap_or(ROUNDS));
    let cores = available_parallelism().map_or(1, usize::from);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    let model = ModelDirectory::tiny()
        .hidden(384)
        .heads(12)
        .layers(6)
        .intermediate(1536)
        .max_seq_length(256)
        .write();
    write_table(&directory.join("in/table.parquet"), rows);
    // Processes, and threads of each.
    let ways = [(1, 1), (1, cores), (2, (cores / 2).max(1)), (4, (cores / 4).max(1))];
    let mut seconds = vec![Vec::with_capacity(rounds); ways.len()];
    let mut cpu = vec![Vec::with_capacity(rounds); ways.len()];
    let mut expected: Option<Vec<u8>> = None;
    for _ in 0..rounds {
        for (((processes, threads), seconds), cpu) in ways.iter().zip(&mut seconds).zip(&mut cpu) {
            let cpu_before = cpu_of_children();
            let _ = fs::remove_dir_all(directory.join("out"));
            let started = Instant::now();
            let children: Vec<Child> = (1..=*processes)
                .map(|index| {
                    let shard = format!("{index}/{processes}");
                    start(model.path(), directory, &shard, rows.div_ceil(ROW_GROUPS), *threads)
                })
                .collect();
            for child in children {
                let ended = child.wait_with_output().expect("a child");
                assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
            }
            seconds.push(started.elapsed().as_secs_f64());
            cpu.push(cpu_of_children() - cpu_before);
            let output = fs::read(directory.join("out/table.parquet")).expect("an output");
            let same = expected.get_or_insert_with(|| output.clone()) == &output;
            assert!(same, "{processes} processes wrote other bytes");
        }
    }
    println!("{rows} rows in {ROW_GROUPS} row groups, {cores} cores, {rounds} interleaved rounds");
    let mut alone: Option<f64> = None;
    for (((processes, threads), seconds), cpu) in ways.iter().zip(&mut seconds).zip(&mut cpu) {
        seconds.sort_by(f64::total_cmp);
        cpu.sort_by(f64::total_cmp);
        let median = seconds[rounds / 2];
        println!(
            "processes {processes}, threads of each {threads}: {median:6.2} s ({:.2} to {:.2}), {:.0} rows/s, {:.2} times as fast, CPU {:.2} s ({:.2} to {:.2})",
            seconds[0],
            seconds[rounds - 1],
            rows as f64 / median,
            *alone.get_or_insert(median) / median,
            cpu[rounds / 2],
            cpu[0],
            cpu[rounds - 1]
        );
    }
}

/// Seconds of CPU that the children of this process have used that have ended; 0 without `/proc`.
fn cpu_of_children() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may have blanks: state, and 12 numbers before those of the children.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().skip(13).take(2).filter_map(|n| n.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

fn write_table(path: &Path, rows: usize) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
    let text = |row: usize| {
        let words =
            (0..4 + row * 7919 % WORDS).map(|word| ((row + 1) * (word + 3) % 977).to_string());
        words.collect::<Vec<_>>().join(" ") + &format!(" {row}")
    };
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(text)));
    let batch = RecordBatch::try_from_iter([("id", ids), ("text", texts)]).expect("a batch");
    let file = fs::File::create(path).expect("a file");
    let of_group = rows.div_ceil(ROW_GROUPS).max(1);
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(of_group)).build();
    let mut writer =
        ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
}

fn start(model: &Path, directory: &Path, shard: &str, split_rows: usize, threads: usize) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reembed"));
    command.args(["run", "in", "out", "--quiet", "--no-supervise", "--text", "text"]);
    command.args(["--shard", shard, "--split-rows", &split_rows.to_string()]);
    command.args(["--threads", &threads.to_string(), "--model-path"]).arg(model);
    command.current_dir(directory).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("a child")
}
