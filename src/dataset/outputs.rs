//! The files of an output directory that a run deletes or marks.

use std::fs;
use std::io;
use std::path::Path;

use reembed_encoder::error::Result;
use reembed_encoder::files;

use super::manifest::TableRecord;
use super::places::Places;
use super::stamp::Stamp;
use crate::file_id::FileId;
use crate::hidden_names::{OutputPlace, directory_of};
use crate::pipeline::delete_keys;
use crate::publish::write_error;

/// Deletes the outputs of tables that are gone, and directories that are empty then. An output that is not as
/// it was published stays.
///
/// # Errors
/// `Output`, naming the file that cannot be deleted.
pub fn delete_outputs(root: &Path, gone: &[&TableRecord]) -> Result<u64> {
    let mut deleted = 0;
    for record in gone {
        let output = root.join(&record.path);
        if output_stamp(&output).as_ref() != Some(&record.output) {
            continue;
        }
        // First, so that a run that is killed in between deletes both again.
        delete_keys(&OutputPlace::in_dataset(root, &record.path))?;
        fs::remove_file(&output).map_err(|cause| {
            write_error(&output, "the output of a table that is gone cannot be deleted", cause)
        })?;
        deleted += 1;
        let mut directory = directory_of(&output);
        while directory != root && directory.starts_with(root) && fs::remove_dir(directory).is_ok()
        {
            directory = directory_of(directory);
        }
    }
    Ok(deleted)
}

/// The output of a table, if there is one.
pub fn output_stamp(output: &Path) -> Option<Stamp> {
    let found = fs::symlink_metadata(output).ok()?;
    Some(Stamp::from(&FileId::from(&found)))
}

/// Removes the file that says that every table is in place.
///
/// # Errors
/// `Output`, naming it.
pub fn remove_success_file(root: &Path) -> Result<()> {
    let path = Places::new(root, None).success_file();
    match fs::remove_file(&path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(write_error(&path, "the file of the last success cannot be removed", cause))
        }
        _ => Ok(()),
    }
}

/// Writes the file that says that every table is in place, unless it is there.
///
/// # Errors
/// `Output`, naming it.
pub fn write_success_file(root: &Path) -> Result<()> {
    let path = Places::new(root, None).success_file();
    if path.is_file() {
        // It was not removed, since nothing changed.
        return Ok(());
    }
    let failed = |cause| write_error(&path, "the file of the success cannot be written", cause);
    fs::File::create(&path).and_then(|file| file.sync_all()).map_err(failed)?;
    files::sync_directory(root).map(drop).map_err(failed)
}
