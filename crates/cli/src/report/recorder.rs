//! Turns the events of a run into its record. It reads no clock: the caller passes the time of each event.

use std::error::Error as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reembed::config::{Config, OnEmpty};
use reembed::events::{ColumnReport, Event, Loaded, Report, Stage, StageTimes, TableCounts};
use reembed::footer::TOOL;
use reembed_encoder::error::{Error, Result};
use reembed_encoder::limit::BatchLimit;

use super::bottleneck::bottleneck;
use super::record::{
    BatchSize, BatchesRecord, ColumnRecord, ErrorRecord, InputRecord, LimitChangeRecord,
    LimitRecord, MAX_IDS, MAX_LIMIT_CHANGES, MemoryRecord, Outcome, OutputRecord, RestartRecord,
    RowCounts, RunRecord, SCHEMA, SettingRecord, SpeedRecord, SpeedSample, StageRecord,
    TokenCounts,
};
use super::series::{Interval, Series};
use super::verdict::verdict;
use crate::lengths::Lengths;
use crate::{limit_cause, print, timestamp};

/// Maximum number of intervals in the record.
const MAX_SAMPLES: usize = 120;

/// Maximum number of failed tables in the record.
const MAX_FAILED_TABLES: usize = 100;

/// Collects the events of a run, from any thread, and makes its [`RunRecord`].
pub struct Recorder {
    run_id: String,
    started: SystemTime,
    input: InputRecord,
    output: OutputRecord,
    config: Vec<SettingRecord>,
    /// Whether rows without text are left out.
    drops_rows: bool,
    observed: Mutex<Observed>,
}

/// What the events said so far.
#[derive(Default)]
struct Observed {
    /// When the first row was read, since the start of the run.
    flow_start: Option<Duration>,
    loaded: Option<Loaded>,
    rows: RowCounts,
    tokens: u64,
    batches: u64,
    /// When the last batch ended, since the first row.
    last_batch: Duration,
    budget: Option<u64>,
    lengths: Lengths,
    series: Series,
    limit_at_start: Option<LimitRecord>,
    limit: Option<LimitRecord>,
    limit_moves: u64,
    limit_changes: Vec<LimitChangeRecord>,
    stages: Vec<(Stage, StageTimes)>,
    restarts: Vec<RestartRecord>,
    warnings: Vec<String>,
    tables: Option<TableCounts>,
    failed_tables: Vec<String>,
}

/// The end of a run, with the readings that no event has.
pub struct Ending<'a> {
    /// When, since the start of the run.
    pub at: Duration,
    /// The result of the run.
    pub outcome: Result<&'a Report, &'a Error>,
    /// The peak RSS of the process, in bytes.
    pub peak_rss: Option<u64>,
}

impl Recorder {
    /// A recorder of a run of `config` with this name, that starts at `started`.
    pub fn new(config: &Config, run_id: &str, started: SystemTime) -> Recorder {
        let setting = |line: &reembed::config::Effective| SettingRecord {
            key: match line.block {
                Some(number) => format!("embedding[{number}].{}", line.key),
                None => line.key.to_owned(),
            },
            value: line.value.clone(),
            origin: line.origin.to_string(),
        };
        Recorder {
            run_id: run_id.to_owned(),
            started,
            input: InputRecord { path: config.input.path.display().to_string() },
            output: OutputRecord {
                path: config.output.path().display().to_string(),
                label: config.output.label(),
                column: config.embeddings.first.column.clone(),
                form: None,
                columns: Vec::new(),
                bytes: None,
            },
            config: config.effective.iter().map(setting).collect(),
            drops_rows: config.output.on_empty == OnEmpty::Drop,
            observed: Mutex::default(),
        }
    }

    /// The same for a run that started earlier by `time`.
    #[must_use]
    pub fn started_earlier(self, time: Duration) -> Recorder {
        Recorder { started: self.started.checked_sub(time).unwrap_or(self.started), ..self }
    }

    /// Records an event at this time since the start of the run.
    pub fn event(&self, at: Duration, event: &Event) {
        self.update(|observed| observed.event(at, event, self.drops_rows));
    }

    /// Records that the worker died and was restarted.
    pub fn restarted(&self, at: Duration, cause: impl Into<String>) {
        let restart = RestartRecord { at: at.as_secs_f64(), cause: cause.into() };
        self.update(|observed| observed.restarts.push(restart));
    }

