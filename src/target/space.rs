//! Room on the disk, before the run finds out that there is none.

use std::path::Path;

use super::names::folder_of;
use crate::error::{Error, ErrorKind, Result};

/// Bytes that an output may take: its vectors, which do not compress to speak of, and the carried columns, which
/// take about what they took in the input. The file that it replaces is there until the end.
pub fn estimate(rows: u64, dim: usize, input_bytes: u64) -> u64 {
    let vectors = rows.saturating_mul(dim as u64).saturating_mul(size_of::<f32>() as u64);
    vectors.saturating_add(input_bytes)
}

/// Refuses to begin where the target's disk has less room than that.
///
/// # Errors
/// `Target`, with both figures.
pub fn check_space(target: &Path, estimate: u64) -> Result<()> {
    let folder = folder_of(target);
    // Before anything is made, the last folder may be missing.
    let folder = if folder.exists() { folder } else { folder_of(folder) };
    let disk = rustix::fs::statvfs(folder).map_err(|cause| {
        Error::new(ErrorKind::Target, "the room on its disk cannot be read")
            .in_file(target)
            .advice("name an output on another disk, or set `publish.check_space = false`")
            .caused_by(cause)
    })?;
    // A file system without blocks of its own does not say.
    let says = disk.f_blocks > 0;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if !says || free >= estimate {
        return Ok(());
    }
    let message =
        format!("it may take {}, and its disk has {} free", megabytes(estimate), megabytes(free));
    Err(Error::new(ErrorKind::Target, message).in_file(target).advice(
        "free some, name an output on another disk, or set `publish.check_space = false` if the \
         estimate is too high",
    ))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_vectors_and_input_and_does_not_overflow() {
        assert_eq!(estimate(0, 384, 7), 7);
        assert_eq!(estimate(100_000, 384, 1_000_000), 154_600_000);
        assert_eq!(estimate(u64::MAX, 384, 1), u64::MAX);
    }

    #[test]
    fn a_disk_without_that_much_room_is_refused_with_both_figures() {
        let folder = tempfile::tempdir().expect("a folder");
        for target in ["out.parquet", "new/out.parquet"] {
            let target = folder.path().join(target);
            check_space(&target, 1).expect("a byte");
            let error = check_space(&target, 1 << 60).expect_err("an exabyte");
            assert_eq!(error.kind(), ErrorKind::Target);
            let said = error.to_string();
            assert!(said.contains("it may take 1152921504606.8 MB, and its disk has "), "{said}");
        }
    }
}
