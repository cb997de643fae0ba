//! `reembed merge`: joins what the shards of a dataset have published.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use reembed::config::{Origin, RawConfig};
use reembed::dataset::{self, MergeOptions, MergeReport};
use reembed::figures::count;
use reembed::{Error, ErrorKind, Event};

use super::config::load_file;
use crate::answer::MergeAnswer;
use crate::cli::MergeArgs;
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;
use crate::session::Session;
use crate::text::{printable_path, table};

/// `reembed merge`.
pub fn merge(args: &MergeArgs, session: &Session) -> Result<Exit> {
    let raw = load_file(&args.file, |raw| apply_flags(args, raw))?.raw;
    let output = raw.output_path()?;
    session.answer.record(|record| record.paths.output = Some(output.clone()));
    let options = MergeOptions {
        success_file: args.success_file,
        delete_gone: args.delete_missing.then_some(raw.check_max_shrink()?),
        cache_size: raw.check_cache()?.max_size,
    };
    let progress = Progress::new(&session.logging);
    let warnings = Mutex::new(Vec::new());
    let report = dataset::merge(&output, &session.run_id, options, &|event| {
        if let Event::Warning(warning) = &event {
            warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning.to_string());
        }
        progress.event(event);
    });
    progress.finish();
    let report = report?;
    session.answer.record(|record| {
        record.merge = Some(MergeAnswer::new(&report));
        record.warnings = warnings.into_inner().unwrap_or_else(PoisonError::into_inner);
    });
    if session.answer.is_text() {
        print::result(&report_text(&report, &output))?;
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
                .in_file(&output)
                .advice("mend them and run their shards again; the others are in place")
                .into())
        }
    }
}

/// Sets the keys of the flags.
fn apply_flags(args: &MergeArgs, raw: &mut RawConfig) -> reembed::Result<()> {
    if let Some(output) = &args.output_path {
        raw.set_path("output.path", output, Origin::Flag("OUT"))?;
    }
    match args.allow_shrink {
        true => raw.set("publish.max_shrink", "100", Origin::Flag("--allow-shrink")),
        false => Ok(()),
    }
}

fn report_text(report: &MergeReport, output: &Path) -> String {
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
    lines.push(("output", printable_path(output)));
    table(&lines)
}
