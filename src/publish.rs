//! The output path before anything is written: whether it may be used, who holds it, and what is there.
//!
//! [`check`] and [`Previous`] only look. [`Claim::take`] makes the path ours: the directory is made, the lock taken,
//! what dead runs left is swept, and what is there is looked at once more, now that no other run can change it.

mod apart;
mod lock;
mod previous;
pub mod readback;
mod replace;
mod shrink;
mod space;
mod sweep;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::files;
use rustix::fs::Access;

use crate::config::Config;
use crate::file_id::FileId;
use crate::hidden_names::directory_of;
use crate::reader::Reader;
use apart::check_apart;
use lock::OutputLock;
pub use previous::{Kept, Previous, Standing};
pub use replace::{failed, keep_target, publish, same_bytes, temporary_beside};
pub use space::{check_space, estimate};

/// Who has the lock of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LockHolder {
    /// This process takes it.
    #[default]
    ThisProcess,
    /// The process that started this one, which goes on when this one dies; see [`Hold`].
    Parent,
}

/// An output path that this process holds. Dropped, it is free again.
pub struct Claim {
    path: PathBuf,
    lock: OutputLock,
    standing: Standing,
}

impl Claim {
    /// Takes hold of the configured output for a run over `input`.
    ///
    /// # Errors
    /// `Locked` when another run has it; `Target` when it cannot be used, or when what is there is not replaced.
    pub fn take(config: &Config, holder: LockHolder, input: &Reader) -> Result<Claim> {
        let path = config.output.path.clone();
        make_directory(&path)?;
        let lock = match holder {
            LockHolder::ThisProcess => OutputLock::take(&path)?,
            LockHolder::Parent => OutputLock::of_parent(&path)?,
        };
        sweep::sweep(&path)?;
        let standing = look(config, input)?;
        Ok(Claim { path, lock, standing })
    }

    /// The output path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was there when the path was taken.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether the path is still ours and what is there still what was there: to be asked before it is replaced.
    ///
    /// # Errors
    /// `Locked` or `Output`.
    pub fn check(&self) -> Result<()> {
        self.lock.check(&self.path)?;
        let now = match fs::symlink_metadata(&self.path) {
            Ok(found) => Some(FileId::of(&found)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => None,
            Err(cause) => return Err(refuse(&self.path, "it cannot be looked at").caused_by(cause)),
        };
        if now == self.standing.stamp() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Output, "somebody else changed this file during the run")
            .in_file(&self.path)
            .advice("find out who writes there; it was left as it is"))
    }
}

/// An output path that this process holds for another one, which it starts and which claims it under
/// [`LockHolder::Parent`]. Dropped, the path is free again, and what was left for nothing is gone: temporaries, and a
/// directory with nothing in it that was made for this run.
pub struct Hold {
    path: PathBuf,
    lock: Option<OutputLock>,
    made: Option<PathBuf>,
}

impl Hold {
    /// Takes hold of an output, and looks at nothing but the path.
    ///
    /// # Errors
    /// `Locked` when another run has it; `Target` when it cannot be used; `Config` when the cache would be there.
    pub fn take(config: &Config) -> Result<Hold> {
        let path = &config.output.path;
        check(path, &config.input.path)?;
        check_apart(config)?;
        let directory = directory_of(path);
        let made = (!directory.exists()).then(|| directory.to_owned());
        make_directory(path)?;
        Ok(Hold { path: path.clone(), lock: Some(OutputLock::take(path)?), made })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // What a killed process left; where it cannot be removed now, the next run does it.
        let _ = sweep::sweep(&self.path);
        // The lock is a file in the directory.
        drop(self.lock.take());
        if let Some(made) = &self.made {
            // It is not empty when there is an output, or a cache to go on from.
            let _ = fs::remove_dir(made);
        }
    }
}

/// Looks at the configured output before anything is loaded, and makes nothing.
///
/// # Errors
/// `Target` when it cannot be used, or when what is there is not replaced by the output of `input`; `Config` when the
/// cache would be there.
pub fn look(config: &Config, input: &Reader) -> Result<Standing> {
    check(&config.output.path, &config.input.path)?;
    check_apart(config)?;
    let standing = Standing::of(&config.output.path)?;
    standing
        .previous()
        .check(input.rows(), config.publish.max_shrink, config.run.replace)
        .map_err(|error| error.in_file(&config.output.path))?;
    Ok(standing)
}

/// Looks at the path alone: it must be, or become, a regular file in a directory that can be written to, and not be
/// the input. Of the directory, only the last part may be missing.
///
/// # Errors
/// `Target`, naming the path.
pub fn check(target: &Path, input: &Path) -> Result<()> {
    let refuse = |message: &str| refuse(target, message);
    if target.file_name().is_none() {
        return Err(refuse("the output is not the name of a file"));
    }
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_symlink() => {
            return Err(refuse("the output is a symbolic link; what it points to is not replaced"));
        }
        Ok(found) if found.is_dir() => return Err(refuse("the output is a directory")),
        Ok(found) if !found.is_file() => return Err(refuse("the output is not a regular file")),
        Ok(found)
            if fs::metadata(input)
                .is_ok_and(|input| FileId::of(&input).is_same_file(&FileId::of(&found))) =>
        {
            return Err(refuse("the output is the input"));
        }
        Ok(_) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(refuse("the output cannot be looked at").caused_by(cause)),
    }
    let directory = directory_of(target);
    let to_write_to = match fs::metadata(directory) {
        Ok(found) if found.is_dir() => directory,
        Ok(_) => return Err(refuse("its directory is not a directory")),
        Err(cause)
            if cause.kind() == io::ErrorKind::NotFound && directory_of(directory).is_dir() =>
        {
            directory_of(directory)
        }
        Err(cause) => {
            let message = "its directory is not there and cannot be made";
            return Err(refuse(message).caused_by(cause));
        }
    };
    rustix::fs::access(to_write_to, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|cause| refuse("its directory cannot be written to").caused_by(cause))
}

/// Makes the target's directory if it is not there.
///
/// # Errors
/// `Target`, naming the path.
pub fn make_directory(target: &Path) -> Result<()> {
    files::create_directory(directory_of(target)).map_err(|cause| {
        refuse(target, "its directory is not there and cannot be made").caused_by(cause)
    })
}

fn refuse(target: &Path, message: &str) -> Error {
    Error::new(ErrorKind::Target, message)
        .in_file(target)
        .advice("name another file with --output or `output.path`")
}
