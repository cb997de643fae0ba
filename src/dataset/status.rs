//! What is in place of a dataset, and what the next run would do. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use reembed_encoder::error::Result;
use reembed_encoder::stop::Stop;

use super::checks::{check_columns, first_existing};
use super::comparison::Plan;
use super::inputs::Dataset;
use super::known::Known;
use super::manifest::TableRecord;
use super::outputs::output_stamp;
use super::parts::{Division, TableParts};
use super::settings::settings_digest;
use super::split::{SplitTable, split_tables};
use super::stamp::Stamp;
use crate::events::Event;
use crate::pipeline::Models;

/// The state of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Tables that are in place: input, settings and output are as they were.
    pub in_place: u64,
    /// Their rows.
    pub rows: u64,
    /// Tables that the next run would publish, each with the reason.
    pub to_publish: Vec<(PathBuf, &'static str)>,
    /// Those of them that shards embed together: of how many ranges, how many have a part.
    pub under_way: Vec<(PathBuf, u64, u64)>,
    /// Tables that failed in the last run, each with the reason.
    pub failed: Vec<(PathBuf, String)>,
    /// Published tables whose input is gone.
    pub gone: Vec<PathBuf>,
    /// Published tables that the run does not take, and whose output is missing or not as it was published.
    pub elsewhere_wrong: Vec<PathBuf>,
    /// Whether a run has begun and not finished.
    pub is_unfinished: bool,
}

/// The state of a dataset. The model is found, since its fingerprint counts, but not loaded.
///
/// # Errors
/// Those of a run before its first table.
pub fn status(dataset: &Dataset, on_event: &(dyn Fn(Event) + Sync)) -> Result<Status> {
    let mut known = Known::read(dataset)?;
    let (path, existing) = first_existing(dataset)?;
    let config = &dataset.config;
    let models = Models::find(config, &existing, false, &Stop::new(), on_event)?;
    let columns =
        check_columns(config, &existing, &models).map_err(|error| error.in_file(&path))?;
    let settings = settings_digest(config, &columns);
    let split = split_tables(dataset, &mut known, &settings);
    let plan = Plan::new(dataset, &known, &settings);
    let taken: BTreeSet<&Path> = dataset.taken.iter().map(|table| table.below.as_path()).collect();
    let others = plan.kept.iter().filter(|record| !taken.contains(record.path.as_path()));
    let is_wrong = |record: &&&TableRecord| {
        let output = dataset.places.root().join(&record.path);
        output_stamp(&output).as_ref() != Some(&record.output)
    };
    Ok(Status {
        in_place: plan.unchanged.len() as u64,
        rows: plan.unchanged.iter().map(|record| record.rows).sum(),
        to_publish: plan
            .publish
            .iter()
            .map(|(table, reason)| (table.below.clone(), reason.as_str()))
            .collect(),
        under_way: under_way(dataset, &plan, &split, &settings),
        failed: known
            .failed()
            .iter()
            .map(|failed| (failed.path.clone(), failed.message.clone()))
            .collect(),
        gone: plan.gone.iter().map(|record| record.path.clone()).collect(),
        elsewhere_wrong: others.filter(is_wrong).map(|record| record.path.clone()).collect(),
        is_unfinished: dataset.places.journal().exists(),
    })
}

/// The tables that have parts and are not put together. Other shards may divide the same input otherwise: the division
/// with most parts counts.
fn under_way(
    dataset: &Dataset,
    plan: &Plan<'_>,
    split: &[SplitTable<'_>],
    settings: &str,
) -> Vec<(PathBuf, u64, u64)> {
    let tables = plan.publish.iter().map(|(table, _)| *table);
    let of_others = split.iter().filter(|one| !one.is_taken).map(|one| one.table);
    let mut under_way: Vec<(PathBuf, u64, u64)> = tables
        .chain(of_others)
        .filter_map(|table| {
            let names = TableParts::new(&dataset.places, &table.below).names();
            let input = Stamp::from(&table.id);
            let mut divisions: BTreeMap<Division, u64> = BTreeMap::new();
            for name in names.into_iter().filter(|name| name.division.is_of(&input, settings)) {
                *divisions.entry(name.division).or_default() += 1;
            }
            let (division, parts) = divisions.into_iter().max_by_key(|(_, parts)| *parts)?;
            Some((table.below.clone(), parts, division.ranges))
        })
        .collect();
    under_way.sort();
    under_way
}
