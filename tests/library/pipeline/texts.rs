//! Rows without text, texts of every type, and IDs.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, FixedSizeBinaryArray,
    FixedSizeListArray, Int8Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int8Type, TimeUnit};
use reembed::events::Warning;
use reembed::{ErrorKind, Event, TaskRow};
use reembed_encoder::model::fake::{Failure, FakeEncoder};

use super::setup::{DIM, alone, fake, plain, run};
use crate::common::{Job, read_parquet, task};

#[test]
fn a_row_without_text_follows_the_policy() {
    let nothing = TaskRow { id: "empty".to_owned(), ..TaskRow::default() };
    let blank = TaskRow { files: Some(vec![]), ..task("blank", "") };
    let rows = [task("a", "words"), nothing, task("space", " "), blank];
    for layout in ["fixed_size_list", "list"] {
        let run_under = |policy: &str| {
            let job = Job::of(&rows);
            let policy = format!("output.on_empty = {policy:?}");
            let kind = format!("vector.layout = {layout:?}");
            let result = run(&job.config(&[&policy, &kind]), &fake(Failure::Never));
            (job, result)
        };
        let (job, result) = run_under("null");
        let (report, _) = result.expect("a report");
        assert_eq!((report.rows, report.null_rows()), (4, 2));
        let with_nulls = read_parquet(&job.output());
        let present: Vec<bool> =
            with_nulls.vectors("embedding").iter().map(Option::is_some).collect();
        assert_eq!(present, [true, false, true, false]);
        assert!(with_nulls.schema.field_with_name("embedding").expect("a field").is_nullable());

        let (job, result) = run_under("embed");
        assert_eq!(result.expect("a report").0.null_rows(), 0);
        let without = read_parquet(&job.output());
        assert!(!without.schema.field_with_name("embedding").expect("a field").is_nullable());
        let vectors = without.vectors("embedding");
        assert_eq!(vectors[0], with_nulls.vectors("embedding")[0]);
        assert_eq!(vectors[1], vectors[3]);
        assert!(vectors[1].is_some() && vectors[1] != vectors[0]);

        let (job, result) = run_under("error");
        let error = result.expect_err("an empty row");
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains(": row 2 (id empty): the row has no text"), "{error}");
        assert_eq!(job.beside_output(), Vec::<String>::new());
    }
}

#[test]
fn a_list_has_its_own_type_and_no_elements_in_null_rows() {
    let rows = [task("a", "words"), task("b", ""), task("c", "more words")];
    let job = Job::of(&rows);
    run(&job.config(&["vector.layout = \"list\""]), &fake(Failure::Never)).expect("a report");
    let written = read_parquet(&job.output());
    let column = written.rows.column_by_name("embedding").expect("a field").as_list::<i32>();
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
fn missing_column_is_an_error_only_if_it_was_named() {
    let text = Arc::new(StringArray::from(vec!["one", "two"])) as ArrayRef;
    let columns = [("id", text.clone()), ("title", text.clone()), ("description", text)];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let attempt = |settings: &[&str], batch: &RecordBatch| {
        let job = Job::of_batch(batch, 10);
        run(&job.config(settings), &fake(Failure::Never)).map(|(report, _)| report)
    };
    let report = attempt(&[], &batch).expect("files may be absent");
    assert_eq!(report.warnings, [Warning::NoFilesColumn]);
    let report = attempt(&["input.files = \"\""], &batch).expect("files are optional");
    assert_eq!(report.warnings, []);

    let bare = batch.project(&[0, 1]).expect("two columns");
    attempt(&["input.description = \"\""], &bare).expect("no description");
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
        assert!(error.advice_text().is_some(), "{error}");
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
            cast(&numbers, &DataType::Timestamp(TimeUnit::Microsecond, None)).expect("times"),
            "1970-01-01T00:00:00.000007",
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
        let rebuild = job.config(&["run.rebuild = true"]);
        let error = run(&rebuild, &fake(Failure::Always)).expect_err("nothing fits");
        assert!(error.to_string().contains(&format!(": row 1 (id {shown}): ")), "{error}");
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
        assert!(error.to_string().contains("row 3: column `id`: the id is null"), "{error}");
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
