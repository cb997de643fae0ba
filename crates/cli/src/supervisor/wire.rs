//! What parent and worker say to each other: one line of text each time.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use reembed::StopReason;
use reembed_encoder::events::InFlight;
use signal_hook::low_level::signal_name;

/// From the worker to its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The model is loaded; batches may take so many bytes, and one text takes that many at most.
    Budget {
        /// All that a batch may take.
        bytes: Option<u64>,
        /// What one text of full length takes.
        least: Option<u64>,
    },
    /// This batch goes into the model.
    Trying(InFlight),
    /// The vectors of so many more rows are in the cache.
    Committed(u64),
    /// The work is over, in whatever way, and its report is written.
    Over,
}

/// From the parent to its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Begin. The first order, and given once.
    Start {
        /// Who gives it, by process number.
        parent: u32,
        /// What batches may take, in the place of the configured limit.
        budget: Option<u64>,
        /// What is left of `run.deadline`.
        deadline: Option<Duration>,
    },
    /// Stop, and say so by the exit code.
    Stop(StopReason),
    /// A worker before this one died. Given before the order to begin, once for each.
    Died(EarlierDeath),
}

/// The death of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlierDeath {
    /// When, since the run began.
    pub at: Duration,
    /// Of which signal.
    pub signal: i32,
}

impl EarlierDeath {
    /// Why, in words.
    pub fn cause(&self) -> String {
        let name = signal_name(self.signal);
        let name = name.map_or_else(|| format!("signal {}", self.signal), str::to_owned);
        format!("it was killed by {name}, as it is when memory runs out")
    }
}

impl Status {
    /// Its line, with the end of the line.
    pub fn line(&self) -> String {
        match self {
            Status::Budget { bytes, least } => {
                format!("budget {} {}\n", dash(*bytes), dash(*least))
            }
            // Names are escaped: neither a tab nor the end of a line is in one.
            Status::Trying(batch) => format!(
                "trying {} {} {}\t{}\n",
                batch.rows,
                dash(batch.bytes),
                batch.first,
                batch.last
            ),
            Status::Committed(rows) => format!("committed {rows}\n"),
            Status::Over => "over\n".to_owned(),
        }
    }

    /// The status of a line, without its end.
    pub fn of_line(line: &str) -> Option<Status> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "over" if rest.is_empty() => Some(Status::Over),
            "budget" => {
                let (bytes, least) = rest.split_once(' ')?;
                Some(Status::Budget { bytes: undash(bytes)?, least: undash(least)? })
            }
            "trying" => {
                let mut parts = rest.splitn(3, ' ');
                let (rows, bytes) = (parts.next()?.parse().ok()?, undash(parts.next()?)?);
                let (first, last) = parts.next()?.split_once('\t')?;
                Some(Status::Trying(InFlight {
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
    /// Its line, with the end of the line.
    pub fn line(&self) -> String {
        match self {
            Order::Start { parent, budget, deadline } => {
                format!("start {parent} {} {}\n", dash(*budget), dash(deadline.map(milliseconds)))
            }
            Order::Stop(reason) => format!("stop {}\n", word_of(*reason)),
            Order::Died(EarlierDeath { at, signal }) => {
                format!("died {} {signal}\n", milliseconds(*at))
            }
        }
    }

    /// The order of a line, without its end.
    pub fn of_line(line: &str) -> Option<Order> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["start", parent, budget, deadline] => Some(Order::Start {
                parent: parent.parse().ok()?,
                budget: undash(budget)?,
                deadline: undash(deadline)?.map(Duration::from_millis),
            }),
            ["died", milliseconds, signal] => Some(Order::Died(EarlierDeath {
                at: Duration::from_millis(milliseconds.parse().ok()?),
                signal: signal.parse().ok()?,
            })),
            ["stop", word] => {
                REASONS.into_iter().find(|reason| word_of(*reason) == word).map(Order::Stop)
            }
            _ => None,
        }
    }
}

/// As many as the other side can read; beyond that no time is any different.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const REASONS: [StopReason; 3] =
    [StopReason::Interrupted, StopReason::Terminated, StopReason::Deadline];

fn word_of(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Interrupted => "interrupted",
        StopReason::Terminated => "terminated",
        StopReason::Deadline => "deadline",
    }
}

fn dash(number: Option<impl Display>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

/// `Some(None)` for a dash, `None` for what is neither that nor a number.
fn undash<T: FromStr>(text: &str) -> Option<Option<T>> {
    if text == "-" { Some(None) } else { text.parse().ok().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_heard() {
        let batch = |bytes| InFlight {
            rows: 32,
            first: "row 0 (id a b\\tc)".to_owned(),
            last: "row 31 (id )".to_owned(),
            bytes,
        };
        for status in [
            Status::Budget { bytes: Some(1 << 40), least: None },
            Status::Budget { bytes: None, least: Some(7) },
            Status::Trying(batch(Some(9))),
            Status::Trying(batch(None)),
            Status::Committed(u64::MAX),
            Status::Over,
        ] {
            let line = status.line();
            let line = line.strip_suffix('\n').expect("a whole line");
            assert_eq!(Status::of_line(line), Some(status));
        }
        let start = |budget, deadline| Order::Start { parent: 42, budget, deadline };
        for order in [
            start(None, None),
            start(Some(5), Some(Duration::from_millis(1500))),
            Order::Stop(StopReason::Interrupted),
            Order::Stop(StopReason::Terminated),
            Order::Stop(StopReason::Deadline),
            Order::Died(EarlierDeath { at: Duration::from_millis(90_500), signal: 9 }),
        ] {
            let line = order.line();
            assert_eq!(Order::of_line(line.trim_end()), Some(order));
        }
    }

    #[test]
    fn a_deadline_without_end_is_one_that_can_be_said() {
        let order = Order::Start { parent: 42, budget: None, deadline: Some(Duration::MAX) };
        let Some(Order::Start { deadline: Some(heard), .. }) =
            Order::of_line(order.line().trim_end())
        else {
            panic!("{}", order.line());
        };
        assert!(heard > Duration::from_hours(1 << 40), "{heard:?}");
    }

    #[test]
    fn half_a_line_and_anything_else_is_nothing() {
        for line in [
            "",
            "budget",
            "budget 1",
            "budget x -",
            "trying 3 4 row 1",
            "committed -1",
            "over 1",
            "?",
        ] {
            assert_eq!(Status::of_line(line), None, "{line:?}");
        }
        for line in ["", "start", "start 1 2", "start x - -", "stop", "stop now", "died 5"] {
            assert_eq!(Order::of_line(line), None, "{line:?}");
        }
    }
}
