//! Memory and the batch limit.

use std::error::Error as _;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use reembed::{ErrorKind, pipeline};
use reembed_encoder::limit::{BatchShape, LimitCause};
use reembed_encoder::model::EncodeError;
use reembed_encoder::model::fake::Failure;

use super::setup::{DIM, before, damage, fake, limits, plain, run, within_ten_seconds};
use crate::common::{Job, read_parquet, task, write_parquet};

#[test]
fn each_move_of_the_limit_is_told_with_its_cause() {
    let job = Job::of(&plain(400));
    let config = job.config(&["batch.start = 16", "batch.max = 32", "input.chunk_rows = 50"]);
    let (report, events) = run(&config, &fake(Failure::AboveRows(5))).expect("a report");
    let changes = limits(&events);
    let first = changes.first().expect("the limit moved");
    assert_eq!((first.from.rows.get(), first.to.rows.get()), (16, 8));
    assert!(
        matches!(first.cause, LimitCause::OutOfMemory(BatchShape { rows: 16, .. })),
        "{first:?}"
    );
    assert_eq!((changes[1].from.rows.get(), changes[1].to.rows.get()), (8, 4));
    let grown = changes.iter().find(|change| matches!(change.cause, LimitCause::Successes(_)));
    let grown = grown.expect("the limit grew back");
    assert_eq!((grown.from.rows.get(), grown.to.rows.get()), (4, 8));
    assert_eq!(report.limit_changes, changes.len() as u64);
    assert_eq!(changes.last().map(|change| change.to), report.first().limit);
    assert!(
        report.work().batch_sizes.keys().all(|rows| *rows <= 5),
        "{:?}",
        report.work().batch_sizes
    );
    assert_eq!(read_parquet(&job.output()).tasks(), plain(400));
}

#[test]
fn the_memory_limit_prices_every_batch_before_it_runs() {
    let rows = plain(200);
    let shapes = Arc::new(Mutex::new(Vec::new()));
    let noting = || {
        let shapes = shapes.clone();
        before(move |_, batch| {
            shapes.lock().expect("no panic").push(batch.shape());
            Ok(())
        })
    };
    let budget = 2 * 256 * DIM as u64 * 4;
    let price = |shape: &BatchShape| shape.padded_tokens() as u64 * DIM as u64 * 4;
    for (settings, moves) in [
        (&["batch.start = 64"][..], false),
        // The configured start is too large: the first cost estimate reduces it.
        (&["batch.start = 64", "batch.tokens = 1000000"], true),
    ] {
        let job = Job::of(&rows);
        let config =
            job.config(&[&[&*format!("batch.memory_limit = {budget}")], settings].concat());
        let (report, events) = run(&config, &noting()).expect("a report");
        let ran = std::mem::take(&mut *shapes.lock().expect("no panic"));
        assert_eq!(ran.iter().map(|shape| shape.rows).sum::<usize>(), rows.len());
        assert!(ran.iter().all(|shape| price(shape) <= budget), "{ran:?}");
        assert!(ran.iter().any(|shape| price(shape) > budget / 2), "the budget is unused: {ran:?}");
        assert_eq!(report.limit_changes > 0, moves);
        assert_eq!(limits(&events).len() as u64, report.limit_changes);
    }
}

#[test]
fn row_over_the_memory_limit_is_named_with_both_figures() {
    let job = Job::of(&[task("small", "a"), task("large", "many words make a long row")]);
    let model = fake(Failure::Never);
    let large = model.tokenizer.tokenize("many words make a long row").expect("ids").ids.len();
    let config = job.config(&["batch.memory_limit = 150"]);
    let error = run(&config, &model).expect_err("it does not fit");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    let expected = format!("row 2 (id large): its {large} tokens do not fit");
    assert!(error.to_string().contains(&expected), "{error}");
    assert!(error.place().file().is_some(), "{error}");
    let cause = error.source().expect("a cause").to_string();
    assert_eq!(
        cause,
        format!("the batch needs {} bytes; the memory budget is 150", large * DIM * 4)
    );
    assert!(error.advice_text().is_some_and(|advice| advice.contains("batch.memory_limit")));
}

#[test]
fn stuck_encoder_bounds_the_chunks_that_are_read() {
    // The error shows how far the reader got: one chunk is one row group, and the first failing stage is
    // reported.
    let in_flight = 3 + 2 * pipeline::CHANNEL_CHUNKS;
    let stuck = |damaged: usize| {
        let job = Job::of(&plain(200));
        write_parquet(&job.input(), &read_parquet(&job.input()).rows, 10);
        damage(&job.input(), damaged, "title");
        let config = job.config(&["input.chunk_rows = 10"]);
        let model = before(|_, _| {
            thread::sleep(Duration::from_millis(1500));
            Err(EncodeError::Failed("stuck".into()))
        });
        within_ten_seconds(move || run(&config, &model)).expect_err("it fails").kind()
    };
    assert_eq!(stuck(in_flight - 1), ErrorKind::Data, "the last chunk in flight");
    assert_eq!(stuck(in_flight), ErrorKind::Encode, "the chunk after it");
}
