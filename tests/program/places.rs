//! Where files lie and what paths mean: `_reembed` beside an output, labels of outputs, variables, and paths that
//! are refused before any work.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;

use reembed_encoder::files::FileLock;
use reembed_testing::model_directory::ModelDirectory;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::command_line::Job;

fn job() -> Job {
    let job = Job::with(ModelDirectory::tiny(), "40", "out/tasks.parquet");
    symlink(job.model.path(), job.path("model")).expect("a link");
    job
}

impl Job {
    /// `reembed run` with the model of the job.
    fn embed(&self, arguments: &[&str]) -> Output {
        let model = self.path("model");
        let model = model.to_str().expect("text");
        self.reembed(&[&["run", "--quiet", "--model-path", model], arguments].concat())
    }

    fn json(&self, path: &str) -> Value {
        let text = fs::read_to_string(self.path(path)).expect("a report");
        serde_json::from_str(&text).expect("JSON")
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).expect("a directory");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.expect("an entry").file_name().to_string_lossy().into_owned()
        };
        let names: BTreeSet<String> = entries.map(name).collect();
        names.into_iter().collect()
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", err(output));
}

/// Checks an exit 2 of one line that says these words and ends with what to do.
fn refused(output: &Output, words: &[&str]) {
    let said = err(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(said.trim_end().ends_with(')'), "it does not end with what to do: {said}");
}

// The directory `_reembed`.

#[test]
fn directory_of_outputs_holds_tables_and_reembed_alone() {
    let job = job();
    for _ in 0..2 {
        done(&job.embed(&[]));
    }
    done(&job.embed(&["--output", "out/other.parquet", "--limit", "7"]));
    assert_eq!(job.names("out"), ["_reembed", "other.parquet", "tasks.parquet"]);
    assert_eq!(
        job.names("out/_reembed"),
        ["keys", "other.parquet.cache", "reports", "tasks.parquet.cache"]
    );
    assert_eq!(job.names("out/_reembed/keys"), ["tasks.parquet.keys"], "of copied columns");
    assert_eq!(job.names("out/_reembed/reports"), ["other.parquet", "tasks.parquet"]);
    for (output, rows, earlier) in [("tasks.parquet", 40, 1), ("other.parquet", 7, 0)] {
        let directory = format!("out/_reembed/reports/{output}");
        assert_eq!(job.names(&directory), ["report.html", "report.json", "report.prom", "runs"]);
        let report = job.json(&format!("{directory}/report.json"));
        assert_eq!(report["rows"]["input"], rows, "{output}");
        assert_eq!(report["earlier"].as_array().map(Vec::len), Some(earlier), "{output}");
    }
}

#[test]
fn settings_put_cache_and_reports_elsewhere() {
    let job = job();
    let cache = ["--cache", "vectors"];
    let model = job.path("model");
    let mut command = job.command(&["run", "--quiet", "--model-path"]);
    let run = command.arg(model).args(cache).env("REEMBED_REPORT_DIR", "reports").output();
    done(&run.expect("a child"));
    assert_eq!(job.names("out/_reembed"), ["keys"], "they belong to the output");
    assert_eq!(job.names("reports"), ["report.html", "report.json", "report.prom", "runs"]);
    assert!(job.path("vectors").is_file());
}

#[test]
fn only_a_run_that_writes_creates_anything() {
    let job = job();
    done(&job.embed(&["--dry-run"]));
    assert!(!job.path("out").exists());
    done(&job.embed(&["--output", "tasks-out.parquet", "--cache-mode", "off"]));
    fs::remove_dir_all(job.path("_reembed")).expect("the reports");
    let model = job.path("model");
    let model = ["--model-path", model.to_str().expect("text")];
    let verify = ["verify", "tasks-out.parquet", "--quiet", "--input", "tasks.parquet"];
    done(&job.reembed(&[&verify[..], &model].concat()));
    done(&job.embed(&["--output", "tasks-out.parquet", "--dry-run"]));
    assert_eq!(job.names("."), ["model", "pipeline.toml", "tasks-out.parquet", "tasks.parquet"]);
}

#[test]
fn cache_of_version_0_1_is_moved_without_losing_a_vector() {
    let job = job();
    let (now, old) = ("out/_reembed/tasks.parquet.cache", "out/.tasks.parquet.reembed-store");
    let reused = || {
        done(&job.embed(&[]));
        let rows = &job.json("out/_reembed/reports/tasks.parquet/report.json")["rows"];
        (rows["encoded"].as_u64(), rows["reused"].as_u64())
    };
    let (Some(encoded), Some(0)) = reused() else { panic!("the first run reuses nothing") };
    let again = |expected: &str| {
        fs::remove_file(job.path("out/tasks.parquet")).expect("an output");
        fs::rename(job.path(now), job.path(old)).expect("a cache");
        // Commands that do not write use it where it is.
        let stats = job.reembed(&["cache", "stats"]);
        done(&stats);
        assert!(String::from_utf8_lossy(&stats.stdout).contains(old), "{stats:?}");
        // Equal texts count for each of their rows.
        let (again, reused) = reused();
        assert!(again == Some(0) && reused >= Some(encoded), "{expected}: {again:?}, {reused:?}");
    };
    again("a file");
    assert!(job.path(now).is_file() && !job.path(old).exists());
    // A link would lead elsewhere from another directory.
    fs::rename(job.path(now), job.path("vectors")).expect("a cache");
    symlink("../vectors", job.path(now)).expect("a link");
    again("a link");
    assert!(job.path(old).is_symlink() && job.path("vectors").is_file());
    assert!(!job.path(now).exists());
}

#[test]
fn lock_of_version_0_1_is_noticed() {
    let job = job();
    fs::create_dir(job.path("out")).expect("a directory");
    let path = job.path("out/.tasks.parquet.reembed-lock");
    let held = FileLock::open(&path).expect("a lock file");
    assert!(held.try_lock().expect("a lock"));
    fs::write(&path, "4711").expect("a PID");
    for arguments in [&[][..], &["--no-supervise"]] {
        let busy = job.embed(arguments);
        assert_eq!(busy.status.code(), Some(75), "{}", err(&busy));
        assert!(err(&busy).contains("process 4711 of reembed 0.1"), "{}", err(&busy));
        assert_eq!(job.names("out"), [".tasks.parquet.reembed-lock"]);
    }
    drop(held);
    done(&job.embed(&[]));
    assert_eq!(job.names("out"), ["_reembed", "tasks.parquet"]);
}

#[test]
fn link_or_file_named_reembed_is_refused() {
    let job = job();
    fs::create_dir(job.path("out")).expect("a directory");
    fs::create_dir(job.path("elsewhere")).expect("a directory");
    for link in [true, false] {
        let path = job.path("out/_reembed");
        match link {
            true => symlink("../elsewhere", &path).expect("a link"),
            false => fs::write(&path, "text").expect("a file"),
        }
        for arguments in [&[][..], &["--no-supervise"], &["--dry-run"]] {
            refused(&job.embed(arguments), &["out/_reembed: ", "no directory", "move it away"]);
        }
        fs::remove_file(path).expect("it is removed");
    }
    assert_eq!(job.names("elsewhere"), [""; 0]);
    for output in ["out/_reembed", "out/_reembed/tasks.parquet"] {
        refused(
            &job.embed(&["--output", output]),
            &[output, "`_reembed` is for the files of reembed"],
        );
        assert_eq!(job.names("out"), [""; 0]);
    }
}

#[test]
fn reembed_on_another_file_system_is_refused() {
    let job = job();
    let mount = job.path("out/_reembed");
    fs::create_dir_all(&mount).expect("a directory");
    let mut command = std::process::Command::new("mount");
    let mounted = command.args(["-t", "tmpfs", "-o", "size=100k", "tmpfs"]).arg(&mount).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        eprintln!("SKIPPED: a small disk cannot be mounted");
        return;
    }
    let runs = [job.embed(&[]), job.embed(&["--dry-run"])];
    let unmounted = std::process::Command::new("umount").arg(&mount).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    for run in runs {
        refused(&run, &["out/_reembed: ", "another file system", "unmount it"]);
    }
}

