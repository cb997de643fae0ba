//! Vectors that stand in published tables: they are found there and kept nowhere else.

use std::fs;
use std::os::unix::fs::FileExt;

use reembed::TaskRow;
use reembed_testing::model_directory::ModelDirectory;

use super::{Dataset, ROWS, Ran, TABLES, rows};

/// A table with another title in one row.
fn with_change(table: &str, title: &str) -> Vec<TaskRow> {
    let mut rows = rows(table, 0..ROWS);
    rows[3].title = Some(title.to_owned());
    rows
}

impl Dataset {
    /// Entries of the vector cache.
    fn cached(&self) -> u64 {
        let stats = reembed::cache::stats(&self.path("out/_reembed/dataset/cache"));
        stats.expect("a cache").entries
    }

    /// Embeds the dataset and checks how many texts were computed, and that each output is what a run over its table alone
    /// writes.
    #[track_caller]
    fn computes(&self, texts: u64, arguments: &[&str]) -> Ran {
        let ran = self.run(&[&["in", "out"], arguments].concat()).done();
        assert_eq!(ran.count("embedded"), texts, "{}\n{}", ran.answer, ran.log);
        let own = ["--cache-mode", "--rebuild", "--switch-model", "output"];
        let settings: Vec<&str> =
            arguments.iter().copied().filter(|argument| !own.contains(argument)).collect();
        for table in TABLES {
            assert!(self.output(table) == self.alone(table, &settings), "{table}, {arguments:?}");
        }
        ran
    }
}

#[test]
fn vectors_leave_the_cache_when_their_table_is_published() {
    let dataset = Dataset::of(&TABLES);
    dataset.computes(3 * ROWS, &[]);
    assert_eq!(dataset.cached(), 0);
    // What is displaced is kept, and leaves the cache when it stands in a table again.
    dataset.write(TABLES[0], &with_change(TABLES[0], "another"));
    dataset.computes(1, &[]);
    assert_eq!(dataset.cached(), 1);
    dataset.write(TABLES[0], &rows(TABLES[0], 0..ROWS));
    dataset.computes(0, &[]);
    assert_eq!(dataset.cached(), 1, "the other text is displaced now");
    dataset.write(TABLES[0], &with_change(TABLES[0], "another"));
    dataset.computes(0, &[]);
}

#[test]
fn going_to_another_model_and_back_computes_nothing() {
    let dataset = Dataset::of(&TABLES);
    dataset.computes(3 * ROWS, &[]);
    let other = ModelDirectory::tiny().seed(9).write();
    let mut command = dataset.job.command(&["run", "--output-format", "json", "--model-path"]);
    command.arg(other.path()).args(["in", "out", "--switch-model"]);
    let ran = Ran::new(command.output().expect("a child")).done();
    assert_eq!(ran.count("embedded"), 3 * ROWS);
    assert_eq!(dataset.cached(), 3 * ROWS, "those of the first model");
    dataset.computes(0, &["--switch-model"]);
    assert_eq!(dataset.cached(), 3 * ROWS, "those of the other model");
}

#[test]
fn a_changed_row_alone_is_computed_without_any_cache() {
    for lost in ["out/_reembed/dataset", "out/_reembed/keys", "out/_reembed"] {
        let dataset = Dataset::of(&TABLES);
        dataset.computes(3 * ROWS, &[]);
        fs::remove_dir_all(dataset.path(lost)).expect("a directory");
        dataset.write(TABLES[1], &with_change(TABLES[1], "another"));
        let ran = dataset.computes(1, &[]);
        assert_eq!(ran.count("reused"), 3 * ROWS - 1, "{lost}");
        assert_eq!(ran.tables("published") + ran.tables("unchanged"), 3, "{lost}");
    }
}

#[test]
fn output_mode_keeps_nothing_beside_the_tables() {
    let dataset = Dataset::of(&TABLES);
    let mode = ["--cache-mode", "output"];
    dataset.computes(3 * ROWS, &mode);
    dataset.write(TABLES[0], &with_change(TABLES[0], "another"));
    dataset.computes(1, &mode);
    assert!(!dataset.path("out/_reembed/dataset/cache").exists());
    // The old text is nowhere.
    dataset.write(TABLES[0], &rows(TABLES[0], 0..ROWS));
    dataset.computes(1, &mode);
    dataset.computes(0, &mode);
}

#[test]
fn a_text_that_moves_to_another_table_is_not_computed() {
    let dataset = Dataset::of(&TABLES);
    dataset.computes(3 * ROWS, &[]);
    // Rows of two tables in a third one, as with a new partition.
    let moved: Vec<TaskRow> =
        TABLES.iter().flat_map(|table| rows(table, 2..5)).rev().chain(rows("new", 0..1)).collect();
    dataset.write("dt=2026-11-02/n.parquet", &moved);
    let ran = dataset.computes(1, &[]);
    assert_eq!(ran.count("reused"), 3 * ROWS + 9);
    let own = dataset.output("dt=2026-11-02/n.parquet");
    assert!(own == dataset.alone("dt=2026-11-02/n.parquet", &[]));
    // A table of another name has the texts of one that is gone.
    fs::rename(dataset.path("in").join(TABLES[0]), dataset.path("in/renamed.parquet"))
        .expect("a table");
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!((ran.count("embedded"), ran.tables("gone")), (0, 1), "{}", ran.answer);
}

