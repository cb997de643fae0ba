//! The vector cache over whole runs: no text is embedded twice, after any kind of failure, and no damaged,
//! stale or foreign vector reaches an output.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use proptest::prelude::*;
use redb::{ConcurrencyMode, Database, ReadableDatabase, ReadableTable, TableDefinition};
use reembed::config::OutputPlace;
use reembed::events::{RowsByOrigin, Warning};
use reembed::{Config, ErrorKind, Event, Report, Result, Stop, TaskRow, build_input_text, cache};
use reembed_cli::sample;
use reembed_encoder::batch::TokenBatch;
use reembed_encoder::model::fake::{Failure, FakeEncoder};
use reembed_encoder::model::identity::ModelIdentity;
use reembed_encoder::model::{EncodeError, Encoder, Model, ModelFacts};
use reembed_testing::model_directory::{ModelDirectory, WrittenModel};

use crate::common::{Before, Job, Negated, load, prepare, read_parquet, run_opened, task};

/// Components of the fake encoder's vectors.
const DIM: usize = 8;

static TINY: LazyLock<WrittenModel> = LazyLock::new(|| ModelDirectory::tiny().write());

// Reuse.

#[test]
fn a_second_run_encodes_nothing_and_leaves_the_same_bytes() {
    let job = Job::of(&plain(0..300));
    let config = job.config(&[
        "input.chunk_rows = 64",
        "cache.commit_rows = 50",
        "cache.verify_sample = 10",
    ]);
    let first = run(&config, &Counted::new());
    assert_eq!(first.origins(), RowsByOrigin { encoded: 300, ..RowsByOrigin::default() });
    let bytes = fs::read(job.output()).expect("an output");
    fs::remove_file(job.output()).expect("a removed output");

    let counted = Counted::new();
    let second = run(&config, &counted);
    assert_eq!(second.origins(), RowsByOrigin { reused: 300, sampled: 3, ..second.origins() });
    assert_eq!(counted.texts(), 3, "only the sample");
    assert_eq!(second.work().rows, 3);
    assert_eq!(first.work().tokens, second.work().tokens + second.origins().tokens_saved);
    assert!(fs::read(job.output()).expect("an output") == bytes, "the bytes differ");
    let cache = second.cache.expect("a cache");
    assert_eq!((cache.path, cache.entries), (job.cache(), 300));
}

#[test]
fn truncated_rows_are_counted_for_every_origin() {
    let long = "word ".repeat(600);
    let rows = [task("a", &*long), task("b", "short"), task("c", &*long)];
    let job = Job::of(&rows);
    let config = job.config(&["cache.verify_sample = 0"]);
    let first = run(&config, &Counted::new());
    assert_eq!(
        (first.origins().encoded, first.origins().duplicate, first.truncated_rows()),
        (2, 1, 2)
    );
    let second = run(&config, &Counted::new());
    assert_eq!((second.origins().reused, second.truncated_rows()), (3, 2));
    assert_eq!(second.work().rows, 0);
}

#[test]
fn moved_rows_cost_a_lookup_and_new_rows_the_model() {
    let job = Job::of(&plain(0..200));
    let cache = format!("cache.path = {:?}", job.directory().join("vectors"));
    let settings = ["input.chunk_rows = 32", "cache.verify_sample = 0", &cache];
    run(&job.config(&settings), &Counted::new());

    let mut rows: Vec<TaskRow> = plain(0..230);
    rows.reverse();
    rows.rotate_left(17);
    rows.iter_mut().enumerate().for_each(|(n, row)| row.id = format!("renamed-{n}"));
    sample::write_tasks(&job.directory().join("other.parquet"), rows.iter().cloned())
        .expect("an input");
    let mut config = job.config(&settings);
    config.input.path = job.directory().join("other.parquet");
    config.output.place = OutputPlace::alone(job.directory().join("out/other.parquet"));
    let counted = Counted::new();
    let report = run(&config, &counted);
    assert_eq!((report.origins().reused, report.origins().encoded), (200, 30));
    assert_eq!(counted.texts(), 30);
    let written = read_parquet(config.output.path());
    assert_eq!(written.tasks(), rows);
    assert_eq!(written.vectors("embedding"), alone(&rows));
}

#[test]
fn equal_texts_in_flight_go_through_the_model_once() {
    let rows: Vec<TaskRow> =
        (0..600).map(|n| task(format!("T-{n}"), format!("title {}", n % 7))).collect();
    for (settings, expected) in [
        // A single commit at the end: the next chunks find the vectors in the pending batch.
        (&["input.chunk_rows = 10", "cache.commit_rows = 100000"][..], 7),
        (&["input.chunk_rows = 10", "cache.commit_rows = 1"], 7),
        (&["input.chunk_rows = 1", "cache.commit_rows = 3"], 7),
        (&["input.chunk_rows = 10", "cache.mode = \"off\""], 60 * 7),
        (&["input.chunk_rows = 600", "cache.mode = \"off\""], 7),
    ] {
        let job = Job::of(&rows);
        let counted = Counted::new();
        let report = run(&job.config(settings), &counted);
        assert_eq!(counted.texts(), expected, "{settings:?}");
        assert_eq!(report.origins().encoded, expected);
        assert_eq!(report.origins().duplicate, 600 - expected);
        assert_eq!(read_parquet(&job.output()).vectors("embedding"), alone(&rows));
    }
}