// Labels.

#[test]
fn label_and_history_do_not_depend_on_how_the_output_is_written() {
    let job = job();
    fs::create_dir(job.path("elsewhere")).expect("a directory");
    let model = job.path("model");
    let input = job.path("tasks.parquet");
    let absolute = job.path("out/tasks.parquet");
    let absolute = absolute.to_str().expect("text");
    let run = |directory: &str, output: &str| {
        let mut command = job.command(&["run", "--quiet", "--model-path"]);
        command.arg(&model).arg(&input).arg(output).current_dir(job.path(directory));
        done(&command.output().expect("a child"));
    };
    let report = |file: &str| format!("out/_reembed/reports/tasks.parquet/report.{file}");
    for (earlier, (directory, output)) in [
        (".", "out/tasks.parquet"),
        (".", "./out/tasks.parquet"),
        ("elsewhere", "../out/tasks.parquet"),
        ("out", "tasks.parquet"),
        (".", absolute),
    ]
    .into_iter()
    .enumerate()
    {
        run(directory, output);
        let json = job.json(&report("json"));
        assert_eq!(json["output"]["label"], "tasks.parquet", "{output}");
        assert_eq!(json["earlier"].as_array().map(Vec::len), Some(earlier), "{output}");
        let metrics = fs::read_to_string(job.path(&report("prom"))).expect("metrics");
        let success = "\nreembed_run_success{output=\"tasks.parquet\"} 1\n";
        assert!(metrics.contains(success), "{output}: {metrics}");
    }
    fs::rename(job.path("out"), job.path("moved")).expect("a moved directory");
    run(".", "moved/tasks.parquet");
    let json = job.json("moved/_reembed/reports/tasks.parquet/report.json");
    assert_eq!(json["earlier"].as_array().map(Vec::len), Some(5));
}

