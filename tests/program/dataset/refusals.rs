//! What a run over a dataset refuses at its start: in one line, with exit code 2, and nothing is created.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::{Dataset, TABLES};

/// Checks that runs are refused with these words, and that nothing is created or changed.
#[track_caller]
fn refuses(dataset: &Dataset, arguments: &[&str], words: &[&str]) {
    let before = dataset.files(".");
    for supervision in [&[][..], &["--no-supervise"]] {
        dataset.run(&[arguments, supervision].concat()).refused(2, words);
        assert_eq!(dataset.files("."), before, "{arguments:?}");
        let exists = dataset.path("out").exists();
        assert!(!exists || before.keys().any(|path| path.starts_with("out")), "{arguments:?}");
    }
}

#[test]
fn inputs_without_a_table_are_refused() {
    let dataset = Dataset::of(&["a.parquet", "x/b.parquet"]);
    fs::create_dir(dataset.path("empty")).expect("a directory");
    fs::create_dir(dataset.path("other")).expect("a directory");
    fs::write(dataset.path("other/notes.txt"), "text").expect("a file");
    fs::write(dataset.path("other/_hidden.parquet"), "text").expect("a file");
    fs::write(dataset.path("none.txt"), "\n\n").expect("a list");
    fs::write(dataset.path("wrong.txt"), "in/a.parquet\nno.parquet\n").expect("a list");
    for (arguments, words) in [
        (&["empty", "out"][..], &["empty: ", "no Parquet file here"][..]),
        (&["other", "out"], &["other: ", "no Parquet file", "1 other file"]),
        (&["none", "out/"], &["none: ", "no such file or directory"]),
        (&["none/", "out"], &["none/: ", "no such file or directory"]),
        (&["none", "out", "--shard", "1/2"], &["none: ", "no such file or directory"]),
        (&["in/*.none", "out"], &["in/*.none", "nothing matches"]),
        (&["in/x*/y/*.parquet", "out"], &["nothing matches"]),
        (&["none/**/*.parquet", "out"], &["none"]),
        (&["in/[a", "in/x", "out"], &["in/[a"]),
        (&["in/*/../a.parquet", "in/x", "out"], &["upwards"]),
        (&["in/a.parquet", "no.parquet", "out"], &["no.parquet: "]),
        (&["in/a.parquet", "in/x/b.parquet", "out"], &["several directories", "--root"]),
        (
            &["in/a.parquet", "in/x", "out", "--root", "in/x"],
            &["in/a.parquet: ", "below the root in/x"],
        ),
        (&["in", "out", "--root", "none"], &["none"]),
        (&["--files-from", "none.txt", "--output", "out"], &["none.txt: ", "names no file"]),
        (&["--files-from", "no.txt", "--output", "out"], &["no.txt: ", "cannot be read"]),
        (&["--files-from", "in", "--output", "out"], &["in: ", "cannot be read"]),
        (&["--files-from", "wrong.txt", "--output", "out"], &["no.parquet: "]),
        (&["s3://bucket/in", "in", "out"], &["s3://"]),
    ] {
        refuses(&dataset, arguments, words);
    }
}

#[test]
fn conditions_and_shards_that_are_none_are_refused() {
    let dataset = Dataset::of(&TABLES);
    for (arguments, words) in [
        (&["--only", ""][..], &["--only"][..]),
        (&["--only", "dt"], &["`dataset.only`", "no comparison"]),
        (&["--only", "dt ="], &["no value"]),
        (&["--only", "dt = 'x"], &["not closed"]),
        (&["--only", "day = 3"], &["partition `day`", "dt"]),
        (&["--only", "dt > 2030-01-01"], &["no table fits", "2030-01-01"]),
        (&["--shard", "0/3"], &["`dataset.shard`", "0/3"]),
        (&["--shard", "4/3"], &["4/3"]),
        (&["--shard", "1"], &["1/4"]),
        (&["--shard", "1/3", "--success-file"], &["success_file", "merge --success-file"]),
        (&["--shard", "1/3", "--on-missing", "delete"], &["on_missing", "merge --delete-missing"]),
    ] {
        refuses(&dataset, &[&["in", "out"], arguments].concat(), words);
    }
    let dataset = Dataset::of(&["a.parquet", "b.parquet"]);
    refuses(&dataset, &["in", "out", "--only", "dt = 1"], &["`dt`", "no directory is named"]);
    for (arguments, word) in [
        (["--only", "dt = 1"], "dataset.only"),
        (["--shard", "1/2"], "dataset.shard"),
        (["--root", "in"], "dataset.root"),
    ] {
        refuses(
            &dataset,
            &[&["in/a.parquet", "out"][..], &arguments].concat(),
            &[word, "one file"],
        );
    }
}

#[test]
fn output_and_input_may_not_lie_in_each_other() {
    let dataset = Dataset::of(&TABLES);
    symlink("in", dataset.path("link")).expect("a link");
    fs::create_dir(dataset.path("beside")).expect("a directory");
    for (arguments, word) in [
        (["in", "in"], "has the inputs"),
        (["in", "./in/"], "has the inputs"),
        (["in", "link"], "has the inputs"),
        (["link", "in"], "has the inputs"),
        (["in", "in/out"], "lies in the input directory"),
        (["in", "in/dt=2026-11-01"], "lies in the input directory"),
        (["in", "beside/../in/out"], "lies in the input directory"),
        (["in", "link/out"], "lies in the input directory"),
        (["in/**/*.parquet", "in/out/deep"], "lies in"),
        (["in/*.parquet", "in"], "has the inputs"),
        (["in/dt=*", "."], "in this directory"),
        (["in", "."], "in this directory"),
    ] {
        refuses(&dataset, &arguments, &[word]);
    }
}

