//! Example records for tests: a run that succeeded and one that failed.

use std::collections::BTreeMap;

use reembed::events::Stage;
use reembed::footer::Lineage;
use reembed_encoder::model::identity::ModelIdentity;

use super::record::*;
use super::verdict::verdict;
use crate::lengths::LengthBin;

/// A successful run of 1,200 rows.
pub fn done() -> RunRecord {
    let model = ModelIdentity {
        id: "sentence-transformers/all-MiniLM-L6-v2".to_owned(),
        files: BTreeMap::from([("config.json".to_owned(), "00".to_owned())]),
        pooling: "mean".to_owned(),
        normalized: true,
        max_seq_length: 256,
        truncation: None,
        chunks: None,
        tokens: None,
        prompt: String::new(),
        dimension: 384,
        precision: "f32".to_owned(),
        numerics: "packed-1-f32".to_owned(),
    };
    let limit = |rows| LimitRecord { rows, tokens: 256 * rows };
    let bin = |number: u64| LengthBin {
        from: 8 * number + 1,
        to: 8 * number + 8,
        texts: [9, 120, 210, 260, 190, 140, 90, 60][number as usize % 8],
    };
    RunRecord {
        schema: SCHEMA.to_owned(),
        tool: "reembed 0.1.0".to_owned(),
        run_id: "20261124T055325Z-5a3c1f".to_owned(),
        outcome: Outcome::Done,
        verdict: "1,200 rows embedded in 34.6 s.".to_owned(),
        bottleneck: Some("The model is the bottleneck: it was busy 97 % of the time.".to_owned()),
        started: "2026-11-24T05:53:25Z".to_owned(),
        ended: "2026-11-24T05:54:00Z".to_owned(),
        seconds: 34.91,
        model_load_seconds: Some(0.68),
        flow_seconds: Some(34.2),
        input: InputRecord { path: "data/tasks.parquet".to_owned() },
        output: OutputRecord {
            path: "out/tasks.parquet".to_owned(),
            label: "tasks.parquet".to_owned(),
            column: "embedding".to_owned(),
            form: Some("f32 × 384".to_owned()),
            columns: vec![ColumnRecord {
                column: "embedding".to_owned(),
                form: "f32 × 384".to_owned(),
                model: "sentence-transformers/all-MiniLM-L6-v2".to_owned(),
                fingerprint: "0123456789abcdef".to_owned(),
                encoded: 1199,
                reused: 0,
                duplicate: 0,
                null: 1,
                truncated: 45,
            }],
            bytes: Some(1_800_000),
        },
        rows: RowCounts {
            input: Some(1200),
            chunks: None,
            columns: 1,
            encoded: 1199,
            reused: 0,
            duplicate: 0,
            null: 1,
            dropped: 0,
            truncated: 45,
            truncated_ids: (0..45).map(|row| format!("T-{row}")).collect(),
            repeated_ids: 0,
        },
        tokens: TokenCounts {
            real: 76_439,
            computed: 76_439,
            padding_efficiency: Some(1.0),
            median_length: Some(41),
            longest: Some(256),
            lengths: (0..32).map(bin).collect(),
        },
        speed: SpeedRecord {
            tasks_per_second: Some(35.09),
            tokens_per_second: Some(2235.1),
            interval_seconds: 0.5,
            over_time: (0..69)
                .map(|number| SpeedSample {
                    at: 0.5 * f64::from(number),
                    tasks_per_second: 20.0 + f64::from(number * 7 % 23),
                    tokens_per_second: 2000.0 + f64::from(number * 31 % 400),
                })
                .collect(),
        },
        stages: vec![
            stage(Stage::Reader, 0.05, 0.0, 34.1),
            stage(Stage::Tokenizer, 0.2, 0.05, 33.9),
            stage(Stage::Inference, 33.2, 0.3, 0.7),
            stage(Stage::Writer, 0.7, 33.5, 0.0),
        ],
        batches: BatchesRecord {
            count: 60,
            sizes: vec![BatchSize { rows: 16, batches: 22 }, BatchSize { rows: 32, batches: 38 }],
            limit_at_start: Some(limit(32)),
            limit_at_end: Some(limit(24)),
            limit_moves: 3,
            limit_changes: vec![
                LimitChangeRecord {
                    at: 8.0,
                    from: limit(32),
                    to: limit(16),
                    cause: "32 texts of up to 256 tokens did not fit in memory".to_owned(),
                },
                LimitChangeRecord {
                    at: 14.5,
                    from: limit(16),
                    to: limit(20),
                    cause: "8 batches in a row fitted".to_owned(),
                },
                LimitChangeRecord {
                    at: 21.0,
                    from: limit(20),
                    to: limit(24),
                    cause: "8 batches in a row fitted".to_owned(),
                },
            ],
        },
        memory: MemoryRecord {
            peak_resident: Some(248_300_000),
            batch_budget: Some(1_200_000_000),
        },
        restarts: vec![RestartRecord { at: 3.5, cause: "it was killed by SIGKILL".to_owned() }],
        runs_on: Some("avx2, 2 threads".to_owned()),
        lineage: Some(Lineage::new(&model)),
        config: vec![SettingRecord {
            key: "batch.start".to_owned(),
            value: "32".to_owned(),
            origin: "default".to_owned(),
        }],
        warnings: vec!["3 rows repeat an id; the first is T-7".to_owned()],
        tables: None,
        failed_tables: Vec::new(),
        error: None,
        earlier: (1..5)
            .map(|day| EarlierRun {
                name: format!("2026112{day}T055325Z"),
                started: format!("2026-11-2{day}T05:53:25Z"),
                outcome: if day == 2 { Outcome::Failed } else { Outcome::Done },
                rows: Some(1200),
                encoded_share: Some(0.999),
                seconds: 34.0,
                tasks_per_second: (day != 2).then_some(30.0 + f64::from(day)),
                ended_unix: 1_799_990_000.0,
            })
            .collect(),
    }
}

/// The same run, failed in the middle.
pub fn failed() -> RunRecord {
    let mut record = RunRecord {
        outcome: Outcome::Failed,
        seconds: 12.5,
        error: Some(ErrorRecord {
            kind: "OutOfMemory".to_owned(),
            message: "data/tasks.parquet: row 700 (id T-<700>): its 256 tokens do not fit in memory, even alone"
                .to_owned(),
            causes: vec!["the batch needs 9000000 bytes; the memory budget is 8000000".to_owned()],
            advice: Some("raise `batch.memory_limit`, or free memory on the machine".to_owned()),
            output_in_place: false,
        }),
        ..done()
    };
    record.rows = RowCounts { encoded: 639, null: 1, ..record.rows };
    record.output.bytes = None;
    record.verdict = verdict(&record);
    record
}

fn stage(stage: Stage, busy: f64, waiting_for_input: f64, waiting_for_output: f64) -> StageRecord {
    StageRecord { stage, busy, waiting_for_input, waiting_for_output }
}
