//! A new file in the place of the old one: temporary sibling, fsync, look at it, rename, fsync of the directory.
//!
//! A failed fsync is final. The kernel may have dropped the pages that it could not write and marked them clean, so a
//! second fsync would succeed and mean nothing.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::files;
use tempfile::{Builder, NamedTempFile};

use super::previous::Kept;
use crate::failpoints::{self, Failpoint};
use crate::hidden_names::{TEMPORARY, directory_of, hidden_prefix};

/// A hidden file beside the target, made afresh (`O_EXCL`); gone when dropped. It has the mode and the owner of the
/// file that it is to replace.
///
/// # Errors
/// `Target` when it cannot be made, or cannot have that owner.
pub fn temporary_beside(target: &Path, kept: Option<Kept>) -> Result<NamedTempFile> {
    let refuse = |message: &str, cause: io::Error| {
        Error::new(ErrorKind::Target, message)
            .in_file(target)
            .advice("check that its directory can be written to and its disk has room")
            .caused_by(cause)
    };
    // Of a new one, what a file made by hand would get: everything that the process's umask allows.
    let permissions = Permissions::from_mode(if kept.is_some() { 0o600 } else { 0o666 });
    let file = Builder::new()
        .prefix(&hidden_prefix(target))
        .suffix(TEMPORARY)
        .permissions(permissions)
        .tempfile_in(directory_of(target))
        .map_err(|cause| refuse("a temporary file beside it cannot be made", cause))?;
    if let Some(kept) = kept {
        keep(file.as_file(), kept).map_err(|cause| {
            let Kept { mode, user, group } = kept;
            let what = format!("its owner (user {user}, group {group}) and mode {mode:o}");
            refuse(&format!("{what} cannot be kept"), cause)
                .advice("run as its owner, or name an output of your own")
        })?;
    }
    Ok(file)
}

fn keep(file: &File, kept: Kept) -> io::Result<()> {
    let made = file.metadata()?;
    let other = |now: u32, wanted: u32| (now != wanted).then_some(wanted);
    let (user, group) = (other(made.uid(), kept.user), other(made.gid(), kept.group));
    if user.is_some() || group.is_some() {
        fchown(file, user, group)?;
    }
    // After the owner: a change of owner takes bits of the mode away.
    file.set_permissions(Permissions::from_mode(kept.mode))
}

/// Brings a finished file to the disk and puts it in the target's place. Before that, `look` may find fault with it:
/// it is given the file's path while it still has its hidden name.
///
/// # Errors
/// `Output`, naming the target, and whatever `look` gives. The target is then as it was, unless the last step
/// failed: the directory's fsync, after which the new file is there but may not outlast a power cut. The error then
/// [says so](Error::is_after_publish).
pub fn publish(
    file: NamedTempFile,
    target: &Path,
    look: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    file.as_file()
        .sync_all()
        .map_err(|cause| failed(target, "fsync of the finished file failed", cause))?;
    forget_pages(file.as_file());
    look(file.path())?;
    file.persist(target)
        .map_err(|cause| failed(target, "it cannot be put in place", cause.error))?;
    sync_directory(target)
}

/// Leaves the target as it is, after it was found to hold the very bytes of the finished file: only whether it is on
/// the disk is not known, for the run that wrote it may have died before its last step.
///
/// # Errors
/// `Output`, naming the target.
pub fn keep_target(target: &Path) -> Result<()> {
    File::open(target)
        .and_then(|file| file.sync_all())
        .map_err(|cause| failed(target, "the file is unchanged, but its fsync failed", cause))?;
    sync_directory(target)
}

/// Whether two files hold the same bytes. A target that cannot be read is another file.
pub fn same_bytes(file: &File, target: &Path) -> io::Result<bool> {
    const AT_A_TIME: usize = 1 << 18;
    let Ok(old) = File::open(target) else { return Ok(false) };
    let length = file.metadata()?.len();
    if old.metadata()?.len() != length {
        return Ok(false);
    }
    let (mut new_bytes, mut old_bytes) = (vec![0; AT_A_TIME], vec![0; AT_A_TIME]);
    let mut at = 0;
    while at < length {
        let now = usize::try_from(length - at).unwrap_or(AT_A_TIME).min(AT_A_TIME);
        file.read_exact_at(&mut new_bytes[..now], at)?;
        old.read_exact_at(&mut old_bytes[..now], at)?;
        if new_bytes[..now] != old_bytes[..now] {
            return Ok(false);
        }
        at += now as u64;
    }
    Ok(true)
}

/// Lets the next reader have what the disk has and not what the page cache remembers. It is advice: where the
/// system does not take it, the page cache is read.
fn forget_pages(file: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// A renamed file's name outlasts a power cut only when its directory is on the disk.
fn sync_directory(target: &Path) -> Result<()> {
    if failpoints::is_on(Failpoint::SkipDirectoryFsync) {
        return Ok(());
    }
    files::sync_directory(directory_of(target)).map_err(|cause| {
        let message = "the new file is in place, but fsync of its directory failed; it may be lost in a power failure";
        failed(target, message, cause).after_publish()
    })
}

/// The error of an output that cannot be written.
pub fn failed(
    target: &Path,
    message: &str,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::new(ErrorKind::Output, message)
        .in_file(target)
        .advice("check that its directory can be written to and its disk has room")
        .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn bytes_are_compared_to_the_last_one() {
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
            assert_eq!(same_bytes(&file, &other).expect("both are read"), expected);
        }
        let file = File::open(directory.path().join("one")).expect("a file");
        assert!(!same_bytes(&file, &directory.path().join("none")).expect("a file is read"));
    }

    #[test]
    fn a_temporary_has_the_mode_that_it_is_to_keep_and_is_gone_when_dropped() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("out.parquet");
        let made = temporary_beside(&target, None).expect("a file");
        let own = made.as_file().metadata().expect("a file");
        for mode in [0o640, 0o444, 0o600] {
            let kept = Kept { mode, user: own.uid(), group: own.gid() };
            let file = temporary_beside(&target, Some(kept)).expect("a file");
            assert_eq!(file.as_file().metadata().expect("a file").mode() & 0o7777, mode);
        }
        drop(made);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }
}
