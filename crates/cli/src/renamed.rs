//! Flags and commands of reembed 0.1 that have a new name.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Old and new names.
const RENAMED: [(&str, &str); 4] = [
    ("store", "cache"),
    ("--store", "--cache"),
    ("--store-mode", "--cache-mode"),
    ("--ways", "--modes"),
];

/// The old and the new name of the unknown flag or command in a usage error.
pub fn find(error: &clap::Error) -> Option<(&'static str, &'static str)> {
    let context = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        _ => return None,
    };
    let Some(ContextValue::String(word)) = error.get(context) else { return None };
    RENAMED.into_iter().find(|(old, _)| old == word)
}
