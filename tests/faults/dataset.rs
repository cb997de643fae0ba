//! Datasets: a kill or a failing call at each step of publishing tables, of the manifest, of deleting, of `merge`, and of
//! parts that shards embed and put together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use reembed_cli::sample;
use reembed_testing::model_directory::{ModelDirectory, WrittenModel};
use reembed_testing::tools::can_trace;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::write_parquet;
use crate::night::{Dice, Ended, FORM, PATIENCE, Running, figure};
use crate::program::program;

/// Every call that changes a file system; `openat` counts where it may write.
const CALLS: &str =
    "/^(openat|write|pwrite64|ftruncate|fsync|fdatasync|rename(at2?)?|unlink(at)?|mkdir(at)?)$";

/// The tables, two of them in partitions.
const TABLES: [&str; 5] =
    ["a.parquet", "b.parquet", "dt=1/c.parquet", "dt=2/d.parquet", "e.parquet"];

/// The table that shards embed together, in row groups of two rows.
const SPLIT: &str = "dt=1/split.parquet";

const FIRST_SHARD: [&str; 7] = ["run", "in", "out", "--shard", "1/2", "--split-rows", "2"];
const SECOND_SHARD: [&str; 7] = ["run", "in", "out", "--shard", "2/2", "--split-rows", "2"];

/// Files below a directory, with their bytes.
type Files = BTreeMap<PathBuf, Vec<u8>>;

#[test]
fn first_run_of_a_dataset_survives_a_kill_at_any_call() {
    Scenario::first_run().kills();
}

#[test]
fn first_run_of_a_dataset_survives_any_failing_call() {
    Scenario::first_run().faults();
}

#[test]
fn run_that_replaces_and_deletes_survives_a_kill_at_any_call() {
    Scenario::second_run().kills();
}

#[test]
fn run_that_replaces_and_deletes_survives_any_failing_call() {
    Scenario::second_run().faults();
}

#[test]
fn merge_survives_a_kill_at_any_call() {
    Scenario::merge().kills();
}

#[test]
fn merge_survives_any_failing_call() {
    Scenario::merge().faults();
}

#[test]
fn first_shard_of_a_split_table_survives_a_kill_at_any_call() {
    Scenario::first_shard().kills();
}

#[test]
fn first_shard_of_a_split_table_survives_any_failing_call() {
    Scenario::first_shard().faults();
}

#[test]
fn shard_that_puts_a_table_together_survives_a_kill_at_any_call() {
    Scenario::last_shard().kills();
}

#[test]
fn shard_that_puts_a_table_together_survives_any_failing_call() {
    Scenario::last_shard().faults();
}

#[test]
fn merge_of_a_split_table_survives_a_kill_at_any_call() {
    Scenario::merge_of_split().kills();
}

/// A command over a dataset, and what an undisturbed one leaves.
struct Scenario {
    directory: TempDir,
    model: WrittenModel,
    name: &'static str,
    arguments: &'static [&'static str],
    /// Commands that complete the dataset after it.
    rest: &'static [&'static [&'static str]],
    /// The tables before it, after it, and once the dataset is complete.
    old: Files,
    after: Files,
    new: Files,
    manifest: Value,
}

