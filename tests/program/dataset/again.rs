//! The next run over a dataset: what did not change is not opened, and what changed is noticed.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Dataset, ROWS, TABLES, paths, rows};

#[test]
fn unchanged_tables_are_not_opened_and_nothing_is_written() {
    let dataset = Dataset::of(&TABLES);
    let first = dataset.run(&["in", "out"]).done();
    assert!(dataset.report()["model_load_seconds"].is_number());
    let written = |dataset: &Dataset| {
        let mut files = dataset.files("out");
        files.retain(|path, _| !path.starts_with("_reembed/reports"));
        files
    };
    let before = written(&dataset);
    for supervision in [&[][..], &["--no-supervise"]] {
        let again = dataset.run(&[&["in", "out"], supervision].concat()).done();
        assert_eq!((again.tables("unchanged"), again.tables("published")), (3, 0));
        assert_eq!((again.count("embedded"), again.count("reused")), (0, 3 * ROWS));
        assert_eq!(again.count("rows"), 3 * ROWS);
        assert_eq!(again.answer["output_unchanged"], true, "{}", again.answer);
        assert_eq!(again.answer["fingerprint"], first.answer["fingerprint"]);
        assert_eq!(dataset.report()["model_load_seconds"], Value::Null);
        assert_eq!(written(&dataset), before);
    }
}

#[test]
fn success_file_of_an_unchanged_dataset_stays_as_it_is() {
    let dataset = Dataset::of(&TABLES);
    let run = || dataset.run(&["in", "out", "--success-file"]).done();
    run();
    let before = dataset.outputs();
    assert!(before.contains_key(Path::new("_SUCCESS")));
    run();
    assert_eq!(dataset.outputs(), before);
}

#[test]
fn only_changed_rows_of_a_changed_table_are_embedded() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    let before = dataset.outputs();
    let mut changed = rows("a.parquet", 0..ROWS + 2);
    changed[4].title = Some("another title".to_owned());
    dataset.write("a.parquet", &changed);
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!((ran.tables("published"), ran.tables("unchanged")), (1, 2), "{}", ran.answer);
    assert_eq!((ran.count("embedded"), ran.count("reused")), (3, 3 * ROWS - 1));
    let after = dataset.outputs();
    for (path, state) in &before {
        assert_eq!(after[path] == *state, path != Path::new("a.parquet"), "{path:?}");
    }
    assert!(dataset.output("a.parquet") == dataset.alone("a.parquet", &[]));
    assert_eq!(dataset.run(&["in", "out"]).done().tables("unchanged"), 3);
}

#[test]
fn new_table_is_added() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    dataset.write("dt=2026-11-02/n.parquet", &rows("n", 0..3));
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!((ran.tables("published"), ran.tables("unchanged")), (1, 3));
    assert_eq!(ran.count("embedded"), 3);
    assert_eq!(dataset.output_names().len(), 4);
}

#[test]
fn deleted_or_edited_output_is_made_again() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    let expected = dataset.output("a.parquet");
    let path = dataset.path("out/a.parquet");
    // The vectors stood there and nowhere else.
    let cases: [(&str, u64, &dyn Fn()); 4] = [
        ("deleted", ROWS, &|| fs::remove_file(&path).expect("an output")),
        ("the output of another table", ROWS, &|| {
            fs::remove_file(&path).expect("an output");
            fs::copy(dataset.path("out").join(TABLES[1]), &path).map(drop).expect("a copy");
        }),
        ("copied back", 0, &|| {
            fs::rename(&path, dataset.path("kept")).expect("a file");
            fs::copy(dataset.path("kept"), &path).map(drop).expect("a copy");
        }),
        ("its directory is gone", ROWS, &|| {
            fs::remove_dir_all(dataset.path("out/dt=2026-10-31")).expect("a directory");
        }),
    ];
    for (case, lost, edit) in cases {
        edit();
        let ran = dataset.run(&["in", "out"]).done();
        assert_eq!((ran.tables("published"), ran.tables("unchanged")), (1, 2), "{case}");
        assert_eq!(ran.count("embedded"), lost, "{case}: {}", ran.answer);
        assert!(dataset.output("a.parquet") == expected, "{case}");
        assert_eq!(dataset.output_names(), TABLES, "{case}");
        assert_eq!(dataset.run(&["in", "out"]).done().tables("unchanged"), 3, "{case}");
    }
}

#[test]
fn foreign_file_in_the_place_of_an_output_fails_its_table_alone() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    for table in [TABLES[0], TABLES[2]] {
        let path = dataset.path("out").join(table);
        let kept = dataset.output(table);
        fs::write(&path, "no table").expect("a file");
        let ran = dataset.run(&["in", "out"]).failed();
        assert_eq!((ran.tables("failed"), ran.tables("unchanged")), (1, 2), "{}", ran.answer);
        assert!(ran.log.contains(table) && ran.log.contains("--replace"), "{}", ran.log);
        assert!(fs::read(&path).expect("a file") == b"no table");
        let ran = dataset.run(&["in", "out", "--replace"]).done();
        assert_eq!(ran.tables("published"), 1);
        assert!(dataset.output(table) == kept);
    }
}

