//! Tables that fail: each alone and with its name, and the others are published.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int64Array, LargeStringArray, ListArray, NullArray, RecordBatch,
    StringArray, StringViewArray,
};
use arrow::datatypes::Int32Type;

use super::{Dataset, FileState, ROWS, TABLES, paths, rows};
use crate::common::{read_parquet, write_parquet};

/// Writes a table of these columns.
fn write(dataset: &Dataset, table: &str, columns: Vec<(&str, ArrayRef)>) {
    let columns = columns.into_iter().map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("a batch");
    write_parquet(&dataset.path("in").join(table), &batch, 100);
}

fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Spoils a table.
type Spoil = fn(&Dataset, &str);

const BAD: [(&str, Spoil, &str); 5] = [
    (
        "garbage",
        |dataset, table| fs::write(dataset.path("in").join(table), "no table").expect("a file"),
        "Parquet",
    ),
    (
        "empty",
        |dataset, table| fs::write(dataset.path("in").join(table), "").expect("a file"),
        "empty",
    ),
    (
        "without a text column",
        |dataset, table| {
            write(dataset, table, vec![("id", strings(&["1"])), ("body", strings(&["x"]))])
        },
        "title",
    ),
    (
        "with a text column of another type",
        |dataset, table| {
            let titles: ArrayRef = Arc::new(BinaryArray::from(vec![&b"x"[..]]));
            write(
                dataset,
                table,
                vec![("id", strings(&["1"])), ("title", titles), ("description", strings(&["x"]))],
            );
        },
        "title",
    ),
    (
        "with a text that is not UTF-8",
        |dataset, table| {
            let path = dataset.path("in").join(table);
            write(
                dataset,
                table,
                vec![
                    ("id", strings(&["1", "2"])),
                    ("title", strings(&["fine", "TORNTEXT"])),
                    ("description", strings(&["x", "y"])),
                ],
            );
            let mut bytes = fs::read(&path).expect("a table");
            let places: Vec<usize> =
                (0..bytes.len() - 8).filter(|at| &bytes[*at..*at + 8] == b"TORNTEXT").collect();
            places.into_iter().for_each(|at| bytes[at + 3] = 0xff);
            fs::write(path, bytes).expect("a table");
        },
        "UTF-8",
    ),
];

#[test]
fn bad_table_fails_alone_and_is_published_once_mended() {
    for (case, spoil, word) in BAD {
        for bad in [TABLES[0], TABLES[1]] {
            let dataset = Dataset::of(&TABLES);
            spoil(&dataset, bad);
            let ran = dataset.run(&["in", "out"]).failed();
            let tables = ["published", "failed", "not_tried"].map(|name| ran.tables(name));
            assert_eq!(tables, [2, 1, 0], "{case}: {}", ran.answer);
            let others: Vec<&str> = TABLES.into_iter().filter(|table| *table != bad).collect();
            assert_eq!(dataset.output_names(), others, "{case}");
            let named = ran.log.lines().find(|line| line.contains(bad) && line.contains(word));
            assert!(named.is_some(), "{case}: {}", ran.log);
            let message = ran.answer["error"]["message"].as_str().expect("a message");
            assert!(message.starts_with("1 of 3 tables") && message.contains(bad), "{message}");
            let manifest = dataset.manifest();
            assert_eq!(paths(&manifest["tables"]), others, "{case}");
            assert_eq!(paths(&manifest["failed"]), [bad], "{case}");
            let code = manifest["failed"][0]["code"].as_str();
            assert!(matches!(code, Some("input" | "input-data")), "{case}: {manifest}");
            let report = dataset.report();
            assert_eq!(report["outcome"], "failed", "{case}");
            let verdict = report["verdict"].as_str().expect("a verdict");
            assert!(verdict.ends_with("The tables that were published are in place."), "{verdict}");
            // Errors are printed with --quiet as well.
            let quiet = dataset.run(&["in", "out", "--quiet"]).failed();
            assert!(quiet.log.contains(bad) && quiet.log.contains(word), "{case}: {}", quiet.log);
            assert_eq!(quiet.log.lines().count(), 2, "{case}: {}", quiet.log);

            dataset.write(bad, &rows(bad, 0..ROWS));
            let ran = dataset.run(&["in", "out"]).done();
            let tables = ["published", "unchanged", "failed"].map(|name| ran.tables(name));
            assert_eq!(tables, [1, 2, 0], "{case}");
            assert_eq!(ran.count("embedded"), ROWS, "{case}");
            assert_eq!(paths(&dataset.manifest()["tables"]), TABLES, "{case}");
            assert_eq!(dataset.manifest()["failed"].as_array().map(Vec::len), Some(0));
        }
    }
}

