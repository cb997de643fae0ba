//! Large tables that several shards embed together.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use super::{Dataset, Ran};
use crate::common::write_parquet;

const LARGE: &str = "dt=1/large.parquet";
const SMALL: &str = "small.parquet";

/// Rows of the large table, in row groups of [`GROUP`].
const ROWS: u64 = 50;
const GROUP: usize = 7;

const TEXTS: &[&str] = &["--text", "title"];

/// A dataset with a small table and a large one.
fn dataset() -> Dataset {
    let dataset = Dataset::empty();
    write_large(&dataset, |row| format!("the login fails {row} times"));
    write_table(&dataset, SMALL, 4, |row| format!("small {row}"));
    dataset
}

fn write_large(dataset: &Dataset, title: impl Fn(u64) -> String) {
    write_table(dataset, LARGE, ROWS, title);
}

fn write_table(dataset: &Dataset, table: &str, rows: u64, title: impl Fn(u64) -> String) {
    let path = dataset.path("in").join(table);
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    // Every ninth row has no title, and two have the same.
    let title = |row: u64| match row {
        30 => title(3),
        row if row % 9 == 4 => String::new(),
        row => title(row),
    };
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    let titles: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(title)));
    let bodies = (0..rows).map(|row| format!("see page {}", row % 11));
    let bodies: ArrayRef = Arc::new(StringArray::from_iter_values(bodies));
    let columns = [("id", ids), ("title", titles), ("body", bodies)];
    write_parquet(&path, &RecordBatch::try_from_iter(columns).expect("a batch"), GROUP);
}

fn shard(dataset: &Dataset, shard: &str, split_rows: &str, more: &[&str]) -> Ran {
    let arguments = ["in", "out", "--shard", shard, "--split-rows", split_rows];
    dataset.run(&[&arguments[..], more].concat())
}

fn merge(dataset: &Dataset) -> Ran {
    let arguments = ["merge", "out", "--success-file", "--output-format", "json"];
    Ran::new(dataset.job.command(&arguments).output().expect("a child"))
}

fn parts(dataset: &Dataset) -> Vec<PathBuf> {
    let mut files = match dataset.path("out/_reembed/dataset/parts").exists() {
        true => dataset.files("out/_reembed/dataset/parts"),
        false => BTreeMap::new(),
    };
    let is_part = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.contains("-of-") && !name.contains("/_reembed/")
    };
    files.retain(|path, _| is_part(path));
    files.into_keys().collect()
}

#[test]
fn parts_are_put_together_byte_for_byte() {
    let int8 = "[vector]\ntype = \"int8\"\nranges = \"ranges.json\"\n";
    let two = "\
        [[embedding]]\ncolumn = \"title_vector\"\ntext.columns = [\"title\"]\n\
        [[embedding]]\ncolumn = \"body_vector\"\ntext.template = \"body: {body}\"\n\
        vector = { type = \"f16\", layout = \"list\" }\n";
    // Vectors in the place of a column, and with columns left out.
    let replacing = "[output]\ncolumn = \"body\"\ndrop = [\"id\"]\n";
    for (name, config, texts) in [
        ("f32", "", TEXTS),
        ("int8", int8, TEXTS),
        ("two columns", two, &[][..]),
        ("replacing", replacing, TEXTS),
    ] {
        let dataset = dataset();
        if config == int8 {
            // The ranges of any texts will do.
            let mut command = dataset.job.command(&["calibrate", "--quiet", "--output"]);
            command.args(["ranges.json", "--text", "title", "--column", "embedding"]);
            command.arg("--model-path").arg(dataset.job.model.path());
            let table = dataset.path("in").join(LARGE);
            let ended = command.arg(table).output().expect("a child");
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        }
        fs::write(dataset.path("pipeline.toml"), config).expect("a configuration");
        let alone = dataset.alone(LARGE, texts);
        for (shards, split_rows) in [(1, "10"), (2, "7"), (3, "14"), (4, "20"), (9, "1")] {
            let _ = fs::remove_dir_all(dataset.path("out"));
            let runs: Vec<Ran> = (1..=shards)
                .map(|index| {
                    shard(&dataset, &format!("{index}/{shards}"), split_rows, texts).done()
                })
                .collect();
            let case = format!("{name}, {shards} shards, {split_rows} rows");
            let sum = |what: &str| runs.iter().map(|ran| ran.tables(what)).sum::<u64>();
            assert_eq!((sum("published"), sum("failed"), sum("not_tried")), (2, 0, 0), "{case}");
            assert!(dataset.output(LARGE) == alone, "{case}: other bytes");
            merge(&dataset).done();
            assert!(!dataset.path("out/_reembed/dataset/parts").exists(), "{case}");
            let manifest = dataset.manifest();
            assert_eq!(super::paths(&manifest["tables"]), [LARGE, SMALL], "{case}");
            let whole = dataset.run(&[&["in", "out"], texts].concat()).done();
            assert_eq!(whole.tables("unchanged"), 2, "{case}: {}", whole.answer);
        }
    }
}

