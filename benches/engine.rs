//! The packed engine's parts on MiniLM's shapes: products against the machine's own peak of fused multiply-adds,
//! attention, activation, layer norm. `cargo bench --bench engine`
//!
//! Throughput is in floating-point operations per second where the name says flop, else in values.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use reembed::kernels::{
    Activation, AlignedBuffer, Arena, Arithmetic, Dense, Form, Heads, Isa, LayerNorm, Linear,
    Precision, TileUnit, attention, attention_scratch, fused_multiply_adds,
};

/// Tokens of a block of the forward pass.
const ROWS: usize = 48;
/// (inputs, outputs) of the linear layers.
const LAYERS: [(&str, usize, usize); 4] = [
    ("qkv", 384, 1152),
    ("attention output", 384, 384),
    ("intermediate", 384, 1536),
    ("output", 1536, 384),
];
const HEADS: Heads = Heads { count: 12, size: 32 };

fn peak(criterion: &mut Criterion) {
    const ROUNDS: usize = 1 << 16;
    let mut group = criterion.benchmark_group("peak, flop");
    for isa in Isa::available() {
        group.throughput(Throughput::Elements(fused_multiply_adds(isa, ROUNDS) as u64));
        group.bench_function(isa.name(), |bench| {
            bench.iter(|| black_box(fused_multiply_adds(isa, black_box(ROUNDS))));
        });
    }
}

fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("linear, flop");
    for (name, inputs, outputs) in LAYERS {
        let linear = Linear::pack(inputs, &[(&values(inputs * outputs), &values(outputs))])
            .expect("there is memory");
        let (input, mut output) = (values(ROWS * inputs), values(ROWS * outputs));
        group.throughput(Throughput::Elements((2 * ROWS * inputs * outputs) as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(name, isa.name()), |bench| {
                bench.iter(|| linear.forward(isa, black_box(&input), None, &mut output));
            });
        }
    }
}

/// On AMX where it is there, else emulated; of bf16x3 its three products count as one.
fn tiles(criterion: &mut Criterion) {
    const TOKENS: usize = 1024;
    let mut group = criterion.benchmark_group("tiles, flop");
    let isa = Isa::detect();
    let unit = isa.tiles().and_then(Result::ok).unwrap_or(TileUnit::EMULATED);
    for precision in [Precision::Bf16, Precision::Bf16x3] {
        let with = Arithmetic::new(isa, precision, unit);
        for (name, inputs, outputs) in LAYERS {
            let weight = values(inputs * outputs);
            let parts: [(&[f32], &[f32]); 1] = [(&weight, &values(outputs))];
            let divided = [inputs, outputs].map(Heads::undivided);
            let layer = Dense::pack(with, divided[0], divided[1], &parts).expect("memory");
            let [from, to] = divided.map(|width| Form::of_layers(precision, TOKENS, width));
            let halves = from.room().and(to.room()).halves;
            let mut halves = AlignedBuffer::zeroed(halves).expect("memory");
            let mut arena = Arena { floats: &mut [], halves: &mut halves };
            let (input, mut output) = (from.take(&mut arena), to.take(&mut arena));
            group.throughput(Throughput::Elements((2 * TOKENS * inputs * outputs) as u64));
            group.bench_function(BenchmarkId::new(name, with), |bench| {
                bench.iter(|| layer.project(with, black_box(input.input()), &mut output));
            });
        }
    }
}

fn attentions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention, flop");
    for length in [8usize, 32, 64, 128, 256, 512] {
        let width = HEADS.width();
        let (qkv, mut context) = (values(length * 3 * width), values(length * width));
        let mut scratch = AlignedBuffer::zeroed(attention_scratch(length, HEADS)).expect("memory");
        group.throughput(Throughput::Elements((4 * length * length * width) as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(isa.name(), length), |bench| {
                bench.iter(|| attention(isa, black_box(&qkv), HEADS, &mut scratch, &mut context));
            });
        }
    }
}

fn elementwise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("elementwise, values");
    let width = 384;
    let norm = LayerNorm::new(&values(width), &values(width), 1e-12).expect("there is memory");
    let mut rows = values(ROWS * 1536);
    for isa in Isa::available() {
        group.throughput(Throughput::Elements(rows.len() as u64));
        group.bench_function(BenchmarkId::new("gelu", isa.name()), |bench| {
            bench.iter(|| Activation::Gelu.apply(isa, black_box(&mut rows)));
        });
        let rows = &mut rows[..ROWS * width];
        group.throughput(Throughput::Elements(rows.len() as u64));
        group.bench_function(BenchmarkId::new("layer norm", isa.name()), |bench| {
            bench.iter(|| norm.normalize(isa, black_box(rows)));
        });
    }
}

/// Values between −1 and 1 that are the same on every machine.
fn values(count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7919 + 13) % 2003) as f32 / 1001.5 - 1.0).collect()
}

criterion_group!(engine, peak, products, tiles, attentions, elementwise);
criterion_main!(engine);
