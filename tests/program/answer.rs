//! The result as one JSON object on standard output, as a scheduler reads it.

use std::fs;
use std::process::Output;

use reembed_testing::model_directory::ModelDirectory;
use serde_json::Value;

use crate::command_line::Job;

fn job() -> Job {
    Job::with(ModelDirectory::tiny(), "40", "result.parquet")
}

/// The only object on standard output.
#[track_caller]
fn answer(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert_eq!(text.lines().count(), 1, "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(answer["schema"], "reembed-result/1");
    assert_eq!(answer["exit_code"].as_i64(), output.status.code().map(i64::from), "{answer}");
    assert_eq!(answer["outcome"] == "done", output.status.success());
    assert_eq!(answer["error"].is_null(), output.status.success());
    answer
}

const JSON: [&str; 2] = ["--output-format", "json"];

#[test]
fn run_answers_with_counts_paths_and_fingerprint() {
    let job = job();
    for supervision in [&[][..], &["--no-supervise"]] {
        let first = answer(&job.run(&[&JSON, supervision].concat()));
        assert_eq!(first["command"], "run");
        let counts = &first["counts"];
        assert_eq!((&counts["rows"], &counts["input_rows"]), (&40.into(), &40.into()));
        let sum = ["embedded", "reused", "duplicates", "empty"]
            .iter()
            .map(|name| counts[*name].as_u64().expect("a number"))
            .sum::<u64>();
        assert_eq!(sum, 40);
        assert_eq!(first["fingerprint"].as_str().map(str::len), Some(64));
        assert_eq!(first["paths"]["output"], "result.parquet");
        assert_eq!(first["paths"]["input"], "tasks.parquet");
        assert!(first["paths"]["report"].as_str().is_some_and(|path| path.ends_with(".html")));
        assert!(first["seconds"].as_f64() > Some(0.0));
    }
    let again = answer(&job.run(&JSON));
    assert_eq!(again["output_unchanged"], true);
    assert_eq!(again["counts"]["embedded"], 0);
}

#[test]
fn unchanged_rows_do_not_load_the_model() {
    let job = job();
    let run = |arguments: &[&str]| {
        let answer = answer(&job.run(&[&JSON, arguments].concat()));
        let page = answer["paths"]["report"].as_str().expect("a report");
        let report = fs::read(job.path(page).with_extension("json")).expect("a report");
        let report: Value = serde_json::from_slice(&report).expect("JSON");
        assert_eq!(report["lineage"]["fingerprint"], answer["fingerprint"]);
        let counts = &answer["counts"];
        let counts = [&counts["embedded"], &counts["reused"]].map(|count| count.as_u64());
        (report["model_load_seconds"].is_number(), counts[0], counts[1].expect("a number"))
    };
    let (is_loaded, embedded, _) = run(&[]);
    assert!(is_loaded && embedded > Some(0));
    for arguments in [&[][..], &["--no-supervise"], &["--cache-mode", "off"]] {
        let (is_loaded, embedded, reused) = run(arguments);
        assert_eq!((is_loaded, embedded), (false, Some(0)), "{arguments:?}");
        assert!(reused > 30, "they count as reused: {reused}");
    }
    let text = String::from_utf8(job.run(&[]).stdout).expect("UTF-8");
    assert!(text.contains("(the model was not needed)"), "{text}");
    // One row more is one text for the model.
    job.reembed(&["sample", "tasks.parquet", "--rows", "41"]);
    let (is_loaded, embedded, _) = run(&[]);
    assert_eq!((is_loaded, embedded), (true, Some(1)));
    let (is_loaded, _, _) = run(&["--rebuild"]);
    assert!(is_loaded);
}

#[test]
fn run_id_is_the_same_in_answer_report_and_log() {
    let job = job();
    for (arguments, expected) in [(&["--run-id", "night-7"][..], Some("night-7")), (&[], None)] {
        let output = job.run(&[&JSON, &["--log-format", "json"], arguments].concat());
        let answer = answer(&output);
        let run_id = answer["run_id"].as_str().expect("a name");
        assert!(expected.is_none_or(|expected| expected == run_id), "{run_id}");
        let log = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(!log.is_empty());
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(line["run_id"], run_id);
        }
        let report = answer["paths"]["report"].as_str().expect("a report");
        let report = fs::read_to_string(job.path(report).with_extension("json")).expect("a report");
        let report: Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["run_id"], run_id);
    }
}

