//! Runs over datasets: many tables in, the same tree of tables out, a manifest beside them.

mod again;
mod failures;
mod inputs;
mod published;
mod refusals;
mod shards;
mod split;
mod surroundings;
mod whole;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use reembed::TaskRow;
use reembed_cli::sample;
use reembed_testing::model_directory::ModelDirectory;
use serde_json::Value;

use crate::command_line::Job;
use crate::common::task;

/// Rows of a table of [`Dataset::of`].
const ROWS: u64 = 10;

/// Three tables, two of them in partitions.
const TABLES: [&str; 3] =
    ["a.parquet", "dt=2026-10-31/b.parquet", "dt=2026-11-01/c%3A=d e.parquet"];

/// A directory with the tables of a dataset below `in`, and a model.
struct Dataset {
    job: Job,
}

impl Dataset {
    /// A dataset without tables and without a configuration.
    fn empty() -> Dataset {
        let directory = tempfile::tempdir().expect("a directory");
        Dataset { job: Job { directory, model: ModelDirectory::tiny().write() } }
    }

    /// A dataset with tables of distinct texts.
    fn of(tables: &[&str]) -> Dataset {
        let dataset = Dataset::empty();
        tables.iter().for_each(|table| dataset.write(table, &rows(table, 0..ROWS)));
        dataset
    }

    /// Writes a table below `in`.
    fn write(&self, table: impl AsRef<Path>, rows: &[TaskRow]) {
        let path = self.path("in").join(table);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        sample::write_tasks(&path, rows.iter().cloned()).expect("a table");
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.job.directory.path().join(name)
    }

    /// `reembed` with these arguments, a model, and a result in JSON.
    fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = self.job.command(&["run", "--output-format", "json", "--model-path"]);
        command.arg(self.job.model.path()).args(arguments);
        command
    }

    fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ran {
        Ran::new(self.command(arguments).output().expect("a child"))
    }

    /// Starts a run and waits until its log has a line with these words, `times` times.
    fn start(&self, arguments: &[&str], words: &str, times: usize) -> Child {
        let mut command = self.command(arguments);
        let command = command.arg("-v").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("a child");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut said = String::new();
        for _ in 0..times {
            let mut lines = log.by_ref().map(|line| line.expect("text"));
            let line = lines.find(|line| {
                said += &format!("{line}\n");
                line.contains(words)
            });
            assert!(line.is_some(), "it ended before {words:?}: {said}");
        }
        // A closed pipe would end it.
        std::thread::spawn(move || log.for_each(drop));
        child
    }

    /// The files below a directory, by their paths.
    fn files(&self, directory: &str) -> BTreeMap<PathBuf, FileState> {
        let root = self.path(directory);
        let mut files = BTreeMap::new();
        let mut directories = vec![root.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                let found = path.symlink_metadata().expect("a file");
                match found.is_dir() {
                    true => directories.push(path),
                    false => {
                        let below = path.strip_prefix(&root).expect("below the root").to_owned();
                        files.insert(below, FileState::from(&found));
                    }
                }
            }
        }
        files
    }

    /// The files in the output directory that are not below `_reembed`.
    fn outputs(&self) -> BTreeMap<PathBuf, FileState> {
        let mut files = self.files("out");
        files.retain(|path, _| !path.starts_with("_reembed"));
        files
    }

    /// The paths of [`Dataset::outputs`].
    fn output_names(&self) -> Vec<String> {
        let name = |path: &PathBuf| path.to_string_lossy().into_owned();
        self.outputs().keys().map(name).collect()
    }

    /// The directories below the output directory that are not below `_reembed`.
    fn output_directories(&self) -> Vec<PathBuf> {
        let root = self.path("out");
        let mut directories = vec![root.clone()];
        let mut at = 0;
        while let Some(directory) = directories.get(at).cloned() {
            let entries = fs::read_dir(&directory).expect("a directory");
            let paths = entries.map(|entry| entry.expect("an entry").path());
            directories
                .extend(paths.filter(|path| path.is_dir() && *path != root.join("_reembed")));
            at += 1;
        }
        let below = |path: PathBuf| path.strip_prefix(&root).expect("below it").to_owned();
        let mut below: Vec<PathBuf> = directories.into_iter().skip(1).map(below).collect();
        below.sort();
        below
    }

    /// The bytes of an output.
    fn output(&self, table: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.path("out").join(table)).expect("an output")
    }

    fn json(&self, path: &str) -> Value {
        let text = fs::read(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_slice(&text).expect("JSON")
    }

    fn manifest(&self) -> Value {
        self.json("out/_reembed/manifest.json")
    }

    /// The report of the last run.
    fn report(&self) -> Value {
        self.json("out/_reembed/reports/_dataset/report.json")
    }

    /// The bytes that a run over one table alone writes.
    fn alone(&self, table: impl AsRef<OsStr>, arguments: &[&str]) -> Vec<u8> {
        let table = self.path("in").join(Path::new(&table));
        let output = self.path("alone/alone.parquet");
        fs::create_dir_all(self.path("alone")).expect("a directory");
        let mut command = self.command(&[table.as_os_str(), output.as_os_str()]);
        Ran::new(command.args(arguments).output().expect("a child")).done();
        let bytes = fs::read(&output).expect("an output");
        fs::remove_dir_all(self.path("alone")).expect("it is removed");
        bytes
    }
}

