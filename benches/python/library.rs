//! The calls of `overhead.py` in Rust: one process loads the model, embeds all lines of a file in one call, then the
//! first line many times, and prints wall and CPU seconds as JSON.
//!
//! `cargo build --release -p reembed-encoder --example python_overhead`

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::time::Instant;

use reembed_encoder::{Embedder, Environment, Error, ErrorKind, ModelConfig, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || {
        let missing = || Error::new(ErrorKind::Config, "usage: FILE CALLS");
        arguments.next().ok_or_else(missing)
    };
    let (file, calls) = (argument()?, argument()?);
    let failed =
        |cause: std::io::Error| Error::new(ErrorKind::Input, "unreadable").caused_by(cause);
    let texts = std::fs::read_to_string(file).map_err(failed)?;
    let texts: Vec<&str> = texts.lines().collect();
    let calls: usize = calls.parse().unwrap_or(1);
    let embedder =
        Embedder::open(&ModelConfig::from_environment(&Environment::new(std::env::vars()))?)?;
    embedder.embed(&texts[..64.min(texts.len())])?;

    let (cpu, wall) = (cpu_seconds(), Instant::now());
    embedder.embed(&texts)?;
    let all = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);

    let mut each = Vec::with_capacity(calls);
    for _ in 0..calls {
        let started = Instant::now();
        embedder.embed(&texts[..1])?;
        each.push(started.elapsed().as_secs_f64());
    }
    each.sort_by(f64::total_cmp);
    let one = each.get(calls / 2).copied().unwrap_or_default();
    println!("{{\"all_wall\": {}, \"all_cpu\": {}, \"one_wall\": {one}}}", all.0, all.1);
    Ok(())
}

/// CPU seconds of this process in all threads, from the kernel's ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let line = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may have spaces.
    let fields = line.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
