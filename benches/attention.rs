//! Attention of one text over its length, softmax included, on one core: in f32, its products against the machine's peak
//! of fused multiply-adds; and in the precision of bf16 that this CPU multiplies. `cargo bench --bench attention`

mod common;

use std::hint::black_box;

use common::{Peak, against_peak, timed_isas, values};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use reembed::kernels::{
    AlignedBuffer, Arena, Arithmetic, Dense, Form, Heads, Isa, LayerNorm, Precision, Residual,
    attend, attend_room, attention, attention_scratch,
};

/// Those of all-MiniLM-L6-v2.
const HEADS: Heads = Heads { count: 12, size: 32 };

/// Tokens of a text; 41 is the median of the sample.
const LENGTHS: [usize; 10] = [8, 16, 24, 32, 41, 64, 100, 128, 256, 512];

fn attentions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    let width = HEADS.width();
    for length in LENGTHS {
        let (qkv, mut context) = (values(length * 3 * width), values(length * width));
        let mut scratch =
            AlignedBuffer::zeroed(attention_scratch(length, HEADS)).expect("there is memory");
        // Scores, and the sum of the values: the exponentials are not counted.
        let operations = (4 * length * length * width) as f64;
        for isa in timed_isas() {
            let id = BenchmarkId::new(isa.name(), length);
            against_peak(&mut group, id, Some(Peak::of_one_core(isa)), operations, || {
                attention(isa, black_box(&qkv), HEADS, &mut scratch, &mut context);
            });
        }
        for precision in [Precision::Bf16, Precision::Bf16Avx512] {
            let isa = Isa::detect();
            if let Some(Ok(unit)) = isa.unit(precision) {
                tiles(&mut group, Arithmetic::new(isa, precision, unit), length, operations);
            }
        }
    }
}

/// The same over tiles. What attention reads is what a projection wrote.
fn tiles(
    group: &mut BenchmarkGroup<'_, WallTime>,
    with: Arithmetic,
    length: usize,
    operations: f64,
) {
    let (precision, width) = (with.precision(), Heads::undivided(HEADS.width()));
    let (weight, bias) = (values(3 * width.size * width.size), values(3 * width.size));
    let layer = Dense::pack(with, width, HEADS, &[(&weight, &bias)]).expect("there is memory");
    let three = Heads { count: 3 * HEADS.count, size: HEADS.size };
    let qkv = Form::of_sequences(precision, length, three);
    let context = Form::of_layers(precision, length, HEADS);
    let scratch = attend_room(precision, length, HEADS);
    let hidden = Residual::room(precision, length, width.size);
    let room =
        [context.room(), scratch, hidden].into_iter().fold(qkv.room(), |sum, room| sum.and(room));
    let mut floats = AlignedBuffer::zeroed(room.floats).expect("there is memory");
    let mut halves = AlignedBuffer::zeroed(room.halves).expect("there is memory");
    let mut arena = Arena { floats: &mut floats, halves: &mut halves };
    let mut hidden = Residual::take(precision, length, width.size, &mut arena);
    let (mut qkv, mut context) = (qkv.take(&mut arena), context.take(&mut arena));
    let mut scratch = arena.take(scratch);
    let norm = LayerNorm::new(&vec![0.05; width.size], &vec![0.0; width.size], 1e-12);
    hidden.begin(with, &norm.expect("there is memory"), |rows| {
        rows.copy_from_slice(&values(length * width.size));
    });
    layer.project(with, hidden.input(), &mut qkv);
    against_peak(group, BenchmarkId::new(with.to_string(), length), None, operations, || {
        attend(with, black_box(&qkv), HEADS, 0..length, &mut scratch, &mut context);
    });
}

criterion_group!(benches, attentions);
criterion_main!(benches);