#[test]
fn keys_suffice_where_the_texts_are_left_out_of_the_output() {
    let dataset = Dataset::of(&TABLES);
    let drop = ["--drop", "title,description,files"];
    dataset.computes(3 * ROWS, &drop);
    dataset.write(TABLES[2], &with_change(TABLES[2], "another"));
    dataset.computes(1, &drop);
    // Without keys nothing says which text a vector has.
    fs::remove_dir_all(dataset.path("out/_reembed/keys")).expect("a directory");
    dataset.write(TABLES[2], &with_change(TABLES[2], "a third"));
    dataset.computes(ROWS, &drop);
}

#[test]
fn vectors_that_lost_something_stay_in_the_cache() {
    let forms: [&[(&str, &str)]; 3] = [
        &[("REEMBED_VECTOR_TYPE", "f16")],
        &[("REEMBED_VECTOR_TYPE", "ubinary")],
        &[("REEMBED_VECTOR_DIMS", "8"), ("REEMBED_VECTOR_FORCE_DIMS", "true")],
    ];
    for form in forms {
        let dataset = Dataset::of(&TABLES);
        let embedded = || {
            let mut command = dataset.command(&["in", "out"]);
            command.envs(form.iter().copied());
            Ran::new(command.output().expect("a child")).done().count("embedded")
        };
        assert_eq!(embedded(), 3 * ROWS, "{form:?}");
        assert_eq!(dataset.cached(), 3 * ROWS, "{form:?}");
        dataset.write(TABLES[0], &with_change(TABLES[0], "another"));
        assert_eq!(embedded(), 1, "{form:?}");
    }
}

/// A night in another form, or in one that has no keys, and back.
#[test]
fn vectors_that_no_table_keeps_any_more_go_into_the_cache() {
    for other in [("REEMBED_VECTOR_TYPE", "f16"), ("REEMBED_OUTPUT_CARRY", "reencode")] {
        let dataset = Dataset::of(&TABLES);
        dataset.computes(3 * ROWS, &[]);
        let run = || {
            let mut command = dataset.command(&["in", "out"]);
            Ran::new(command.env(other.0, other.1).output().expect("a child")).done()
        };
        assert_eq!(run().count("embedded"), 0, "{other:?}");
        assert_eq!(dataset.cached(), 3 * ROWS, "{other:?}");
        dataset.write(TABLES[0], &with_change(TABLES[0], "another"));
        assert_eq!(run().count("embedded"), 1, "{other:?}");
        dataset.computes(0, &[]);
        assert_eq!(dataset.cached(), 1, "{other:?}: the text that was replaced");
    }
}

#[test]
fn a_rebuild_believes_no_vector_of_before_and_goes_on_after_a_stop() {
    let dataset = Dataset::of(&TABLES);
    dataset.computes(3 * ROWS, &[]);
    // A text moves: the table that loses it displaces its vector.
    let mut rows_of_first = rows(TABLES[0], 0..ROWS);
    let moved = rows_of_first.remove(4);
    dataset.write(TABLES[0], &rows_of_first);
    dataset.write("z.parquet", &[moved]);
    dataset.computes(3 * ROWS, &["--rebuild"]);
    assert_eq!(dataset.cached(), 0);
    // Of a rebuild that fails in its last table nothing is computed again.
    fs::write(dataset.path("in/z.parquet"), "no table").expect("a file");
    let rebuild = || dataset.run(&["in", "out", "--rebuild"]).failed().count("embedded");
    assert_eq!([rebuild(), rebuild()], [3 * ROWS - 1, 0]);
}

#[test]
fn a_text_of_many_tables_is_found_while_one_of_them_has_it() {
    let tables: Vec<String> = (0..7).map(|day| format!("dt={day}/t.parquet")).collect();
    let dataset = Dataset::empty();
    tables.iter().for_each(|table| dataset.write(table, &rows("same", 0..ROWS)));
    assert_eq!(dataset.run(&["in", "out"]).done().count("embedded"), ROWS);
    let delete = ["in", "out", "--on-missing", "delete", "--allow-shrink"];
    for gone in &tables[1..] {
        fs::remove_file(dataset.path("in").join(gone)).expect("a table");
    }
    dataset.run(&delete).done();
    dataset.write(&tables[0], &with_change("same", "another"));
    assert_eq!(dataset.run(&["in", "out"]).done().count("embedded"), 1);
}

