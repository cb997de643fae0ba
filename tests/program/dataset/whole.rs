//! The commands about a whole dataset: `status`, `merge`, `verify`, and the dry run.

use std::fs;

use serde_json::Value;

use super::{Dataset, ROWS, Ran, TABLES, rows};

impl Dataset {
    /// Another command, with a result in JSON.
    fn call(&self, arguments: &[&str]) -> Ran {
        let format = ["--output-format", "json"];
        let mut command = self.job.command(&[arguments, &format[..]].concat());
        Ran::new(command.output().expect("a child"))
    }

    /// `reembed merge` with variables of the environment.
    fn merge(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let format = ["merge", "--output-format", "json"];
        let mut command = self.job.command(&[&format[..], arguments].concat());
        command.envs(variables.iter().copied());
        Ran::new(command.output().expect("a child"))
    }

    fn with_model(&self, arguments: &[&str]) -> Ran {
        let model = self.job.model.path().to_str().expect("text").to_owned();
        self.call(&[arguments, &["--model-path", &model]].concat())
    }

    fn status(&self) -> Value {
        self.with_model(&["status", "out", "--input", "in"]).done().answer["status"].take()
    }

    fn shards(&self, count: usize) {
        for index in 1..=count {
            self.run(&["in", "out", "--shard", &format!("{index}/{count}")]).done();
        }
    }
}

/// The tables of a list and why they are named.
fn names(tables: &Value) -> Vec<(&str, &str)> {
    let tables = tables.as_array().expect("a list").iter();
    let pair = tables.map(|table| (table["table"].as_str(), table["reason"].as_str()));
    pair.map(|(table, reason)| (table.expect("a table"), reason.expect("a reason"))).collect()
}

#[test]
fn status_tells_what_the_next_run_would_do() {
    let dataset = Dataset::of(&TABLES);
    let before = dataset.status();
    assert_eq!(before["in_place"], 0);
    assert_eq!(names(&before["to_publish"]), TABLES.map(|table| (table, "new")));
    assert!(!dataset.path("out").exists(), "status creates nothing");
    dataset.run(&["in", "out"]).done();
    let done = dataset.status();
    assert_eq!((&done["in_place"], &done["rows"]), (&3.into(), &(3 * ROWS).into()));
    assert_eq!(names(&done["to_publish"]), []);
    // A changed input, a missing output, a new table that is none, and one that is gone.
    dataset.write(TABLES[0], &rows("other", 0..ROWS));
    fs::remove_file(dataset.path("out").join(TABLES[1])).expect("an output");
    fs::remove_file(dataset.path("in").join(TABLES[2])).expect("an input");
    fs::write(dataset.path("in/x.parquet"), "no table").expect("a file");
    dataset.run(&["in", "out", "--only", "dt = 2026-10-31"]).done();
    let now = dataset.status();
    let expected = [(TABLES[0], "input changed"), ("x.parquet", "new")];
    assert_eq!(names(&now["to_publish"]), expected);
    assert_eq!(now["gone"][0], TABLES[2]);
    dataset.run(&["in", "out"]).failed();
    let failed = dataset.status();
    assert_eq!(failed["failed"][0]["table"], "x.parquet");
    assert_eq!(names(&failed["to_publish"]), [("x.parquet", "new")]);
    // The manifest alone knows the inputs too.
    let alone = dataset.with_model(&["status", "out"]).done();
    assert_eq!(alone.answer["status"], failed);
}

