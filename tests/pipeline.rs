//! The main job over files, with a fake encoder where arithmetic does not matter and a tiny model where it does:
//! what goes in comes out, whatever the sizes and whatever runs out of memory; what fails leaves no trace; no
//! stage's death hangs the others.

mod common;

use std::collections::HashMap;
use std::error::Error as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray,
    FixedSizeListArray, Float64Array, Int8Array, Int32Array, Int64Array, ListArray, MapArray,
    NullArray, RecordBatch, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int8Type, Schema, TimeUnit};
use common::model_folder::{ModelFolder, WrittenModel};
use common::{Before, Job, batches, distance, load, prepare, read_parquet, task, write_parquet};
use parquet::basic::{Compression, Encoding};
use proptest::prelude::*;
use reembed::batch::TokenBatch;
use reembed::limit::{BatchShape, LimitCause, LimitChange};
use reembed::lineage::ModelIdentity;
use reembed::model::fake::{Failure, FakeEncoder};
use reembed::model::{EncodeError, Encoder, Model};
use reembed::report::Warning;
use reembed::{
    Config, ErrorKind, Event, Report, Result, Stop, StopReason, TaskRow, build_input_text, pipeline,
};

/// Components of the fake encoder's vectors.
const DIM: usize = 8;

// Order, count and content.

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
        vector_type in prop::sample::select(&["fixed_size_list", "list"][..]),
    ) {
        let job = sizes.job(&rows);
        let on_empty_is = format!("output.on_empty = {on_empty:?}");
        let vector_type_is = format!("output.vector_type = {vector_type:?}");
        let config = sizes.config(&job, &[&on_empty_is, &vector_type_is]);
        let model = fake(failure);
        let (report, events) = run(&config, &model).expect("a report");

        let written = read_parquet(&job.output());
        prop_assert_eq!(written.tasks(), rows.clone());
        let expected = alone(&model, &FakeEncoder::new(DIM, Failure::Never), &rows, on_empty == "null");
        prop_assert_eq!(&written.vectors("embedding"), &expected);

        let nulls = expected.iter().filter(|vector| vector.is_none()).count() as u64;
        prop_assert_eq!((report.rows, report.null_rows), (rows.len() as u64, nulls));
        let origins = report.origins;
        prop_assert_eq!(origins.encoded + origins.reused + origins.duplicate, rows.len() as u64 - nulls);
        let told: usize = events.iter().map(|event| match event {
            Event::Batch { rows, .. } | Event::Empty { rows } => *rows,
            Event::Known { reused, duplicate } => reused + duplicate,
            _ => 0,
        }).sum();
        prop_assert_eq!(told, rows.len());
        let ran = events.iter().filter(|event| matches!(event, Event::Batch { .. })).count();
        prop_assert_eq!(batches(&report.work), ran as u64);
        check_limits(&events, &report, sizes.start)?;
        prop_assert_eq!(job.beside_output(), ["tasks.parquet"]);
    }

    #[test]
    fn when_nothing_fits_the_error_names_the_first_row_that_was_tried_alone(
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
            prop_assert!(result.is_ok(), "there is nothing to embed");
            return Ok(());
        };
        // Within a chunk the longest text goes first.
        let start = chunk * sizes.chunk_rows;
        let chunk = &lengths[start..(start + sizes.chunk_rows).min(lengths.len())];
        let longest = *chunk.iter().max().expect("a row");
        let row = start + chunk.iter().position(|length| *length == longest).expect("it is there");

        let error = result.expect_err("nothing fits");
        prop_assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        let expected = format!("row {row} (id {}): its {longest} tokens do not fit", rows[row].id);
        prop_assert!(error.to_string().contains(&expected), "{}; expected {}", error, expected);
        prop_assert_eq!(job.beside_output(), Vec::<String>::new());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_real_encoder_gives_its_one_at_a_time_vectors_though_batches_fail(
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
            prop_assert_eq!(found.len(), 32, "the width follows the model");
            let allowed = if real.encoder.is_batch_invariant() { 0.0 } else { 1e-6 };
            let difference = distance(found, expected);
            prop_assert!(difference <= allowed, "row {}: {:e}", row, difference);
        }
    }
}

#[test]
fn row_groups_chunks_and_batches_of_any_size_leave_the_same_bytes() {
    let rows = plain(120);
    let bytes = |settings: &[&str], failure: Failure| {
        let job = Job::of(&rows);
        run(&job.config(settings), &fake(failure)).expect("a report");
        fs::read(job.output()).expect("an output")
    };
    let first = bytes(&["input.chunk_rows = 50", "batch.start = 8"], Failure::Never);
    // Long enough for a clock to show itself.
    thread::sleep(Duration::from_millis(1100));
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
    assert!(renamed != first, "the comparison sees a difference");
}

// Memory and the limit.

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
    assert_eq!(changes.last().map(|change| change.to), Some(report.limit));
    assert!(report.work.batch_sizes.keys().all(|rows| *rows <= 5), "{:?}", report.work.batch_sizes);
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
        // The user's own figure is too large: it shows when a batch is priced.
        (&["batch.start = 64", "batch.tokens = 1000000"], true),
    ] {
        let job = Job::of(&rows);
        let config =
            job.config(&[&[&*format!("batch.memory_limit = {budget}")], settings].concat());
        let (report, events) = run(&config, &noting()).expect("a report");
        let ran = std::mem::take(&mut *shapes.lock().expect("no panic"));
        assert_eq!(ran.iter().map(|shape| shape.rows).sum::<usize>(), rows.len());
        assert!(ran.iter().all(|shape| price(shape) <= budget), "{ran:?}");
        assert!(ran.iter().any(|shape| price(shape) > budget / 2), "the budget is used: {ran:?}");
        assert_eq!(report.limit_changes > 0, moves);
        assert_eq!(limits(&events).len() as u64, report.limit_changes);
    }
}

