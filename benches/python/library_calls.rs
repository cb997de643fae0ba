//! The library's own calls, for benches/python/speed.py: reads texts once, then a command from each line of standard
//! input (`alone N`, `32 N` or `auto N`), embeds the first N texts so, and answers with the seconds that it took.
//!
//! `library_calls TEXTS.json PRECISION THREADS`, with `default` for the precision that the machine would choose.

#![allow(clippy::print_stdout, reason = "a bench prints")]

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use reembed::{BatchOptions, Embedder, Environment, ModelConfig};
use reembed_kernels::Precision;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [texts, precision, threads] = arguments.as_slice() else {
        bail!("usage: library_calls TEXTS.json PRECISION THREADS");
    };
    let texts: Vec<String> = serde_json::from_str(&std::fs::read_to_string(texts)?)?;
    let mut config = ModelConfig::from_environment(&Environment::new(std::env::vars()))?;
    if precision != "default" {
        config.precision = Some(Precision::parse(precision).context("an unknown precision")?);
    }
    config.threads = Some(threads.parse::<NonZeroUsize>()?);
    let embedder = Embedder::open(&config)?;
    let mut answer = std::io::stdout();
    writeln!(answer, "{}", serde_json::json!({ "ran": embedder.identity().numerics }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (mode, count) = line.split_once(' ').context("a command is `MODE N`")?;
        let texts = texts.get(..count.parse()?).context("there are fewer texts")?;
        let mut each = Vec::with_capacity(texts.len());
        let started = Instant::now();
        match mode {
            "alone" => {
                for text in texts {
                    let call = Instant::now();
                    black_box(embedder.embed(&[text])?);
                    each.push(call.elapsed().as_secs_f64());
                }
            }
            "32" | "auto" => {
                let batch_size = NonZeroUsize::new(32).filter(|_| mode == "32");
                let options = BatchOptions { batch_size, ..BatchOptions::default() };
                black_box(embedder.embed_with(texts, &options)?);
            }
            _ => bail!("the modes are alone, 32 and auto"),
        }
        let seconds = started.elapsed().as_secs_f64();
        writeln!(answer, "{}", serde_json::json!({ "seconds": seconds, "each": each }))?;
    }
    Ok(())
}
