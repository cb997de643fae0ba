//! Timestamps of records: RFC 3339, UTC, to the second.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};

/// Formats a time: `2026-11-24T05:53:25Z`.
pub fn format(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Seconds since 1970; `None` for anything but a timestamp.
pub fn unix_seconds(timestamp: &str) -> Option<f64> {
    let time: DateTime<Utc> = timestamp.parse().ok()?;
    Some(SystemTime::from(time).duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

/// `24 November 2026, 05:53 UTC`; anything but a timestamp is returned unchanged.
pub fn readable(timestamp: &str) -> String {
    timestamp
        .parse::<DateTime<Utc>>()
        .map_or(timestamp.to_owned(), |time| time.format("%-d %B %Y, %H:%M UTC").to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timestamp_converts_both_ways() {
        let time = UNIX_EPOCH + Duration::from_secs(1_795_499_605);
        assert_eq!(format(time), "2026-11-24T05:53:25Z");
        assert_eq!(unix_seconds("2026-11-24T05:53:25Z"), Some(1_795_499_605.0));
        assert_eq!(unix_seconds("yesterday"), None);
    }

    #[test]
    fn readable_timestamp_has_date_and_time() {
        assert_eq!(readable("2026-11-04T05:53:25Z"), "4 November 2026, 05:53 UTC");
        assert_eq!(readable("yesterday"), "yesterday");
    }
}
