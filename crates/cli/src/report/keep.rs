//! Puts a run's report into its directory, and keeps the last few.
//!
//! ```text
//! out/report/report.html, report.json, report.prom     the last run
//! out/report/runs/20261124T055325Z.html, .json         each of the last `keep` runs
//! ```
//!
//! A file appears under its name when it is complete: whoever collects or opens it never sees half of one. A run that
//! is killed, or whose disk is full, leaves at most a claim (an empty `.json`) and a hidden file; neither is a report,
//! and a later run sweeps them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use reembed::config::ReportConfig;
use reembed_encoder::error::{Error, ErrorKind, Result};
use serde_json::Value;

use super::record::{EarlierRun, Outcome, RunRecord};
use super::{html, json, prometheus};

/// The directory of the runs that are kept.
const RUNS: &str = "runs";

/// A report that is larger than this is none of ours.
const LARGEST_JSON: u64 = 16 << 20;

/// What a run leaves unfinished for so long is that of a dead one: a report is written in a moment.
const STALE: Duration = Duration::from_secs(3600);

/// Writes the report of a run, takes the runs of the same output before it into it, and forgets the oldest. Gives the
/// path of the page; nothing where no report is kept.
///
/// At most the report's own directory is made, and the one around it: the output's, which a run makes too where only that
/// is missing. Those above may be missing because a disk is not mounted: a report that made them would let the next run
/// write where the output does not belong.
///
/// # Errors
/// `Output`, naming the file. The run itself is what it was: a caller has a warning, not a failure.
pub fn keep(config: &ReportConfig, mut record: RunRecord) -> Result<Option<PathBuf>> {
    if config.keep == 0 {
        return Ok(None);
    }
    let runs = config.dir.join(RUNS);
    let around = config.dir.parent().filter(|directory| !directory.as_os_str().is_empty());
    for directory in around.into_iter().chain([&*config.dir, &*runs]) {
        make_directory(directory).map_err(|cause| failed(&config.dir, cause))?;
    }
    let names = kept(&runs).map_err(|cause| failed(&runs, cause))?;
    // The oldest make room for this one.
    let (gone, stay) = names.split_at(names.len().saturating_sub(config.keep - 1));
    let output = &record.output.path;
    record.earlier = stay.iter().filter_map(|name| earlier(&runs, name, output)).collect();
    let json = json::json(&record)?;
    let (page, latest_page) =
        (html::page(&record, &json, "")?, html::page(&record, &json, "runs/")?);
    let metrics = prometheus::metrics(&record, unix(&record.ended).unwrap_or(0.0));

    let (name, now) = claim(&runs, &record.started).map_err(|cause| failed(&runs, cause))?;
    for directory in [&config.dir, &runs] {
        sweep(directory, now);
    }
    // The claim becomes the report last of all: whatever is not empty is whole.
    put(&runs.join(format!("{name}.html")), &page)
        .and_then(|()| put(&runs.join(format!("{name}.json")), &json))
        .inspect_err(|_| forget(&runs, &name))?;
    let latest = config.dir.join("report.html");
    put(&latest, &latest_page)?;
    put(&config.dir.join("report.json"), &json)?;
    put(&config.dir.join("report.prom"), &metrics)?;
    gone.iter().for_each(|name| forget(&runs, name));
    Ok(Some(latest))
}

/// Makes a directory in one that is there.
fn make_directory(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            Err(io::Error::new(cause.kind(), "the directory that it would be made in is not there"))
        }
        made => made,
    }
}

/// Removes the report of a run, or what there is of it.
fn forget(runs: &Path, name: &str) {
    for extension in ["html", "json"] {
        // One that is gone already is as it should be.
        let _ = fs::remove_file(runs.join(format!("{name}.{extension}")));
    }
}

