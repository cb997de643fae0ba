//! Joins what the shards of a dataset have published: their manifests become the manifest of the whole.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::checks::check_gone;
use super::lock::DatasetLock;
use super::manifest::{FailedRecord, Manifest, TableRecord, UnderWay};
use super::outputs::{delete_outputs, output_stamp, write_success_file};
use super::parts::TableParts;
use super::places::Places;
use super::sweep::sweep_output;
use super::under_way::check_under_way;
use crate::cache;
use crate::config::{Percent, Shard};
use crate::events::Event;
use crate::publish::{LockHolder, write_error};

/// What is done beside joining the manifests.
#[derive(Debug, Clone, Copy)]
pub struct MergeOptions {
    /// Write `_SUCCESS` if every table is in place.
    pub success_file: bool,
    /// Delete the outputs of tables whose input is gone, if they are at most this share.
    pub delete_gone: Option<Percent>,
    /// Bytes that the entries of the joined vector cache may take.
    pub cache_size: u64,
}

/// The result of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeReport {
    /// Number of shards that were joined; 0 if they had been joined before.
    pub shards: u32,
    /// Tables in place.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// Tables that could not be published.
    pub failed: Vec<FailedRecord>,
    /// Vectors that were copied from the caches of the shards.
    pub cached: u64,
    /// Outputs of tables without an input that were deleted.
    pub deleted: u64,
}

