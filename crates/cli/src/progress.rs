//! Shows events: a progress bar on a terminal, a log line every few seconds elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use reembed::Event;
use reembed::events::{TableCounts, Warning};
use reembed::figures::{bytes, count, percent};
use reembed_encoder::limit::{BatchLimit, LimitCause, LimitChange};
use reembed_encoder::model::ModelNotes;
use reembed_encoder::model::source::FetchProgress;
use reembed_encoder::position::Position;

use crate::cli::Logging;
use crate::limit_cause;
use crate::text::printable;

/// The interval of log lines about changes of the batch limit.
const CHANGE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows the events of a command.
pub struct Progress {
    bar: Option<ProgressBar>,
    /// Whether there is no log.
    is_quiet: bool,
    /// The time between log lines about progress.
    interval: Duration,
    state: Mutex<State>,
}

struct State {
    started: Instant,
    last_line: Instant,
    /// Rows of the input, or of the tables of a dataset that were opened.
    total: u64,
    /// The tables of a dataset: done, and all of them.
    tables: Option<(u64, u64)>,
    /// Number of vector columns.
    columns: u64,
    /// Rows and tokens so far. A row counts once for each vector column.
    position: Position,
    /// Rows that needed no model: their vector is in the cache, or an earlier row has the same text.
    known: u64,
    is_reading_back: bool,
    limit: Option<BatchLimit>,
    /// When a change of the limit was last logged.
    last_change: Option<Instant>,
    /// Changes since then.
    unlogged_changes: u64,
    /// The file that is being fetched.
    file: Option<String>,
}

impl State {
    fn count_table(&mut self) {
        if let Some((done, _)) = &mut self.tables {
            *done += 1;
        }
    }

    /// Seconds until the end, at the speed so far: `tasks` rows per second, or tables.
    fn seconds_left(&self, rows: u64, tasks: f64) -> f64 {
        match self.tables {
            Some((0, _)) => f64::NAN,
            Some((done, all)) => {
                let each = self.started.elapsed().as_secs_f64() / done as f64;
                all.saturating_sub(done) as f64 * each
            }
            None => self.total.saturating_sub(rows) as f64 / tasks.max(1e-9),
        }
    }
}

impl Progress {
    /// A bar if standard error is a terminal and `--quiet` is not set.
    pub fn new(logging: &Logging) -> Self {
        let has_bar = !logging.quiet && io::stderr().is_terminal();
        let now = Instant::now();
        Progress {
            bar: has_bar.then(ProgressBar::no_length),
            is_quiet: logging.quiet,
            interval: logging.progress_interval,
            state: Mutex::new(State {
                started: now,
                last_line: now,
                total: 0,
                tables: None,
                columns: 1,
                position: Position::default(),
                known: 0,
                is_reading_back: false,
                limit: None,
                last_change: None,
                unlogged_changes: 0,
                file: None,
            }),
        }
    }

