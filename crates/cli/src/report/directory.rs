//! The report directory: the latest report, and one for each of the last runs.
//!
//! ```text
//! out/_reembed/reports/tasks.parquet/report.html, report.json, report.prom     the latest run of out/tasks.parquet
//! out/_reembed/reports/tasks.parquet/runs/20261124T055325Z.html, .json         each of the last `report.keep` runs
//! ```
//!
//! Files are written atomically. A run that is killed, or whose disk is full, leaves at most a reserved name (an empty
//! `.json`) and a hidden file; a later run removes both.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reembed::config::ReportConfig;
use reembed::publish;
use reembed_encoder::error::Result;
use reembed_encoder::files;
use serde_json::Value;

use super::record::{EarlierRun, Outcome, RowCounts, RunRecord};
use super::{html, prometheus};
use crate::{atomic_file, json, report_file, timestamp};

/// The subdirectory of the earlier reports.
const RUNS: &str = "runs";

/// Maximum size of a report that is read again.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// Attempts to create the directories.
const ATTEMPTS: usize = 10;

/// The age from which an unfinished report is that of a dead run. Writing a report takes a moment.
const STALE: Duration = Duration::from_secs(3600);

/// Writes the report of a run, adds the earlier runs of the same output to it, and removes the oldest reports. Returns
/// the path of the page; `None` if `report.keep` is 0.
///
/// It creates no directory above `topmost`, the directory of the output. A missing one there can mean an unmounted
/// disk, and a later run must not find directories there that look like the output's own.
///
/// # Errors
/// `Output`, naming the file. The caller logs it as a warning, since the run itself succeeded or failed before.
pub fn write(config: &ReportConfig, mut record: RunRecord) -> Result<Option<PathBuf>> {
    if config.keep == 0 {
        return Ok(None);
    }
    let runs = config.dir.join(RUNS);
    let runs_error = |cause| report_file::error(&runs, cause);
    // A run of another output may remove `_reembed` as long as it is empty.
    let create = || create_directories(&config.topmost, &runs);
    (1..ATTEMPTS)
        .find_map(|_| create().ok())
        .map_or_else(create, Ok)
        .map_err(|cause| report_file::error(&config.dir, cause))?;
    let names = run_names(&runs).map_err(runs_error)?;
    // One place is for this run.
    let (oldest, kept) = names.split_at(names.len().saturating_sub(config.keep - 1));
    let output = &record.output.label;
    record.earlier = kept.iter().filter_map(|name| earlier_run(&runs, name, output)).collect();
    let json = json::to_document(&record, "the report")?;
    let page = html::page(&record, &json, "")?;
    let latest_page = html::page(&record, &json, "runs/")?;
    let ended = timestamp::unix_seconds(&record.ended).unwrap_or(0.0);
    let metrics = prometheus::metrics(&record, ended);

    let (name, now) = reserve_name(&runs, &record.started).map_err(runs_error)?;
    for directory in [&config.dir, &runs] {
        remove_unfinished(directory, now);
    }
    // The reserved `.json` is replaced last, so that a `.json` with content always has its page.
    report_file::write(&runs.join(format!("{name}.html")), &page)
        .and_then(|()| report_file::write(&runs.join(format!("{name}.json")), &json))
        .inspect_err(|_| remove_run(&runs, &name))?;
    let latest = config.dir.join("report.html");
    report_file::write(&latest, &latest_page)?;
    report_file::write(&config.dir.join("report.json"), &json)?;
    report_file::write(&config.dir.join("report.prom"), &metrics)?;
    oldest.iter().for_each(|name| remove_run(&runs, name));
    Ok(Some(latest))
}

/// Creates the directories from `topmost` down to `directory` that do not exist; the parent of `topmost` must exist.
fn create_directories(topmost: &Path, directory: &Path) -> io::Result<()> {
    let below = directory.ancestors().take_while(|ancestor| *ancestor != topmost);
    let mut below: Vec<&Path> = below.filter(|path| !path.as_os_str().is_empty()).collect();
    below.reverse();
    create_directory(topmost, files::create_directory)?;
    below.into_iter().try_for_each(|path| create_directory(path, publish::create_like_parent))
}

fn create_directory(path: &Path, create: fn(&Path) -> io::Result<bool>) -> io::Result<()> {
    create(path).map(drop).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => {
            io::Error::new(cause.kind(), "its parent directory does not exist")
        }
        _ => cause,
    })
}

/// Removes the report of a run, or what exists of it.
fn remove_run(runs: &Path, name: &str) {
    for extension in ["html", "json"] {
        let _ = fs::remove_file(runs.join(format!("{name}.{extension}")));
    }
}

