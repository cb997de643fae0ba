//! Checks of the output path itself, whatever the file there holds.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::files;
use rustix::fs::Access;

use super::work_directory::{check_work_directory, is_for_other_files};
use crate::config::Config;
use crate::file_id::FileId;
use crate::hidden_names::{OutputPlace, WORK_DIRECTORY, directory_of};

/// Checks that the path is or can become a regular file in a writable directory, and is not the
/// input. Only the last part of its directory may be missing.
///
/// # Errors
/// `Target`, naming the path.
pub fn check_path(output: &OutputPlace, input: &Path) -> Result<()> {
    let target = output.path();
    let refuse = |message: &str| path_error(target, message);
    if target.file_name().is_none() {
        return Err(refuse("the output path has no file name"));
    }
    if is_for_other_files(target) {
        let message = format!("`{WORK_DIRECTORY}` is for the files of reembed that are not tables");
        return Err(refuse(&message));
    }
    let is_input = |output: &fs::Metadata| {
        fs::metadata(input)
            .is_ok_and(|input| FileId::from(&input).is_same_file(&FileId::from(output)))
    };
    match fs::symlink_metadata(target) {
        Ok(output) if output.is_symlink() => {
            return Err(refuse("the output is a symbolic link, which reembed does not replace"));
        }
        Ok(output) if !output.is_file() => {
            let kind = kind_of(output.file_type());
            return Err(refuse(&format!("the output is {kind}, not a regular file")));
        }
        Ok(output) if is_input(&output) => {
            return Err(refuse("the output and the input are the same file"));
        }
        Ok(_) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => {
            return Err(refuse("the metadata of the output cannot be read").caused_by(cause));
        }
    }
    let directory = match output.is_in_dataset() {
        // Those between the output directory and the table are created.
        true => existing_directory(target),
        false => directory_of(target),
    };
    let writable = match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => directory,
        Ok(_) => return Err(refuse("its parent is not a directory")),
        Err(cause)
            if cause.kind() == io::ErrorKind::NotFound && directory_of(directory).is_dir() =>
        {
            directory_of(directory)
        }
        Err(cause) => return Err(refuse(NO_DIRECTORY).caused_by(cause)),
    };
    rustix::fs::access(writable, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|cause| refuse("its directory is not writable").caused_by(cause))?;
    check_work_directory(output)
}

/// The nearest directory above a path that exists.
fn existing_directory(path: &Path) -> &Path {
    let mut directory = directory_of(path);
    while !directory.exists() && directory != Path::new(".") && directory.parent().is_some() {
        directory = directory_of(directory);
    }
    directory
}

/// What is not a regular file, in words.
fn kind_of(file: fs::FileType) -> &'static str {
    match file {
        file if file.is_dir() => "a directory",
        file if file.is_fifo() => "a FIFO",
        file if file.is_socket() => "a socket",
        file if file.is_block_device() || file.is_char_device() => "a device",
        _ => "a special file",
    }
}

/// Whether a report may be written: not below `_reembed` beside an output that is refused for its path, such as
/// `/dev/null`.
pub fn may_write_report(config: &Config) -> bool {
    let output = &config.output.place;
    let is_refused = || {
        is_for_other_files(output.path())
            || fs::symlink_metadata(output.path()).is_ok_and(|found| !found.is_file())
            || check_work_directory(output).is_err()
    };
    !config.report.dir.starts_with(output.work_directory()) || !is_refused()
}

/// Creates the directory of the output if it does not exist. Returns a directory that is new.
///
/// # Errors
/// `Target`, naming the path.
pub fn create_directory(target: &Path) -> Result<Option<&Path>> {
    let directory = directory_of(target);
    files::create_directory(directory)
        .map(|is_new| is_new.then_some(directory))
        .map_err(|cause| path_error(target, NO_DIRECTORY).caused_by(cause))
}

/// The error of an output path that cannot be used.
pub fn path_error(target: &Path, message: &str) -> Error {
    Error::new(ErrorKind::Target, message)
        .in_file(target)
        .advice("name another file with --output or `output.path`")
}

const NO_DIRECTORY: &str = "its directory does not exist and cannot be created";
