//! `reembed status`: what is in place of a dataset, and what the next run would do.

use std::path::{Path, PathBuf};

use anyhow::Result;
use reembed::config::{Origin, RawConfig};
use reembed::dataset::{self, Dataset, Job, Manifest, Places, Status};
use reembed::figures::count;
use reembed::{Config, Error, ErrorKind};

use super::config::{environment, load_file};
use crate::answer::StatusAnswer;
use crate::cli::StatusArgs;
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;
use crate::session::Session;
use crate::text::{printable, table};

/// Tables that are named; others are counted.
const NAMED: usize = 20;

/// `reembed status`.
pub fn status(args: &StatusArgs, session: &Session) -> Result<Exit> {
    let config = load(args)?;
    let dataset = match Job::open(&config)? {
        Job::Dataset(dataset) => dataset,
        Job::Table(config) => {
            return Err(Error::new(ErrorKind::Config, "this is one table, which has no manifest")
                .in_file(config.output.path())
                .advice("see its report, or check it with `reembed verify`")
                .into());
        }
    };
    session.answer.record(|record| {
        record.paths.input = Some(dataset.listing.root.clone());
        record.paths.output = Some(dataset.places.root().to_owned());
    });
    let progress = Progress::new(&session.logging);
    let status = dataset::status(&dataset, &|event| progress.event(event));
    progress.finish();
    let status = status?;
    session.answer.record(|record| record.status = Some(StatusAnswer::new(&status)));
    if session.answer.is_text() {
        print::result(&status_text(&status, &dataset))?;
    }
    Ok(Exit::Done)
}

/// The configuration. Without inputs in it, they are those of the manifest in the output directory.
fn load(args: &StatusArgs) -> Result<Config> {
    let flags = |raw: &mut RawConfig| {
        args.flags.apply_to(raw)?;
        match &args.output_path {
            Some(output) => raw.set_path("output.path", output, Origin::Flag("OUT")),
            None => Ok(()),
        }
    };
    let mut raw = load_file(&args.file, flags)?.raw;
    let has_inputs =
        ["input.path", "input.paths", "input.files_from"].iter().any(|key| raw.is_set(key));
    if let (false, Some(output)) = (has_inputs, &args.output_path) {
        let root = root_of(output)?;
        raw.set_path("input.path", &root, Origin::Flag("OUT"))?;
    }
    Ok(raw.check(&environment())?)
}

/// The directory of the inputs, as the manifest names it.
fn root_of(output: &Path) -> reembed::Result<PathBuf> {
    let manifest = Manifest::read(&Places::new(output, None).whole_manifest())?;
    let manifest = manifest.ok_or_else(|| {
        Error::new(ErrorKind::Target, "this directory has no manifest of a dataset")
            .in_file(output)
            .advice("name its inputs as well with --input, or use the configuration of its run")
    })?;
    Ok(PathBuf::from(manifest.root))
}

fn status_text(status: &Status, dataset: &Dataset) -> String {
    let tables = |number: usize| count(number as u64);
    let mut lines = vec![
        ("in place", format!("{} tables, {} rows", count(status.in_place), count(status.rows))),
        ("to publish", tables(status.to_publish.len())),
        ("failed", tables(status.failed.len())),
        ("without an input", tables(status.gone.len())),
    ];
    if !status.elsewhere_wrong.is_empty() {
        let number = tables(status.elsewhere_wrong.len());
        lines.push(("not as published", format!("{number} of tables that this run does not take")));
    }
    if !status.under_way.is_empty() {
        lines.push(("under way", format!("{} in parts", tables(status.under_way.len()))));
    }
    if status.is_unfinished {
        lines.push(("last run", "it has begun and not finished".to_owned()));
    }
    let not_taken = dataset.listing.tables.len() - dataset.taken.len();
    if not_taken > 0 {
        lines.push(("not taken", tables(not_taken)));
    }
    let mut text = table(&lines);
    let shown = |path: &Path| printable(&path.display().to_string());
    let publish = status.to_publish.iter().map(|(path, reason)| (path, (*reason).to_owned()));
    let parts = |(path, parts, ranges): &'_ (PathBuf, u64, u64)| {
        let what = format!("{} of {} parts are there", count(*parts), count(*ranges));
        (path.clone(), what)
    };
    let under_way: Vec<(PathBuf, String)> = status.under_way.iter().map(parts).collect();
    let under_way = under_way.iter().map(|(path, what)| (path, what.clone()));
    let failed = status.failed.iter().map(|(path, message)| (path, format!("failed: {message}")));
    let gone = status.gone.iter().map(|path| (path, "its input is gone".to_owned()));
    let wrong =
        status.elsewhere_wrong.iter().map(|path| (path, "output not as published".to_owned()));
    let all: Vec<(&PathBuf, String)> =
        publish.chain(under_way).chain(failed).chain(gone).chain(wrong).collect();
    for (path, what) in all.iter().take(NAMED) {
        text += &format!("{}: {}\n", shown(path), printable(what));
    }
    if all.len() > NAMED {
        text += &format!("and {} more\n", tables(all.len() - NAMED));
    }
    text
}