// Variables.

#[test]
fn unknown_variables_are_refused_together_with_the_nearest_names() {
    let job = job();
    for arguments in [&["run"][..], &["run", "--dry-run"], &["model", "show"], &["cache", "stats"]]
    {
        let mut command = job.command(arguments);
        let wrong = command
            .env("REEMBED_BATCH_STRAT", "8")
            .env("REEMBED_CASHE", "/nowhere")
            .env("REEMBED_STORE_MODE", "off")
            .env("REEMBED_BATCH_MAX", "many")
            .env("REEMBED_OUTPUT_PATH", OsStr::from_bytes(b"\xff"))
            .output();
        let wrong = wrong.expect("a child");
        refused(
            &wrong,
            &[
                "unknown variable REEMBED_BATCH_STRAT; did you mean `REEMBED_BATCH_START`?",
                "unknown variable REEMBED_CASHE; did you mean `REEMBED_CACHE`?",
                "REEMBED_STORE_MODE is now called REEMBED_CACHE_MODE",
                "REEMBED_BATCH_MAX must be",
                "the variable REEMBED_OUTPUT_PATH is not UTF-8",
            ],
        );
    }
    assert!(!job.path("out").exists());
}

#[test]
fn known_and_foreign_variables_are_no_mistakes() {
    let job = job();
    let mut command = job.command(&["run", "--quiet", "--model-path", "model"]);
    command
        .env("REEMBED_CACHE", "models")
        .env("REEMBED_MODEL_CACHE", "models")
        .env("REEMBED_PYTHON", "python3")
        .env("REEMBED_BATCH_START", "8")
        // As good as not set.
        .env("REEMBED_BATCH_STRAT", "")
        .env("REEMBEDDING", "1")
        .env("MY_REEMBED_RUN", "1");
    done(&command.output().expect("a child"));
}

// Paths that are refused.

