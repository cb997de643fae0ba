//! The vector store is a file of its own: a database that was made where the output, the input, the lock or a report
//! is to be would take its place.

use std::fs;
use std::path::{Component, Path, PathBuf, absolute};

use super::names;
use crate::config::{Config, StoreMode};
use crate::error::{Error, ErrorKind, Result};
use crate::stamp::Stamp;

/// Refuses a `store.path` that leads to another file of the run, under whatever name.
///
/// # Errors
/// `Config`, naming both keys.
pub fn check_apart(config: &Config) -> Result<()> {
    let (Some(store), false) = (&config.store.path, config.store.mode == StoreMode::Off) else {
        return Ok(());
    };
    let report = |name: &str| ("a report in `report.dir`", config.report.dir.join(name));
    let others = [
        ("`input.path`", config.input.path.clone()),
        ("`output.path`", config.output.path.clone()),
        ("the lock of `output.path`", names::lock(&config.output.path)),
        ("`report.dir`", config.report.dir.clone()),
        report("report.html"),
        report("report.json"),
        report("report.prom"),
    ];
    match others.iter().find(|(_, other)| is_same(store, other)) {
        None => Ok(()),
        Some((other, _)) => {
            Err(Error::new(ErrorKind::Config, format!("`store.path` and {other} are one file"))
                .in_file(store)
                .advice("give `store.path` a file of its own, or leave it out"))
        }
    }
}

/// Whether two paths lead to one file, or would once it is made.
fn is_same(one: &Path, other: &Path) -> bool {
    let stamp = |path: &Path| fs::metadata(path).ok().map(|found| Stamp::of(&found));
    match (stamp(one), stamp(other)) {
        (Some(one), Some(other)) => one.is_same_file(&other),
        _ => resolved(one) == resolved(other),
    }
}

/// The path from the root, without links as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let whole = absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut resolved = PathBuf::new();
    for part in whole.components() {
        match part {
            Component::ParentDir => drop(resolved.pop()),
            part => resolved.push(part),
        }
        if let Ok(real) = fs::canonicalize(&resolved) {
            resolved = real;
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_the_same_under_all_of_its_names_and_before_it_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "x").expect("a file");
        fs::write(at("other"), "x").expect("a file");
        fs::hard_link(at("file"), at("hard")).expect("a link");
        symlink("file", at("soft")).expect("a link");
        fs::create_dir(at("folder")).expect("a folder");
        symlink("folder", at("linked")).expect("a link");
        for (one, other, expected) in [
            ("file", "file", true),
            ("file", "hard", true),
            ("soft", "hard", true),
            ("file", "other", false),
            ("file", "folder/../file", true),
            ("file", "none", false),
            ("none", "none", true),
            ("none", "./none", true),
            ("none", "folder/../none", true),
            ("none", "new/../none", true),
            ("folder/none", "linked/none", true),
            ("linked/new/none", "folder/./new/none", true),
            ("linked/../none", "none", true),
            ("folder/none", "none", false),
        ] {
            assert_eq!(is_same(&at(one), &at(other)), expected, "{one}, {other}");
            assert_eq!(is_same(&at(other), &at(one)), expected, "{other}, {one}");
        }
    }
}