    /// Shows an event.
    pub fn event(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Model(progress) => self.fetch(&mut state, progress),
            Event::Started { rows, columns } => {
                state.columns = columns.max(1);
                // Each table of a dataset adds its rows.
                if state.total == 0 {
                    let now = Instant::now();
                    (state.started, state.last_line) = (now, now);
                    match state.tables {
                        Some((_, tables)) => self.start_tables(tables),
                        None => self.start_rows(rows),
                    }
                }
                state.total += rows;
            }
            Event::BatchStarted(_) => state.position.start_batch(),
            Event::PartDone { rows, tokens } => {
                state.position.add_part(rows, tokens);
                self.show_position(&mut state);
            }
            Event::BatchDone { rows, tokens } => {
                state.position.finish_batch(rows, tokens);
                self.show_position(&mut state);
            }
            Event::Tables(counts) if state.tables.is_none() => {
                let TableCounts { taken, unchanged, .. } = counts;
                state.tables = Some((0, taken - unchanged));
                if let Some(bar) = &self.bar {
                    bar.set_length(taken - unchanged);
                }
                self.log(|| tracing::info!(tables = taken, unchanged, "dataset"));
            }
            // At the end the summary tells them.
            Event::Tables(_) => {}
            Event::TableDone { table, rows } => {
                state.count_table();
                let table = printable(&table);
                self.log(|| tracing::debug!(table, rows, "table published"));
                self.show_position(&mut state);
            }
            Event::RangeDone { table, rows } => {
                let table = printable(&table);
                self.log(|| tracing::debug!(table, rows, "range of a table embedded"));
                self.show_position(&mut state);
            }
            Event::TableFailed { table, code, message, advice } => {
                state.count_table();
                let (table, message) = (printable(&table), printable(&message));
                let advice = advice.map_or(String::new(), |advice| format!(" ({advice})"));
                // The message names the file.
                self.log(|| match self.is_quiet {
                    // An error is printed all the same. A closed standard error must not end the program.
                    true => drop(writeln!(io::stderr(), "error: {message}{advice}")),
                    false => tracing::error!(table, code, "{message}{advice}"),
                });
            }
            Event::Split { rows } => {
                state.total += rows;
                if let Some(bar) = &self.bar {
                    bar.set_length(state.total);
                }
            }
            Event::WaitingForCache { path } => self.log(|| {
                let path = printable(&path.display().to_string());
                tracing::info!(
                    "waiting for the vector cache {path}, which another process has open"
                );
            }),
            Event::Budget { limit, .. } => state.limit = state.limit.or(Some(limit)),
            Event::Empty { rows } => {
                state.position.add_rows(rows);
                self.show_position(&mut state);
            }
            Event::Known { reused, duplicate } => {
                state.known += (reused + duplicate) as u64;
                state.position.add_rows(reused + duplicate);
                self.show_position(&mut state);
            }
            // Of a dataset, other tables go on meanwhile.
            Event::ReadBack { rows } if state.tables.is_none() => self.read_back(&mut state, rows),
            Event::ReadBack { .. } => {}
            Event::Committed { rows } => {
                self.log(|| tracing::debug!(rows, "vectors kept in the cache"));
            }
            Event::LimitChanged(change) => {
                state.limit = Some(change.to);
                self.limit_change(&mut state, change);
            }
            Event::PrecisionFollowed(precision) => self.log(|| tracing::info!("{precision}")),
            Event::Warning(warning) => self.log(|| tracing::warn!("{warning}")),
            Event::Loaded(_) | Event::ChunkDone { .. } | Event::Stages(_) => {}
        }
    }

    /// Shows what the user should know about a model's precision and prompt.
    pub fn model_notes(&self, notes: &ModelNotes) {
        if let Some(precision) = notes.followed {
            self.event(Event::PrecisionFollowed(precision));
        }
        if let Some(warning) = &notes.precision {
            self.event(Event::Warning(Warning::Precision(warning.clone())));
        }
        if let Some(warning) = &notes.prompt {
            self.event(Event::Warning(Warning::Prompt(warning.clone())));
        }
    }

    /// Shows the current step, for work without events.
    pub fn step(&self, step: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_style(style("{spinner} {msg}"));
                bar.set_message(step.to_owned());
                bar.tick();
            }
            None => tracing::info!("{step}"),
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn start_rows(&self, rows: u64) {
        match &self.bar {
            Some(bar) => {
                bar.reset();
                bar.set_length(rows);
                bar.set_style(style("{wide_bar} {human_pos}/{human_len} rows, {msg}, {eta} left"));
            }
            None => tracing::info!(rows, "embedding"),
        }
    }

    fn start_tables(&self, tables: u64) {
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_length(tables);
            bar.set_style(style("{wide_bar} {human_pos}/{human_len} tables, {msg}, {eta} left"));
        }
    }

    fn show_position(&self, state: &mut State) {
        if self.bar.is_none() && !self.is_due(state.last_line) {
            return;
        }
        let position = state.position.shown();
        let rows = position.rows / state.columns;
        let seconds = state.started.elapsed().as_secs_f64().max(1e-9);
        let tasks = position.rows as f64 / state.columns as f64 / seconds;
        let tokens = position.tokens as f64 / seconds;
        let limit = state.limit.map_or(String::new(), |limit| limit.to_string());
        let reused = state.known as f64 / position.rows.max(1) as f64;
        match &self.bar {
            Some(bar) => {
                bar.set_position(state.tables.map_or(rows, |(done, _)| done));
                let reused = match state.known {
                    0 => String::new(),
                    _ => format!(", {} reused", percent(reused)),
                };
                let of_tables = match state.tables {
                    Some(_) => format!("{} rows, ", count(rows)),
                    None => String::new(),
                };
                bar.set_message(format!(
                    "{of_tables}{tasks:.0} tasks/s, {tokens:.0} tokens/s, batch limit {limit}{reused}"
                ));
            }
            None => {
                state.last_line = Instant::now();
                let left = state.seconds_left(rows, tasks);
                let tables = state.tables.map(|(done, all)| format!("{done}/{all}"));
                tracing::info!(
                    tables,
                    rows,
                    of = state.total,
                    tasks_per_s = tasks.round(),
                    tokens_per_s = tokens.round(),
                    batch_limit = limit,
                    reused_share = (1000.0 * reused).round() / 1000.0,
                    eta_s = left.round(),
                    "progress"
                );
            }
        }
    }

    fn read_back(&self, state: &mut State, rows: u64) {
        let is_new = !std::mem::replace(&mut state.is_reading_back, true);
        match &self.bar {
            Some(bar) => {
                if is_new {
                    // First, since a reset draws the bar.
                    bar.set_style(style(
                        "{wide_bar} {human_pos}/{human_len} rows read back, {eta} left",
                    ));
                    bar.reset();
                }
                bar.set_position(rows);
            }
            None if is_new || self.is_due(state.last_line) => {
                state.last_line = Instant::now();
                tracing::info!(rows, of = state.total, "reading back");
            }
            None => {}
        }
    }

    /// Logs the first change at once, the next ones at most once per interval: the limit can change with every batch.
    fn limit_change(&self, state: &mut State, change: LimitChange) {
        if state.last_change.is_some_and(|logged| logged.elapsed() < CHANGE_INTERVAL) {
            state.unlogged_changes += 1;
            return;
        }
        let unlogged = std::mem::take(&mut state.unlogged_changes);
        state.last_change = Some(Instant::now());
        self.log(|| log_limit_change(change, unlogged));
    }

    fn fetch(&self, state: &mut State, progress: FetchProgress) {
        match progress {
            FetchProgress::Trying { origin } => tracing::debug!("looking for the model: {origin}"),
            FetchProgress::Failed { origin, reason } => {
                tracing::debug!("no model from {origin}: {}", printable(&reason));
            }
            FetchProgress::Waiting => {
                self.log(|| tracing::info!("waiting for another process that fetches the model"));
            }
            FetchProgress::Retrying { origin, reason, pause } => self.log(|| {
                let (reason, seconds) = (printable(&reason), pause.as_secs_f64());
                tracing::warn!("{origin}: {reason}; trying again in {seconds} s");
            }),
            FetchProgress::Reading { origin, file, done, total } => {
                let is_new = state.file.as_ref() != Some(&file);
                match &self.bar {
                    Some(bar) => {
                        if is_new {
                            bar.reset();
                            bar.set_style(style("{spinner} {msg} {bytes} {wide_bar}"));
                        }
                        bar.set_message(format!("model from {origin}: {}", printable(&file)));
                        bar.set_length(total.unwrap_or(done));
                        bar.set_position(done);
                    }
                    None if is_new || self.is_due(state.last_line) => {
                        state.last_line = Instant::now();
                        let size =
                            total.map_or(String::new(), |total| format!(" of {}", bytes(total)));
                        let done = bytes(done);
                        tracing::debug!("model from {origin}: {} {done}{size}", printable(&file));
                    }
                    None => {}
                }
                state.file = Some(file);
            }
        }
    }

    /// Whether a log line is due, after the last one.
    fn is_due(&self, last: Instant) -> bool {
        last.elapsed() >= self.interval
    }

    /// Logs a line while the bar is hidden.
    fn log(&self, line: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(line),
            None => line(),
        }
    }
}

