//! Attention over one text on one core, softmax included. In f32 the throughput is compared with the peak FMA
//! rate of the machine; in bf16 it uses the instructions of this CPU. `cargo bench --bench attention`

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and ends where it cannot go on"
)]

mod common;

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use reembed_kernels::{
    AlignedBuffer, Arena, Arithmetic, Bf16Unit, BufferLayout, BufferSize, Dense, Heads, Isa,
    LayerNorm, Precision, Residual, ScoreBias, attend, attend_f32, attend_f32_scratch_len,
    attend_scratch_size,
};

use common::{Peak, against_peak, timed_isas, values};

/// Attention heads and head width of all-MiniLM-L6-v2.
const HEADS: Heads = Heads { count: 12, size: 32 };

/// Tokens of a text; the median of the sample is 41.
const LENGTHS: [usize; 10] = [8, 16, 24, 32, 41, 64, 100, 128, 256, 512];

fn attentions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    let width = HEADS.width();
    for length in LENGTHS {
        let (qkv, mut context) = (values(length * 3 * width), values(length * width));
        let mut scratch =
            AlignedBuffer::zeroed(attend_f32_scratch_len(length, HEADS)).expect("memory");
        // The scores and the weighted sum of the values; the exponentials are not counted.
        let operations = (4 * length * length * width) as f64;
        for isa in timed_isas() {
            let id = BenchmarkId::new(isa.as_str(), length);
            against_peak(&mut group, id, Some(Peak::of_one_core(isa)), operations, || {
                attend_f32(isa, black_box(&qkv), HEADS.into(), None, &mut scratch, &mut context);
            });
        }
        for precision in [Precision::Bf16, Precision::Bf16Avx512] {
            let isa = Isa::detect();
            if let Some(Ok(unit)) = Bf16Unit::detect(isa, precision) {
                tiles(&mut group, Arithmetic::new(isa, precision, unit), length, operations);
            }
        }
    }
}

/// The same over bf16 tiles. Attention reads the output of a projection.
fn tiles(
    group: &mut BenchmarkGroup<'_, WallTime>,
    with: Arithmetic,
    length: usize,
    operations: f64,
) {
    let (precision, width) = (with.precision(), Heads::single(HEADS.width()));
    let (weight, bias) = (values(3 * width.size * width.size), values(3 * width.size));
    let layer = Dense::pack(with, width, HEADS, &[(&weight, &bias)]).expect("memory");
    let three = Heads { count: 3 * HEADS.count, size: HEADS.size };
    let qkv = BufferLayout::for_attention(precision, length, three);
    let context = BufferLayout::for_linear(precision, length, HEADS);
    let scratch = attend_scratch_size(precision, length, HEADS);
    let hidden = Residual::size(precision, length, width.size);
    let room =
        [context.size(), scratch, hidden].into_iter().fold(qkv.size(), BufferSize::saturating_add);
    let mut floats = AlignedBuffer::zeroed(room.floats).expect("memory");
    let mut halves = AlignedBuffer::zeroed(room.halves).expect("memory");
    let mut arena = Arena { floats: &mut floats, halves: &mut halves };
    let mut hidden = Residual::take(precision, length, width.size, &mut arena);
    let (mut qkv, mut context) = (qkv.take(&mut arena), context.take(&mut arena));
    let mut scratch = arena.take(scratch);
    let norm = LayerNorm::new(&vec![0.05; width.size], &vec![0.0; width.size], 1e-12);
    hidden.fill_and_normalize(with, &norm.expect("memory"), |rows| {
        rows.copy_from_slice(&values(length * width.size));
    });
    layer.project(with, hidden.as_input(), &mut qkv);
    against_peak(group, BenchmarkId::new(with.to_string(), length), None, operations, || {
        attend(with, black_box(&qkv), HEADS.into(), None, 0..length, &mut scratch, &mut context);
    });
}

/// Attention heads and head width of ModernBERT-base, and the keys that a local layer sees on each side.
const LONG_HEADS: Heads = Heads { count: 12, size: 64 };
const WINDOW: usize = 64;

/// Tokens of a long text.
const LONG_LENGTHS: [usize; 3] = [512, 2048, 8192];

/// Long texts in f32: layers that see everything, and layers with a window.
fn long_attentions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention of long texts");
    let isa = Isa::detect();
    let width = LONG_HEADS.width();
    let window = ScoreBias::window([Some(WINDOW); 2]).expect("memory");
    for length in LONG_LENGTHS {
        let (qkv, mut context) = (values(length * 3 * width), values(length * width));
        let scratch = attend_f32_scratch_len(length, LONG_HEADS);
        let mut scratch = AlignedBuffer::zeroed(scratch).expect("memory");
        for (name, bias, seen) in
            [("all", None, length), ("window", Some(&window), (2 * WINDOW + 1).min(length))]
        {
            let operations = (4 * length * seen * width) as f64;
            let (id, peak) = (BenchmarkId::new(name, length), Some(Peak::of_one_core(isa)));
            against_peak(&mut group, id, peak, operations, || {
                attend_f32(
                    isa,
                    black_box(&qkv),
                    LONG_HEADS.into(),
                    bias,
                    &mut scratch,
                    &mut context,
                );
            });
        }
    }
}

criterion_group!(benches, attentions, long_attentions);
criterion_main!(benches);
