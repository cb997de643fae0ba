//! The exit codes of the program.

use std::process::ExitCode;

use reembed::{Error, ErrorKind, StopReason};

/// Every exit code. Scripts and schedulers may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: success; for `run`, the output is in place.
    Done,
    /// 1: failure; for `run`, the output path is unchanged unless the error says that the new file is in place (only
    /// the fsync of the directory failed); for `verify`, a check failed.
    Failed,
    /// 2: refused before any work: usage, configuration, or an unusable input, schema, output path or model.
    Refused,
    /// 3: refused because the existing vectors come from another model.
    OtherModel,
    /// 75: another run holds the lock of this output, or has the vector cache open; retry later (`EX_TEMPFAIL` of sysexits.h).
    Busy,
    /// 124: deadline exceeded (`run.deadline`), the code of `timeout`; finished vectors stay in the vector cache.
    Deadline,
    /// 130: SIGINT (Ctrl-C); finished vectors stay in the vector cache.
    Interrupted,
    /// 143: SIGTERM, or SIGHUP when its terminal closes; finished vectors stay in the vector cache.
    Terminated,
}

impl Exit {
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

    /// The exit with this code.
    pub fn from_code(code: i32) -> Option<Exit> {
        Exit::ALL.into_iter().find(|exit| i32::from(exit.code()) == code)
    }

    /// The exit code.
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

    /// Why the run stopped, if this is the exit of a stopped run.
    pub fn stop_reason(self) -> Option<StopReason> {
        match self {
            Exit::Interrupted => Some(StopReason::Interrupted),
            Exit::Terminated => Some(StopReason::Terminated),
            Exit::Deadline => Some(StopReason::Deadline),
            _ => None,
        }
    }
}

impl From<StopReason> for Exit {
    fn from(reason: StopReason) -> Exit {
        match reason {
            StopReason::Deadline => Exit::Deadline,
            StopReason::Interrupted => Exit::Interrupted,
            StopReason::Terminated => Exit::Terminated,
        }
    }
}

impl From<&anyhow::Error> for Exit {
    fn from(error: &anyhow::Error) -> Exit {
        match error.downcast_ref::<Error>().map(Error::kind) {
            Some(ErrorKind::Config | ErrorKind::Input | ErrorKind::Target | ErrorKind::Model) => {
                Exit::Refused
            }
            Some(ErrorKind::OtherModel) => Exit::OtherModel,
            Some(ErrorKind::Stopped(reason)) => Exit::from(reason),
            Some(ErrorKind::Locked | ErrorKind::CacheBusy) => Exit::Busy,
            _ => Exit::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_stop_reasons_convert_both_ways() {
        for exit in Exit::ALL {
            assert_eq!(Exit::from_code(exit.code().into()), Some(exit));
            assert!(exit.stop_reason().is_none_or(|reason| Exit::from(reason) == exit));
        }
        assert_eq!(Exit::from_code(4), None);
        assert_eq!(Exit::ALL.into_iter().filter_map(Exit::stop_reason).count(), 3);
    }

    #[test]
    fn error_kind_decides_the_exit() {
        for (kind, exit) in [
            (ErrorKind::Config, Exit::Refused),
            (ErrorKind::OtherModel, Exit::OtherModel),
            (ErrorKind::Locked, Exit::Busy),
            (ErrorKind::CacheBusy, Exit::Busy),
            (ErrorKind::Stopped(StopReason::Deadline), Exit::Deadline),
            (ErrorKind::Model, Exit::Refused),
            (ErrorKind::Fetch, Exit::Failed),
            (ErrorKind::Data, Exit::Failed),
        ] {
            assert_eq!(Exit::from(&Error::new(kind, "message").into()), exit, "{kind:?}");
        }
        assert_eq!(Exit::from(&anyhow::anyhow!("other")), Exit::Failed);
    }
}