#[test]
fn other_texts_need_switch_model_and_are_embedded_in_every_table() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    let before = dataset.outputs();
    for supervision in [&[][..], &["--no-supervise"]] {
        let other = [&["in", "out", "--text", "description"], supervision].concat();
        dataset.run(&other).refused(3, &["out/a.parquet: ", "--switch-model"]);
        assert_eq!(dataset.outputs(), before);
        assert_eq!(paths(&dataset.manifest()["tables"]), TABLES);
    }
    let ran = dataset.run(&["in", "out", "--text", "id", "--switch-model"]).done();
    assert_eq!((ran.tables("published"), ran.count("embedded")), (3, 3 * ROWS));
    for table in TABLES {
        assert!(dataset.output(table) == dataset.alone(table, &["--text", "id"]), "{table}");
    }
    let ran = dataset.run(&["in", "out", "--text", "id"]).done();
    assert_eq!(ran.tables("unchanged"), 3);
}

#[test]
fn settings_of_the_output_are_noticed_and_others_are_not() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    for (arguments, published) in [
        (&["--batch-size", "3", "--threads", "1", "--cache", "elsewhere"][..], 0),
        (&["--drop", "files"], 3),
        (&["--drop", "files", "--cache-mode", "off"], 0),
        (&["--rebuild", "--drop", "files"], 3),
        (&["--drop", "files"], 0),
        (&[], 3),
    ] {
        let ran = dataset.run(&[&["in", "out"], arguments].concat()).done();
        assert_eq!(ran.tables("published"), published, "{arguments:?}");
        let embedded = if arguments.contains(&"--rebuild") { 3 * ROWS } else { 0 };
        assert_eq!(ran.count("embedded"), embedded, "{arguments:?}: {}", ran.answer);
    }
    assert!(dataset.output("a.parquet") == dataset.alone("a.parquet", &[]));
}

#[test]
fn without_a_manifest_every_table_is_looked_at_and_none_embedded() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    let before = dataset.outputs();
    fs::remove_dir_all(dataset.path("out/_reembed")).expect("it is removed");
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!((ran.tables("published"), ran.tables("same_bytes")), (3, 3), "{}", ran.answer);
    assert_eq!(ran.count("embedded"), 0);
    assert_eq!(dataset.outputs(), before);
    fs::write(dataset.path("out/_reembed/manifest.json"), "{\"schema\": ").expect("a file");
    dataset.run(&["in", "out"]).refused(2, &["out/_reembed/manifest.json", "damaged", "delete it"]);
    assert_eq!(dataset.outputs(), before);
}

// Tables whose input is gone.

#[test]
fn output_of_a_table_that_is_gone_is_kept_or_deleted() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    fs::remove_file(dataset.path("in").join(TABLES[1])).expect("an input");
    for _ in 0..2 {
        let ran = dataset.run(&["in", "out"]).done();
        assert_eq!((ran.tables("gone"), ran.tables("deleted")), (1, 0), "{}", ran.answer);
        assert_eq!(dataset.output_names(), TABLES);
        let manifest = dataset.manifest();
        assert_eq!(paths(&manifest["tables"]), TABLES);
        assert_eq!(manifest["tables"][1]["input_is_gone"], true);
    }
    let ran = dataset.run(&["in", "out", "--on-missing", "delete"]).done();
    assert_eq!((ran.tables("gone"), ran.tables("deleted")), (1, 1), "{}", ran.answer);
    assert_eq!(dataset.output_names(), [TABLES[0], TABLES[2]]);
    assert!(!dataset.path("out/dt=2026-10-31").exists(), "an empty directory is removed");
    assert_eq!(paths(&dataset.manifest()["tables"]), [TABLES[0], TABLES[2]]);
    let ran = dataset.run(&["in", "out", "--on-missing", "delete"]).done();
    assert_eq!((ran.tables("gone"), ran.tables("deleted")), (0, 0));
}

#[test]
fn table_that_comes_back_is_no_longer_gone() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    let (here, away) = (dataset.path("in/a.parquet"), dataset.path("away"));
    fs::rename(&here, &away).expect("it moves");
    dataset.run(&["in", "out"]).done();
    assert_eq!(dataset.manifest()["tables"][0]["input_is_gone"], true);
    fs::rename(&away, &here).expect("it moves back");
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!((ran.tables("unchanged"), ran.tables("gone")), (3, 0));
    assert!(dataset.manifest()["tables"][0].get("input_is_gone").is_none());
}

#[test]
fn deleting_more_than_half_is_refused() {
    let tables = ["a.parquet", "b.parquet", "c.parquet"];
    let dataset = Dataset::of(&tables);
    dataset.run(&["in", "out"]).done();
    for table in &tables[..2] {
        fs::remove_file(dataset.path("in").join(table)).expect("an input");
    }
    let before = dataset.files("out");
    let delete = ["in", "out", "--on-missing", "delete"];
    dataset.run(&delete).refused(2, &["2 of 3 tables are gone", "--allow-shrink"]);
    let mut after = dataset.files("out");
    after.retain(|path, _| before.contains_key(path));
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    let ran = dataset.run(&[&delete[..], &["--allow-shrink"]].concat()).done();
    assert_eq!(ran.tables("deleted"), 2);
    assert_eq!(dataset.output_names(), ["c.parquet"]);
}

