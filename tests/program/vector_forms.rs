//! `reembed calibrate` and the table `[vector]`, as a user meets them.

use std::fs;
use std::process::Output;

use assert_cmd::assert::OutputAssertExt;
use reembed_encoder::hash::hex;
use reembed_testing::model_directory::ModelDirectory;
use sha2::{Digest, Sha256};

use crate::command_line::Job;
use crate::outcome::text;

fn job() -> Job {
    Job::with(ModelDirectory::tiny(), "40", "result.parquet")
}

impl Job {
    fn calibrate(&self, arguments: &[&str]) -> Output {
        self.reembed(&self.with_model(&[&["calibrate"], arguments].concat()))
    }

    /// Adds a table `[vector]` to the configuration.
    fn set_vector(&self, lines: &str) {
        let path = self.path("pipeline.toml");
        let text = fs::read_to_string(&path).expect("a configuration");
        let text = text.split("\n[vector]").next().unwrap_or_default();
        fs::write(path, format!("{text}\n[vector]\n{lines}\n")).expect("a configuration");
    }
}

#[test]
fn calibrated_vectors_run_verify_and_come_from_the_cache() {
    let job = job();
    job.run(&["--quiet"]).assert().success();
    job.set_vector("type = \"int8\"\nranges = \"ranges.json\"");
    // The file need not exist yet, and the configuration names it.
    let calibrated = job.calibrate(&["--sample", "25", "--quiet"]);
    assert!(calibrated.status.success(), "{}", text(&calibrated));
    assert!(text(&calibrated).contains("24 of 40 embedded"), "{}", text(&calibrated));
    let first = fs::read(job.path("ranges.json")).expect("ranges");
    job.calibrate(&["tasks.parquet", "--sample", "25", "--quiet"]).assert().success();
    assert_eq!(fs::read(job.path("ranges.json")).expect("ranges"), first);

    // The fingerprint is the same: no exit 3, and nothing is computed.
    let run = job.run(&[]);
    assert!(run.status.success(), "{}", text(&run));
    assert!(text(&run).contains("0 embedded"), "{}", text(&run));
    let verify = |job: &Job| job.reembed(&job.with_model(&["verify", "result.parquet"]));
    let checks = verify(&job);
    assert!(checks.status.success(), "{}", text(&checks));
    assert!(text(&checks).contains("32 (int8 of 32 components)"), "{}", text(&checks));
    assert!(text(&checks).contains("ok     embedded again"), "{}", text(&checks));

    // Other ranges do not explain the vectors.
    job.calibrate(&["--sample", "3", "--quiet"]).assert().success();
    let checks = verify(&job);
    assert!(checks.status.success(), "{}", text(&checks));
    let sha256 = |bytes: &[u8]| hex(&Sha256::digest(bytes));
    let (written, given) =
        (sha256(&first), sha256(&fs::read(job.path("ranges.json")).expect("ranges")));
    let expected = format!(
        "-      embedded again      `vector.ranges` is another file than that of the output: its SHA-256 is \
         {given:.12}, and that of the output's ranges is {written:.12}"
    );
    assert!(text(&checks).contains(&expected), "{}", text(&checks));
    // Without any file, it is told which one is needed.
    job.set_vector("");
    let checks = verify(&job);
    assert!(checks.status.success(), "{}", text(&checks));
    let expected = format!(
        "-      embedded again      the ranges of the components are not given: set `vector.ranges` to \
         their file, whose SHA-256 is {written:.12}"
    );
    assert!(text(&checks).contains(&expected), "{}", text(&checks));
}

#[test]
fn dry_run_prices_the_vectors_in_their_form() {
    let job = job();
    let bytes = |lines: &str| {
        job.set_vector(lines);
        let run = job.run(&["--dry-run", "--quiet"]);
        assert!(run.status.success(), "{}", text(&run));
        let line = text(&run).lines().find(|line| line.starts_with("vectors  ")).map(str::to_owned);
        let line = line.expect("a line");
        let (_, bytes) = line.split_once('(').expect("bytes");
        bytes.split(' ').next().expect("a number").to_owned()
    };
    let whole: f64 = bytes("type = \"f32\"").parse().expect("a number");
    let bits: f64 = bytes("type = \"binary\"").parse().expect("a number");
    assert!(whole > 1.0 && bits > 0.0 && whole != bits, "{whole} and {bits}");
}

