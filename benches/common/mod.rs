//! What the benches share: input values, the machine's own ceiling, and rates as parts of it.

#![allow(dead_code)] // Each bench takes what it needs.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Throughput};
use reembed::kernels::{Isa, fused_multiply_adds};
use reembed::model::{self, Model};
use reembed::{Environment, ModelConfig, TaskRow, build_input_text, sample};

/// Name, inputs and outputs of each linear layer of all-MiniLM-L6-v2.
pub const LAYERS: [(&str, usize, usize); 4] = [
    ("query, key and value", 384, 1152),
    ("attention output", 384, 384),
    ("feed-forward in", 384, 1536),
    ("feed-forward out", 1536, 384),
];

/// The environment of whoever runs the bench.
pub fn environment() -> Environment {
    Environment::new(std::env::vars())
}

/// all-MiniLM-L6-v2, fetched if it is not there, on what the environment says.
pub fn model() -> (ModelConfig, Model) {
    let config = ModelConfig::standard(&environment()).expect("a configuration");
    let model = model::load(&config, &|_| ()).expect("the model");
    (config, model)
}

/// The first `count` rows of the sample that have a text, as `reembed bench` takes them.
pub fn sample_rows(count: usize) -> Vec<TaskRow> {
    let rows = sample::task_rows(u64::MAX, sample::DEFAULT_SEED);
    rows.filter(|row| !build_input_text(row).is_empty()).take(count).collect()
}

/// Values between −1 and 1 that are the same on every machine.
pub fn values(count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7919 + 13) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// The instruction sets of this CPU, without the portable one where there is another: on x86-64 it computes fused
/// multiply-adds by software, hundreds of times as slowly.
pub fn timed_isas() -> Vec<Isa> {
    let mut isas: Vec<Isa> = Isa::available().collect();
    if isas.len() > 1 {
        isas.retain(|isa| isa.name() != "portable");
    }
    isas
}

/// Floating-point operations a second of one core whose fused multiply-adds never leave the registers.
pub fn ceiling(isa: Isa) -> f64 {
    const TRIES: usize = 10;
    const ROUNDS: usize = 1 << 15;
    let rate = |_| {
        let started = Instant::now();
        let operations = fused_multiply_adds(isa, black_box(ROUNDS));
        operations / started.elapsed().as_secs_f64()
    };
    (0..TRIES).map(rate).fold(0.0, f64::max)
}

/// Measures `work`, which takes `operations` floating-point operations, and says what part of the ceiling of `cores`
/// cores its fastest sample reached. The ceiling is measured right before: a shared machine is not always the
/// same.
pub fn against_ceiling(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    isa: Isa,
    cores: usize,
    operations: f64,
    mut work: impl FnMut(),
) {
    let ceiling = ceiling(isa) * cores as f64;
    let fastest = Cell::new(f64::INFINITY);
    group.throughput(Throughput::Elements(operations as u64));
    group.bench_function(id, |bench| {
        bench.iter_custom(|times| {
            let started = Instant::now();
            (0..times).for_each(|_| work());
            let elapsed: Duration = started.elapsed();
            fastest.set(fastest.get().min(elapsed.as_secs_f64() / times as f64));
            elapsed
        });
    });
    // A filter on the command line may have left it out.
    if fastest.get().is_finite() {
        let rate = operations / fastest.get();
        println!(
            "{:24}{:.1} GFLOP/s, {:.0} % of {:.1} ({}, {})\n",
            "",
            rate / 1e9,
            100.0 * rate / ceiling,
            ceiling / 1e9,
            isa.name(),
            if cores == 1 { "one core".to_owned() } else { format!("{cores} cores") },
        );
    }
}
