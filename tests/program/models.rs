//! What a user sees of a model: its name, its prompts, its precision, and what happens when it changes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use assert_cmd::assert::OutputAssertExt;
use redb::{Database, TableDefinition};
use reembed::{Embedder, ModelConfig, verify};
use reembed_cli::sample;
use reembed_encoder::model::architecture::Architecture;
use reembed_encoder::model::identity::ModelIdentity;
use reembed_kernels::{Bf16Unit, Isa, Precision};
use reembed_testing::model_directory::ModelDirectory;
use serde_json::json;

use crate::command_line::Job;
use crate::common::{read_parquet, task};

const DEFAULT_ID: &str = "sentence-transformers/all-MiniLM-L6-v2";

impl Job {
    /// A job with no rows done, and the tiny model in `models/mine`.
    fn with_local_model() -> Job {
        let job = Job::with(ModelDirectory::tiny(), "12", "out/tasks.parquet");
        ModelDirectory::tiny().write_to(&job.path("models/mine"));
        job
    }

    /// Runs with variables of the environment.
    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(&[&["run"], arguments].concat());
        command.envs(variables.iter().copied()).output().expect("a child")
    }

    /// The model in the footer of the output.
    fn identity(&self) -> ModelIdentity {
        identity(&self.path("out/tasks.parquet"))
    }

    /// The rows in the report of the last run, by where their vectors come from.
    fn rows(&self) -> serde_json::Value {
        let report = self.report_file("report.json");
        serde_json::from_str::<serde_json::Value>(&report).expect("JSON")["rows"].take()
    }

    fn report_file(&self, file: &str) -> String {
        fs::read_to_string(self.path("out/_reembed/reports/tasks.parquet").join(file))
            .expect("a report")
    }
}

