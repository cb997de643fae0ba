//! The output path: whether it may be used, who writes to it, and how a new file replaces the old.
//!
//! ```text
//!   output_path  may the path be used            cache_path  is `cache.path` another file
//!   existing     what is there, may it go        shrink      how many rows it may lose
//!   lock_file    one writer per output           old_lock    the lock of version 0.1
//!   output_lock  all checks, under the lock      sweep       temporary files of dead runs
//!   replace      fsync, rename, fsync            readback    does the new file hold what was written
//!   space        free space of the disks         work_directory  `_reembed` beside the output
//! ```
//!
//! [`check_output`] only reads. [`OutputLock::acquire`] creates the directories, takes the lock, deletes
//! temporary files of dead runs and checks the output once more, since no other run can change it
//! any more. docs/decisions/0014-publishing.md lists the steps of publishing.

mod cache_path;
mod existing;
mod lock_file;
mod old_lock;
mod output_lock;
mod output_path;
pub mod readback;
mod replace;
mod shrink;
mod space;
mod sweep;
mod work_directory;

pub(crate) use cache_path::resolve;
pub use existing::{ExistingFile, ExistingTarget, Ownership};
pub(crate) use lock_file::LockFile;
pub use output_lock::{LockHolder, OutputLock, SupervisorLock, check_output};
pub(crate) use output_path::check_directory;
pub use output_path::may_write_report;
pub use replace::{
    create_temporary, create_temporary_beside, has_same_bytes, replace, sync_existing, write_error,
};
pub use space::{check_space, estimate_output_bytes};
pub(crate) use sweep::{delete_temporaries, delete_temporaries_beside, delete_temporaries_of_lock};
pub use work_directory::{check_work_directory, create_like_parent, is_for_other_files};