#[test]
fn failures_answer_with_code_place_and_advice() {
    let job = job();
    fs::write(job.path("damaged.parquet"), b"PAR1 nothing PAR1").expect("a file");
    fs::create_dir_all(job.path("taken/tasks.parquet")).expect("directories");
    for (arguments, exit, code) in [
        (&["--input", "no.parquet"][..], 2, "input"),
        (&["--input", "damaged.parquet"], 2, "input"),
        (&["--batch-size", "0"], 2, "config"),
        (&["--output", "taken"], 2, "output-path"),
        (&["--no-such-flag"], 2, "usage"),
    ] {
        let output = job.run(&[&JSON, arguments].concat());
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}");
        let error = answer(&output)["error"].take();
        assert_eq!(error["code"], code, "{error}");
        let message = error["message"].as_str().expect("a sentence");
        // Of several faults each has its own advice behind it.
        assert!(error["advice"].is_string() || message.contains(" ("), "{error}");
    }
    let missing = answer(&job.run(&[&JSON[..], &["--input", "no.parquet"]].concat()));
    assert_eq!(missing["error"]["file"], "no.parquet");

    // A log in JSON has the code as well.
    let output = job.run(&["--input", "no.parquet", "--log-format", "json"]);
    let log = String::from_utf8(output.stderr).expect("UTF-8");
    let last: Value = serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["level"], &last["code"]), (&"ERROR".into(), &"input".into()));
}

#[test]
fn other_vectors_and_a_wrong_file_have_their_exit_codes() {
    let job = job();
    answer(&job.run(&JSON));
    let other = job.run(&[&JSON[..], &["--text", "title"]].concat());
    assert_eq!(answer(&other)["error"]["code"], "other-vectors");
    let verify = |arguments: &[&str]| {
        let arguments = [&["verify", "result.parquet"], &JSON[..], arguments].concat();
        job.reembed(&job.with_model(&arguments))
    };
    let right = answer(&verify(&["--input", "tasks.parquet"]));
    assert_eq!(right["command"], "verify");
    let checks = right["checks"].as_array().expect("checks");
    assert!(checks.iter().all(|check| check["verdict"] == "ok"), "{right}");
    job.reembed(&["sample", "other.parquet", "--rows", "30", "--seed", "7"]);
    let output = verify(&["--input", "other.parquet"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let wrong: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&wrong["outcome"], &wrong["exit_code"]), (&"failed".into(), &1.into()));
    let checks = wrong["checks"].as_array().expect("checks");
    assert!(checks.iter().any(|check| check["verdict"] == "wrong"), "{wrong}");
}

#[test]
fn dry_run_and_bench_answer_too() {
    let job = job();
    let dry = answer(&job.run(&[&JSON[..], &["--dry-run"]].concat()));
    assert_eq!((&dry["command"], &dry["counts"]["rows"]), (&"dry-run".into(), &40.into()));
    assert!(dry["estimate"]["tokens"].as_u64() > Some(0));
    assert!(!job.path("result.parquet").exists());
    let bench = ["bench", "--tasks", "8", "--repeats", "1", "--modes", "8", "--no-memory"];
    let bench = answer(&job.reembed(&job.with_model(&[&bench[..], &JSON].concat())));
    assert_eq!(bench["bench"]["schema"], "reembed-bench/1");
}

#[test]
fn dry_run_tells_what_the_run_then_does() {
    let job = job();
    let expect = |arguments: &[&str]| {
        let dry = answer(&job.run(&[&JSON[..], &["--dry-run"], arguments].concat()));
        let run = answer(&job.run(&[&JSON[..], arguments].concat()));
        assert_eq!(dry["counts"], run["counts"], "{arguments:?}");
        dry["counts"]["embedded"].as_u64().expect("a number")
    };
    let all = expect(&[]);
    assert!(all > 30, "{all}");
    assert_eq!(expect(&[]), 0);
    // A longer table has the rows of the shorter one.
    job.reembed(&["sample", "tasks.parquet", "--rows", "60"]);
    let new = expect(&[]);
    assert!((1..=20).contains(&new), "{new}");
    // Without a cache, unchanged row groups are copied all the same.
    assert_eq!(expect(&["--cache-mode", "off"]), 0);
    assert!(expect(&["--rebuild"]) > 50);
    // Several columns.
    let mut config = fs::read_to_string(job.path("pipeline.toml")).expect("a file");
    config += "\n[[embedding]]\ncolumn = \"embedding\"\n[[embedding]]\ncolumn = \"title_vector\"\n\
               text.columns = [\"title\"]\n";
    fs::write(job.path("pipeline.toml"), config).expect("a file");
    let of_titles = expect(&[]);
    assert!((40..=60).contains(&of_titles), "{of_titles}");
    let dry = answer(&job.run(&[&JSON[..], &["--dry-run"]].concat()));
    assert!(dry["estimate"]["output_bytes"].as_u64() > Some(60 * 2 * 32 * 4));
}