#[test]
fn table_that_fails_leaves_no_empty_directory() {
    let dataset = Dataset::of(&["a.parquet", "x=1/b.parquet"]);
    fs::create_dir_all(dataset.path("out/mine/empty")).expect("directories");
    for bad in ["x=1/c.parquet", "x=2/y=1/d.parquet", "x=2/y=2/e.parquet", "mine/empty/f.parquet"] {
        dataset.write(bad, &rows(bad, 0..ROWS));
        fs::write(dataset.path("in").join(bad), "no table").expect("a file");
    }
    let expected = ["mine", "mine/empty", "x=1"].map(PathBuf::from);
    for _ in 0..2 {
        dataset.run(&["in", "out"]).failed();
        assert_eq!(dataset.output_directories(), expected);
    }
    // One that fails in its rows.
    BAD[4].1(&dataset, "x=2/y=1/d.parquet");
    dataset.run(&["in", "out"]).failed();
    assert_eq!(dataset.output_directories(), expected);
}

#[test]
fn table_with_two_vector_columns_gets_its_directory() {
    let dataset = Dataset::of(&TABLES);
    let blocks = "[[embedding]]\ncolumn = \"one\"\n[[embedding]]\ncolumn = \"two\"\n";
    fs::write(dataset.path("two.toml"), blocks).expect("a configuration");
    dataset.run(&["in", "out", "--config", "two.toml"]).done();
    assert_eq!(dataset.output_names(), TABLES);
}

#[test]
fn output_of_a_table_that_fails_later_stays_and_stays_known() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    let before = dataset.outputs();
    fs::write(dataset.path("in/a.parquet"), "no table").expect("a file");
    for _ in 0..2 {
        let ran = dataset.run(&["in", "out"]).failed();
        assert_eq!((ran.tables("failed"), ran.tables("unchanged")), (1, 2));
        assert_eq!(dataset.outputs(), before);
        let manifest = dataset.manifest();
        assert_eq!(paths(&manifest["tables"]), TABLES, "its output is in place");
        assert_eq!(paths(&manifest["failed"]), ["a.parquet"]);
    }
    fs::remove_file(dataset.path("in/a.parquet")).expect("an input");
    let ran = dataset.run(&["in", "out", "--on-missing", "delete"]).done();
    assert_eq!(ran.tables("deleted"), 1);
    assert_eq!(dataset.output_names(), &TABLES[1..]);
}

#[test]
fn nothing_is_deleted_while_a_table_fails() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    fs::write(dataset.path("in/a.parquet"), "no table").expect("a file");
    fs::remove_file(dataset.path("in").join(TABLES[1])).expect("an input");
    let delete = ["in", "out", "--on-missing", "delete"];
    let ran = dataset.run(&delete).failed();
    assert_eq!((ran.tables("gone"), ran.tables("deleted")), (1, 0));
    assert_eq!(dataset.output_names(), TABLES);
    dataset.write("a.parquet", &rows("a", 0..8));
    let ran = dataset.run(&delete).done();
    assert_eq!((ran.tables("published"), ran.tables("deleted")), (1, 1));
    assert_eq!(dataset.output_names(), [TABLES[0], TABLES[2]]);
}

#[test]
fn run_that_refuses_every_table_exits_with_2() {
    for supervision in [&[][..], &["--no-supervise"]] {
        let dataset = Dataset::empty();
        fs::create_dir(dataset.path("in")).expect("a directory");
        for table in ["a.parquet", "b.parquet"] {
            fs::write(dataset.path("in").join(table), "no table").expect("a file");
        }
        let ran = dataset.run(&[&["in", "out"], supervision].concat());
        assert_eq!(ran.code, Some(2), "{}", ran.log);
        assert_eq!(ran.answer["error"]["code"], "input");
        for table in ["a.parquet", "b.parquet"] {
            assert!(ran.log.contains(table), "{}", ran.log);
        }
        assert_eq!(dataset.output_names(), [""; 0]);
        assert_eq!(ran.answer["tables"]["failed"], 2);
    }
}

