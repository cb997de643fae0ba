//! The command line as a user sees it: help, exit codes, sources of settings, full or closed streams, logs
//! without row content, and the findings of `verify`. Expected texts are in `tests/snapshots`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, RecordBatch, StringArray,
    UInt32Array,
};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Float32Type;
use assert_cmd::assert::OutputAssertExt;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use redb::{ReadableTable, TableDefinition};
use reembed_cli::sample;
use reembed_testing::model_directory::ModelDirectory;

use crate::command_line::Job;
use crate::common::task;

impl Job {
    /// A job over 40 rows.
    fn small() -> Self {
        Job::with(ModelDirectory::tiny(), "40", "result.parquet")
    }

    /// The same job after a run.
    fn done() -> Self {
        let job = Job::small();
        job.run(&["--quiet"]).assert().success();
        job
    }

    /// The same job after a run that encoded the carried columns anew.
    fn done_anew() -> Self {
        let job = Job::small();
        let mut command = job.command(&job.with_model(&["run", "--quiet"]));
        command.env("REEMBED_OUTPUT_CARRY", "reencode").assert().success();
        job
    }

    fn verify(&self, arguments: &[&str]) -> Output {
        self.reembed(&self.with_model(&[&["verify", "result.parquet"], arguments].concat()))
    }

    /// Runs with standard error on a pseudo-terminal of 160 columns; returns the exit code and the terminal
    /// output.
    fn on_a_terminal(&self, arguments: &[&str]) -> (Option<i32>, String) {
        const SCRIPT: &str = r#"
import fcntl, os, pty, struct, sys, termios
child, screen = pty.fork()
if child == 0:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    try:
        drawn = os.read(screen, 65536)
    except OSError:
        break
    if not drawn:
        break
    os.write(1, drawn)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;
        let run = Command::new("python3")
            .args(["-c", SCRIPT, env!("CARGO_BIN_EXE_reembed")])
            .args(arguments)
            .current_dir(self.directory.path())
            .env("TERM", "xterm")
            .env("HOME", "/nowhere")
            .output()
            .expect("Python 3");
        assert_eq!(err(&run), "", "of Python");
        (run.status.code(), out(&run))
    }

    fn has_output(&self) -> bool {
        self.path("result.parquet").exists()
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).expect("a directory");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.expect("an entry").file_name().to_string_lossy().into_owned()
        };
        let mut files: Vec<String> = entries.map(name).collect();
        files.sort();
        files
    }

    /// Removes directories, sizes, speeds and hashes from snapshots.
    fn filtered(&self, check: impl FnOnce()) {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let escaped = |path: &Path| path.display().to_string().replace('.', "\\.");
        settings.add_filter(&escaped(self.model.path()), "[model]");
        // The name of its directory is the name of the model.
        let name = self.model.path().file_name().map(Path::new).expect("a name");
        settings.add_filter(&escaped(name), "[name]");
        settings.add_filter(&escaped(self.directory.path()), "[directory]");
        settings.add_filter(r"\b[0-9a-f]{64}\b", "[sha256]");
        settings.add_filter(r"fingerprint [0-9a-f]{12}", "fingerprint [12 digits]");
        settings.add_filter(r"\b[0-9a-f]{12}\b", "[12 digits]");
        settings.add_filter(r"difference \d\.\de-?\d+", "difference [small]");
        settings.add_filter(r"candle-\S+", "[numerics]");
        settings.bind(check);
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Exit code, standard output and standard error.
fn shown(output: &Output) -> String {
    let code = output.status.code().map_or("none".to_owned(), |code| code.to_string());
    format!("exit {code}\n--- stdout\n{}--- stderr\n{}", out(output), err(output))
}

#[test]
fn help_says_what_each_command_does() {
    let job = Job::small();
    job.filtered(|| {
        for (name, arguments) in [
            ("help", &["--help"][..]),
            ("help-run", &["run", "--help"]),
            ("help-bench", &["bench", "--help"]),
            ("help-calibrate", &["calibrate", "--help"]),
            ("help-verify", &["verify", "--help"]),
            ("help-model", &["model", "--help"]),
            ("help-model-fetch", &["model", "fetch", "--help"]),
            ("help-model-show", &["model", "show", "--help"]),
            ("help-model-pin", &["model", "pin", "--help"]),
            ("help-model-convert", &["model", "convert", "--help"]),
            ("help-model-check", &["model", "check", "--help"]),
            ("help-init", &["init", "--help"]),
            ("help-sample", &["sample", "--help"]),
            ("help-cache", &["cache", "--help"]),
            ("help-cache-stats", &["cache", "stats", "--help"]),
            ("help-cache-prune", &["cache", "prune", "--help"]),
            ("help-cache-verify", &["cache", "verify", "--help"]),
        ] {
            let help = job.reembed(arguments);
            assert_eq!((help.status.code(), err(&help)), (Some(0), String::new()), "{name}");
            insta::assert_snapshot!(name, out(&help));
        }
    });
}

#[test]
fn mistakes_are_named_with_their_exit_code() {
    let job = Job::small();
    fs::write(job.path("typo.toml"), "[batch]\nstrat = 8\n").expect("a file");
    fs::write(job.path("text.parquet"), "id,title\n").expect("a file");
    job.filtered(|| {
        for (name, arguments) in [
            ("error-no-command", &[][..]),
            ("error-unknown-flag", &["run", "--inptu", "x"]),
            ("error-unknown-command", &["rnu"]),
            ("error-quiet-and-verbose", &["run", "--quiet", "--verbose"]),
            ("error-zero-tasks", &["bench", "--tasks", "0"]),
            ("error-mode", &["bench", "--modes", "single,all"]),
            ("error-old-flag", &["run", "--store-mode", "off"]),
            ("error-old-command", &["store", "prune"]),
            ("error-one-path", &["run", "tasks.parquet"]),
            ("error-init-exists", &["init", "tasks.parquet"]),
            ("error-typo", &["run", "--config", "typo.toml"]),
            ("error-no-configuration", &["run", "--config", "no.toml"]),
            ("error-no-input", &["run", "--input", "no.parquet"]),
            ("error-no-parquet", &["run", "--input", "text.parquet"]),
            ("error-output-is-input", &["run", "--output", "tasks.parquet"]),
            ("error-output-home", &["run", "--output", "~/out.parquet", "--dry-run"]),
            ("error-batch-size", &["run", "--batch-size", "0"]),
            ("error-no-model", &["run", "--model-path", "no-model"]),
            ("error-cache-mode", &["run", "--cache-mode", "on"]),
            ("error-no-cache", &["cache", "stats", "--output", "no.parquet"]),
            ("error-foreign-cache", &["cache", "prune", "--cache", "tasks.parquet"]),
            ("error-verify-no-output", &["verify", "no.parquet", "--model-path", "no-model"]),
            ("error-verify-input", &["verify", "tasks.parquet", "--sample", "0"]),
        ] {
            insta::assert_snapshot!(name, shown(&job.reembed(arguments)));
        }
    });
    assert!(!job.has_output());
}

#[test]
fn an_error_is_said_even_when_quiet_and_in_json_when_asked() {
    let job = Job::small();
    let quiet = job.run(&["--quiet", "--input", "no.parquet"]);
    assert_eq!((quiet.status.code(), err(&quiet).lines().count()), (Some(2), 1));
    assert!(err(&quiet).starts_with("error: no.parquet: "), "{}", err(&quiet));
    let json = job.run(&["--log-format", "json", "--input", "no.parquet"]);
    let lines = json_lines(&err(&json));
    assert!(lines.last().is_some_and(|line| line["level"] == "ERROR"), "{lines:?}");
}

#[test]
fn settings_come_from_flag_then_variable_then_file_then_default() {
    let job = Job::small();
    let config = "[input]\npath = \"tasks.parquet\"\nid = \"key\"\ntitle = \"name\"\n\n\
                  [output]\npath = \"result.parquet\"\n";
    fs::write(job.path("pipeline.toml"), config).expect("a configuration");
    let printed = |arguments: &[&str], variables: &[(&str, &str)]| {
        let arguments = job.with_model(&[&["run", "--print-config"], arguments].concat());
        let output =
            job.command(&arguments).envs(variables.iter().copied()).output().expect("a child");
        assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
        out(&output)
    };
    let text = printed(
        &["--input", "other.parquet", "--batch-size", "7", "--threads", "1"],
        &[("REEMBED_INPUT_PATH", "third.parquet"), ("REEMBED_INPUT_TITLE", "headline")],
    );
    let has = |line: &str| assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    has("path = \"other.parquet\"  # --input");
    has("id = \"key\"  # pipeline.toml:3");
    has("title = \"headline\"  # REEMBED_INPUT_TITLE");
    has("description = \"description\"  # default");
    has("start = 7  # --batch-size");
    job.filtered(|| insta::assert_snapshot!("print-config", text));
    // The printed text is a configuration with the same values.
    fs::write(job.path("printed.toml"), &text).expect("a file");
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap_or("").to_owned()).collect()
    };
    let again = job.reembed(&["run", "--print-config", "--config", "printed.toml"]);
    assert_eq!(values(&out(&again)), values(&text));
    assert!(!job.has_output());
}