#[test]
fn a_row_that_costs_more_than_may_be_used_is_named_with_both_figures() {
    let job = Job::of(&[task("small", "a"), task("large", "many words make a long row")]);
    let model = fake(Failure::Never);
    let large = model.tokenizer.tokenize("many words make a long row").expect("ids").ids.len();
    let config = job.config(&["batch.memory_limit = 150"]);
    let error = run(&config, &model).expect_err("it does not fit");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    let expected = format!("row 1 (id large): its {large} tokens do not fit");
    assert!(error.to_string().contains(&expected), "{error}");
    assert!(error.place().file().is_some(), "{error}");
    let cause = error.source().expect("a cause").to_string();
    assert_eq!(cause, format!("it needs {} bytes, 150 may be used", large * DIM * 4));
    assert!(error.what_to_do().is_some_and(|advice| advice.contains("batch.memory_limit")));
}

#[test]
fn while_the_encoder_is_stuck_only_the_chunks_that_stages_and_channels_hold_are_read() {
    // How far the reader came is seen from which damage it met: one chunk is one row group, and whoever fails
    // first along the stream is heard.
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
    assert_eq!(stuck(in_flight - 1), ErrorKind::Data, "the last chunk in flight is read");
    assert_eq!(stuck(in_flight), ErrorKind::Encode, "the chunk after it is not");
}

// Carried columns.

#[test]
fn columns_of_every_type_are_carried_with_all_metadata() {
    let batch = every_type(57);
    let job = Job::of_batch(&batch, 20);
    let original = read_parquet(&job.input());
    assert_eq!(original.rows.num_columns(), batch.num_columns());
    run(&job.config(&["input.chunk_rows = 13"]), &fake(Failure::Never)).expect("a report");
    let written = read_parquet(&job.output());

    let mut metadata = written.schema.metadata().clone();
    assert!(metadata.remove("reembed").is_some(), "the footer entry shows in the schema");
    assert_eq!(&metadata, original.schema.metadata());
    assert_eq!(metadata.get("owner").map(String::as_str), Some("tracker"));
    assert!(written.entry("ARROW:schema").is_some());
    let (vectors, carried) = written.schema.fields().split_last().expect("columns");
    assert_eq!(vectors.name(), "embedding");
    assert_eq!(carried.len(), original.schema.fields().len());
    for (number, field) in original.schema.fields().iter().enumerate() {
        assert_eq!(&carried[number], field);
        assert_eq!(
            field.metadata().get("note"),
            Some(field.name()),
            "the input has what is compared"
        );
        let same = written.rows.column(number) == original.rows.column(number);
        assert!(same, "column `{}` of type {} changed", field.name(), field.data_type());
        // What the Parquet library itself changes is seen here.
        assert!(original.rows.column(number) == batch.column(number), "`{}`", field.name());
    }
}

#[test]
fn a_column_of_vectors_that_is_there_makes_place_for_the_new_one() {
    for old in [
        Arc::new(Int32Array::from(vec![7; 5])) as ArrayRef,
        Arc::new(StringArray::from(vec!["x"; 5])),
        cast(&Float64Array::from(vec![0.5; 5]), &DataType::Float32).expect("floats"),
    ] {
        let text = |name: &str| {
            let values = (0..5).map(|row| format!("{name} {row}"));
            Arc::new(StringArray::from_iter_values(values)) as ArrayRef
        };
        let columns = [
            ("id", text("id")),
            ("embedding", old),
            ("title", text("title")),
            ("description", text("description")),
        ];
        let job = Job::of_batch(&RecordBatch::try_from_iter(columns).expect("a batch"), 3);
        let model = fake(Failure::Never);
        let (report, _) = run(&job.config(&[]), &model).expect("a report");
        assert!(report.replaced_column);
        let written = read_parquet(&job.output());
        let names: Vec<&str> =
            written.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["id", "embedding", "title", "description"]);
        assert!(
            written
                .vectors("embedding")
                .iter()
                .all(|vector| vector.as_ref().map(Vec::len) == Some(DIM))
        );

        // Once more over what was written: the same vectors, and one footer entry.
        fs::copy(job.output(), job.input()).expect("a copy");
        run(&job.config(&[]), &model).expect("a report");
        let again = read_parquet(&job.output());
        assert_eq!(again.vectors("embedding"), written.vectors("embedding"));
        let entries = again.metadata.file_metadata().key_value_metadata().expect("entries");
        assert_eq!(entries.iter().filter(|entry| entry.key == "reembed").count(), 1);
    }
}

#[test]
fn the_output_is_laid_out_as_promised() {
    let rows: Vec<TaskRow> = (0..25_001)
        .map(|n| task(format!("T-{n}"), if n == 0 { "x".repeat(5000) } else { format!("row {n}") }))
        .collect();
    let job = Job::of(&rows);
    run(&job.config(&["batch.start = 1024"]), &fake(Failure::Never)).expect("a report");
    let written = read_parquet(&job.output());
    let child = Arc::new(Field::new("element", DataType::Float32, false));
    let vectors = written.schema.field_with_name("embedding").expect("the column");
    assert_eq!(vectors.data_type(), &DataType::FixedSizeList(child, DIM as i32));
    let groups = written.metadata.row_groups();
    assert_eq!(groups.iter().map(|group| group.num_rows()).collect::<Vec<_>>(), [25_000, 1]);
    for column in groups.iter().flat_map(|group| group.columns()) {
        let name = column.column_path().string();
        assert!(matches!(column.compression(), Compression::ZSTD(_)), "{name}");
        if name.starts_with("embedding") {
            assert!(column.dictionary_page_offset().is_none());
            let dictionary = |encoding: Encoding| encoding == Encoding::RLE_DICTIONARY;
            assert!(!column.encodings().any(dictionary), "{name}");
        }
        if name == "title" {
            let statistics = column.statistics().expect("statistics");
            let longest = statistics.max_bytes_opt().map_or(0, <[u8]>::len);
            assert!((1..=64).contains(&longest), "a maximum of {longest} bytes");
        }
    }
    assert_eq!(written.rows.num_rows(), rows.len());
}

