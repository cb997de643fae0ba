//! Makes the record of a bench from its passes.

use std::time::SystemTime;

use reembed::footer::{Lineage, TOOL};

use super::acceptance;
use super::measure::{Passes, Plan, SubjectRun};
use super::mode::Mode;
use super::recall::shared_neighbours;
use super::record::{
    BenchRecord, CorpusRecord, ModeRecord, ModelRecord, Peak, SCHEMA, SubjectRecord,
};
use crate::lengths::Lengths;
use crate::machine::Machine;
use crate::timestamp;

/// The record of all runs, without TF-IDF, memory and peers.
pub fn record(
    started: SystemTime,
    load_peak_rss: Option<u64>,
    plan: &Plan<'_>,
    runs: &[SubjectRun<'_>],
) -> BenchRecord {
    let first = runs.first();
    let identity = first.map(|run| run.subject.embedder.identity());
    let subjects: Vec<SubjectRecord> =
        runs.iter().map(|run| subject_record(plan, run, first)).collect();
    BenchRecord {
        schema: SCHEMA.to_owned(),
        tool: TOOL.to_owned(),
        started: timestamp::format(started),
        machine: Machine::read(),
        peak: plan.peak.map(|operations| Peak { f32_gflops: operations / 1e9 }),
        model: ModelRecord {
            id: identity.map_or(String::new(), |model| model.id.clone()),
            max_seq_length: identity.map_or(0, |model| model.max_seq_length as u64),
            dimension: identity.map_or(0, |model| model.dimension as u64),
        },
        corpus: first.map(corpus_record).unwrap_or_default(),
        repeats: plan.repeats.get() as u64,
        load_peak_resident: load_peak_rss,
        acceptance: acceptance::compare(&subjects),
        subjects,
        tfidf: None,
        memory: Vec::new(),
        peers: Vec::new(),
    }
}

fn corpus_record(run: &SubjectRun<'_>) -> CorpusRecord {
    let mut lengths = Lengths::default();
    lengths.add(&run.lengths.iter().map(|length| *length as u32).collect::<Vec<u32>>());
    CorpusRecord {
        rows: run.rows.len() as u64,
        tokens: run.lengths.iter().sum::<usize>() as u64,
        median_length: lengths.median(),
        longest: lengths.longest(),
    }
}

fn subject_record(
    plan: &Plan<'_>,
    run: &SubjectRun<'_>,
    reference: Option<&SubjectRun<'_>>,
) -> SubjectRecord {
    let embedder = &run.subject.embedder;
    let lineage = Lineage::new(embedder.identity());
    let reference = reference.filter(|reference| !std::ptr::eq(*reference, run));
    let difference =
        reference.map(|reference| compare(&reference.first, &run.first, embedder.dim()));
    let operations: f64 = run.lengths.iter().map(|length| plan.encoder.operations(*length)).sum();
    let single = run.modes.iter().find(|passes| passes.mode == Mode::Single);
    let work = Work {
        rows: run.rows.len() as f64,
        tokens: run.lengths.iter().sum::<usize>() as u64,
        operations,
        peak: plan.peak,
        single_seconds: single.map(|passes| median(&sorted(&passes.seconds))),
    };
    SubjectRecord {
        name: run.subject.name.clone(),
        engine: run.subject.engine.to_owned(),
        precision: lineage.model.precision.clone(),
        numerics: lineage.model.numerics.clone(),
        fingerprint: lineage.fingerprint,
        runs_on: embedder.runs_on(),
        threads: run.subject.threads.map(|threads| threads.get() as u64),
        batch_invariant: embedder.is_batch_invariant(),
        rows: run.rows.len() as u64,
        tokens: work.tokens,
        lowest_cosine: difference.map(|(cosine, _)| cosine),
        shared_neighbours: reference
            .and_then(|reference| shared_neighbours(&reference.first, &run.first, embedder.dim())),
        largest_difference: difference.map(|(_, difference)| difference),
        modes: run.modes.iter().map(|passes| mode_record(passes, &work)).collect(),
    }
}

/// The work of one pass, and what its speed is compared with.
struct Work {
    rows: f64,
    tokens: u64,
    operations: f64,
    peak: Option<f64>,
    single_seconds: Option<f64>,
}

fn mode_record(passes: &Passes, work: &Work) -> ModeRecord {
    let seconds = sorted(&passes.seconds);
    let median = median(&seconds);
    let gflops = work.operations / median / 1e9;
    ModeRecord {
        name: passes.mode.to_string(),
        batch_rows: passes.mode.rows(),
        median_seconds: median,
        spread: seconds.last().unwrap_or(&1.0) / seconds.first().unwrap_or(&1.0),
        seconds,
        ms_per_task: 1000.0 * median / work.rows,
        tasks_per_second: work.rows / median,
        tokens_per_second: work.tokens as f64 / median,
        speed_up: work.single_seconds.map(|single| single / median),
        padding_efficiency: passes.padding_efficiency,
        gflops,
        of_peak: work.peak.map(|peak| 1e9 * gflops / peak),
        peak_resident: passes.peak_rss,
        largest_difference: f64::from(passes.largest_difference),
    }
}

/// The lowest cosine and the largest difference of a component, over the rows that both have.
fn compare(reference: &[f32], other: &[f32], dim: usize) -> (f64, f64) {
    let (mut lowest, mut largest) = (1f64, 0f64);
    for (a, b) in reference.chunks_exact(dim).zip(other.chunks_exact(dim)) {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        lowest = lowest.min(dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f64::MIN_POSITIVE));
        let differences = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
        largest = differences.fold(largest, f64::max);
    }
    (lowest, largest)
}

fn sorted(seconds: &[f64]) -> Vec<f64> {
    let mut seconds = seconds.to_vec();
    seconds.sort_by(f64::total_cmp);
    seconds
}

/// The median of ascending values.
fn median(ascending: &[f64]) -> f64 {
    let middle = ascending.len() / 2;
    match ascending.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => ascending[middle],
        _ => (ascending[middle - 1] + ascending[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_counts() {
        assert_eq!(median(&sorted(&[4.0, 1.0, 2.0])), 2.0);
        assert_eq!(median(&sorted(&[2.0, 1.0])), 1.5);
    }

    #[test]
    fn vectors_are_compared_by_cosine_and_by_component() {
        let (cosine, difference) = compare(&[1.0, 0.0, 0.0, 1.0], &[1.0, 0.0, 0.6, 0.8], 2);
        assert!((cosine - 0.8).abs() < 1e-7 && (difference - 0.6).abs() < 1e-7);
        assert_eq!(compare(&[1.0, 0.0], &[1.0, 0.0], 2), (1.0, 0.0));
    }
}
