//! Throughput over time, in a bounded number of equal intervals however long the run is.

use std::time::Duration;

/// The width that intervals begin with.
const FIRST_WIDTH: Duration = Duration::from_millis(125);

/// When there are more intervals than this, neighbours are joined and the width doubles.
const MOST_INTERVALS: usize = 240;

/// What was done in each interval since the first row.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    width: Duration,
    intervals: Vec<Interval>,
}

/// What was done in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interval {
    /// Rows that got their vector.
    pub rows: u64,
    /// Real tokens that went through the model for them.
    pub tokens: u64,
}

impl Default for Series {
    fn default() -> Self {
        Series { width: FIRST_WIDTH, intervals: Vec::new() }
    }
}

impl Series {
    /// Adds what was done at the time `at` since the start. Times may come in any order.
    pub fn add(&mut self, at: Duration, done: Interval) {
        while self.position(at) >= MOST_INTERVALS {
            self.halve();
        }
        let position = self.position(at);
        if self.intervals.len() <= position {
            self.intervals.resize(position + 1, Interval::default());
        }
        let interval = &mut self.intervals[position];
        interval.rows += done.rows;
        interval.tokens += done.tokens;
    }

    /// The intervals joined so far that at most `most` are left, and their width. Batches are coarse: narrow
    /// intervals show their rhythm and not the speed.
    pub fn at_most(mut self, most: usize) -> (Duration, Vec<Interval>) {
        while self.intervals.len() > most.max(1) {
            self.halve();
        }
        (self.width, self.intervals)
    }

    fn position(&self, at: Duration) -> usize {
        usize::try_from(at.as_nanos() / self.width.as_nanos()).unwrap_or(usize::MAX)
    }

    fn halve(&mut self) {
        self.width *= 2;
        let join = |pair: &[Interval]| Interval {
            rows: pair.iter().map(|interval| interval.rows).sum(),
            tokens: pair.iter().map(|interval| interval.tokens).sum(),
        };
        self.intervals = self.intervals.chunks(2).map(join).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(rows: u64) -> Interval {
        Interval { rows, tokens: 10 * rows }
    }

    #[test]
    fn intervals_are_bounded_and_lose_nothing() {
        let mut series = Series::default();
        for second in 0..10_000 {
            series.add(Duration::from_secs(second), done(3));
        }
        assert!(series.intervals.len() <= MOST_INTERVALS);
        let (width, intervals) = series.at_most(60);
        assert!(intervals.len() <= 60, "{}", intervals.len());
        assert_eq!(intervals.iter().map(|interval| interval.rows).sum::<u64>(), 30_000);
        assert_eq!(intervals.iter().map(|interval| interval.tokens).sum::<u64>(), 300_000);
        let per_second = intervals[3].rows as f64 / width.as_secs_f64();
        assert!((per_second - 3.0).abs() < 0.1, "{per_second}");
    }

    #[test]
    fn a_late_answer_goes_where_it_belongs() {
        let mut series = Series::default();
        series.add(Duration::from_millis(300), done(1));
        series.add(Duration::from_millis(10), done(2));
        let (width, intervals) = series.at_most(100);
        assert_eq!(width, FIRST_WIDTH);
        assert_eq!(intervals, [done(2), done(0), done(1)]);
    }
}
