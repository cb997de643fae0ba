//! Texts to token IDs on one thread: 1,000 sample rows, and a text far above the maximum length.
//! `cargo bench --bench tokenize`

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends where it cannot go on"
)]

mod common;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reembed::build_input_text;

use common::{model, sample_rows};

fn tokenize(criterion: &mut Criterion) {
    let (_, model) = model();
    let tokenizer = &model.tokenizer;
    let mut group = criterion.benchmark_group("tokenize");
    group.sample_size(20);

    let texts: Vec<String> = sample_rows(1000).iter().map(build_input_text).collect();
    group.throughput(Throughput::Elements(texts.len() as u64));
    group.bench_function("1,000 sample rows", |bench| {
        bench.iter(|| {
            for text in &texts {
                black_box(tokenizer.tokenize(text).expect("ids"));
            }
        });
    });

    let long = "Investigate the slow nightly job; it re-embeds 1,000 tasks. ".repeat(20_000);
    group.throughput(Throughput::Bytes(long.len() as u64));
    group.bench_function("a text of 1.2 MB", |bench| {
        bench.iter(|| black_box(tokenizer.tokenize(&long).expect("ids")));
    });
}

criterion_group!(benches, tokenize);
criterion_main!(benches);
