//! Listens to a run's events and makes its record. It has no clock of its own: whoever tells it an event says
//! when that was.

use std::error::Error as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reembed::config::Config;
use reembed::events::{Event, Loaded, Report, Stage, StageTimes};
use reembed::footer::TOOL;
use reembed_encoder::error::{Error, Result};
use reembed_encoder::limit::{BatchLimit, LimitCause};

use super::lengths::Lengths;
use super::record::{
    BatchSize, Batches, ErrorRecord, InputRecord, Limit, LimitMove, MOST_CHANGES, MOST_IDS, Memory,
    Outcome, OutputRecord, Restart, RowCounts, RunRecord, SCHEMA, Setting, Speed, SpeedSample,
    StageRecord, TokenCounts, timestamp, verdict,
};
use super::series::{Interval, Series};
use super::stages::bottleneck;

/// The page shows throughput in at most so many intervals.
const MOST_SAMPLES: usize = 120;

/// Collects what becomes a [`RunRecord`]. It can be told events from several threads.
pub struct Recorder {
    started: SystemTime,
    input: InputRecord,
    output: OutputRecord,
    config: Vec<Setting>,
    seen: Mutex<Seen>,
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    /// When rows began to flow, since the beginning of the run.
    flow: Option<Duration>,
    loaded: Option<Loaded>,
    rows: RowCounts,
    tokens: u64,
    batches: u64,
    /// When the batch before was over, since the first row.
    last_batch: Duration,
    budget: Option<u64>,
    lengths: Lengths,
    series: Series,
    limit_at_start: Option<Limit>,
    limit_now: Option<Limit>,
    limit_moves: u64,
    limit_changes: Vec<LimitMove>,
    stages: Vec<(Stage, StageTimes)>,
    restarts: Vec<Restart>,
    warnings: Vec<String>,
}

/// How a run ended, with the readings that no event holds.
pub struct Ending<'a> {
    /// When, since the beginning of the run.
    pub at: Duration,
    /// What the run gave.
    pub outcome: &'a Result<Report>,
    /// The largest resident size of the process, in bytes.
    pub peak_resident: Option<u64>,
}

impl Recorder {
    /// A record of a run of `config` that begins at `started`.
    pub fn new(config: &Config, started: SystemTime) -> Recorder {
        let setting = |line: &reembed::config::Effective| Setting {
            key: line.key.to_owned(),
            value: line.value.clone(),
            origin: line.origin.to_string(),
        };
        Recorder {
            started,
            input: InputRecord { path: config.input.path.display().to_string() },
            output: OutputRecord {
                path: config.output.path.display().to_string(),
                column: config.output.column.clone(),
                bytes: None,
            },
            config: config.effective.iter().map(setting).collect(),
            seen: Mutex::default(),
        }
    }

    /// The same, of a run that began so much earlier.
    #[must_use]
    pub fn began_before(self, time: Duration) -> Recorder {
        Recorder { started: self.started.checked_sub(time).unwrap_or(self.started), ..self }
    }

    /// Takes note of an event that happened `at` this time since the beginning of the run.
    pub fn event(&self, at: Duration, event: &Event) {
        self.with(|seen| seen.event(at, event));
    }

    /// Takes note that the worker died and was started again.
    pub fn restarted(&self, at: Duration, cause: impl Into<String>) {
        let restart = Restart { at: at.as_secs_f64(), cause: cause.into() };
        self.with(|seen| seen.restarts.push(restart));
    }

    /// The record. Where the run gave a report, its sums stand; otherwise what was seen of it.
    pub fn finish(self, ending: Ending<'_>) -> RunRecord {
        let seen = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let flow = seen.flow.map(|flow| ending.at.saturating_sub(flow));
        let (outcome, error) = match ending.outcome {
            Ok(_) => (Outcome::Done, None),
            Err(error) => (Outcome::Failed, Some(told(error))),
        };
        let mut record = RunRecord {
            schema: SCHEMA.to_owned(),
            tool: TOOL.to_owned(),
            outcome,
            verdict: String::new(),
            bottleneck: None,
            started: timestamp(self.started),
            ended: timestamp(self.started + ending.at),
            seconds: ending.at.as_secs_f64(),
            model_load_seconds: seen.loaded.as_ref().map(|loaded| loaded.took.as_secs_f64()),
            flow_seconds: flow.map(|flow| flow.as_secs_f64()),
            input: self.input,
            output: self.output,
            rows: seen.rows,
            tokens: TokenCounts {
                real: seen.tokens,
                computed: seen.tokens,
                padding_efficiency: None,
                median_length: seen.lengths.median(),
                longest: seen.lengths.longest(),
                lengths: seen.lengths.bins(),
            },
            speed: Speed::default(),
            stages: seen.stages.iter().copied().map(stage).collect(),
            batches: Batches {
                count: seen.batches,
                sizes: Vec::new(),
                limit_at_start: seen.limit_at_start,
                limit_at_end: seen.limit_now,
                limit_moves: seen.limit_moves,
                limit_changes: seen.limit_changes,
            },
            memory: Memory { peak_resident: ending.peak_resident, batch_budget: seen.budget },
            restarts: seen.restarts,
            runs_on: seen.loaded.as_ref().map(|loaded| loaded.runs_on.clone()),
            lineage: seen.loaded.map(|loaded| loaded.lineage),
            config: self.config,
            warnings: seen.warnings,
            error,
            earlier: Vec::new(),
        };
        if let Ok(report) = ending.outcome {
            take_over(&mut record, report);
        }
        let flow = record.flow_seconds.map(Duration::from_secs_f64);
        record.bottleneck = flow.and_then(|flow| bottleneck(&seen.stages, flow));
        record.speed = speed(&record, seen.series);
        record.verdict = verdict(&record);
        record
    }