#[test]
fn file_that_holds_no_ranges_is_not_replaced() {
    let job = job();
    fs::write(job.path("notes.json"), "{\"mine\": 1}").expect("a file");
    let refused = job.calibrate(&["--output", "notes.json"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(
        text(&refused).contains("not replaced, because it has no ranges"),
        "{}",
        text(&refused)
    );
    assert_eq!(fs::read_to_string(job.path("notes.json")).expect("text"), "{\"mine\": 1}");
    let nowhere = job.calibrate(&[]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(text(&nowhere).contains("--output"), "{}", text(&nowhere));
}

#[test]
fn settings_that_do_not_fit_are_refused_by_name() {
    let job = job();
    for (lines, named) in [
        ("type = \"int8\"", "`vector.type` is \"int8\", but `vector.ranges` is not set"),
        (
            "ranges = \"ranges.json\"",
            "`vector.ranges` is set, but vector.type = \"f32\" has no ranges",
        ),
        ("type = \"binary\"\nranges = \"r\"", "vector.type = \"binary\" has no ranges"),
        ("type = \"int4\"", "`vector.type` must be one of"),
        ("dims = 0", "`vector.dims` must be a whole number from 1"),
        ("type = \"uint8\"\nranges = \"missing.json\"", "the ranges of components cannot be read"),
        ("dims = 16", "not known to be trained for vectors that are cut to 16 of their 32"),
        ("dims = 33\nforce_dims = true", "`vector.dims` is 33, but the vectors of"),
    ] {
        job.set_vector(lines);
        let refused = job.run(&["--quiet"]);
        assert_eq!(refused.status.code(), Some(2), "{lines}: {}", text(&refused));
        assert!(text(&refused).contains(named), "{lines}: {}", text(&refused));
        assert!(!job.path("result.parquet").exists(), "{lines}");
    }
    job.set_vector("dims = 16\nforce_dims = true");
    job.run(&["--quiet"]).assert().success();
}

#[test]
fn old_name_of_the_layout_is_refused_with_the_new_one() {
    let job = job();
    let path = job.path("pipeline.toml");
    let text_of_file = fs::read_to_string(&path).expect("a configuration");
    fs::write(&path, text_of_file.clone() + "vector_type = \"list\"\n").expect("a configuration");
    let refused = job.run(&[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        text(&refused).contains("`output.vector_type`; it is now called `vector.layout`"),
        "{}",
        text(&refused)
    );
    fs::write(&path, text_of_file).expect("a configuration");
    let mut command = job.command(&job.with_model(&["run"]));
    let refused = command.env("REEMBED_OUTPUT_VECTOR_TYPE", "list").output().expect("a child");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("REEMBED_VECTOR_LAYOUT"), "{}", text(&refused));
}

#[test]
fn calibrate_follows_the_output_then_the_cache() {
    let job = job();
    job.run(&["--quiet", "--precision", "bf16"]).assert().success();
    job.set_vector("type = \"int8\"\nranges = \"ranges.json\"");
    let measured = |arguments: &[&str], place: Option<&str>| {
        let calibrated = job.calibrate(arguments);
        assert!(calibrated.status.success(), "{}", text(&calibrated));
        let followed = place.map(|place| format!("precision bf16, as in {place}"));
        let said = text(&calibrated);
        let is_said = followed.is_none_or(|followed| said.contains(&followed));
        assert!(is_said && (place.is_some() || !said.contains("as in the")), "{said}");
        let ranges = fs::read(job.path("ranges.json")).expect("ranges");
        let ranges: serde_json::Value = serde_json::from_slice(&ranges).expect("JSON");
        ranges["precision"].as_str().expect("a precision").to_owned()
    };
    // Nobody sets a precision: run and calibrate follow the same vectors, and nothing is computed.
    assert_eq!(measured(&[], Some("the existing output")), "bf16");
    let run = job.run(&["--quiet"]);
    assert!(run.status.success() && text(&run).contains("0 embedded"), "{}", text(&run));
    fs::remove_file(job.path("result.parquet")).expect("a removed output");
    assert_eq!(measured(&[], Some("the vector cache")), "bf16");
    job.run(&["--quiet"]).assert().success();
    assert_eq!(measured(&["--precision", "f32"], None), "f32");

    // Both ways out of the refusal lead to vectors.
    let refused = job.run(&["--quiet"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    for part in [
        "the ranges were measured in f32, and this run computes in bf16",
        "`reembed calibrate --precision bf16`",
        "`compute.precision` to \"f32\"",
    ] {
        assert!(text(&refused).contains(part), "{part}: {}", text(&refused));
    }
    job.run(&["--quiet", "--precision", "f32", "--switch-model"]).assert().success();
    assert_eq!(measured(&["--precision", "bf16"], None), "bf16");
    let pinned = ["--quiet", "--precision", "bf16", "--switch-model"];
    job.run(&pinned).assert().success();
}

#[test]
fn ranges_of_another_model_are_refused_with_exit_2() {
    let job = job();
    job.calibrate(&["--output", "ranges.json", "--quiet"]).assert().success();
    job.set_vector("type = \"uint8\"\nranges = \"ranges.json\"");
    let mut command = job.command(&job.with_model(&["run", "--quiet"]));
    let refused = command.env("REEMBED_MODEL_PROMPT", "query: ").output().expect("a child");
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("measured with another model"), "{}", text(&refused));
}