#[test]
fn most_rows_count_like_most_tables() {
    let dataset = Dataset::of(&["a.parquet", "b.parquet", "c.parquet"]);
    dataset.write("large.parquet", &rows("large", 0..4 * ROWS));
    dataset.run(&["in", "out"]).done();
    fs::remove_file(dataset.path("in/large.parquet")).expect("an input");
    let delete = ["in", "out", "--on-missing", "delete"];
    dataset.run(&delete).refused(2, &["1 of 4 tables", "--allow-shrink"]);
    assert_eq!(dataset.output_names().len(), 4);
}

#[test]
fn table_that_a_run_does_not_take_is_never_deleted() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    for arguments in [
        &["in", "out", "--only", "dt >= 2026-11-01"][..],
        &["in/*.parquet", "out"],
        &["in/dt=2026-11-*/", "out"],
    ] {
        let delete = ["--on-missing", "delete", "--allow-shrink"];
        let ran = dataset.run(&[arguments, &delete].concat()).done();
        assert_eq!((ran.tables("gone"), ran.tables("deleted")), (0, 0), "{arguments:?}");
        assert_eq!(dataset.output_names(), TABLES, "{arguments:?}");
        assert_eq!(paths(&dataset.manifest()["tables"]), TABLES, "{arguments:?}");
    }
    assert_eq!(dataset.run(&["in", "out"]).done().tables("unchanged"), 3);
}

#[test]
fn edited_output_of_a_table_that_is_gone_stays() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    fs::remove_file(dataset.path("in/a.parquet")).expect("an input");
    fs::write(dataset.path("out/a.parquet"), "edited").expect("a file");
    let ran = dataset.run(&["in", "out", "--on-missing", "delete"]).done();
    assert_eq!((ran.tables("gone"), ran.tables("deleted")), (1, 0));
    assert!(dataset.output("a.parquet") == b"edited");
}

#[test]
fn table_of_another_root_is_not_taken_for_one_that_is_gone() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    for missing in ["keep", "delete"] {
        let other = ["in/dt=2026-11-01", "out", "--on-missing", missing];
        let said = r#"its tables were made from those below "in", and this run would read "in/dt=2026-11-01""#;
        dataset.run(&other).refused(2, &[said]);
    }
    assert_eq!(dataset.output_names(), TABLES);
    // A directory that was moved is the same one.
    fs::rename(dataset.path("in"), dataset.path("moved")).expect("it moves");
    assert_eq!(dataset.run(&["moved", "out"]).done().tables("unchanged"), 3);
}

#[test]
fn success_file_waits_for_the_tables_of_other_runs() {
    let dataset = Dataset::of(&TABLES);
    let one = ["in", "out", "--success-file", "--only", "dt = 2026-11-01"];
    dataset.run(&one).done();
    assert!(!dataset.path("out/_SUCCESS").exists());
    dataset.run(&["in", "out", "--success-file"]).done();
    assert!(dataset.path("out/_SUCCESS").exists());
}

#[test]
fn touched_input_is_read_and_its_output_left_alone() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    let before = dataset.outputs();
    dataset.write("a.parquet", &rows("a.parquet", 0..ROWS));
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!((ran.tables("published"), ran.tables("same_bytes")), (1, 1), "{}", ran.answer);
    assert_eq!(ran.count("embedded"), 0);
    assert_eq!(dataset.outputs(), before);
    assert_eq!(dataset.run(&["in", "out"]).done().tables("unchanged"), 3);
}

#[test]
fn renamed_table_is_embedded_from_the_cache() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    fs::create_dir(dataset.path("in/moved")).expect("a directory");
    fs::rename(dataset.path("in/a.parquet"), dataset.path("in/moved/z.parquet")).expect("it moves");
    let ran = dataset.run(&["in", "out", "--on-missing", "delete"]).done();
    assert_eq!((ran.tables("published"), ran.tables("deleted")), (1, 1));
    assert_eq!(ran.count("embedded"), 0, "{}", ran.answer);
    assert_eq!(dataset.output_names(), [TABLES[1], TABLES[2], "moved/z.parquet"]);
}

#[test]
fn without_a_cache_unchanged_rows_are_copied() {
    let dataset = Dataset::of(&TABLES);
    let run = |arguments: &[&str]| {
        dataset.run(&[&["in", "out", "--cache-mode", "off"], arguments].concat()).done()
    };
    assert_eq!(run(&[]).count("embedded"), 3 * ROWS);
    assert_eq!(run(&["--drop", "files"]).count("embedded"), 0);
    assert!(!dataset.path("out/_reembed/dataset/cache").exists());
}