/// A place is believed only if the table has the bytes that were written.
#[test]
fn edited_vectors_are_computed_again() {
    let dataset = Dataset::of(&TABLES);
    dataset.computes(3 * ROWS, &[]);
    let path = dataset.path("out").join(TABLES[0]);
    let modified = fs::metadata(&path).and_then(|found| found.modified()).expect("a time");
    let bytes = fs::read(&path).expect("an output");
    // Its vectors are the last column.
    let footer = bytes.len() - 8;
    let length = u32::from_le_bytes(bytes[footer..footer + 4].try_into().expect("a length"));
    let at = footer - length as usize - 1000;
    let file = fs::OpenOptions::new().write(true).open(&path).expect("an output");
    file.write_all_at(&[bytes[at] ^ 1], at as u64).expect("a write");
    file.set_modified(modified).expect("a time");
    drop(file);
    // The same texts in a new table: their places are in the edited one.
    let table = "dt=2026-11-02/n.parquet";
    dataset.write(table, &rows(TABLES[0], 0..ROWS));
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!(ran.count("embedded"), ROWS, "{}", ran.answer);
    assert!(dataset.output(table) == dataset.alone(table, &[]));
}

#[test]
fn an_index_that_is_lost_or_damaged_is_made_again() {
    let dataset = Dataset::of(&TABLES);
    dataset.computes(3 * ROWS, &[]);
    let index = dataset.path("out/_reembed/dataset/index");
    for (number, title) in ["one", "two", "three"].into_iter().enumerate() {
        let segments = fs::read_dir(&index).expect("a directory");
        for path in segments.map(|entry| entry.expect("an entry").path()) {
            let bytes = fs::read(&path).expect("a segment");
            match number {
                0 => fs::remove_file(&path).expect("a segment"),
                1 => fs::write(&path, &bytes[..bytes.len() / 2]).expect("a segment"),
                _ => fs::write(&path, vec![0; bytes.len()]).expect("a segment"),
            }
        }
        dataset.write(TABLES[0], &with_change(TABLES[0], title));
        dataset.computes(1, &[]);
    }
}

#[test]
fn a_named_cache_keeps_vectors_for_other_outputs() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out", "--cache", "shared"]).done();
    let ran = dataset.run(&["in", "other", "--cache", "shared"]).done();
    assert_eq!((ran.count("embedded"), ran.count("reused")), (0, 3 * ROWS));
}

#[test]
fn one_output_is_looked_up_row_by_row_too() {
    let dataset = Dataset::of(&["a.parquet"]);
    let run = |arguments: &[&str]| {
        let ran = dataset.run(&[&["in/a.parquet", "out/a.parquet"], arguments].concat()).done();
        (ran.count("embedded"), ran.count("reused"))
    };
    assert_eq!(run(&[]), (ROWS, 0));
    for (lost, title) in [("a.parquet.cache", "one"), ("keys/a.parquet.keys", "two")] {
        for lost in [lost, "a.parquet.cache"] {
            let _ = fs::remove_file(dataset.path("out/_reembed").join(lost));
        }
        dataset.write("a.parquet", &with_change("a.parquet", title));
        let dry = dataset.run(&["in/a.parquet", "out/a.parquet", "--dry-run"]).done();
        assert_eq!(run(&[]), (1, ROWS - 1), "{lost}");
        // Without keys a dry run, which writes nothing, expects to compute the table.
        let expected = if lost.starts_with("keys") { ROWS } else { 1 };
        assert_eq!(dry.count("embedded"), expected, "{lost}");
        assert!(dataset.output("a.parquet") == dataset.alone("a.parquet", &[]), "{lost}");
    }
    dataset.write("a.parquet", &with_change("a.parquet", "three"));
    assert_eq!(run(&["--cache-mode", "output"]), (1, ROWS - 1));
    dataset.write("a.parquet", &with_change("a.parquet", "four"));
    assert_eq!(run(&["--rebuild"]), (ROWS, 0));
}

#[test]
fn several_vector_columns_are_looked_up_each_in_its_own() {
    let dataset = Dataset::of(&TABLES);
    let config = "[[embedding]]\ncolumn = \"title_vector\"\ntext.columns = [\"title\"]\n\
                  [[embedding]]\ncolumn = \"id_vector\"\ntext.columns = [\"id\"]\n\
                  [[embedding]]\ncolumn = \"half\"\ntext.columns = [\"title\"]\nvector.type = \"f16\"\n";
    fs::write(dataset.path("pipeline.toml"), config).expect("a configuration");
    // The third column has the texts of the first.
    dataset.run(&["in", "out"]).done();
    assert_eq!(dataset.cached(), 0, "the whole vectors of its texts stand in the first column");
    dataset.write(TABLES[0], &with_change(TABLES[0], "another"));
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!(ran.count("embedded"), 1, "{}", ran.answer);
    for table in TABLES {
        assert!(dataset.output(table) == dataset.alone(table, &[]), "{table}");
    }
}