/// Removes what dead runs left unfinished in a directory, as of `now`: the time of the directory's own file system.
fn sweep(directory: &Path, now: SystemTime) {
    // Whatever cannot be looked at or removed does no harm but take room.
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let (name, Ok(found)) = (entry.file_name(), entry.metadata()) else { continue };
        let (Some(name), Ok(written)) = (name.to_str(), found.modified()) else { continue };
        let is_old = now.duration_since(written).is_ok_and(|age| age > STALE);
        if !is_old || !found.is_file() {
            continue;
        }
        let run = name.strip_suffix(".json").filter(|run| is_run(run) && found.len() == 0);
        if let Some(run) = run {
            forget(directory, run);
        } else if is_hidden(name) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a name is that of one of our files while it is written: `.report.json.4711`.
fn is_hidden(name: &str) -> bool {
    let parts = name.strip_prefix('.').and_then(|name| name.rsplit_once('.'));
    let Some((file, process)) = parts else { return false };
    let is_ours = match file.rsplit_once('.') {
        Some(("report", extension)) => ["html", "json", "prom"].contains(&extension),
        Some((run, extension)) => is_run(run) && ["html", "json"].contains(&extension),
        None => false,
    };
    is_ours && !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit())
}

/// The names of the runs that are kept, the oldest first. What has another kind of name is not ours, and an empty file
/// is no report: a run claimed it and did not come to write it.
fn kept(runs: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(runs)? {
        let entry = entry?;
        if !entry.metadata().is_ok_and(|found| found.len() > 0) {
            continue;
        }
        let name = entry.file_name();
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

/// A name that no other run has, claimed by an empty file, and when that was made.
fn claim(runs: &Path, started: &str) -> io::Result<(String, SystemTime)> {
    let time: String = started.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let mut name = time.clone();
    for number in 2.. {
        let path = runs.join(format!("{name}.json"));
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => {
                name = format!("{time}-{number}");
            }
            other => return Ok((name, other?.metadata()?.modified()?)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// What the report of an earlier run of `output` says; nothing where it cannot be read or is that of another output,
/// which shares the directory.
fn earlier(runs: &Path, name: &str, output: &str) -> Option<EarlierRun> {
    let path = runs.join(format!("{name}.json"));
    if fs::metadata(&path).ok()?.len() > LARGEST_JSON {
        return None;
    }
    let report: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    if report.pointer("/output/path")?.as_str()? != output {
        return None;
    }
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

/// Writes a whole file under a hidden name and renames it into place, readable for whoever the directory lets in. The
/// directory is made where it is missing.
///
/// # Errors
/// `Output`, naming the file.
pub fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(|cause| failed(directory, cause))?;
    }
    put(path, text)
}

/// The same, in a directory that is there.
fn put(path: &Path, text: &str) -> Result<()> {
    let Some(name) = path.file_name() else {
        return Err(failed(path, io::ErrorKind::InvalidFilename.into()));
    };
    let hidden = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
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
            "make the directory writable, name another one in `report.dir`, or set `report.keep` to 0",
        )
        .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_last_few_runs_are_kept_and_nothing_of_others_is_touched() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = ReportConfig { dir: directory.path().join("report"), keep: 3 };
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
        let directory = tempfile::tempdir().expect("a directory");
        let config = ReportConfig { dir: directory.path().join("report"), keep: 10 };
        for _ in 0..3 {
            keep(&config, example::done()).expect("it can be written");
        }
        let kept = kept(&config.dir.join(RUNS)).expect("names");
        assert_eq!(kept, ["20261124T055325Z", "20261124T055325Z-2", "20261124T055325Z-3"]);
        let none = ReportConfig { dir: directory.path().join("none"), keep: 0 };
        assert_eq!(keep(&none, example::done()).expect("nothing to do"), None);
        assert!(!none.dir.exists());
    }

    #[test]
    fn a_report_that_cannot_be_written_names_its_directory_and_the_setting() {
        let directory = tempfile::tempdir().expect("a directory");
        let dir = directory.path().join("file");
        fs::write(&dir, "in the way").expect("a file");
        let error =
            keep(&ReportConfig { dir, keep: 1 }, example::done()).expect_err("no directory");
        assert_eq!(error.kind(), ErrorKind::Output);
        assert!(error.what_to_do().is_some_and(|advice| advice.contains("report.dir")));
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn no_directory_above_the_one_around_the_reports_own_is_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let dir = directory.path().join("not/mounted/report");
        let config = ReportConfig { dir, keep: 3 };
        let error = keep(&config, example::failed()).expect_err("there is no such directory");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains("is not there"), "{cause}");
        assert_eq!(error.place().file(), Some(config.dir.as_path()));
        assert_eq!(names(directory.path()), [""; 0]);
        let config = ReportConfig { dir: directory.path().join("out/report"), keep: 3 };
        keep(&config, example::failed()).expect("a report").expect("its page");
    }

    #[test]
    fn jobs_that_share_a_directory_do_not_take_each_others_runs_for_their_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = ReportConfig { dir: directory.path().join("report"), keep: 10 };
        let run = |second: u32, output: &str, mut record: RunRecord| {
            record.started = format!("2026-11-24T05:53:{second}Z");
            record.ended = format!("2026-11-24T05:54:{second}Z");
            record.output.path = output.to_owned();
            keep(&config, record).expect("it can be written");
        };
        run(10, "out/mine.parquet", example::done());
        run(20, "out/other.parquet", example::done());
        run(30, "out/mine.parquet", example::failed());
        let latest = fs::read_to_string(config.dir.join("report.json")).expect("a report");
        let latest: Value = serde_json::from_str(&latest).expect("JSON");
        assert_eq!(latest["earlier"].as_array().map(Vec::len), Some(1));
        assert_eq!(latest["earlier"][0]["name"], "20261124T055310Z");
        let metrics = fs::read_to_string(config.dir.join("report.prom")).expect("metrics");
        let success = unix("2026-11-24T05:54:10Z").expect("a time");
        let line = format!(
            "reembed_run_last_success_timestamp_seconds{{output=\"out/mine.parquet\"}} {success}\n"
        );
        assert!(metrics.contains(&line), "{metrics}");
    }

    #[test]
    fn a_report_that_could_not_be_written_is_none_and_drives_no_other_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = ReportConfig { dir: directory.path().join("report"), keep: 2 };
        let runs = config.dir.join(RUNS);
        let run = |second: u32| {
            let started = format!("2026-11-24T05:53:{second}Z");
            keep(&config, RunRecord { started, ..example::done() })
        };
        run(10).expect("it can be written");
        for second in 20..25 {
            // As a disk that is full: the claim can be made, and what follows cannot be written.
            let in_the_way = runs.join(format!("20261124T0553{second}Z.html"));
            fs::create_dir(&in_the_way).expect("a directory");
            run(second).expect_err("a directory is in the way");
            fs::remove_dir(&in_the_way).expect("a directory");
            assert_eq!(names(&runs), ["20261124T055310Z.html", "20261124T055310Z.json"]);
        }
        // As runs that were killed: nobody takes their claims away.
        for second in 30..35 {
            File::create(runs.join(format!("20261124T0553{second}Z.json"))).expect("a claim");
        }
        run(40).expect("it can be written");
        let kept = kept(&runs).expect("names");
        assert_eq!(kept, ["20261124T055310Z", "20261124T055340Z"]);
    }

    #[test]
    fn what_dead_runs_left_unfinished_is_swept_when_it_is_old() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = ReportConfig { dir: directory.path().join("report"), keep: 9 };
        let runs = config.dir.join(RUNS);
        fs::create_dir_all(&runs).expect("a directory");
        let long_ago = SystemTime::now() - 2 * STALE;
        let leave = |path: PathBuf, written: SystemTime, content: &str| {
            fs::write(&path, content).expect("a file");
            File::options()
                .write(true)
                .open(path)
                .and_then(|file| file.set_modified(written))
                .expect("a time");
        };
        for hidden in [".report.json.4711", ".notes.json.4711", ".report.json.old"] {
            leave(config.dir.join(hidden), long_ago, "x");
        }
        leave(config.dir.join(".report.html.4712"), SystemTime::now(), "of a run that goes on");
        for (name, written, content) in [
            (".20261124T055310Z.html.4711", long_ago, "x"),
            ("20261124T055310Z.json", long_ago, ""),
            ("20261124T055310Z.html", long_ago, "the page of a claim"),
            ("20261124T055320Z.json", SystemTime::now(), ""),
            ("notes.json", long_ago, ""),
        ] {
            leave(runs.join(name), written, content);
        }
        keep(&config, example::done()).expect("it can be written");
        let left = [".notes.json.4711", ".report.html.4712", ".report.json.old"];
        let own = ["report.html", "report.json", "report.prom", "runs"];
        assert_eq!(names(&config.dir), [&left[..], &own[..]].concat());
        let left = ["20261124T055320Z.json", "20261124T055325Z.html", "20261124T055325Z.json"];
        assert_eq!(names(&runs), [&left[..], &["notes.json"]].concat());
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