#[test]
fn the_row_groups_are_as_large_as_configured() {
    let job = Job::of(&plain(25));
    run(
        &job.config(&["output.row_group_rows = 10", "input.chunk_rows = 7"]),
        &fake(Failure::Never),
    )
    .expect("a report");
    let groups = read_parquet(&job.output()).metadata;
    let rows: Vec<i64> = groups.row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(rows, [10, 10, 5]);
}

// Rows without text, and texts of every type.

#[test]
fn a_row_without_text_follows_the_policy() {
    let nothing = TaskRow { id: "empty".to_owned(), ..TaskRow::default() };
    let blank = TaskRow { files: Some(vec![]), ..task("blank", "") };
    let rows = [task("a", "words"), nothing, task("space", " "), blank];
    for vector_type in ["fixed_size_list", "list"] {
        let run_under = |policy: &str| {
            let job = Job::of(&rows);
            let policy = format!("output.on_empty = {policy:?}");
            let kind = format!("output.vector_type = {vector_type:?}");
            let result = run(&job.config(&[&policy, &kind]), &fake(Failure::Never));
            (job, result)
        };
        let (job, result) = run_under("null");
        let (report, _) = result.expect("a report");
        assert_eq!((report.rows, report.null_rows), (4, 2));
        let with_nulls = read_parquet(&job.output());
        let present: Vec<bool> =
            with_nulls.vectors("embedding").iter().map(Option::is_some).collect();
        assert_eq!(present, [true, false, true, false]);
        assert!(with_nulls.schema.field_with_name("embedding").expect("it").is_nullable());

        let (job, result) = run_under("embed");
        assert_eq!(result.expect("a report").0.null_rows, 0);
        let without = read_parquet(&job.output());
        assert!(!without.schema.field_with_name("embedding").expect("it").is_nullable());
        let vectors = without.vectors("embedding");
        assert_eq!(vectors[0], with_nulls.vectors("embedding")[0]);
        assert_eq!(vectors[1], vectors[3]);
        assert!(vectors[1].is_some() && vectors[1] != vectors[0]);

        let (job, result) = run_under("error");
        let error = result.expect_err("an empty row");
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains(": row 1 (id empty): the row has no text"), "{error}");
        assert_eq!(job.beside_output(), Vec::<String>::new());
    }
}

#[test]
fn a_list_has_its_own_type_and_no_elements_in_null_rows() {
    let rows = [task("a", "words"), task("b", ""), task("c", "more words")];
    let job = Job::of(&rows);
    run(&job.config(&["output.vector_type = \"list\""]), &fake(Failure::Never)).expect("a report");
    let written = read_parquet(&job.output());
    let column = written.rows.column_by_name("embedding").expect("it").as_list::<i32>();
    let child = Arc::new(Field::new("element", DataType::Float32, false));
    assert_eq!(column.data_type(), &DataType::List(child));
    assert_eq!(column.value_offsets(), [0, DIM as i32, DIM as i32, 2 * DIM as i32]);
    assert!(column.is_null(1));
}

#[test]
fn strings_and_lists_of_every_kind_give_the_same_texts() {
    let rows: Vec<TaskRow> = plain(30)
        .into_iter()
        .enumerate()
        .map(|(n, row)| TaskRow {
            description: (n % 3 != 0).then(|| format!("line {n}")),
            files: (n % 4 != 0).then(|| (0..n % 3).map(|file| format!("f{file}.rs")).collect()),
            ..row
        })
        .collect();
    let base = Job::of(&rows);
    let model = fake(Failure::Never);
    run(&base.config(&[]), &model).expect("a report");
    let expected = read_parquet(&base.output()).vectors("embedding");
    let plain = read_parquet(&base.input()).rows;

    let dictionary =
        |key: DataType, value: DataType| DataType::Dictionary(Box::new(key), Box::new(value));
    let item = |data_type: DataType| Arc::new(Field::new("item", data_type, true));
    let strings = [
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        dictionary(DataType::Int32, DataType::Utf8),
        dictionary(DataType::Int8, DataType::LargeUtf8),
    ];
    let lists = [
        DataType::List(item(DataType::Utf8)),
        DataType::LargeList(item(DataType::Utf8)),
        DataType::LargeList(item(DataType::LargeUtf8)),
        DataType::List(item(DataType::Utf8View)),
        DataType::List(item(dictionary(DataType::Int32, DataType::Utf8))),
    ];
    for (text, list) in strings.iter().zip(&lists) {
        let schema = plain.schema();
        let columns = schema.fields().iter().zip(plain.columns()).map(|(field, column)| {
            let wanted = if field.name() == "files" { list } else { text };
            let column = cast(column, wanted).unwrap_or_else(|e| panic!("{wanted}: {e}"));
            (field.name().clone(), column, field.is_nullable())
        });
        let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("a batch");
        let job = Job::of_batch(&batch, 11);
        run(&job.config(&["input.chunk_rows = 7"]), &model)
            .unwrap_or_else(|error| panic!("{text} and {list}: {error}"));
        let written = read_parquet(&job.output());
        assert_eq!(written.vectors("embedding"), expected, "{text} and {list}");
        assert!(written.rows.columns()[..4] == batch.columns()[..4], "{text} and {list}");
    }
}

