//! Puts a run's report into its folder, and keeps the last few.
//!
//! ```text
//! out/report/report.html, report.json, report.prom     the last run
//! out/report/runs/20261124T055325Z.html, .json         each of the last `keep` runs
//! ```
//!
//! A file appears under its name when it is complete: whoever collects or opens it never sees half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::record::{EarlierRun, Outcome, RunRecord};
use super::{html, json, prometheus};
use crate::config::ReportConfig;
use crate::error::{Error, ErrorKind, Result};

/// The folder of the runs that are kept.
const RUNS: &str = "runs";

/// A report that is larger than this is none of ours.
const LARGEST_JSON: u64 = 16 << 20;

/// Writes the report of a run, takes the runs before it into it, and forgets the oldest. Gives the path of the
/// page; nothing where no report is kept.
///
/// # Errors
/// `Output`, naming the file. The run itself is what it was: a caller has a warning, not a failure.
pub fn keep(config: &ReportConfig, mut record: RunRecord) -> Result<Option<PathBuf>> {
    if config.keep == 0 {
        return Ok(None);
    }
    let runs = config.dir.join(RUNS);
    fs::create_dir_all(&runs).map_err(|cause| failed(&runs, cause))?;
    let mut names = kept(&runs).map_err(|cause| failed(&runs, cause))?;
    record.earlier = names.iter().filter_map(|name| earlier(&runs, name)).collect();
    // The oldest of the others make room for this one.
    let room = config.keep - 1;
    let skip = record.earlier.len().saturating_sub(room);
    record.earlier.drain(..skip);

    let name = claim(&runs, &record.started).map_err(|cause| failed(&runs, cause))?;
    let json = json::json(&record)?;
    let page = |links: &str| html::page(&record, &json, links);
    write(&runs.join(format!("{name}.html")), &page("")?)?;
    write(&runs.join(format!("{name}.json")), &json)?;
    let latest = config.dir.join("report.html");
    write(&latest, &page("runs/")?)?;
    write(&config.dir.join("report.json"), &json)?;
    let metrics = prometheus::metrics(&record, unix(&record.ended).unwrap_or(0.0));
    write(&config.dir.join("report.prom"), &metrics)?;

    names.retain(|old| *old != name);
    let many = names.len().saturating_sub(room);
    for old in &names[..many] {
        for extension in ["html", "json"] {
            // One that is gone already is as it should be.
            let _ = fs::remove_file(runs.join(format!("{old}.{extension}")));
        }
    }
    Ok(Some(latest))
}

/// The names of the runs that are kept, the oldest first. What has another kind of name is not ours.
fn kept(runs: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(runs)? {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
        names.extend(name.filter(|name| is_run(name)).map(str::to_owned));
    }
    // `…Z`, `…Z-2`, …, `…Z-10`: the shorter of one second began earlier.
    names.sort_by_key(|name| (name.chars().take(16).collect::<String>(), name.len(), name.clone()));
    Ok(names)
}

/// Whether a name is a time such as `20261124T055325Z`, with a number behind it where two runs began in one second.
fn is_run(name: &str) -> bool {
    let (time, number) = name.split_once('-').unwrap_or((name, "2"));
    let shape = |(position, c): (usize, char)| match position {
        8 => c == 'T',
        15 => c == 'Z',
        _ => c.is_ascii_digit(),
    };
    time.chars().count() == 16
        && time.chars().enumerate().all(shape)
        && !number.is_empty()
        && number.chars().all(|c| c.is_ascii_digit())
}

