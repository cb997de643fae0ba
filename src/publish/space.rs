//! Room on the disks, before the run finds out that there is none.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::hidden_names::directory_of;

/// Bytes that an output may take: its vectors, which do not compress to speak of, and the carried columns, which
/// take about what they took in the input. The file that it replaces is there until the end.
pub fn estimate(rows: u64, dim: usize, input_bytes: u64) -> u64 {
    let vectors = rows.saturating_mul(dim as u64).saturating_mul(size_of::<f32>() as u64);
    vectors.saturating_add(input_bytes)
}

/// Refuses to begin where the disk of the target has less room than `output` bytes, or the disk of `cache` less than
/// the `growth` of that file; where it is one disk, than both together.
///
/// # Errors
/// `Target`, with all figures.
pub fn check_space(target: &Path, output: u64, cache: &Path, growth: u64) -> Result<()> {
    let free = free(target)?;
    if growth == 0 || is_one_disk(target, cache) {
        return match has_room(free, output.saturating_add(growth)) {
            true => Ok(()),
            false => Err(no_room(target, output, growth, free)),
        };
    }
    if !has_room(free, output) {
        return Err(no_room(target, output, 0, free));
    }
    // Where its directory is not there, opening it says so.
    match free_of_directory(cache) {
        Ok(free) if !has_room(free, growth) => Err(no_room_for_cache(cache, growth, free)),
        _ => Ok(()),
    }
}

/// `None` where the file system does not say: one without blocks of its own.
fn has_room(free: Option<u64>, needed: u64) -> bool {
    free.is_none_or(|free| free >= needed)
}

fn no_room(target: &Path, output: u64, growth: u64, free: Option<u64>) -> Error {
    let cache = match growth {
        0 => String::new(),
        growth => format!(" and its vector cache {} more", megabytes(growth)),
    };
    let free = megabytes(free.unwrap_or(0));
    let message = format!("it may take {}{cache}, and its disk has {free} free", megabytes(output));
    Error::new(ErrorKind::Target, message).in_file(target).advice(
        "free some, name an output on another disk, or set `publish.check_space = false` if the \
         estimate is too high",
    )
}

fn no_room_for_cache(cache: &Path, growth: u64, free: Option<u64>) -> Error {
    let (growth, free) = (megabytes(growth), megabytes(free.unwrap_or(0)));
    let message = format!("the vector cache may take {growth} more, and its disk has {free} free");
    Error::new(ErrorKind::Target, message).in_file(cache).advice(
        "free some, name a cache on another disk in `cache.path`, set a smaller `cache.max_size`, or set \
         `publish.check_space = false` if the estimate is too high",
    )
}

/// Whether two files are, or will be, on one disk. Where one of the directories cannot be looked at, they are not.
fn is_one_disk(one: &Path, other: &Path) -> bool {
    let device =
        |path: &Path| fs::metadata(directory_there(path)).map(|directory| directory.dev()).ok();
    device(one).is_some_and(|one| device(other) == Some(one))
}

fn free(target: &Path) -> Result<Option<u64>> {
    free_of_directory(target).map_err(|cause| {
        Error::new(ErrorKind::Target, "the room on its disk cannot be read")
            .in_file(target)
            .advice("name an output on another disk, or set `publish.check_space = false`")
            .caused_by(cause)
    })
}

fn free_of_directory(file: &Path) -> rustix::io::Result<Option<u64>> {
    let disk = rustix::fs::statvfs(directory_there(file))?;
    Ok((disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize)))
}

/// The directory of a file. Before anything is made it may be missing, and its disk is that of the directory around it.
fn directory_there(file: &Path) -> &Path {
    let directory = directory_of(file);
    if directory.exists() { directory } else { directory_of(directory) }
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
    fn a_disk_without_room_for_output_and_cache_is_refused_with_all_figures() {
        let directory = tempfile::tempdir().expect("a directory");
        let (target, cache) =
            (directory.path().join("out.parquet"), directory.path().join("cache"));
        // A file system of its own.
        let elsewhere = Path::new("/proc/cache");
        let nowhere = directory.path().join("missing/deeper/cache");
        let new = directory.path().join("new/cache");
        let free = free(&target).expect("room").expect("a figure");
        let most = free / 3 * 2;
        for (output, cache, growth, expected) in [
            (1, &*cache, 0, None),
            (1, &*cache, 1, None),
            (EXABYTE, &*cache, 0, Some("it may take 1152921504606.8 MB, and its disk has ")),
            (
                1,
                &*cache,
                EXABYTE,
                Some("it may take 0.0 MB and its vector cache 1152921504606.8 MB more"),
            ),
            // Each would fit by itself.
            (most, &*cache, most, Some(" more, and its disk has ")),
            (most, &*new, most, Some(" more, and its disk has ")),
            (most, &*nowhere, most, None),
            (EXABYTE, elsewhere, 1, Some("it may take 1152921504606.8 MB, and its disk has ")),
        ] {
            let told = check_space(&target, output, cache, growth).map_err(|error| {
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
    fn a_cache_on_another_disk_needs_its_room_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("out.parquet");
        // A disk in memory, where there is one.
        let shared = Path::new("/dev/shm");
        if !shared.is_dir() || is_one_disk(&target, &shared.join("cache")) {
            return;
        }
        let cache = shared.join("cache");
        check_space(&target, 1, &cache, 1).expect("a byte");
        let error = check_space(&target, 1, &cache, EXABYTE).expect_err("an exabyte");
        assert_eq!((error.kind(), error.place().file()), (ErrorKind::Target, Some(&*cache)));
        let said = error.to_string();
        assert!(
            said.contains("the vector cache may take 1152921504606.8 MB more, and its disk"),
            "{said}"
        );
        assert!(error.advice_text().is_some_and(|advice| advice.contains("cache.path")));
    }
}