#[test]
fn null_file_names_are_skipped_also_in_lists_of_fixed_size() {
    let names = StringArray::from(vec![Some("a.rs"), None, None, Some("b.rs"), None, None]);
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let lists: [ArrayRef; 2] = [
        Arc::new(FixedSizeListArray::new(item.clone(), 2, Arc::new(names.clone()), None)),
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([2; 3]), Arc::new(names), None)),
    ];
    let rows = [
        TaskRow { files: Some(vec!["a.rs".to_owned()]), ..task("0", "same") },
        TaskRow { files: Some(vec!["b.rs".to_owned()]), ..task("1", "same") },
        task("2", "same"),
    ];
    let model = fake(Failure::Never);
    let expected = alone(&model, &FakeEncoder::new(DIM, Failure::Never), &rows, true);
    for list in lists {
        let titles = Arc::new(StringArray::from(vec!["same"; 3])) as ArrayRef;
        let ids = Arc::new(StringArray::from(vec!["0", "1", "2"])) as ArrayRef;
        let columns = [("id", ids), ("title", titles), ("files", list)];
        let job = Job::of_batch(&RecordBatch::try_from_iter(columns).expect("a batch"), 10);
        run(&job.config(&["input.description = \"\""]), &model).expect("a report");
        assert_eq!(read_parquet(&job.output()).vectors("embedding"), expected);
    }
}

#[test]
fn columns_that_are_not_there_are_missed_only_where_they_were_asked_for() {
    let text = Arc::new(StringArray::from(vec!["one", "two"])) as ArrayRef;
    let columns = [("id", text.clone()), ("title", text.clone()), ("description", text)];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let attempt = |settings: &[&str], batch: &RecordBatch| {
        let job = Job::of_batch(batch, 10);
        run(&job.config(settings), &fake(Failure::Never)).map(|(report, _)| report)
    };
    let report = attempt(&[], &batch).expect("files may be absent");
    assert_eq!(report.warnings, [Warning::NoFilesColumn]);
    let report = attempt(&["input.files = \"\""], &batch).expect("they are not wanted");
    assert_eq!(report.warnings, []);

    let bare = batch.project(&[0, 1]).expect("two columns");
    attempt(&["input.description = \"\""], &bare).expect("it is not wanted");
    let nested = RecordBatch::try_from_iter([
        ("id", batch.column(0).clone()),
        ("title", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef),
        ("description", batch.column(0).clone()),
    ]);
    for (settings, batch, expected) in [
        (&["input.files = \"files\""][..], &batch, "there is no column `files`"),
        (&["input.files = \"paths\""], &batch, "there is no column `paths`"),
        (&["input.title = \"name\""], &batch, "there is no column `name`"),
        (&["input.id = \"key\""], &batch, "there is no column `key`"),
        (&[], &bare, "there is no column `description`"),
        (&["input.files = \"description\""], &batch, "column `description`: its type is Utf8"),
        (&[], &nested.expect("a batch"), "column `title`: its type is Int32"),
    ] {
        let error = attempt(settings, batch).expect_err(expected);
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.place().file().is_some_and(|file| file.ends_with("in.parquet")), "{error}");
        assert!(error.what_to_do().is_some(), "{error}");
    }
}

#[test]
fn ids_of_any_flat_type_name_their_row() {
    let numbers = Int64Array::from(vec![7, 8]);
    let keys = Int8Array::from(vec![1, 0]);
    let dictionary =
        DictionaryArray::<Int8Type>::new(keys, Arc::new(StringArray::from(vec!["b", "a"])));
    for (ids, shown) in [
        (Arc::new(numbers.clone()) as ArrayRef, "7"),
        (cast(&numbers, &DataType::UInt8).expect("bytes"), "7"),
        (cast(&numbers, &DataType::Utf8View).expect("strings"), "7"),
        (cast(&numbers, &DataType::Decimal128(9, 2)).expect("decimals"), "7.00"),
        (
            cast(&numbers, &DataType::Timestamp(TimeUnit::Second, None)).expect("times"),
            "1970-01-01T00:00:07",
        ),
        (Arc::new(BooleanArray::from(vec![true, false])), "true"),
        (Arc::new(dictionary), "a"),
        (
            Arc::new(FixedSizeBinaryArray::try_from_iter([[1, 2], [3, 4]].iter()).expect("bytes")),
            "0102",
        ),
    ] {
        let title = Arc::new(StringArray::from(vec!["the longer text", "text"])) as ArrayRef;
        let columns = [("id", ids), ("title", title.clone()), ("description", title)];
        let job = Job::of_batch(&RecordBatch::try_from_iter(columns).expect("a batch"), 10);
        run(&job.config(&[]), &fake(Failure::Never)).expect("a report");
        let error = run(&job.config(&[]), &fake(Failure::Always)).expect_err("nothing fits");
        assert!(error.to_string().contains(&format!(": row 0 (id {shown}): ")), "{error}");
    }
}