#[test]
fn flags_for_names_may_be_given_several_times() {
    let job = Job::small();
    for (flags, expected) in [
        (&["--keep", "id, title"][..], "keep = [\"id\", \"title\"]  # --keep"),
        (&["--keep", "id", "--keep", "title,key"], "keep = [\"id\", \"title\", \"key\"]  # --keep"),
        (&["--drop", "files"], "drop = [\"files\"]  # --drop"),
    ] {
        let text = out(&job.reembed(&[&["run", "--print-config"], flags].concat()));
        assert!(text.lines().any(|line| line == expected), "{flags:?} gave {text}");
    }
    // A flag replaces what the file says of the other key.
    let file = fs::read_to_string(job.path("pipeline.toml")).expect("a configuration");
    fs::write(job.path("keeps.toml"), file + "keep = [\"id\"]\n").expect("a configuration");
    let drops = ["run", "--print-config", "--config", "keeps.toml", "--drop", "files"];
    let text = out(&job.reembed(&drops));
    assert!(text.contains("drop = [\"files\"]  # --drop") && !text.contains("keep = ["), "{text}");
    for (flags, expected) in [
        (&["--keep", "id", "--keep", "id"], "error: --keep has the name \"id\" twice"),
        (
            &["--keep", "id", "--drop", "files"],
            "error: --drop: `output.drop` is set, and so is `output.keep` (--keep)",
        ),
    ] {
        let run = job.reembed(&[&["run", "--print-config"], &flags[..]].concat());
        assert_eq!(run.status.code(), Some(2), "{flags:?}");
        assert!(err(&run).starts_with(expected), "{flags:?} gave {}", err(&run));
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_no_missing_one() {
    let job = Job::small();
    fs::remove_file(job.path("pipeline.toml")).expect("a configuration");
    std::os::unix::fs::symlink("gone.toml", job.path("pipeline.toml")).expect("a link");
    let run = job.run(&["tasks.parquet", "result.parquet"]);
    assert_eq!(run.status.code(), Some(2), "{}", err(&run));
    assert!(err(&run).starts_with("error: pipeline.toml: "), "{}", err(&run));
    assert!(!job.has_output());
}

#[test]
fn init_turns_off_a_files_column_that_holds_no_lists() {
    let job = Job::small();
    let words = || Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef;
    let tasks = [("id", words()), ("title", words()), ("files", words())];
    let tasks = RecordBatch::try_from_iter(tasks).expect("columns of equal length");
    write(&job.path("names.parquet"), &tasks, &[]);
    job.reembed(&["init", "names.parquet", "--force"]).assert().success();
    let config = fs::read_to_string(job.path("pipeline.toml")).expect("a configuration");
    assert!(config.lines().any(|line| line.starts_with("files = \"\"")), "{config}");
    job.run(&["--quiet"]).assert().success();
}

#[test]
fn a_dry_run_says_what_it_would_do_and_writes_nothing() {
    let job = Job::small();
    let before = job.files();
    let dry = job.run(&["--dry-run", "--output", "new/result.parquet", "--quiet"]);
    assert_eq!((dry.status.code(), err(&dry)), (Some(0), String::new()));
    assert!(out(&dry).contains("40"), "{}", out(&dry));
    assert_eq!(job.files(), before);
}

#[test]
fn quiet_is_silent_and_the_summary_goes_to_standard_output() {
    let job = Job::small();
    let run = job.run(&["--quiet"]);
    assert_eq!((run.status.code(), err(&run)), (Some(0), String::new()));
    let names: Vec<String> =
        out(&run).lines().map(|line| line.split("  ").next().unwrap_or("").to_owned()).collect();
    assert!(
        names.contains(&"rows".to_owned()) && names.contains(&"output".to_owned()),
        "{names:?}"
    );
}

#[test]
fn pinned_precision_is_shown_and_verify_uses_the_file_s() {
    let job = Job::small();
    let run = job.run(&["--precision", "bf16"]);
    assert_eq!(run.status.code(), Some(0), "{}", err(&run));
    assert!(out(&run).contains("packed-1-bf16, fingerprint"), "{}", out(&run));
    // Without AMX, or with AMX disabled, bf16 is emulated: both commands then warn.
    let emulated = out(&run).contains("bf16 emulated");
    let warning = "bf16 is emulated, with the bits of AMX and no faster than f32";
    assert_eq!(err(&run).contains(warning), emulated, "{}", err(&run));
    let verified = job.verify(&[]);
    assert_eq!(verified.status.code(), Some(0), "{}{}", out(&verified), err(&verified));
    assert_eq!(err(&verified).contains(warning), emulated, "{}", err(&verified));
    let other = job.verify(&["--precision", "f32"]);
    assert_eq!(other.status.code(), Some(3));
    assert!(err(&other).contains("precision \"bf16\" there, \"f32\" here"), "{}", err(&other));
}

#[test]
fn progress_off_a_terminal_is_plain_lines() {
    let run = Job::small().run(&[]);
    let log = err(&run);
    assert!(log.contains("embedding") && log.contains("rows=40"), "{log}");
    let is_plain = |line: &str| {
        line.starts_with(|c: char| c.is_ascii_digit()) && !line.contains(char::is_control)
    };
    assert!(log.lines().all(is_plain), "{log}");
}

#[test]
fn on_a_terminal_there_is_a_bar_that_leaves_nothing_behind() {
    let job = Job::small();
    job.reembed(&["sample", "tasks.parquet", "--rows", "3000"]).assert().success();
    let (exit, screen) = job.on_a_terminal(&job.with_model(&["run"]));
    assert_eq!(exit, Some(0), "{screen}");
    // Each frame of the progress bar starts at a carriage return.
    let drawn: Vec<&str> =
        screen.split(['\r', '\n']).filter(|line| line.contains("/3,000 rows")).collect();
    assert!(drawn.len() > 1, "{screen:?}");
    for part in [" tasks/s", " tokens/s", "batch limit 32", " left"] {
        assert!(drawn.iter().any(|line| line.contains(part)), "{part}: {drawn:?}");
    }
    assert!(!screen.contains(" INFO "), "log lines beside the bar: {screen:?}");
    let rest = screen.rsplit("\u{1b}[2K").next().unwrap_or(&screen);
    assert!(rest.trim().is_empty(), "the bar is not cleared: {rest:?}");
    assert!(job.has_output());

    let (exit, screen) = job.on_a_terminal(&job.with_model(&["run", "--quiet"]));
    assert_eq!((exit, screen.as_str()), (Some(0), ""), "output with --quiet");
}

/// The rows that each frame of the bar shows as embedded, of `all`.
fn drawn_rows(screen: &str, all: u64) -> Vec<u64> {
    let end = format!("/{all} rows, ");
    let rows = |frame: &str| frame.split_once(&end)?.0.rsplit(' ').next()?.parse().ok();
    screen.split(['\r', '\n']).filter_map(rows).collect()
}

#[test]
fn bar_moves_within_a_batch() {
    const ROWS: u64 = 128;
    // A part of its batch takes longer than a frame of the bar, on a fast machine too.
    let slow = ModelDirectory::tiny().hidden(256).layers(6).heads(8).intermediate(1024);
    let job = Job::with(slow, "1", "result.parquet");
    let text =
        |row: u64| task(format!("T-{row}"), "fix the login test ".repeat(10) + &row.to_string());
    sample::write_tasks(&job.path("tasks.parquet"), (0..ROWS).map(text)).expect("a table");
    let arguments = ["run", "--threads", "1", "--precision", "f32"];
    let (exit, screen) = job.on_a_terminal(&job.with_model(&arguments));
    assert_eq!(exit, Some(0), "{screen}");
    let report = fs::read(job.path("_reembed/reports/result.parquet/report.json"));
    let report: serde_json::Value =
        serde_json::from_slice(&report.expect("a report")).expect("JSON");
    assert_eq!(report["batches"]["count"], 1, "{}", report["batches"]);
    let drawn = drawn_rows(&screen, ROWS);
    assert!(drawn.is_sorted(), "{drawn:?}");
    let within: BTreeSet<u64> = drawn.into_iter().filter(|rows| (1..ROWS).contains(rows)).collect();
    assert!(!within.is_empty(), "no frame within the batch: {screen:?}");
}

#[test]
fn an_error_on_a_terminal_stands_on_a_line_of_its_own() {
    let job = Job::small();
    let mut texts = vec!["fix the build".to_owned(); 2999];
    texts.push(String::new());
    let titles = Arc::new(StringArray::from(texts)) as ArrayRef;
    let ids = Arc::new(StringArray::from_iter_values((0..3000).map(|row| format!("T-{row}"))));
    let batch = RecordBatch::try_from_iter([("id", ids as ArrayRef), ("title", titles)]);
    write(&job.path("tasks.parquet"), &batch.expect("a batch"), &[]);
    fs::write(
        job.path("strict.toml"),
        "[input]\npath = \"tasks.parquet\"\ndescription = \"\"\n\
         [output]\npath = \"result.parquet\"\non_empty = \"error\"\n",
    )
    .expect("a configuration");
    let (exit, screen) = job.on_a_terminal(&job.with_model(&["run", "--config", "strict.toml"]));
    assert_eq!(exit, Some(1), "{screen:?}");
    let rest = screen.rsplit("\u{1b}[2K").next().unwrap_or(&screen).trim_start();
    assert!(rest.starts_with("error: tasks.parquet: row 3000 (id T-2999): "), "{rest:?}");
    assert_eq!(rest.trim_end().lines().count(), 1, "{rest:?}");
}

#[test]
fn a_json_log_is_one_object_per_line() {
    for verbosity in [&[][..], &["-vv"]] {
        let run = Job::small().run(&[&["--log-format", "json"], verbosity].concat());
        assert_eq!(run.status.code(), Some(0));
        let lines = json_lines(&err(&run));
        assert!(!lines.is_empty());
        for line in lines {
            assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        }
    }
}

fn json_lines(log: &str) -> Vec<serde_json::Value> {
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

/// An output stream that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Deaf {
    Full,
    Closed,
    /// A pipe whose read end is closed.
    Broken,
}

const DEAF: [Deaf; 3] = [Deaf::Full, Deaf::Closed, Deaf::Broken];

impl Deaf {
    /// Runs `arguments` with stream `number` (1 or 2) unwritable.
    fn stream(self, number: u8, job: &Job, arguments: &[&str]) -> Output {
        let redirect = match self {
            Deaf::Full => format!("{number}>/dev/full"),
            Deaf::Closed => format!("{number}>&-"),
            Deaf::Broken => String::new(),
        };
        let binary = env!("CARGO_BIN_EXE_reembed");
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec \"$0\" \"$@\" {redirect}"), binary])
            .args(arguments)
            .current_dir(job.directory.path())
            .env_clear()
            .env("HOME", "/nowhere")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self == Deaf::Broken {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            drop(reader);
            match number {
                1 => command.stdout(writer),
                _ => command.stderr(writer),
            };
        }
        let child = command.spawn().expect("a child");
        drop(command);
        child.wait_with_output().expect("a child")
    }
}

