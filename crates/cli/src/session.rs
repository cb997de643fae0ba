//! What holds for one call of the program: how it logs and answers, and its name in logs and reports.

use std::time::SystemTime;

use reembed_encoder::hash::{FramedHasher, hex};

use crate::answer::Answer;
use crate::cli::{Cli, Command, Logging, OutputFormat};
use crate::own_program::OwnProgram;

/// The options of a call and its answer.
pub struct Session {
    /// How this program is started again.
    pub own: OwnProgram,
    /// How it logs.
    pub logging: Logging,
    /// The name of the run in logs, reports and the answer.
    pub run_id: String,
    /// The answer in JSON, or none.
    pub answer: Answer,
}

impl Session {
    /// The session of a command line.
    pub fn new(cli: &Cli, own: OwnProgram) -> Session {
        let (command, format, given) = match &cli.command {
            Command::Run(args) => {
                let command = if args.dry_run { "dry-run" } else { "run" };
                // It prints the configuration, which is TOML.
                let format =
                    if args.print_config { OutputFormat::Text } else { args.format.output_format };
                (command, format, args.run_id.clone())
            }
            Command::Verify(args) => ("verify", args.format.output_format, None),
            Command::Status(args) => ("status", args.format.output_format, None),
            Command::Merge(args) => ("merge", args.format.output_format, None),
            Command::Bench(args) if args.memory_of.is_empty() => {
                ("bench", args.format.output_format, None)
            }
            _ => ("", OutputFormat::Text, None),
        };
        let run_id = given.unwrap_or_else(|| new_run_id(SystemTime::now(), std::process::id()));
        let answer = match format {
            OutputFormat::Text => Answer::in_text(),
            OutputFormat::Json => Answer::in_json(command, run_id.clone()),
        };
        Session { own, logging: cli.logging.clone(), run_id, answer }
    }
}

/// A name for a run that starts now in a process: its time to the second, and six digits that differ
/// between runs of one second.
pub fn new_run_id(now: SystemTime, pid: u32) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut hasher = FramedHasher::default();
    hasher.update(&since.as_nanos().to_string());
    hasher.update(&pid.to_string());
    let digest = hasher.finish();
    let time = chrono::DateTime::<chrono::Utc>::from(now).format("%Y%m%dT%H%M%SZ");
    format!("{time}-{:.6}", hex(&digest))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn run_ids_begin_with_the_time_and_differ_within_a_second() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_499_605);
        let one = new_run_id(now, 7);
        assert!(one.starts_with("20261124T055325Z-"), "{one}");
        assert_eq!(one.len(), "20261124T055325Z-".len() + 6);
        assert_ne!(one, new_run_id(now, 8));
        assert_ne!(one, new_run_id(now + Duration::from_nanos(1), 7));
    }
}