/// Removes what dead runs left unfinished. `now` is read from the directory's own file system.
fn remove_unfinished(directory: &Path, now: SystemTime) {
    // A leftover that cannot be removed only takes space, so errors are ignored.
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let (name, Ok(metadata)) = (entry.file_name(), entry.metadata()) else { continue };
        let (Some(name), Ok(modified)) = (name.to_str(), metadata.modified()) else { continue };
        let is_old = now.duration_since(modified).is_ok_and(|age| age > STALE);
        if !is_old || !metadata.is_file() {
            continue;
        }
        let reserved = name.strip_suffix(".json").filter(|run| is_run(run) && metadata.len() == 0);
        if let Some(run) = reserved {
            remove_run(directory, run);
        } else if atomic_file::final_name(name).is_some_and(is_report_file) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether this program writes files of this name into a report directory.
fn is_report_file(name: &str) -> bool {
    match name.rsplit_once('.') {
        Some(("report", extension)) => ["html", "json", "prom"].contains(&extension),
        Some((run, extension)) => is_run(run) && ["html", "json"].contains(&extension),
        None => false,
    }
}

/// The names of the runs that have a report, oldest first. An empty `.json` is a reserved name, not a report.
fn run_names(runs: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(runs)? {
        let entry = entry?;
        if !entry.metadata().is_ok_and(|metadata| metadata.len() > 0) {
            continue;
        }
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(".json"));
        names.extend(name.filter(|name| is_run(name)).map(str::to_owned));
    }
    // Runs of the same second are `…Z`, `…Z-2`, …, `…Z-10`: the shorter name is older.
    names.sort_by_key(|name| (name.chars().take(16).collect::<String>(), name.len(), name.clone()));
    Ok(names)
}

/// Whether a name is a time such as `20261124T055325Z`, with `-2` and so on for runs of the same second.
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