#[test]
fn each_row_is_embedded_by_one_shard() {
    let dataset = dataset();
    let one = dataset.run(&["in", "alone", TEXTS[0], TEXTS[1]]).done();
    let runs = ["1/3", "2/3", "3/3"].map(|index| shard(&dataset, index, "7", TEXTS).done());
    let embedded: Vec<u64> = runs.iter().map(|ran| ran.count("embedded")).collect();
    // A text that two ranges have may be embedded twice, since shards have caches of their own.
    let all = one.count("embedded");
    assert!((all..=all + 1).contains(&embedded.iter().sum()), "{embedded:?} of {all}");
    assert!(embedded.iter().all(|rows| *rows >= 11), "{embedded:?}");
    let last = &runs[2];
    assert_eq!(runs.iter().map(|ran| ran.tables("under_way")).sum::<u64>(), 2);
    let sums = ["embedded", "reused", "duplicates", "empty"].map(|name| last.count(name));
    assert_eq!(sums.iter().sum::<u64>(), last.count("rows"), "{}", last.answer);
    assert!(last.count("rows") >= ROWS);
    // Nothing is left to do.
    for index in ["1/3", "2/3", "3/3"] {
        let ran = shard(&dataset, index, "7", TEXTS).done();
        let did = ["published", "under_way", "failed"].map(|name| ran.tables(name));
        assert_eq!((did, ran.count("embedded")), ([0; 3], 0), "{index}: {}", ran.answer);
    }
    merge(&dataset).done();
    for index in ["1/3", "2/3", "3/3"] {
        let ran = shard(&dataset, index, "7", TEXTS).done();
        let did = ["published", "under_way", "failed"].map(|name| ran.tables(name));
        assert_eq!((did, ran.count("embedded")), ([0; 3], 0), "{index}: {}", ran.answer);
    }
}

#[test]
fn shards_at_the_same_time_put_a_table_together_once() {
    for round in 0..5 {
        let dataset = dataset();
        let alone = dataset.alone(LARGE, TEXTS);
        let published: u64 = thread::scope(|scope| {
            let runs = ["1/4", "2/4", "3/4", "4/4"].map(|index| {
                let dataset = &dataset;
                scope.spawn(move || shard(dataset, index, "7", TEXTS).done().tables("published"))
            });
            runs.map(|run| run.join().expect("a run")).iter().sum()
        });
        assert_eq!(published, 2, "round {round}");
        assert!(dataset.output(LARGE) == alone, "round {round}: other bytes");
        let merged = merge(&dataset).done();
        assert_eq!(merged.answer["merge"]["tables"], 2, "round {round}");
    }
}

#[test]
fn merge_names_the_parts_that_are_missing_and_the_shard_to_run() {
    let dataset = dataset();
    // Each shard has ran once, but the first one before the table came.
    fs::rename(dataset.path("in/dt=1"), dataset.path("later")).expect("it is moved");
    let mut owner = String::new();
    for index in ["1/2", "2/2"] {
        shard(&dataset, index, "7", TEXTS).done();
    }
    fs::rename(dataset.path("later"), dataset.path("in/dt=1")).expect("it is moved");
    for index in ["1/2", "2/2"] {
        let ran = shard(&dataset, index, "7", TEXTS).done();
        if owner.is_empty() {
            assert_eq!(ran.tables("under_way"), 1, "{}", ran.answer);
            let refused = merge(&dataset).refused(2, &[LARGE, "lacks parts", "--split-rows 7"]);
            owner = refused.log;
            assert!(owner.contains("--shard 2/2"), "{owner}");
        }
    }
    merge(&dataset).done();
}

#[test]
fn status_tells_how_many_parts_are_there() {
    let dataset = dataset();
    shard(&dataset, "1/2", "7", TEXTS).done();
    let status = || {
        let mut command = dataset.job.command(&["status", "--input", "in", "--output", "out"]);
        command.args(["--output-format", "json"]).args(TEXTS);
        command.arg("--model-path").arg(dataset.job.model.path());
        Ran::new(command.output().expect("a child")).done().answer["status"].clone()
    };
    let found = status();
    assert_eq!(found["under_way"], serde_json::json!([{"table": LARGE, "parts": 4, "ranges": 8}]));
    shard(&dataset, "2/2", "7", TEXTS).done();
    assert_eq!(status()["under_way"], serde_json::json!([]));
}