#[test]
fn a_run_is_done_even_if_nobody_can_be_told() {
    for deaf in DEAF {
        for stream in [1, 2] {
            let job = Job::small();
            let run = deaf.stream(stream, &job, &job.with_model(&["run", "-vv"]));
            assert_eq!(run.status.code(), Some(0), "{deaf:?}, stream {stream}: {}", err(&run));
            assert!(!err(&run).contains("panicked"), "{}", err(&run));
            assert!(job.has_output(), "{deaf:?}, stream {stream}");
            assert_eq!(
                job.verify(&["--quiet"]).status.code(),
                Some(0),
                "{deaf:?}, stream {stream}"
            );
        }
    }
}

#[test]
fn a_command_whose_result_is_its_output_fails_when_that_is_lost() {
    let job = Job::done();
    for deaf in DEAF {
        for arguments in [
            &["verify", "result.parquet"][..],
            &["bench", "--tasks", "4", "--repeats", "1"],
            &["run", "--print-config"],
            &["run", "--dry-run"],
            &["model", "show"],
            &["man"],
            &["completions", "bash"],
        ] {
            let arguments = match arguments[0] {
                "man" | "completions" => arguments.to_vec(),
                _ => job.with_model(arguments),
            };
            let output = deaf.stream(1, &job, &arguments);
            let told = err(&output);
            // The standard library opens /dev/null for a closed descriptor before `main`.
            // A reader that goes, like `head`, has seen what it wanted.
            if deaf != Deaf::Full {
                assert!(!told.contains("cannot be printed"), "{deaf:?} {arguments:?}: {told}");
                assert_eq!(output.status.code(), Some(0), "{deaf:?} {arguments:?}: {told}");
                continue;
            }
            assert_eq!(output.status.code(), Some(1), "{deaf:?} {arguments:?}: {told}");
            assert!(told.contains("cannot be printed"), "{deaf:?} {arguments:?}: {told}");
            assert!(!told.contains("panicked"), "{told}");
        }
    }
}