    fn with(&self, change: impl FnOnce(&mut Seen)) {
        // Counters and lists that only grow: a panic elsewhere leaves nothing half-changed.
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Seen {
    fn event(&mut self, at: Duration, event: &Event) {
        let flow = at.saturating_sub(self.flow.unwrap_or(at));
        match event {
            Event::Loaded(loaded) => self.loaded = Some(loaded.as_ref().clone()),
            Event::Started { rows, limit } => {
                self.flow = Some(at);
                self.rows.input = Some(*rows);
                (self.limit_at_start, self.limit_now) = (Some(size(*limit)), Some(size(*limit)));
            }
            Event::ChunkDone { lengths, truncated } => {
                self.lengths.add(lengths);
                self.rows.truncated += truncated.len() as u64;
                let room = MOST_IDS.saturating_sub(self.rows.truncated_ids.len());
                self.rows.truncated_ids.extend(truncated.iter().take(room).cloned());
            }
            Event::Batch { rows, tokens } => {
                self.rows.encoded += *rows as u64;
                self.tokens += *tokens as u64;
                self.batches += 1;
                let done = Interval { rows: *rows as f64, tokens: *tokens as f64 };
                self.series.add(self.last_batch, flow, done);
                self.last_batch = flow;
            }
            Event::Empty { rows } => self.rows.null += *rows as u64,
            Event::Limit(change) => {
                self.limit_now = Some(size(change.to));
                self.limit_moves += 1;
                if self.limit_changes.len() < MOST_CHANGES {
                    self.limit_changes.push(LimitMove {
                        at: flow.as_secs_f64(),
                        from: size(change.from),
                        to: size(change.to),
                        cause: why(change.cause),
                    });
                }
            }
            Event::Stages(stages) => self.stages.clone_from(stages),
            Event::Warning(warning) => self.warnings.push(warning.to_string()),
            Event::Budget { bytes, .. } => self.budget = *bytes,
            Event::Known { reused, duplicate } => {
                self.rows.reused += *reused as u64;
                self.rows.duplicate += *duplicate as u64;
            }
            Event::Model(_) | Event::Trying(_) | Event::Kept { .. } | Event::ReadBack { .. } => {}
        }
    }
}

/// The sums of a run that is done.
fn take_over(record: &mut RunRecord, report: &Report) {
    record.rows.input = Some(report.rows);
    record.rows.encoded = report.origins.encoded;
    record.rows.reused = report.origins.reused;
    record.rows.duplicate = report.origins.duplicate;
    record.rows.null = report.null_rows;
    record.rows.truncated = report.truncated_rows;
    record.tokens.real = report.work.tokens;
    record.tokens.computed = report.work.padded_tokens;
    record.tokens.padding_efficiency = Some(report.work.padding_efficiency());
    record.flow_seconds = Some(report.elapsed.as_secs_f64());
    record.batches.sizes = report
        .work
        .batch_sizes
        .iter()
        .map(|(rows, batches)| BatchSize { rows: *rows as u64, batches: *batches })
        .collect();
    record.batches.count = report.work.batch_sizes.values().sum();
    record.output.bytes = Some(report.output_bytes);
    record.memory.peak_resident = report.peak_resident.or(record.memory.peak_resident);
    record.lineage = Some(report.lineage.clone());
    record.runs_on = Some(report.runs_on.clone());
}

fn speed(record: &RunRecord, series: Series) -> Speed {
    let (width, intervals) = series.at_most(MOST_SAMPLES);
    let width = width.as_secs_f64();
    // The last interval is cut off where the run ends.
    let flow = record.flow_seconds.unwrap_or(0.0);
    let sample = |(number, interval): (usize, &Interval)| {
        let at = number as f64 * width;
        let wide = width.min(flow - at).max(width / 10.0);
        SpeedSample {
            at,
            tasks_per_second: interval.rows / wide,
            tokens_per_second: interval.tokens / wide,
        }
    };
    let rate = |done: u64| (flow > 0.0).then(|| done as f64 / flow);
    Speed {
        tasks_per_second: rate(record.rows.handled()),
        tokens_per_second: rate(record.tokens.real),
        interval_seconds: width,
        over_time: intervals.iter().enumerate().map(sample).collect(),
    }
}

fn stage((stage, times): (Stage, StageTimes)) -> StageRecord {
    StageRecord {
        stage,
        busy: times.busy.as_secs_f64(),
        waiting_for_input: times.waiting_for_input.as_secs_f64(),
        waiting_for_output: times.waiting_for_output.as_secs_f64(),
    }
}

fn size(limit: BatchLimit) -> Limit {
    Limit { rows: limit.rows.get() as u64, tokens: limit.tokens.get() as u64 }
}

fn why(cause: LimitCause) -> String {
    match cause {
        LimitCause::OutOfMemory(shape) => {
            format!("{} texts of up to {} tokens did not fit in memory", shape.rows, shape.longest)
        }
        LimitCause::Successes(successes) => format!("{successes} batches in a row fitted"),
    }
}

fn told(error: &Error) -> ErrorRecord {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    ErrorRecord {
        kind: format!("{:?}", error.kind()),
        message: error.to_string(),
        causes,
        advice: error.what_to_do().map(str::to_owned),
        output_in_place: error.is_in_place(),
    }
}
