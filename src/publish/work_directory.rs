//! The directory `_reembed` beside an output, for everything that is not a table.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::files;
use rustix::fs::Access;

use crate::hidden_names::{OutputPlace, WORK_DIRECTORY, directory_of};

/// The bits of a mode that say who may read and write, with those for groups and for shared directories.
const MODE_BITS: u32 = 0o7777;

/// In a directory with this bit, a file is deleted by its owner alone.
const STICKY: u32 = 0o1000;

/// Checks that the directory can be used, or be created. It creates nothing.
///
/// It has to be on the file system of the output: the finished file is renamed from it. In a directory like `/tmp`
/// it has to be this user's: whoever owns a directory may exchange the files in it.
///
/// # Errors
/// `Target`, naming the directory.
pub fn check_work_directory(output: &OutputPlace) -> Result<()> {
    let path = output.work_directory();
    let refuse = |message: &str, advice: &str| {
        Error::new(ErrorKind::Target, message.to_owned()).in_file(&path).advice(advice.to_owned())
    };
    let found = match fs::symlink_metadata(&path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|cause| {
            let message =
                "the metadata of the directory for lock and temporary files cannot be read";
            refuse(message, "check that the directory of the output is readable").caused_by(cause)
        })?,
    };
    if !found.is_dir() {
        return Err(refuse(
            "this is no directory, but reembed keeps the lock and the temporary files of an output here",
            "move it away; `cache.path` and `report.dir` put the vector cache and the reports elsewhere",
        ));
    }
    let of_output = fs::metadata(directory_of(output.path())).ok();
    let is_shared = of_output.as_ref().is_some_and(|directory| directory.mode() & STICKY != 0);
    if is_shared && ![0, rustix::process::geteuid().as_raw()].contains(&found.uid()) {
        return Err(refuse(
            "this directory is another user's, who could exchange the finished file",
            "name an output in a directory of your own",
        ));
    }
    if of_output.is_some_and(|directory| directory.dev() != found.dev()) {
        return Err(refuse(
            "this directory is on another file system than the output, which is renamed from it",
            "unmount it; `cache.path` and `report.dir` put the vector cache and the reports elsewhere",
        ));
    }
    rustix::fs::access(&path, Access::WRITE_OK | Access::EXEC_OK).map_err(|cause| {
        refuse(
            "the directory for lock and temporary files is not writable",
            "run as its owner, make it writable for this user, or name an output in another directory",
        )
        .caused_by(cause)
    })
}

/// Creates the directory if it does not exist. The directory of the output has to exist.
///
/// # Errors
/// `Target`, naming the directory.
pub fn create_work_directory(output: &OutputPlace) -> Result<()> {
    let path = output.work_directory();
    create_like_parent(&path).map(drop).map_err(|cause| {
        Error::new(
            ErrorKind::Target,
            "the directory for lock and temporary files cannot be created",
        )
        .in_file(path)
        .advice("check that the directory of the output is writable")
        .caused_by(cause)
    })
}

/// Removes the directory if it is empty.
pub fn remove_if_empty(output: &OutputPlace) {
    // It fails if the directory has a cache, reports or files of another output, which stay.
    let _ = fs::remove_dir(output.work_directory());
}

/// Creates a directory below an existing one and makes its entry durable. An existing directory is left as it is.
/// Returns whether it is new.
///
/// Those who may write beside it may write in it, so its mode is that of its parent. In a directory like `/tmp`,
/// where each user owns files of their own, the mode is that of the umask.
///
/// # Errors
/// The error of the operating system.
pub fn create_like_parent(directory: &Path) -> io::Result<bool> {
    if !files::create_directory(directory)? {
        return Ok(false);
    }
    let mode_of = |path: &Path| Ok::<u32, io::Error>(fs::metadata(path)?.mode() & MODE_BITS);
    let parent = mode_of(directory_of(directory))?;
    if parent & STICKY == 0 && mode_of(directory)? != parent {
        // Some file systems have no modes, and a run can go on without.
        let _ = fs::set_permissions(directory, Permissions::from_mode(parent));
    }
    Ok(true)
}

/// Whether the path leads into, or is, a directory for files that are not tables.
pub fn is_for_other_files(output: &Path) -> bool {
    let is_it = |path: &Path| path.file_name().is_some_and(|name| name == WORK_DIRECTORY);
    is_it(output) || output.parent().is_some_and(is_it)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn output() -> (tempfile::TempDir, OutputPlace) {
        let directory = tempfile::tempdir().expect("a directory");
        let output = OutputPlace::alone(directory.path().join("tasks.parquet"));
        (directory, output)
    }

    #[test]
    fn directory_has_the_mode_of_its_parent_except_below_a_shared_one() {
        let (directory, output) = output();
        for (parent, expected) in [(0o700, 0o700), (0o2775, 0o2775), (0o777, 0o777)] {
            fs::set_permissions(&directory, Permissions::from_mode(parent)).expect("a mode");
            create_work_directory(&output).expect("it is created");
            create_work_directory(&output).expect("it exists");
            let mode = fs::metadata(output.work_directory()).expect("a directory").mode();
            assert_eq!(mode & MODE_BITS, expected, "{parent:o}");
            remove_if_empty(&output);
            assert!(!output.work_directory().exists());
        }
        fs::set_permissions(&directory, Permissions::from_mode(0o1777)).expect("a mode");
        create_work_directory(&output).expect("it is created");
        let mode = fs::metadata(output.work_directory()).expect("a directory").mode();
        assert_eq!(mode & (STICKY | 0o002), 0, "{mode:o}");
    }

    #[test]
    fn directory_with_files_is_kept() {
        let (_directory, output) = output();
        create_work_directory(&output).expect("it is created");
        fs::write(output.work_directory().join("other.parquet.cache"), "x").expect("a file");
        remove_if_empty(&output);
        check_work_directory(&output).expect("it can be used");
        assert!(output.work_directory().exists());
    }

    #[test]
    fn link_and_file_in_its_place_are_refused() {
        let (directory, output) = output();
        check_work_directory(&output).expect("it can be created");
        for make in [
            |path: &Path| fs::write(path, "text"),
            |path: &Path| symlink("elsewhere", path),
            |path: &Path| symlink(".", path),
        ] {
            let path = output.work_directory();
            make(&path).expect("something in the way");
            let error = check_work_directory(&output).expect_err("it is no directory");
            assert_eq!((error.kind(), error.place().file()), (ErrorKind::Target, Some(&*path)));
            fs::remove_file(path).expect("it is removed");
        }
        assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 0);
    }

    #[test]
    fn directory_of_another_user_in_a_shared_one_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (directory, output) = output();
        create_work_directory(&output).expect("it is created");
        for (mode, owner, is_refused) in
            [(0o1777, 0, false), (0o1777, 1234, true), (0o777, 1234, false)]
        {
            fs::set_permissions(&directory, Permissions::from_mode(mode)).expect("a mode");
            std::os::unix::fs::chown(output.work_directory(), Some(owner), None).expect("an owner");
            let checked = check_work_directory(&output);
            assert_eq!(checked.is_err(), is_refused, "{mode:o}, {owner}: {checked:?}");
        }
    }

    #[test]
    fn output_is_not_put_among_other_files() {
        for (output, expected) in [
            ("_reembed", true),
            ("out/_reembed", true),
            ("out/_reembed/x.parquet", true),
            ("_reembed/x.parquet", true),
            ("out/x.parquet", false),
            ("_reembed/../x.parquet", false),
            ("x_reembed", false),
        ] {
            assert_eq!(is_for_other_files(Path::new(output)), expected, "{output}");
        }
    }
}
