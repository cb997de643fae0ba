//! Throughput over time, in equal intervals whose number is bounded for a run of any length.

use std::time::Duration;

/// Initial width of an interval.
const FIRST_WIDTH: Duration = Duration::from_millis(125);

/// Maximum number of intervals. Beyond it, neighbours are merged and the width doubles.
const MAX_INTERVALS: usize = 240;

/// The work done in each interval since the first row.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    width: Duration,
    intervals: Vec<Interval>,
}

/// The work done in one interval; fractions of a row, where a batch spans two intervals.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Interval {
    /// Rows that received their vector.
    pub rows: f64,
    /// Their tokens, without padding.
    pub tokens: f64,
}

impl Default for Series {
    fn default() -> Self {
        Series { width: FIRST_WIDTH, intervals: Vec::new() }
    }
}

impl Series {
    /// Spreads the work done between two times over the intervals in between: a batch is reported once, at its end.
    pub fn add(&mut self, from: Duration, to: Duration, done: Interval) {
        while self.position(to) >= MAX_INTERVALS {
            self.merge_neighbours();
        }
        let last = self.position(to);
        if self.intervals.len() <= last {
            self.intervals.resize(last + 1, Interval::default());
        }
        let first = self.position(from).min(last);
        let width = self.width.as_secs_f64();
        let (from, to) = (from.as_secs_f64().min(to.as_secs_f64()), to.as_secs_f64());
        for (number, interval) in self.intervals.iter_mut().enumerate().take(last + 1).skip(first) {
            let start = number as f64 * width;
            let share = match to - from {
                0.0 => 1.0,
                time => (to.min(start + width) - from.max(start)).max(0.0) / time,
            };
            interval.rows += share * done.rows;
            interval.tokens += share * done.tokens;
        }
    }

    /// At most `max` intervals, and their width.
    pub fn at_most(mut self, max: usize) -> (Duration, Vec<Interval>) {
        while self.intervals.len() > max.max(1) {
            self.merge_neighbours();
        }
        (self.width, self.intervals)
    }

    fn position(&self, at: Duration) -> usize {
        usize::try_from(at.as_nanos() / self.width.as_nanos()).unwrap_or(usize::MAX)
    }

    fn merge_neighbours(&mut self) {
        self.width *= 2;
        let merge = |pair: &[Interval]| Interval {
            rows: pair.iter().map(|interval| interval.rows).sum(),
            tokens: pair.iter().map(|interval| interval.tokens).sum(),
        };
        self.intervals = self.intervals.chunks(2).map(merge).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(rows: f64) -> Interval {
        Interval { rows, tokens: 10.0 * rows }
    }

    #[test]
    fn intervals_are_bounded_and_keep_every_row() {
        let mut series = Series::default();
        for second in 0..10_000 {
            series.add(Duration::from_secs(second), Duration::from_secs(second + 1), done(3.0));
        }
        assert!(series.intervals.len() <= MAX_INTERVALS);
        let (width, intervals) = series.at_most(60);
        assert!(intervals.len() <= 60, "{}", intervals.len());
        let rows: f64 = intervals.iter().map(|interval| interval.rows).sum();
        let tokens: f64 = intervals.iter().map(|interval| interval.tokens).sum();
        assert!((rows - 30_000.0).abs() < 1e-6 && (tokens - 300_000.0).abs() < 1e-5);
        let per_second = intervals[3].rows / width.as_secs_f64();
        assert!((per_second - 3.0).abs() < 1e-6, "{per_second}");
    }

    #[test]
    fn batch_is_spread_over_its_duration() {
        let (half, width) = (FIRST_WIDTH / 2, FIRST_WIDTH);
        for (from, to, expected) in [
            (Duration::ZERO, 2 * width, vec![done(4.0), done(4.0), done(0.0)]),
            (half, width + half, vec![done(4.0), done(4.0)]),
            (half, half, vec![done(8.0)]),
            (width + half, 2 * width - Duration::from_nanos(1), vec![done(0.0), done(8.0)]),
        ] {
            let mut series = Series::default();
            series.add(from, to, done(8.0));
            assert_eq!(series.at_most(9).1, expected, "{from:?} to {to:?}");
        }
    }
}