#[test]
fn other_fingerprint_reuses_nothing_and_keeps_both() {
    let job = Job::of(&plain(0..50));
    let config = job.config(&["cache.verify_sample = 0", "run.rebuild = false"]);
    run(&config, &Counted::new());
    fs::remove_file(job.output()).expect("a removed output");
    let other = ModelDirectory::tiny().prompt(Some("query: ")).write();
    let counted = Counted::of(&other);
    assert_eq!(run(&config, &counted).origins().encoded, 50);
    fs::remove_file(job.output()).expect("a removed output");
    assert_eq!(run(&config, &Counted::new()).origins().reused, 50);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn output_does_not_depend_on_what_is_cached(
        before in prop::collection::vec(0usize..40, 0..60),
        titles in prop::collection::vec(prop::option::weighted(0.9, 0usize..60), 0..120),
        chunk_rows in 1usize..40,
        commit_rows in 1usize..50,
        sample in 0u64..20,
        start in 1usize..10,
        failure in prop_oneof![Just(Failure::Never), (1usize..6).prop_map(Failure::AboveRows)],
        on_empty in prop::sample::select(&["null", "embed"][..]),
        mode in prop::sample::select(&["read-write", "read-only", "off"][..]),
    ) {
        let title = |n: usize| format!("title {n} {}", "word ".repeat(n % 5));
        let earlier: Vec<TaskRow> = before.iter().enumerate().map(|(at, n)| task(format!("E-{at}"), title(*n))).collect();
        let rows: Vec<TaskRow> = titles.iter().enumerate().map(|(at, n)| TaskRow {
            id: format!("T-{at}"),
            title: n.map(title),
            ..TaskRow::default()
        }).collect();
        let settings = |mode: &str| [
            format!("input.chunk_rows = {chunk_rows}"),
            format!("batch.start = {start}"),
            format!("cache.commit_rows = {commit_rows}"),
            format!("cache.verify_sample = {sample}"),
            format!("output.on_empty = {on_empty:?}"),
            format!("cache.mode = {mode:?}"),
        ];
        let config = |job: &Job, mode: &str| {
            let settings = settings(mode);
            job.config(&settings.iter().map(String::as_str).collect::<Vec<_>>())
        };

        let without = Job::of(&rows);
        run(&config(&without, "off"), &Counted::failing(failure));
        prop_assert!(!without.cache().exists());

        let job = Job::of(&earlier);
        run(&config(&job, "read-write"), &Counted::new());
        fs::remove_file(job.output()).expect("a removed output");
        sample::write_tasks(&job.input(), rows.iter().cloned()).expect("an input");
        let counted = Counted::failing(failure);
        let report = run(&config(&job, mode), &counted);
        prop_assert!(fs::read(job.output()).unwrap() == fs::read(without.output()).unwrap());

        let origins = report.origins();
        let sum = origins.encoded + origins.reused + origins.duplicate + report.null_rows();
        prop_assert_eq!(sum, rows.len() as u64);
        prop_assert_eq!(origins.encoded + origins.sampled, report.work().rows);
        let embeds = |row: &&TaskRow| on_empty == "embed" || !build_input_text(row).is_empty();
        let texts: BTreeSet<String> = rows.iter().filter(embeds).map(build_input_text).collect();
        let known: BTreeSet<String> = earlier.iter().map(build_input_text).collect();
        if mode == "read-write" {
            prop_assert_eq!(origins.encoded, texts.difference(&known).count() as u64);
        }
        if mode != "off" {
            let reused = rows.iter().filter(embeds).filter(|row| known.contains(&build_input_text(row)));
            prop_assert_eq!(origins.reused, reused.count() as u64);
        }
    }
}

// Modes.

#[test]
fn read_only_cache_is_not_written_and_missing_one_is_warned() {
    let job = Job::of(&plain(0..40));
    let read_only = job.config(&["cache.mode = \"read-only\"", "cache.verify_sample = 0"]);
    let (report, warnings) = run_and_hear(&read_only, &Counted::new().model).expect("a report");
    assert_eq!((report.origins().encoded, report.cache), (40, None));
    assert_eq!(warnings, [Warning::NoCache { path: job.cache() }]);
    assert!(!job.cache().exists());

    run(&job.config(&[]), &Counted::new());
    let before = fs::read(job.cache()).expect("a cache");
    sample::write_tasks(&job.input(), plain(20..60)).expect("an input");
    let report = run(&read_only, &Counted::new());
    assert_eq!((report.origins().encoded, report.origins().reused), (20, 20));
    assert!(fs::read(job.cache()).expect("a cache") == before, "the cache was written to");
}

#[test]
fn cache_of_another_process_is_refused_and_output_stays() {
    let job = Job::of(&plain(0..20));
    run(&job.config(&[]), &Counted::new());
    let before = fs::read(job.output()).expect("an output");
    let held = Database::open(job.cache()).expect("a database");
    for mode in ["read-write", "read-only"] {
        let config = job.config(&[&format!("cache.mode = {mode:?}"), "cache.wait = 1"]);
        let error = run_and_hear(&config, &Counted::new().model).expect_err("it is held");
        assert_eq!(error.kind(), ErrorKind::CacheBusy);
        let end = "another process has the cache open, and still had it after 1 s";
        assert!(error.to_string().ends_with(end), "{error}");
        assert_eq!(error.place().file(), Some(&*job.cache()));
        assert!(error.advice_text().is_some_and(|advice| advice.contains("--cache-mode off")));
    }
    assert!(fs::read(job.output()).expect("an output") == before);
    run(&job.config(&["cache.mode = \"off\""]), &Counted::new());
    drop(held);
    run(&job.config(&[]), &Counted::new());
}