/// Whether a file is the same one, and unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileState {
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

impl From<&fs::Metadata> for FileState {
    fn from(found: &fs::Metadata) -> FileState {
        let modified = (found.mtime(), found.mtime_nsec());
        FileState { inode: found.ino(), modified, size: found.size() }
    }
}

/// A run that ended.
struct Ran {
    code: Option<i32>,
    /// The object on standard output.
    answer: Value,
    log: String,
}

impl Ran {
    fn new(output: Output) -> Ran {
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let answer = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{log}"));
        Ran { code: output.status.code(), answer, log }
    }

    #[track_caller]
    fn done(self) -> Ran {
        assert_eq!(self.code, Some(0), "{}\n{}", self.answer, self.log);
        self
    }

    /// Checks that tables failed, and that the others are in place.
    #[track_caller]
    fn failed(self) -> Ran {
        assert_eq!(self.code, Some(1), "{}\n{}", self.answer, self.log);
        assert_eq!(self.answer["error"]["code"], "tables-failed", "{}", self.answer);
        self
    }

    /// Checks an exit of this code with one line that has these words and ends with what to do.
    #[track_caller]
    fn refused(self, code: i32, words: &[&str]) -> Ran {
        let log = &self.log;
        assert_eq!(self.code, Some(code), "{}\n{log}", self.answer);
        assert_eq!(log.lines().count(), 1, "it is one line: {log}");
        words.iter().for_each(|word| assert!(log.contains(word), "{word}: {log}"));
        assert!(log.trim_end().ends_with(')'), "it does not end with what to do: {log}");
        self
    }

    #[track_caller]
    fn count(&self, name: &str) -> u64 {
        let count = self.answer["counts"][name].as_u64();
        count.unwrap_or_else(|| panic!("{name}: {}", self.answer))
    }

    #[track_caller]
    fn tables(&self, name: &str) -> u64 {
        let count = self.answer["tables"][name].as_u64();
        count.unwrap_or_else(|| panic!("{name}: {}", self.answer))
    }
}

/// Rows with a distinct text each.
fn rows(name: &str, numbers: std::ops::Range<u64>) -> Vec<TaskRow> {
    numbers.map(|n| task(format!("{name}-{n}"), format!("{name}, title {n}"))).collect()
}

/// The paths of the tables in a list of a manifest.
fn paths(list: &Value) -> Vec<&str> {
    let tables = list.as_array().expect("a list");
    tables.iter().map(|table| table["path"].as_str().expect("a path")).collect()
}
