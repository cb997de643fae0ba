//! Element-wise steps between the matrix products: activation, layer norm with and without the residual,
//! pooling, normalisation. Values per second on one core.
//!
//! `cargo bench --bench elementwise`

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends where it cannot go on"
)]

mod common;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reembed_kernels::{Activation, LayerNorm, l2_normalize, mean_of_rows};

use common::{timed_isas, values};

/// Rows processed together; rows of 1,536 values stay in the L2 cache.
const ROWS: usize = 48;
const HIDDEN: usize = 384;
const INTERMEDIATE: usize = 1536;

fn activations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("activation");
    let input = values(ROWS * INTERMEDIATE);
    let mut rows = input.clone();
    group.throughput(Throughput::Elements(rows.len() as u64));
    for (name, activation) in [("gelu", Activation::Gelu), ("gelu-tanh", Activation::GeluTanh)] {
        for isa in timed_isas() {
            group.bench_function(BenchmarkId::new(name, isa.as_str()), |bench| {
                bench.iter(|| {
                    // Repeated application would shrink the values to denormals.
                    rows.copy_from_slice(&input);
                    activation.apply(isa, black_box(&mut rows));
                });
            });
        }
    }
}

fn norms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("norm");
    let norm = LayerNorm::new(&values(HIDDEN), &values(HIDDEN), 1e-12).expect("memory");
    let mut rows = values(ROWS * HIDDEN);
    group.throughput(Throughput::Elements(rows.len() as u64));
    for isa in timed_isas() {
        group.bench_function(BenchmarkId::new("layer norm", isa.as_str()), |bench| {
            bench.iter(|| norm.normalize(isa, black_box(&mut rows)));
        });
    }
    let projected = values(ROWS * HIDDEN);
    for isa in timed_isas() {
        group.bench_function(BenchmarkId::new("residual and layer norm", isa.as_str()), |bench| {
            bench.iter(|| norm.add_and_normalize(isa, black_box(&projected), &mut rows));
        });
    }
    for isa in timed_isas() {
        group.bench_function(BenchmarkId::new("length", isa.as_str()), |bench| {
            bench.iter(|| {
                for row in rows.chunks_exact_mut(HIDDEN) {
                    l2_normalize(isa, black_box(row));
                }
            });
        });
    }
    let mut mean = vec![0.0; HIDDEN];
    group.bench_function("mean pooling", |bench| {
        bench.iter(|| mean_of_rows(black_box(&rows), &mut mean));
    });
}

criterion_group!(benches, activations, norms);
criterion_main!(benches);
