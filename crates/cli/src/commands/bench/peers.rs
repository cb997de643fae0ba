//! Other tools with the same model, on the same rows and as many threads: the scripts of `benches/peers`.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use reembed::TaskRow;
use reembed_encoder::model::architecture::Architecture;
use reembed_encoder::model::description::ModelDescription;
use reembed_encoder::model::spec::{PoolingSpec, TokenPooling};

use crate::own_program::OwnProgram;
use crate::sample;

/// The result of another tool.
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Rows per second.
    pub tasks_per_second: f64,
    /// Whether it embeds one text at a time.
    pub is_baseline: bool,
}

/// Refuses a model that the scripts do not support.
///
/// # Errors
/// For every model but those like all-MiniLM-L6-v2.
pub fn check_model(description: &ModelDescription) -> Result<()> {
    let is_supported = description.encoder.architecture == Architecture::Bert
        && description.dim() == 384
        && description.pooling == PoolingSpec::one(TokenPooling::Mean)
        && description.normalizes()
        && description.max_seq_length.get() == 256
        && !description.lower_case
        && description.prompt.text.is_empty();
    if !is_supported {
        anyhow::bail!(
            "--peers supports models like all-MiniLM-L6-v2 only: 384 components, mean pooling over 256 tokens, \
             normalized vectors, no prompt"
        );
    }
    Ok(())
}

/// Runs the scripts.
///
/// # Errors
/// When the scripts cannot be started, fail, or write no report.
pub fn measure(
    scripts: &Path,
    own: &OwnProgram,
    model: &Path,
    threads: NonZeroUsize,
    rows: Vec<TaskRow>,
) -> Result<Vec<Peer>> {
    let script = scripts.join("run.py");
    let program = own.file().context("--peers needs the program as one file")?;
    let work = tempfile::tempdir().context("cannot create a temporary directory")?;
    let table = work.path().join("rows.parquet");
    sample::write_tasks(&table, rows)?;
    let status = Command::new("python3")
        .arg(&script)
        .args(["--only", "^(st-|ort-|openvino-|tfidf)", "--rounds", "3"])
        .arg("--rows")
        .arg(&table)
        .args(["--threads", &threads.to_string()])
        .arg("--model")
        .arg(model)
        .arg("--reembed")
        .arg(program)
        .arg("--work")
        .arg(work.path())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("{}: cannot start python3", script.display()))?;
    if !status.success() {
        anyhow::bail!("{}: it ended with {status}", script.display());
    }
    let path = work.path().join("report.json");
    let report = std::fs::read(&path).with_context(|| path.display().to_string())?;
    parse_report(&report).with_context(|| path.display().to_string())
}

fn parse_report(report: &[u8]) -> Result<Vec<Peer>> {
    let report: serde_json::Value = serde_json::from_slice(report)?;
    let contenders = report["contenders"].as_array().context("no `contenders`")?;
    let peer = |contender: &serde_json::Value| {
        Some(Peer {
            name: contender["label"].as_str()?.to_owned(),
            is_baseline: contender["name"].as_str()?.ends_with("-alone"),
            tasks_per_second: contender["tasks_per_second"].as_f64()?,
        })
    };
    Ok(contenders.iter().filter_map(peer).collect())
}
