//! The messages between supervisor and worker: one line of text each.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use reembed::StopReason;
use reembed_encoder::events::InFlight;
use signal_hook::low_level;

/// A message of the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The model is loaded.
    Budget {
        /// The memory budget of a batch in bytes.
        bytes: Option<u64>,
        /// The size in bytes of one text of maximum length.
        one_text: Option<u64>,
    },
    /// This batch is about to go through the model.
    BatchStarted(InFlight),
    /// The vectors of this many more rows are committed to the cache.
    Committed(u64),
    /// The run ended and its report is written.
    Finished,
}

/// A message of the supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A previous worker died. Sent before `Start`, once for each.
    PreviousDeath(WorkerDeath),
    /// Start the run. Sent once.
    Start {
        /// The PID of the supervisor.
        supervisor: u32,
        /// The memory budget of a batch, instead of the configured one.
        budget: Option<u64>,
        /// The time left until `run.deadline`.
        deadline: Option<Duration>,
    },
    /// Stop, and exit with the code of this reason.
    Stop(StopReason),
}

/// The death of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerDeath {
    /// When, since the start of the run.
    pub at: Duration,
    /// The signal that killed it.
    pub signal: i32,
}

impl WorkerDeath {
    /// The cause, in words.
    pub fn cause(&self) -> String {
        let signal = signal_name(self.signal);
        format!("it was killed by {signal}, which usually means that memory ran out")
    }
}

/// The name of a signal: `SIGKILL`.
pub fn signal_name(signal: i32) -> String {
    low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

impl Status {
    /// The message as a line, with its newline.
    pub fn to_line(&self) -> String {
        match self {
            Status::Budget { bytes, one_text } => {
                format!("budget {} {}\n", format_optional(*bytes), format_optional(*one_text))
            }
            // The names of rows are escaped: they have neither tab nor newline.
            Status::BatchStarted(batch) => format!(
                "batch {} {} {}\t{}\n",
                batch.rows,
                format_optional(batch.bytes),
                batch.first,
                batch.last
            ),
            Status::Committed(rows) => format!("committed {rows}\n"),
            Status::Finished => "finished\n".to_owned(),
        }
    }

    /// Parses a line without its newline.
    pub fn parse(line: &str) -> Option<Status> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "finished" if rest.is_empty() => Some(Status::Finished),
            "budget" => {
                let (bytes, one_text) = rest.split_once(' ')?;
                Some(Status::Budget {
                    bytes: parse_optional(bytes)?,
                    one_text: parse_optional(one_text)?,
                })
            }
            "batch" => {
                let mut parts = rest.splitn(3, ' ');
                let (rows, bytes) = (parts.next()?.parse().ok()?, parse_optional(parts.next()?)?);
                let (first, last) = parts.next()?.split_once('\t')?;
                Some(Status::BatchStarted(InFlight {
                    rows,
                    bytes,
                    first: first.to_owned(),
                    last: last.to_owned(),
                }))
            }
            "committed" => Some(Status::Committed(rest.parse().ok()?)),
            _ => None,
        }
    }
}

impl Order {
    /// The message as a line, with its newline.
    pub fn to_line(self) -> String {
        match self {
            Order::PreviousDeath(WorkerDeath { at, signal }) => {
                format!("death {} {signal}\n", milliseconds(at))
            }
            Order::Start { supervisor, budget, deadline } => {
                let deadline = format_optional(deadline.map(milliseconds));
                format!("start {supervisor} {} {deadline}\n", format_optional(budget))
            }
            Order::Stop(reason) => format!("stop {}\n", reason_as_str(reason)),
        }
    }

    /// Parses a line without its newline.
    pub fn parse(line: &str) -> Option<Order> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["death", milliseconds, signal] => Some(Order::PreviousDeath(WorkerDeath {
                at: Duration::from_millis(milliseconds.parse().ok()?),
                signal: signal.parse().ok()?,
            })),
            ["start", supervisor, budget, deadline] => Some(Order::Start {
                supervisor: supervisor.parse().ok()?,
                budget: parse_optional(budget)?,
                deadline: parse_optional(deadline)?.map(Duration::from_millis),
            }),
            ["stop", reason] => parse_reason(reason).map(Order::Stop),
            _ => None,
        }
    }
}

/// Milliseconds, at most `u64::MAX`, which is longer than any run.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const REASONS: [StopReason; 3] =
    [StopReason::Interrupted, StopReason::Terminated, StopReason::Deadline];

fn reason_as_str(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Interrupted => "interrupted",
        StopReason::Terminated => "terminated",
        StopReason::Deadline => "deadline",
    }
}

fn parse_reason(text: &str) -> Option<StopReason> {
    REASONS.into_iter().find(|reason| reason_as_str(*reason) == text)
}

/// A number, or `-`.
fn format_optional(number: Option<impl Display>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

/// `Some(None)` for `-`, `None` for neither `-` nor a number.
fn parse_optional<T: FromStr>(text: &str) -> Option<Option<T>> {
    if text == "-" { Some(None) } else { text.parse().ok().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_a_round_trip() {
        let batch = |bytes| InFlight {
            rows: 32,
            first: "row 0 (id a b\\tc)".to_owned(),
            last: "row 31 (id )".to_owned(),
            bytes,
        };
        for status in [
            Status::Budget { bytes: Some(1 << 40), one_text: None },
            Status::Budget { bytes: None, one_text: Some(7) },
            Status::BatchStarted(batch(Some(9))),
            Status::BatchStarted(batch(None)),
            Status::Committed(u64::MAX),
            Status::Finished,
        ] {
            let line = status.to_line();
            let line = line.strip_suffix('\n').expect("a whole line");
            assert_eq!(Status::parse(line), Some(status));
        }
        let start = |budget, deadline| Order::Start { supervisor: 42, budget, deadline };
        for order in [
            Order::PreviousDeath(WorkerDeath { at: Duration::from_millis(90_500), signal: 9 }),
            start(None, None),
            start(Some(5), Some(Duration::from_millis(1500))),
            Order::Stop(StopReason::Interrupted),
            Order::Stop(StopReason::Terminated),
            Order::Stop(StopReason::Deadline),
        ] {
            let line = order.to_line();
            assert_eq!(Order::parse(line.trim_end()), Some(order));
        }
    }

    #[test]
    fn longest_deadline_is_clamped() {
        let order = Order::Start { supervisor: 42, budget: None, deadline: Some(Duration::MAX) };
        let Some(Order::Start { deadline: Some(parsed), .. }) =
            Order::parse(order.to_line().trim_end())
        else {
            panic!("{}", order.to_line());
        };
        assert!(parsed > Duration::from_hours(1 << 40), "{parsed:?}");
    }

    #[test]
    fn incomplete_and_unknown_lines_are_rejected() {
        for line in [
            "",
            "budget",
            "budget 1",
            "budget x -",
            "batch 3 4 row 1",
            "committed -1",
            "finished 1",
            "?",
        ] {
            assert_eq!(Status::parse(line), None, "{line:?}");
        }
        for line in ["", "start", "start 1 2", "start x - -", "stop", "stop now", "death 5"] {
            assert_eq!(Order::parse(line), None, "{line:?}");
        }
    }
}
