//! Which tables several shards embed together, and which ranges of them are those of this shard.

use std::num::NonZeroU64;
use std::ops::Range;
use std::path::PathBuf;

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::inputs::Dataset;
use super::known::Known;
use super::listing::ListedTable;
use super::manifest::TableRecord;
use super::outputs::output_stamp;
use super::parts::{Division, TableParts};
use super::plan::{Todo, todo};
use super::ranges::ranges;
use super::stamp::Stamp;
use crate::config::Carry;
use crate::reader::TableFile;

/// A table to publish, of which this shard embeds some ranges.
pub struct SplitTable<'a> {
    /// The table.
    pub table: &'a ListedTable,
    /// The row groups of its ranges.
    ranges: Vec<Range<usize>>,
    /// The ranges of this shard.
    own: Vec<u64>,
    /// How it is divided.
    pub division: Division,
    /// Its parts.
    pub parts: TableParts,
    /// Whether this shard would publish it if it was not split.
    pub is_taken: bool,
    output: PathBuf,
}

impl SplitTable<'_> {
    /// The row groups of a range.
    ///
    /// # Errors
    /// `Internal`, if there is no such range.
    pub fn groups(&self, range: u64) -> Result<Range<usize>> {
        let range = usize::try_from(range).ok().and_then(|range| self.ranges.get(range));
        range.cloned().ok_or_else(|| {
            let below = self.table.below.display().to_string();
            Error::new(ErrorKind::Internal, "a table has no such range (bug)").at(below)
        })
    }

    /// Whether every range has a part.
    pub fn is_complete(&self) -> bool {
        self.parts.missing(&self.division).is_empty()
    }

    /// The ranges of this shard that have no part.
    pub fn to_embed(&self) -> Vec<u64> {
        let missing = self.parts.missing(&self.division);
        self.own.iter().copied().filter(|range| missing.contains(range)).collect()
    }

    /// Whether a range has no part.
    pub fn lacks(&self, range: u64) -> bool {
        !self.parts.names().contains(&self.division.part(range))
    }

    /// The record of the table if another worker has put it together since it was looked at.
    pub fn published_elsewhere(&self, settings: &str) -> Option<TableRecord> {
        let (input, output) = (Stamp::from(&self.table.id), output_stamp(&self.output));
        let record = self.parts.published();
        let todo = todo(record.as_ref(), &input, output.as_ref(), settings, false);
        record.filter(|_| todo == Todo::Nothing)
    }
}

/// The tables that are split and not in place, in the order of their paths. What other shards know of tables is added to
/// what is known.
///
/// A table that cannot be opened is not split, so that the shard that has it says why.
pub fn split_tables<'a>(
    dataset: &'a Dataset,
    known: &mut Known,
    settings: &str,
) -> Vec<SplitTable<'a>> {
    let config = &dataset.config;
    let (Some(shard), Some(split_rows), false) =
        (config.dataset.shard, config.dataset.split_rows, config.run.rebuild)
    else {
        return Vec::new();
    };
    let taken = dataset.taken.iter().map(|table| (table, true));
    let mut all: Vec<(&ListedTable, bool)> =
        taken.chain(dataset.others.iter().map(|table| (table, false))).collect();
    all.sort_by(|one, other| one.0.below.cmp(&other.0.below));
    let mut split = Vec::new();
    for (table, is_taken) in all {
        let below = table.below.as_path();
        let parts = TableParts::new(&dataset.places, below);
        let input = Stamp::from(&table.id);
        let output_path = dataset.places.root().join(below);
        let output = output_stamp(&output_path);
        let of_manifests = [&known.tables, &known.others].map(|tables| tables.get(below).cloned());
        let records = [parts.published()].into_iter().chain(of_manifests.clone());
        // Another shard may have published it since this one did.
        let record = records.flatten().find(|record| Some(&record.output) == output.as_ref());
        if todo(record.as_ref(), &input, output.as_ref(), settings, false) == Todo::Nothing {
            let is_known = is_taken || known.tables.contains_key(below);
            known.tables.extend(record.filter(|_| is_known).map(|record| (below.into(), record)));
            continue;
        }
        let is_small =
            |record: &TableRecord| record.input == input && record.input_rows <= split_rows.get();
        if of_manifests.iter().flatten().any(is_small) {
            continue;
        }
        let Some(ranges) = ranges_of(dataset, table, &input, split_rows) else { continue };
        let count = ranges.len() as u64;
        let own: Vec<u64> = (0..count).filter(|range| shard.has_range(below, *range)).collect();
        if !own.is_empty() {
            let division = Division::new(count, split_rows.get(), &input, settings);
            let output = output_path;
            split.push(SplitTable { table, ranges, own, division, parts, is_taken, output });
        }
    }
    split
}

/// The ranges of a table; `None` if it is not split.
fn ranges_of(
    dataset: &Dataset,
    table: &ListedTable,
    input: &Stamp,
    split_rows: NonZeroU64,
) -> Option<Vec<Range<usize>>> {
    let file = TableFile::open(&table.path(&dataset.listing.root)).ok()?;
    let is_copied = matches!(dataset.config.carry(file.rows()), Ok(Carry::Copy));
    if !is_copied || file.rows() <= split_rows.get() || Stamp::from(file.id()) != *input {
        return None;
    }
    let metadata = file.metadata().ok()?;
    let rows = |group: usize| Some(metadata.group(group).ok()?.rows().unsigned_abs());
    let rows: Vec<u64> = (0..metadata.group_count()).map(rows).collect::<Option<_>>()?;
    Some(ranges(&rows, split_rows)).filter(|ranges| ranges.len() > 1)
}