#[test]
fn many_read_a_cache_while_one_writes_to_it() {
    let job = Job::of(&plain(0..20));
    run(&job.config(&[]), &Counted::new());
    let held = Database::builder()
        .set_concurrency_mode(ConcurrencyMode::SingleWriter)
        .open(job.cache())
        .expect("a database");
    let transaction = held.begin_write().expect("a transaction");
    fs::remove_file(job.output()).expect("the output, which has the vectors as well");
    let read_only = job.config(&["cache.mode = \"read-only\"", "cache.wait = 1"]);
    for _ in 0..2 {
        assert_eq!(run(&read_only, &Counted::new()).origins().reused, 20);
    }
    assert_eq!(cache::stats(&job.cache()).expect("it is read").entries, 20);
    // A second writer waits.
    let config = job.config(&["cache.wait = 1"]);
    let error = run_and_hear(&config, &Counted::new().model).expect_err("it is held");
    assert_eq!(error.kind(), ErrorKind::CacheBusy);
    transaction.commit().expect("a commit");
    drop(held);
    run(&job.config(&[]), &Counted::new());
}

#[test]
fn a_busy_cache_is_waited_for() {
    let job = Job::of(&plain(0..20));
    run(&job.config(&[]), &Counted::new());
    let held = Database::open(job.cache()).expect("a database");
    let (started, hold) = (std::time::Instant::now(), std::time::Duration::from_millis(300));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(hold);
            drop(held);
        });
        let done = run(&job.config(&[]), &Counted::new());
        assert_eq!(done.origins().reused, 20);
    });
    assert!(started.elapsed() >= hold);
}

#[test]
fn a_file_of_another_kind_is_left_alone() {
    let job = Job::of(&plain(0..5));
    let notes = job.directory().join("notes");
    fs::write(&notes, "what was done").expect("a file");
    for mode in ["read-write", "read-only"] {
        let settings = [&*format!("cache.path = {notes:?}"), &format!("cache.mode = {mode:?}")];
        let error = run_and_hear(&job.config(&settings), &Counted::new().model)
            .expect_err("it is no cache");
        assert_eq!(error.kind(), ErrorKind::Cache);
        assert!(error.to_string().ends_with("this file is not a vector cache"), "{error}");
    }
    assert_eq!(fs::read_to_string(&notes).expect("the file"), "what was done");
}

// Verification of cached vectors.

#[test]
fn sample_finds_foreign_vectors_and_rebuild_replaces_them() {
    let job = Job::of(&plain(0..100));
    let sampled = job.config(&["cache.verify_sample = 1", "input.chunk_rows = 30"]);
    // The model files are the same, and so are the keys; the computed vectors differ.
    let wrong =
        Model { encoder: Arc::new(Negated(FakeEncoder::new(DIM, Failure::Never))), ..named(&TINY) };
    run_and_hear(&sampled, &wrong).expect("a report");
    let before = fs::read(job.output()).expect("an output");

    // Another row in the only row group, so that its vectors come from the cache.
    sample::write_tasks(&job.input(), plain(0..101)).expect("an input");
    let error = run_and_hear(&sampled, &Counted::new().model).expect_err("they differ");
    assert_eq!(error.kind(), ErrorKind::Cache);
    assert!(error.to_string().contains("row 1 (id T-0): its cached vector differs by"), "{error}");
    assert!(error.advice_text().is_some_and(|advice| advice.contains("--rebuild")));
    assert!(fs::read(job.output()).expect("an output") == before);

    sample::write_tasks(&job.input(), plain(0..100)).expect("an input");
    let rebuild = job.config(&["run.rebuild = true"]);
    let report = run(&rebuild, &Counted::new());
    assert_eq!(report.origins(), RowsByOrigin { encoded: 100, ..RowsByOrigin::default() });
    assert_eq!(report.cache.expect("a cache").entries, 100, "replaced, not added");
    assert_eq!(read_parquet(&job.output()).vectors("embedding"), alone(&plain(0..100)));
    assert_eq!(run(&sampled, &Counted::new()).origins().reused, 100);
}

#[test]
fn interrupted_rebuild_continues_and_finished_one_restarts() {
    let job = Job::of(&plain(0..200));
    let settings = [
        "input.chunk_rows = 20",
        "cache.commit_rows = 1000",
        "cache.verify_sample = 0",
        "run.rebuild = true",
    ];
    let (ordinary, rebuild) = (job.config(&settings[..3]), job.config(&settings));
    let fails = |config, chunks| {
        let error = run_and_hear(config, &fails_at(&TINY, chunks)).expect_err("it fails");
        assert_eq!(error.kind(), ErrorKind::Encode);
    };
    let origins = |config| {
        let RowsByOrigin { reused, encoded, .. } = run(config, &Counted::new()).origins();
        (reused, encoded)
    };
    run(&ordinary, &Counted::new());
    fails(&rebuild, 4);
    fails(&rebuild, 2);
    assert_eq!(origins(&rebuild), (120, 80));
    assert_eq!(read_parquet(&job.output()).vectors("embedding"), alone(&plain(0..200)));
    assert_eq!(origins(&rebuild), (0, 200), "the rebuild was finished");

    fails(&rebuild, 4);
    // The vectors of an ordinary run in between count as new for the rebuild.
    sample::write_tasks(&job.input(), plain(0..240)).expect("an input");
    fails(&ordinary, 1);
    assert_eq!(origins(&rebuild), (100, 140));

    fails(&rebuild, 4);
    assert_eq!(origins(&ordinary), (240, 0));
    assert_eq!(origins(&rebuild), (0, 240), "a finished ordinary run ends the rebuild");
}

