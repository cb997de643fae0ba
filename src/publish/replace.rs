//! Replaces the output: temporary file, fsync, check, rename, fsync of the directory.
//!
//! A failed fsync is never retried: the kernel marks pages that it could not write as clean, so a
//! second fsync would succeed although the data is lost.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt, fchown};
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::files::{self, DirectorySync};
use tempfile::{Builder, NamedTempFile};

use super::existing::Ownership;
use super::sweep::prefix_beside;
use crate::failpoints::{self, Failpoint};
use crate::hidden_names::{OutputPlace, TEMPORARY_SUFFIX, directory_of};

/// Creates a new file in the directory `_reembed` beside the target (`O_EXCL`), with mode and owner of the
/// existing file. Dropping it deletes the file.
///
/// # Errors
/// `Target` when it cannot be created, or has another mode or owner and the file system keeps it so.
pub fn create_temporary(
    target: &OutputPlace,
    ownership: Option<Ownership>,
) -> Result<NamedTempFile> {
    create_in(&target.work_directory(), &target.temporary_prefix(), target.path(), ownership)
}

/// Creates a new hidden file beside a target that has no lock and no cache. Dropping it deletes the file.
///
/// # Errors
/// `Target` when it cannot be created.
pub fn create_temporary_beside(target: &Path) -> Result<NamedTempFile> {
    create_in(directory_of(target), &prefix_beside(target), target, None)
}

fn create_in(
    directory: &Path,
    prefix: &str,
    target: &Path,
    ownership: Option<Ownership>,
) -> Result<NamedTempFile> {
    let create = |mode: u32| {
        Builder::new()
            .prefix(prefix)
            .suffix(TEMPORARY_SUFFIX)
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(directory)
            .map_err(|cause| {
                let message = "a temporary file in its directory cannot be created";
                Error::new(ErrorKind::Target, message)
                    .in_file(target)
                    .advice("check that its directory is writable and its disk has free space")
                    .caused_by(cause)
            })
    };
    // The umask of the process applies to the mode of a new output.
    let Some(ownership) = ownership else { return create(0o666) };
    let file = create(0o600)?;
    let Err(cause) = set_ownership(file.as_file(), ownership) else { return Ok(file) };
    drop(file);
    // Some file systems take a mode when a file is created and never again.
    let file = create(ownership.mode)?;
    if current_ownership(file.as_file()).is_ok_and(|current| current == ownership) {
        return Ok(file);
    }
    let Ownership { mode, user, group } = ownership;
    let message =
        format!("its owner (user {user}, group {group}) and mode {mode:o} cannot be kept");
    Err(Error::new(ErrorKind::Target, message)
        .in_file(target)
        .advice("run as the owner of the existing file, or name another output")
        .caused_by(cause))
}

/// Changes what differs. What is right already is left alone: an SMB share has one owner and mode for
/// all files, and refuses to set even these.
fn set_ownership(file: &File, wanted: Ownership) -> io::Result<()> {
    let current = current_ownership(file)?;
    let changed = |now: u32, wanted: u32| (now != wanted).then_some(wanted);
    let user = changed(current.user, wanted.user);
    let group = changed(current.group, wanted.group);
    if user.is_some() || group.is_some() {
        fchown(file, user, group)?;
    }
    // Last, because a change of owner clears bits of the mode.
    if current_ownership(file)?.mode != wanted.mode {
        file.set_permissions(Permissions::from_mode(wanted.mode))?;
    }
    Ok(())
}

fn current_ownership(file: &File) -> io::Result<Ownership> {
    file.metadata().map(|metadata| Ownership::from(&metadata))
}

