//! Hints for unknown names: the nearest known name, or the new name of a renamed key.

use super::settings::{RENAMED, SETTINGS};

/// A hint for an unknown key: the nearest key, or all keys of its table.
pub fn suggest_key(key: &str) -> String {
    let near = nearest(key, SETTINGS.iter().map(|setting| setting.key));
    let table = key.split('.').next().unwrap_or(key);
    let known: Vec<&str> =
        SETTINGS.iter().filter(|s| s.table() == table).map(|setting| setting.key).collect();
    match (near.as_str(), known.is_empty()) {
        ("", false) => format!("; the keys of this table are {}", known.join(", ")),
        _ => near,
    }
}

/// A hint for an unknown table: the nearest table, if one is near.
pub fn suggest_table(name: &str) -> String {
    nearest(name, SETTINGS.iter().map(|setting| setting.table()))
}

/// The new name of a table of an earlier version that is gone.
pub fn renamed_table(name: &str) -> Option<&'static str> {
    let table = |key: &'static str| key.split('.').next().unwrap_or(key);
    if SETTINGS.iter().any(|setting| setting.table() == name) {
        return None;
    }
    RENAMED.iter().find(|(old, _)| table(old) == name).map(|(_, now)| table(now))
}

/// A hint for a key of an earlier version.
pub fn renamed_key(key: &str) -> Option<String> {
    let (_, now) = RENAMED.iter().find(|(old, _)| *old == key)?;
    Some(format!("; it is now called `{now}`"))
}

/// The message for a key outside of a table: a setting without its table, or a table with a value.
pub fn not_a_table(name: &str) -> String {
    let full = SETTINGS.iter().find(|setting| setting.key.split('.').nth(1) == Some(name));
    let is_table = SETTINGS.iter().any(|setting| setting.table() == name);
    let hint = match full {
        Some(setting) => format!("; did you mean `{}`?", setting.key),
        None if is_table => String::new(),
        None => suggest_key(name),
    };
    format!("{:?} is not a table of settings{hint}", shown(name))
}

/// A name from the file, truncated for a message.
pub fn shown(name: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = name.chars().take(LONGEST).collect();
    if name.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// `; did you mean …?` for the nearest candidate, or the empty string where none is near.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    const NEAR: f64 = 0.7;
    let word = shown(word);
    // The table weighs less: it is usually right and would make all of its keys look near.
    let similarity = |candidate: &str| match (word.split_once('.'), candidate.split_once('.')) {
        (Some((table, key)), Some((other, candidate))) => {
            (strsim::jaro_winkler(table, other) + 3.0 * strsim::jaro_winkler(key, candidate)) / 4.0
        }
        _ => strsim::jaro_winkler(&word, candidate),
    };
    candidates
        .map(|candidate| (similarity(candidate), candidate))
        .filter(|(similarity, _)| *similarity >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(String::new(), |(_, candidate)| format!("; did you mean `{candidate}`?"))
}
