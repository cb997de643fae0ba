//! How the program ends.

use std::process::ExitCode;

use reembed::{Error, ErrorKind, StopReason};

/// Every exit code of the program. Scripts and schedulers may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done; for `run`, the output is in place.
    Done,
    /// 1: failed; for `run`, the output path is as it was, unless the error says that the new file is in place (only
    /// the directory's fsync failed); for `verify`, the file is not what it says.
    Failed,
    /// 2: refused before any work: usage, configuration, or an input, schema or output path that cannot do.
    Refused,
    /// 3: refused because the vectors at hand come from another model.
    OtherModel,
    /// 75: another run holds this output; later it may do (`EX_TEMPFAIL` of sysexits.h).
    Busy,
    /// 124: `run.deadline` has passed, as `timeout` says it; what was finished is kept.
    Deadline,
    /// 130: SIGINT, Ctrl-C; what was finished is kept.
    Interrupted,
    /// 143: SIGTERM, or SIGHUP at the end of its terminal; what was finished is kept.
    Terminated,
}

/// The exit that an error leads to.
impl From<&anyhow::Error> for Exit {
    fn from(error: &anyhow::Error) -> Exit {
        match error.downcast_ref::<Error>().map(Error::kind) {
            Some(ErrorKind::Config | ErrorKind::Input | ErrorKind::Target) => Exit::Refused,
            Some(ErrorKind::OtherModel) => Exit::OtherModel,
            Some(ErrorKind::Stopped(reason)) => Exit::stopped(reason),
            Some(ErrorKind::Locked) => Exit::Busy,
            _ => Exit::Failed,
        }
    }
}

impl Exit {
    /// The exit of a run that was stopped.
    pub fn stopped(reason: StopReason) -> Exit {
        match reason {
            StopReason::Deadline => Exit::Deadline,
            StopReason::Interrupted => Exit::Interrupted,
            StopReason::Terminated => Exit::Terminated,
        }
    }

    /// Why a run was stopped that ended like this.
    pub fn stop_reason(self) -> Option<StopReason> {
        [StopReason::Interrupted, StopReason::Terminated, StopReason::Deadline]
            .into_iter()
            .find(|reason| Exit::stopped(*reason) == self)
    }

    /// The exit with that code.
    pub fn from_code(code: i32) -> Option<Exit> {
        Exit::ALL.into_iter().find(|exit| i32::from(exit.code()) == code)
    }

    /// Its code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Refused => 2,
            Exit::OtherModel => 3,
            Exit::Busy => 75,
            Exit::Deadline => 124,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
        }
    }

    const ALL: [Exit; 8] = [
        Exit::Done,
        Exit::Failed,
        Exit::Refused,
        Exit::OtherModel,
        Exit::Busy,
        Exit::Deadline,
        Exit::Interrupted,
        Exit::Terminated,
    ];
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