#[test]
fn a_null_id_is_refused_and_a_repeated_one_told() {
    let keys = Int8Array::from(vec![Some(0), Some(2), Some(1), Some(0)]);
    let values = StringArray::from(vec![Some("a"), None, Some("c")]);
    for ids in [
        Arc::new(StringArray::from(vec![Some("a"), Some("c"), None, Some("a")])) as ArrayRef,
        Arc::new(Int32Array::from(vec![Some(1), Some(3), None, Some(1)])),
        Arc::new(DictionaryArray::<Int8Type>::new(keys, Arc::new(values))),
    ] {
        let title = Arc::new(StringArray::from(vec!["text"; 4])) as ArrayRef;
        let columns =
            [("id", ids, true), ("title", title.clone(), true), ("description", title, true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("a batch");
        let job = Job::of_batch(&batch, 10);
        let error = run(&job.config(&["input.chunk_rows = 2"]), &fake(Failure::Never)).err();
        let error = error.expect("a null id");
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains("row 2: column `id`: the id is null"), "{error}");
    }

    let ids = ["a", "b", "a", "c", "a", "b"];
    let job = Job::of(&ids.map(|id| task(id, "text")));
    let (report, events) =
        run(&job.config(&["input.chunk_rows = 2"]), &fake(Failure::Never)).expect("a report");
    let expected = Warning::DuplicateIds { count: 3, first: "a".to_owned() };
    assert_eq!(report.warnings, std::slice::from_ref(&expected));
    assert!(events.iter().any(|event| matches!(event, Event::Warning(told) if *told == expected)));
    assert_eq!(read_parquet(&job.output()).strings("id"), ids.map(|id| Some(id.to_owned())));
}

// The footer.

#[test]
fn the_footer_says_everything_that_the_vectors_depend_on_and_no_time() {
    let e5 = ModelFolder::like_e5().write();
    let job = Job::of(&[task("a", "words"), task("b", "")]);
    let settings = ["text.files_prefix = \"Paths: \"", "output.column = \"vector\""];
    let model = load(e5.path());
    run(&job.config(&settings), &model).expect("a report");
    let entry = read_parquet(&job.output()).entry("reembed").expect("the entry");
    let footer: serde_json::Value = serde_json::from_str(&entry).expect("JSON");

    let at =
        |path: &str| footer.pointer(path).unwrap_or_else(|| panic!("{path} in {entry}")).clone();
    for (path, expected) in [
        ("/lineage/version", serde_json::json!(2)),
        ("/lineage/tool", format!("reembed {}", env!("CARGO_PKG_VERSION")).into()),
        ("/lineage/model/pooling", "mean".into()),
        ("/lineage/model/normalized", true.into()),
        ("/lineage/model/max_seq_length", 512.into()),
        ("/lineage/model/prompt", "query: ".into()),
        ("/lineage/model/dimension", 64.into()),
        ("/lineage/model/precision", "f32".into()),
        ("/lineage/model/numerics", model.encoder.numerics().into()),
        ("/lineage/model/id", model.identity.id.clone().into()),
        ("/text/columns", serde_json::json!(["title", "description", "files"])),
        ("/text/files_prefix", "Paths: ".into()),
        ("/column", "vector".into()),
        ("/rows", 2.into()),
        ("/null_rows", 1.into()),
        ("/digests/carried/0/column", "id".into()),
        ("/digests/carried/0/sha256", footer["digests"]["ids"].clone()),
        ("/digests/carried/3/column", "files".into()),
    ] {
        assert_eq!(at(path), expected, "{path}");
    }
    assert_eq!(at("/lineage/fingerprint").as_str().map(str::len), Some(64));
    assert_eq!(at("/digests/carried").as_array().map(Vec::len), Some(4));
    assert_eq!(at("/digests/ids").as_str().map(str::len), Some(64));
    assert_eq!(at("/digests/vectors").as_str().map(str::len), Some(64));
    let files = at("/lineage/model/files");
    let mut names: Vec<&str> =
        files.as_object().expect("files").keys().map(String::as_str).collect();
    names.sort_unstable();
    let all = [
        "1_Pooling/config.json",
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
    ];
    assert_eq!(names, all);
    let hash = |name: &str| files[name].as_str().expect("a hash").to_owned();
    assert!(names.iter().all(|name| hash(name).len() == 64));
    assert_ne!(hash("config.json"), hash("modules.json"));
    let lower = entry.to_lowercase();
    assert!(!["time", "date", "created", "20:"].iter().any(|word| lower.contains(word)), "{entry}");
}

// Targets, and failures.

#[test]
fn an_output_that_is_the_input_or_no_regular_file_is_refused() {
    let job = Job::of(&plain(3));
    let before = fs::read(job.input()).expect("an input");
    let at = |name: &str| job.folder().join(name);
    fs::hard_link(job.input(), at("hard.parquet")).expect("a link");
    std::os::unix::fs::symlink(job.input(), at("soft.parquet")).expect("a link");
    std::os::unix::fs::symlink(at("nothing"), at("dangling.parquet")).expect("a link");
    fs::create_dir(at("folder.parquet")).expect("a folder");
    for (output, expected) in [
        ("in.parquet", "the output is the input"),
        ("folder.parquet/../in.parquet", "the output is the input"),
        ("hard.parquet", "the output is the input"),
        ("soft.parquet", "the output is a symbolic link"),
        ("dangling.parquet", "the output is a symbolic link"),
        ("folder.parquet", "the output is a folder"),
        ("far/away/out.parquet", "its folder is not there"),
        ("in.parquet/out.parquet", "the output cannot be looked at"),
    ] {
        let mut config = job.config(&[]);
        config.output.path = at(output);
        let error = run(&config, &fake(Failure::Never)).expect_err(output);
        assert_eq!(error.kind(), ErrorKind::Target, "{output}: {error}");
        assert!(error.to_string().contains(expected), "{output}: {error}");
        assert_eq!(error.place().file(), Some(config.output.path.as_path()));
    }
    assert!(fs::read(job.input()).expect("an input") == before);
    assert!(!at("nothing").exists());
    let mut here = job.config(&[]);
    here.output.path = at("beside.parquet");
    run(&here, &fake(Failure::Never)).expect("a file beside the input is fine");
}

#[test]
fn a_stage_that_dies_ends_the_run_with_its_own_error_and_leaves_the_old_output() {
    type Make = fn(&Job) -> Model;
    let healthy: Make = |_| fake(Failure::Never);
    type Case = (&'static str, &'static [&'static str], Make, ErrorKind, &'static [&'static str]);
    let cases: &[Case] = &[
        (
            "a damaged page",
            &[],
            |job| {
                damage(&job.input(), 6, "title");
                fake(Failure::Never)
            },
            ErrorKind::Data,
            &["in.parquet", "row group 6", "column `title`"],
        ),
        (
            "a file that shrinks under the reader",
            &[],
            |job| {
                let input = job.input();
                before(move |_, _| {
                    fs::File::options()
                        .write(true)
                        .open(&input)
                        .and_then(|f| f.set_len(50))
                        .expect("cut");
                    Ok(())
                })
            },
            ErrorKind::Data,
            &["in.parquet", "row group"],
        ),
        (
            "a row without text",
            &["output.on_empty = \"error\""],
            healthy,
            ErrorKind::Data,
            &["row 150 (id T-150)", "has no text"],
        ),
        (
            "a tokenizer that fails",
            &[],
            |_| broken_tokenizer(|tokenizer| tokenizer["model"]["unk_token"] = "[NONE]".into()),
            ErrorKind::Encode,
            &["row 151 (id T-151)", "the tokenizer failed"],
        ),
        (
            "a tokenizer that panics",
            &[],
            |_| {
                broken_tokenizer(|tokenizer| {
                    // A second sequence where there is one.
                    let second = serde_json::json!({ "Sequence": { "id": "B", "type_id": 0 } });
                    tokenizer["post_processor"]["single"][1] = second;
                })
            },
            ErrorKind::Encode,
            &["row 0 (id T-0)", "the tokenizer panicked"],
        ),
        (
            "an encoder that fails",
            &[],
            |_| {
                before(|call, _| match call {
                    // Three batches for each chunk of ten rows.
                    30 => Err(EncodeError::Failed("no such kernel".into())),
                    _ => Ok(()),
                })
            },
            ErrorKind::Encode,
            &["row 10", "(id T-10", "and 3 others", "the model failed"],
        ),
        (
            "an encoder that panics",
            &[],
            |_| {
                before(|call, _| {
                    assert!(call < 30, "the kernel fell over");
                    Ok(())
                })
            },
            ErrorKind::Encode,
            &["row 10", "(id T-10", "and 3 others", "the model failed"],
        ),
        (
            "a vector that is not finite",
            &[],
            |_| {
                let model = load(TINY.path());
                let token = model.tokenizer.tokenize("☃").expect("ids").ids[1];
                with_encoder(FakeEncoder::new(DIM, Failure::NotANumberFor(token)))
            },
            ErrorKind::Encode,
            &["row 151 (id T-151)", "component 0 of its vector is NaN"],
        ),
        (
            "nothing that fits",
            &[],
            |_| fake(Failure::Always),
            ErrorKind::OutOfMemory,
            &["row ", "(id T-", "tokens do not fit"],
        ),
    ];
    for (name, settings, make, kind, words) in cases {
        let mut rows = plain(200);
        rows[150] = TaskRow { id: "T-150".to_owned(), ..TaskRow::default() };
        rows[151].title = Some("a snowman ☃".to_owned());
        let job = Job::of(&rows);
        write_parquet(&job.input(), &read_parquet(&job.input()).rows, 20);
        fs::create_dir(job.output().parent().expect("a folder")).expect("a folder");
        fs::write(job.output(), "the old output").expect("an old output");
        let ours = ["input.chunk_rows = 10", "batch.start = 4", "run.replace = true"];
        let config = job.config(&[&ours, *settings].concat());
        let model = make(&job);
        let error = within_ten_seconds(move || run(&config, &model)).expect_err(name);
        let said = error.to_string();
        assert_eq!(error.kind(), *kind, "{name}: {said}");
        let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
        assert!(missing.is_empty(), "{name}: {said} lacks {missing:?}");
        assert_eq!(fs::read(job.output()).expect("the old output"), b"the old output", "{name}");
        assert_eq!(job.beside_output(), ["tasks.parquet"], "{name}");
    }
}

#[test]
fn a_panic_in_the_callback_is_an_error_of_its_stage() {
    let job = Job::of(&plain(100));
    let config = job.config(&["input.chunk_rows = 10"]);
    let error = within_ten_seconds(move || {
        let (reader, claim) = prepare(&config).expect("a job");
        let panics = |event| assert!(!matches!(event, Event::Batch { .. }), "no batches, please");
        let model = fake(Failure::Never);
        let never = Stop::new();
        pipeline::run_with(&config, &reader, &claim, &model, Duration::ZERO, &never, &panics)
    })
    .expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(error.to_string(), "the inference stage panicked: no batches, please");
    assert_eq!(job.beside_output(), Vec::<String>::new());
}

#[test]
fn a_request_to_stop_ends_the_run_after_the_batch_in_flight_and_keeps_what_is_finished() {
    let job = Job::of(&plain(100));
    let config = job.config(&["input.chunk_rows = 20", "batch.start = 5"]);
    let stop = Stop::new();
    let (asked, calls) = (stop.clone(), Arc::new(AtomicU64::new(0)));
    let counted = calls.clone();
    let model = before(move |call, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        if call == 5 {
            asked.request(StopReason::Terminated);
        }
        Ok(())
    });
    let (reader, claim) = prepare(&config).expect("a job");
    let error =
        pipeline::run_with(&config, &reader, &claim, &model, Duration::ZERO, &stop, &|_| ())
            .expect_err("it is to stop");
    drop(claim);
    assert_eq!(error.kind(), ErrorKind::Stopped(StopReason::Terminated));
    assert_eq!(calls.load(Ordering::Relaxed), 6);
    assert_eq!(job.beside_output(), Vec::<String>::new());
    let (report, _) = run(&config, &fake(Failure::Never)).expect("a report");
    assert_eq!((report.origins.reused, report.origins.encoded), (30, 70));
}

#[test]
fn a_run_whose_time_is_over_stops_before_its_first_batch() {
    let job = Job::of(&plain(100));
    let config = job.config(&[]);
    let stop = Stop::new().or_at(Some(Instant::now()));
    let model = before(|_, _| panic!("there is no time"));
    let (reader, claim) = prepare(&config).expect("a job");
    let error =
        pipeline::run_with(&config, &reader, &claim, &model, Duration::ZERO, &stop, &|_| ())
            .expect_err("it is to stop");
    assert_eq!(error.kind(), ErrorKind::Stopped(StopReason::Deadline));
    assert!(!job.output().exists());
}

#[test]
fn a_folder_that_goes_away_during_the_run_is_an_error_of_the_output() {
    let job = Job::of(&plain(20));
    // The store would be missed first.
    let config = job.config(&["store.mode = \"off\""]);
    let folder = job.output().parent().expect("a folder").to_owned();
    let model = before(move |_, _| {
        fs::remove_dir_all(&folder).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(EncodeError::Failed(Box::new(error))),
        })
    });
    let error = within_ten_seconds(move || run(&config, &model)).expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::Output);
    assert_eq!(error.place().file(), Some(job.output().as_path()));
    assert!(!job.output().exists());
}

