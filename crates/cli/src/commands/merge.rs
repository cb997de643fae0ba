//! `reembed merge`: joins what the shards of a dataset have published.

use anyhow::Result;
use reembed::config::{Percent, RawConfig};
use reembed::dataset::{self, MergeOptions, MergeReport};
use reembed::figures::count;
use reembed::{Error, ErrorKind};

use crate::answer::MergeAnswer;
use crate::cli::MergeArgs;
use crate::exit::Exit;
use crate::print;
use crate::session::Session;
use crate::text::{printable_path, table};

/// `reembed merge`.
pub fn merge(args: &MergeArgs, session: &Session) -> Result<Exit> {
    session.answer.record(|record| record.paths.output = Some(args.output_path.clone()));
    let defaults = RawConfig::default();
    let guard = match args.allow_shrink {
        true => Percent::ALL,
        false => defaults.check_max_shrink()?,
    };
    let options = MergeOptions {
        success_file: args.success_file,
        delete_gone: args.delete_missing.then_some(guard),
        cache_size: defaults.check_cache()?.max_size,
    };
    let report = dataset::merge(&args.output_path, &session.run_id, options)?;
    session.answer.record(|record| record.merge = Some(MergeAnswer::new(&report)));
    if session.answer.is_text() {
        print::result(&report_text(&report, args))?;
    }
    match report.failed.first() {
        None => Ok(Exit::Done),
        Some(first) => {
            let message = format!(
                "{} tables could not be published, first {:?}: {}",
                report.failed.len(),
                first.path.display().to_string(),
                first.message
            );
            Err(Error::new(ErrorKind::Tables, message)
                .in_file(&args.output_path)
                .advice("mend them and run their shards again; the others are in place")
                .into())
        }
    }
}

fn report_text(report: &MergeReport, args: &MergeArgs) -> String {
    let mut lines = vec![
        (
            "shards",
            match report.shards {
                0 => "none to join: the manifest is whole".to_owned(),
                shards => format!("{shards} joined"),
            },
        ),
        ("tables", count(report.tables)),
        ("rows", count(report.rows)),
        ("cache", format!("{} vectors joined", count(report.cached))),
    ];
    if report.deleted > 0 {
        lines.push(("deleted", format!("{} outputs without an input", count(report.deleted))));
    }
    lines.push(("output", printable_path(&args.output_path)));
    table(&lines)
}
