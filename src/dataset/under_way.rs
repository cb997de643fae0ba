//! Tables whose parts are not all there, as the manifest of a shard names them, and whether they can be joined.

use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::manifest::{Manifest, TableRecord, UnderWay};
use super::outputs::output_stamp;
use super::parts::{Division, TableParts};
use super::places::Places;
use super::split::SplitTable;
use super::stamp::Stamp;
use crate::config::Shard;

impl From<&SplitTable<'_>> for UnderWay {
    fn from(split: &SplitTable<'_>) -> UnderWay {
        UnderWay {
            path: split.table.below.clone(),
            input: Stamp::from(&split.table.id),
            ranges: split.division.ranges,
            split_rows: split.division.split_rows,
        }
    }
}

/// Checks that tables that were under way when their shards ended are in place by now, and adds them to the manifest of
/// the whole, which is joined from the shards'. `before` is the one of an earlier run.
///
/// # Errors
/// `Target`, naming the first table that is not, and the shard to run.
pub fn check_under_way(
    places: &Places,
    shards: &[(Shard, Vec<UnderWay>)],
    whole: &mut Manifest,
    before: Option<&Manifest>,
) -> Result<()> {
    for (shard, table) in shards.iter().flat_map(|(shard, all)| all.iter().map(|t| (*shard, t))) {
        let path = table.path.as_path();
        if whole.failed.iter().any(|failed| failed.path == path) {
            continue;
        }
        let input = output_stamp(&Path::new(&whole.root).join(path));
        let output = output_stamp(&places.root().join(path));
        let is_in_place = |record: &TableRecord| {
            let is_of_input = record.input == table.input || Some(&record.input) == input.as_ref();
            is_of_input
                && record.settings == whole.settings
                && Some(&record.output) == output.as_ref()
        };
        let parts = TableParts::new(places, path);
        let published = parts.published();
        let in_manifest = |manifest: &Manifest| {
            manifest.tables.iter().find(|record| record.path == path).cloned()
        };
        let records = [in_manifest(whole), published, before.and_then(in_manifest)];
        match records.into_iter().flatten().find(is_in_place) {
            Some(record) => {
                whole.tables.retain(|record| record.path != path);
                whole.tables.push(record);
            }
            None => return Err(not_in_place(shard, table, &parts, &whole.settings)),
        }
    }
    whole.tables.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(())
}

fn not_in_place(shard: Shard, table: &UnderWay, parts: &TableParts, settings: &str) -> Error {
    let UnderWay { path, input, ranges, split_rows } = table;
    let missing = parts.missing(&Division::new(*ranges, *split_rows, input, settings));
    let shards = (1..=shard.count().get()).filter_map(std::num::NonZeroU32::new);
    let mut shards = shards.filter_map(|index| Shard::of(index, shard.count()));
    let path = path.display();
    let (message, shard) = match missing.first() {
        Some(first) => {
            let all: Vec<String> = missing.iter().map(|range| (range + 1).to_string()).collect();
            let named = if all.len() == 1 { "part" } else { "parts" };
            let message = format!(
                "the table {path} lacks {named} {} of {ranges} (`dataset.split_rows` = {split_rows})",
                all.join(", ")
            );
            (message, shards.find(|shard| shard.has_range(&table.path, *first)).unwrap_or(shard))
        }
        None => (format!("the {ranges} parts of the table {path} are not put together"), shard),
    };
    let advice = format!(
        "run `--shard {shard} --split-rows {split_rows}` over the inputs as they are now, then merge again"
    );
    Error::new(ErrorKind::Target, message).advice(advice)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::manifest::tests::record;
    use super::*;

    #[test]
    fn table_without_all_parts_is_named_with_the_shard_to_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let places = Places::new(directory.path(), None);
        fs::create_dir_all(places.own_directory()).expect("directories");
        let known = record("a.parquet", "s");
        let table = UnderWay {
            path: known.path.clone(),
            input: known.input.clone(),
            ranges: 3,
            split_rows: 10,
        };
        let shard = Shard::parse("1/2").expect("a shard");
        let mut whole = Manifest::empty("m", Path::new("nowhere"), None);
        whole.settings = "s".to_owned();
        let refused = |whole: &mut Manifest| {
            check_under_way(&places, &[(shard, vec![table.clone()])], whole, None)
                .map_err(|error| (error.to_string(), error.advice_text().unwrap_or("").to_owned()))
        };
        let (message, advice) = refused(&mut whole).expect_err("no part is there");
        assert!(message.contains("a.parquet lacks parts 1, 2, 3 of 3"), "{message}");
        let first = Shard::parse("2/2").expect("a shard");
        let owner = if first.has(&known.path) { "2/2" } else { "1/2" };
        assert!(advice.contains(&format!("--shard {owner} --split-rows 10")), "{advice}");
        let parts = TableParts::new(&places, &known.path);
        parts.create().expect("a directory");
        let division = Division::new(3, 10, &known.input, "s");
        for range in 0..3 {
            fs::write(parts.place(&division.part(range)).path(), "a part").expect("a file");
        }
        let (message, _) = refused(&mut whole).expect_err("they are not put together");
        assert!(message.contains("the 3 parts of the table a.parquet are not put"), "{message}");
        // As the shard that has put it together leaves it.
        let output = places.root().join(&known.path);
        fs::write(&output, "a table").expect("a file");
        let stamp = output_stamp(&output).expect("an output");
        let published = TableRecord { output: stamp, ..known };
        parts.write_published(&published).expect("a record");
        refused(&mut whole).expect("it is in place");
        assert_eq!(whole.tables, [published]);
    }

    #[test]
    fn table_that_failed_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let places = Places::new(directory.path(), None);
        let known = record("a.parquet", "s");
        let (path, input) = (known.path.clone(), known.input);
        let table = UnderWay { path: path.clone(), input, ranges: 3, split_rows: 10 };
        let mut whole = Manifest::empty("m", Path::new("nowhere"), None);
        let failed = super::super::manifest::FailedRecord {
            path,
            code: "data".to_owned(),
            message: "x".to_owned(),
        };
        whole.failed.push(failed);
        let shard = Shard::parse("1/2").expect("a shard");
        check_under_way(&places, &[(shard, vec![table])], &mut whole, None).expect("it failed");
    }
}