#[test]
fn fail_fast_tries_no_further_table() {
    let tables: Vec<String> = (10..30).map(|n| format!("t{n}.parquet")).collect();
    let dataset = Dataset::of(&tables.iter().map(String::as_str).collect::<Vec<_>>());
    fs::write(dataset.path("in/t10.parquet"), "no table").expect("a file");
    let ran = dataset.run(&["in", "out", "--fail-fast"]);
    assert!(matches!(ran.code, Some(1 | 2)), "{}", ran.log);
    assert_eq!(ran.tables("failed"), 1);
    // A few may be in flight.
    assert!(ran.tables("not_tried") >= 15, "{}", ran.answer);
    let sum = ["published", "failed", "not_tried"].map(|name| ran.tables(name));
    assert_eq!(sum.iter().sum::<u64>(), 20);
    assert_eq!(dataset.output_names().len() as u64, ran.tables("published"));
    let ran = dataset.run(&["in", "out"]).failed();
    assert_eq!(ran.tables("failed"), 1);
    assert_eq!(dataset.output_names().len(), 19);
    // What was published stays known to a run that ends before it looked at it.
    dataset.run(&["in", "out", "--fail-fast", "--drop", "files"]);
    assert_eq!(dataset.manifest()["tables"].as_array().map(Vec::len), Some(19));
    dataset.write("t10.parquet", &rows("t10.parquet", 0..ROWS));
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!(ran.count("embedded"), ROWS, "{}", ran.answer);
}

#[test]
fn success_file_is_there_after_success_alone() {
    let dataset = Dataset::of(&TABLES);
    let run = || dataset.run(&["in", "out", "--success-file"]);
    let success = dataset.path("out/_SUCCESS");
    run().done();
    assert_eq!(fs::metadata(&success).expect("a file").len(), 0);
    fs::write(dataset.path("in/a.parquet"), "no table").expect("a file");
    run().failed();
    assert!(!success.exists());
    run().failed();
    assert!(!success.exists());
    dataset.write("a.parquet", &rows("a", 0..8));
    run().done();
    assert!(success.exists());
    // Without the flag, it would be a lie once a table changes.
    dataset.write("a.parquet", &rows("a", 0..9));
    dataset.run(&["in", "out"]).done();
    assert!(!success.exists());
}

#[test]
fn success_file_is_removed_before_an_output_is_deleted() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out", "--success-file"]).done();
    fs::remove_file(dataset.path("in/a.parquet")).expect("an input");
    let before = FileState::from(&fs::metadata(dataset.path("out/_SUCCESS")).expect("a file"));
    let delete = ["in", "out", "--on-missing", "delete", "--success-file"];
    dataset.run(&delete).done();
    let after = FileState::from(&fs::metadata(dataset.path("out/_SUCCESS")).expect("a file"));
    assert_ne!(before, after, "it is written anew");
    // Without the flag none is left that speaks of the tables before.
    fs::remove_file(dataset.path("in").join(TABLES[1])).expect("an input");
    dataset.run(&delete[..4]).done();
    assert!(!dataset.path("out/_SUCCESS").exists());
}

#[test]
fn columns_may_differ_from_table_to_table() {
    let dataset = Dataset::of(&["a.parquet"]);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let titles: ArrayRef = Arc::new(LargeStringArray::from(vec!["one", "two"]));
    let views: ArrayRef = Arc::new(StringViewArray::from(vec!["x", "y"]));
    let nulls: ArrayRef = Arc::new(NullArray::new(2));
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
    ]));
    let new = || strings(&["p", "q"]);
    write(
        &dataset,
        "more.parquet",
        vec![
            ("new", new()),
            ("title", titles),
            ("lists", lists),
            ("id", ids.clone()),
            ("description", new()),
        ],
    );
    write(
        &dataset,
        "other.parquet",
        vec![
            ("id", new()),
            ("title", views),
            ("description", strings(&["", "d"])),
            ("new", ids),
            ("none", nulls),
        ],
    );
    // The files are part of the text only where there are some.
    write(&dataset, "fewer.parquet", vec![("title", new()), ("description", new())]);
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!(ran.count("rows"), ROWS + 6);
    for table in ["a.parquet", "more.parquet", "other.parquet", "fewer.parquet"] {
        assert!(dataset.output(table) == dataset.alone(table, &[]), "{table}");
        let (input, output) = (dataset.path("in").join(table), dataset.path("out").join(table));
        let (input, output) = (read_parquet(&input), read_parquet(&output));
        let names: Vec<_> = input.schema.fields().iter().map(|field| field.name()).collect();
        let found: Vec<_> = output.schema.fields().iter().map(|field| field.name()).collect();
        assert_eq!(found[..names.len()], names, "{table}");
    }
    let texts = ran.answer["warnings"].as_array().expect("warnings");
    assert!(texts.len() <= 2, "one kind of warning is told once: {texts:?}");
}