#[test]
fn shards_are_merged_into_one_dataset() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "whole"]).done();
    dataset.run(&["in", "out", "--shard", "1/2"]).done();
    let hole = dataset.call(&["merge", "out", "--success-file"]);
    assert_eq!(hole.code, Some(2), "{}", hole.answer);
    assert!(hole.log.contains("shard 2/2 has not run"), "{}", hole.log);
    dataset.run(&["in", "out", "--shard", "2/2"]).done();
    let merged = dataset.call(&["merge", "out", "--success-file"]).done();
    let merge = &merged.answer["merge"];
    assert_eq!((&merge["shards"], &merge["tables"]), (&2.into(), &3.into()), "{merge}");
    assert_eq!(merge["cached"], 0, "the vectors stand in the tables");
    assert!(dataset.path("out/_SUCCESS").exists());
    for table in TABLES {
        let whole = fs::read(dataset.path("whole").join(table)).expect("an output");
        assert_eq!(dataset.output(table), whole, "{table}");
    }
    // Nothing is left to do, for shards and for the whole.
    assert_eq!(dataset.run(&["in", "out"]).done().tables("unchanged"), 3);
    dataset.shards(3);
    assert_eq!(dataset.call(&["merge", "out"]).done().answer["merge"]["cached"], 0);
    // A changed row is one text for a shard: the others stand in the tables.
    let mut changed = rows(TABLES[0], 0..ROWS);
    changed[3].title = Some("another title".to_owned());
    dataset.write(TABLES[0], &changed);
    let embedded: u64 = (1..=2)
        .map(|index| {
            let shard = format!("{index}/2");
            dataset.run(&["in", "out", "--shard", &shard]).done().count("embedded")
        })
        .sum();
    assert_eq!(embedded, 1);
    // The text that was replaced is kept, should it come back.
    assert_eq!(dataset.call(&["merge", "out"]).done().answer["merge"]["cached"], 1);
}

#[test]
fn shards_of_other_settings_are_not_merged() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out", "--shard", "1/2"]).done();
    dataset.run(&["in", "out", "--shard", "2/2", "--keep", "id"]).done();
    let refused = dataset.call(&["merge", "out"]);
    assert_eq!(refused.code, Some(2), "{}", refused.answer);
    assert!(refused.log.contains("other settings"), "{}", refused.log);
    assert!(!dataset.path("out/_reembed/manifest.json").exists());
}

#[test]
fn merge_deletes_what_has_no_input_when_asked() {
    let dataset = Dataset::of(&TABLES);
    dataset.shards(2);
    dataset.call(&["merge", "out"]).done();
    fs::remove_file(dataset.path("in").join(TABLES[2])).expect("an input");
    dataset.shards(2);
    assert_eq!(dataset.call(&["merge", "out"]).done().answer["merge"]["deleted"], 0);
    assert_eq!(dataset.output_names(), TABLES);
    dataset.shards(2);
    let deleted = dataset.call(&["merge", "out", "--delete-missing"]).done();
    assert_eq!(deleted.answer["merge"]["deleted"], 1);
    assert_eq!(dataset.output_names(), TABLES[..2]);
}

#[test]
fn merge_reads_the_configuration() {
    let dataset = Dataset::of(&TABLES);
    dataset.shards(2);
    dataset.merge(&["out"], &[]).done();
    fs::remove_file(dataset.path("in").join(TABLES[2])).expect("an input");
    dataset.shards(2);
    let delete = ["out", "--delete-missing"];
    let shrink = "REEMBED_PUBLISH_MAX_SHRINK";
    dataset.merge(&delete, &[(shrink, "30")]).refused(2, &["34 %", "at most 30 %"]);
    let config = "[output]\npath = \"out\"\n[publish]\nmax_shrink = 20\n";
    fs::write(dataset.path("pipeline.toml"), config).expect("a configuration");
    // The output is that of the configuration, too.
    dataset.merge(&delete[1..], &[]).refused(2, &["34 %", "at most 20 %"]);
    fs::rename(dataset.path("pipeline.toml"), dataset.path("other.toml")).expect("it moves");
    let other = ["--delete-missing", "--config", "other.toml"];
    dataset.merge(&other, &[]).refused(2, &["at most 20 %"]);
    dataset.merge(&["--config", "none.toml"], &[]).refused(2, &["none.toml"]);
    assert_eq!(dataset.output_names(), TABLES);
    let merged = dataset.merge(&[&other[..], &["--allow-shrink"]].concat(), &[]).done();
    assert_eq!(merged.answer["merge"]["deleted"], 1);
    assert_eq!(merged.answer["paths"]["output"], "out");
    dataset.merge(&[], &[]).refused(2, &["output.path"]);
}

impl Dataset {
    /// Embeds two shards in a form that leaves the vectors of the model in the cache.
    fn shards_in_half_precision(&self) {
        for shard in ["1/2", "2/2"] {
            let mut command = self.command(&["in", "out", "--shard", shard]);
            command.env("REEMBED_VECTOR_TYPE", "f16");
            Ran::new(command.output().expect("a child")).done();
        }
    }
}

