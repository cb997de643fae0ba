//! all-MiniLM-L6-v2 from token IDs to vectors, for texts of 32, 128 and 256 tokens: a single text, and a
//! batch that keeps every core busy. In f32, each is compared with the peak FMA rate of the cores in use.
//!
//! `cargo bench --bench forward`
//!
//! `REEMBED_…` variables apply: `REEMBED_COMPUTE_ISA=avx2 cargo bench --bench forward`.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends where it cannot go on"
)]

mod common;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use reembed::config::Engine;
use reembed_encoder::batch::TokenBatch;
use reembed_kernels::{Isa, Precision};

use common::{Peak, against_peak, model};

const LENGTHS: [usize; 3] = [32, 128, 256];

/// Tokens of the larger batch.
const BATCH_TOKENS: usize = 8192;

// The architecture of all-MiniLM-L6-v2.
const LAYERS: usize = 6;
const HIDDEN: usize = 384;
const INTERMEDIATE: usize = 1536;

/// Floating-point operations of a text's matrix products: the linear layers and the two of attention.
fn operations(length: usize) -> f64 {
    let linear = 2 * length * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INTERMEDIATE);
    let attention = 4 * length * length * HIDDEN;
    (LAYERS * (linear + attention)) as f64
}

fn forward(criterion: &mut Criterion) {
    let (config, model) = model();
    let encoder = model.encoder.as_ref();
    let (isa, shares_a_text) = match config.engine {
        Engine::Packed => (config.isa().expect("a loaded model"), false),
        Engine::Candle(_) => (Isa::detect(), true),
    };
    let cores = |texts: usize| match config.threads().get() {
        all if shares_a_text => all,
        // A single text runs on one core.
        all => all.min(texts),
    };
    println!("{}, {}", encoder.numerics(), model.facts.runs_on);
    let mut group = criterion.benchmark_group("forward");
    group.sample_size(10);
    for length in LENGTHS {
        for (name, texts) in [("one text", 1), ("a batch", BATCH_TOKENS / length)] {
            let mut batch = TokenBatch::default();
            for row in 0..texts {
                batch.push(row, &text(row, length));
            }
            let mut vectors = vec![0.0; texts * encoder.dim()];
            let peak = Peak { isa, cores: cores(texts) };
            let peak = (encoder.precision() == Precision::F32).then_some(peak);
            let operations = texts as f64 * operations(length);
            let id = BenchmarkId::new(name, length);
            against_peak(&mut group, id, peak, operations, || {
                encoder.encode(black_box(&batch), &mut vectors).expect("vectors");
            });
        }
    }
}

/// Token IDs between the special tokens: `[CLS] … [SEP]`.
fn text(row: usize, length: usize) -> Vec<u32> {
    let word = |at: usize| 2000 + ((row * 7919 + at * 104_729) % 20_000) as u32;
    let mut ids: Vec<u32> = (0..length).map(word).collect();
    (ids[0], ids[length - 1]) = (101, 102);
    ids
}

criterion_group!(benches, forward);
criterion_main!(benches);
