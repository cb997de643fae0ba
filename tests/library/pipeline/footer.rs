//! The content of the footer.

use reembed_testing::model_directory::ModelDirectory;

use super::setup::run;
use crate::common::{Job, load, read_parquet, task};

#[test]
fn footer_has_all_that_vectors_depend_on_and_no_time() {
    let e5 = ModelDirectory::like_e5().write();
    let job = Job::of(&[task("a", "words"), task("b", "")]);
    let settings = ["text.files_prefix = \"Paths: \"", "output.column = \"vector\""];
    let model = load(e5.path());
    run(&job.config(&settings), &model).expect("a report");
    let entry = read_parquet(&job.output()).entry("reembed").expect("the entry");
    let footer: serde_json::Value = serde_json::from_str(&entry).expect("JSON");

    let at =
        |path: &str| footer.pointer(path).unwrap_or_else(|| panic!("{path} in {entry}")).clone();
    for (path, expected) in [
        ("/lineage/version", serde_json::json!(4)),
        ("/lineage/tool", format!("reembed {}", env!("CARGO_PKG_VERSION")).into()),
        ("/lineage/model/pooling", "mean".into()),
        ("/lineage/model/normalized", true.into()),
        ("/lineage/model/max_seq_length", 512.into()),
        ("/lineage/model/prompt", "query: ".into()),
        ("/lineage/model/dimension", 64.into()),
        ("/lineage/model/precision", "f32".into()),
        ("/lineage/model/numerics", model.encoder.numerics().into()),
        ("/lineage/model/id", model.facts.identity.id.clone().into()),
        ("/text/columns", serde_json::json!(["title", "description", "files"])),
        ("/text/lines/1", serde_json::json!([{ "column": "description" }])),
        ("/text/lines/2", serde_json::json!(["Paths: ", { "column": "files" }])),
        ("/text/id", "id".into()),
        ("/column", "vector".into()),
        ("/rows", 2.into()),
        ("/null_rows", 1.into()),
        ("/digests/carried/0/column", "id".into()),
        ("/carry", "copy".into()),
        ("/form/type", "f32".into()),
        ("/form/layout", "fixed_size_list".into()),
        ("/form/dims", 64.into()),
        ("/form/normalize", false.into()),
        ("/digests/carried/3/column", "files".into()),
    ] {
        assert_eq!(at(path), expected, "{path}");
    }
    assert_eq!(at("/lineage/fingerprint").as_str().map(str::len), Some(64));
    assert_eq!(at("/digests/carried").as_array().map(Vec::len), Some(4));
    assert_eq!(at("/digests/carried/0/xxh3").as_str().map(str::len), Some(32));
    assert_eq!(at("/digests/vectors").as_str().map(str::len), Some(64));
    let files = at("/lineage/model/files");
    let mut names: Vec<&str> =
        files.as_object().expect("files").keys().map(String::as_str).collect();
    names.sort_unstable();
    let all = [
        "1_Pooling/config.json",
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
    ];
    assert_eq!(names, all);
    let hash = |name: &str| files[name].as_str().expect("a hash").to_owned();
    assert!(names.iter().all(|name| hash(name).len() == 64));
    assert_ne!(hash("config.json"), hash("modules.json"));
    let lower = entry.to_lowercase();
    assert!(!["time", "date", "created", "20:"].iter().any(|word| lower.contains(word)), "{entry}");
}