/// Makes a finished file durable and renames it to the target. `check` may reject it before: it gets
/// the path of the file under its temporary name.
///
/// # Errors
/// `Output`, naming the target, and those of `check`. The target is then unchanged, unless the fsync
/// of its directory failed. The error then [says so](Error::is_after_publish), and the new file may
/// be lost in a power failure.
pub fn replace(
    file: NamedTempFile,
    target: &Path,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<DirectorySync> {
    file.as_file()
        .sync_all()
        .map_err(|cause| write_error(target, "fsync of the finished file failed", cause))?;
    drop_page_cache(file.as_file());
    check(file.path())?;
    file.persist(target).map_err(|cause| {
        write_error(target, "the finished file cannot be renamed to the output path", cause.error)
    })?;
    sync_directory(target)
}

/// Makes the existing target durable, which has the bytes of the finished file. The run that wrote
/// it may have died before its own fsync.
///
/// # Errors
/// `Output`, naming the target.
pub fn sync_existing(target: &Path) -> Result<DirectorySync> {
    File::open(target).and_then(|file| file.sync_all()).map_err(|cause| {
        write_error(target, "the file is unchanged, but its fsync failed", cause)
    })?;
    sync_directory(target)
}

/// Whether two files have the same bytes. A target that cannot be opened is different.
pub fn has_same_bytes(file: &File, target: &Path) -> io::Result<bool> {
    const BUFFER_BYTES: usize = 1 << 18;
    let Ok(old) = File::open(target) else { return Ok(false) };
    let length = file.metadata()?.len();
    if old.metadata()?.len() != length {
        return Ok(false);
    }
    let (mut new_bytes, mut old_bytes) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    let mut at = 0;
    while at < length {
        let now = usize::try_from(length - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        file.read_exact_at(&mut new_bytes[..now], at)?;
        old.read_exact_at(&mut old_bytes[..now], at)?;
        if new_bytes[..now] != old_bytes[..now] {
            return Ok(false);
        }
        at += now as u64;
    }
    Ok(true)
}

/// Drops the file from the page cache, so that the read-back reads the disk. The kernel may ignore it.
fn drop_page_cache(file: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// A rename survives a power failure only after an fsync of the directory.
fn sync_directory(target: &Path) -> Result<DirectorySync> {
    if failpoints::is_on(Failpoint::SkipDirectoryFsync) {
        return Ok(DirectorySync::Durable);
    }
    files::sync_directory(directory_of(target)).map_err(|cause| {
        let message = "the new file is in place, but fsync of its directory failed; it may be \
                       lost in a power failure";
        write_error(target, message, cause).after_publish()
    })
}

/// The error of an output that cannot be written.
pub fn write_error(
    target: &Path,
    message: &str,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::new(ErrorKind::Output, message)
        .in_file(target)
        .advice("check that its directory is writable and its disk has free space")
        .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn files_are_compared_up_to_the_last_byte() {
        let directory = tempfile::tempdir().expect("a directory");
        let long: Vec<u8> = (0..700_000u32).map(|n| n as u8).collect();
        let mut last = long.clone();
        last[699_999] ^= 1;
        let other = directory.path().join("other");
        for (one, two, expected) in [
            (&long[..], &long[..], true),
            (&long, &last, false),
            (&long[1..], &long[..699_999], false),
            (&long, &long[..699_999], false),
            (&[], &[], true),
        ] {
            fs::write(directory.path().join("one"), one).expect("a file");
            fs::write(&other, two).expect("a file");
            let file = File::open(directory.path().join("one")).expect("a file");
            assert_eq!(has_same_bytes(&file, &other).expect("both are read"), expected);
        }
        let file = File::open(directory.path().join("one")).expect("a file");
        assert!(!has_same_bytes(&file, &directory.path().join("none")).expect("a file is read"));
    }

    #[test]
    fn temporary_has_the_given_mode_and_is_deleted_when_dropped() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = OutputPlace::alone(directory.path().join("out.parquet"));
        let directory = target.work_directory();
        fs::create_dir(&directory).expect("a directory");
        let created = create_temporary(&target, None).expect("a file");
        let own = created.as_file().metadata().expect("a file");
        for mode in [0o640, 0o444, 0o600] {
            let ownership = Ownership { mode, user: own.uid(), group: own.gid() };
            let file = create_temporary(&target, Some(ownership)).expect("a file");
            assert_eq!(file.as_file().metadata().expect("a file").mode() & 0o7777, mode);
        }
        drop(created);
        assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 0);
        drop(create_temporary_beside(target.path()).expect("a file"));
        assert_eq!(fs::read_dir(directory_of(target.path())).expect("a directory").count(), 1);
    }
}
