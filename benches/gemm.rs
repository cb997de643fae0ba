//! The linear layers of all-MiniLM-L6-v2 on one core, each against the machine's peak FMA rate.
//! `cargo bench --bench gemm`

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
use reembed_kernels::F32Linear;

use common::{LAYERS, Peak, against_peak, timed_isas, values};

/// Rows that pass through a layer together: one block of the forward pass.
const ROWS: usize = 48;

fn gemm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gemm");
    for (name, inputs, outputs) in LAYERS {
        let linear = F32Linear::pack(inputs, &[(&values(inputs * outputs), &values(outputs))])
            .expect("memory");
        let (input, mut output) = (values(ROWS * inputs), values(ROWS * outputs));
        let operations = (2 * ROWS * inputs * outputs) as f64;
        for isa in timed_isas() {
            let id = BenchmarkId::new(name, isa.as_str());
            against_peak(&mut group, id, Some(Peak::of_one_core(isa)), operations, || {
                linear.forward(isa, black_box(&input), None, &mut output);
            });
        }
    }
}

criterion_group!(benches, gemm);
criterion_main!(benches);
