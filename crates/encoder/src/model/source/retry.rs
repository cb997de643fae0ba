//! Whether a request to the hub is sent again, and after how long: a pure function.

use std::time::Duration;

/// Requests for one file without a byte in between.
const MAX_TRIES: u32 = 5;
/// The longest wait that the hub may ask for. One that asks for more is not asked again.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// The most that a fetch waits in all.
const MAX_WAITED: Duration = Duration::from_secs(180);

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The hub answered with this status.
    Status {
        /// The status code of HTTP.
        code: u16,
        /// The wait that the hub asks for.
        retry_after: Option<Duration>,
    },
    /// No answer: no connection, or one that broke.
    None {
        /// Whether the hub answered an earlier request. A network that is closed stays closed.
        hub_is_known: bool,
    },
    /// The body broke off.
    Short,
}

/// What was tried so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tries {
    /// Requests for this file, the last one included.
    pub(super) count: u32,
    /// The sum of the waits of this fetch.
    pub(super) waited: Duration,
}

/// The wait before the next request; `None`: the answer is final. Waits double from `first_pause` on,
/// unless the hub asks for another one.
pub(super) fn pause_before_retry(
    tries: Tries,
    answer: Answer,
    first_pause: Duration,
) -> Option<Duration> {
    let is_temporary = match answer {
        Answer::Status { code, .. } => [408, 429, 500, 502, 503, 504].contains(&code),
        Answer::None { hub_is_known } => hub_is_known,
        Answer::Short => true,
    };
    let asked = match answer {
        Answer::Status { retry_after, .. } => retry_after,
        _ => None,
    };
    let doubled = first_pause.saturating_mul(1 << tries.count.saturating_sub(1).min(16));
    let pause = asked.unwrap_or(doubled);
    let is_over = tries.count >= MAX_TRIES
        || pause > MAX_PAUSE
        || tries.waited.saturating_add(pause) > MAX_WAITED;
    (is_temporary && !is_over).then_some(pause)
}

/// The wait that a header `Retry-After` asks for: seconds, or a date as HTTP writes it. `now` is in
/// seconds since 1970. `None` if it is neither.
pub(super) fn parse_retry_after(header: &str, now: u64) -> Option<Duration> {
    let seconds = match header.trim().parse() {
        Ok(seconds) => seconds,
        Err(_) => http_date(header.trim())?.saturating_sub(now),
    };
    Some(Duration::from_secs(seconds))
}

/// The seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (_, date) = text.strip_suffix(" GMT")?.split_once(", ")?;
    let mut parts = date.split(' ');
    let day: u64 = parts.next()?.parse().ok()?;
    let month = parts.next().filter(|month| month.len() == 3)?;
    let month = MONTHS.find(month).filter(|at| at % 3 == 0)? as u64 / 3 + 1;
    let year: u64 = parts.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let mut time = parts.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let is_date = (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !is_date || parts.next().is_some() || time.next().is_some() {
        return None;
    }
    // Years that begin in March, so that a leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    const DAYS_TO_1970: u64 = 719_468;
    Some((days - DAYS_TO_1970) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn status(code: u16, retry_after: Option<u64>) -> Answer {
        Answer::Status { code, retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn temporary_answers_are_tried_again_with_growing_pauses() {
        for (count, waited, answer, expected) in [
            (1, 0, status(200, None), None),
            (1, 0, status(401, None), None),
            (1, 0, status(403, None), None),
            (1, 0, status(404, Some(1)), None),
            (1, 0, status(501, None), None),
            (1, 0, status(408, None), Some(1)),
            (1, 0, status(429, None), Some(1)),
            (2, 1, status(500, None), Some(2)),
            (3, 3, status(502, None), Some(4)),
            (4, 7, status(504, None), Some(8)),
            (5, 15, status(503, None), None),
            // What the hub asks for, up to a limit.
            (1, 0, status(429, Some(0)), Some(0)),
            (1, 0, status(429, Some(60)), Some(60)),
            (1, 0, status(503, Some(61)), None),
            (4, 0, status(503, Some(1)), Some(1)),
            (5, 0, status(503, Some(0)), None),
            // The waits of a whole fetch.
            (1, 120, status(429, Some(60)), Some(60)),
            (1, 121, status(429, Some(60)), None),
            // A closed network is not waited for.
            (1, 0, Answer::None { hub_is_known: false }, None),
            (1, 0, Answer::None { hub_is_known: true }, Some(1)),
            (5, 0, Answer::None { hub_is_known: true }, None),
            (1, 0, Answer::Short, Some(1)),
            (4, 0, Answer::Short, Some(8)),
            (5, 0, Answer::Short, None),
        ] {
            let tries = Tries { count, waited: Duration::from_secs(waited) };
            let pause = pause_before_retry(tries, answer, SECOND);
            assert_eq!(pause, expected.map(Duration::from_secs), "{tries:?} {answer:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // 1994-11-06 08:49:37.
        const NOW: u64 = 784_111_777;
        for (header, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:00 GMT", Some(23)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(86_400)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Thu, 29 Feb 1996 08:49:37 GMT", Some(480 * 86_400)),
            ("Fri, 01 Mar 1996 08:49:37 GMT", Some(481 * 86_400)),
            ("", None),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 06 ovD 1994 08:49:37 GMT", None),
            ("Sun, 40 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:49:37 GMT", None),
        ] {
            let wait = parse_retry_after(header, NOW);
            assert_eq!(wait, expected.map(Duration::from_secs), "{header:?}");
        }
    }
}