fn identity(output: &Path) -> ModelIdentity {
    verify::open(output).expect("an output").1.lineage.model
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// Commands.

#[test]
fn list_names_every_architecture_and_what_is_proven() {
    let job = Job::with_local_model();
    let listed = out(&job.command(&["model", "list"]).output().expect("a child"));
    for architecture in Architecture::all() {
        let begins = format!("{} ", architecture.model_type());
        let line = listed.lines().find(|line| line.starts_with(&begins)).expect(&begins);
        assert!(line.contains(&architecture.to_string()), "{line}");
        assert!(architecture.examples().iter().all(|example| line.contains(example)), "{line}");
    }
    assert!(listed.contains(&format!("Tried with real weights: {DEFAULT_ID}.")), "{listed}");
    let measured: Vec<&str> =
        listed.lines().skip_while(|line| !line.starts_with("measured, texts/s")).skip(1).collect();
    for model in ["all-MiniLM-L6-v2", "e5-base", "mpnet-base", "gte-modernbert"] {
        let line = measured.iter().find(|line| line.starts_with(model)).expect(model);
        let speeds: Vec<u32> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        assert!(matches!(speeds[..], [f32, int16] if 0 < f32 && f32 < int16), "{line}");
    }
}

#[test]
fn pins_that_are_written_refuse_other_files() {
    let job = Job::with_local_model();
    let model = |arguments: &[&str]| {
        job.command(&[&["model"], arguments].concat()).output().expect("a child")
    };
    let printed = out(&model(&["pin", "models/mine"]));
    assert!(printed.starts_with("[model.sha256]\n"), "{printed}");
    assert!(printed.contains("\"model.safetensors\" = \""), "{printed}");
    let before = fs::read_to_string(job.path("pipeline.toml")).expect("a configuration");
    let written = model(&["pin", "models/mine", "--write", "pipeline.toml"]);
    assert!(written.status.success(), "{}", err(&written));
    let after = fs::read_to_string(job.path("pipeline.toml")).expect("a configuration");
    assert_eq!(after, format!("{before}\n{printed}"));
    let run = ["--quiet", "--config", "pipeline.toml", "--model-path", "models/mine"];
    assert!(job.run_with(&run, &[]).status.success());
    // Again, and nothing is doubled.
    model(&["pin", "models/mine", "--write", "pipeline.toml"]);
    assert_eq!(fs::read_to_string(job.path("pipeline.toml")).expect("a configuration"), after);
    ModelDirectory::tiny().seed(7).write_to(&job.path("models/mine"));
    let refused = job.run_with(&run, &[]);
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert!(err(&refused).contains("model.safetensors"), "{}", err(&refused));
}

#[test]
fn convert_refuses_a_directory_without_pickled_weights() {
    let job = Job::with_local_model();
    let refused = job.command(&["model", "convert", "models/mine"]).output().expect("a child");
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert!(err(&refused).contains("has no pytorch_model.bin"), "{}", err(&refused));
}

#[test]
fn check_tells_that_the_other_library_is_missing() {
    let job = Job::with_local_model();
    let missing = "echo 'sentence-transformers is not installed' >&2; exit 1";
    let refused = check_with(&job, missing, &["models/mine"]);
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    for part in ["sentence-transformers is not installed", "REEMBED_PYTHON names the Python"] {
        assert!(err(&refused).contains(part), "{part}: {}", err(&refused));
    }
}

// Names.

#[test]
fn local_model_is_called_by_its_directory_everywhere() {
    let job = Job::with_local_model();
    let done = job.run_with(&["--quiet", "--model-path", "models/mine/"], &[]);
    assert!(done.status.success(), "{}", err(&done));
    assert_eq!(job.identity().id, "mine");
    let summary = out(&done);
    assert!(summary.lines().any(|line| line.starts_with("model        mine, ")), "{summary}");
    let report: serde_json::Value =
        serde_json::from_str(&job.report_file("report.json")).expect("JSON");
    assert_eq!(report["lineage"]["model"]["id"], "mine");
    assert!(job.report_file("report.prom").contains(",model=\"mine\","));
    let shown = job.command(&["model", "show", "--model-path", "models/mine"]);
    let config = ["run", "--print-config", "--model-path", "models/mine"];
    let said =
        [shown, job.command(&config)].map(|mut command| out(&command.output().expect("run")));
    assert!(said[0].starts_with("model        mine\n"), "{}", said[0]);
    let texts = [&summary, &said[0], &said[1], &job.report_file("report.html")];
    for text in texts.into_iter().chain([&report.to_string(), &job.report_file("report.prom")]) {
        assert!(!text.contains("all-MiniLM"), "{text}");
    }
}

#[test]
fn dot_is_called_by_the_directory_that_it_leads_to() {
    let job = Job::with_local_model();
    let show = |id: Option<&str>| {
        let mut command = job.command(&["model", "show", "--model-path", "."]);
        command.current_dir(job.path("models/mine")).envs(id.map(|id| ("REEMBED_MODEL_ID", id)));
        out(&command.output().expect("a child"))
    };
    assert!(show(None).starts_with("model        mine\n"), "{}", show(None));
    assert!(show(Some("org/own")).starts_with("model        org/own\n"));
}

#[test]
fn known_name_on_other_files_is_refused() {
    let job = Job::with_local_model();
    let local = ["--quiet", "--model-path", "models/mine"];
    let refused = job.run_with(&local, &[("REEMBED_MODEL_ID", DEFAULT_ID)]);
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    for part in ["models/mine/model.safetensors: ", DEFAULT_ID, "53aa51172d14…", "(`model.id`)"] {
        assert!(err(&refused).contains(part), "{part}: {}", err(&refused));
    }
    assert!(!job.path("out/tasks.parquet").exists());
    let named = job.run_with(&local, &[("REEMBED_MODEL_ID", "org/own")]);
    named.assert().success();
    assert_eq!(job.identity().id, "org/own");
}

// Prompts.

/// Prompts as `config_sentence_transformers.json` declares them.
fn declare_prompts(directory: &Path, prompts: &serde_json::Value) {
    let file = directory.join("config_sentence_transformers.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    config["prompts"] = prompts.clone();
    fs::write(file, config.to_string()).expect("a file");
}

#[test]
fn declared_prompts_without_a_choice_are_named_in_a_warning() {
    let job = Job::with_local_model();
    let prompts = json!({ "query": "find: ", "document": "text: ", "none": "" });
    declare_prompts(&job.path("models/mine"), &prompts);
    let local = ["--model-path", "models/mine", "--rebuild"];
    let run = |arguments: &[&str]| {
        let done = job.run_with(&[&local, arguments].concat(), &[]);
        assert!(done.status.success(), "{arguments:?}: {}", err(&done));
        let report = job.report_file("report.json");
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        (err(&done), report["warnings"].as_array().expect("warnings").len(), job.identity())
    };
    let (said, warnings, identity) = run(&[]);
    let expected = "the model declares the prompts \"document\", \"query\", and none is used";
    assert!(said.contains(expected) && said.contains("`model.prompt_name`"), "{said}");
    assert_eq!((warnings, identity.prompt.as_str()), (1, ""));
    let (said, warnings, identity) = run(&["--prompt-name", "document"]);
    assert_eq!((warnings, identity.prompt.as_str()), (0, "text: "), "{said}");
    let dry = job.run_with(&[&local[..], &["--dry-run"]].concat(), &[]);
    assert!(err(&dry).contains(expected), "{}", err(&dry));

    declare_prompts(&job.path("models/mine"), &json!({ "query": "", "document": "" }));
    assert_eq!(run(&[]).1, 0, "empty prompts are no choice");
}

#[test]
fn unknown_prompt_name_is_refused_with_the_declared_names() {
    let job = Job::with_local_model();
    let named = ["--quiet", "--model-path", "models/mine", "--prompt-name", "search"];
    let refused = |variables: &[(&str, &str)]| {
        let refused = job.run_with(&named, variables);
        assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
        err(&refused)
    };
    assert!(refused(&[]).contains("it declares none"), "{}", refused(&[]));
    declare_prompts(&job.path("models/mine"), &json!({ "query": "find: ", "document": "text: " }));
    let said = refused(&[]);
    assert!(said.contains("it declares \"document\", \"query\""), "{said}");
    // The flag is above the variable.
    let said = refused(&[("REEMBED_MODEL_PROMPT", "find: ")]);
    assert!(said.contains("it declares \"document\", \"query\""), "{said}");
}

#[test]
fn e5_without_a_prefix_is_warned_about() {
    let job = Job::with_local_model();
    let config = fs::read_to_string(job.path("pipeline.toml")).expect("a configuration");
    for (name, prompt, warned) in [
        ("e5-small-v2", None, true),
        ("e5-small-v2", Some("passage: "), false),
        ("e5-small-v2", Some(""), false),
        ("bge-small-en-v1.5", None, false),
    ] {
        let path = format!("models/{name}");
        ModelDirectory::tiny().write_to(&job.path(&path));
        let model = prompt.map_or(String::new(), |prompt| format!("prompt = {prompt:?}"));
        fs::write(job.path("pipeline.toml"), format!("{config}\n[model]\n{model}\n"))
            .expect("a configuration");
        let done = job.run_with(&["--model-path", &path, "--rebuild"], &[]);
        assert!(done.status.success(), "{}", err(&done));
        let said = err(&done).contains("`model.prompt` to \"passage: \" for texts that are");
        assert_eq!(said, warned, "{name}, {prompt:?}: {}", err(&done));
    }
}

// Long texts.

#[test]
fn refused_long_text_fails_the_run_and_names_the_row() {
    let job = Job::with_local_model();
    let rows = [task("a", "short"), task("b", "word ".repeat(30)), task("c", "short")];
    sample::write_tasks(&job.path("tasks.parquet"), rows).expect("an input");
    let local = ["--quiet", "--model-path", "models/mine"];
    let max = ("REEMBED_TEXT_MAX_LENGTH", "20");
    let refuse = ("REEMBED_TEXT_TRUNCATE", "error");
    let refused = |arguments: &[&str]| {
        let refused = job.run_with(&[&local, arguments].concat(), &[max, refuse]);
        assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
        let expected = "tasks.parquet: row 2 (id b): its text has 32 tokens, and the maximum is 20";
        assert!(err(&refused).contains(expected), "{}", err(&refused));
        assert!(err(&refused).contains("`text.truncate`"), "{}", err(&refused));
    };
    refused(&[]);
    refused(&["--dry-run"]);
    assert!(!job.path("out/tasks.parquet").exists());

    let truncated = job.run_with(&local, &[max]);
    assert!(truncated.status.success(), "{}", err(&truncated));
    assert!(out(&truncated).contains("truncated    1 rows\n"), "{}", out(&truncated));
    let end = job.identity();
    assert_eq!((end.max_seq_length, &end.truncation), (20, &None));
    // Neither the cache nor the existing output hides the row.
    refused(&[]);
    fs::remove_file(job.path("out/tasks.parquet")).expect("a removed output");
    refused(&[]);

    let fits = [("REEMBED_TEXT_MAX_LENGTH", "32"), refuse];
    job.run_with(&local, &fits).assert().success();
    let start = [max, ("REEMBED_TEXT_TRUNCATE", "start")];
    let rebuild = [&local[..], &["--rebuild"]].concat();
    job.run_with(&rebuild, &start).assert().success();
    assert_eq!(job.identity().truncation.as_deref(), Some("start"));
    assert_ne!(job.identity().fingerprint(), end.fingerprint());
}

// Precision.

#[test]
fn auto_follows_the_precision_of_the_output_then_of_the_cache() {
    let job = Job::with_local_model();
    let local = ["--model-path", "models/mine"];
    let pinned = [&local[..], &["--quiet", "--precision", "bf16"]].concat();
    job.run_with(&pinned, &[]).assert().success();
    let native = Bf16Unit::detect(Isa::detect(), Precision::Bf16).is_some_and(|unit| unit.is_ok());
    let follow = |arguments: &[&str], place: &str| {
        let done = job.run_with(&[&local, arguments].concat(), &[]);
        assert!(done.status.success(), "{}", err(&done));
        let expected = format!("precision bf16, as in {place}");
        assert!(err(&done).contains(&expected), "{}", err(&done));
        let advice = err(&done).contains("`--precision f32 --rebuild`");
        assert_eq!(advice, !native, "{}", err(&done));
    };
    follow(&[], "the existing output");
    assert_eq!(job.identity().precision, "bf16");
    assert_eq!(job.rows()["encoded"], 0);
    follow(&["--dry-run"], "the existing output");
    follow(&["--rebuild"], "the existing output");
    fs::remove_file(job.path("out/tasks.parquet")).expect("a removed output");
    follow(&["--dry-run"], "the vector cache");
    follow(&[], "the vector cache");
    assert_eq!((job.identity().precision.as_str(), &job.rows()["encoded"]), ("bf16", &json!(0)));

    fs::remove_file(job.path("out/tasks.parquet")).expect("a removed output");
    let off = job.run_with(&[&local[..], &["--cache-mode", "off"]].concat(), &[]);
    assert!(off.status.success(), "{}", err(&off));
    assert_eq!(job.identity().precision, "f32", "neither has a vector");
}

#[test]
fn cache_without_the_table_of_models_is_used() {
    let job = Job::with_local_model();
    let local = ["--quiet", "--model-path", "models/mine"];
    job.run_with(&[&local[..], &["--precision", "bf16"]].concat(), &[]).assert().success();
    fs::remove_file(job.path("out/tasks.parquet")).expect("a removed output");
    let cache = job.path("out/_reembed/tasks.parquet.cache");
    let database = Database::open(cache).expect("a cache");
    let write = database.begin_write().expect("a transaction");
    let models: TableDefinition<'_, &str, &str> = TableDefinition::new("models");
    assert!(write.delete_table(models).expect("a table"));
    write.commit().expect("a commit");
    drop(database);
    let f32 = job.run_with(&local, &[]);
    assert!(f32.status.success() && err(&f32).is_empty(), "{}", err(&f32));
    assert_eq!(job.identity().precision, "f32", "the cache does not say in which precision it is");
    job.run_with(&[&local[..], &["--precision", "bf16", "--switch-model"]].concat(), &[])
        .assert()
        .success();
    assert_eq!(job.rows()["encoded"], 0, "the vectors in bf16 are still there");
}

#[test]
fn precision_that_differs_is_told_by_what_to_set() {
    let job = Job::with_local_model();
    let local = ["--quiet", "--model-path", "models/mine"];
    let run =
        |precision: &str| job.run_with(&[&local[..], &["--precision", precision]].concat(), &[]);
    run("f32").assert().success();
    let refused = run("bf16");
    assert_eq!(refused.status.code(), Some(3), "{}", err(&refused));
    let first = "error: out/tasks.parquet: set `compute.precision` to \"f32\": ";
    assert!(err(&refused).starts_with(first), "{}", err(&refused));
    assert_eq!(err(&refused).lines().count(), 1);
}

#[test]
fn hashes_of_another_model_are_for_verbose_only() {
    let job = Job::with_local_model();
    ModelDirectory::tiny().seed(1).write_to(&job.path("models/other"));
    job.run_with(&["--quiet", "--model-path", "models/mine"], &[]).assert().success();
    let refused = |flag: &str| {
        let refused = job.run_with(&[flag, "--model-path", "models/other"], &[]);
        assert_eq!(refused.status.code(), Some(3), "{}", err(&refused));
        err(&refused)
    };
    let quiet = refused("--quiet");
    assert!(quiet.contains("of another model: model.safetensors differs ("), "{quiet}");
    assert!(quiet.lines().count() == 1 && !quiet.contains("SHA-256"), "{quiet}");
    let verbose = refused("--verbose");
    assert!(verbose.lines().any(|line| line.contains("model.safetensors: SHA-256 ")), "{verbose}");
}

// Another model.

#[test]
fn model_that_comes_back_finds_its_vectors() {
    let job = Job::with_local_model();
    ModelDirectory::tiny().seed(1).write_to(&job.path("models/other"));
    let run = |model: &str, flag: Option<&str>| {
        let path = format!("models/{model}");
        let flags: Vec<&str> = flag.into_iter().collect();
        let done = job.run_with(&[&["--quiet", "--model-path", &path], &flags[..]].concat(), &[]);
        assert!(done.status.success(), "{model}: {}", err(&done));
        assert_eq!(job.identity().id, model);
        let rows = job.rows();
        (rows["encoded"].as_u64().expect("a count"), rows["reused"].as_u64().expect("a count"))
    };
    let (all, none) = run("mine", None);
    assert!(all > 5 && none == 0);
    let vectors = |job: &Job| read_parquet(&job.path("out/tasks.parquet")).vectors("embedding");
    let mine = vectors(&job);
    let refused = job.run_with(&["--quiet", "--model-path", "models/other"], &[]);
    assert_eq!(refused.status.code(), Some(3), "{}", err(&refused));
    assert_eq!(run("other", Some("--switch-model")).0, all);
    assert_ne!(vectors(&job), mine);
    assert_eq!(run("mine", Some("--switch-model")).0, 0);
    assert_eq!(vectors(&job), mine);
    assert_eq!(run("other", Some("--switch-model")).0, 0);
    assert_eq!(run("mine", Some("--rebuild")).0, all);
}

// Verification without a configuration.

/// Copies a model to where a fetch puts it, with the hashes of its files.
fn fill_model_cache(directory: &Path, cache: &Path, files: &BTreeMap<String, String>) {
    let mut sums = String::new();
    for (file, sha256) in files {
        let copy = cache.join(file);
        fs::create_dir_all(copy.parent().expect("a directory")).expect("a directory");
        fs::copy(directory.join(file), copy).expect("a copy");
        sums.push_str(&format!("{sha256}  {file}\n"));
    }
    fs::write(cache.join("SHA256SUMS"), sums).expect("a file");
}

#[test]
fn verify_finds_the_model_by_the_footer() {
    let job = Job::with_local_model();
    let variables = [
        ("REEMBED_MODEL_ID", "org/mine"),
        ("REEMBED_MODEL_PROMPT", "passage: "),
        ("REEMBED_TEXT_MAX_LENGTH", "16"),
        ("REEMBED_TEXT_TRUNCATE", "start"),
    ];
    let run = ["--quiet", "--model-path", "models/mine", "--precision", "bf16"];
    job.run_with(&run, &variables).assert().success();
    let empty = job.path("empty");
    fs::create_dir(&empty).expect("a directory");
    let output = job.path("out/tasks.parquet");
    let output = output.to_str().expect("a path of text");
    let verify = |arguments: &[&str]| {
        let mut command = job.command(&[&["verify", output], arguments].concat());
        command.current_dir(&empty).env("REEMBED_MODEL_CACHE", job.path("cache"));
        command.env("HF_HUB_OFFLINE", "1").output().expect("a child")
    };
    let missing = verify(&[]);
    assert_eq!(missing.status.code(), Some(1), "{}", err(&missing));
    assert!(err(&missing).contains("could not load the model org/mine"), "{}", err(&missing));
    assert!(err(&missing).contains("--model-path"), "{}", err(&missing));
    assert!(verify(&["--sample", "0"]).status.success());

    let mine = job.path("models/mine");
    let by_path = verify(&["--model-path", mine.to_str().expect("text")]);
    assert!(by_path.status.success(), "{}{}", out(&by_path), err(&by_path));

    let identity = job.identity();
    let cached = job.path("cache/models/org--mine/main");
    fill_model_cache(&mine, &cached, &identity.files);
    let found = verify(&[]);
    assert!(found.status.success(), "{}{}", out(&found), err(&found));
    assert!(out(&found).contains("ok     embedded again"), "{}", out(&found));

    // A job may have pinned another revision.
    let pinned = job.path("cache/models/org--mine/v1.0");
    fs::rename(&cached, &pinned).expect("a directory");
    let found = verify(&[]);
    assert!(found.status.success(), "{}{}", out(&found), err(&found));
    fs::rename(&pinned, &cached).expect("a directory");

    // Another model under the name is not taken for it.
    ModelDirectory::tiny().seed(1).write_to(&job.path("models/other"));
    fs::copy(job.path("models/other/model.safetensors"), cached.join("model.safetensors"))
        .expect("a copy");
    let other = verify(&[]);
    assert_eq!(other.status.code(), Some(1), "{}", err(&other));
    assert!(err(&other).contains("model.safetensors: expected SHA-256"), "{}", err(&other));
}

#[test]
fn verify_of_a_local_model_asks_for_its_directory() {
    let job = Job::with_local_model();
    fs::rename(job.path("models/mine"), job.path("models/my own")).expect("a directory");
    job.run_with(&["--quiet", "--model-path", "models/my own"], &[]).assert().success();
    let verify = job.reembed(&["verify", "out/tasks.parquet", "--quiet"]);
    assert_eq!(verify.status.code(), Some(2), "{}", err(&verify));
    for part in ["its model is called \"my own\"", "--model-path", "--sample 0"] {
        assert!(err(&verify).contains(part), "{part}: {}", err(&verify));
    }
    // A name that a hub may have is looked up.
    fs::rename(job.path("models/my own"), job.path("models/mine")).expect("a directory");
    job.run_with(&["--quiet", "--rebuild", "--model-path", "models/mine"], &[]).assert().success();
    let verify = job.command(&["verify", "out/tasks.parquet", "--quiet"]);
    let verify = { verify }.env("HF_HUB_OFFLINE", "1").output().expect("a child");
    assert_eq!(verify.status.code(), Some(1), "{}", err(&verify));
    for part in ["could not load the model mine (main)", "the footer calls the model \"mine\""] {
        assert!(err(&verify).contains(part), "{part}: {}", err(&verify));
    }
}

// Comparison with another library.

const SENTENCE_CONFIG: &str = "config_sentence_transformers.json";

/// `reembed model check` with a line of sh in the place of Python, which gets the script, the model, the file of the
/// texts and that of the vectors.
fn check_with(job: &Job, line: &str, arguments: &[&str]) -> Output {
    let python = job.path("python");
    fs::write(&python, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{line}\n")).expect("a script");
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).expect("a mode");
    let mut command = job.command(&[&["model", "check"], arguments].concat());
    command.env("REEMBED_PYTHON", &python).output().expect("a child")
}

/// Checks the model of the job against these vectors.
fn check_against(job: &Job, vectors: &[Vec<f32>]) -> Output {
    write_vectors(job, vectors);
    check_with(job, COPY_VECTORS, &job.with_model(&[]))
}

fn write_vectors(job: &Job, vectors: &[Vec<f32>]) {
    let bytes: Vec<u8> = vectors.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(job.path("theirs"), bytes).expect("vectors");
}

const COPY_VECTORS: &str = "cp theirs \"$4\"";

/// The texts of a check, as Python gets them.
fn texts_of_check(job: &Job) -> Vec<String> {
    let stopped = check_with(job, "cp \"$3\" texts.json; exit 1", &job.with_model(&[]));
    assert_eq!(stopped.status.code(), Some(2), "{}", err(&stopped));
    serde_json::from_slice(&fs::read(job.path("texts.json")).expect("texts")).expect("JSON")
}

/// The vectors of the model of the job by the library, which knows no configuration of the job.
fn vectors_of(job: &Job, texts: &[String]) -> Vec<Vec<f32>> {
    let embedder = Embedder::open(&ModelConfig::from_directory(job.model.path()));
    let vectors = embedder.expect("a model").embed(texts).expect("vectors");
    vectors.rows().map(<[f32]>::to_vec).collect()
}

/// The value of a line that a command printed.
fn told(output: &Output, name: &str) -> String {
    let printed = out(output);
    let mut values = printed.lines().filter_map(|line| line.strip_prefix(&format!("{name}  ")));
    let value = values.next().unwrap_or_else(|| panic!("{name}: {printed}{}", err(output)));
    value.trim_start().to_owned()
}

#[test]
fn check_tells_equal_vectors_from_different_ones() {
    let job = Job::with_local_model();
    let texts = texts_of_check(&job);
    assert_eq!(texts.len(), 50);
    let theirs = vectors_of(&job, &texts);
    let off = |difference: f32| {
        let mut theirs = theirs.clone();
        theirs[7][3] += difference;
        check_against(&job, &theirs)
    };
    for difference in [0.0, 1e-5] {
        let equal = off(difference);
        assert_eq!(equal.status.code(), Some(0), "{}{}", out(&equal), err(&equal));
        assert_eq!(told(&equal, "verdict"), "equal; up to 2e-5 is rounding");
        assert_eq!((told(&equal, "texts"), told(&equal, "components")), ("50".into(), "32".into()));
    }
    for difference in [1e-3, f32::NAN] {
        let different = off(difference);
        assert_eq!(different.status.code(), Some(1), "{}{}", out(&different), err(&different));
        let worst = format!("{difference:.1e} of a vector of length 1 (text 8)");
        assert_eq!(told(&different, "worst component"), worst);
        assert_eq!(told(&different, "verdict"), "DIFFERENT; up to 2e-5 is rounding");
        let start: String = texts[7].chars().take(60).collect();
        assert_eq!(told(&different, "the text begins"), format!("{start:?}"));
    }
}

#[test]
fn check_and_show_follow_truncate_dim() {
    let job = Job::with_local_model();
    let shown = job.reembed(&job.with_model(&["model", "show"]));
    assert_eq!(
        (told(&shown, "dimension"), told(&shown, "normalized")),
        ("32".into(), "yes".into())
    );
    let whole = vectors_of(&job, &texts_of_check(&job));
    job.model.edit_json(SENTENCE_CONFIG, |config| config["truncate_dim"] = json!(12));
    let shown = job.reembed(&job.with_model(&["model", "show"]));
    assert_eq!(told(&shown, "dimension"), "12 (the first of 32, truncate_dim of the model)");
    assert_eq!(told(&shown, "normalized"), "no (scaled before the cut)");

    let cut: Vec<Vec<f32>> = whole.iter().map(|vector| vector[..12].to_vec()).collect();
    let equal = check_against(&job, &cut);
    assert_eq!(equal.status.code(), Some(0), "{}{}", out(&equal), err(&equal));
    assert_eq!(told(&equal, "components"), "12");
    let scaled: Vec<Vec<f32>> = cut
        .iter()
        .map(|vector| {
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            vector.iter().map(|value| value / length).collect()
        })
        .collect();
    let different = check_against(&job, &scaled);
    assert_eq!(different.status.code(), Some(1), "{}{}", out(&different), err(&different));
    let refused = check_against(&job, &whole);
    assert_eq!(refused.status.code(), Some(2), "{}{}", out(&refused), err(&refused));
    let message = "a vector has 12 components, that of sentence-transformers 32";
    assert!(err(&refused).contains(message), "{}", err(&refused));
}

#[test]
fn check_ignores_what_the_configuration_says_of_texts() {
    let job = Job::with_local_model();
    let theirs = vectors_of(&job, &texts_of_check(&job));
    let config = fs::read_to_string(job.path("pipeline.toml")).expect("a configuration");
    let model = job.model.path().to_str().expect("a path of text");
    let own = "prompt = \"find: \"\n\n[text]\nmax_length = 16\ntruncate = \"start\"\n";
    fs::write(job.path("pipeline.toml"), format!("{config}\n[model]\npath = {model:?}\n{own}"))
        .expect("a configuration");
    // The configuration counts, but for the check.
    let shown = job.reembed(&["model", "show"]);
    let said = (told(&shown, "prompt"), told(&shown, "max length"));
    assert_eq!(said, ("\"find: \"".into(), "16 tokens".into()));
    write_vectors(&job, &theirs);
    let equal = check_with(&job, COPY_VECTORS, &[]);
    assert_eq!(equal.status.code(), Some(0), "{}{}", out(&equal), err(&equal));
    assert_eq!(told(&equal, "prompt"), "\"\", the model's own");
}

#[test]
fn check_uses_the_default_prompt_of_the_model() {
    let job = Job::with_local_model();
    let texts = texts_of_check(&job);
    let prompted: Vec<String> = texts.iter().map(|text| format!("find: {text}")).collect();
    let theirs = vectors_of(&job, &prompted);
    let without = vectors_of(&job, &texts);
    job.model.edit_json(SENTENCE_CONFIG, |config| {
        config["prompts"] = json!({ "query": "find: ", "document": "text: " });
        config["default_prompt_name"] = json!("query");
    });
    let equal = check_against(&job, &theirs);
    assert_eq!(equal.status.code(), Some(0), "{}{}", out(&equal), err(&equal));
    assert_eq!(told(&equal, "prompt"), "\"find: \", the model's own");
    assert_eq!(check_against(&job, &without).status.code(), Some(1));
}

#[test]
fn check_leaves_out_texts_without_a_token() {
    let job = Job::with(ModelDirectory::tiny().baked_length(None), "12", "out/tasks.parquet");
    job.model.make_static(".", "embeddings");
    let texts = texts_of_check(&job);
    let embedder = Embedder::open(&ModelConfig::from_directory(job.model.path()));
    let embedder = embedder.expect("a model");
    // As sentence-transformers: a text without a token has a vector of zeros.
    let vector = |text: &String| match embedder.embed(&[text]) {
        Ok(vectors) => vectors.into_values(),
        Err(_) => vec![0.0; 32],
    };
    let mut theirs: Vec<Vec<f32>> = texts.iter().map(vector).collect();
    let without: Vec<usize> = (0..50).filter(|row| theirs[*row] == [0.0; 32]).collect();
    assert!(without.iter().any(|row| texts[*row].is_empty()), "{without:?}");
    let equal = check_against(&job, &theirs);
    assert_eq!(equal.status.code(), Some(0), "{}{}", out(&equal), err(&equal));
    let (kept, count) = (50 - without.len(), without.len());
    let expected = format!("{kept}, and {count} without a token, which reembed refuses");
    assert_eq!(told(&equal, "texts"), expected);
    // The vectors behind them are those of their texts.
    theirs[49][0] += 1e-3;
    let different = check_against(&job, &theirs);
    assert!(told(&different, "worst component").ends_with("(text 50)"), "{}", out(&different));
}

// Pins.

#[test]
fn pins_of_a_file_that_changed_are_renewed() {
    let job = Job::with_local_model();
    let read = || fs::read_to_string(job.path("pipeline.toml")).expect("a configuration");
    let own = format!("{}\n[model]\npath = \"models/mine\"\n", read());
    fs::write(job.path("pipeline.toml"), &own).expect("a configuration");
    let pin = |arguments: &[&str]| {
        let done = job.reembed(&[&["model", "pin"], arguments].concat());
        assert!(done.status.success(), "{arguments:?}: {}", err(&done));
        out(&done)
    };
    pin(&["--write", "pipeline.toml"]);
    let old = read();
    declare_prompts(&job.path("models/mine"), &json!({ "document": "text: " }));
    let refused = job.run_with(&["--quiet"], &[]);
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    let message = format!("{SENTENCE_CONFIG}: expected SHA-256");
    assert!(err(&refused).contains(&message), "{}", err(&refused));

    let printed = pin(&[]);
    assert_eq!(read(), old, "nothing is written without --write");
    pin(&["--write", "pipeline.toml"]);
    assert_eq!(read(), format!("{own}\n{printed}"));
    assert_ne!(read(), old);
    job.run_with(&["--quiet"], &[]).assert().success();
}
