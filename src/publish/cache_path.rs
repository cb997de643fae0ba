//! Checks that `cache.path` is not another file of the run, which the cache would overwrite.

use std::fs;
use std::path::{Component, Path, PathBuf, absolute};

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::config::{CacheMode, Config};
use crate::file_id::FileId;

/// Refuses a `cache.path` that leads to the input, the output, its lock or a report.
///
/// # Errors
/// `Config`, naming both keys.
pub fn check_cache_path(config: &Config) -> Result<()> {
    let (Some(cache), false) = (&config.cache.path, config.cache.mode == CacheMode::Off) else {
        return Ok(());
    };
    let report = |name: &str| ("a report in `report.dir`", config.report.dir.join(name));
    let output = &config.output.place;
    let others = [
        ("`input.path`", config.input.path.clone()),
        ("`output.path`", output.path().to_owned()),
        ("the lock of `output.path`", output.lock()),
        ("the directory of that lock", output.work_directory()),
        ("`report.dir`", config.report.dir.clone()),
        report("report.html"),
        report("report.json"),
        report("report.prom"),
    ];
    match others.iter().find(|(_, other)| is_same(cache, other)) {
        None => Ok(()),
        Some((other, _)) => {
            let message = format!("`cache.path` and {other} are the same file");
            Err(Error::new(ErrorKind::Config, message)
                .in_file(cache)
                .advice("set `cache.path` to a file of its own, or remove the setting"))
        }
    }
}

/// Whether two paths lead to the same file, or would once it is created.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().map(|metadata| FileId::from(&metadata));
    match (id(one), id(other)) {
        (Some(one), Some(other)) => one.is_same_file(&other),
        _ => resolve(one) == resolve(other),
    }
}

/// The absolute path, with the links of its existing part resolved.
pub fn resolve(path: &Path) -> PathBuf {
    let path = absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut resolved = PathBuf::new();
    for part in path.components() {
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
    fn same_file_is_found_under_any_name_and_before_it_exists() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "x").expect("a file");
        fs::write(at("other"), "x").expect("a file");
        fs::hard_link(at("file"), at("hard")).expect("a link");
        symlink("file", at("soft")).expect("a link");
        fs::create_dir(at("directory")).expect("a directory");
        symlink("directory", at("linked")).expect("a link");
        for (one, other, expected) in [
            ("file", "file", true),
            ("file", "hard", true),
            ("soft", "hard", true),
            ("file", "other", false),
            ("file", "directory/../file", true),
            ("file", "none", false),
            ("none", "none", true),
            ("none", "./none", true),
            ("none", "directory/../none", true),
            ("none", "new/../none", true),
            ("directory/none", "linked/none", true),
            ("linked/new/none", "directory/./new/none", true),
            ("linked/../none", "none", true),
            ("directory/none", "none", false),
        ] {
            assert_eq!(is_same(&at(one), &at(other)), expected, "{one}, {other}");
            assert_eq!(is_same(&at(other), &at(one)), expected, "{other}, {one}");
        }
    }
}
