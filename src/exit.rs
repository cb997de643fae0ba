//! How the program ends.

use std::process::ExitCode;

use reembed::{Error, ErrorKind};

/// Every exit code of the program. Scripts and schedulers may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done; for `run`, the output is in place.
    Done,
    /// 1: failed; for `run`, the output path is as it was, for `verify`, the file is not what it says.
    Failed,
    /// 2: refused before any work: usage, configuration, or an input, schema or output path that cannot do.
    Refused,
    /// 3: refused because the vectors at hand come from another model.
    OtherModel,
    /// 75: another run holds this output; later it may do (`EX_TEMPFAIL` of sysexits.h).
    Busy,
}

impl Exit {
    /// The exit that an error leads to.
    pub fn of(error: &anyhow::Error) -> Exit {
        let kind = error.downcast_ref::<Error>().map(Error::kind);
        match kind {
            Some(ErrorKind::Config | ErrorKind::Input | ErrorKind::Target) => Exit::Refused,
            Some(ErrorKind::OtherModel) => Exit::OtherModel,
            Some(ErrorKind::Locked) => Exit::Busy,
            _ => Exit::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Refused => 2,
            Exit::OtherModel => 3,
            Exit::Busy => 75,
        })
    }
}
