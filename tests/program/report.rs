//! The records of a run: its report in three formats, JSON log lines, shell completions and a manual page.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use reembed_testing::model_directory::ModelDirectory;
use serde_json::{Value, json};

use crate::command_line::Job;

const SCHEMAS: &str = include_str!("../../docs/schemas.md");

impl Job {
    fn new(rows: &str) -> Job {
        Job::with(ModelDirectory::tiny().max_seq_length(64), rows, "out/tasks.parquet")
    }

    fn report(&self) -> Value {
        let text = fs::read_to_string(self.path("out/_reembed/reports/tasks.parquet/report.json"))
            .expect("a report");
        serde_json::from_str(&text).expect("JSON")
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_run_leaves_its_report_beside_the_output() {
    let job = Job::new("500");
    let done = job.run(&["--quiet"]);
    assert!(done.status.success(), "{}", err(&done));
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        said.lines()
            .any(|line| line == "report       out/_reembed/reports/tasks.parquet/report.html"),
        "{said}"
    );

    let report = job.report();
    let rows = &report["rows"];
    let sum: u64 = ["encoded", "reused", "duplicate", "null"]
        .iter()
        .map(|kind| rows[kind].as_u64().expect("a count"))
        .sum();
    assert_eq!((&report["outcome"], &rows["input"], sum), (&json!("done"), &json!(500), 500));
    // Every embedded text is in the histogram and in the intervals.
    let texts: u64 = report["tokens"]["lengths"]
        .as_array()
        .expect("a histogram")
        .iter()
        .filter_map(|bin| bin["texts"].as_u64())
        .sum();
    assert!(texts > 0 && texts <= 500, "{texts}");
    assert_eq!(report["tokens"]["longest"], json!(64));
    let truncated = rows["truncated"].as_u64().expect("a count");
    let ids = rows["truncated_ids"].as_array().map(Vec::len);
    assert!(truncated > 0 && ids == Some(truncated.min(100) as usize), "{truncated}, {ids:?}");
    let stages: Vec<&str> = report["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .filter_map(|s| s["stage"].as_str())
        .collect();
    assert_eq!(stages, ["reader", "tokenizer", "inference", "writer"]);
    let flow = report["flow_seconds"].as_f64().expect("a time");
    for stage in report["stages"].as_array().expect("stages") {
        let times = ["busy", "waiting_for_input", "waiting_for_output"]
            .map(|state| stage[state].as_f64().expect("a time"));
        let all: f64 = times.iter().sum();
        assert!(times[0] > 0.0 && all <= 1.05 * flow + 0.05, "{stage} of {flow} s");
    }
    assert_eq!(report["config"][0]["key"], json!("input.path"));
    assert!(report["lineage"]["fingerprint"].is_string() && report["error"].is_null());
    check_metrics(&job.path("out/_reembed/reports/tasks.parquet/report.prom"));
}

#[test]
fn a_run_that_fails_leaves_a_report_that_says_why() {
    let job = Job::new("50");
    let failed = job.run(&["--quiet", "--memory-limit", "1"]);
    assert_eq!(failed.status.code(), Some(1));
    let report = job.report();
    assert_eq!(report["outcome"], json!("failed"));
    assert_eq!(report["error"]["kind"], json!("OutOfMemory"));
    let message = report["error"]["message"].as_str().expect("a sentence");
    assert!(err(&failed).contains(message), "{message}\n{}", err(&failed));
    assert!(report["error"]["advice"].is_string() && report["lineage"].is_object());
    assert!(!job.path("out/tasks.parquet").exists());
    check_metrics(&job.path("out/_reembed/reports/tasks.parquet/report.prom"));

    let refused = job.run(&["--quiet", "--input", "no.parquet"]);
    assert_eq!(refused.status.code(), Some(2));
    let report = job.report();
    assert_eq!(
        (&report["error"]["kind"], &report["rows"]["input"]),
        (&json!("Input"), &Value::Null)
    );
    assert_eq!(report["earlier"].as_array().map(Vec::len), Some(1));
}

#[test]
fn refused_output_gets_no_directory_for_its_report() {
    let job = Job::new("5");
    for arguments in [&[][..], &["--no-supervise"]] {
        for _ in 0..2 {
            let output = ["--output", "no/such/dir/tasks.parquet"];
            let refused = job.run(&[&output, arguments].concat());
            assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
            assert!(err(&refused).contains("its directory does not exist"), "{}", err(&refused));
            assert!(err(&refused).contains("the report cannot be written"), "{}", err(&refused));
            assert!(!job.path("no").exists());
        }
    }
}

#[test]
fn small_memory_limit_plans_small_batches_from_the_start() {
    let job = Job::new("1000");
    // Titles are short texts, and many have as many tokens as one truncated at the maximum length. One of
    // those fits in the limit: it takes 67,840 bytes.
    let config = "[input]\npath = \"tasks.parquet\"\ndescription = \"\"\nfiles = \"\"\n\n\
                  [output]\npath = \"out/tasks.parquet\"\n";
    fs::write(job.path("pipeline.toml"), config).expect("a configuration");
    let done = job.run(&["--memory-limit", "68000", "--threads", "2"]);
    assert!(done.status.success(), "{}", err(&done));
    let batches = &job.report()["batches"];
    assert!(batches["count"].as_u64() > Some(100), "too few batches: {batches}");
    assert_eq!(batches["limit_moves"], json!(0), "{}", err(&done));
    assert!(!err(&done).contains("batch limit"), "{}", err(&done));
}

#[test]
fn unwritable_report_is_a_warning() {
    let job = Job::new("20");
    fs::create_dir_all(job.path("out/_reembed")).expect("a directory");
    fs::write(job.path("out/_reembed/reports"), "in the way").expect("a file");
    let done = job.run(&[]);
    assert!(done.status.success(), "{}", err(&done));
    assert!(err(&done).contains("the report cannot be written"), "{}", err(&done));
    assert!(job.path("out/tasks.parquet").exists());

    let job = Job::new("20");
    let model = ["run", "--quiet", "--model-path", job.model.path().to_str().expect("text")];
    let done = job.command(&model).env("REEMBED_REPORT_KEEP", "0").output().expect("a child");
    assert!(done.status.success(), "{}", err(&done));
    assert!(job.path("out/tasks.parquet").exists() && !job.path("out/_reembed/reports").exists());
}

#[test]
fn documented_alerts_fire_for_failed_and_missing_runs() {
    let documented = include_str!("../../docs/operations.md");
    let mut blocks =
        documented.split("```yaml\n").skip(1).filter_map(|text| text.split("```").next());
    let rules = blocks.find(|block| block.contains("alert:")).expect("rules");
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("rules.yml"), rules).expect("a file");
    fs::write(directory.path().join("alerts.yml"), include_str!("alerts.yml")).expect("a file");
    promtool(
        Command::new("promtool").args(["test", "rules", "alerts.yml"]).current_dir(&directory),
    );
    // The alert rules use metrics that a run writes.
    let job = Job::new("20");
    assert!(job.run(&[]).status.success());
    let metrics = fs::read_to_string(job.path("out/_reembed/reports/tasks.parquet/report.prom"))
        .expect("metrics");
    let words = rules.split(|c: char| !c.is_alphanumeric() && c != '_');
    let named: Vec<&str> = words.filter(|word| word.starts_with("reembed_")).collect();
    assert!(named.len() >= 3, "{rules}");
    for name in named {
        assert!(metrics.contains(&format!("\n{name}{{")), "{name}");
    }
}

fn check_metrics(path: &Path) {
    let metrics = fs::File::open(path).expect("metrics");
    promtool(Command::new("promtool").args(["check", "metrics"]).stdin(metrics));
}

/// Runs promtool (Prometheus). `.ci/run` installs it; without it the test prints a skip.
fn promtool(command: &mut Command) {
    match command.output() {
        Ok(checked) => {
            let said = String::from_utf8_lossy(&checked.stderr).into_owned();
            assert!(checked.status.success() && said.is_empty(), "{said}");
        }
        Err(_) => {
            eprintln!("SKIPPED: promtool is not installed (apt-get install prometheus)");
            assert!(std::env::var_os("TEST_NO_SKIPS").is_none(), "skips are disabled");
        }
    }
}

#[test]
fn every_key_of_a_json_log_line_is_documented() {
    let job = Job::new("300");
    let mut keys = std::collections::BTreeSet::new();
    for arguments in [
        &["--log-format", "json"][..],
        &["--log-format", "json", "--memory-limit", "300 KiB"],
        &["--log-format", "json", "--input", "no.parquet"],
    ] {
        for line in err(&job.run(arguments)).lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            keys.extend(line.as_object().expect("an object").keys().cloned());
        }
    }
    let log = SCHEMAS.split("## Log lines").nth(1).expect("a section");
    for key in &keys {
        assert!(log.contains(&format!("`{key}`")), "{key} is not documented: {keys:?}");
    }
    assert!(keys.contains("message") && keys.contains("rows"), "{keys:?}");
}

