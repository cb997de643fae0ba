//! The tables of a listing compared with what was published: what a run has to do.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::inputs::Dataset;
use super::known::Known;
use super::listing::ListedTable;
use super::manifest::TableRecord;
use super::outputs::output_stamp;
use super::plan::{Reason, Todo, todo};
use super::split::SplitTable;
use super::stamp::Stamp;

/// What is to do for a dataset.
pub struct Plan<'a> {
    /// The tables to publish, and why.
    pub publish: Vec<(&'a ListedTable, Reason)>,
    /// The tables that are in place.
    pub unchanged: Vec<&'a TableRecord>,
    /// All records that stay as they are: those, and those of tables that this run does not take.
    pub kept: Vec<&'a TableRecord>,
    /// The records of tables to publish whose earlier output is in place: they hold until then.
    pub earlier: Vec<&'a TableRecord>,
    /// The records of tables whose input is gone.
    pub gone: Vec<&'a TableRecord>,
}

impl<'a> Plan<'a> {
    /// Compares the listing with what was published.
    pub fn new(dataset: &'a Dataset, known: &'a Known, settings: &str) -> Plan<'a> {
        let mut plan = Plan {
            publish: Vec::new(),
            unchanged: Vec::new(),
            kept: Vec::new(),
            earlier: Vec::new(),
            gone: Vec::new(),
        };
        let mut taken = BTreeSet::new();
        for table in &dataset.taken {
            let below = table.below.as_path();
            taken.insert(below);
            let record = known.tables.get(below);
            let input = Stamp::from(&table.id);
            let output = output_stamp(&dataset.places.root().join(below));
            match todo(record, &input, output.as_ref(), settings, dataset.config.run.rebuild) {
                Todo::Nothing => plan.unchanged.extend(record),
                Todo::Publish(reason) => {
                    plan.publish.push((table, reason));
                    plan.earlier
                        .extend(record.filter(|record| output.as_ref() == Some(&record.output)));
                }
            }
        }
        plan.kept.clone_from(&plan.unchanged);
        for (below, record) in &known.tables {
            if taken.contains(below.as_path()) {
                continue;
            }
            let input = dataset.listing.root.join(below);
            match fs::symlink_metadata(input) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => plan.gone.push(record),
                // Another pattern or condition takes it.
                _ => plan.kept.push(record),
            }
        }
        plan
    }

    /// The same without tables that are split, which are published otherwise.
    pub fn without(mut self, split: &[SplitTable<'_>]) -> Plan<'a> {
        let split: BTreeSet<&Path> = split.iter().map(|one| one.table.below.as_path()).collect();
        self.publish.retain(|(table, _)| !split.contains(table.below.as_path()));
        self
    }
}