#[test]
fn a_job_that_is_only_looked_at_makes_nothing() {
    let job = Job::of(&plain(3));
    let config = job.config(&[]);
    pipeline::prepare(&config).expect("a job");
    assert!(!job.output().parent().expect("a folder").exists());
    let with_model = Config { model: common::model_config(TINY.path(), &[]), ..config };
    pipeline::run(&with_model, &Stop::new(), &|_| ()).expect("a report");
    assert_eq!(job.beside_output(), ["tasks.parquet"]);
}

#[test]
fn an_input_that_is_none_is_refused_before_the_model_is_loaded() {
    let job = Job::new();
    let refused = |expected: &str| {
        let mut config = job.config(&["model.path = \"no/such/model\""]);
        config.input.path = job.input();
        let error = pipeline::run(&config, &Stop::new(), &|_| ()).expect_err(expected);
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!job.output().exists());
    };
    refused("cannot be opened");
    fs::write(job.input(), "").expect("a file");
    refused("is empty (0 bytes)");
    fs::write(job.input(), "id,title\n1,one\n").expect("a file");
    refused("is not a Parquet file");
    fs::remove_file(job.input()).expect("a file");
    fs::create_dir(job.input()).expect("a folder");
    refused("is a folder");
}

// Helpers.

static TINY: LazyLock<WrittenModel> = LazyLock::new(|| ModelFolder::tiny().write());