#[test]
fn rebuild_with_another_model_completes_over_several_runs() {
    let job = Job::of(&plain(0..200));
    let settings = ["input.chunk_rows = 20", "cache.verify_sample = 0", "run.rebuild = true"];
    let (ordinary, rebuild) = (job.config(&settings[..2]), job.config(&settings));
    run(&ordinary, &Counted::new());
    let other = ModelDirectory::tiny().prompt(Some("query: ")).write();
    for _ in 0..3 {
        run_and_hear(&rebuild, &fails_at(&other, 3)).expect_err("it fails");
        let error = run_and_hear(&ordinary, &Counted::of(&other).model).expect_err("the old file");
        assert_eq!(error.kind(), ErrorKind::OtherModel);
    }
    let done = run(&rebuild, &Counted::of(&other));
    assert_eq!((done.origins().reused, done.origins().encoded), (180, 20));
    assert_eq!(run(&ordinary, &Counted::of(&other)).origins().reused, 200);
}

#[test]
fn a_rebuild_whose_output_was_not_put_in_place_is_not_over() {
    let job = Job::of(&plain(0..60));
    let rebuild = job.config(&["run.rebuild = true", "cache.verify_sample = 0"]);
    run(&rebuild, &Counted::new());
    fs::remove_file(job.output()).expect("a removed output");
    let (reader, lock) = prepare(&rebuild).expect("a lock");
    let (counted, never) = (Counted::new(), Stop::new());
    // Another process writes the output during the read-back; its file is kept.
    let write_theirs = |event| {
        if matches!(event, Event::ReadBack { .. }) {
            fs::write(job.output(), "theirs").expect("written");
        }
    };
    let model = &counted.model;
    let ended = run_opened(&rebuild, (&reader, &lock), model, &never, &write_theirs);
    assert_eq!(ended.expect_err("a foreign output").kind(), ErrorKind::Output);
    drop(lock);
    fs::remove_file(job.output()).expect("a removed output");
    assert_eq!(counted.texts(), 60);
    assert_eq!(run(&rebuild, &Counted::new()).origins().reused, 60);
    assert_eq!(run(&rebuild, &Counted::new()).origins().encoded, 60);
}

#[test]
fn wrong_vectors_of_a_rebuild_are_not_trusted_again() {
    for found_by_a_rebuild in [true, false] {
        let job = Job::of(&plain(0..200));
        let settings = ["input.chunk_rows = 20", "cache.verify_sample = 8", "run.rebuild = true"];
        let (ordinary, rebuild) = (job.config(&settings[..2]), job.config(&settings));
        run(&ordinary, &Counted::new());
        let negated = Arc::new(Negated(FakeEncoder::new(DIM, Failure::Never)));
        let wrong = Model { encoder: failing(negated, 4), ..named(&TINY) };
        run_and_hear(&rebuild, &wrong).expect_err("it fails");

        // Without an output, the vectors come from the cache.
        fs::remove_file(job.output()).expect("an output");
        let finds = if found_by_a_rebuild { &rebuild } else { &ordinary };
        let error = run_and_hear(finds, &Counted::new().model).expect_err("they differ");
        assert_eq!(error.kind(), ErrorKind::Cache);
        assert!(error.advice_text().is_some_and(|advice| advice.contains("--rebuild")));
        run(&rebuild, &Counted::new());
        assert_eq!(read_parquet(&job.output()).vectors("embedding"), alone(&plain(0..200)));
        assert_eq!(run(&ordinary, &Counted::new()).origins().reused, 200);
    }
}

#[test]
fn rebuild_evicts_old_vectors_if_the_cache_is_full() {
    let job = Job::of(&plain(0..300));
    let settings =
        ["cache.max_size = 52000", "cache.commit_rows = 20", "cache.verify_sample = 300"];
    let config = job.config(&settings);
    let negated = Arc::new(Negated(FakeEncoder::new(DIM, Failure::Never)));
    let wrong = Model { encoder: negated, ..named(&TINY) };
    run_and_hear(&config, &wrong).expect("a report");
    let rebuild = job.config(&[&settings[..], &["run.rebuild = true"]].concat());
    let rebuilt = run(&rebuild, &Counted::new()).cache.expect("a cache");
    assert_eq!(rebuilt.not_stored, 0, "{rebuilt:?}");
    // Without an output, the vectors come from the cache.
    fs::remove_file(job.output()).expect("an output");
    let sampled = run(&config, &Counted::new()).origins();
    assert_eq!((sampled.reused, sampled.sampled), (300, 3));
}

#[test]
fn a_rebuild_still_embeds_equal_texts_once() {
    let rows: Vec<TaskRow> =
        (0..90).map(|n| task(format!("T-{n}"), format!("t {}", n % 9))).collect();
    let job = Job::of(&rows);
    run(&job.config(&[]), &Counted::new());
    let settings = ["run.rebuild = true", "input.chunk_rows = 10", "cache.commit_rows = 2"];
    let report = run(&job.config(&settings), &Counted::new());
    assert_eq!((report.origins().encoded, report.origins().duplicate), (9, 81));
}