#[test]
fn an_error_that_cannot_be_said_still_has_its_exit_code() {
    let job = Job::small();
    for deaf in DEAF {
        for (arguments, code) in [
            (&["run", "--input", "no.parquet"][..], 2),
            (&["run", "--input", "no.parquet", "--log-format", "json"], 2),
            (&["verify", "no.parquet"], 2),
            (&["rnu"], 2),
        ] {
            let output = deaf.stream(2, &job, arguments);
            assert_eq!(output.status.code(), Some(code), "{deaf:?} {arguments:?}");
        }
        assert_eq!(deaf.stream(1, &job, &["--help"]).status.code(), Some(0), "{deaf:?}");
    }
}

#[test]
fn logs_hold_no_text_of_a_row_and_no_control_characters() {
    const MARKER: &str = "zxqvsecret";
    let job = Job::small();
    let text = |row: usize| format!("{MARKER} {row} \u{1b}[2J\u{7}\0 end");
    let texts = || Arc::new(StringArray::from_iter_values((0..40).map(text))) as ArrayRef;
    let ids =
        StringArray::from_iter_values((0..40).map(|row| format!("id {} \u{1b}[31m", row % 7)));
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("title", texts()),
        ("description", texts()),
        ("extra\u{1b}[2J", texts()),
    ])
    .expect("columns of equal length");
    write(&job.path("tasks.parquet"), &batch, &[]);
    for arguments in [
        &["run"][..],
        &["run", "-vv"],
        &["run", "-vv", "--log-format", "json"],
        &["run", "-vv", "--dry-run"],
        &["verify", "-vv", "result.parquet", "--input", "tasks.parquet"],
    ] {
        let output = job.reembed(&job.with_model(arguments));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", err(&output));
        for stream in [out(&output), err(&output)] {
            assert!(!stream.contains(MARKER), "{arguments:?}: {stream}");
            assert!(
                !stream.contains(|c: char| c.is_control() && c != '\n'),
                "{arguments:?}: {stream:?}"
            );
        }
    }
    // The same holds for the log of a failed run.
    let failed = job.command(&job.with_model(&["run", "-vv"]));
    let failed = { failed }.env("REEMBED_INPUT_FILES", "extra\u{1b}[2J").output().expect("a child");
    assert_eq!(failed.status.code(), Some(2));
    assert!(!err(&failed).contains(|c: char| c.is_control() && c != '\n'), "{}", err(&failed));
}

#[test]
fn cache_stats_finds_the_cache_by_output_or_path() {
    let job = Job::done();
    let by_output = job.reembed(&["cache", "stats"]);
    job.filtered(|| {
        let filters = vec![
            (r"[0-9.]+ KB", "[size]"),
            (r"\d{4}-\d\d-\d\dT[0-9:]+Z  /.*/result", "[time]  [path]/result"),
        ];
        insta::with_settings!({filters => filters}, {
            insta::assert_snapshot!("cache-stats", shown(&by_output));
        })
    });
    let path = job.path("_reembed/result.parquet.cache");
    let by_name = job.reembed(&["cache", "stats", "--cache", path.to_str().expect("text")]);
    assert!(by_name.status.success(), "{}", err(&by_name));
    // The only output ran just now, so that nothing is forgotten.
    let prune = ["cache", "prune", "--output", "result.parquet", "--forget-after-days", "90"];
    let pruned = job.reembed(&prune);
    assert_eq!(pruned.status.code(), Some(0), "{}", err(&pruned));
    assert!(out(&job.reembed(&["cache", "stats"])).contains("result.parquet\n"));
    let checked = job.reembed(&["cache", "verify", "--output", "result.parquet"]);
    assert_eq!((checked.status.code(), err(&checked).contains("WARN")), (Some(0), false));
    assert!(out(&checked).starts_with("vectors  "), "{}", out(&checked));
    let pruned = job.reembed(&["cache", "prune"]);
    assert!(out(&pruned).contains("removed  0\n"), "{}", out(&pruned));

    let again = job.run(&["--quiet"]);
    let vectors = out(&again).lines().find(|line| line.starts_with("vectors")).map(str::to_owned);
    assert!(
        vectors.is_some_and(|line| line.contains("  0 embedded, 39 reused,")),
        "{}",
        out(&again)
    );
}

/// Makes a shared cache say that the last run of the output with this name finished some days ago.
fn age_output(cache: &Path, name: &str, days: u64) {
    const OUTPUTS: TableDefinition<&str, &str> = TableDefinition::new("outputs");
    let database = redb::Database::open(cache).expect("a cache");
    let write = database.begin_write().expect("a transaction");
    let mut outputs = write.open_table(OUTPUTS).expect("a table");
    let entries = outputs.iter().expect("entries").map(|entry| {
        let (path, json) = entry.expect("an entry");
        (path.value().to_owned(), json.value().to_owned())
    });
    let (path, json) = Vec::from_iter(entries)
        .into_iter()
        .find(|(path, _)| path.ends_with(name))
        .expect("an output of this name");
    let mut record: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let finished = record["finished"].as_u64().expect("seconds");
    record["finished"] = (finished - days * 24 * 60 * 60).into();
    outputs.insert(&*path, &*record.to_string()).expect("it is changed");
    drop(outputs);
    write.commit().expect("it is changed");
}