fn with_encoder(encoder: impl Encoder + 'static) -> Model {
    let model = load(TINY.path());
    let identity = ModelIdentity { dimension: encoder.dim(), ..model.identity };
    Model { encoder: Box::new(encoder), identity, tokenizer: model.tokenizer }
}

fn fake(failure: Failure) -> Model {
    with_encoder(FakeEncoder::new(DIM, failure))
}

/// The fake encoder after `act`.
fn before<F>(act: F) -> Model
where
    F: Fn(u64, &TokenBatch) -> Result<(), EncodeError> + Send + Sync + 'static,
{
    let fake: Box<dyn Encoder> = Box::new(FakeEncoder::new(DIM, Failure::Never));
    with_encoder(Before::new(fake, act))
}

fn broken_tokenizer(edit: impl FnOnce(&mut serde_json::Value)) -> Model {
    let written = ModelFolder::tiny().write();
    written.edit_json("tokenizer.json", edit);
    Model { tokenizer: load(written.path()).tokenizer, ..fake(Failure::Never) }
}

fn out_of_memory(batch: &TokenBatch) -> EncodeError {
    EncodeError::OutOfMemory { shape: batch.shape(), cause: "injected".into() }
}

/// Runs the job and keeps what it told.
fn run(config: &Config, model: &Model) -> Result<(Report, Vec<Event>)> {
    let events = Mutex::new(Vec::new());
    let (reader, claim) = prepare(config)?;
    let never = Stop::new();
    let tell = |event| events.lock().expect("no panic").push(event);
    let report = pipeline::run_with(config, &reader, &claim, model, Duration::ZERO, &never, &tell)?;
    Ok((report, events.into_inner().expect("no panic")))
}

fn within_ten_seconds<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver
        .recv_timeout(Duration::from_secs(10))
        .expect("the run ends within 10 s, without a panic")
}

/// The vector of each row, embedded by itself.
fn alone(
    model: &Model,
    encoder: &dyn Encoder,
    rows: &[TaskRow],
    nulls: bool,
) -> Vec<Option<Vec<f32>>> {
    let embed = |row: &TaskRow| {
        let text = build_input_text(row);
        if nulls && text.is_empty() {
            return None;
        }
        let mut batch = TokenBatch::default();
        batch.push(0, &model.tokenizer.tokenize(&text).expect("ids").ids);
        let mut vector = vec![0.0; encoder.dim()];
        encoder.encode(&batch, &mut vector).expect("a vector");
        Some(vector)
    };
    rows.iter().map(embed).collect()
}

fn limits(events: &[Event]) -> Vec<LimitChange> {
    let change = |event: &Event| match event {
        Event::Limit(change) => Some(*change),
        _ => None,
    };
    events.iter().filter_map(change).collect()
}

/// Each change starts where the one before ended, and the report tells the same story.
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
    prop_assert_eq!(report.limit.rows.get(), rows);
    Ok(())
}

/// Rows with words, of different lengths.
fn plain(count: usize) -> Vec<TaskRow> {
    let words = ["fix", "the", "login", "page", "after", "an", "upgrade", "of", "its", "cache"];
    let title = |n: usize| {
        let words: Vec<&str> =
            (0..1 + n * 7 % 23).map(|at| words[(n + at) % words.len()]).collect();
        words.join(" ")
    };
    (0..count).map(|n| task(format!("T-{n}"), title(n))).collect()
}

/// The sizes that must not show in the result.
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

/// Overwrites the pages of a column in one row group.
fn damage(path: &Path, group: usize, column: &str) {
    let metadata = read_parquet(path).metadata;
    let columns = metadata.row_group(group).columns();
    let chunk = columns.iter().find(|chunk| chunk.column_path().string() == column).expect(column);
    let (start, length) = chunk.byte_range();
    let mut bytes = fs::read(path).expect("an input");
    bytes[start as usize..(start + length) as usize].fill(0xff);
    fs::write(path, bytes).expect("an input");
}