/// Removes the bar, so that an error is not printed behind it.
impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn log_limit_change(LimitChange { from, to, cause }: LimitChange, unlogged: u64) {
    let (from, to) = (from.to_string(), to.to_string());
    let reason = limit_cause::describe(cause);
    let earlier = match unlogged {
        0 => String::new(),
        1 => " (1 earlier change not logged)".to_owned(),
        many => format!(" ({many} earlier changes not logged)"),
    };
    match cause {
        LimitCause::OutOfMemory(_) => {
            tracing::warn!(from, to, "batch limit lowered: {reason}{earlier}");
        }
        LimitCause::Successes(_) => {
            tracing::info!(from, to, "batch limit raised: {reason}{earlier}");
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; an invalid one shows as the default bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use reembed_encoder::events::InFlight;
    use reembed_encoder::limit::{BatchShape, Pace, TokenCount};

    use super::*;
    use crate::cli::LogFormat;

    const INTERVAL: Duration = Duration::from_secs(5);

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `work` logs.
    fn logged(work: impl FnOnce()) -> Vec<String> {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        tracing::subscriber::with_default(subscriber.finish(), work);
        let bytes = log.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    fn without_bar() -> Progress {
        let logging = Logging {
            quiet: true,
            verbose: 0,
            log_format: LogFormat::Text,
            progress_interval: INTERVAL,
        };
        let progress = Progress::new(&logging);
        assert!(progress.bar.is_none());
        progress
    }

    /// Moves the start and the last line into the past.
    fn pass_time(progress: &Progress, time: Duration) {
        let mut state = progress.state.lock().expect("no panic");
        let before = Instant::now().checked_sub(time).expect("a machine that is up for longer");
        (state.started, state.last_line) = (before, before);
    }

    fn limit(rows: usize) -> BatchLimit {
        let count = |number| std::num::NonZeroUsize::new(number).expect("not zero");
        BatchLimit {
            rows: count(rows),
            tokens: count(4096),
            counting: TokenCount::Padded,
            pace: Pace::NONE,
        }
    }

    #[test]
    fn progress_line_has_rows_rates_limit_and_eta() {
        let progress = without_bar();
        let lines = logged(|| {
            progress.event(Event::Started { rows: 1000, columns: 1 });
            progress.event(Event::Budget { bytes: None, least: None, limit: limit(32) });
            progress.event(Event::BatchDone { rows: 8, tokens: 500 });
            pass_time(&progress, Duration::from_secs(10));
            progress.event(Event::BatchDone { rows: 32, tokens: 1500 });
            progress.event(Event::Empty { rows: 60 });
        });
        assert_eq!(lines.len(), 2, "one at the start, one when due: {lines:#?}");
        assert!(
            lines[0].ends_with("INFO reembed_cli::progress: embedding rows=1000"),
            "{}",
            lines[0]
        );
        let wanted = "progress rows=40 of=1000 tasks_per_s=4.0 tokens_per_s=200.0 batch_limit=\"32 rows\" reused_share=0.0 eta_s=240.0";
        assert!(lines[1].ends_with(wanted), "{}", lines[1]);
        assert!(lines[1].starts_with("20"), "a line begins with its time: {}", lines[1]);
    }

    #[test]
    fn progress_line_moves_within_a_batch_and_never_back() {
        let progress = without_bar();
        let started = || {
            progress.event(Event::BatchStarted(InFlight {
                rows: 64,
                first: "row 1".to_owned(),
                last: "row 64".to_owned(),
                bytes: None,
            }));
        };
        let lines = logged(|| {
            progress.event(Event::Started { rows: 640, columns: 1 });
            progress.event(Event::Budget { bytes: None, least: None, limit: limit(64) });
            started();
            for (rows, tokens) in [(16, 900), (8, 500)] {
                pass_time(&progress, Duration::from_secs(10));
                progress.event(Event::PartDone { rows, tokens });
            }
            // It did not fit in memory: its first half starts again.
            started();
            pass_time(&progress, Duration::from_secs(10));
            progress.event(Event::PartDone { rows: 16, tokens: 900 });
            progress.event(Event::PartDone { rows: 16, tokens: 800 });
            pass_time(&progress, Duration::from_secs(10));
            progress.event(Event::BatchDone { rows: 32, tokens: 1700 });
        });
        let expected = [
            "rows=16 of=640 tasks_per_s=2.0 tokens_per_s=90.0",
            "rows=24 of=640 tasks_per_s=2.0 tokens_per_s=140.0",
            "rows=24 of=640 tasks_per_s=2.0 tokens_per_s=140.0",
            "rows=32 of=640 tasks_per_s=3.0 tokens_per_s=170.0",
        ];
        assert_eq!(lines.len(), 1 + expected.len(), "{lines:#?}");
        for (line, expected) in lines[1..].iter().zip(expected) {
            assert!(line.contains(expected), "{expected}: {line}");
        }
        assert!(lines[1].ends_with("eta_s=390.0"), "{}", lines[1]);
    }

    #[test]
    fn bar_moves_within_a_batch() {
        let bar = ProgressBar::hidden();
        let mut progress = without_bar();
        progress.bar = Some(bar.clone());
        progress.event(Event::Started { rows: 100, columns: 2 });
        for (event, position) in [
            (Event::Known { reused: 10, duplicate: 0 }, 5),
            (Event::PartDone { rows: 16, tokens: 900 }, 13),
            (Event::PartDone { rows: 0, tokens: 900 }, 13),
            (Event::PartDone { rows: 8, tokens: 500 }, 17),
            (Event::BatchDone { rows: 32, tokens: 2700 }, 21),
        ] {
            progress.event(event);
            assert_eq!((bar.position(), bar.length()), (position, Some(100)));
        }
    }

    #[test]
    fn first_limit_change_is_logged_at_once() {
        let progress = without_bar();
        let lines = logged(|| {
            progress.event(Event::Started { rows: 100, columns: 1 });
            let cause =
                LimitCause::OutOfMemory(BatchShape { rows: 32, longest: 256, tokens: 8192 });
            progress.event(Event::LimitChanged(LimitChange {
                from: limit(32),
                to: limit(16),
                cause,
            }));
            pass_time(&progress, INTERVAL);
            progress.event(Event::BatchDone { rows: 16, tokens: 100 });
        });
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(
            lines[1].contains("WARN")
                && lines[1].contains("32 texts of up to 256 tokens did not fit")
        );
        assert!(lines[2].contains("batch_limit=\"16 rows\""), "{}", lines[2]);
    }

    #[test]
    fn frequent_limit_changes_are_counted_not_logged() {
        let progress = without_bar();
        let shape = BatchShape { rows: 32, longest: 256, tokens: 8192 };
        let lines = logged(|| {
            let mut now = limit(32);
            for round in 0..3 {
                for rows in [16, 32].repeat(50) {
                    let cause = match rows {
                        16 => LimitCause::OutOfMemory(shape),
                        _ => LimitCause::Successes(8),
                    };
                    let change = LimitChange { from: now, to: limit(rows), cause };
                    progress.event(Event::LimitChanged(change));
                    now = change.to;
                }
                let mut state = progress.state.lock().expect("no panic");
                assert_eq!(state.unlogged_changes, 99, "round {round}");
                state.last_change = Instant::now().checked_sub(CHANGE_INTERVAL);
            }
        });
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(!lines[0].contains("not logged"), "{}", lines[0]);
        for line in &lines[1..] {
            let expected = "did not fit in memory (99 earlier changes not logged)";
            assert!(line.contains(expected), "{line}");
        }
    }

    #[test]
    fn line_is_due_after_the_interval() {
        let progress = without_bar();
        for (since, due) in [(0, false), (4, false), (5, true), (60, true)] {
            let last = Instant::now().checked_sub(Duration::from_secs(since));
            let last = last.expect("a machine that is up for longer");
            assert_eq!(progress.is_due(last), due, "{since} s");
        }
    }
}