#[test]
fn prune_forgets_an_output_that_has_not_run_for_long() {
    let job = Job::small();
    let cache = job.path("shared.cache");
    let cache = cache.to_str().expect("text");
    let write = |table: &str, rows: u64| {
        let rows = (0..rows).map(|row| task(format!("T-{row}"), format!("{table}, title {row}")));
        sample::write_tasks(&job.path(table), rows).expect("a table");
    };
    write("often.parquet", 30);
    write("seldom.parquet", 20);
    let run = |name: &str| {
        let (input, output) = (format!("{name}.parquet"), format!("{name}-out.parquet"));
        let arguments = job.with_model(&["run", &input, &output]);
        let mut command = job.command(&arguments);
        command.envs([("REEMBED_CACHE_PATH", cache), ("REEMBED_CACHE_VERIFY_SAMPLE", "0")]);
        let ran = command.output().expect("a child");
        assert_eq!(ran.status.code(), Some(0), "{}", err(&ran));
        let line = out(&ran).lines().find(|line| line.starts_with("vectors")).map(str::to_owned);
        line.expect("a line about vectors")
    };
    let prune = |days: &str| {
        let arguments = ["cache", "prune", "--cache", cache, "--keep-runs", "1"];
        let pruned = job.reembed(&[&arguments[..], &["--forget-after-days", days]].concat());
        assert_eq!(pruned.status.code(), Some(0), "{}", err(&pruned));
        out(&pruned)
    };
    let outputs = || {
        let stats = out(&job.reembed(&["cache", "stats", "--cache", cache]));
        ["often-out.parquet\n", "seldom-out.parquet\n"].map(|name| stats.contains(name))
    };
    run("seldom");
    run("often");
    run("often");
    age_output(Path::new(cache), "seldom-out.parquet", 40);
    let pruned = prune("50");
    assert!(pruned.contains("removed  0\n"), "its last run is 40 days ago: {pruned}");
    assert_eq!(outputs(), [true, true]);
    let pruned = prune("30");
    assert!(pruned.contains("removed  20\n") && pruned.contains("kept     30\n"), "{pruned}");
    assert_eq!(outputs(), [true, false]);
    for (name, expected) in
        [("often", "  0 embedded, 30 reused,"), ("seldom", "  20 embedded, 0 reused,")]
    {
        // So that the cache alone has the vectors.
        fs::remove_file(job.path(&format!("{name}-out.parquet"))).expect("an output");
        let vectors = run(name);
        assert!(vectors.contains(expected), "{name}: {vectors}");
    }
    assert_eq!(outputs(), [true, true]);
}

#[test]
fn any_table_runs_with_the_names_of_its_columns() {
    let job = Job::small();
    let text = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("review", text(&["good", "bad", "", "good"])),
        ("stars", Arc::new(UInt32Array::from(vec![5, 1, 3, 5])) as ArrayRef),
        ("sku", text(&["a", "b", "c", "a"])),
    ])
    .expect("columns of one length");
    write(&job.path("reviews.parquet"), &batch, &[]);
    fs::remove_file(job.path("pipeline.toml")).expect("a configuration");
    let model = job.model.path().to_str().expect("a path of text");
    let run = |arguments: &[&str]| {
        let paths = ["run", "reviews.parquet", "out.parquet", "--model", model, "--quiet"];
        job.reembed(&[&paths, arguments].concat())
    };

    let first = run(&["--text", "review", "--cache", "vectors.cache"]);
    assert_eq!(first.status.code(), Some(0), "{}", err(&first));
    let summary = out(&first);
    assert!(summary.contains("rows         4 (1 without text, null)"), "{summary}");
    assert!(summary.contains("2 embedded, 0 reused, 1 duplicates"), "{summary}");
    assert!(!summary.contains("repeated ids"), "{summary}");
    assert!(job.path("vectors.cache").exists());
    let verified = job.reembed(&["verify", "out.parquet", "--model", model]);
    assert_eq!(verified.status.code(), Some(0), "{}", shown(&verified));
    assert!(out(&verified).contains("ok     embedded again      3 rows"), "{}", out(&verified));

    let other = run(&["--text-template", "{stars}: {review}"]);
    assert_eq!(other.status.code(), Some(3));
    let refusal = err(&other);
    assert!(
        refusal.contains(r#"made by "{review}" there, it is "{stars}: {review}" here"#),
        "{refusal}"
    );

    let template = ["--text-template", "{stars}: {review}", "--rebuild", "--id", "sku"];
    let named = run(&[&template[..], &["--column", "stars_vector"]].concat());
    assert_eq!(named.status.code(), Some(0), "{}", err(&named));
    assert!(
        out(&named).contains("repeated ids  1 rows have the id of an earlier row"),
        "{}",
        out(&named)
    );
    let (rows, _) = read(&job.path("out.parquet"));
    assert_eq!(rows.schema().field(3).name(), "stars_vector");
}

#[test]
fn model_flag_takes_a_directory_or_an_id() {
    let job = Job::small();
    let directory = job.model.path().to_str().expect("a path of text");
    let config = |model: &str| {
        let file = fs::read_to_string(job.path("pipeline.toml")).expect("a configuration");
        fs::write(job.path("other.toml"), file + "\n[model]\npath = \"elsewhere\"\nid = \"a/b\"\n")
            .expect("a configuration");
        let printed =
            job.reembed(&["run", "--print-config", "--config", "other.toml", "--model", model]);
        assert_eq!(printed.status.code(), Some(0), "{}", err(&printed));
        out(&printed)
    };
    let (of_directory, of_id) = (config(directory), config("intfloat/e5-small-v2"));
    assert!(of_directory.contains(directory) && !of_directory.contains("a/b"), "{of_directory}");
    assert!(of_id.contains("intfloat/e5-small-v2") && !of_id.contains("elsewhere"), "{of_id}");
}