#[test]
fn paths_that_are_not_local_are_refused_before_any_work() {
    let job = job();
    let model = ["--model-path", "model"];
    let flags = |flags: &[&'static str]| [&["run"][..], flags, &model].concat();
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (flags(&["--input", "s3://bucket/t.parquet"]), "--input: `input.path` is \"s3://"),
        (flags(&["--output", "s3://out.parquet"]), "--output: `output.path` is \"s3://"),
        (flags(&["tasks.parquet", "gs://b/t.parquet"]), "OUT: `output.path` is \"gs://"),
        (flags(&["https://host/t.parquet", "o.parquet"]), "IN: `input.path` is \"https://"),
        (flags(&["--output", "file:///tmp/t.parquet"]), "without `file://`"),
        (flags(&["--output", "-"]), "standard input and output are not supported"),
        (flags(&["--input", "-"]), "standard input and output are not supported"),
        (flags(&["--cache", "az://c/cache"]), "--cache: `cache.path` is \"az://"),
        (flags(&["--dry-run", "--output", "abfss://c@h/t"]), "`output.path` is \"abfss://"),
        (vec!["run", "--model-path", "s3://bucket/model"], "`model.path` is \"s3://"),
        (vec!["run", "--model", "hf://org/model"], "`model.id` is \"hf://"),
        (vec!["model", "show", "--model-path", "s3://bucket/model"], "`model.path` is \"s3://"),
        (vec!["verify", "s3://b/t.parquet"], "`s3://` is not supported"),
        (vec!["verify", "tasks.parquet", "--input", "s3://b/t"], "`s3://` is not supported"),
        (vec!["calibrate", "s3://b/t"], "IN: `input.path` is \"s3://"),
        (vec!["calibrate", "tasks.parquet", "--output", "s3://b/r"], "`s3://` is not supported"),
        (vec!["bench", "--json", "s3://b/bench.json"], "`s3://` is not supported"),
        (vec!["cache", "stats", "--cache", "s3://b/c"], "`s3://` is not supported"),
        (vec!["cache", "stats", "--output", "s3://b/c"], "`s3://` is not supported"),
        (vec!["sample", "s3://b/t.parquet"], "`s3://` is not supported"),
        (vec!["init", "s3://b/t.parquet"], "`s3://` is not supported"),
        (vec!["run", "--config", "s3://b/pipeline.toml"], "`s3://` is not supported"),
    ];
    let before = job.names(".");
    for (arguments, said) in cases {
        let refusal = job.reembed(&arguments);
        assert_eq!(refusal.status.code(), Some(2), "{arguments:?}: {}", err(&refusal));
        assert!(err(&refusal).contains(said), "{arguments:?}: {}", err(&refusal));
        assert_eq!(job.names("."), before, "{arguments:?}");
    }
}

#[test]
fn one_refusal_tells_every_path_of_the_configuration_that_is_not_local() {
    let job = job();
    let config = "[input]\npath = \"s3://b/in\"\n[output]\npath = \"~/out\"\n[cache]\npath = \"gs://b/c\"\n\
                  [report]\ndir = \"hf://r\"\n[[embedding]]\ncolumn = \"v\"\nmodel.path = \"az://m\"\n\
                  vector.type = \"int8\"\nvector.ranges = \"http://h/r.json\"\n";
    fs::write(job.path("pipeline.toml"), config).expect("a configuration");
    let refusal = job.reembed(&["run"]);
    refused(
        &refusal,
        &[
            "pipeline.toml:2: `input.path` is \"s3://b/in\"",
            "pipeline.toml:4: `output.path` is \"~/out\", but `~` is not expanded",
            "pipeline.toml:6: `cache.path` is \"gs://b/c\"",
            "pipeline.toml:8: `report.dir` is \"hf://r\"",
            "pipeline.toml:11: `model.path` is \"az://m\"",
            "pipeline.toml:13: `vector.ranges` is \"http://h/r.json\"",
        ],
    );
    assert_eq!(job.names("."), ["model", "pipeline.toml", "tasks.parquet"]);
}

#[test]
fn output_that_is_no_file_is_refused_by_run_and_dry_run() {
    let job = job();
    fs::create_dir_all(job.path("directory/tasks.parquet")).expect("directories");
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, job.path("fifo"), FileType::Fifo, mode, 0).expect("a FIFO");
    let _socket = UnixListener::bind(job.path("socket")).expect("a socket");
    for (output, said) in [
        ("~/new.parquet", "`~` is not expanded"),
        ("directory", "tasks.parquet: the output is a directory, not a regular file"),
        ("fifo", "fifo: the output is a FIFO, not a regular file"),
        ("socket", "socket: the output is a socket, not a regular file"),
        ("/dev/null", "/dev/null: the output is a device, not a regular file"),
    ] {
        let flag = format!("--output={output}");
        for arguments in [&[&*flag][..], &[&flag, "--no-supervise"], &[&flag, "--dry-run"]] {
            let run = ["run", "--quiet", "--model-path", "no/model"];
            refused(&job.reembed(&[&run[..], arguments].concat()), &[said]);
        }
    }
    let names = ["directory", "fifo", "model", "pipeline.toml", "socket", "tasks.parquet"];
    assert_eq!(job.names("."), names);
    assert!(!Path::new("/dev/_reembed").exists());
}
