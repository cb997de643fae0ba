//! Helpers shared by the benches: input values, the machine's peak, and rates relative to it.

#![allow(dead_code)] // Each bench uses a part of it.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Throughput};
use reembed::{Environment, ModelConfig, TaskRow, build_input_text};
use reembed_cli::peak;
use reembed_cli::sample;
use reembed_encoder::model::{self, Model};
use reembed_kernels::{Isa, Precision};

/// Name, inputs and outputs of each linear layer of all-MiniLM-L6-v2.
pub const LAYERS: [(&str, usize, usize); 4] = [
    ("query, key and value", 384, 1152),
    ("attention output", 384, 384),
    ("feed-forward in", 384, 1536),
    ("feed-forward out", 1536, 384),
];

/// The environment of this process.
pub fn environment() -> Environment {
    Environment::new(std::env::vars())
}

/// all-MiniLM-L6-v2, downloaded if missing, as the environment configures it; f32 by default.
pub fn model() -> (ModelConfig, Model) {
    let mut config = ModelConfig::from_environment(&environment()).expect("a configuration");
    config.precision = config.precision.or(Some(Precision::F32));
    let model = model::load(&config, &|_| ()).expect("the model");
    (config, model)
}

/// The first `count` rows of the sample that have a text, the same rows as `reembed bench` uses.
pub fn sample_rows(count: usize) -> Vec<TaskRow> {
    let rows = sample::task_rows(u64::MAX, sample::DEFAULT_SEED);
    rows.filter(|row| !build_input_text(row).is_empty()).take(count).collect()
}

/// Deterministic values between −1 and 1, the same on every machine.
pub fn values(count: usize) -> Vec<f32> {
    (0..count).map(|at| ((at * 7919 + 13) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// The instruction sets of this CPU. The portable one is left out if there is another: on x86-64 it emulates
/// fused multiply-adds in software, hundreds of times slower.
pub fn timed_isas() -> Vec<Isa> {
    let mut isas: Vec<Isa> = Isa::available().collect();
    if isas.len() > 1 {
        isas.retain(|isa| isa.as_str() != "portable");
    }
    isas
}

/// The reference rate: the peak of f32 fused multiply-adds on the cores in use.
#[derive(Clone, Copy)]
pub struct Peak {
    pub isa: Isa,
    pub cores: usize,
}

impl Peak {
    pub fn of_one_core(isa: Isa) -> Self {
        Peak { isa, cores: 1 }
    }
}

/// Measures `work`, which does `operations` floating-point operations, and prints the rate of the fastest
/// sample, for f32 also as a part of the peak.
///
/// The peak is measured just before, on as many cores: a shared machine varies, and all-core clocks are often
/// lower.
pub fn against_peak(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    peak: Option<Peak>,
    operations: f64,
    mut work: impl FnMut(),
) {
    let peak = peak.map(|of| {
        let cores = NonZeroUsize::new(of.cores).expect("a core");
        (of, peak::measure(of.isa, cores).expect("threads"))
    });
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
    // A filter on the command line may exclude this bench.
    if !fastest.get().is_finite() {
        return;
    }
    let rate = operations / fastest.get();
    let part = match peak {
        None => String::new(),
        Some((Peak { isa, cores }, peak)) => format!(
            ", {:.0} % of {:.1} ({}, {})",
            100.0 * rate / peak,
            peak / 1e9,
            isa.as_str(),
            if cores == 1 { "one core".to_owned() } else { format!("{cores} cores") },
        ),
    };
    println!("{:24}{:.1} GFLOP/s{part}\n", "", rate / 1e9);
}
