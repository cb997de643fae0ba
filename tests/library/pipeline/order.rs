//! Order, count and content: each row has its own vector for any batch size and after any failure.

use std::fs;

use proptest::prelude::*;
use reembed::{Config, ErrorKind, Event, Report, Result, TaskRow, build_input_text};
use reembed_encoder::batch::TokenBatch;
use reembed_encoder::limit::LimitCause;
use reembed_encoder::model::EncodeError;
use reembed_encoder::model::fake::{Failure, FakeEncoder};
use reembed_encoder::position::Position;

use super::setup::{DIM, TINY, alone, fake, limits, plain, run, with_encoder};
use crate::common::{Before, Job, batches, distance, load, read_parquet, write_parquet};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_row_comes_out_once_in_order_with_its_own_vector(
        rows in corpus(0..40),
        sizes in sizes(),
        failure in prop_oneof![
            2 => Just(Failure::Never),
            2 => (1u64..5).prop_map(Failure::Every),
            2 => (1usize..6).prop_map(Failure::AboveRows),
        ],
        on_empty in prop::sample::select(&["null", "embed"][..]),
        layout in prop::sample::select(&["fixed_size_list", "list"][..]),
    ) {
        let job = sizes.job(&rows);
        let on_empty_is = format!("output.on_empty = {on_empty:?}");
        let layout_is = format!("vector.layout = {layout:?}");
        let config = sizes.config(&job, &[&on_empty_is, &layout_is]);
        let model = fake(failure);
        let (report, events) = run(&config, &model).expect("a report");

        let written = read_parquet(&job.output());
        prop_assert_eq!(written.tasks(), rows.clone());
        let expected = alone(&model, &FakeEncoder::new(DIM, Failure::Never), &rows, on_empty == "null");
        prop_assert_eq!(&written.vectors("embedding"), &expected);

        let nulls = expected.iter().filter(|vector| vector.is_none()).count() as u64;
        prop_assert_eq!((report.rows, report.null_rows()), (rows.len() as u64, nulls));
        let origins = report.origins();
        prop_assert_eq!(origins.encoded + origins.reused + origins.duplicate, rows.len() as u64 - nulls);
        let told: usize = events.iter().map(|event| match event {
            Event::BatchDone { rows, .. } | Event::Empty { rows } => *rows,
            Event::Known { reused, duplicate } => reused + duplicate,
            _ => 0,
        }).sum();
        prop_assert_eq!(told, rows.len());
        let mut position = Position::default();
        for event in &events {
            match event {
                Event::BatchStarted(_) => position.start_batch(),
                Event::PartDone { rows, tokens } => position.add_part(*rows, *tokens),
                Event::BatchDone { rows, tokens } => position.finish_batch(*rows, *tokens),
                Event::Empty { rows } => position.add_rows(*rows),
                Event::Known { reused, duplicate } => position.add_rows(reused + duplicate),
                _ => {}
            }
            prop_assert!(position.shown().rows <= rows.len() as u64);
        }
        prop_assert_eq!(position.shown().rows, rows.len() as u64);
        prop_assert_eq!(position.shown().tokens, report.work().tokens);
        let ran = events.iter().filter(|event| matches!(event, Event::BatchDone { .. })).count();
        prop_assert_eq!(batches(&report.work()), ran as u64);
        check_limits(&events, &report, sizes.start)?;
        prop_assert_eq!(job.beside_output(), ["tasks.parquet"]);
    }

    #[test]
    fn out_of_memory_for_one_text_names_the_row(
        rows in corpus(1..30),
        sizes in sizes(),
    ) {
        let job = sizes.job(&rows);
        let model = fake(Failure::Always);
        let result = run(&sizes.config(&job, &[]), &model);

        let tokens = |row: &TaskRow| match build_input_text(row) {
            text if text.is_empty() => 0,
            text => model.tokenizer.tokenize(&text).expect("ids").ids.len(),
        };
        let lengths: Vec<usize> = rows.iter().map(tokens).collect();
        let first = lengths.chunks(sizes.chunk_rows).position(|chunk| chunk.iter().any(|l| *l > 0));
        let Some(chunk) = first else {
            prop_assert!(result.is_ok(), "failed without any text");
            return Ok(());
        };
        // Within a chunk the longest text is processed first.
        let start = chunk * sizes.chunk_rows;
        let chunk = &lengths[start..(start + sizes.chunk_rows).min(lengths.len())];
        let longest = *chunk.iter().max().expect("a row");
        let row = start + chunk.iter().position(|length| *length == longest).expect("a longest row");

        let error = result.expect_err("nothing fits");
        prop_assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        let expected = format!("row {} (id {}): its {longest} tokens do not fit", row + 1, rows[row].id);
        prop_assert!(error.to_string().contains(&expected), "{}; expected {}", error, expected);
        prop_assert_eq!(job.beside_output(), Vec::<String>::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn failing_batches_give_the_vectors_of_single_texts(
        rows in corpus(1..40),
        sizes in sizes(),
        every in 1u64..4,
    ) {
        let job = sizes.job(&rows);
        let real = load(TINY.path());
        let act = move |call: u64, batch: &TokenBatch| {
            match batch.len() > 1 && call.is_multiple_of(every) {
                true => Err(out_of_memory(batch)),
                false => Ok(()),
            }
        };
        let model = with_encoder(Before::new(load(TINY.path()).encoder, act));
        run(&sizes.config(&job, &["output.on_empty = \"embed\""]), &model).expect("a report");
        let written = read_parquet(&job.output());
        prop_assert_eq!(written.tasks(), rows.clone());
        let expected = alone(&real, real.encoder.as_ref(), &rows, false);
        for (row, (found, expected)) in written.vectors("embedding").iter().zip(&expected).enumerate() {
            let (found, expected) = (found.as_ref().expect("one"), expected.as_ref().expect("one"));
            prop_assert_eq!(found.len(), 32, "not the width of the model");
            let allowed = if real.encoder.is_batch_invariant() { 0.0 } else { 1e-6 };
            let difference = distance(found, expected);
            prop_assert!(difference <= allowed, "row {}: {:e}", row, difference);
        }
    }
}

#[test]
fn row_group_chunk_and_batch_sizes_do_not_change_bytes() {
    let rows = plain(120);
    let bytes = |settings: &[&str], failure: Failure| {
        let job = Job::of(&rows);
        run(&job.config(settings), &fake(failure)).expect("a report");
        fs::read(job.output()).expect("an output")
    };
    let first = bytes(&["input.chunk_rows = 50", "batch.start = 8"], Failure::Never);
    for (settings, failure) in [
        (&["input.chunk_rows = 50", "batch.start = 8"][..], Failure::Never),
        (&["input.chunk_rows = 50", "batch.start = 1"], Failure::Never),
        (&["input.chunk_rows = 50", "batch.start = 64"], Failure::Every(2)),
        (&["input.chunk_rows = 50", "batch.start = 64"], Failure::AboveRows(3)),
        (&["input.chunk_rows = 50", "batch.tokens = 64"], Failure::Never),
    ] {
        assert!(bytes(settings, failure) == first, "{settings:?} under {failure:?} differs");
    }
    let renamed = bytes(&["input.chunk_rows = 50", "output.column = \"vector\""], Failure::Never);
    assert!(renamed != first, "the comparison missed a difference");
}

/// Each change starts at the previous limit, and the report lists the same changes.
fn check_limits(events: &[Event], report: &Report, start: usize) -> Result<(), TestCaseError> {
    let changes = limits(events);
    prop_assert_eq!(report.limit_changes, changes.len() as u64);
    let mut rows = start;
    for change in changes {
        prop_assert_eq!(change.from.rows.get(), rows);
        rows = change.to.rows.get();
        match change.cause {
            LimitCause::OutOfMemory(shape) => prop_assert!(rows <= shape.rows.max(2) / 2),
            LimitCause::Successes(_) => prop_assert!(rows >= change.from.rows.get()),
        }
    }
    prop_assert_eq!(report.first().limit.map(|limit| limit.rows.get()), Some(rows));
    Ok(())
}

fn out_of_memory(batch: &TokenBatch) -> EncodeError {
    EncodeError::OutOfMemory { shape: batch.shape(), cause: "injected".into() }
}

/// The settings that must not change the result.
#[derive(Debug, Clone)]
struct Sizes {
    input_group: usize,
    chunk_rows: usize,
    start: usize,
    more: usize,
    output_group: usize,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    (1usize..15, 1usize..15, 1usize..12, 0usize..10, 1usize..15).prop_map(
        |(input_group, chunk_rows, start, more, output_group)| Sizes {
            input_group,
            chunk_rows,
            start,
            more,
            output_group,
        },
    )
}

impl Sizes {
    fn job(&self, rows: &[TaskRow]) -> Job {
        let job = Job::of(rows);
        write_parquet(&job.input(), &read_parquet(&job.input()).rows, self.input_group);
        job
    }

    fn config(&self, job: &Job, settings: &[&str]) -> Config {
        let own = [
            format!("input.chunk_rows = {}", self.chunk_rows),
            format!("batch.start = {}", self.start),
            format!("batch.max = {}", self.start + self.more),
            "output.carry = \"reencode\"".to_owned(),
            format!("output.row_group_rows = {}", self.output_group),
        ];
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        job.config(&[&own, settings].concat())
    }
}

fn corpus(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<TaskRow>> {
    let text = || {
        prop::option::weighted(
            0.8,
            prop_oneof![
                4 => "[a-z]{1,8}( [a-z]{1,8}){0,12}",
                1 => Just(String::new()),
                1 => "\\PC{0,30}",
                1 => any::<String>(),
                1 => (1usize..400).prop_map(|words| "word ".repeat(words)),
            ],
        )
    };
    let files = prop::option::of(prop::collection::vec("[a-z/]{0,12}", 0..4));
    prop::collection::vec((text(), text(), files), count).prop_map(|rows| {
        let row = |(n, (title, description, files))| TaskRow {
            id: format!("T-{n}"),
            title,
            description,
            files,
        };
        rows.into_iter().enumerate().map(row).collect()
    })
}