#[test]
fn link_from_the_inputs_to_the_outputs_is_refused() {
    let dataset = Dataset::of(&TABLES);
    symlink("../out", dataset.path("in/link")).expect("a link");
    fs::create_dir(dataset.path("out")).expect("a directory");
    dataset.run(&["in/dt=*/*.parquet", "out"]).done();
    for input in ["in", "in/*", "in/**/*.parquet", "in/*/*.parquet"] {
        refuses(&dataset, &[input, "out"], &["out: ", "a link below in leads to this directory"]);
    }
}

#[test]
fn files_in_the_place_of_directories_are_refused_or_fail_their_table() {
    let dataset = Dataset::of(&TABLES);
    fs::write(dataset.path("file"), "text").expect("a file");
    refuses(&dataset, &["in", "file"], &["file: ", "directory"]);
    let directory = "name another directory with --output";
    for output in ["file/out", "file/", "file/deep/out"] {
        refuses(&dataset, &["in", output], &["file: this is a file", directory]);
        refuses(&dataset, &["in/a.parquet", output], &["file: this is a file", directory]);
    }
    refuses(&dataset, &["in", "no/such/out"], &["no/such"]);
    // A file in the place of a directory within the output concerns the tables of that directory.
    fs::create_dir(dataset.path("out")).expect("a directory");
    fs::write(dataset.path("out/dt=2026-10-31"), "text").expect("a file");
    fs::create_dir(dataset.path("out/a.parquet")).expect("a directory");
    let ran = dataset.run(&["in", "out"]).failed();
    assert_eq!((ran.tables("failed"), ran.tables("published")), (2, 1), "{}", ran.log);
    for wrong in ["out/dt=2026-10-31: this is a file", "out/a.parquet: the output is a directory"] {
        let line = ran.log.lines().find(|line| line.contains(wrong));
        let line = line.unwrap_or_else(|| panic!("{wrong}: {}", ran.log));
        assert!(line.contains("move it away") && line.contains(directory), "{line}");
    }
    fs::remove_file(dataset.path("out/dt=2026-10-31")).expect("a file");
    fs::remove_dir(dataset.path("out/a.parquet")).expect("a directory");
    dataset.run(&["in", "out"]).done();
    fs::remove_dir_all(dataset.path("out/_reembed")).expect("a directory");
    fs::write(dataset.path("out/_reembed"), "text").expect("a file");
    refuses(&dataset, &["in", "out"], &["out/_reembed: ", "no directory", "move it away"]);
    fs::remove_file(dataset.path("out/_reembed")).expect("a file");
    fs::create_dir(dataset.path("elsewhere")).expect("a directory");
    symlink("../elsewhere", dataset.path("out/_reembed")).expect("a link");
    refuses(&dataset, &["in", "out"], &["out/_reembed: ", "no directory", "move it away"]);
    assert_eq!(fs::read_dir(dataset.path("elsewhere")).expect("a directory").count(), 0);
    refuses(&dataset, &["in", "new/_reembed"], &["`_reembed` is for the files of reembed"]);
}

#[test]
fn cache_may_not_be_a_file_of_the_dataset() {
    let dataset = Dataset::of(&TABLES);
    for cache in [
        "in/a.parquet",
        "./out/a.parquet",
        "out/_reembed/manifest.json",
        "out/_SUCCESS",
        "in",
        "out",
    ] {
        refuses(
            &dataset,
            &["in", "out", "--cache", cache],
            &[cache, "another file of the dataset"],
        );
    }
    dataset.run(&["in", "out", "--cache", "out/_reembed/vectors"]).done();
}

#[test]
fn links_that_lead_in_circles_or_nowhere_are_refused() {
    let dataset = Dataset::of(&["x/a.parquet"]);
    symlink("..", dataset.path("in/x/up")).expect("a link");
    for input in ["in", "in/*", "in/**", "in/**/*.parquet"] {
        refuses(&dataset, &[input, "out"], &["in/x/up", "link"]);
    }
    fs::remove_file(dataset.path("in/x/up")).expect("a link");
    symlink("self.parquet", dataset.path("in/x/self.parquet")).expect("a link");
    refuses(&dataset, &["in", "out"], &["in/x/self.parquet: "]);
    fs::remove_file(dataset.path("in/x/self.parquet")).expect("a link");
    symlink("nowhere", dataset.path("in/x/gone.parquet")).expect("a link");
    refuses(&dataset, &["in", "out"], &["in/x/gone.parquet: "]);
}

#[test]
fn directory_that_cannot_be_read_is_refused() {
    let dataset = Dataset::of(&TABLES);
    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: root may read every directory");
        return;
    }
    let path = dataset.path("in/dt=2026-11-01");
    fs::set_permissions(&path, Permissions::from_mode(0o000)).expect("a mode");
    let ran = dataset.run(&["in", "out"]);
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a mode");
    ran.refused(2, &["in/dt=2026-11-01: ", "permissions"]);
    assert!(!dataset.path("out").exists());
}

#[test]
fn names_with_line_breaks_are_told_in_one_line() {
    let dataset = Dataset::empty();
    let name = OsStr::from_bytes(b"line\nbreak\xff\x1b[31m");
    fs::create_dir(dataset.path(name)).expect("a directory");
    for input in [name, OsStr::from_bytes(b"line\nbreak\x1b[31m.parquet")] {
        let ran = dataset.run(&[input, OsStr::new("out/")]).refused(2, &["break"]);
        assert!(!ran.log.contains('\u{1b}'), "{:?}", ran.log);
    }
}
