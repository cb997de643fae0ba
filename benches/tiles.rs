//! The linear layers of all-MiniLM-L6-v2 in every bf16 precision on one core: with AMX if the CPU has it,
//! otherwise emulated. The three products of bf16x3 count as one. `cargo bench --bench tiles`

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
use reembed_kernels::{
    AlignedBuffer, Arena, Arithmetic, Bf16Unit, BufferLayout, Dense, Heads, Isa, LayerNorm,
    Precision, Residual,
};

use common::{LAYERS, values};

/// Tokens that pass through one layer before the next.
const TOKENS: usize = 1024;

fn tiles(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tiles, operations");
    let isa = Isa::detect();
    for precision in [Precision::Bf16, Precision::Bf16x3, Precision::Bf16Avx512] {
        let unit =
            Bf16Unit::detect(isa, precision).and_then(Result::ok).unwrap_or(Bf16Unit::EMULATED);
        let with = Arithmetic::new(isa, precision, unit);
        for (name, inputs, outputs) in LAYERS {
            let weight = values(inputs * outputs);
            let parts: [(&[f32], &[f32]); 1] = [(&weight, &values(outputs))];
            let divided = [inputs, outputs].map(Heads::single);
            let layer = Dense::pack(with, divided[0], divided[1], &parts).expect("memory");
            // A layer reads the residual stream, which rounds its input.
            let to = BufferLayout::for_linear(precision, TOKENS, divided[1]);
            let room = Residual::size(precision, TOKENS, inputs).saturating_add(to.size());
            let mut floats = AlignedBuffer::zeroed(room.floats).expect("memory");
            let mut halves = AlignedBuffer::zeroed(room.halves).expect("memory");
            let mut arena = Arena { floats: &mut floats, halves: &mut halves };
            let mut input = Residual::take(precision, TOKENS, inputs, &mut arena);
            let mut output = to.take(&mut arena);
            let norm = LayerNorm::new(&vec![1.0; inputs], &vec![0.0; inputs], 1e-12);
            input.fill_and_normalize(with, &norm.expect("memory"), |rows| {
                rows.copy_from_slice(&values(TOKENS * inputs));
            });
            group.throughput(Throughput::Elements((2 * TOKENS * inputs * outputs) as u64));
            group.bench_function(BenchmarkId::new(name, with), |bench| {
                bench.iter(|| layer.project(with, black_box(input.as_input()), &mut output));
            });
        }
    }
}

criterion_group!(benches, tiles);
criterion_main!(benches);