/// A column of every type that the Parquet library writes, every one with nulls and with metadata.
fn every_type(rows: usize) -> RecordBatch {
    let is_there = |row: usize| row % 5 != 3;
    let numbers: Int64Array = (0..rows).map(|row| is_there(row).then_some(row as i64)).collect();
    let numbers = Arc::new(numbers) as ArrayRef;
    let to = |from: &ArrayRef, data_type: DataType| -> ArrayRef {
        cast(from, &data_type).unwrap_or_else(|error| panic!("{data_type}: {error}"))
    };
    let small = to(&numbers, DataType::Int32);
    let words = to(&numbers, DataType::Utf8);
    let nulls = || Some(NullBuffer::from((0..rows).map(is_there).collect::<Vec<_>>()));
    let lengths = || OffsetBuffer::from_lengths((0..rows).map(|row| usize::from(is_there(row))));
    // As many elements as rows that are there.
    let elements = || {
        let some: StringArray =
            (0..rows).filter(|row| is_there(*row)).map(|row| Some(row.to_string())).collect();
        Arc::new(some) as ArrayRef
    };
    let item = |data_type: &DataType| {
        let metadata = HashMap::from([("inner".to_owned(), "kept".to_owned())]);
        Arc::new(Field::new("item", data_type.clone(), true).with_metadata(metadata))
    };
    let list = |values: ArrayRef| -> ArrayRef {
        Arc::new(ListArray::new(item(values.data_type()), lengths(), values, nulls()))
    };
    let structure = |columns: &[(&str, ArrayRef)], nulls: Option<NullBuffer>| -> ArrayRef {
        let field =
            |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
        let fields: Fields = columns.iter().map(field).collect();
        let columns = columns.iter().map(|(_, column)| column.clone()).collect();
        Arc::new(StructArray::new(fields, columns, nulls))
    };
    let pair = structure(&[("number", small.clone()), ("word", words.clone())], nulls());
    let entries = {
        let keys = Field::new("keys", DataType::Utf8, false);
        let values = Field::new("values", DataType::Utf8, true);
        StructArray::new(Fields::from(vec![keys, values]), vec![elements(), elements()], None)
    };
    let entry = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let map = Arc::new(MapArray::new(entry, lengths(), entries, nulls(), false)) as ArrayRef;
    let fixed = {
        let pairs = Int32Array::from_iter_values(0..2 * rows as i32);
        FixedSizeListArray::new(item(&DataType::Int32), 2, Arc::new(pairs), nulls())
    };
    let bytes = (0..rows).map(|row| is_there(row).then_some([row as u8; 3]));
    let bytes = FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 3).expect("bytes");
    let large = |data_type: &DataType| DataType::LargeList(item(data_type));
    let few = (0..rows).map(|row| is_there(row).then(|| format!("choice {}", row % 3)));
    let few = Arc::new(few.collect::<StringArray>()) as ArrayRef;
    let dictionary =
        |key: DataType, value: DataType| DataType::Dictionary(Box::new(key), Box::new(value));

    let ids = Arc::new(Int64Array::from_iter_values(0..rows as i64)) as ArrayRef;
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("id".to_owned(), ids),
        ("title".to_owned(), words.clone()),
        ("description".to_owned(), to(&words, DataType::LargeUtf8)),
        ("files".to_owned(), list(elements())),
    ];
    let utc = || Some("UTC".into());
    for data_type in [
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(20, 3),
        DataType::Decimal256(60, 5),
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::Timestamp(TimeUnit::Millisecond, utc()),
        DataType::Timestamp(TimeUnit::Microsecond, Some("+02:00".into())),
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        DataType::Duration(TimeUnit::Millisecond),
        DataType::Time64(TimeUnit::Nanosecond),
        DataType::Date64,
    ] {
        columns.push((data_type.to_string(), to(&numbers, data_type)));
    }
    for data_type in [DataType::Date32, DataType::Time32(TimeUnit::Millisecond)] {
        columns.push((data_type.to_string(), to(&small, data_type)));
    }
    for data_type in [
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
        dictionary(DataType::Int32, DataType::Utf8),
    ] {
        columns.push((data_type.to_string(), to(&words, data_type)));
    }
    for data_type in
        [dictionary(DataType::Int8, DataType::Utf8), dictionary(DataType::UInt16, DataType::Binary)]
    {
        columns.push((data_type.to_string(), to(&few, data_type)));
    }
    let strings = list(elements());
    for (name, column) in [
        ("strings", strings.clone()),
        ("large strings", to(&strings, large(&DataType::LargeUtf8))),
        ("bytes", Arc::new(bytes)),
        ("pair", pair.clone()),
        ("list in list", {
            let inner = ListArray::new(
                item(&DataType::Utf8),
                OffsetBuffer::from_lengths(vec![1; elements().len()]),
                elements(),
                None,
            );
            list(Arc::new(inner))
        }),
        ("struct in list", list(structure(&[("word", elements())], None))),
        ("list in struct", structure(&[("words", strings.clone()), ("pair", pair)], nulls())),
        ("map", map),
        ("fixed", Arc::new(fixed)),
        ("nothing", Arc::new(NullArray::new(rows))),
    ] {
        columns.push((name.to_owned(), column));
    }
    let field = |(name, column): &(String, ArrayRef)| {
        let metadata = HashMap::from([("note".to_owned(), name.clone())]);
        Field::new(name, column.data_type().clone(), name != "id").with_metadata(metadata)
    };
    let fields: Vec<Field> = columns.iter().map(field).collect();
    let metadata = HashMap::from([("owner".to_owned(), "tracker".to_owned())]);
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(schema, columns).expect("a batch")
}
