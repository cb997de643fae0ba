//! Attention of one text over its length, softmax included, on one core: its products against the machine's peak of
//! fused multiply-adds. `cargo bench --bench attention`

mod common;

use std::hint::black_box;

use common::{Peak, against_peak, timed_isas, values};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use reembed::kernels::{AlignedBuffer, Heads, attention, attention_scratch};

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
    }
}

criterion_group!(benches, attentions);
criterion_main!(benches);