#[test]
fn every_metric_is_documented() {
    let job = Job::new("20");
    assert!(job.run(&["--quiet"]).status.success());
    let metrics = fs::read_to_string(job.path("out/_reembed/reports/tasks.parquet/report.prom"))
        .expect("metrics");
    let names: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next())
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(SCHEMAS.contains(&format!("`{name}")), "{name} is not documented");
    }
}

#[test]
fn completions_and_manual_know_every_command() {
    let job = Job::new("1");
    let say = |arguments: &[&str]| {
        let said = job.command(arguments).output().expect("a child");
        assert!(said.status.success(), "{}", err(&said));
        String::from_utf8(said.stdout).expect("UTF-8")
    };
    let commands = ["run", "bench", "verify", "model", "sample", "completions", "man"];
    for shell in ["bash", "zsh", "fish"] {
        let script = say(&["completions", shell]);
        for command in commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let script = job.path("completions.bash");
    fs::write(&script, say(&["completions", "bash"])).expect("a file");
    let checked = Command::new("bash").arg("-n").arg(&script).output().expect("bash");
    assert!(checked.status.success(), "{}", err(&checked));

    let page = say(&["man"]);
    assert!(page.contains(".TH reembed 1"), "{page}");
    for command in commands {
        assert!(page.contains(&format!("REEMBED {}", command.to_uppercase())), "{command}");
    }
    assert!(page.contains("memory\\-limit") && !page.contains("memory\\-of"), "{page}");
}