#[test]
fn parts_of_an_earlier_input_or_of_other_settings_are_made_again() {
    let dataset = dataset();
    shard(&dataset, "1/2", "7", TEXTS).done();
    let first = parts(&dataset);
    assert_eq!(first.len(), 4, "{first:?}");
    // Ranges of this shard and of the other change.
    write_large(&dataset, |row| match row {
        20..30 => format!("another text {row}"),
        row => format!("the login fails {row} times"),
    });
    let ran = shard(&dataset, "1/2", "7", TEXTS).done();
    assert_eq!(ran.tables("under_way"), 1);
    // Only the texts that changed: the vectors of the others are those of the earlier parts.
    assert!(ran.count("embedded") <= 7, "{}", ran.answer);
    assert_eq!(parts(&dataset).len(), 8);
    shard(&dataset, "2/2", "7", TEXTS).done();
    assert!(dataset.output(LARGE) == dataset.alone(LARGE, TEXTS));
    assert!(parts(&dataset).is_empty());
    let other = &["--text", "body", "--switch-model"];
    shard(&dataset, "1/2", "7", other).done();
    shard(&dataset, "2/2", "7", other).done();
    assert!(dataset.output(LARGE) == dataset.alone(LARGE, &["--text", "body"]));
    merge(&dataset).done();
}

#[test]
fn row_groups_that_did_not_change_need_no_model() {
    let dataset = dataset();
    dataset.run(&["in", "out", TEXTS[0], TEXTS[1]]).done();
    write_large(&dataset, |row| match row {
        41 => "another text".to_owned(),
        row => format!("the login fails {row} times"),
    });
    let runs = ["1/2", "2/2"].map(|index| shard(&dataset, index, "7", TEXTS).done());
    let embedded: u64 = runs.iter().map(|ran| ran.count("embedded")).sum();
    assert_eq!(embedded, 1, "the other texts of its row group are in the cache");
    assert!(dataset.output(LARGE) == dataset.alone(LARGE, TEXTS));
    merge(&dataset).done();
}

#[test]
fn damaged_part_is_embedded_again() {
    let dataset = dataset();
    let alone = dataset.alone(LARGE, TEXTS);
    shard(&dataset, "1/2", "7", TEXTS).done();
    let parts = parts(&dataset);
    for (number, part) in parts.iter().enumerate() {
        let path = dataset.path("out/_reembed/dataset/parts").join(part);
        let mut bytes = fs::read(&path).expect("a part");
        match number {
            0 => bytes[100] ^= 1,
            1 => bytes.truncate(200),
            _ => bytes.clear(),
        }
        fs::write(&path, bytes).expect("a part");
    }
    shard(&dataset, "2/2", "7", TEXTS).done();
    assert!(dataset.output(LARGE) == alone, "other bytes");
    merge(&dataset).done();
}

#[test]
fn whole_run_takes_the_vectors_of_parts() {
    let dataset = dataset();
    let first = shard(&dataset, "1/2", "7", TEXTS).done();
    let whole = dataset.run(&["in", "out", "--split-rows", "7", TEXTS[0], TEXTS[1]]).done();
    assert_eq!(whole.tables("published") + whole.tables("unchanged"), 2, "{}", whole.answer);
    assert!(whole.count("reused") >= first.count("embedded") - 5, "{}", whole.answer);
    assert!(dataset.output(LARGE) == dataset.alone(LARGE, TEXTS));
    assert!(parts(&dataset).is_empty());
    let last = shard(&dataset, "2/2", "7", TEXTS).done();
    assert_eq!((last.tables("published"), last.count("embedded")), (0, 0), "{}", last.answer);
}