#[test]
fn model_flag_drops_what_lower_layers_say_of_another_model() {
    let job = Job::small();
    let directory = job.model.path().to_str().expect("a path of text");
    let file = fs::read_to_string(job.path("pipeline.toml")).expect("a configuration");
    let described = "revision = \"v1\"\nsha256 = { \"model.safetensors\" = \"HASH\" }\n";
    let described = described.replace("HASH", &"0".repeat(64));
    let printed = |prompt: &str, model: &str, arguments: &[&str]| {
        let text = format!("{file}\n[model]\n{model}\n{described}{prompt} = \"query\"\n");
        fs::write(job.path("other.toml"), text).expect("a configuration");
        let mut command = job
            .command(&[&["run", "--print-config", "--config", "other.toml"], arguments].concat());
        let printed = command.output().expect("a child");
        assert_eq!(printed.status.code(), Some(0), "{}", err(&printed));
        let lines = out(&printed);
        let model = lines.split("[model]").nth(1).and_then(|rest| rest.split("\n[").next());
        model.expect("a table").to_owned()
    };
    let default = "sentence-transformers/all-MiniLM-L6-v2";
    let (of_file, by_path) = ("id = \"a/b\"", format!("path = {directory:?}"));
    for (model, arguments, is_kept) in [
        (of_file, &["--model", "c/d"][..], false),
        (of_file, &["--model", directory], false),
        (&by_path, &["--model", "a/b"], false),
        ("path = \"elsewhere\"", &["--model", directory], false),
        ("", &["--model", "c/d"], false),
        // The same model as before.
        (of_file, &["--model", "a/b"], true),
        ("", &["--model", default], true),
        (&by_path, &["--model", directory], true),
        (of_file, &[], true),
    ] {
        for prompt in ["prompt", "prompt_name"] {
            let printed = printed(prompt, model, arguments);
            for value in ["sha256", "query"] {
                let case = format!("{value}, {model}, {arguments:?}: {printed}");
                assert_eq!(printed.contains(value), is_kept, "{case}");
            }
            // A directory has no revision.
            let has_revision = printed.contains("v1");
            assert!(!has_revision || is_kept, "{model}, {arguments:?}: {printed}");
        }
    }
    // The other flags are of the same command line.
    let named = printed("prompt", of_file, &["--prompt-name", "passage", "--model", "c/d"]);
    assert!(named.contains("passage") && !named.contains("sha256"), "{named}");
    // So the pins of another model do not refuse this one.
    let run = ["run", "--quiet", "--config", "other.toml", "--model", directory];
    let run = job.reembed(&run);
    assert_eq!(run.status.code(), Some(0), "{}", err(&run));
}

#[test]
fn model_flag_beside_a_directory_is_a_name_and_no_other_directory() {
    let job = Job::small();
    let directory = job.model.path().to_str().expect("a path of text");
    let other = job.path("other");
    fs::create_dir(&other).expect("a directory");
    for arguments in [
        ["--model", "other", "--model-path", directory],
        ["--model-path", directory, "--model", "other"],
    ] {
        let refused = job.reembed(&[&["run"][..], &arguments].concat());
        assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
        let expected = "--model names the directory \"other\", and --model-path names";
        assert!(err(&refused).contains(expected), "{}", err(&refused));
    }
    let shown = job.reembed(&["model", "show", "--model", "org/mine", "--model-path", directory]);
    assert_eq!(shown.status.code(), Some(0), "{}", err(&shown));
    assert!(out(&shown).contains("org/mine"), "{}", out(&shown));
}

#[test]
fn one_refusal_names_every_wrong_setting() {
    let job = Job::small();
    let file =
        "[input]\npath = \"tasks.parquet\"\nidd = \"x\"\nchunk_rows = 0\n[outptu]\npath = \"x\"\n";
    fs::write(job.path("wrong.toml"), file).expect("a configuration");
    let mut command = job.command(&["run", "--config", "wrong.toml", "--threads", "many"]);
    let refused = command.env("REEMBED_REPORT_KEEP", "all").output().expect("a child");
    assert_eq!(refused.status.code(), Some(2));
    let refusal = err(&refused);
    for wrong in [
        "line 3: unknown key `input.idd`; did you mean `input.id`?",
        "line 4: `input.chunk_rows` must be a whole number from 1 to 1000000, is 0",
        "unknown table [outptu]",
        "REEMBED_REPORT_KEEP must be a whole number",
        "--threads must be a whole number",
    ] {
        assert!(refusal.contains(wrong), "{wrong}: {refusal}");
    }
    let file = "[input]\npath = \"tasks.parquet\"\n[text]\ncolumns = [\"a\"]\ntemplate = \"{b}\"\n\
                [output]\npath = \"s3://x\"\ncolumn = \"\"\n";
    fs::write(job.path("wrong.toml"), file).expect("a configuration");
    let refusal = err(&job.reembed(&["run", "--config", "wrong.toml"]));
    for wrong in [
        "`s3://` is not supported",
        "`output.column` is empty",
        "`text.template` is set, and so is `text.columns`",
    ] {
        assert!(refusal.contains(wrong), "{wrong}: {refusal}");
    }
}