#[test]
fn damaged_cache_gives_a_right_output_or_a_refusal() {
    let rows = plain(0..120);
    let job = Job::of(&rows);
    let config =
        job.config(&["cache.verify_sample = 3", "cache.commit_rows = 40", "input.chunk_rows = 50"]);
    run(&config, &Counted::new());
    let whole = fs::read(job.cache()).expect("a cache");
    let expected = fs::read(job.output()).expect("an output");
    let (mut counted, mut set_aside, mut unharmed, mut late) = (0, 0, 0, 0);
    let mut check = |what: String, damaged: &[u8]| {
        fs::write(job.cache(), damaged).expect("a cache");
        // Without an output, all vectors come from the cache.
        let _ = fs::remove_file(job.output());
        match run_and_hear(&config, &Counted::new().model) {
            Ok((report, warnings)) => {
                assert!(
                    fs::read(job.output()).expect("an output") == expected,
                    "{what}: wrong output"
                );
                let origins = report.origins();
                assert_eq!(origins.encoded + origins.reused, 120, "{what}");
                let has = |wanted: fn(&Warning) -> bool| usize::from(warnings.iter().any(wanted));
                counted += has(|warning| matches!(warning, Warning::DamagedEntries { .. }));
                set_aside += has(|warning| matches!(warning, Warning::CacheSetAside { .. }));
                unharmed += usize::from(warnings.is_empty());
                // The cache is intact again, at once or after the next run has detected the damage.
                fs::remove_file(job.output()).expect("an output");
                let (report, more) =
                    run_and_hear(&config, &Counted::new().model).expect("a report");
                let warnings = [warnings, more].concat();
                if report.origins().reused < 120 {
                    let told = |warning: &Warning| {
                        matches!(
                            warning,
                            Warning::CacheSetAside { .. } | Warning::DamagedEntries { .. }
                        )
                    };
                    assert!(warnings.iter().any(told), "{what}: {:?}", report.origins());
                    late += 1;
                    fs::remove_file(job.output()).expect("an output");
                    let report = run(&config, &Counted::new());
                    assert_eq!(report.origins().reused, 120, "{what}");
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Cache, "{what}: {error}");
                assert_eq!(error.place().file(), Some(&*job.cache()), "{what}: {error}");
                assert!(!job.output().exists(), "{what}");
            }
        }
    };
    let positions = (0..32).chain((32..whole.len()).step_by(whole.len() / 50));
    for at in positions {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        check(format!("bit {} of byte {at} flipped", at % 8), &flipped);
    }
    for page in (0..whole.len()).step_by(2 * 4096) {
        let mut zeroed = whole.clone();
        zeroed[page..(page + 4096).min(whole.len())].fill(0);
        check(format!("page at {page} zeroed"), &zeroed);
    }
    for length in [0, 1, 9, 100, 4096, whole.len() / 2, whole.len() - 1] {
        check(format!("cut to {length}"), &whole[..length]);
    }
    check("all zeros".to_owned(), &vec![0; whole.len()]);
    println!(
        "{counted} counted, {set_aside} moved aside, {unharmed} intact, {late} repaired a run later"
    );
    assert!(counted > 0 && set_aside > 0 && unharmed > 0);
}

#[test]
fn cache_of_another_version_is_moved_aside() {
    let job = Job::of(&plain(0..30));
    run(&job.config(&[]), &Counted::new());
    set_fact(&job.cache(), "format", cache::FORMAT + 1);
    let read_only = job.config(&["cache.mode = \"read-only\""]);
    let error = run_and_hear(&read_only, &Counted::new().model).expect_err("another version");
    assert!(
        error.to_string().contains("its format version is 2; this program uses version 1"),
        "{error}"
    );

    fs::remove_file(job.output()).expect("the output, which has the vectors as well");
    let (report, warnings) =
        run_and_hear(&job.config(&[]), &Counted::new().model).expect("a report");
    assert_eq!(report.origins().encoded, 30);
    let [Warning::CacheSetAside { path, moved_to, reason }] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert_eq!(*path, job.cache());
    assert!(moved_to.exists() && reason.contains("version is 2"), "{reason}");
}

#[test]
fn cache_commands_report_damage_contents_and_pruning() {
    let job = Job::of(&plain(0..60));
    let config = job.config(&[]);
    run(&config, &Counted::new());
    let check = cache::verify(&job.cache()).expect("a readable cache");
    assert!(check.is_ok() && check.entries == 60, "{check:?}");

    flip_inside_an_entry(&job.cache());
    let check = cache::verify(&job.cache()).expect("a readable cache");
    assert_eq!((check.entries, check.damaged, check.is_ok()), (60, 1, false));
}

// Quota and eviction.

#[test]
fn eviction_spares_what_the_last_run_used() {
    let job = Job::new();
    let night = |rows: std::ops::Range<usize>| {
        sample::write_tasks(&job.input(), plain(rows)).expect("an input");
        // An entry of 8 components counts as 169 bytes: the quota holds 307.
        let settings =
            ["cache.max_size = 52000", "cache.commit_rows = 20", "cache.verify_sample = 0"];
        run(&job.config(&settings), &Counted::new())
    };
    assert_eq!(night(0..200).origins().encoded, 200);
    // 100 stay in use and 200 are new: the 100 unused entries are not evicted before another run has
    // finished.
    let second = night(100..300);
    assert_eq!((second.origins().reused, second.origins().encoded), (100, 100));
    let third = night(200..400);
    assert_eq!((third.origins().reused, third.origins().encoded), (100, 100));
    let cache = third.cache.expect("a cache");
    assert!(cache.evicted >= 90 && cache.not_stored == 0, "{cache:?}");
    assert!(cache.entries <= 307, "{cache:?}");
    let fourth = night(200..400);
    assert_eq!(fourth.origins().reused, 200, "entries of the last run");
    let stats = cache::stats(&job.cache()).expect("stats");
    assert_eq!(stats.runs, 4);
    assert_eq!(stats.last_used.get(&0), Some(&200));
    let pruned = cache::prune(&job.cache(), keep(1)).expect("pruned");
    assert_eq!((pruned.kept, pruned.removed), (200, stats.entries - 200));
    assert!(pruned.bytes_after <= pruned.bytes_before);
    assert!(cache::verify(&job.cache()).expect("a readable cache").is_ok());
    assert_eq!(night(200..400).origins().reused, 200);
}