#[test]
fn tables_are_split_for_shards_alone() {
    let dataset = dataset();
    let ran = dataset.run(&["in", "out", "--split-rows", "7", TEXTS[0], TEXTS[1]]).done();
    assert_eq!((ran.tables("published"), ran.tables("under_way")), (2, 0));
    // Nor if its columns are encoded anew, if it is small, or in a rebuild.
    for (config, more) in [("output.carry = \"reencode\"\n", &[][..]), ("", &["--rebuild"])] {
        let _ = fs::remove_dir_all(dataset.path("out"));
        fs::write(dataset.path("pipeline.toml"), config).expect("a configuration");
        let runs = ["1/2", "2/2"].map(|index| {
            let ran = shard(&dataset, index, "7", &[TEXTS, more].concat()).done();
            assert_eq!(ran.tables("under_way"), 0, "{more:?}: {}", ran.answer);
            ran.tables("published")
        });
        assert_eq!(runs.iter().sum::<u64>(), 2, "{config}{more:?}");
    }
    let _ = fs::remove_dir_all(dataset.path("out"));
    let ran = shard(&dataset, "1/2", "50", TEXTS).done();
    assert_eq!((ran.tables("under_way"), parts(&dataset).len()), (0, 0));
}

#[test]
fn row_that_fails_is_named_with_its_place_in_the_table() {
    let dataset = dataset();
    write_large(&dataset, |row| format!("title {row}"));
    let config = "output.on_empty = \"error\"\n";
    fs::write(dataset.path("pipeline.toml"), config).expect("a configuration");
    let runs = ["1/2", "2/2"].map(|index| shard(&dataset, index, "7", TEXTS));
    // Rows 4, 13, 22 and so on have no title. Ranges are embedded a few at once, so any of them may be the first.
    let is_named = |log: &str| {
        let mut rows = (0..ROWS).filter(|row| row % 9 == 4);
        rows.any(|row| log.contains(&format!("row {} (id {row})", row + 1)))
    };
    for ran in &runs {
        assert!(is_named(&ran.log), "{}", ran.log);
    }
    for ran in runs {
        assert_eq!(ran.tables("failed"), 1, "{}", ran.answer);
        assert_eq!(ran.code, Some(1), "{}", ran.answer);
    }
    let merged = merge(&dataset);
    assert_eq!(merged.code, Some(1), "{}", merged.answer);
    let failed = merged.answer["merge"]["failed"].as_array().map(Vec::len);
    assert_eq!(failed, Some(1), "{}", merged.answer);
}

#[test]
fn table_that_changes_day_by_day_stays_right_without_a_merge() {
    let dataset = dataset();
    for day in 0..4 {
        let changed = day * 13;
        write_large(&dataset, |row| match row {
            row if row < changed => format!("a text of day {day}, {row}"),
            row => format!("the login fails {row} times"),
        });
        // Another shard is the last one each day.
        let order = ["1/3", "2/3", "3/3"].iter().cycle().skip(day as usize).take(3);
        for index in order {
            shard(&dataset, index, "7", TEXTS).done();
        }
        assert!(dataset.output(LARGE) == dataset.alone(LARGE, TEXTS), "day {day}");
    }
    merge(&dataset).done();
    let output = dataset.path("out").join(LARGE);
    let size = fs::metadata(output).expect("an output").len();
    let manifest = dataset.manifest();
    let table = manifest["tables"].as_array().expect("tables").iter().find(|t| t["path"] == LARGE);
    assert_eq!(table.and_then(|table| table["output"]["size"].as_u64()), Some(size));
    let whole = dataset.run(&["in", "out", TEXTS[0], TEXTS[1]]).done();
    assert_eq!(whole.tables("unchanged"), 2, "{}", whole.answer);
}

#[test]
fn dry_run_of_a_shard_counts_its_own_rows() {
    let dataset = Dataset::empty();
    write_large(&dataset, |row| format!("the login fails {row} times"));
    let rows = ["1/2", "2/2"].map(|index| {
        let ran = shard(&dataset, index, "7", &[TEXTS, &["--dry-run"]].concat()).done();
        assert_eq!(ran.tables("under_way"), 1, "{}", ran.answer);
        ran.count("input_rows")
    });
    assert_eq!(rows.iter().sum::<u64>(), ROWS, "{rows:?}");
    assert!(!dataset.path("out").exists());
}

/// The table has the keys of all of its parts, so that the next night takes its vectors row by row.
#[test]
fn table_that_was_put_together_is_looked_up_row_by_row() {
    let dataset = dataset();
    for index in ["1/2", "2/2"] {
        shard(&dataset, index, "7", TEXTS).done();
    }
    merge(&dataset).done();
    write_large(&dataset, |row| match row {
        20 => "another text".to_owned(),
        row => format!("the login fails {row} times"),
    });
    let ran = dataset.run(&[&["in", "out"], TEXTS].concat()).done();
    assert_eq!(ran.count("embedded"), 1, "{}", ran.answer);
    let stats = reembed::cache::stats(&dataset.path("out/_reembed/dataset/cache"));
    assert_eq!(stats.expect("a cache").entries, 1, "the text that was replaced alone");
}
