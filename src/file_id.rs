//! What a file looks like from outside, to tell whether it is still the same one.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Identity, size and time of a file. Equal ones: the same file, and nobody wrote to it by ordinary means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
}

impl FileId {
    /// The stamp of what was looked at.
    pub fn of(found: &Metadata) -> FileId {
        FileId {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        }
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether both are one file, whatever is in it.
    pub fn is_same_file(&self, other: &FileId) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// How `now` differs from this earlier stamp, as a phrase about the file.
    pub fn change(&self, now: &FileId) -> Option<String> {
        if self == now {
            None
        } else if !self.is_same_file(now) {
            Some("another file stands in its place".to_owned())
        } else if self.bytes != now.bytes {
            Some(format!("it had {} bytes and has {}", self.bytes, now.bytes))
        } else {
            Some("it was written to".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_by_the_first_of_file_size_and_time_that_differs() {
        let before = FileId { device: 1, inode: 2, bytes: 3, modified: (4, 5) };
        for (now, expected) in [
            (before, None),
            (FileId { inode: 9, ..before }, Some("another file stands in its place")),
            (FileId { device: 9, bytes: 9, ..before }, Some("another file stands in its place")),
            (FileId { bytes: 9, modified: (9, 9), ..before }, Some("it had 3 bytes and has 9")),
            (FileId { modified: (4, 6), ..before }, Some("it was written to")),
        ] {
            assert_eq!(before.change(&now).as_deref(), expected, "{now:?}");
        }
    }
}