impl Scenario {
    /// A scenario whose output directory is not there.
    fn empty(name: &'static str, arguments: &'static [&'static str]) -> Scenario {
        let scenario = Scenario::without_tables(name, arguments);
        (0..).zip(TABLES).for_each(|(seed, table)| scenario.write(table, seed));
        scenario
    }

    fn without_tables(name: &'static str, arguments: &'static [&'static str]) -> Scenario {
        Scenario {
            directory: tempfile::tempdir().expect("a directory"),
            model: ModelDirectory::tiny().write(),
            name,
            arguments,
            rest: &[],
            old: Files::new(),
            after: Files::new(),
            new: Files::new(),
            manifest: Value::Null,
        }
    }

    /// A small table, and one that two shards embed together.
    fn split(name: &'static str, arguments: &'static [&'static str]) -> Scenario {
        let scenario = Scenario::without_tables(name, arguments);
        scenario.write("a.parquet", 1);
        let texts = |what: &str| {
            let text = |row: u64| match row % 5 {
                3 => String::new(),
                _ => format!("{what} {row}"),
            };
            Arc::new(StringArray::from_iter_values((0..9).map(text))) as ArrayRef
        };
        let columns = ["id", "title", "description"].map(|name| (name, texts(name)));
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        let path = scenario.path("in").join(SPLIT);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        write_parquet(&path, &batch, 2);
        scenario
    }

    fn first_shard() -> Scenario {
        let rest: &[&[&str]] = &[&SECOND_SHARD, &["merge", "out", "--success-file"]];
        Scenario { rest, ..Scenario::split("first shard", &FIRST_SHARD) }.ready()
    }

    fn last_shard() -> Scenario {
        let rest: &[&[&str]] = &[&["merge", "out", "--success-file"]];
        let scenario = Scenario { rest, ..Scenario::split("last shard", &SECOND_SHARD) };
        scenario.done(&FIRST_SHARD);
        scenario.ready()
    }

    fn merge_of_split() -> Scenario {
        let scenario = Scenario::split("merge", &["merge", "out", "--success-file"]);
        scenario.done(&FIRST_SHARD);
        scenario.done(&SECOND_SHARD);
        scenario.ready()
    }

    fn first_run() -> Scenario {
        Scenario::empty("first run", &["run", "in", "out", "--success-file"]).ready()
    }

    fn second_run() -> Scenario {
        let arguments = &["run", "in", "out", "--success-file", "--on-missing", "delete"];
        let scenario = Scenario::empty("second run", arguments);
        scenario.done(scenario.arguments);
        scenario.write("dt=1/c.parquet", 50);
        fs::remove_file(scenario.path("in/dt=2/d.parquet")).expect("a table");
        scenario.ready()
    }

    fn merge() -> Scenario {
        let scenario = Scenario::empty("merge", &["merge", "out", "--success-file"]);
        for shard in ["1/2", "2/2"] {
            scenario.done(&["run", "in", "out", "--shard", shard]);
        }
        scenario.ready()
    }

    /// Keeps the output directory as it is before the command, and notes what the command makes of it.
    fn ready(mut self) -> Scenario {
        if self.path("out").exists() {
            fs::rename(self.path("out"), self.path("before")).expect("a directory");
        }
        self.restore();
        self.old = self.tables();
        self.done(self.arguments);
        self.after = self.tables();
        self.complete();
        self.new = self.tables();
        self.manifest = self.manifest();
        assert!(self.left_over().is_empty(), "an undisturbed run left {:?}", self.left_over());
        self
    }

    fn complete(&self) {
        self.rest.iter().for_each(|arguments| drop(self.done(arguments)));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, table: &str, seed: u64) {
        let path = self.path("in").join(table);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        sample::write_tasks(&path, sample::task_rows(6, seed)).expect("a table");
    }

    /// The output directory as it was. The tables are the same files, since inodes tell whether one changed.
    fn restore(&self) {
        let _ = fs::remove_dir_all(self.path("out"));
        for path in files(&self.path("before")) {
            let below = path.strip_prefix(self.path("before")).expect("below it");
            let to = self.path("out").join(below);
            fs::create_dir_all(to.parent().expect("a parent")).expect("directories");
            // A cache is written in place.
            match below.starts_with("_reembed/dataset") {
                true => drop(fs::copy(&path, &to).expect("a copy")),
                false => fs::hard_link(&path, &to).expect("a link"),
            }
        }
    }

    fn command(&self, before: &[&str], arguments: &[&str]) -> Command {
        let reembed = program();
        let all = [before, &[reembed.as_str()], arguments].concat();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).args(["--quiet", "--output-format", "json"]);
        if arguments[0] == "run" {
            command.args(["--no-supervise", "--model-path"]).arg(self.model.path());
        }
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nowhere")
            .env("REEMBED_REPORT_KEEP", "0")
            .env("REEMBED_COMPUTE_THREADS", "1")
            .env("REEMBED_PUBLISH_MAX_SHRINK", "50")
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that has to end well, and returns its result.
    fn done(&self, arguments: &[&str]) -> Value {
        let ran = Ended::of(self.command(&[], arguments).output().expect("a child"));
        assert_eq!(ran.status.code(), Some(0), "{} {arguments:?}: {}", self.name, ran.err);
        serde_json::from_str(&ran.out).expect("a result")
    }

    /// Runs the command with an injection.
    fn traced(&self, inject: &str, case: &str) -> Ended {
        self.restore();
        let call = inject.split(':').next().unwrap_or_default();
        let (trace, inject) = (format!("trace={call}"), format!("inject={inject}"));
        let strace = ["strace", "-f", "-qq", "-e", "signal=none", "-o", "/dev/null", "-e", &trace];
        let strace = [&strace[..], &["-e", &inject]].concat();
        Running::start(self.command(&strace, self.arguments)).end(PATIENCE, case)
    }

    /// The numbers that each call has within a thread of an undisturbed run.
    fn points(&self) -> BTreeMap<String, Vec<u64>> {
        self.restore();
        let trace = self.path("trace");
        let calls = format!("trace={CALLS}");
        let to = trace.to_str().expect("a path in UTF-8");
        let strace = ["strace", "-f", "-qq", "-e", "signal=none", "-o", to, "-e", &calls];
        let run = Running::start(self.command(&strace, self.arguments)).end(PATIENCE, self.name);
        assert_eq!(run.status.code(), Some(0), "{}", run.err);
        let mut numbers: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let mut points: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let text = fs::read_to_string(trace).expect("a trace");
        for line in text.lines() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
            let number = numbers.entry((thread, call)).or_default();
            *number += 1;
            let writes = ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|f| arguments.contains(f));
            if call != "openat" || writes {
                points.entry(call.to_owned()).or_default().insert(*number);
            }
        }
        points.into_iter().map(|(call, numbers)| (call, numbers.into_iter().collect())).collect()
    }

    /// `short` of the points, each call in turn; all of them in the full form.
    fn chosen(&self, short: u64, dice: &mut Dice) -> Vec<(String, u64)> {
        let points = self.points();
        if is_full() {
            let of_call = |(call, numbers): (String, Vec<u64>)| {
                numbers.into_iter().map(move |number| (call.clone(), number))
            };
            return points.into_iter().flat_map(of_call).collect();
        }
        let calls: Vec<_> = points.iter().collect();
        let first = dice.below(calls.len() as u64);
        (first..first + short)
            .map(|turn| calls[turn as usize % calls.len()])
            .map(|(call, numbers)| (call.clone(), *dice.pick(numbers)))
            .collect()
    }

    fn kills(&self) {
        if !can_trace() {
            return;
        }
        let mut dice = Dice::new(FORM.seed);
        let mut killed = 0;
        let points = self.chosen(FORM.kills, &mut dice);
        for (call, number) in &points {
            let inject = format!("{call}:signal=KILL:when={number}");
            let case = format!("seed {}, {}, {inject}", FORM.seed, self.name);
            let run = self.traced(&inject, &case);
            killed += u64::from(run.status.code().is_none());
            self.heals(&case);
        }
        assert!(killed > 0, "no call killed");
        figure(&format!("{}: {killed} kills at {} points", self.name, points.len()));
    }

    fn faults(&self) {
        if !can_trace() {
            return;
        }
        let mut dice = Dice::new(FORM.seed + 1);
        let mut failed = 0;
        let points = self.chosen(FORM.faults, &mut dice);
        let both = points.iter().flat_map(|point| [(point, "ENOSPC"), (point, "EIO")]);
        // In the short form, one of the two.
        let faults: Vec<_> = both.filter(|_| is_full() || dice.below(2) == 0).collect();
        for ((call, number), error) in &faults {
            let inject = format!("{call}:error={error}:when={number}");
            let case = format!("seed {}, {}, {inject}", FORM.seed + 1, self.name);
            let run = self.traced(&inject, &case);
            match run.status.code() {
                Some(0) => {
                    assert!(self.tables() == self.after, "{case}: exit 0 without the tables");
                }
                Some(1..=3) => {
                    failed += 1;
                    // The failed write may be the one that prints the error.
                    let said = !run.err.trim().is_empty() || call == "write";
                    assert!(said && !run.err.contains("(bug)"), "{case}: {:?}", run.err);
                    // One of each table, and one of the run.
                    assert!(run.err.lines().count() <= 1 + TABLES.len(), "{case}: {}", run.err);
                }
                other => panic!("{case}: exit {other:?}: {}", run.err),
            }
            self.heals(&case);
        }
        assert!(failed > 0, "no call failed");
        figure(&format!("{}: {failed} failures of {} faults", self.name, faults.len()));
    }

    /// Checks that each table is the old or the new file; that the command, once more, leaves what an undisturbed one
    /// leaves; and that a run then has nothing to do.
    fn heals(&self, case: &str) {
        let tables = self.tables();
        for (path, bytes) in &tables {
            let is_whole = self.old.get(path) == Some(bytes) || self.new.get(path) == Some(bytes);
            assert!(is_whole, "{case}: {} is neither the old nor the new file", path.display());
        }
        let stays = |path: &&PathBuf| self.old.contains_key(*path);
        for path in self.new.keys().filter(stays) {
            assert!(tables.contains_key(path), "{case}: {} is lost", path.display());
        }
        let next = Ended::of(self.command(&[], self.arguments).output().expect("a child"));
        assert_eq!(next.status.code(), Some(0), "{case}: the next one: {}", next.err);
        self.complete();
        let names = |tables: &Files| tables.keys().cloned().collect::<Vec<PathBuf>>();
        let tables = self.tables();
        assert_eq!(names(&tables), names(&self.new), "{case}");
        assert!(tables == self.new, "{case}: the next one wrote other bytes");
        assert_eq!(said(&self.manifest()), said(&self.manifest), "{case}");
        assert_eq!(self.left_over(), Vec::<PathBuf>::new(), "{case}");
        let last = self.done(&["run", "in", "out", "--success-file"]);
        assert_eq!(last["tables"]["published"], 0, "{case}: {last}");
        assert_eq!(last["counts"]["embedded"], 0, "{case}: {last}");
        assert!(self.tables() == self.new, "{case}: the last run wrote other bytes");
    }

    /// The tables in the output directory.
    fn tables(&self) -> Files {
        let root = self.path("out");
        let all = files(&root).into_iter().map(|path| {
            let below = path.strip_prefix(&root).expect("below it").to_owned();
            (below, path)
        });
        let tables = all.filter(|(below, _)| below.extension().is_some_and(|e| e == "parquet"));
        tables.map(|(below, path)| (below, fs::read(path).expect("a table"))).collect()
    }

    fn manifest(&self) -> Value {
        let text = fs::read(self.path("out/_reembed/manifest.json")).expect("a manifest");
        serde_json::from_slice(&text).expect("a whole manifest")
    }

    /// Files that are no tables and should not be there. An incomplete cache is moved aside; the lock file of a shard
    /// stays until its next run.
    fn left_over(&self) -> Vec<PathBuf> {
        let stay = [
            "_SUCCESS",
            "_reembed/manifest.json",
            "_reembed/dataset/cache",
            "_reembed/dataset/cache.damaged",
            "_reembed/dataset/cache-1-of-2.damaged",
            "_reembed/dataset/cache-2-of-2.damaged",
            "_reembed/dataset/lock-1-of-2",
            "_reembed/dataset/lock-2-of-2",
        ];
        let root = self.path("out");
        let mut files = files(&root);
        files.retain(|path| {
            let below = path.strip_prefix(&root).expect("below it");
            !self.new.contains_key(below)
                && !stay.iter().any(|name| below == Path::new(name))
                && below.extension().is_none_or(|suffix| suffix != "index")
        });
        // A table has its keys, unless a failure made it go without.
        let is_keys = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "keys");
        if files.iter().filter(|path| is_keys(path)).count() <= self.new.len() {
            files.retain(|path| !is_keys(path));
        }
        files
    }
}

/// Whether every point is tried.
fn is_full() -> bool {
    FORM.kills >= 1000
}

/// What a manifest says of tables, whoever published them when.
fn said(manifest: &Value) -> Vec<Value> {
    let tables = manifest["tables"].as_array().expect("tables");
    let of_table = |table: &Value| {
        let names = ["path", "input", "settings", "footer", "rows", "columns", "input_is_gone"];
        names.iter().map(|name| table[name].clone()).collect()
    };
    let failed = std::iter::once(manifest["failed"].clone());
    failed.chain(tables.iter().map(of_table)).collect()
}

/// The files below a directory, at any depth; none if it is not there.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            match path.symlink_metadata().expect("a file").is_dir() {
                true => directories.push(path),
                false => found.push(path),
            }
        }
    }
    found
}