/// Joins the manifests and the vector caches of all shards in an output directory.
///
/// A merge that was killed is done again by the next one.
///
/// # Errors
/// `Locked` when a shard is running; `Target` when a shard is missing, has not finished, or was run with other
/// settings or another model than the others; `Cache` when a cache cannot be joined.
pub fn merge(
    root: &Path,
    run_id: &str,
    options: MergeOptions,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<MergeReport> {
    if !Places::new(root, None).work_directory().is_dir() {
        return Err(nothing_here(root));
    }
    let whole = Places::new(root, None);
    let _lock = DatasetLock::acquire(&whole, LockHolder::ThisProcess)?;
    let shards = shards_in(&whole)?;
    let places: Vec<Places> = shards.iter().map(|shard| Places::new(root, Some(*shard))).collect();
    let lock = |places: &Places| DatasetLock::acquire(places, LockHolder::ThisProcess);
    let _locks: Vec<DatasetLock> = places.iter().map(lock).collect::<Result<_>>()?;
    let manifest = match already_joined(&whole, &places)? {
        Some(manifest) => manifest,
        None if places.is_empty() => return Err(nothing_here(root)),
        None => {
            let parts: Vec<(Shard, Manifest)> = shards
                .iter()
                .zip(&places)
                .map(|(shard, places)| Ok((*shard, finished_part(*shard, places)?)))
                .collect::<Result<_>>()?;
            let stamps = places.iter().filter_map(|places| output_stamp(&places.manifest()));
            let under_way: Vec<(Shard, Vec<UnderWay>)> =
                parts.iter().map(|(shard, part)| (*shard, part.under_way.clone())).collect();
            let is_in_place = |record: &TableRecord| {
                output_stamp(&root.join(&record.path)).as_ref() == Some(&record.output)
            };
            let joined = joined(parts, run_id, &is_in_place);
            let mut joined = joined.map_err(|error| error.in_file(root))?;
            let before = Manifest::read(&whole.whole_manifest())?;
            check_under_way(&whole, &under_way, &mut joined, before.as_ref())
                .map_err(|error| error.in_file(root))?;
            Manifest { joined: stamps.collect(), ..joined }
        }
    };
    let gone: Vec<&TableRecord> =
        manifest.tables.iter().filter(|table| table.input_is_gone).collect();
    let deletes = options.delete_gone.is_some() && manifest.failed.is_empty();
    if let Some(max_shrink) = options.delete_gone {
        check_gone(manifest.tables.iter(), &gone, max_shrink)
            .map_err(|error| error.in_file(root))?;
    }
    let mut written = manifest.clone();
    if deletes {
        written.tables.retain(|table| !table.input_is_gone);
    }
    written.write(&whole.whole_manifest())?;
    let deleted = if deletes { delete_outputs(root, &gone)? } else { 0 };
    let caches: Vec<PathBuf> = places.iter().map(Places::cache).collect();
    let existing: Vec<&Path> = caches.iter().map(PathBuf::as_path).filter(|c| c.exists()).collect();
    let cached = match existing.is_empty() {
        true => 0,
        false => cache::merge(&whole.whole_cache(), &existing, options.cache_size, on_event)?,
    };
    // The manifest tells shards that they are in place.
    for table in &manifest.tables {
        let parts = TableParts::new(&whole, &table.path);
        if parts.exist() {
            parts.delete_of(table);
            sweep_output(&whole, &table.path);
        }
    }
    // Last, so that a merge that was killed finds them again.
    let parts = caches.into_iter().chain(places.iter().map(Places::manifest));
    parts.filter(|part| part.exists()).try_for_each(|part| {
        fs::remove_file(&part).map_err(|cause| {
            write_error(&part, "a file of a shard that was joined cannot be deleted", cause)
        })
    })?;
    if options.success_file && written.failed.is_empty() {
        write_success_file(root)?;
    }
    Ok(MergeReport {
        shards: u32::try_from(shards.len()).unwrap_or(u32::MAX),
        tables: written.tables.len() as u64,
        rows: written.tables.iter().map(|table| table.rows).sum(),
        failed: written.failed,
        cached,
        deleted,
    })
}

fn nothing_here(root: &Path) -> Error {
    Error::new(ErrorKind::Target, "no run has written a manifest here")
        .in_file(root)
        .advice("name the output directory of `reembed run --shard`")
}

/// All shards, of which some left files.
fn shards_in(whole: &Places) -> Result<Vec<Shard>> {
    let directory = whole.own_directory();
    let failed = |cause| {
        Error::new(ErrorKind::Target, "the directory cannot be read")
            .in_file(&directory)
            .advice("check its permissions")
            .caused_by(cause)
    };
    let mut counts = BTreeMap::new();
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let shard = name.to_str().and_then(shard_of_name);
        if let Some(shard) = shard {
            counts.entry(shard.count()).or_insert(shard);
        }
    }
    let mut counts = counts.into_keys();
    match (counts.next(), counts.next()) {
        (None, _) => Ok(Vec::new()),
        (Some(count), None) => {
            let numbers = (1..=count.get()).filter_map(NonZeroU32::new);
            Ok(numbers.filter_map(|index| Shard::of(index, count)).collect())
        }
        (Some(one), Some(other)) => {
            let message = format!("there are shards of {one} and shards of {other}");
            Err(Error::new(ErrorKind::Target, message).in_file(directory).advice(
                "delete the manifests of those that are not to be joined; their tables are looked at again",
            ))
        }
    }
}

