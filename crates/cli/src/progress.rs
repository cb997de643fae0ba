//! Renders events: a bar where standard error is a terminal, one log line every few seconds elsewhere.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use reembed::Event;
use reembed::figures::percent;
use reembed_encoder::limit::{BatchLimit, LimitCause, LimitChange};
use reembed_encoder::model::source::FetchProgress;

use crate::cli::Logging;
use crate::print::{bytes, safe};

/// Seconds between two lines of progress where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Turns a run's events into something to look at.
pub struct Progress {
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

struct State {
    started: Instant,
    last_line: Instant,
    total: u64,
    rows: u64,
    tokens: u64,
    /// Rows whose vector was there already.
    known: u64,
    reading_back: bool,
    limit: Option<BatchLimit>,
    /// When a move of the limit was last told, and how many moves there were since.
    last_move: Option<Instant>,
    untold_moves: u64,
    /// The file that is on its way.
    file: Option<String>,
}

impl Progress {
    /// A bar on a terminal; nothing when quiet.
    pub fn new(logging: &Logging) -> Self {
        let wanted = !logging.quiet && io::stderr().is_terminal();
        let now = Instant::now();
        Progress {
            bar: wanted.then(ProgressBar::no_length),
            state: Mutex::new(State {
                started: now,
                last_line: now,
                total: 0,
                rows: 0,
                tokens: 0,
                known: 0,
                reading_back: false,
                limit: None,
                last_move: None,
                untold_moves: 0,
                file: None,
            }),
        }
    }

    /// Takes note of an event.
    pub fn event(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Model(progress) => self.model(&mut state, progress),
            Event::Started { rows, limit } => {
                let now = Instant::now();
                (state.started, state.last_line) = (now, now);
                (state.total, state.limit) = (rows, Some(limit));
                self.start_rows(rows);
            }
            Event::Batch { rows, tokens } => {
                state.tokens += tokens as u64;
                self.advance(&mut state, rows);
            }
            Event::Budget { .. } | Event::Trying(_) => {}
            Event::Empty { rows } => self.advance(&mut state, rows),
            Event::Known { reused, duplicate } => {
                state.known += (reused + duplicate) as u64;
                self.advance(&mut state, reused + duplicate);
            }
            Event::ReadBack { rows } => self.read_back(&mut state, rows),
            Event::Kept { rows } => {
                self.aside(|| tracing::debug!(rows, "vectors kept in the cache"))
            }
            Event::Limit(change) => {
                state.limit = Some(change.to);
                self.limit_changed(&mut state, change);
            }
            Event::Warning(warning) => self.aside(|| tracing::warn!("{warning}")),
            Event::Loaded(_) | Event::ChunkDone { .. } | Event::Stages(_) => {}
        }
    }

    /// Takes the bar away, so that what is printed next stands alone.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// One line of what is being done, for work that has no events.
    pub fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_style(style("{spinner} {msg}"));
                bar.set_message(what.to_owned());
                bar.tick();
            }
            None => tracing::info!("{what}"),
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

    fn advance(&self, state: &mut State, rows: usize) {
        state.rows += rows as u64;
        let seconds = state.started.elapsed().as_secs_f64().max(1e-9);
        let (tasks, tokens) = (state.rows as f64 / seconds, state.tokens as f64 / seconds);
        let limit = state.limit.map_or(String::new(), |limit| limit.to_string());
        let reused = state.known as f64 / state.rows.max(1) as f64;
        match &self.bar {
            Some(bar) => {
                bar.set_position(state.rows);
                let reused = match state.known {
                    0 => String::new(),
                    _ => format!(", {} reused", percent(reused)),
                };
                bar.set_message(format!(
                    "{tasks:.0} tasks/s, {tokens:.0} tokens/s, batch limit {limit}{reused}"
                ));
            }
            None if is_due(state.last_line.elapsed()) => {
                state.last_line = Instant::now();
                let left = (state.total.saturating_sub(state.rows)) as f64 / tasks.max(1e-9);
                tracing::info!(
                    rows = state.rows,
                    of = state.total,
                    tasks_per_s = tasks.round(),
                    tokens_per_s = tokens.round(),
                    batch_limit = limit,
                    reused_share = (1000.0 * reused).round() / 1000.0,
                    eta_s = left.round(),
                    "progress"
                );
            }
            None => {}
        }
    }

    /// The finished file is decoded again: another pass over as many rows.
    fn read_back(&self, state: &mut State, rows: u64) {
        let is_new = !std::mem::replace(&mut state.reading_back, true);
        match &self.bar {
            Some(bar) => {
                if is_new {
                    bar.reset();
                    bar.set_style(style(
                        "{wide_bar} {human_pos}/{human_len} rows read back, {eta} left",
                    ));
                }
                bar.set_position(rows);
            }
            None if is_new || is_due(state.last_line.elapsed()) => {
                state.last_line = Instant::now();
                tracing::info!(rows, of = state.total, "reading back");
            }
            None => {}
        }
    }

    /// The first move is told at once; a limit that goes up and down with every batch does not fill the log.
    fn limit_changed(&self, state: &mut State, change: LimitChange) {
        if state.last_move.is_some_and(|told| !is_due(told.elapsed())) {
            state.untold_moves += 1;
            return;
        }
        let untold = std::mem::take(&mut state.untold_moves);
        state.last_move = Some(Instant::now());
        self.aside(|| limit_changed(change, untold));
    }

    fn model(&self, state: &mut State, progress: FetchProgress) {
        match progress {
            FetchProgress::Trying { origin } => tracing::debug!("looking for the model: {origin}"),
            FetchProgress::Failed { origin, reason } => {
                tracing::debug!("no model from {origin}: {}", safe(&reason));
            }
            FetchProgress::Waiting => {
                self.aside(|| tracing::info!("waiting for another process that fetches the model"));
            }
            FetchProgress::Reading { origin, file, done, total } => {
                let is_new = state.file.as_ref() != Some(&file);
                match &self.bar {
                    Some(bar) => {
                        if is_new {
                            bar.reset();
                            bar.set_style(style("{spinner} {msg} {bytes} {wide_bar}"));
                        }
                        bar.set_message(format!("model from {origin}: {}", safe(&file)));
                        bar.set_length(total.unwrap_or(done));
                        bar.set_position(done);
                    }
                    None if is_new || is_due(state.last_line.elapsed()) => {
                        state.last_line = Instant::now();
                        let size =
                            total.map_or(String::new(), |total| format!(" of {}", bytes(total)));
                        let done = bytes(done);
                        tracing::debug!("model from {origin}: {} {done}{size}", safe(&file));
                    }
                    None => {}
                }
                state.file = Some(file);
            }
        }
    }

    /// Logs a line without tearing the bar apart.
    fn aside(&self, log: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(log),
            None => log(),
        }
    }
}

