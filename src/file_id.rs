//! The identity of a file: it tells whether a path still leads to the same, unchanged file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Device, inode, size and modification time of a file.
///
/// Two equal values mean the same file with the same content, unless a program set the time back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> FileId {
        FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl FileId {
    /// The size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The inode.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Seconds and nanoseconds of the modification time, since 1970.
    pub fn modified(&self) -> (i64, i64) {
        self.modified
    }

    /// Whether both are the same file (device and inode), whatever its content.
    pub fn is_same_file(&self, other: &FileId) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// How `now` differs from this earlier identity, as a clause about the file; `None` if equal.
    pub fn describe_change(&self, now: &FileId) -> Option<String> {
        if self == now {
            None
        } else if !self.is_same_file(now) {
            Some("it was replaced by another file".to_owned())
        } else if self.size != now.size {
            Some(format!("its size changed from {} to {} bytes", self.size, now.size))
        } else {
            Some("its modification time changed".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_difference_of_file_size_and_time_is_reported() {
        let before = FileId { device: 1, inode: 2, size: 3, modified: (4, 5) };
        let replaced = Some("it was replaced by another file");
        for (now, expected) in [
            (before, None),
            (FileId { inode: 9, ..before }, replaced),
            (FileId { device: 9, size: 9, ..before }, replaced),
            (
                FileId { size: 9, modified: (9, 9), ..before },
                Some("its size changed from 3 to 9 bytes"),
            ),
            (FileId { modified: (4, 6), ..before }, Some("its modification time changed")),
        ] {
            assert_eq!(before.describe_change(&now).as_deref(), expected, "{now:?}");
        }
    }
}