/// Reserves an unused name by an empty `.json`; returns the name and the time of that file.
fn reserve_name(runs: &Path, started: &str) -> io::Result<(String, SystemTime)> {
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

/// Reads the report of an earlier run; `None` if it cannot be read, or belongs to another output with the same report
/// directory.
fn earlier_run(runs: &Path, name: &str, output: &str) -> Option<EarlierRun> {
    let path = runs.join(format!("{name}.json"));
    if fs::metadata(&path).ok()?.len() > MAX_JSON_BYTES {
        return None;
    }
    let report: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    if label_of(&report)? != output {
        return None;
    }
    let outcome = serde_json::from_value(report.get("outcome")?.clone()).ok()?;
    let ended_unix = timestamp::unix_seconds(report.get("ended")?.as_str()?)?;
    Some(EarlierRun {
        name: name.to_owned(),
        started: report.get("started")?.as_str()?.to_owned(),
        outcome,
        rows: report.pointer("/rows/input").and_then(Value::as_u64),
        encoded_share: counts_of(&report).encoded_share(),
        seconds: report.get("seconds")?.as_f64()?,
        tasks_per_second: match outcome {
            Outcome::Done => report.pointer("/speed/tasks_per_second").and_then(Value::as_f64),
            Outcome::Failed => None,
        },
        ended_unix,
    })
}

/// What a share needs of the counts of a report; counts that an earlier version did not have are absent.
fn counts_of(report: &Value) -> RowCounts {
    let count = |name: &str| report.pointer(&format!("/rows/{name}")).and_then(Value::as_u64);
    RowCounts {
        input: count("input"),
        chunks: count("chunks"),
        columns: count("columns").unwrap_or(1),
        encoded: count("encoded").unwrap_or(0),
        ..RowCounts::default()
    }
}

/// The label of the output of a report. A report of version 0.1 has a path, whose file name is the label.
fn label_of(report: &Value) -> Option<&str> {
    let label = report.pointer("/output/label").and_then(Value::as_str);
    label.or_else(|| {
        let path = report.pointer("/output/path")?.as_str()?;
        Path::new(path).file_name()?.to_str()
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use reembed_encoder::error::ErrorKind;

    use super::super::example;
    use super::*;

    fn config_at(dir: PathBuf, keep: usize) -> ReportConfig {
        let topmost = dir.parent().expect("a parent").to_owned();
        ReportConfig { dir, topmost, keep, is_beside_output: false }
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn last_runs_are_kept_and_foreign_files_stay() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = config_at(directory.path().join("report"), 3);
        let runs = config.dir.join(RUNS);
        for second in 10..15 {
            let started = format!("2026-11-24T05:53:{second}Z");
            let record = RunRecord { started, ..example::done() };
            let page = write(&config, record).expect("it can be written").expect("a page");
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
    fn runs_of_one_second_have_a_report_each() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = config_at(directory.path().join("report"), 10);
        for _ in 0..3 {
            write(&config, example::done()).expect("it can be written");
        }
        let kept = run_names(&config.dir.join(RUNS)).expect("names");
        assert_eq!(kept, ["20261124T055325Z", "20261124T055325Z-2", "20261124T055325Z-3"]);
    }

    #[test]
    fn no_report_is_written_if_keep_is_zero() {
        let directory = tempfile::tempdir().expect("a directory");
        let none = config_at(directory.path().join("none"), 0);
        assert_eq!(write(&none, example::done()).expect("nothing to do"), None);
        assert!(!none.dir.exists());
    }

    #[test]
    fn write_error_names_the_directory_and_the_setting() {
        let directory = tempfile::tempdir().expect("a directory");
        let dir = directory.path().join("file");
        fs::write(&dir, "in the way").expect("a file");
        let error = write(&config_at(dir, 1), example::done()).expect_err("no directory");
        assert_eq!(error.kind(), ErrorKind::Output);
        assert!(error.advice_text().is_some_and(|advice| advice.contains("report.dir")));
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn no_grandparent_directory_is_created() {
        let directory = tempfile::tempdir().expect("a directory");
        let dir = directory.path().join("not/mounted/report");
        let config = config_at(dir, 3);
        let error = write(&config, example::failed()).expect_err("its parent does not exist");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains("does not exist"), "{cause}");
        assert_eq!(error.place().file(), Some(config.dir.as_path()));
        assert_eq!(names(directory.path()), [""; 0]);
        let config = config_at(directory.path().join("out/report"), 3);
        write(&config, example::failed()).expect("a report").expect("its page");
        // The directory of the output may be created, and all below it.
        let topmost = directory.path().join("new");
        let dir = topmost.join("_reembed/reports/tasks.parquet");
        let config = ReportConfig { dir, topmost, keep: 3, is_beside_output: false };
        write(&config, example::failed()).expect("a report").expect("its page");
    }

    #[test]
    fn runs_of_another_output_are_not_earlier_runs() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = config_at(directory.path().join("report"), 10);
        let run = |second: u32, output: &str, mut record: RunRecord| {
            record.started = format!("2026-11-24T05:53:{second}Z");
            record.ended = format!("2026-11-24T05:54:{second}Z");
            record.output.label = output.to_owned();
            write(&config, record).expect("it can be written");
        };
        run(10, "mine.parquet", example::done());
        run(20, "other.parquet", example::done());
        run(30, "mine.parquet", example::failed());
        let latest = fs::read_to_string(config.dir.join("report.json")).expect("a report");
        let latest: Value = serde_json::from_str(&latest).expect("JSON");
        assert_eq!(latest["earlier"].as_array().map(Vec::len), Some(1));
        assert_eq!(latest["earlier"][0]["name"], "20261124T055310Z");
        let metrics = fs::read_to_string(config.dir.join("report.prom")).expect("metrics");
        let success = timestamp::unix_seconds("2026-11-24T05:54:10Z").expect("a time");
        let line = format!(
            "reembed_run_last_success_timestamp_seconds{{output=\"mine.parquet\"}} {success}\n"
        );
        assert!(metrics.contains(&line), "{metrics}");
    }

    #[test]
    fn label_of_an_earlier_report_is_its_own_or_the_file_name() {
        for (output, expected) in [
            (serde_json::json!({"label": "a.parquet", "path": "out/b.parquet"}), Some("a.parquet")),
            (serde_json::json!({"path": "../out/b.parquet"}), Some("b.parquet")),
            (serde_json::json!({"path": 1}), None),
        ] {
            let report = serde_json::json!({ "output": output });
            assert_eq!(label_of(&report), expected, "{report}");
        }
    }

    #[test]
    fn failed_report_displaces_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = config_at(directory.path().join("report"), 2);
        let runs = config.dir.join(RUNS);
        let run = |second: u32| {
            let started = format!("2026-11-24T05:53:{second}Z");
            write(&config, RunRecord { started, ..example::done() })
        };
        run(10).expect("it can be written");
        for second in 20..25 {
            // Like a full disk: the name can be reserved, and the page cannot be written.
            let in_the_way = runs.join(format!("20261124T0553{second}Z.html"));
            fs::create_dir(&in_the_way).expect("a directory");
            run(second).expect_err("a directory is in the way");
            fs::remove_dir(&in_the_way).expect("a directory");
            assert_eq!(names(&runs), ["20261124T055310Z.html", "20261124T055310Z.json"]);
        }
        // Like killed runs, which leave their reserved names.
        for second in 30..35 {
            File::create(runs.join(format!("20261124T0553{second}Z.json"))).expect("a file");
        }
        run(40).expect("it can be written");
        let kept = run_names(&runs).expect("names");
        assert_eq!(kept, ["20261124T055310Z", "20261124T055340Z"]);
    }

    #[test]
    fn old_leftovers_of_dead_runs_are_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = config_at(directory.path().join("report"), 9);
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
        leave(config.dir.join(".report.html.4712"), SystemTime::now(), "of a running run");
        for (name, written, content) in [
            (".20261124T055310Z.html.4711", long_ago, "x"),
            ("20261124T055310Z.json", long_ago, ""),
            ("20261124T055310Z.html", long_ago, "the page of a reserved name"),
            ("20261124T055320Z.json", SystemTime::now(), ""),
            ("notes.json", long_ago, ""),
        ] {
            leave(runs.join(name), written, content);
        }
        write(&config, example::done()).expect("it can be written");
        let left = [".notes.json.4711", ".report.html.4712", ".report.json.old"];
        let own = ["report.html", "report.json", "report.prom", "runs"];
        assert_eq!(names(&config.dir), [&left[..], &own[..]].concat());
        let left = ["20261124T055320Z.json", "20261124T055325Z.html", "20261124T055325Z.json"];
        assert_eq!(names(&runs), [&left[..], &["notes.json"]].concat());
    }

    #[test]
    fn run_names_are_timestamps() {
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