#[test]
fn joined_cache_keeps_to_its_size() {
    let dataset = Dataset::of(&TABLES);
    dataset.shards_in_half_precision();
    let merged = dataset.merge(&["out"], &[("REEMBED_CACHE_MAX_SIZE", "2 KB")]).done();
    let cached = merged.answer["merge"]["cached"].as_u64().expect("a number");
    assert!((1..3 * ROWS).contains(&cached), "{}", merged.answer);
}

#[test]
fn merge_tells_that_it_set_a_damaged_cache_aside() {
    let dataset = Dataset::of(&TABLES);
    dataset.shards_in_half_precision();
    let cache = dataset.path("out/_reembed/dataset/cache");
    fs::write(&cache, [0; 4096]).expect("a file");
    let merged = dataset.merge(&["out"], &[]).done();
    assert_eq!(merged.answer["merge"]["cached"], 3 * ROWS);
    let warnings = merged.answer["warnings"].as_array().expect("warnings");
    let said = warnings.first().and_then(Value::as_str).expect("a warning");
    assert!(said.contains("cache is unusable") && said.contains("cache.damaged"), "{said}");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(merged.log.contains("WARN") && merged.log.contains(said), "{}", merged.log);
    assert!(dataset.path("out/_reembed/dataset/cache.damaged").exists());
    assert_eq!(
        dataset.merge(&["out"], &[]).done().answer["warnings"].as_array().map(Vec::len),
        Some(0)
    );
}

#[test]
fn verify_compares_every_table_with_manifest_and_input() {
    let dataset = Dataset::of(&TABLES);
    dataset.run(&["in", "out"]).done();
    let verify = |expected: i32| {
        let ran = dataset.with_model(&["verify", "out", "--input", "in"]);
        assert_eq!(ran.code, Some(expected), "{}\n{}", ran.answer, ran.log);
        ran.answer["checks"].to_string()
    };
    verify(0);
    // A copy of the dataset is the dataset.
    fs::rename(dataset.path("out"), dataset.path("old")).expect("it moves");
    fs::create_dir(dataset.path("out")).expect("a directory");
    for (path, _) in dataset.files("old") {
        let to = dataset.path("out").join(&path);
        fs::create_dir_all(to.parent().expect("a parent")).expect("directories");
        fs::copy(dataset.path("old").join(&path), to).expect("a copy");
    }
    verify(0);
    // An output of another table in its place, a new input, and an output that is gone.
    let other = dataset.output(TABLES[1]);
    fs::write(dataset.path("out").join(TABLES[0]), other).expect("an output");
    dataset.write("new.parquet", &rows("new", 0..ROWS));
    fs::remove_file(dataset.path("out").join(TABLES[1])).expect("an output");
    let found = verify(1);
    for wrong in [
        "a.parquet: it is not the file that was published",
        "dt=2026-10-31/b.parquet: ",
        "new.parquet has no output",
    ] {
        assert!(found.contains(wrong), "{wrong}: {found}");
    }
    let none = dataset.call(&["verify", "in"]);
    assert_eq!(none.code, Some(2));
    assert!(none.log.contains("has no manifest"), "{}", none.log);
}

#[test]
fn dry_run_counts_what_the_run_then_does() {
    let dataset = Dataset::of(&TABLES);
    let expect = || {
        let dry = dataset.run(&["in", "out", "--dry-run"]).done();
        let run = dataset.run(&["in", "out"]).done();
        assert_eq!(dry.answer["counts"], run.answer["counts"]);
        for name in ["taken", "published", "unchanged"] {
            assert_eq!(dry.tables(name), run.tables(name), "{name}");
        }
        dry
    };
    assert_eq!(expect().count("embedded"), 3 * ROWS);
    assert_eq!(expect().tables("unchanged"), 3);
    let mut changed = rows(TABLES[1], 0..ROWS);
    changed.push(rows("more", 0..1).remove(0));
    dataset.write(TABLES[1], &changed);
    let dry = expect();
    assert_eq!((dry.count("embedded"), dry.tables("published")), (1, 1));
}
