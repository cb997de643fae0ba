//! How a precision changes search results: the ten nearest neighbours of each sample row, in every other
//! precision compared with f32, and the rank correlation (Spearman) of all other rows.
//!
//! `cargo run --release --example precisions -- 1000`

#![allow(clippy::print_stdout, reason = "an example prints")]

use anyhow::{Context, Result};
use reembed::{BatchOptions, Embedder, Embeddings, Environment, ModelConfig, TaskRow};
use reembed_cli::sample;
use reembed_kernels::Precision;

/// Neighbours per search.
const NEAREST: usize = 10;

fn main() -> Result<()> {
    let rows = std::env::args().nth(1).map_or(Ok(1000), |rows| rows.parse())?;
    let tasks: Vec<TaskRow> = sample::task_rows(u64::MAX, sample::DEFAULT_SEED)
        .filter(|row| !reembed::build_input_text(row).is_empty())
        .take(rows)
        .collect();
    let config = ModelConfig::from_environment(&Environment::new(std::env::vars()))?;
    let embed = |precision| -> Result<Embeddings> {
        let config = ModelConfig { precision: Some(precision), ..config.clone() };
        let embedder = Embedder::open(&config)?;
        Ok(embedder.compute_embeddings_batch(&tasks, &BatchOptions::default())?)
    };

    let reference = embed(Precision::F32)?;
    println!("{} rows; of a row, the other rows by their cosine\n", tasks.len());
    println!(
        "{:<11} {:>12} {:>12} {:>14} {:>14} {:>12}",
        "", "least cosine", "max |Δ|", "top 10 shared", "least shared", "least ρ"
    );
    for precision in Precision::ALL.into_iter().skip(1) {
        let vectors = embed(precision)?;
        let (mut shared, mut least_shared, mut least_rank) = (0, NEAREST, 1f64);
        for row in 0..tasks.len() {
            let expected = similarities(&reference, row);
            let found = similarities(&vectors, row);
            let (expected, found) = (order(&expected), order(&found));
            let nearest = NEAREST.min(expected.len());
            let both =
                found[..nearest].iter().filter(|at| expected[..nearest].contains(at)).count();
            shared += both;
            least_shared = least_shared.min(both);
            least_rank = least_rank.min(rank_correlation(&expected, &found));
        }
        let rows = || reference.rows().zip(vectors.rows());
        let cosine = rows().map(|(a, b)| dot(a, b)).min_by(f64::total_cmp).context("no rows")?;
        let difference = rows().flat_map(|(a, b)| a.iter().zip(b)).map(|(a, b)| (a - b).abs());
        println!(
            "{:<11} {cosine:>12.6} {:>12.1e} {:>12.2} % {least_shared:>14} {least_rank:>12.6}",
            precision.as_str(),
            difference.fold(0.0, f32::max),
            100.0 * shared as f64 / (NEAREST * tasks.len()) as f64,
        );
    }
    Ok(())
}

/// The cosine similarity of a row to every row; vectors have length 1.
fn similarities(vectors: &Embeddings, row: usize) -> Vec<f64> {
    vectors.rows().map(|other| dot(vectors.row(row), other)).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The other rows by descending similarity; ties keep their order.
fn order(similarities: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..similarities.len()).collect();
    order.sort_by(|a, b| similarities[*b].total_cmp(&similarities[*a]));
    // The first is the row itself.
    order.split_off(1)
}

/// 1 − 6 Σ d² / (n (n² − 1)), where d is the difference between the two ranks of an element.
fn rank_correlation(one: &[usize], other: &[usize]) -> f64 {
    let mut ranks = vec![0f64; one.len() + 1];
    one.iter().enumerate().for_each(|(rank, at)| ranks[*at] = rank as f64);
    let apart = other.iter().enumerate().map(|(rank, at)| (ranks[*at] - rank as f64).powi(2));
    let n = one.len() as f64;
    1.0 - 6.0 * apart.sum::<f64>() / (n * (n * n - 1.0))
}
