//! Which partitions of a dataset are taken: conditions on the values in the directories of its tables.
//!
//! `dt >= 2026-11-01 and country = de`: names of partitions, one of `=`, `!=`, `<`, `<=`, `>`, `>=`, and values.
//! Two values are compared as numbers if both are, as dates (`2026-11-01`) if both are, else as text.

use std::cmp::Ordering;
use std::fmt;

/// Conditions that all have to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Only {
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    name: String,
    comparison: Comparison,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The signs, longer ones before those that they begin with.
const SIGNS: [(&str, Comparison); 7] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

impl Only {
    /// Parses conditions.
    ///
    /// # Errors
    /// What is wrong, as a clause about the text.
    pub fn parse(text: &str) -> Result<Only, String> {
        let conditions = split_at_and(text)?.into_iter().map(|part| Condition::parse(&part));
        Ok(Only { conditions: conditions.collect::<Result<_, _>>()? })
    }

    /// The names of the partitions that it needs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.conditions.iter().map(|condition| condition.name.as_str())
    }

    /// Whether all conditions hold for a table. `value` returns the value of a partition; a table without one
    /// is not taken.
    pub fn takes<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> bool {
        self.conditions.iter().all(|condition| {
            value(&condition.name).is_some_and(|value| {
                let order = compare(value, &condition.value);
                match condition.comparison {
                    Comparison::Equal => order == Ordering::Equal,
                    Comparison::NotEqual => order != Ordering::Equal,
                    Comparison::Less => order == Ordering::Less,
                    Comparison::LessOrEqual => order != Ordering::Greater,
                    Comparison::Greater => order == Ordering::Greater,
                    Comparison::GreaterOrEqual => order != Ordering::Less,
                }
            })
        })
    }
}

/// As it can be parsed again.
impl fmt::Display for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Condition { name, comparison, value }) in self.conditions.iter().enumerate() {
            let sign =
                SIGNS.iter().rev().find(|(_, one)| one == comparison).map_or("", |one| one.0);
            let and = if number == 0 { "" } else { " and " };
            write!(f, "{and}{name} {sign} {value:?}")?;
        }
        Ok(())
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Condition, String> {
        let wrong = |what: &str| format!("{what} in `{}`", text.trim());
        let at = text.find(['=', '!', '<', '>']).ok_or_else(|| wrong("there is no comparison"))?;
        let (name, rest) = text.split_at(at);
        let sign = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
        let (sign, comparison) = *sign.ok_or_else(|| wrong("`!` is no comparison"))?;
        let (name, value) = (name.trim(), rest[sign.len()..].trim());
        if name.is_empty() {
            return Err(wrong("there is no partition name"));
        }
        let quoted = ['"', '\''].iter().find_map(|quote| {
            (value.len() > 1).then(|| value.strip_prefix(*quote)?.strip_suffix(*quote))?
        });
        if value.is_empty() {
            return Err(wrong("there is no value"));
        }
        let value = quoted.unwrap_or(value).to_owned();
        Ok(Condition { name: name.to_owned(), comparison, value })
    }
}

/// The parts between the words `and`, which may not be inside quotes.
fn split_at_and(text: &str) -> Result<Vec<String>, String> {
    let (mut parts, mut part, mut quote) = (Vec::new(), String::new(), None);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        match quote {
            Some(open) if open == letter => quote = None,
            None if letter == '"' || letter == '\'' => quote = Some(letter),
            None => {
                let is_word = rest.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(" and"));
                let is_and = is_word && rest[4..].chars().next().is_none_or(char::is_whitespace);
                if is_and {
                    parts.push(std::mem::take(&mut part));
                    rest = &rest[4..];
                    continue;
                }
            }
            Some(_) => {}
        }
        part.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    parts.push(part);
    Ok(parts)
}

/// The order of two values.
fn compare(one: &str, other: &str) -> Ordering {
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    // Large whole numbers differ in digits that a float does not have.
    if let (Ok(one), Ok(other)) = (one.parse::<i128>(), other.parse::<i128>()) {
        return one.cmp(&other);
    }
    if let (Some(one), Some(other)) = (number(one), number(other)) {
        return one.total_cmp(&other);
    }
    if let (Some(one), Some(other)) = (date(one), date(other)) {
        return one.cmp(&other);
    }
    one.cmp(other)
}

/// Year, month and day of a date such as `2026-11-01`.
fn date(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('-');
    let mut part = |digits: usize| {
        let part = parts.next()?;
        let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse().ok())?
    };
    let date = (part(4)?, part(2)?, part(2)?);
    let is_date =
        parts.next().is_none() && (1..=12).contains(&date.1) && (1..=31).contains(&date.2);
    is_date.then_some(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_as_what_both_are() {
        for (only, value, expected) in [
            ("dt >= 2026-11-01", "2026-11-01", true),
            ("dt >= 2026-11-01", "2026-10-31", false),
            ("dt>2026-11-01", "2026-12-01", true),
            ("dt < 9", "10", false),
            ("dt < 9", "8.5", true),
            ("dt < 9", "1e3", false),
            // Text, since one of the two is no number.
            ("dt < 9", "10a", true),
            ("dt = 007", "7", true),
            ("dt == '007'", "7", true),
            ("dt = de", "DE", false),
            ("dt != de", "fr", true),
            ("dt != de", "de", false),
            ("dt <= b", "b", true),
            ("dt = 9007199254740993", "9007199254740992", false),
            ("dt = \"a and b\"", "a and b", true),
            ("dt > a and dt < c", "b", true),
            ("dt > a AND dt < c", "c", false),
            ("dt = nan", "nan", true),
            ("dt = ' '", " ", true),
        ] {
            let parsed = Only::parse(only).unwrap_or_else(|error| panic!("{only}: {error}"));
            let takes = |only: &Only| only.takes(|name| (name == "dt").then_some(value));
            assert_eq!(takes(&parsed), expected, "{only} for {value}");
            let again = Only::parse(&parsed.to_string()).expect("it is parsed again");
            assert_eq!(takes(&again), expected, "{parsed}");
            assert!(!parsed.takes(|_| None), "{only}");
        }
    }

    #[test]
    fn what_is_no_condition_is_told() {
        for (only, expected) in [
            ("", "no comparison"),
            ("dt", "no comparison in `dt`"),
            ("dt ! 3", "`!` is no comparison"),
            ("= 3", "no partition name"),
            ("dt =", "no value"),
            ("dt = 1 and", "no comparison"),
            ("dt = 'a", "not closed"),
        ] {
            let error = Only::parse(only).expect_err(only);
            assert!(error.contains(expected), "{only}: {error}");
        }
    }
}