#[test]
fn prune_counts_finished_runs_only() {
    let job = Job::new();
    let config = job.config(&["input.chunk_rows = 20", "cache.verify_sample = 0"]);
    let rows = |rows| sample::write_tasks(&job.input(), plain(rows)).expect("an input");
    rows(0..100);
    run(&config, &Counted::new());
    rows(50..150);
    for _ in 0..2 {
        run_and_hear(&config, &fails_at(&TINY, 1)).expect_err("it fails");
    }
    run(&config, &Counted::new());
    let stats = cache::stats(&job.cache()).expect("stats");
    assert_eq!((stats.runs, stats.entries), (4, 150));
    assert_eq!(stats.last_used.into_iter().collect::<Vec<_>>(), [(0, 100), (1, 50)]);
    for (keep_runs, removed) in [(3, 0), (2, 0), (1, 50)] {
        let pruned = cache::prune(&job.cache(), keep(keep_runs)).expect("pruned");
        assert_eq!(pruned.removed, removed, "the last {keep_runs} finished runs");
    }
    assert_eq!(run(&config, &Counted::new()).origins().reused, 100);
}

#[test]
fn pruning_for_one_output_spares_what_others_use() {
    let job = Job::new();
    let shared = format!("cache.path = {:?}", job.directory().join("shared.cache"));
    let settings = [shared.as_str(), "cache.verify_sample = 0"];
    let (first, second) = (job.config(&settings), {
        let mut config = job.config(&settings);
        config.output.place = OutputPlace::alone(job.directory().join("out/other.parquet"));
        config
    });
    let rows = |rows| sample::write_tasks(&job.input(), plain(rows)).expect("an input");
    rows(0..100);
    run(&first, &Counted::new());
    rows(200..260);
    // The other output runs twice: to itself, the first one's vectors are old.
    run(&second, &Counted::new());
    run(&second, &Counted::new());
    let path = first.cache.path.clone().expect("a path");
    let stats = cache::stats(&path).expect("stats");
    let mut outputs: Vec<usize> = stats.outputs.iter().map(|output| output.runs.len()).collect();
    outputs.sort_unstable();
    assert_eq!(outputs, [1, 2]);
    assert_eq!(cache::prune(&path, keep(1)).expect("pruned").removed, 0);
    rows(0..100);
    assert_eq!(run(&first, &Counted::new()).origins().reused, 100);
    // Outputs that ran before this moment are forgotten, with what they used.
    let now = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    let forget = cache::Keep { runs: 1, outputs_since: Some(now) };
    assert_eq!(cache::prune(&path, forget).expect("pruned").removed, 60);
    assert_eq!(cache::stats(&path).expect("stats").outputs, []);
}

#[test]
fn no_file_grows_by_more_than_was_asked_of_its_disk() {
    for rows in [1, 400, 3000] {
        let job = Job::of(&plain(0..rows));
        let config = job.config(&["cache.commit_rows = 100"]);
        let growth =
            |rows: usize| cache::max_growth(&config.cache, &config.output.place, rows as u64, DIM);
        let asked = growth(rows);
        let used = run(&config, &Counted::new()).cache.and_then(|cache| cache.file_bytes);
        let used = used.expect("a size");
        assert!(used <= asked, "{rows} rows: {used} bytes used, {asked} estimated");
        // The next run estimates only the remaining growth.
        assert!(growth(rows) <= asked - used && growth(3 * rows) >= growth(rows));
    }
    let job = Job::of(&plain(0..1));
    let growth = |setting: &str, rows| {
        cache::max_growth(
            &job.config(&[setting]).cache,
            &OutputPlace::alone(job.output()),
            rows,
            384,
        )
    };
    assert_eq!(growth("cache.mode = \"read-only\"", 1000), 0);
    assert_eq!(growth("cache.mode = \"off\"", 1000), 0);
    let bounded = growth("cache.max_size = \"1 GiB\"", u64::MAX);
    assert!((1 << 30..(1 << 30) / 10 * 11).contains(&bounded), "{bounded}");
}

#[test]
fn run_larger_than_its_cache_warns_once() {
    let job = Job::of(&plain(0..200));
    let config =
        job.config(&["cache.max_size = 6000", "cache.commit_rows = 20", "cache.verify_sample = 0"]);
    let (report, warnings) = run_and_hear(&config, &Counted::new().model).expect("a report");
    let used = report.cache.expect("a cache");
    assert!(used.entries > 20 && used.entries + used.not_stored == 200, "{used:?}");
    assert_eq!(warnings, [Warning::CacheFull { path: job.cache(), max_size: 6000 }]);
    fs::remove_file(job.output()).expect("the output, which has the vectors as well");
    let second = run(&config, &Counted::new());
    assert_eq!(second.origins().reused, used.entries, "stored entries were evicted");
}

// Crashes.

