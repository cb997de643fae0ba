//! Formats numbers for people: counts, sizes, rates, percentages and durations.

/// A count with thousands separators: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size of `bytes` bytes in units of powers of 1000: `90.9 MB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KB", "MB", "GB", "TB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{size:.1} {}", UNITS[unit]) }
}

/// A rate or another quantity with three significant digits: `0.123`, `4.57`, `34.6`, `1,235`.
pub fn measure(value: f64) -> String {
    let size = value.abs();
    match value {
        _ if !value.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        _ if size >= 99.95 => {
            let sign = if value < 0.0 { "−" } else { "" };
            format!("{sign}{}", count(size.round() as u64))
        }
        _ if size >= 9.995 => format!("{value:.1}"),
        _ if size >= 0.9995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A share from 0 to 1 as a percentage: `97 %`, `99.6 %`, `0.4 %`.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        _ if !percent.is_finite() => "–".to_owned(),
        0.0 | 100.0 => format!("{percent:.0} %"),
        _ if (10.0..99.0).contains(&percent) => format!("{percent:.0} %"),
        _ => format!("{percent:.1} %"),
    }
}

/// A duration in seconds: `0.42 s`, `34.7 s`, `12 min 5 s`, `3 h 7 min`.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        _ if !seconds.is_finite() => "–".to_owned(),
        _ if seconds < 10.0 => format!("{seconds:.2} s"),
        _ if seconds < 99.95 => format!("{seconds:.1} s"),
        _ => {
            let whole = seconds.round() as u64;
            match (whole / 3600, whole / 60 % 60, whole % 60) {
                (0, minutes, rest) => format!("{minutes} min {rest} s"),
                (hours, minutes, _) => format!("{hours} h {minutes} min"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_separators_and_sizes_have_units() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([999, 1500, 90_868_376].map(bytes), ["999 bytes", "1.5 KB", "90.9 MB"]);
    }

    #[test]
    fn measures_have_three_significant_digits() {
        let cases = [0.0, 0.1234, 4.567, 34.63, 999.4, 12_345.6, -2.5, f64::NAN];
        assert_eq!(
            cases.map(measure),
            ["0", "0.123", "4.57", "34.6", "999", "12,346", "-2.50", "–"]
        );
    }

    #[test]
    fn percentages_and_durations_suit_their_size() {
        assert_eq!(
            [0.0, 0.004, 0.5, 0.974, 0.996, 1.0].map(percent),
            ["0 %", "0.4 %", "50 %", "97 %", "99.6 %", "100 %"]
        );
        assert_eq!(
            [0.42, 34.65, 725.0, 11_220.0].map(seconds),
            ["0.42 s", "34.6 s", "12 min 5 s", "3 h 7 min"]
        );
    }
}
