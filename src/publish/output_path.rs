//! Checks of the output path itself, whatever the file there holds.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

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
    let refuse = |message: &str| path_error(output, message);
    let occupied = |message: &str| match output.is_in_dataset() {
        true => refuse(message)
            .advice("move it away, or name another directory with --output or `output.path`"),
        false => refuse(message),
    };
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
            return Err(occupied("the output is a symbolic link, which reembed does not replace"));
        }
        Ok(output) if !output.is_file() => {
            let kind = kind_of(output.file_type());
            return Err(occupied(&format!("the output is {kind}, not a regular file")));
        }
        Ok(output) if is_input(&output) => {
            return Err(refuse("the output and the input are the same file"));
        }
        Ok(_) => {}
        Err(cause) if may_be_created(&cause) => {}
        Err(cause) => {
            return Err(refuse("the metadata of the output cannot be read").caused_by(cause));
        }
    }
    check_directory(directory_of(target))?;
    let directory = match output.is_in_dataset() {
        // Those between the output directory and the table are created.
        true => existing_directory(target),
        false => directory_of(target),
    };
    let writable = match fs::metadata(directory) {
        Ok(_) => directory,
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

/// Whether there is no file at a path that gave this error. If another file stands in the place of a directory above,
/// [`check_directory`] tells which.
fn may_be_created(cause: &io::Error) -> bool {
    [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&cause.kind())
}

/// Checks that no other file stands in the place of a directory or of one above it.
///
/// # Errors
/// `Target`, naming that file.
pub fn check_directory(path: &Path) -> Result<()> {
    // Without a separator at the end, which a file has not.
    let path: PathBuf = path.components().collect();
    let mut found = path.ancestors().filter_map(|above| Some((above, fs::metadata(above).ok()?)));
    match found.next() {
        Some((file, found)) if !found.is_dir() => {
            Err(Error::new(ErrorKind::Target, "this is a file, not a directory")
                .in_file(file)
                .advice("move it away, or name another directory with --output or `output.path`"))
        }
        _ => Ok(()),
    }
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
pub fn create_directory(target: &OutputPlace) -> Result<Option<&Path>> {
    let directory = directory_of(target.path());
    files::create_directory(directory)
        .map(|is_new| is_new.then_some(directory))
        .map_err(|cause| path_error(target, NO_DIRECTORY).caused_by(cause))
}

/// The error of an output path that cannot be used.
pub fn path_error(output: &OutputPlace, message: &str) -> Error {
    Error::new(ErrorKind::Target, message).in_file(output.path()).advice(
        match output.is_in_dataset() {
            true => "name another directory with --output or `output.path`",
            false => "name another file with --output or `output.path`",
        },
    )
}

const NO_DIRECTORY: &str = "its directory does not exist and cannot be created";