#[test]
fn unreadable_entry_of_reembed_in_the_input_is_told() {
    let job = Job::small();
    let (batch, _) = read(&job.path("tasks.parquet"));
    let newer = KeyValue::new("reembed".to_owned(), "{\"version\": 99}".to_owned());
    write(&job.path("tasks.parquet"), &batch, &[newer]);
    let done = job.run(&[]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    for words in ["WARN", "cannot be parsed", "does not name the models of vector columns"] {
        assert!(err(&done).contains(words), "{words}: {}", err(&done));
    }
}

#[test]
fn printed_configuration_is_the_same_configuration() {
    let job = Job::small();
    let (batch, footer) = read(&job.path("tasks.parquet"));
    let without_id = batch.project(&[1, 2]).expect("columns");
    write(&job.path("tasks.parquet"), &without_id, &footer);
    let direct = job.run(&["--quiet", "--text", "title"]);
    assert_eq!(direct.status.code(), Some(0), "{}", err(&direct));
    let printed = out(&job.run(&["--text", "title", "--print-config"]));
    assert!(printed.contains("# id = \"id\"  # default, if the table has it"), "{printed}");
    fs::write(job.path("printed.toml"), printed).expect("a configuration");
    let again = job.run(&["--config", "printed.toml", "--quiet"]);
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    assert!(out(&again).contains("vectors      0 embedded"), "{}", out(&again));
}

#[test]
fn completions_offer_the_words_of_a_setting() {
    let job = Job::small();
    let script = out(&job.reembed(&["completions", "bash"]));
    for words in ["read-write read-only output off", "auto f32 bf16"] {
        assert!(script.contains(words), "{words}");
    }
}

#[test]
fn verify_agrees_with_what_run_wrote() {
    let job = Job::done();
    let verify = job.verify(&["--quiet", "--input", "tasks.parquet", "--sample", "8"]);
    job.filtered(|| insta::assert_snapshot!("verify", shown(&verify)));
}

#[test]
fn verify_finds_a_changed_byte_of_a_copied_column() {
    let job = Job::done();
    let file = fs::read(job.path("result.parquet")).expect("an output");
    let open = File::open(job.path("result.parquet")).expect("an output");
    let metadata = ParquetRecordBatchReaderBuilder::try_new(open).expect("a footer");
    for column in metadata.metadata().row_group(0).columns() {
        let path = column.column_path().string();
        let root = path.split('.').next().expect("a name");
        let (start, length) = column.byte_range();
        let mut changed = file.clone();
        // The last byte of a page, so that every header stays as it was.
        changed[(start + length - 1) as usize] ^= 1;
        fs::write(job.path("result.parquet"), &changed).expect("an output");
        for arguments in [&["--sample", "0"][..], &["--sample", "0", "--input", "tasks.parquet"]] {
            let verify = job.verify(&[&["--quiet"], arguments].concat());
            assert_eq!(verify.status.code(), Some(1), "{path}: {}", shown(&verify));
            let told = [out(&verify), err(&verify)].concat();
            assert!(told.contains(&format!("column `{root}")), "{path}: {told}");
        }
    }
    // The same values in other bytes are another file.
    let (batch, footer) = {
        fs::write(job.path("result.parquet"), &file).expect("an output");
        read(&job.path("result.parquet"))
    };
    write(&job.path("result.parquet"), &batch, &footer);
    let verify = job.verify(&["--quiet", "--sample", "0", "--input", "tasks.parquet"]);
    assert_eq!(verify.status.code(), Some(1), "{}", shown(&verify));
    assert!(out(&verify).contains("WRONG  carried columns"), "{}", shown(&verify));
}

#[test]
fn verify_finds_what_was_changed() {
    let job = Job::done_anew();
    let (batch, footer) = read(&job.path("result.parquet"));
    let rows = batch.num_rows() as u32;
    let picked =
        |rows: &[u32]| take_record_batch(&batch, &UInt32Array::from(rows.to_vec())).expect("rows");
    let all: Vec<u32> = (0..rows).collect();
    let mut swapped = all.clone();
    swapped.swap(3, 4);
    let mut doubled = all.clone();
    doubled[5] = 4;
    let cases: [(&str, RecordBatch, &str); 9] = [
        ("one component", with_vector(&batch, |vector| vector[0] = -vector[0]), "embedded again"),
        ("one tiny step", with_vector(&batch, |vector| vector[1] += 1e-4), "embedded again"),
        ("one NaN", with_vector(&batch, |vector| vector[0] = f32::NAN), "finite"),
        (
            "another length",
            with_vector(&batch, |v| v.iter_mut().for_each(|x| *x *= 1.01)),
            "length",
        ),
        ("carried text", with_title(&batch), "carried columns"),
        ("missing column", batch.project(&[0, 1, 2, 4]).expect("columns"), "digests"),
        ("missing row", picked(&all[..all.len() - 1]), "rows"),
        ("two rows swapped", picked(&swapped), "carried columns"),
        ("one row twice, one not", picked(&doubled), "carried columns"),
    ];
    for (name, changed, check) in cases {
        write(&job.path("result.parquet"), &changed, &footer);
        let verify = job.verify(&["--quiet", "--input", "tasks.parquet", "--sample", "1000"]);
        assert_eq!(verify.status.code(), Some(1), "{name}: {}", shown(&verify));
        let wrong = out(&verify);
        let found =
            wrong.lines().any(|line| line.starts_with("WRONG") && line[7..].starts_with(check));
        assert!(found, "{name} is not found by {check}:\n{wrong}");
    }
}

#[test]
fn verify_finds_what_was_changed_with_neither_input_nor_model() {
    let job = Job::done_anew();
    let (batch, footer) = read(&job.path("result.parquet"));
    let verify = || job.reembed(&["verify", "result.parquet", "--quiet", "--sample", "0"]);
    // Rewritten by another writer with other row groups and pages: the rows are unchanged.
    write(&job.path("result.parquet"), &batch, &footer);
    assert_eq!(verify().status.code(), Some(0), "{}", shown(&verify()));
    for (changed, column) in [
        (with_title(&batch), "title"),
        (with_vector(&batch, |vector| vector[1] = vector[1].next_up()), "embedding"),
        (batch.project(&[0, 1, 2, 4]).expect("columns"), "files"),
    ] {
        write(&job.path("result.parquet"), &changed, &footer);
        let found = verify();
        let end = format!("column `{column}` was changed");
        let is_told = |line: &str| line.starts_with("WRONG  digests") && line.ends_with(&end);
        assert!(out(&found).lines().any(is_told), "{end}\n{}", shown(&found));
    }
}

#[test]
fn verify_refuses_another_model_and_names_the_difference() {
    let job = Job::done();
    let other = ModelDirectory::tiny().seed(1).prompt(Some("query: ")).write();
    let other = other.path().to_str().expect("a path of text");
    let verify = job.reembed(&["verify", "result.parquet", "--quiet", "--model-path", other]);
    let told = err(&verify);
    assert_eq!((verify.status.code(), told.lines().count()), (Some(3), 1), "{told}");
    let files = "config_sentence_transformers.json, model.safetensors differ";
    for difference in ["result.parquet", files, "--sample 0"] {
        assert!(told.contains(difference), "{difference}: {told}");
    }
    let unsampled = ["verify", "result.parquet", "--quiet", "--model-path", other, "--sample", "0"];
    job.reembed(&unsampled).assert().success();
}

#[test]
fn a_bench_for_programs_says_what_was_measured_and_on_what() {
    let job = Job::small();
    let measured = ["--no-memory", "--tasks", "6", "--repeats", "2", "--modes", "single,4,auto"];
    let arguments = [&["bench", "--json", "bench.json"], &measured[..]].concat();
    job.reembed(&job.with_model(&arguments)).assert().success();
    let report = fs::read_to_string(job.path("bench.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["schema"], "reembed-bench/1");
    assert_eq!(report["corpus"]["rows"], 6);
    assert!(report["corpus"]["tokens"].as_u64() > Some(6));
    assert!(report["machine"]["cores"].as_u64() >= Some(1));
    assert!(report["load_peak_resident"].as_u64() > Some(1 << 20));
    // The packed engine is listed first.
    let subject = &report["subjects"][0];
    assert!(subject["fingerprint"].as_str().is_some_and(|digits| digits.len() == 64));
    let ways = subject["ways"].as_array().expect("ways");
    let names: Vec<_> = ways.iter().map(|way| (&way["name"], &way["batch_rows"])).collect();
    let (one, four, plan) = (1.into(), 4.into(), serde_json::Value::Null);
    let named = |name: &str| serde_json::Value::from(name);
    assert_eq!(
        names,
        [
            (&named("one at a time"), &one),
            (&named("batch 4"), &four),
            (&named("as a run plans"), &plan)
        ]
    );
    for way in ways {
        let seconds = way["seconds"].as_array().expect("seconds");
        assert!(seconds.len() == 2 && seconds.iter().all(|s| s.as_f64() > Some(0.0)), "{way}");
        // The test model runs on the packed engine, which guarantees equal vectors.
        assert_eq!(way["largest_difference"], 0.0, "{way}");
    }
    let unwritable = job.reembed(&job.with_model(&[
        "bench",
        "--no-memory",
        "--tasks",
        "1",
        "--json",
        "tasks.parquet/bench.json",
    ]));
    assert_eq!(unwritable.status.code(), Some(1));
    assert!(err(&unwritable).contains("tasks.parquet: the report cannot be written"));
}

#[test]
#[cfg(unix)]
fn peers_get_the_rows_model_and_threads_of_the_bench() {
    use std::os::unix::fs::PermissionsExt;

    // The model shape that the peer scripts support.
    let mut job = Job::small();
    job.model = ModelDirectory::tiny().hidden(384).heads(12).layers(4).write();
    let python = job.path("bin/python3");
    fs::create_dir(job.path("bin")).expect("a directory");
    let report = serde_json::json!({ "contenders": [
        { "name": "other-alone", "label": "another, one call per text", "tasks_per_second": 8.0 },
        { "name": "refused", "label": "a third", "tasks_per_second": null },
    ]});
    fs::write(job.path("report.json"), report.to_string()).expect("a report");
    // Records its arguments and input, and writes a report as the scripts do.
    let script = "#!/bin/sh\nprintf '%s\\n' \"$@\" > told\nwhile [ $# -gt 0 ]; do\ncase $1 in\n--rows) \
                  cat \"$2\" > given.parquet;;\n--work) cat report.json > \"$2/report.json\";;\nesac\n\
                  shift\ndone\n";
    fs::write(&python, script).expect("a script");
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).expect("a program");
    // With a time limit, the engine embeds only some rows of the first corpus.
    for (corpus, tasks, fewest) in
        [(&["--time", "1"][..], "1500", 32), (&["--input", "tasks.parquet"], "9", 9)]
    {
        let most = ["bench", "--tasks", tasks, "--repeats", "1", "--modes", "single,32"];
        let rest = ["--no-memory", "--threads", "3", "--peers", "scripts", "--json", "bench.json"];
        let arguments = [&most[..], corpus, &rest, &["--precision", "f32"]].concat();
        let path = format!("{}:/bin:/usr/bin", job.path("bin").display());
        let bench = job.command(&job.with_model(&arguments)).env("PATH", path).output();
        let bench = bench.expect("a child");
        assert_eq!(bench.status.code(), Some(0), "{}", shown(&bench));
        let told = fs::read_to_string(job.path("told")).expect("arguments");
        let told: Vec<&str> = told.lines().collect();
        let after = |flag: &str| {
            let at = told.iter().position(|word| *word == flag);
            at.and_then(|at| told.get(at + 1).copied())
        };
        assert_eq!(told[0], "scripts/run.py");
        assert_eq!(after("--threads"), Some("3"));
        assert_eq!(after("--model"), job.model.path().to_str());
        let record = fs::read_to_string(job.path("bench.json")).expect("a report");
        let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
        let (given, _) = read(&job.path("given.parquet"));
        assert_eq!(record["corpus"]["rows"], given.num_rows(), "{corpus:?}");
        assert!((fewest..1500).contains(&given.num_rows()), "{} rows", given.num_rows());
        assert_eq!(record["peers"].as_array().map(Vec::len), Some(1));
    }

    job.model = ModelDirectory::tiny().write();
    let narrow = job.reembed(&job.with_model(&["bench", "--quiet", "--peers", "scripts"]));
    assert_eq!(narrow.status.code(), Some(1));
    assert!(err(&narrow).contains("models like all-MiniLM-L6-v2"), "{}", shown(&narrow));
}

#[test]
fn model_show_says_what_the_model_is() {
    let job = Job::small();
    let show = job.reembed(&job.with_model(&["model", "show", "--quiet"]));
    job.filtered(|| insta::assert_snapshot!("model-show", shown(&show)));
}

#[test]
fn a_sample_is_the_same_bytes_for_the_same_seed() {
    let job = Job::small();
    let sample = |file: &str, seed: &str| {
        job.reembed(&["sample", file, "--rows", "300", "--seed", seed]).assert().success();
        fs::read(job.path(file)).expect("the sample")
    };
    let (one, again, other) = (sample("1", "7"), sample("2", "7"), sample("3", "8"));
    assert_eq!(one, again);
    assert_ne!(one, other);
    assert_eq!(read(&job.path("1")).0.num_rows(), 300);
}

fn read(path: &Path) -> (RecordBatch, Vec<KeyValue>) {
    let file = File::open(path).expect("a file");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
    let schema = reader.schema().clone();
    let entries =
        reader.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let batches: Vec<RecordBatch> =
        reader.build().expect("a reader").collect::<Result<_, _>>().expect("rows");
    let entries = entries.into_iter().filter(|entry| entry.key != "ARROW:schema").collect();
    (concat_batches(&schema, &batches).expect("rows"), entries)
}

fn write(path: &Path, batch: &RecordBatch, footer: &[KeyValue]) {
    let properties =
        WriterProperties::builder().set_key_value_metadata(Some(footer.to_vec())).build();
    let file = File::create(path).expect("a file");
    let mut writer =
        ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(batch).expect("rows");
    writer.close().expect("a footer");
}

/// The batch with a changed vector in the eighth row.
fn with_vector(batch: &RecordBatch, change: impl FnOnce(&mut [f32])) -> RecordBatch {
    let position = batch.schema().index_of("embedding").expect("vectors");
    let vectors = batch.column(position).as_fixed_size_list();
    let width = vectors.value_length();
    let mut values = vectors.values().as_primitive::<Float32Type>().values().to_vec();
    change(&mut values[7 * width as usize..8 * width as usize]);
    let arrow::datatypes::DataType::FixedSizeList(item, _) = vectors.data_type().clone() else {
        panic!("vectors of type {}", vectors.data_type());
    };
    let values = Arc::new(Float32Array::from(values));
    let vectors = FixedSizeListArray::new(item, width, values, vectors.nulls().cloned());
    replaced(batch, position, Arc::new(vectors))
}

/// The batch with a changed letter in one title.
fn with_title(batch: &RecordBatch) -> RecordBatch {
    let position = batch.schema().index_of("title").expect("titles");
    let titles = batch.column(position).as_string::<i32>();
    let changed = titles.iter().enumerate().map(|(row, title)| match row {
        9 => Some(format!("{}x", title.unwrap_or(""))),
        _ => title.map(str::to_owned),
    });
    replaced(batch, position, Arc::new(changed.collect::<StringArray>()))
}

fn replaced(batch: &RecordBatch, position: usize, column: ArrayRef) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    columns[position] = column;
    RecordBatch::try_new(batch.schema(), columns).expect("columns of equal length")
}
