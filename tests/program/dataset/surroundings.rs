//! Runs over a dataset that are killed or stopped.

use std::fs;
use std::thread;
use std::time::Duration;

use reembed_encoder::files::FileLock;
use rustix::process::{Pid, Signal, kill_process};

use super::{Dataset, ROWS, Ran, rows};

const TABLES: u64 = 40;

fn many_tables() -> Dataset {
    let dataset = Dataset::empty();
    for n in 0..TABLES {
        let name = format!("dt={}/t{n:02}.parquet", n % 4);
        dataset.write(&name, &rows(&name, 0..ROWS));
    }
    dataset
}

/// Runs until the lock of a killed run is free.
fn run_when_free(dataset: &Dataset, arguments: &[&str]) -> Ran {
    for _ in 0..100 {
        let ran = dataset.run(arguments);
        if ran.code != Some(75) {
            return ran;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the lock of a killed run is held");
}

#[test]
fn killed_run_goes_on_where_it_was() {
    for arguments in [&["in", "out"][..], &["in", "out", "--no-supervise"]] {
        let dataset = many_tables();
        let mut run = dataset.start(arguments, "table published", 8);
        run.kill().expect("running");
        run.wait().expect("a child");
        // The worker dies with its supervisor, a moment later.
        thread::sleep(Duration::from_millis(200));
        let before = dataset.outputs();
        assert!((8..TABLES as usize).contains(&before.len()), "{} tables", before.len());
        assert!(!dataset.path("out/_reembed/manifest.json").exists());

        let ran = run_when_free(&dataset, arguments).done();
        assert!(ran.tables("unchanged") >= 8, "{}", ran.answer);
        assert_eq!(ran.tables("unchanged") + ran.tables("published"), TABLES);
        assert_eq!(ran.count("rows"), TABLES * ROWS);
        let after = dataset.outputs();
        before.iter().for_each(|(path, state)| assert_eq!(after[path], *state, "{path:?}"));
        for name in dataset.output_names().iter().step_by(7) {
            assert!(dataset.output(name) == dataset.alone(name, &[]), "{name}");
        }
        let manifest = dataset.manifest();
        assert_eq!(manifest["tables"].as_array().map(Vec::len), Some(TABLES as usize));
        let left: Vec<_> = dataset.files("out/_reembed").into_keys().collect();
        assert!(left.iter().all(|path| !path.to_string_lossy().contains(".tmp")), "{left:?}");
        assert!(!dataset.path("out/_reembed/dataset/journal").exists());
        assert_eq!(dataset.run(arguments).done().tables("unchanged"), TABLES);
    }
}

#[test]
fn killed_first_run_of_a_table_that_is_gone_leaves_nothing() {
    let dataset = Dataset::of(&["a.parquet"]);
    let gone = "x=1/gone.parquet";
    dataset.write(gone, &rows(gone, 0..3000));
    let config = "[input]\nchunk_rows = 20\n[compute]\nthreads = 1\n[cache]\ncommit_rows = 20\n";
    fs::write(dataset.path("pipeline.toml"), config).expect("a configuration");
    let mut run = dataset.start(&["in", "out", "--no-supervise"], "kept in the cache", 3);
    run.kill().expect("running");
    run.wait().expect("a child");
    let left = || {
        let files = dataset.files("out/_reembed").into_keys();
        let names = files.map(|path| path.to_string_lossy().into_owned());
        let is_left = |name: &String| !name.contains('/') && name != "manifest.json";
        names.filter(is_left).collect::<Vec<_>>()
    };
    let of_gone = left();
    assert_eq!(of_gone.len(), 3, "a lock, the table and its keys: {of_gone:?}");
    fs::remove_file(dataset.path("in").join(gone)).expect("an input");
    // A run over that table alone may be under way.
    let lock = of_gone.iter().find(|name| name.ends_with(".lock")).expect("a lock");
    let held = FileLock::open(&dataset.path("out/_reembed").join(lock)).expect("a file");
    assert!(held.try_lock().expect("a lock"));
    run_when_free(&dataset, &["in", "out"]).done();
    assert_eq!(left(), of_gone);
    drop(held);
    fs::write(dataset.path("out/_reembed/notes.txt"), "text").expect("a file");
    dataset.run(&["in", "out"]).done();
    assert_eq!(left(), ["notes.txt"]);
}

#[test]
fn stopped_run_keeps_what_it_published() {
    let dataset = many_tables();
    let mut run = dataset.start(&["in", "out"], "table published", 5);
    let pid = Pid::from_child(&run);
    kill_process(pid, Signal::TERM).expect("running");
    assert_eq!(run.wait().expect("a child").code(), Some(143));
    let before = dataset.outputs();
    assert!((5..TABLES as usize).contains(&before.len()), "{} tables", before.len());
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!(ran.tables("unchanged"), before.len() as u64, "{}", ran.answer);
    let after = dataset.outputs();
    before.iter().for_each(|(path, state)| assert_eq!(after[path], *state, "{path:?}"));
    assert_eq!(after.len() as u64, TABLES);
}

#[test]
fn killed_run_over_changed_tables_loses_no_record() {
    let dataset = many_tables();
    dataset.run(&["in", "out"]).done();
    for n in 0..TABLES / 2 {
        let name = format!("dt={}/t{n:02}.parquet", n % 4);
        dataset.write(&name, &rows(&name, 0..ROWS + 1));
    }
    let mut run = dataset.start(&["in", "out"], "table published", 4);
    run.kill().expect("running");
    run.wait().expect("a child");
    let ran = run_when_free(&dataset, &["in", "out"]).done();
    assert!(ran.tables("unchanged") >= TABLES / 2 + 4, "{}", ran.answer);
    assert_eq!(ran.count("rows"), TABLES * ROWS + TABLES / 2);
    assert_eq!(dataset.run(&["in", "out"]).done().tables("unchanged"), TABLES);
}

#[test]
fn worker_that_is_killed_is_started_again_and_goes_on() {
    let dataset = many_tables();
    let mut run = dataset.start(&["in", "out"], "table published", 5);
    let parent = run.id();
    let children = format!("/proc/{parent}/task/{parent}/children");
    let worker = fs::read_to_string(children).expect("the children of a process");
    let worker = worker.split_whitespace().next().expect("a worker").parse().expect("a PID");
    kill_process(Pid::from_raw(worker).expect("a PID"), Signal::KILL).expect("running");
    assert_eq!(run.wait().expect("a child").code(), Some(0));
    assert_eq!(dataset.outputs().len() as u64, TABLES);
    assert_eq!(dataset.report()["rows"]["input"], TABLES * ROWS);
    assert_eq!(dataset.run(&["in", "out"]).done().tables("unchanged"), TABLES);
}

#[test]
fn run_out_of_time_keeps_what_it_published() {
    let dataset = many_tables();
    dataset.write("z.parquet", &rows("z", 0..60_000));
    let config = "[input]\nchunk_rows = 20\n[compute]\nthreads = 1\n[run]\ndeadline = \"1s\"\n";
    fs::write(dataset.path("pipeline.toml"), config).expect("a configuration");
    let ran = dataset.run(&["in", "out"]);
    assert_eq!(ran.code, Some(124), "{}", ran.answer);
    let before = dataset.outputs();
    fs::remove_file(dataset.path("pipeline.toml")).expect("a configuration");
    let ran = dataset.run(&["in", "out"]).done();
    assert_eq!(ran.tables("unchanged"), before.len() as u64);
}
