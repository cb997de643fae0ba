//! Several workers on one dataset.

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use super::{Dataset, ROWS, rows};

const SHARDS: [&str; 3] = ["1/3", "2/3", "3/3"];

fn dataset_of(tables: u64) -> Dataset {
    let dataset = Dataset::empty();
    for n in 0..tables {
        let name = format!("dt={}/t{n}.parquet", n % 3);
        dataset.write(&name, &rows(&name, 0..ROWS));
    }
    dataset
}

#[test]
fn each_table_is_in_one_shard() {
    let dataset = dataset_of(9);
    let mut seen = BTreeSet::new();
    for shard in SHARDS {
        let ran = dataset.run(&["in", "out", "--shard", shard]).done();
        assert_eq!(ran.tables("taken"), ran.tables("published"), "{shard}");
        assert_eq!(ran.count("rows"), ROWS * ran.tables("taken"), "{shard}");
        let file = shard.replace('/', "-of-");
        let manifest = dataset.json(&format!("out/_reembed/dataset/manifest-{file}.json"));
        assert_eq!(manifest["shard"]["count"], 3);
        for path in super::paths(&manifest["tables"]) {
            assert!(seen.insert(path.to_owned()), "{path} is in two shards");
        }
        let report = format!("out/_reembed/reports/_dataset-{file}/report.json");
        assert_eq!(dataset.json(&report)["outcome"], "done");
    }
    assert_eq!(seen.len(), 9);
    assert_eq!(dataset.output_names(), Vec::from_iter(seen));
    for shard in SHARDS {
        let ran = dataset.run(&["in", "out", "--shard", shard]).done();
        assert_eq!((ran.tables("published"), ran.count("embedded")), (0, 0), "{shard}");
    }
    assert!(!dataset.path("out/_reembed/manifest.json").exists(), "`reembed merge` writes it");
}

#[test]
fn shard_of_a_whole_run_knows_its_tables() {
    let dataset = dataset_of(6);
    dataset.run(&["in", "out"]).done();
    let before = dataset.outputs();
    for shard in SHARDS {
        let ran = dataset.run(&["in", "out", "--shard", shard]).done();
        assert_eq!(ran.tables("published"), 0, "{}", ran.answer);
    }
    assert_eq!(dataset.outputs(), before);
}

#[test]
fn shard_without_a_table_is_done() {
    let dataset = dataset_of(1);
    let published = ["1/2", "2/2"].map(|shard| {
        let ran = dataset.run(&["in", "out", "--shard", shard]).done();
        assert_eq!(ran.tables("listed"), 1);
        (ran.tables("taken"), ran.tables("published"))
    });
    assert!(published == [(0, 0), (1, 1)] || published == [(1, 1), (0, 0)], "{published:?}");
}

#[test]
fn shards_run_at_the_same_time() {
    let dataset = dataset_of(12);
    thread::scope(|scope| {
        let run = |shard| {
            let dataset = &dataset;
            scope.spawn(move || dataset.run(&["in", "out", "--shard", shard]))
        };
        let runs = SHARDS.map(run);
        let published = runs.map(|run| run.join().expect("a run").done().tables("published"));
        assert_eq!(published.iter().sum::<u64>(), 12, "{published:?}");
    });
    assert_eq!(dataset.output_names().len(), 12);
    let names = dataset.output_names();
    names.iter().for_each(|name| assert!(dataset.output(name) == dataset.alone(name, &[])));
}

/// A dataset whose run takes a while.
fn slow() -> Dataset {
    let dataset = dataset_of(6);
    dataset.write("large.parquet", &rows("large", 0..3000));
    let config = "[input]\nchunk_rows = 20\n[compute]\nthreads = 1\n[cache]\ncommit_rows = 20\n";
    fs::write(dataset.path("pipeline.toml"), config).expect("a configuration");
    dataset
}

#[test]
fn second_run_over_the_same_tables_is_locked_out() {
    for (arguments, words) in [
        (&["in", "out"][..], "is writing this dataset"),
        (&["in", "out", "--shard", "1/1"], "is writing shard 1/1 of this dataset"),
    ] {
        let dataset = slow();
        let mut first = dataset.start(arguments, "kept in the cache", 2);
        let holder = format!("process {}", first.id());
        for supervision in [&[][..], &["--no-supervise"]] {
            let second = dataset.run(&[arguments, supervision].concat());
            let second = second.refused(75, &["out: ", words, &holder]);
            assert_eq!(second.answer["error"]["code"], "output-locked");
        }
        assert!(first.wait().expect("a child").success());
        assert_eq!(dataset.output_names().len(), 7);
        assert_eq!(dataset.run(arguments).done().tables("unchanged"), 7);
    }
}

#[test]
fn other_number_of_shards_embeds_nothing_again() {
    let dataset = dataset_of(9);
    SHARDS.iter().for_each(|shard| drop(dataset.run(&["in", "out", "--shard", shard]).done()));
    let before = dataset.outputs();
    for arguments in [&["--shard", "1/2"][..], &["--shard", "2/2"], &[]] {
        let ran = dataset.run(&[&["in", "out"], arguments].concat()).done();
        assert_eq!(ran.count("embedded"), 0, "{arguments:?}: {}", ran.answer);
    }
    assert_eq!(dataset.outputs(), before);
}

#[test]
fn shard_and_whole_run_at_the_same_time_lose_nothing() {
    let dataset = slow();
    let mut shard = dataset.start(&["in", "out", "--shard", "1/1"], "kept in the cache", 2);
    let whole = dataset.run(&["in", "out"]).failed();
    assert!(whole.log.contains("large.parquet: process"), "{}", whole.log);
    assert!(shard.wait().expect("a child").success());
    dataset.run(&["in", "out"]).done();
    assert_eq!(dataset.output_names().len(), 7);
}
