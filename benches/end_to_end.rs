//! 1,000 sample rows in memory against the same rows from Parquet to Parquet, model load excluded.
//! `cargo bench --bench end_to_end`
//!
//! `REEMBED_…` variables apply.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends where it cannot go on"
)]

mod common;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reembed::pipeline::{self, Models, Opened};
use reembed::publish::{LockHolder, OutputLock};
use reembed::{BatchOptions, Config, Embedder};
use reembed_cli::sample;
use reembed_encoder::stop::Stop;

use common::{environment, model, sample_rows};

const ROWS: usize = 1000;

fn end_to_end(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("end to end");
    group.sample_size(10).throughput(Throughput::Elements(ROWS as u64));

    let rows = sample_rows(ROWS);
    let embedder = Embedder::new(model().1);
    group.bench_function("in memory", |bench| {
        let embed = || embedder.compute_embeddings_batch(&rows, &BatchOptions::default());
        bench.iter(|| embed().expect("vectors"));
    });

    let directory = tempfile::tempdir().expect("a temporary directory");
    let (input, output) =
        (directory.path().join("in.parquet"), directory.path().join("out.parquet"));
    sample::write_tasks(&input, rows).expect("an input");
    let file = directory.path().join("pipeline.toml");
    // Every pass embeds every row and writes a new file.
    let text = format!("input.path = {input:?}\noutput.path = {output:?}\ncache.mode = \"off\"\n");
    std::fs::write(&file, text).expect("a configuration");
    let config = Config::load(&file, &[], &environment()).expect("a configuration");
    let model = model().1;
    group.bench_function("parquet to parquet", |bench| {
        bench.iter(|| {
            let _ = std::fs::remove_file(&output);
            let (reader, _) = pipeline::prepare(&config).expect("a job");
            let lock = OutputLock::acquire(&config, LockHolder::ThisProcess, &reader)
                .expect("the output is free");
            let stop = Stop::new();
            let models = Models::shared(&model, 1);
            let opened = Opened { reader: &reader, lock: &lock, models: &models };
            pipeline::run_with(&config, None, &opened, &stop, &|_| ()).expect("a report")
        });
    });
}

criterion_group!(benches, end_to_end);
criterion_main!(benches);
