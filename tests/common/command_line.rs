//! A job at the command line: a directory with a configuration, a model, and `tasks.parquet` of sample rows.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use assert_cmd::assert::OutputAssertExt;
use reembed_testing::model_directory::{ModelDirectory, WrittenModel};

use crate::program::program;

pub struct Job {
    pub directory: tempfile::TempDir,
    pub model: WrittenModel,
}

impl Job {
    /// A job over `rows` rows, whose configuration names `output`.
    pub fn with(model: ModelDirectory, rows: &str, output: &str) -> Job {
        let job =
            Job { directory: tempfile::tempdir().expect("a directory"), model: model.write() };
        let config =
            format!("[input]\npath = \"tasks.parquet\"\n\n[output]\npath = \"{output}\"\n");
        fs::write(job.path("pipeline.toml"), config).expect("a configuration");
        job.reembed(&["sample", "tasks.parquet", "--rows", rows]).assert().success();
        job
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", "/nowhere");
        command
    }

    pub fn reembed(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("a child")
    }

    pub fn with_model<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let model = ["--model-path", self.model.path().to_str().expect("a path of text")];
        [arguments, &model].concat()
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.reembed(&self.with_model(&[&["run"], arguments].concat()))
    }
}