/// A name that no other run has, claimed by an empty file.
fn claim(runs: &Path, started: &str) -> io::Result<String> {
    let time: String = started.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let mut name = time.clone();
    for number in 2.. {
        let path = runs.join(format!("{name}.json"));
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => {
                name = format!("{time}-{number}");
            }
            other => return other.map(|_| name),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// What an earlier run's report says; nothing where it cannot be read.
fn earlier(runs: &Path, name: &str) -> Option<EarlierRun> {
    let path = runs.join(format!("{name}.json"));
    if fs::metadata(&path).ok()?.len() > LARGEST_JSON {
        return None;
    }
    let report: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let outcome = serde_json::from_value(report.get("outcome")?.clone()).ok()?;
    let ended_unix = unix(report.get("ended")?.as_str()?)?;
    Some(EarlierRun {
        name: name.to_owned(),
        started: report.get("started")?.as_str()?.to_owned(),
        outcome,
        rows: report.pointer("/rows/input").and_then(Value::as_u64),
        seconds: report.get("seconds")?.as_f64()?,
        tasks_per_second: match outcome {
            Outcome::Done => report.pointer("/speed/tasks_per_second").and_then(Value::as_f64),
            Outcome::Failed => None,
        },
        ended_unix,
    })
}

/// Seconds since 1970 of an RFC 3339 time.
fn unix(time: &str) -> Option<f64> {
    let time: DateTime<Utc> = time.parse().ok()?;
    Some(std::time::SystemTime::from(time).duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

/// Writes a whole file under a hidden name and renames it into place, readable for whoever the folder lets in. The
/// folder is made where it is missing.
///
/// # Errors
/// `Output`, naming the file.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed(path, io::ErrorKind::InvalidFilename.into()));
    };
    if !folder.as_os_str().is_empty() {
        fs::create_dir_all(folder).map_err(|cause| failed(folder, cause))?;
    }
    let hidden = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = File::create(&hidden).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&hidden, path)).map_err(|cause| {
        let _ = fs::remove_file(&hidden);
        failed(path, cause)
    })
}

fn failed(path: &Path, cause: io::Error) -> Error {
    Error::new(ErrorKind::Output, "the report cannot be written")
        .in_file(path)
        .advice(
            "make the folder writable, name another one in `report.dir`, or set `report.keep` to 0",
        )
        .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_last_few_runs_are_kept_and_nothing_of_others_is_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = ReportConfig { dir: folder.path().join("a/report"), keep: 3 };
        let runs = config.dir.join(RUNS);
        for second in 10..15 {
            let started = format!("2026-11-24T05:53:{second}Z");
            let record = RunRecord { started, ..example::done() };
            let page = keep(&config, record).expect("it can be written").expect("a page");
            assert!(page.ends_with("report.html"));
            fs::write(runs.join("notes.json"), "mine").expect("a file");
        }
        assert_eq!(names(&config.dir), ["report.html", "report.json", "report.prom", "runs"]);
        let expected = ["12Z.html", "12Z.json", "13Z.html", "13Z.json", "14Z.html", "14Z.json"]
            .map(|end| format!("20261124T0553{end}"));
        assert_eq!(names(&runs), [&expected[..], &["notes.json".to_owned()]].concat());
        let latest = fs::read_to_string(config.dir.join("report.json")).expect("a report");
        let latest: Value = serde_json::from_str(&latest).expect("JSON");
        let earlier: Vec<&str> = latest["earlier"]
            .as_array()
            .expect("an array")
            .iter()
            .filter_map(|run| run["name"].as_str())
            .collect();
        assert_eq!(earlier, ["20261124T055312Z", "20261124T055313Z"]);
        let page = fs::read_to_string(config.dir.join("report.html")).expect("a page");
        assert!(page.contains("href=\"runs/20261124T055313Z.html\""));
        let page = fs::read_to_string(runs.join("20261124T055314Z.html")).expect("a page");
        assert!(page.contains("href=\"20261124T055313Z.html\""));
    }

    #[test]
    fn two_runs_of_one_second_have_a_report_each_and_none_is_kept_if_none_is_wanted() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = ReportConfig { dir: folder.path().join("report"), keep: 10 };
        for _ in 0..3 {
            keep(&config, example::done()).expect("it can be written");
        }
        let kept = kept(&config.dir.join(RUNS)).expect("names");
        assert_eq!(kept, ["20261124T055325Z", "20261124T055325Z-2", "20261124T055325Z-3"]);
        let none = ReportConfig { dir: folder.path().join("none"), keep: 0 };
        assert_eq!(keep(&none, example::done()).expect("nothing to do"), None);
        assert!(!none.dir.exists());
    }

    #[test]
    fn a_report_that_cannot_be_written_names_its_folder_and_the_setting() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("file");
        fs::write(&dir, "in the way").expect("a file");
        let error = keep(&ReportConfig { dir, keep: 1 }, example::done()).expect_err("no folder");
        assert_eq!(error.kind(), ErrorKind::Output);
        assert!(error.what_to_do().is_some_and(|advice| advice.contains("report.dir")));
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn only_names_of_our_own_are_taken_for_runs() {
        for (name, expected) in [
            ("20261124T055325Z", true),
            ("20261124T055325Z-12", true),
            ("20261124T055325Z-", false),
            ("20261124T055325Z-x", false),
            ("20261124", false),
            ("2026112XT055325Z", false),
            ("", false),
        ] {
            assert_eq!(is_run(name), expected, "{name:?}");
        }
    }
}
