//! What the failure of a table means for the others and for the run: pure policies.

use std::error::Error as _;
use std::io;

use reembed_encoder::error::{Error, ErrorKind};

/// A table that could not be published.
#[derive(Debug)]
pub struct FailedTable {
    /// Its path below the root, for people.
    pub table: String,
    /// Why.
    pub error: Error,
}

/// Whether no other table can be published after this error.
pub fn ends_the_run(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Stopped(_)
        | ErrorKind::Cache
        | ErrorKind::CacheBusy
        | ErrorKind::Model
        | ErrorKind::Fetch
        | ErrorKind::Internal => true,
        ErrorKind::Output => is_full_or_read_only(error),
        ErrorKind::Config
        | ErrorKind::Input
        | ErrorKind::Target
        | ErrorKind::Locked
        | ErrorKind::Data
        | ErrorKind::OutOfMemory
        | ErrorKind::OtherModel
        | ErrorKind::Encode
        | ErrorKind::Tables => false,
    }
}

/// Whether the disk is the cause, which all tables share.
fn is_full_or_read_only(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        let kind = inner.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(
            kind,
            Some(
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::ReadOnlyFilesystem
            )
        ) {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// The kind of error of a run in which tables failed. `published` says whether any table is in place: if none
/// is, and all were refused before work for the same reason, the run was refused.
pub fn kind_of_run(failed: &[ErrorKind], published: bool) -> ErrorKind {
    let refusals = [ErrorKind::Config, ErrorKind::Input, ErrorKind::Target];
    let all = |kinds: &[ErrorKind]| failed.iter().all(|kind| kinds.contains(kind));
    match failed.first() {
        Some(first) if !published && all(&refusals) => *first,
        Some(_) if !published && all(&[ErrorKind::OtherModel]) => ErrorKind::OtherModel,
        Some(_) if !published && all(&[ErrorKind::Locked]) => ErrorKind::Locked,
        _ => ErrorKind::Tables,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_table_fails_alone_and_a_full_disk_ends_the_run() {
        let output = |kind: io::ErrorKind| {
            Error::new(ErrorKind::Output, "it cannot be written").caused_by(io::Error::from(kind))
        };
        for (error, expected) in [
            (Error::new(ErrorKind::Input, "x"), false),
            (Error::new(ErrorKind::Data, "x"), false),
            (Error::new(ErrorKind::OutOfMemory, "x"), false),
            (Error::new(ErrorKind::Locked, "x"), false),
            (Error::new(ErrorKind::Cache, "x"), true),
            (Error::new(ErrorKind::Model, "x"), true),
            (output(io::ErrorKind::StorageFull), true),
            (output(io::ErrorKind::ReadOnlyFilesystem), true),
            (output(io::ErrorKind::NotFound), false),
            (Error::new(ErrorKind::Output, "x"), false),
        ] {
            assert_eq!(ends_the_run(&error), expected, "{error:?}");
        }
    }

    #[test]
    fn a_run_that_was_refused_as_a_whole_says_so() {
        use ErrorKind::{Config, Data, Input, OtherModel, Tables, Target};
        for (failed, published, expected) in [
            (&[Input, Input][..], false, Input),
            (&[Input, Target], false, Input),
            (&[Config], false, Config),
            (&[Input], true, Tables),
            (&[Input, Data], false, Tables),
            (&[OtherModel, OtherModel], false, OtherModel),
            (&[OtherModel, Input], false, Tables),
            (&[Data], false, Tables),
        ] {
            assert_eq!(kind_of_run(failed, published), expected, "{failed:?}");
        }
    }
}
