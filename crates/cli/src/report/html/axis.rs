//! Axes of the charts: time, counts and rates, with short labels.

use reembed::figures::{count, measure};

use super::super::record::RunRecord;
use crate::page::Scale;

/// An axis of the time since the first row.
pub fn time_axis(record: &RunRecord) -> Scale {
    Scale::exact(record.flow_seconds.unwrap_or(0.0), 6, short_time)
}

/// The label of a count or rate.
pub fn short_number(value: f64) -> String {
    let trimmed = |value: f64, unit: &str| format!("{}{unit}", (10.0 * value).round() / 10.0);
    match value {
        _ if value >= 1e6 => trimmed(value / 1e6, " M"),
        _ if value >= 1e4 => trimmed(value / 1e3, " k"),
        _ if value >= 1e3 => count(value as u64),
        _ if value >= 1.0 || value == 0.0 => trimmed(value, ""),
        _ => format!("{}", (1000.0 * value).round() / 1000.0),
    }
}

/// The label of a time.
fn short_time(time: f64) -> String {
    match time {
        _ if time < 1.0 && time > 0.0 => format!("{} s", measure(time)),
        _ if time < 120.0 => format!("{} s", (10.0 * time).round() / 10.0),
        _ if time < 7200.0 => format!("{} min", (time / 6.0).round() / 10.0),
        _ => format!("{} h", (time / 360.0).round() / 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_labels_are_short() {
        let labels = [0.0, 0.25, 7.0, 1500.0, 12_000.0, 3_400_000.0].map(short_number);
        assert_eq!(labels, ["0", "0.25", "7", "1,500", "12 k", "3.4 M"]);
        let labels = [0.0, 0.5, 30.0, 600.0, 10_800.0].map(short_time);
        assert_eq!(labels, ["0 s", "0.500 s", "30 s", "10 min", "3 h"]);
    }
}
