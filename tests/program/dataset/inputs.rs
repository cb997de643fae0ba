//! Which tables a run takes, and where their outputs lie.

use std::fs;

use super::{Dataset, ROWS, TABLES, paths, rows};

#[test]
fn directory_is_mirrored_and_counts_are_sums() {
    let dataset = Dataset::of(&TABLES);
    let ran = dataset.run(&["in/", "out/"]).done();
    assert_eq!(dataset.output_names(), TABLES);
    let counts = ["rows", "input_rows", "embedded"].map(|name| ran.count(name));
    assert_eq!(counts, [3 * ROWS; 3], "{}", ran.answer);
    let tables = ["listed", "taken", "published", "unchanged", "failed"];
    assert_eq!(tables.map(|name| ran.tables(name)), [3, 3, 3, 0, 0], "{}", ran.answer);
    assert_eq!(ran.answer["paths"]["input"], "in");
    assert_eq!(ran.answer["paths"]["output"], "out/");
    let manifest = dataset.manifest();
    assert_eq!(manifest["schema"], "reembed-manifest/1");
    assert_eq!(manifest["run_id"], ran.answer["run_id"]);
    assert_eq!(manifest["columns"][0]["fingerprint"], ran.answer["fingerprint"]);
    assert_eq!(paths(&manifest["tables"]), TABLES);
    assert_eq!(manifest["failed"].as_array().map(Vec::len), Some(0));
    for table in manifest["tables"].as_array().expect("a list") {
        assert_eq!(table["rows"], ROWS, "{table}");
    }
}

#[test]
fn output_has_the_bytes_of_a_run_over_its_table_alone() {
    for settings in [&[][..], &["--text", "title", "--column", "v"], &["--limit", "4"]] {
        let dataset = Dataset::of(&TABLES);
        dataset.run(&[&["in", "out"], settings].concat()).done();
        for table in TABLES {
            let alone = dataset.alone(table, settings);
            assert!(dataset.output(table) == alone, "{table}, {settings:?}");
        }
    }
}

#[test]
fn own_files_lie_below_reembed_alone() {
    let dataset = Dataset::of(&TABLES);
    let ran = dataset.run(&["in", "out"]).done();
    let own = dataset.files("out/_reembed");
    let own: Vec<String> = own.keys().map(|path| path.to_string_lossy().into_owned()).collect();
    let of_runs = own.iter().filter(|path| path.starts_with("reports/_dataset/runs/")).count();
    assert_eq!(of_runs, 2, "a page and a record: {own:?}");
    let of_tables = own.iter().filter(|path| path.starts_with("keys/")).count();
    assert_eq!(of_tables, TABLES.len(), "the keys of each table: {own:?}");
    let is_other = |path: &&str| !path.contains("/runs/") && !path.starts_with("keys/");
    let others: Vec<&str> = own.iter().map(String::as_str).filter(is_other).collect();
    assert_eq!(
        others,
        [
            "dataset/cache",
            "dataset/index/00000001.index",
            "manifest.json",
            "reports/_dataset/report.html",
            "reports/_dataset/report.json",
            "reports/_dataset/report.prom",
        ]
    );
    assert_eq!(ran.answer["paths"]["report"], "out/_reembed/reports/_dataset/report.html");
    assert_eq!(ran.answer["paths"]["cache"], "out/_reembed/dataset/cache");
    let report = dataset.report();
    assert_eq!(report["rows"]["input"], 3 * ROWS);
    assert_eq!(report["outcome"], "done", "{report}");
}

