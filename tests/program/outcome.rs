//! What a run said, and how it ended.

use std::process::Output;

use crate::common::Table;

/// Standard output, then standard error.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Checks that a run succeeded; returns what it said.
#[track_caller]
pub fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    text(output)
}

/// Checks that a run ended with this code and said these words.
#[track_caller]
pub fn refused(output: &Output, code: i32, names: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
    for name in names {
        assert!(text(output).contains(name), "{name}: {}", text(output));
    }
}

/// The `reembed` entry of an output.
pub fn footer(table: &Table) -> serde_json::Value {
    serde_json::from_str(&table.entry("reembed").expect("an entry")).expect("JSON")
}