/// The shard that a manifest or a journal belongs to: `manifest-2-of-8.json`.
fn shard_of_name(name: &str) -> Option<Shard> {
    let name = name.strip_suffix(".json").unwrap_or(name);
    let rest = ["manifest-", "journal-"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let (index, count) = rest.split_once("-of-")?;
    Shard::parse(&format!("{index}/{count}"))
}

/// The manifest of the whole if it has all parts: there are none, or a merge that was killed had begun to delete them,
/// which it does last.
fn already_joined(whole: &Places, parts: &[Places]) -> Result<Option<Manifest>> {
    let stamps: Vec<_> = parts.iter().map(|part| output_stamp(&part.manifest())).collect();
    let is_running = parts.iter().any(|part| part.journal().exists());
    if is_running || (!stamps.is_empty() && stamps.iter().all(Option::is_some)) {
        return Ok(None);
    }
    let manifest = Manifest::read(&whole.whole_manifest())?;
    Ok(manifest.filter(|whole| stamps.iter().flatten().all(|part| whole.joined.contains(part))))
}

/// The manifest of a shard that has finished.
fn finished_part(shard: Shard, places: &Places) -> Result<Manifest> {
    let not_done = |message: String| {
        Err(Error::new(ErrorKind::Target, message)
            .in_file(places.root())
            .advice(format!("run it with `--shard {shard}`, then merge again")))
    };
    if places.journal().exists() {
        return not_done(format!("shard {shard} has not finished"));
    }
    match Manifest::read(&places.manifest())? {
        Some(manifest) => Ok(manifest),
        None => not_done(format!("shard {shard} has not run")),
    }
}

/// The manifest of the whole: that of the parts, which have to be of the same settings and models. Shards that embed a
/// table together may have records of it: the one of the output in place holds.
fn joined(
    parts: Vec<(Shard, Manifest)>,
    run_id: &str,
    is_in_place: &dyn Fn(&TableRecord) -> bool,
) -> Result<Manifest> {
    let mut parts = parts.into_iter();
    let Some((first_shard, first)) = parts.next() else {
        return Err(Error::new(ErrorKind::Internal, "there is no part to join (bug)"));
    };
    let mut tables: BTreeMap<PathBuf, TableRecord> = BTreeMap::new();
    let add = |tables: &mut BTreeMap<PathBuf, TableRecord>, part: Vec<TableRecord>| {
        for table in part {
            let other = tables.get(&table.path);
            let is_older =
                |other| is_in_place(other) && (!is_in_place(&table) || table.input_is_gone);
            if !other.is_some_and(is_older) {
                tables.insert(table.path.clone(), table);
            }
        }
    };
    let mut whole = Manifest {
        run_id: run_id.to_owned(),
        shard: None,
        tables: Vec::new(),
        failed: Vec::new(),
        under_way: Vec::new(),
        ..first.clone()
    };
    add(&mut tables, first.tables);
    whole.failed.extend(first.failed);
    for (shard, part) in parts {
        let difference = match () {
            () if part.columns != whole.columns => "another model",
            () if part.settings != whole.settings => "other settings",
            () => "",
        };
        if !difference.is_empty() {
            let message =
                format!("shard {shard} was run with {difference} than shard {first_shard}");
            return Err(Error::new(ErrorKind::Target, message).advice(
                "run all shards with the same configuration and version, then merge again",
            ));
        }
        add(&mut tables, part.tables);
        whole.failed.extend(part.failed);
    }
    whole.tables = tables.into_values().collect();
    whole.failed.sort_by(|one, other| one.path.cmp(&other.path));
    whole.failed.dedup_by(|one, other| one.path == other.path);
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::record;
    use super::*;

    fn part(index: u32, settings: &str, tables: &[&str]) -> (Shard, Manifest) {
        let shard = Shard::parse(&format!("{index}/2")).expect("a shard");
        let mut manifest = Manifest::empty("r", Path::new("in"), Some(shard));
        manifest.settings = settings.to_owned();
        manifest.tables = tables.iter().map(|path| record(path, settings)).collect();
        (shard, manifest)
    }

    #[test]
    fn parts_of_the_same_settings_are_joined_in_order() {
        let whole =
            joined(vec![part(1, "s", &["b", "d"]), part(2, "s", &["a", "c"])], "m", &|_| true);
        let whole = whole.expect("a manifest");
        let paths: Vec<&Path> = whole.tables.iter().map(|table| table.path.as_path()).collect();
        assert_eq!(paths, ["a", "b", "c", "d"].map(Path::new));
        assert_eq!((whole.shard, whole.run_id.as_str()), (None, "m"));
        let error = joined(vec![part(1, "s", &[]), part(2, "t", &[])], "m", &|_| true)
            .expect_err("refused");
        assert!(error.to_string().contains("shard 2/2 was run with other settings than shard 1/2"));
    }

    #[test]
    fn record_of_the_output_in_place_holds() {
        let record_with = |inode: u64, is_gone: bool| {
            let mut table = record("a", "s");
            table.output.inode = inode;
            table.input_is_gone = is_gone;
            table
        };
        for (one, other, expected) in [
            ((1, false), (7, false), (7, false)),
            ((7, false), (1, false), (7, false)),
            ((7, true), (7, false), (7, false)),
            ((7, false), (7, true), (7, false)),
            ((1, false), (2, false), (2, false)),
        ] {
            let parts = [(1, one), (2, other)].map(|(index, (inode, is_gone))| {
                let (shard, mut manifest) = part(index, "s", &[]);
                manifest.tables = vec![record_with(inode, is_gone)];
                (shard, manifest)
            });
            let whole = joined(parts.into(), "m", &|record| record.output.inode == 7);
            let (inode, is_gone) = expected;
            let tables = whole.expect("a manifest").tables;
            assert_eq!(tables, [record_with(inode, is_gone)], "{one:?}, {other:?}");
        }
    }

    #[test]
    fn shards_are_told_by_the_names_of_their_files() {
        for (name, expected) in [
            ("manifest-2-of-8.json", Some("2/8")),
            ("journal-1-of-3", Some("1/3")),
            ("manifest-9-of-8.json", None),
            ("cache-2-of-8", None),
            ("journal", None),
            ("manifest-2-of-8.json.tmp", None),
        ] {
            let found = shard_of_name(name).map(|shard| shard.to_string());
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn holes_and_unfinished_shards_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        let options = MergeOptions { success_file: true, delete_gone: None, cache_size: u64::MAX };
        let refused = |said: &str| {
            let error = merge(root, "m", options, &|_| ()).expect_err(said);
            assert!(error.to_string().contains(said), "{error}");
        };
        refused("no run has written a manifest");
        let places = |index: u32| Places::new(root, Shard::parse(&format!("{index}/2")));
        fs::create_dir_all(places(1).own_directory()).expect("directories");
        let write = |index: u32, tables: &[&str]| {
            part(index, "s", tables).1.write(&places(index).manifest()).expect("a manifest");
        };
        write(1, &["a"]);
        refused("shard 2/2 has not run");
        write(2, &["b"]);
        fs::write(places(2).journal(), "").expect("a journal");
        refused("shard 2/2 has not finished");
        fs::remove_file(places(2).journal()).expect("no journal");
        assert!(!root.join("_SUCCESS").exists());
        let report = merge(root, "m", options, &|_| ()).expect("a whole");
        assert_eq!((report.shards, report.tables, report.rows), (2, 2, 6));
        assert!(root.join("_SUCCESS").exists() && !places(1).manifest().exists());
        // Once more: there is nothing to join.
        let report = merge(root, "m", options, &|_| ()).expect("a whole");
        assert_eq!((report.shards, report.tables), (0, 2));
        // A part of a later run is not taken for one that was joined.
        fs::create_dir_all(places(2).own_directory()).expect("directories");
        write(2, &["b", "c"]);
        refused("shard 1/2 has not run");
    }

    #[test]
    fn merge_that_was_killed_between_two_parts_is_done_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        let options = MergeOptions { success_file: true, delete_gone: None, cache_size: u64::MAX };
        let places = |index: u32| Places::new(root, Shard::parse(&format!("{index}/2")));
        fs::create_dir_all(places(1).own_directory()).expect("directories");
        for (index, table) in [(1, "a"), (2, "b")] {
            part(index, "s", &[table]).1.write(&places(index).manifest()).expect("a manifest");
        }
        let (left, kept) = (places(2).manifest(), root.join("kept"));
        fs::hard_link(&left, &kept).expect("a link");
        merge(root, "m", options, &|_| ()).expect("a whole");
        fs::create_dir_all(places(2).own_directory()).expect("directories");
        fs::rename(&kept, &left).expect("the part is there again");
        let report = merge(root, "n", options, &|_| ()).expect("a whole");
        assert_eq!((report.tables, left.exists()), (2, false));
    }
}