#[test]
fn summary_for_people_has_a_line_of_tables() {
    let dataset = Dataset::of(&TABLES);
    let summary = || {
        let model = dataset.job.with_model(&["run", "in", "out"]);
        let output = dataset.job.reembed(&model);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let line = text.lines().find(|line| line.starts_with("tables")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{text}"))
    };
    assert!(summary().ends_with("3 (3 published)"));
    assert!(summary().ends_with("3 (3 unchanged)"));
    dataset.write("a.parquet", &rows("other", 0..8));
    assert!(summary().ends_with("3 (1 published, 2 unchanged)"));
}

#[test]
fn patterns_and_lists_take_what_they_name() {
    let all = [
        "a.parquet",
        "dt=2026-10-31/b.parquet",
        "dt=2026-11-01/c.parquet",
        "dt=2026-11-02/d.parquet",
        "dt=2026-11-02/e.pq",
    ];
    let files = "in/a.parquet\nin/dt=2026-11-02\r\n\nin/dt=2026-10-*/*.parquet\n";
    for (arguments, expected) in [
        (&["in/**/*.parquet", "out/"][..], &all[..4]),
        (&["in/dt=2026-11-*/", "out"], &all[2..]),
        (&["in/dt=2026-11-*", "out"], &all[2..]),
        (&["in/*.parquet", "out"], &all[..1]),
        (&["in/dt=2026-11-02/e.pq", "in/a.parquet", "out", "--root", "in"], &[all[0], all[4]]),
        (&["in/dt=2026-11-02/d.parquet", "in/dt=2026-11-02/e.pq", "out"], &["d.parquet", "e.pq"]),
        (&["in/dt=2026-11-01", "in/dt=2026-11-02", "out", "--root=in"], &all[2..]),
        (
            &["--files-from", "tables.txt", "--root", "in", "--output", "out"],
            &[all[0], all[1], all[3], all[4]],
        ),
        (&["in", "out", "--only", "dt >= 2026-11-01"], &all[2..]),
        (&["in", "out", "--only", "dt > 2026-10-31 and dt != 2026-11-02"], &all[2..3]),
    ] {
        let dataset = Dataset::of(&all);
        fs::write(dataset.path("tables.txt"), files).expect("a list");
        let ran = dataset.run(arguments).done();
        assert_eq!(dataset.output_names(), expected, "{arguments:?}");
        assert_eq!(ran.tables("taken"), expected.len() as u64, "{arguments:?}");
        assert_eq!(paths(&dataset.manifest()["tables"]), expected, "{arguments:?}");
    }
}

#[test]
fn configuration_may_hold_the_list_and_the_settings() {
    let dataset = Dataset::of(&TABLES);
    let list = format!("paths = [\"../in/a.parquet\", {:?}]", format!("../in/{}", TABLES[2]));
    let files = "files_from = \"tables.txt\"".to_owned();
    fs::create_dir(dataset.path("job")).expect("a directory");
    let names = format!("../in/a.parquet\n../in/{}\n", TABLES[2]);
    fs::write(dataset.path("job/tables.txt"), names).expect("a list");
    for input in [list, files] {
        let config = format!(
            "[input]\n{input}\n[output]\npath = \"../out\"\n[dataset]\nroot = \"../in\"\n\
             success_file = true\n"
        );
        fs::write(dataset.path("job/pipeline.toml"), config).expect("a configuration");
        dataset.run(&["--config", "job/pipeline.toml"]).done();
        assert_eq!(dataset.output_names(), ["_SUCCESS", TABLES[0], TABLES[2]], "{input}");
        fs::remove_dir_all(dataset.path("out")).expect("it is removed");
    }
}

#[test]
fn one_file_into_a_directory_keeps_its_name() {
    let dataset = Dataset::of(&TABLES);
    let alone = dataset.alone("a.parquet", &[]);
    for output in ["out/", "out"] {
        // Without a slash, the directory has to exist.
        dataset.run(&["in/a.parquet", output]).done();
        assert_eq!(dataset.output_names(), ["a.parquet"]);
        assert!(dataset.output("a.parquet") == alone);
        assert!(!dataset.path("out/_reembed/manifest.json").exists(), "it is no dataset");
        fs::remove_file(dataset.path("out/a.parquet")).expect("an output");
    }
}

#[test]
fn files_of_the_current_directory_go_into_one_below_it() {
    let dataset = Dataset::of(&["a.parquet", "b.parquet", "x/c.parquet"]);
    let at_inputs = |arguments: &[&str]| {
        let mut command = dataset.command(arguments);
        let output = command.current_dir(dataset.path("in")).output().expect("a child");
        super::Ran::new(output)
    };
    // As a shell expands *.parquet.
    at_inputs(&["a.parquet", "b.parquet", "out/"]).done();
    at_inputs(&["*.parquet", "out/"]).done();
    at_inputs(&["a.parquet", "x", "more", "--root", "."]).done();
    // The next run does not take the outputs.
    assert_eq!(at_inputs(&["*.parquet", "out/"]).done().tables("listed"), 2);
    for pattern in [".", "**/*.parquet", "*", "*/*.parquet"] {
        at_inputs(&[pattern, "out"]).refused(2, &["lies in the input directory"]);
    }
}

#[test]
fn equal_texts_of_several_tables_are_embedded_once() {
    let dataset = Dataset::empty();
    let same = rows("same", 0..20);
    ["a.parquet", "b.parquet", "c/d.parquet"].iter().for_each(|name| dataset.write(name, &same));
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!((ran.count("rows"), ran.count("embedded")), (60, 20), "{}", ran.answer);
    assert_eq!(ran.count("reused") + ran.count("duplicates"), 40, "{}", ran.answer);
    assert!(dataset.output("a.parquet") == dataset.output("c/d.parquet"));
}

#[test]
fn names_of_all_kinds_are_mirrored() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    let dataset = Dataset::empty();
    let names: [&[u8]; 6] = [
        b"a b/c#d.parquet",
        b"dt=12%3A30/x%.parquet",
        b"line\nbreak.parquet",
        b"x=\xff/\xfe.parquet",
        b"[a]/{b}*?.parquet",
        "größe/日本.parquet".as_bytes(),
    ];
    let paths = names.map(|name| Path::new(OsStr::from_bytes(name)));
    paths.iter().for_each(|path| dataset.write(path, &rows("r", 0..3)));
    dataset.run(&["in", "out"]).done();
    let found: Vec<_> = dataset.outputs().into_keys().collect();
    let mut expected: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
    expected.sort();
    assert_eq!(found, expected);
    let again = dataset.run(&["in", "out"]).done();
    assert_eq!(again.tables("unchanged"), 6, "{}", again.answer);
    // Each of them as an input by itself: a name with brackets is no pattern if there is such a file.
    for name in paths {
        let input = Path::new("in").join(name);
        let output = Path::new("single").join(name.file_name().expect("a name"));
        fs::create_dir_all(dataset.path("single")).expect("a directory");
        dataset.run(&[input.as_os_str(), OsStr::new("single/")]).done();
        assert!(dataset.path(output).is_file());
    }
}

