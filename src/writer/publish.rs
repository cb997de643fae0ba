//! A new file in the place of the old one: temporary sibling, fsync, rename, fsync of the folder.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, ErrorKind, Result};

/// Looks at the target before anything is loaded or read: it must be, or become, a regular file in a folder,
/// and not be the input. Nothing is made; of the folder, only the last part may be missing.
///
/// # Errors
/// `Target`, naming the path.
pub fn check_target(target: &Path, input: &Path) -> Result<()> {
    let refuse = |message: &str| {
        Error::new(ErrorKind::Target, message)
            .in_file(target)
            .advice("name another file with --output or `output.path`")
    };
    if target.file_name().is_none() {
        return Err(refuse("the output is not the name of a file"));
    }
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_symlink() => {
            return Err(refuse("the output is a symbolic link; what it points to is not replaced"));
        }
        Ok(found) if found.is_dir() => return Err(refuse("the output is a folder")),
        Ok(found) if !found.is_file() => return Err(refuse("the output is not a regular file")),
        Ok(found) if fs::metadata(input).is_ok_and(|input| same_file(&input, &found)) => {
            return Err(refuse("the output is the input"));
        }
        Ok(_) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(refuse("the output cannot be looked at").caused_by(cause)),
    }
    let folder = folder_of(target);
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(refuse("its folder is not a folder")),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && folder_of(folder).is_dir() => {
            Ok(())
        }
        Err(cause) => Err(refuse("its folder is not there and cannot be made").caused_by(cause)),
    }
}

/// Makes the target's folder if it is not there.
///
/// # Errors
/// `Target`, naming the path.
pub fn make_folder(target: &Path) -> Result<()> {
    match fs::create_dir(folder_of(target)) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::new(ErrorKind::Target, "its folder is not there and cannot be made")
                .in_file(target)
                .advice("name another file with --output or `output.path`")
                .caused_by(cause))
        }
        _ => Ok(()),
    }
}

fn same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A hidden file beside the target, made afresh; gone when dropped.
pub fn temporary_beside(target: &Path) -> Result<NamedTempFile> {
    // What a file made by hand would get: everything that the process's umask allows.
    let permissions = Permissions::from_mode(0o666);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    // A name may have 255 bytes, and this one is longer than the target's.
    let name: String = name.chars().take(40).collect();
    Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".tmp")
        .permissions(permissions)
        .tempfile_in(folder_of(target))
        .map_err(|cause| failed(target, "a temporary file beside it cannot be made", cause))
}

/// Brings a complete file to the disk and puts it in the target's place; gives its size.
pub fn publish(file: NamedTempFile, target: &Path) -> Result<u64> {
    let synced = file.as_file().sync_all().and_then(|()| file.as_file().metadata());
    let bytes =
        synced.map_err(|cause| failed(target, "it cannot be brought to the disk", cause))?.len();
    file.persist(target)
        .map_err(|cause| failed(target, "it cannot be put in place", cause.error))?;
    // A renamed file's name outlasts a power cut only when its folder is on the disk.
    File::open(folder_of(target)).and_then(|folder| folder.sync_all()).map_err(|cause| {
        failed(target, "it is in place, but its folder cannot be brought to the disk", cause)
    })?;
    Ok(bytes)
}

/// The error of an output that cannot be written.
pub fn failed(
    target: &Path,
    message: &str,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::new(ErrorKind::Output, message)
        .in_file(target)
        .advice("check that its folder can be written to and its disk has room")
        .caused_by(cause)
}