    /// Makes the record: from the run's own report if it succeeded, else from the events.
    pub fn finish(self, ending: Ending<'_>) -> RunRecord {
        let observed = self.observed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let flow = observed.flow_start.map(|start| ending.at.saturating_sub(start));
        let (outcome, error) = match ending.outcome {
            Ok(_) => (Outcome::Done, None),
            Err(error) => (Outcome::Failed, Some(error_record(error))),
        };
        let mut record = RunRecord {
            schema: SCHEMA.to_owned(),
            tool: TOOL.to_owned(),
            run_id: self.run_id,
            outcome,
            verdict: String::new(),
            bottleneck: None,
            started: timestamp::format(self.started),
            ended: timestamp::format(self.started + ending.at),
            seconds: ending.at.as_secs_f64(),
            model_load_seconds: observed.loaded.as_ref().map(|loaded| loaded.took.as_secs_f64()),
            flow_seconds: flow.map(|flow| flow.as_secs_f64()),
            input: self.input,
            output: self.output,
            rows: observed.rows,
            tokens: TokenCounts {
                real: observed.tokens,
                computed: observed.tokens,
                padding_efficiency: None,
                median_length: observed.lengths.median(),
                longest: observed.lengths.longest(),
                lengths: observed.lengths.bins(),
            },
            speed: SpeedRecord::default(),
            stages: observed.stages.iter().copied().map(stage_record).collect(),
            batches: BatchesRecord {
                count: observed.batches,
                sizes: Vec::new(),
                limit_at_start: observed.limit_at_start,
                limit_at_end: observed.limit,
                limit_moves: observed.limit_moves,
                limit_changes: observed.limit_changes,
            },
            memory: MemoryRecord { peak_resident: ending.peak_rss, batch_budget: observed.budget },
            restarts: observed.restarts,
            runs_on: observed.loaded.as_ref().map(|loaded| loaded.runs_on.clone()),
            lineage: observed.loaded.map(|loaded| loaded.lineage),
            config: self.config,
            warnings: observed.warnings,
            tables: observed.tables,
            failed_tables: observed.failed_tables,
            error,
            earlier: Vec::new(),
        };
        if let Ok(report) = ending.outcome {
            apply_report(&mut record, report);
        }
        let flow = record.flow_seconds.map(Duration::from_secs_f64);
        record.bottleneck = flow.and_then(|flow| {
            // Sampled vectors are not worth a word.
            bottleneck(&observed.stages, flow, record.rows.encoded > 0)
        });
        record.speed = speed_record(&record, observed.series);
        record.verdict = verdict(&record);
        record
    }

