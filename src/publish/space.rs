//! Checks the free space of the disks before a run starts.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::figures::bytes;
use crate::hidden_names::directory_of;

/// The size in bytes that an output may have: its vectors of `vector_bytes` each, which hardly
/// compress, and the carried columns, which take about as much as in the input. The existing file stays until the end.
pub fn estimate_output_bytes(rows: u64, vector_bytes: u64, input_bytes: u64) -> u64 {
    rows.saturating_mul(vector_bytes).saturating_add(input_bytes)
}

/// Checks that the disk of `target` has `output` bytes free and the disk of `cache` has `growth`
/// bytes free, or the sum of both if it is the same disk.
///
/// # Errors
/// `Target`, with the needed and the free bytes.
pub fn check_space(target: &Path, output: u64, cache: &Path, growth: u64) -> Result<()> {
    let free = output_free_space(target)?;
    if growth == 0 || is_same_disk(target, cache) {
        return match has_space(free, output.saturating_add(growth)) {
            true => Ok(()),
            false => Err(no_space_for_output(target, output, growth, free)),
        };
    }
    if !has_space(free, output) {
        return Err(no_space_for_output(target, output, 0, free));
    }
    // A directory that cannot be read is reported when the cache is opened.
    match free_space(cache) {
        Ok(free) if !has_space(free, growth) => Err(no_space_for_cache(cache, growth, free)),
        _ => Ok(()),
    }
}

/// `free` is `None` for a file system that reports no blocks.
fn has_space(free: Option<u64>, needed: u64) -> bool {
    free.is_none_or(|free| free >= needed)
}

fn no_space_for_output(target: &Path, output: u64, growth: u64, free: Option<u64>) -> Error {
    let cache = match growth {
        0 => String::new(),
        growth => format!(" and its vector cache {} more", bytes(growth)),
    };
    let (output, free) = (bytes(output), bytes(free.unwrap_or(0)));
    let message = format!("the output may take {output}{cache}, but its disk has {free} free");
    Error::new(ErrorKind::Target, message).in_file(target).advice(
        "free some space, name an output on another disk, or set `publish.check_space = false` if \
         the estimate is too high",
    )
}

fn no_space_for_cache(cache: &Path, growth: u64, free: Option<u64>) -> Error {
    let (growth, free) = (bytes(growth), bytes(free.unwrap_or(0)));
    let message = format!("the vector cache may take {growth} more, but its disk has {free} free");
    Error::new(ErrorKind::Target, message).in_file(cache).advice(
        "free some space, set `cache.path` to a file on another disk, lower `cache.max_size`, or \
         set `publish.check_space = false` if the estimate is too high",
    )
}

/// Whether two files are, or will be, on the same disk. It is false if a directory is unreadable.
fn is_same_disk(one: &Path, other: &Path) -> bool {
    let device =
        |path: &Path| fs::metadata(existing_directory(path)).map(|directory| directory.dev()).ok();
    device(one).is_some_and(|one| device(other) == Some(one))
}

fn output_free_space(target: &Path) -> Result<Option<u64>> {
    free_space(target).map_err(|cause| {
        Error::new(ErrorKind::Target, "the free space of its disk cannot be read")
            .in_file(target)
            .advice("name an output on another disk, or set `publish.check_space = false`")
            .caused_by(cause)
    })
}

/// Free bytes of the disk of a file; `None` for a file system that reports no blocks.
fn free_space(file: &Path) -> rustix::io::Result<Option<u64>> {
    let disk = rustix::fs::statvfs(existing_directory(file))?;
    Ok((disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize)))
}

/// The directory of a file, or the nearest one above it that exists already.
fn existing_directory(file: &Path) -> &Path {
    let mut directory = directory_of(file);
    while !directory.exists() && directory_of(directory) != directory {
        directory = directory_of(directory);
    }
    directory
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXABYTE: u64 = 1 << 60;

    #[test]
    fn estimate_is_vectors_plus_input_without_overflow() {
        assert_eq!(estimate_output_bytes(0, 1536, 7), 7);
        assert_eq!(estimate_output_bytes(100_000, 1536, 1_000_000), 154_600_000);
        assert_eq!(estimate_output_bytes(u64::MAX, 1536, 1), u64::MAX);
    }

    #[test]
    fn disk_without_space_for_output_and_cache_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let (target, cache) =
            (directory.path().join("out.parquet"), directory.path().join("cache"));
        // Another file system.
        let elsewhere = Path::new("/proc/cache");
        let nowhere = directory.path().join("missing/deeper/cache");
        let new = directory.path().join("new/cache");
        let free = output_free_space(&target).expect("readable").expect("a number");
        let most = free / 3 * 2;
        for (output, cache, growth, expected) in [
            (1, &*cache, 0, None),
            (1, &*cache, 1, None),
            (EXABYTE, &*cache, 0, Some("the output may take 1152921.5 TB, but its disk has ")),
            (
                1,
                &*cache,
                EXABYTE,
                Some("the output may take 1 bytes and its vector cache 1152921.5 TB more"),
            ),
            // Each would fit by itself.
            (most, &*cache, most, Some(" more, but its disk has ")),
            (most, &*new, most, Some(" more, but its disk has ")),
            (most, &*nowhere, most, Some(" more, but its disk has ")),
            (EXABYTE, elsewhere, 1, Some("the output may take 1152921.5 TB, but its disk has ")),
        ] {
            let told = check_space(&target, output, cache, growth).map_err(|error| {
                assert_eq!(error.kind(), ErrorKind::Target);
                assert_eq!(error.place().file(), Some(&*target));
                error.to_string()
            });
            match expected {
                None => assert_eq!(told, Ok(()), "{output} and {growth}"),
                Some(said) => {
                    let told = told.expect_err("no space");
                    assert!(told.contains(said), "{told}");
                }
            }
        }
    }

    #[test]
    fn cache_on_another_disk_needs_space_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let target = directory.path().join("out.parquet");
        // A file system in memory, where there is one.
        let shared = Path::new("/dev/shm");
        if !shared.is_dir() || is_same_disk(&target, &shared.join("cache")) {
            return;
        }
        let cache = shared.join("cache");
        check_space(&target, 1, &cache, 1).expect("a byte");
        let error = check_space(&target, 1, &cache, EXABYTE).expect_err("an exabyte");
        assert_eq!((error.kind(), error.place().file()), (ErrorKind::Target, Some(&*cache)));
        let said = error.to_string();
        assert!(
            said.contains("the vector cache may take 1152921.5 TB more, but its disk"),
            "{said}"
        );
        assert!(error.advice_text().is_some_and(|advice| advice.contains("cache.path")));
    }
}