#[test]
fn table_that_changes_while_it_is_read_fails() {
    let dataset = Dataset::of(&["small.parquet"]);
    dataset.write("x=1/y=2/large.parquet", &rows("large", 0..3000));
    let config = "[input]\nchunk_rows = 20\n[compute]\nthreads = 1\n[cache]\ncommit_rows = 20\n";
    fs::write(dataset.path("pipeline.toml"), config).expect("a configuration");
    let mut run = dataset.start(&["in", "out"], "kept in the cache", 3);
    let path = dataset.path("in/x=1/y=2/large.parquet");
    OpenOptions::new()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(b"x"))
        .expect("it grows");
    assert_eq!(run.wait().expect("a child").code(), Some(1));
    let manifest = dataset.manifest();
    assert_eq!(paths(&manifest["tables"]), ["small.parquet"]);
    let message = manifest["failed"][0]["message"].as_str().expect("a message");
    assert!(message.contains("large.parquet") && message.contains("changed while"), "{message}");
    assert_eq!(dataset.output_directories(), Vec::<PathBuf>::new());
    let file = File::options().write(true).open(&path).expect("a table");
    file.set_len(file.metadata().expect("a file").len() - 1).expect("it shrinks");
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!((ran.tables("published"), ran.tables("unchanged")), (1, 1));
    assert!(ran.count("reused") >= 40, "{}", ran.answer);
}

#[test]
fn row_that_is_wrong_is_named_with_its_table() {
    let dataset = Dataset::of(&["a.parquet"]);
    let name = "x=1/line\nbreak \u{1b}[31m.parquet";
    fs::create_dir(dataset.path("in/x=1")).expect("a directory");
    BAD[4].1(&dataset, name);
    let ran = dataset.run(&["in", "out"]).failed();
    let named: Vec<&str> = ran.log.lines().filter(|line| line.contains("UTF-8")).collect();
    assert!(named.len() == 1 && named[0].contains("row 2"), "{}", ran.log);
    assert!(!ran.log.contains('\u{1b}'), "{:?}", ran.log);
    assert_eq!(ran.log.lines().count(), 4, "a start, a warning, the table, the end: {}", ran.log);
    assert_eq!(dataset.manifest()["failed"][0]["path"], name);
}

#[test]
fn link_in_the_place_of_an_output_fails_its_table_alone() {
    let dataset = Dataset::of(&TABLES);
    fs::create_dir(dataset.path("out")).expect("a directory");
    fs::write(dataset.path("elsewhere"), "text").expect("a file");
    std::os::unix::fs::symlink("../elsewhere", dataset.path("out/a.parquet")).expect("a link");
    let ran = dataset.run(&["in", "out"]).failed();
    assert_eq!((ran.tables("failed"), ran.tables("published")), (1, 2), "{}", ran.log);
    assert!(ran.log.contains("symbolic link"), "{}", ran.log);
    assert!(fs::read(dataset.path("elsewhere")).expect("a file") == b"text");
}

#[test]
fn warning_of_many_tables_is_told_once() {
    let dataset = Dataset::empty();
    fs::create_dir(dataset.path("in")).expect("a directory");
    for table in ["a.parquet", "b.parquet", "c.parquet", "d.parquet"] {
        let title = strings(&[table]);
        write(
            &dataset,
            table,
            vec![("id", strings(&["1"])), ("title", title.clone()), ("description", title)],
        );
    }
    let ran = dataset.run(&["in", "out"]).done();
    let warnings = ran.answer["warnings"].as_array().expect("warnings");
    let warnings: Vec<&str> = warnings.iter().map(|one| one.as_str().expect("text")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains(".parquet: the input has no files column"), "{warnings:?}");
    assert!(warnings[1].contains("3 other tables"), "{warnings:?}");
}
