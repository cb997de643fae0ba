//! `reembed model convert`: the way from a refused pickle to weights that a run reads.

use std::fs;

use reembed_testing::model_directory::ModelDirectory;
use reembed_testing::repository;

use crate::command_line::Job;

const SHARD: &str = "pytorch_model-00001-of-00001.bin";

/// A pickle of six tensors, saved by PyTorch.
fn pickle() -> Vec<u8> {
    fs::read(repository().join("tests/golden/pickled/tensors.bin")).expect("a pickle")
}

/// The standard error of a run that refuses the model.
fn refusal(job: &Job) -> String {
    let refused = job.run(&["--config", "pipeline.toml"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(told.contains("`reembed model convert DIR`"), "{told}");
    told
}

/// The files that a conversion reads and writes, as it tells them: paths in the model's directory.
fn converted(job: &Job) -> Vec<String> {
    let done = job.reembed(&["model", "convert", job.model.path().to_str().expect("a path")]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    let inside = format!("{}/", job.model.path().display());
    told.lines().map(|line| line.replace(&inside, "")).collect()
}

#[test]
fn pickled_module_is_refused_and_converted() {
    let job = Job::with(ModelDirectory::tiny(), "3", "out/tasks.parquet");
    job.model.add_module("Dense");
    let modules = fs::read_to_string(job.model.file("modules.json")).expect("modules");
    let dense = modules.split('"').find(|word| word.ends_with("_Dense")).expect("a path");
    fs::create_dir(job.model.file(dense)).expect("a directory");
    job.model
        .replace_file(&format!("{dense}/config.json"), b"{}")
        .replace_file(&format!("{dense}/pytorch_model.bin"), &pickle());
    let told = refusal(&job);
    assert!(told.contains(&format!("{dense}/pytorch_model.bin is not supported")), "{told}");
    // The weights of the transformer are safetensors already.
    let (read, wrote) = (
        format!("read     {dense}/pytorch_model.bin"),
        format!("wrote    {dense}/model.safetensors"),
    );
    let of_dense = [read.as_str(), wrote.as_str(), "tensors  6"];
    assert_eq!(converted(&job), of_dense);
    // Both at once.
    fs::remove_file(job.model.file(&format!("{dense}/model.safetensors"))).expect("a file");
    job.model.pickle_weights().replace_file("pytorch_model.bin", &pickle());
    let top = ["read     pytorch_model.bin", "wrote    model.safetensors", "tensors  6", ""];
    assert_eq!(converted(&job), [&top[..], &of_dense[..]].concat());
}

#[test]
fn pickled_shards_are_refused_and_converted() {
    let job = Job::with(ModelDirectory::tiny(), "3", "out/tasks.parquet");
    let index = format!(r#"{{"weight_map": {{"half": "{SHARD}", "ids": "{SHARD}"}}}}"#);
    job.model
        .remove_file("model.safetensors")
        .replace_file("pytorch_model.bin.index.json", index.as_bytes())
        .replace_file(SHARD, &pickle());
    let told = refusal(&job);
    assert!(told.contains("the pickles that pytorch_model.bin.index.json lists"), "{told}");
    let expected =
        ["read     pytorch_model.bin.index.json", "wrote    model.safetensors", "tensors  2"];
    assert_eq!(converted(&job), expected);
    assert!(job.model.file("model.safetensors").is_file());
}