    fn update(&self, change: impl FnOnce(&mut Observed)) {
        // Counters and lists only grow, so a panic in another thread leaves them consistent.
        change(&mut self.observed.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Observed {
    fn event(&mut self, at: Duration, event: &Event, drops_rows: bool) {
        let flow = at.saturating_sub(self.flow_start.unwrap_or(at));
        match event {
            Event::Loaded(loaded) => match &mut self.loaded {
                Some(first) => first.took += loaded.took,
                None => self.loaded = Some(loaded.as_ref().clone()),
            },
            Event::Started { rows, columns } => {
                self.flow_start.get_or_insert(at);
                // Each table of a dataset adds its rows.
                *self.rows.input.get_or_insert(0) += *rows;
                self.rows.columns = *columns;
            }
            Event::Split { rows } => {
                let so_far = self.rows.chunks.or(self.rows.input).unwrap_or(0);
                self.rows.chunks = Some(so_far + rows);
            }
            Event::ChunkDone { lengths, truncated } => {
                self.lengths.add(lengths);
                self.rows.truncated += truncated.len() as u64;
                let room = MAX_IDS.saturating_sub(self.rows.truncated_ids.len());
                self.rows.truncated_ids.extend(truncated.iter().take(room).cloned());
            }
            Event::BatchDone { rows, tokens } => {
                self.rows.encoded += *rows as u64;
                self.tokens += *tokens as u64;
                self.batches += 1;
                let done = Interval { rows: *rows as f64, tokens: *tokens as f64 };
                self.series.add(self.last_batch, flow, done);
                self.last_batch = flow;
            }
            Event::Empty { rows } if drops_rows => self.rows.dropped += *rows as u64,
            Event::Empty { rows } => self.rows.null += *rows as u64,
            Event::LimitChanged(change) => {
                self.limit = Some(limit_record(change.to));
                self.limit_moves += 1;
                if self.limit_changes.len() < MAX_LIMIT_CHANGES {
                    self.limit_changes.push(LimitChangeRecord {
                        at: flow.as_secs_f64(),
                        from: limit_record(change.from),
                        to: limit_record(change.to),
                        cause: limit_cause::describe(change.cause),
                    });
                }
            }
            Event::Tables(counts) => self.tables = Some(*counts),
            Event::TableDone { .. } => {
                self.tables.get_or_insert_default().published += 1;
            }
            Event::TableFailed { message, .. } => {
                self.tables.get_or_insert_default().failed += 1;
                if self.failed_tables.len() < MAX_FAILED_TABLES {
                    self.failed_tables.push(message.clone());
                }
            }
            Event::Stages(stages) => self.stages.clone_from(stages),
            Event::Warning(warning) => self.warnings.push(warning.to_string()),
            Event::Budget { bytes, limit, .. } => {
                self.budget = *bytes;
                // The first model's, where there are several.
                self.limit_at_start = self.limit_at_start.or(Some(limit_record(*limit)));
                self.limit = self.limit.or(self.limit_at_start);
            }
            Event::Known { reused, duplicate } => {
                self.rows.reused += *reused as u64;
                self.rows.duplicate += *duplicate as u64;
            }
            Event::Model(_)
            | Event::PrecisionFollowed(_)
            | Event::WaitingForCache { .. }
            | Event::BatchStarted(_)
            | Event::PartDone { .. }
            | Event::RangeDone { .. }
            | Event::Committed { .. }
            | Event::ReadBack { .. } => {}
        }
    }
}

/// Replaces what the events said by the totals of a successful run.
fn apply_report(record: &mut RunRecord, report: &Report) {
    let output = report.rows + report.dropped_rows;
    record.rows.input = Some(report.input_rows.unwrap_or(output));
    record.rows.chunks = report.input_rows.map(|_| output);
    let (origins, work) = (report.origins(), report.work());
    record.rows.columns = report.columns.len() as u64;
    record.rows.encoded = origins.encoded;
    record.rows.reused = origins.reused;
    record.rows.duplicate = origins.duplicate;
    record.rows.null = report.null_rows();
    record.rows.dropped = report.dropped_rows;
    record.rows.truncated = report.truncated_rows();
    record.rows.repeated_ids = report.repeated_ids;
    record.tokens.real = work.tokens;
    record.tokens.computed = work.padded_tokens;
    record.tokens.padding_efficiency = Some(work.padding_efficiency());
    record.flow_seconds = Some(report.elapsed.as_secs_f64());
    record.batches.sizes = work
        .batch_sizes
        .iter()
        .map(|(rows, batches)| BatchSize { rows: *rows as u64, batches: *batches })
        .collect();
    record.batches.count = work.batch_sizes.values().sum();
    record.output.form = Some(report.first().form.to_string());
    record.output.columns = report.columns.iter().map(column_record).collect();
    record.output.bytes = Some(report.output_bytes);
    record.memory.peak_resident = report.peak_resident.or(record.memory.peak_resident);
    record.lineage = Some(report.first().lineage.clone());
    record.runs_on = Some(report.first().runs_on.clone());
}

fn column_record(report: &ColumnReport) -> ColumnRecord {
    ColumnRecord {
        column: report.column.clone(),
        form: report.form.to_string(),
        model: report.lineage.model.id.clone(),
        fingerprint: report.lineage.fingerprint.clone(),
        encoded: report.origins.encoded,
        reused: report.origins.reused,
        duplicate: report.origins.duplicate,
        null: report.null_rows,
        truncated: report.truncated_rows,
    }
}

fn speed_record(record: &RunRecord, series: Series) -> SpeedRecord {
    let (width, intervals) = series.at_most(MAX_SAMPLES);
    let width = width.as_secs_f64();
    let flow = record.flow_seconds.unwrap_or(0.0);
    let sample = |(number, interval): (usize, &Interval)| {
        let at = number as f64 * width;
        // The run ends inside the last interval.
        let seconds = width.min(flow - at).max(width / 10.0);
        SpeedSample {
            at,
            tasks_per_second: interval.rows / seconds,
            tokens_per_second: interval.tokens / seconds,
        }
    };
    let rate = |done: u64| (flow > 0.0).then(|| done as f64 / flow);
    SpeedRecord {
        tasks_per_second: rate(rows_done(&record.rows)),
        tokens_per_second: rate(record.tokens.real),
        interval_seconds: width,
        over_time: intervals.iter().enumerate().map(sample).collect(),
    }
}

/// Rows of the input that are done. If texts are split, they are known at the end alone.
fn rows_done(rows: &RowCounts) -> u64 {
    match (rows.chunks, rows.input) {
        (Some(chunks), Some(input)) if rows.handled() >= chunks => input,
        _ => rows.handled() / rows.columns.max(1),
    }
}

fn stage_record((stage, times): (Stage, StageTimes)) -> StageRecord {
    StageRecord {
        stage,
        busy: times.busy.as_secs_f64(),
        waiting_for_input: times.waiting_for_input.as_secs_f64(),
        waiting_for_output: times.waiting_for_output.as_secs_f64(),
    }
}

fn limit_record(limit: BatchLimit) -> LimitRecord {
    LimitRecord { rows: limit.rows.get() as u64, tokens: limit.tokens.get() as u64 }
}

fn error_record(error: &Error) -> ErrorRecord {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    ErrorRecord {
        kind: print::kind_name(error.kind()),
        message: error.to_string(),
        causes,
        advice: error.advice_text().map(str::to_owned),
        output_in_place: error.is_after_publish(),
    }
}