#[test]
fn a_run_that_fails_keeps_what_it_has_made() {
    let job = Job::of(&plain(0..200));
    let config = job.config(&[
        "input.chunk_rows = 20",
        "cache.commit_rows = 1000",
        "cache.verify_sample = 0",
    ]);
    let error = run_and_hear(&config, &fails_at(&TINY, 4)).expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(!job.output().exists());
    let report = run(&config, &Counted::new());
    assert_eq!((report.origins().reused, report.origins().encoded), (80, 120));
    assert_eq!(read_parquet(&job.output()).vectors("embedding"), alone(&plain(0..200)));
}

#[test]
fn killed_run_resumes_and_ends_with_the_same_bytes() {
    const ROWS: usize = 2000;
    const COMMIT: usize = 20;
    let undisturbed = Program::new(ROWS, COMMIT);
    assert!(undisturbed.run().status.success());
    let expected = fs::read(undisturbed.job.output()).expect("an output");
    for percent in [10, 50, 90] {
        let program = Program::new(ROWS, COMMIT);
        let commits = ROWS / COMMIT * percent / 100;
        program.kill_after(commits);
        assert!(!program.job.output().exists(), "published when killed at {percent} %");
        let (encoded, reused) = program.encoded_and_reused();
        assert_eq!(encoded + reused, ROWS);
        assert!(reused >= commits * COMMIT, "killed at {percent} %: only {reused} were reused");
        // The margin covers in-flight work: one unreported commit, and uncommitted chunks.
        assert!(reused <= (commits + 40) * COMMIT, "killed at {percent} %: {reused} were reused");
        assert!(
            fs::read(program.job.output()).expect("an output") == expected,
            "killed at {percent} %"
        );
        assert_eq!(program.encoded_and_reused(), (0, ROWS));
    }
}

#[test]
fn a_rebuild_that_was_killed_goes_on_from_its_last_commit() {
    const ROWS: usize = 2000;
    const COMMIT: usize = 20;
    let mut program = Program::new(ROWS, COMMIT);
    assert!(program.run().status.success());
    program.options = &["--rebuild"];
    program.kill_after(10);
    program.kill_after(10);
    let (encoded, reused) = program.encoded_and_reused();
    assert!(encoded + reused == ROWS && reused >= 20 * COMMIT, "{encoded} and {reused}");
    assert_eq!(program.encoded_and_reused(), (ROWS, 0));
}

#[test]
fn full_disk_under_the_cache_fails_and_is_resumable() {
    let program = Program::new(1500, 50);
    // `ulimit -f` counts 512-byte blocks, and the cache is the first file to reach the limit. SIGXFSZ is
    // ignored, so that the write fails as on a full disk.
    let limited = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 400; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_reembed"),
        ])
        .args(program.arguments())
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&limited.stderr).into_owned();
    assert_eq!(limited.status.code(), Some(1), "{said}");
    assert!(said.contains("parquet.cache: the cache cannot be read or written"), "{said}");
    assert!(!program.job.output().exists());
    let (encoded, reused) = program.encoded_and_reused();
    assert!(reused >= 50 && encoded + reused == 1500, "{encoded} and {reused}");
}

// Helpers.

/// Runs the job and expects no warnings.
fn run(config: &Config, model: &Counted) -> Report {
    let (report, warnings) = run_and_hear(config, &model.model).expect("a report");
    let unexpected: Vec<&Warning> =
        warnings.iter().filter(|warning| !matches!(warning, Warning::CacheFull { .. })).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    report
}

/// Runs the job and returns its warnings.
fn run_and_hear(config: &Config, model: &Model) -> Result<(Report, Vec<Warning>)> {
    let told = Mutex::new(0);
    let (reader, lock) = prepare(config)?;
    let count = |event| match event {
        Event::BatchDone { rows, .. } | Event::Empty { rows } => {
            *told.lock().expect("no panic") += rows as u64;
        }
        Event::Known { reused, duplicate } => {
            *told.lock().expect("no panic") += (reused + duplicate) as u64;
        }
        _ => {}
    };
    let never = Stop::new();
    let report = run_opened(config, (&reader, &lock), model, &never, &count)?;
    drop(lock);
    assert_eq!(told.into_inner().expect("no panic"), report.rows, "progress ends at the last row");
    let warnings = report.warnings.clone();
    Ok((report, warnings))
}

/// The tiny model with the vector width of the fake encoder.
fn keep(runs: u32) -> cache::Keep {
    cache::Keep { runs, outputs_since: None }
}

fn named(model: &WrittenModel) -> Model {
    let model = load(model.path());
    let identity = ModelIdentity { dimension: DIM, ..model.facts.identity };
    Model { facts: ModelFacts { identity, ..model.facts }, ..model }
}

/// The fake encoder under the tiny model's name; counts the texts that it embeds.
struct Counted {
    model: Model,
    texts: Arc<AtomicU64>,
}

impl Counted {
    fn new() -> Self {
        Counted::failing(Failure::Never)
    }

    fn failing(failure: Failure) -> Self {
        Counted::with(&TINY, failure)
    }

    fn of(model: &WrittenModel) -> Self {
        Counted::with(model, Failure::Never)
    }

    fn with(model: &WrittenModel, failure: Failure) -> Self {
        let texts = Arc::new(AtomicU64::new(0));
        let counter = texts.clone();
        let fits = move |batch: &TokenBatch| match failure {
            Failure::AboveRows(most) => batch.len() <= most,
            _ => true,
        };
        let fake: Arc<dyn Encoder> = Arc::new(FakeEncoder::new(DIM, failure));
        let count = move |_, batch: &TokenBatch| {
            if fits(batch) {
                counter.fetch_add(batch.len() as u64, Ordering::Relaxed);
            }
            Ok(())
        };
        let model = Model { encoder: Arc::new(Before::new(fake, count)), ..named(model) };
        Counted { model, texts }
    }