#[test]
fn hidden_and_other_files_are_no_tables() {
    let dataset =
        Dataset::of(&["a.parquet", "_b.parquet", ".c.parquet", "_d/e.parquet", ".f/g.parquet"]);
    fs::write(dataset.path("in/notes.txt"), "text").expect("a file");
    fs::write(dataset.path("in/_SUCCESS"), "").expect("a file");
    dataset.run(&["in", "out"]).done();
    assert_eq!(dataset.output_names(), ["a.parquet"]);
    // A pattern may name them.
    dataset.run(&["in/_b*", "out"]).done();
    assert_eq!(dataset.output_names(), ["_b.parquet", "a.parquet"]);
}

#[test]
fn links_to_tables_and_directories_are_followed() {
    use std::os::unix::fs::symlink;
    let dataset = Dataset::of(&["a.parquet"]);
    dataset.write("../elsewhere/b.parquet", &rows("b", 0..3));
    symlink("../elsewhere", dataset.path("in/link")).expect("a link");
    symlink("../elsewhere/b.parquet", dataset.path("in/c.parquet")).expect("a link");
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!(dataset.output_names(), ["a.parquet", "c.parquet", "link/b.parquet"]);
    assert_eq!(ran.count("embedded"), ROWS + 3);
    assert!(!dataset.path("out/link").is_symlink());
    assert_eq!(dataset.run(&["in", "out"]).done().tables("unchanged"), 3);
}

#[test]
fn table_without_rows_has_an_output() {
    let dataset = Dataset::of(&["a.parquet"]);
    dataset.write("none.parquet", &[]);
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!((ran.tables("published"), ran.count("rows")), (2, ROWS));
    assert!(dataset.output("none.parquet") == dataset.alone("none.parquet", &[]));
    assert_eq!(dataset.run(&["in", "out"]).done().tables("unchanged"), 2);
}

#[test]
fn rows_that_are_dropped_are_counted_over_all_tables() {
    let dataset = Dataset::empty();
    for table in ["a.parquet", "b.parquet"] {
        let mut rows = rows(table, 0..ROWS);
        rows[3].title = None;
        dataset.write(table, &rows);
    }
    for expected in [2 * (ROWS - 1), 0] {
        let mut command = dataset.command(&["in", "out"]);
        let output = command.env("REEMBED_OUTPUT_ON_EMPTY", "drop").output().expect("a child");
        let ran = super::Ran::new(output).done();
        let counts = ["rows", "input_rows", "embedded", "empty"].map(|name| ran.count(name));
        assert_eq!(counts, [2 * (ROWS - 1), 2 * ROWS, expected, 2], "{}", ran.answer);
    }
}

#[test]
fn table_that_is_named_twice_is_taken_once() {
    let dataset = Dataset::of(&TABLES);
    let absolute = dataset.path("in/a.parquet");
    let absolute = absolute.to_str().expect("text");
    let ran =
        dataset.run(&["in", "in/*.parquet", "./in/a.parquet", absolute, "out", "--root", "in"]);
    assert_eq!(ran.done().tables("listed"), 3);
    assert_eq!(dataset.output_names(), TABLES);
}

#[test]
fn long_names_and_deep_directories_are_mirrored() {
    let dataset = Dataset::empty();
    let name = "n".repeat(255 - ".parquet".len()) + ".parquet";
    let deep = "d/".repeat(60) + "t.parquet";
    let long = format!("{}/{name}", "p".repeat(255));
    [&name, &deep, &long].iter().for_each(|table| dataset.write(table, &rows(table, 0..2)));
    dataset.run(&["in", "out"]).done();
    assert_eq!(dataset.output_names().len(), 3);
    assert_eq!(dataset.run(&["in", "out"]).done().tables("unchanged"), 3);
}
