//! What became of the tables of a run: published, failed, or waiting for other shards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, Result};

use super::embed_part::without_parts;
use super::failures::ends_the_run;
use super::manifest::{TableRecord, UnderWay};
use super::split::SplitTable;
use super::tables::{Done, Outcome, Work};
use crate::events::{Report, TableCounts};

/// The tables of a run so far.
pub struct Tally {
    /// The sums over the tables that are in place and over the ranges that were embedded.
    pub report: Report,
    pub counts: TableCounts,
    /// The tables that are in place, or whose earlier output is.
    pub records: BTreeMap<PathBuf, TableRecord>,
    pub failed: Vec<(PathBuf, Error)>,
    /// The tables whose other ranges have no part yet.
    pub under_way: Vec<UnderWay>,
    /// The first error that concerns all tables.
    pub ended: Result<()>,
    published: BTreeSet<PathBuf>,
    /// The sums over the ranges of each table that were embedded.
    parts: BTreeMap<PathBuf, Report>,
}

impl Tally {
    /// A tally of a run that begins with these.
    pub fn new(
        report: Report,
        counts: TableCounts,
        records: BTreeMap<PathBuf, TableRecord>,
    ) -> Tally {
        Tally {
            report,
            counts,
            records,
            failed: Vec::new(),
            under_way: Vec::new(),
            ended: Ok(()),
            published: BTreeSet::new(),
            parts: BTreeMap::new(),
        }
    }

    /// Adds what was done.
    pub fn add(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            match outcome {
                Ok(Done::Table(done)) => self.add_table(*done),
                Ok(Done::Part(below, part)) => {
                    self.report.add(&part);
                    match self.parts.get_mut(&below) {
                        Some(sum) => sum.add(&part),
                        None => drop(self.parts.insert(below, *part)),
                    }
                }
                Ok(Done::Elsewhere) => {}
                Err((below, error)) => match ends_the_run(&error) {
                    true if self.ended.is_ok() => self.ended = Err(error),
                    true => {}
                    // Several ranges of a table may fail.
                    false if self.has_failed(&below) => {}
                    false => self.failed.push((below, error)),
                },
            }
        }
    }

    fn add_table(&mut self, (report, record): (Report, TableRecord)) {
        self.counts.published += 1;
        self.counts.same_bytes += u64::from(report.output_unchanged);
        self.report.add(&match self.parts.get(&record.path) {
            Some(parts) => without_parts(report, parts),
            None => report,
        });
        self.published.insert(record.path.clone());
        self.records.insert(record.path.clone(), record);
    }

    /// The tables that can be put together, unless the run is to end before.
    pub fn complete<'s>(&self, split: &'s [SplitTable<'s>], fail_fast: bool) -> Vec<Work<'s>> {
        if self.ended.is_err() || (fail_fast && !self.failed.is_empty()) {
            return Vec::new();
        }
        let is_complete =
            |one: &&SplitTable<'_>| !self.has_failed(&one.table.below) && one.is_complete();
        split.iter().filter(is_complete).map(Work::PutTogether).collect()
    }

    /// Notes which split tables other shards have put together or have to go on with. The others were not tried.
    pub fn add_split(&mut self, split: &[SplitTable<'_>], settings: &str) {
        for one in split {
            let below = one.table.below.as_path();
            if self.published.contains(below) || self.has_failed(below) {
                continue;
            }
            if let Some(record) = one.published_elsewhere(settings) {
                self.counts.unchanged += 1;
                self.records.insert(below.to_owned(), record);
            } else if one.to_embed().is_empty() {
                self.counts.under_way += 1;
                self.under_way.push(UnderWay::from(one));
            }
        }
    }

    fn has_failed(&self, below: &Path) -> bool {
        self.failed.iter().any(|(failed, _)| failed == below)
    }
}