    fn texts(&self) -> u64 {
        self.texts.load(Ordering::Relaxed)
    }
}

/// The fake encoder under a model's name; fails at the given call.
fn fails_at(model: &WrittenModel, call: u64) -> Model {
    let fake = Arc::new(FakeEncoder::new(DIM, Failure::Never));
    Model { encoder: failing(fake, call), ..named(model) }
}

fn failing(encoder: Arc<dyn Encoder>, call: u64) -> Arc<dyn Encoder> {
    let fail = move |at, _: &TokenBatch| match at < call {
        true => Ok(()),
        false => Err(EncodeError::Failed("injected".into())),
    };
    Arc::new(Before::new(encoder, fail))
}

/// Rows with distinct texts.
fn plain(rows: std::ops::Range<usize>) -> Vec<TaskRow> {
    rows.map(|n| task(format!("T-{n}"), format!("fix number {n} {}", "again ".repeat(n % 9))))
        .collect()
}

/// The vector of each row, embedded alone.
fn alone(rows: &[TaskRow]) -> Vec<Option<Vec<f32>>> {
    let model = load(TINY.path());
    let encoder = FakeEncoder::new(DIM, Failure::Never);
    let embed = |row: &TaskRow| {
        let mut batch = TokenBatch::default();
        batch.push(0, &model.tokenizer.tokenize(&build_input_text(row)).expect("ids").ids);
        let mut vector = vec![0.0; DIM];
        encoder.encode(&batch, &mut vector).expect("a vector");
        Some(vector)
    };
    rows.iter().map(embed).collect()
}

fn set_fact(cache: &Path, name: &str, number: u64) {
    const FACTS: TableDefinition<&str, u64> = TableDefinition::new("facts");
    let database = Database::open(cache).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    transaction.open_table(FACTS).expect("a table").insert(name, number).expect("inserted");
    transaction.commit().expect("committed");
}

/// Flips a bit of a vector, as a disk error would.
fn flip_inside_an_entry(cache: &Path) {
    const PLACES: TableDefinition<u64, &[u8]> = TableDefinition::new("places");
    let entry = {
        let database = Database::open(cache).expect("a database");
        let places = database.begin_read().expect("read").open_table(PLACES).expect("a table");
        let entry = places.iter().expect("entries").nth(20).expect("21 entries").expect("an entry");
        entry.1.value().to_vec()
    };
    let mut file = OpenOptions::new().read(true).write(true).open(cache).expect("a cache");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("bytes");
    // Old copies of a rewritten page stay in the file unused, so every copy is changed.
    for at in (0..bytes.len() - entry.len()).filter(|at| bytes[*at..].starts_with(&entry)) {
        file.seek(SeekFrom::Start((at + entry.len() / 2) as u64)).expect("an offset");
        file.write_all(&[bytes[at + entry.len() / 2] ^ 4]).expect("written");
    }
}

/// The real program with a tiny model, over a sample file.
struct Program {
    job: Job,
    commit_rows: usize,
    options: &'static [&'static str],
}

impl Program {
    fn new(rows: usize, commit_rows: usize) -> Self {
        let job = Job::new();
        // All texts are distinct.
        let rows =
            reembed_cli::sample::task_rows(rows as u64, 3).enumerate().map(|(n, mut row)| {
                row.title = Some(format!("{n} {}", row.title.unwrap_or_default()));
                row
            });
        sample::write_tasks(&job.input(), rows).expect("an input");
        let config = format!(
            "[input]\npath = \"in.parquet\"\nchunk_rows = 100\n[output]\npath = \"out/tasks.parquet\"\n\
             [compute]\nthreads = 1\n[cache]\ncommit_rows = {commit_rows}\nverify_sample = 5\n"
        );
        fs::write(job.directory().join("pipeline.toml"), config).expect("a configuration");
        Program { job, commit_rows, options: &[] }
    }

    fn arguments(&self) -> Vec<String> {
        let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let config = path(&self.job.directory().join("pipeline.toml"));
        ["run", "--no-supervise", "-v", "--config", &config, "--model-path", &path(TINY.path())]
            .map(str::to_owned)
            .into()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reembed"));
        command.args(self.arguments()).args(self.options);
        command
    }

    fn run(&self) -> Output {
        self.command().output().expect("a child")
    }

    /// Kills the program by its PID after it has logged `commits` commits.
    fn kill_after(&self, commits: usize) {
        let mut child =
            self.command().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a child");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let told = log
            .lines()
            .map(|line| line.expect("text"))
            .filter(|line| line.contains("kept in the cache"));
        assert_eq!(told.take(commits).count(), commits, "exited before {commits} commits");
        child.kill().expect("running");
        assert_eq!(child.wait().expect("exited").signal(), Some(9), "exited before it was killed");
        assert!(self.commit_rows > 0);
    }

    /// Runs to completion; returns the embedded and reused rows from the summary.
    fn encoded_and_reused(&self) -> (usize, usize) {
        let output = self.run();
        let summary = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let line = summary.lines().find(|line| line.starts_with("vectors")).expect("vectors");
        let number = |after: &str, before: &str| -> usize {
            let text =
                line.split_once(after).and_then(|(_, rest)| rest.split_once(before)).expect(line).0;
            text.trim().replace(',', "").parse().expect(line)
        };
        (number("vectors", " embedded"), number("embedded, ", " reused"))
    }
}
