//! What tells whether a file has changed since it was seen, without opening it.

use serde::{Deserialize, Serialize};

use crate::file_id::FileId;

/// Size, modification time and inode of a file. The device is left out: it may have another number after the
/// next mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970 with nine decimals. Text, since a JSON number does not hold as many digits.
    pub modified: String,
    /// The inode.
    pub inode: u64,
}

impl From<&FileId> for Stamp {
    fn from(id: &FileId) -> Stamp {
        let (seconds, nanoseconds) = id.modified();
        Stamp {
            size: id.size(),
            modified: format!("{seconds}.{nanoseconds:09}"),
            inode: id.inode(),
        }
    }
}