/// However a command ends, an error is not printed behind a bar.
impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn limit_changed(LimitChange { from, to, cause }: LimitChange, untold: u64) {
    let (from, to) = (from.to_string(), to.to_string());
    let since = match untold {
        0 => String::new(),
        1 => ", after a move that was not told".to_owned(),
        many => format!(", after {many} moves that were not told"),
    };
    match cause {
        LimitCause::OutOfMemory(shape) => tracing::warn!(
            from,
            to,
            "batch limit lowered: {} texts of up to {} tokens did not fit in memory{since}",
            shape.rows,
            shape.longest
        ),
        LimitCause::Successes(successes) => {
            tracing::info!(
                from,
                to,
                "batch limit raised: {successes} batches in a row fitted{since}"
            );
        }
    }
}

/// Whether so long after one line of progress another one is due.
fn is_due(since: Duration) -> bool {
    since >= LINE_EVERY
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours and valid; a mistake in one shows as the default bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use reembed_encoder::limit::{BatchShape, TokenCount};

    use super::*;
    use crate::cli::LogFormat;

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

    fn off_a_terminal() -> Progress {
        let logging = Logging { quiet: true, verbose: 0, log_format: LogFormat::Text };
        let progress = Progress::new(&logging);
        assert!(progress.bar.is_none());
        progress
    }

    /// As if the last line had come so long ago.
    fn wait(progress: &Progress, time: Duration) {
        let mut state = progress.state.lock().expect("no panic");
        let before = Instant::now().checked_sub(time).expect("a machine that runs for longer");
        (state.started, state.last_line) = (before, before);
    }

    fn limit(rows: usize) -> BatchLimit {
        let count = |number| std::num::NonZeroUsize::new(number).expect("not zero");
        BatchLimit { rows: count(rows), tokens: count(4096), counting: TokenCount::Padded }
    }

    #[test]
    fn a_line_of_progress_has_rows_speed_limit_and_the_time_that_is_left() {
        let progress = off_a_terminal();
        let lines = logged(|| {
            progress.event(Event::Started { rows: 1000, limit: limit(32) });
            progress.event(Event::Batch { rows: 8, tokens: 500 });
            wait(&progress, Duration::from_secs(10));
            progress.event(Event::Batch { rows: 32, tokens: 1500 });
            progress.event(Event::Empty { rows: 60 });
        });
        assert_eq!(lines.len(), 2, "one line when it starts, one when it is due: {lines:#?}");
        assert!(lines[0].ends_with("INFO reembed::progress: embedding rows=1000"), "{}", lines[0]);
        let wanted = "progress rows=40 of=1000 tasks_per_s=4.0 tokens_per_s=200.0 batch_limit=\"32 rows\" reused_share=0.0 eta_s=240.0";
        assert!(lines[1].ends_with(wanted), "{}", lines[1]);
        assert!(lines[1].starts_with("20"), "a line begins with its time: {}", lines[1]);
    }

    #[test]
    fn a_limit_that_moves_is_told_at_once_and_shown_from_then_on() {
        let progress = off_a_terminal();
        let lines = logged(|| {
            progress.event(Event::Started { rows: 100, limit: limit(32) });
            let cause =
                LimitCause::OutOfMemory(BatchShape { rows: 32, longest: 256, tokens: 8192 });
            progress.event(Event::Limit(LimitChange { from: limit(32), to: limit(16), cause }));
            wait(&progress, LINE_EVERY);
            progress.event(Event::Batch { rows: 16, tokens: 100 });
        });
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(
            lines[1].contains("WARN")
                && lines[1].contains("32 texts of up to 256 tokens did not fit")
        );
        assert!(lines[2].contains("batch_limit=\"16 rows\""), "{}", lines[2]);
    }

    #[test]
    fn a_limit_that_moves_all_the_time_is_told_every_few_seconds() {
        let progress = off_a_terminal();
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
                    progress.event(Event::Limit(change));
                    now = change.to;
                }
                let mut state = progress.state.lock().expect("no panic");
                assert_eq!(state.untold_moves, 99, "round {round}");
                state.last_move = Instant::now().checked_sub(LINE_EVERY);
            }
        });
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(!lines[0].contains("not told"), "{}", lines[0]);
        for line in &lines[1..] {
            assert!(
                line.contains("did not fit in memory, after 99 moves that were not told"),
                "{line}"
            );
        }
    }

    #[test]
    fn a_line_is_due_every_few_seconds() {
        for (since, due) in [(0, false), (4, false), (5, true), (60, true)] {
            assert_eq!(is_due(Duration::from_secs(since)), due, "{since} s");
        }
    }
}
