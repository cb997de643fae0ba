//! An example record for tests.

use super::record::*;
use crate::machine::Machine;

/// A bench of two engines.
pub fn record() -> BenchRecord {
    BenchRecord {
        schema: SCHEMA.to_owned(),
        tool: "reembed 0.1.0".to_owned(),
        started: "2026-11-24T05:53:25Z".to_owned(),
        machine: Machine::default(),
        peak: Some(Peak { f32_gflops: 164.0 }),
        model: ModelRecord { id: "a/b".to_owned(), max_seq_length: 256, dimension: 384 },
        corpus: CorpusRecord {
            rows: 1000,
            tokens: 66_000,
            median_length: Some(41),
            longest: Some(256),
        },
        repeats: 3,
        load_peak_resident: Some(400_000_000),
        subjects: vec![subject("packed f32", 60.0), subject("candle f32", 20.0)],
        acceptance: vec![Acceptance::new(
            "packed f32, batch 32,".to_owned(),
            "stock candle f32, one at a time".to_owned(),
            4.2,
        )],
        tfidf: Some(TfIdf { tasks_per_second: 55_000.0, times: 611.0 }),
        memory: vec![MemoryLine {
            engine: "packed f32".to_owned(),
            rows: 32,
            length: 256,
            predicted: 63_000_000,
            measured: 64_000_000,
            measured_per_row: 2_000_000.0,
            ratio: 1.016,
        }],
        peers: vec![Peer { name: "another".to_owned(), tasks_per_second: 72.7 }],
    }
}

/// An engine whose name begins with `packed` or `candle`, in three modes.
pub fn subject(name: &str, tasks_per_second: f64) -> SubjectRecord {
    let is_packed = name.starts_with("packed");
    SubjectRecord {
        name: name.to_owned(),
        engine: name.split(' ').next().unwrap_or("").to_owned(),
        precision: "f32".to_owned(),
        numerics: "packed-1-f32".to_owned(),
        fingerprint: "00".to_owned(),
        runs_on: "avx2, 2 threads".to_owned(),
        threads: Some(2),
        batch_invariant: is_packed,
        rows: 400,
        tokens: 26_400,
        lowest_cosine: (!is_packed).then_some(0.999_999_9),
        shared_neighbours: (!is_packed).then_some(1.0),
        largest_difference: (!is_packed).then_some(2.6e-7),
        modes: vec![
            mode("one at a time", Some(1), tasks_per_second),
            mode("batch 32", Some(32), 1.4 * tasks_per_second),
            mode("as a run plans", None, 1.5 * tasks_per_second),
        ],
    }
}

/// A mode with 66 tokens per row.
pub fn mode(name: &str, batch_rows: Option<u64>, tasks_per_second: f64) -> ModeRecord {
    ModeRecord {
        name: name.to_owned(),
        batch_rows,
        seconds: vec![10.0, 10.5, 11.0],
        median_seconds: 10.5,
        spread: 1.1,
        ms_per_task: 1000.0 / tasks_per_second,
        tasks_per_second,
        tokens_per_second: 66.0 * tasks_per_second,
        speed_up: Some(tasks_per_second / 60.0),
        padding_efficiency: 0.97,
        gflops: 90.0,
        of_peak: Some(0.55),
        peak_resident: Some(300_000_000),
        largest_difference: 0.0,
    }
}
