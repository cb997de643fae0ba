//! Room on the disks, before the run finds out that there is none.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::names::folder_of;
use crate::error::{Error, ErrorKind, Result};

/// Bytes that an output may take: its vectors, which do not compress to speak of, and the carried columns, which
/// take about what they took in the input. The file that it replaces is there until the end.
pub fn estimate(rows: u64, dim: usize, input_bytes: u64) -> u64 {
    let vectors = rows.saturating_mul(dim as u64).saturating_mul(size_of::<f32>() as u64);
    vectors.saturating_add(input_bytes)
}

/// Refuses to begin where the disk of the target has less room than `output` bytes, or the disk of `store` less than
/// the `growth` of that file; where it is one disk, than both together.
///
/// # Errors
/// `Target`, with all figures.
pub fn check_space(target: &Path, output: u64, store: &Path, growth: u64) -> Result<()> {
    let free = free(target)?;
    if growth == 0 || is_one_disk(target, store) {
        return match has_room(free, output.saturating_add(growth)) {
            true => Ok(()),
            false => Err(no_room(target, output, growth, free)),
        };
    }
    if !has_room(free, output) {
        return Err(no_room(target, output, 0, free));
    }
    // Where its folder is not there, opening it says so.
    match free_of_folder(store) {
        Ok(free) if !has_room(free, growth) => Err(no_room_for_store(store, growth, free)),
        _ => Ok(()),
    }
}

/// `None` where the file system does not say: one without blocks of its own.
fn has_room(free: Option<u64>, needed: u64) -> bool {
    free.is_none_or(|free| free >= needed)
}

fn no_room(target: &Path, output: u64, growth: u64, free: Option<u64>) -> Error {
    let store = match growth {
        0 => String::new(),
        growth => format!(" and its vector store {} more", megabytes(growth)),
    };
    let free = megabytes(free.unwrap_or(0));
    let message = format!("it may take {}{store}, and its disk has {free} free", megabytes(output));
    Error::new(ErrorKind::Target, message).in_file(target).advice(
        "free some, name an output on another disk, or set `publish.check_space = false` if the \
         estimate is too high",
    )
}

fn no_room_for_store(store: &Path, growth: u64, free: Option<u64>) -> Error {
    let (growth, free) = (megabytes(growth), megabytes(free.unwrap_or(0)));
    let message = format!("the vector store may take {growth} more, and its disk has {free} free");
    Error::new(ErrorKind::Target, message).in_file(store).advice(
        "free some, name a store on another disk in `store.path`, set a smaller `store.max_size`, or set \
         `publish.check_space = false` if the estimate is too high",
    )
}

/// Whether two files are, or will be, on one disk. Where one of the folders cannot be looked at, they are not.
fn is_one_disk(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| fs::metadata(folder_there(path)).map(|folder| folder.dev()).ok();
    device(one).is_some_and(|one| device(other) == Some(one))
}

fn free(target: &Path) -> Result<Option<u64>> {
    free_of_folder(target).map_err(|cause| {
        Error::new(ErrorKind::Target, "the room on its disk cannot be read")
            .in_file(target)
            .advice("name an output on another disk, or set `publish.check_space = false`")
            .caused_by(cause)
    })
}

fn free_of_folder(file: &Path) -> rustix::io::Result<Option<u64>> {
    let disk = rustix::fs::statvfs(folder_there(file))?;
    Ok((disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize)))
}

/// The folder of a file. Before anything is made it may be missing, and its disk is that of the folder around it.
fn folder_there(file: &Path) -> &Path {
    let folder = folder_of(file);
    if folder.exists() { folder } else { folder_of(folder) }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXABYTE: u64 = 1 << 60;

    #[test]
    fn an_estimate_is_vectors_and_input_and_does_not_overflow() {
        assert_eq!(estimate(0, 384, 7), 7);
        assert_eq!(estimate(100_000, 384, 1_000_000), 154_600_000);
        assert_eq!(estimate(u64::MAX, 384, 1), u64::MAX);
    }

    #[test]
    fn a_disk_without_room_for_output_and_store_is_refused_with_all_figures() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, store) = (folder.path().join("out.parquet"), folder.path().join("store"));
        // A file system of its own.
        let elsewhere = Path::new("/proc/store");
        let nowhere = folder.path().join("missing/deeper/store");
        let new = folder.path().join("new/store");
        let free = free(&target).expect("room").expect("a figure");
        let most = free / 3 * 2;
        for (output, store, growth, expected) in [
            (1, &*store, 0, None),
            (1, &*store, 1, None),
            (EXABYTE, &*store, 0, Some("it may take 1152921504606.8 MB, and its disk has ")),
            (
                1,
                &*store,
                EXABYTE,
                Some("it may take 0.0 MB and its vector store 1152921504606.8 MB more"),
            ),
            // Each would fit by itself.
            (most, &*store, most, Some(" more, and its disk has ")),
            (most, &*new, most, Some(" more, and its disk has ")),
            (most, &*nowhere, most, None),
            (EXABYTE, elsewhere, 1, Some("it may take 1152921504606.8 MB, and its disk has ")),
        ] {
            let told = check_space(&target, output, store, growth).map_err(|error| {
                assert_eq!(error.kind(), ErrorKind::Target);
                assert_eq!(error.place().file(), Some(&*target));
                error.to_string()
            });
            match expected {
                None => assert_eq!(told, Ok(()), "{output} and {growth}"),
                Some(said) => {
                    let told = told.expect_err("no room");
                    assert!(told.contains(said), "{told}");
                }
            }
        }
    }

    #[test]
    fn a_store_on_another_disk_needs_its_room_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("out.parquet");
        // A disk in memory, where there is one.
        let shared = Path::new("/dev/shm");
        if !shared.is_dir() || is_one_disk(&target, &shared.join("store")) {
            return;
        }
        let store = shared.join("store");
        check_space(&target, 1, &store, 1).expect("a byte");
        let error = check_space(&target, 1, &store, EXABYTE).expect_err("an exabyte");
        assert_eq!((error.kind(), error.place().file()), (ErrorKind::Target, Some(&*store)));
        let said = error.to_string();
        assert!(
            said.contains("the vector store may take 1152921504606.8 MB more, and its disk"),
            "{said}"
        );
        assert!(error.what_to_do().is_some_and(|advice| advice.contains("store.path")));
    }
}
