//! Carried columns and the layout of the output.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, Float64Array, Int32Array,
    Int64Array, ListArray, MapArray, NullArray, RecordBatch, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use parquet::basic::{Compression, Encoding};
use reembed::verify::{self, Verdict};
use reembed::{ErrorKind, TaskRow};
use reembed_encoder::model::fake::Failure;

use super::setup::{DIM, fake, plain, run};
use crate::common::{Job, read_parquet, task};

#[test]
fn what_the_input_may_decode_to_does_not_bound_the_output() {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    let titles: ArrayRef = Arc::new(StringArray::from(vec!["title"; 1000]));
    let batch = RecordBatch::try_from_iter([("id", ids), ("title", titles)]).expect("a table");
    let job = Job::of_batch(&batch, 1000);
    let config = |limit: u64| {
        job.config(&["input.description = \"\"", &format!("input.decode_limit = {limit}")])
    };
    // A row takes at least 16 bytes per column: 32,000 bytes suffice for two columns but not for three.
    let error = run(&config(31_999), &fake(Failure::Never)).expect_err("the input is bounded");
    assert_eq!(error.kind(), ErrorKind::Input);
    let config = config(40_000);
    run(&config, &fake(Failure::Never)).expect("a report");
    let (output, footer) = verify::open(&job.output()).expect("an output");
    let input = job.input();
    let checks =
        verify::verify(&config.input, &output, &footer, Some(&input), &[]).expect("checks");
    assert!(checks.iter().all(|check| check.verdict != Verdict::Failed), "{checks:#?}");
}

#[test]
fn columns_of_every_type_are_carried_with_all_metadata() {
    let batch = every_type(57);
    let job = Job::of_batch(&batch, 20);
    let original = read_parquet(&job.input());
    assert_eq!(original.rows.num_columns(), batch.num_columns());
    run(&job.config(&["input.chunk_rows = 13"]), &fake(Failure::Never)).expect("a report");
    let written = read_parquet(&job.output());

    let mut metadata = written.schema.metadata().clone();
    assert!(metadata.remove("reembed").is_some(), "the schema lacks the footer entry");
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
            "the input metadata is missing"
        );
        let same = written.rows.column(number) == original.rows.column(number);
        assert!(same, "column `{}` of type {} changed", field.name(), field.data_type());
        // A difference here is a change by the Parquet library itself.
        assert!(original.rows.column(number) == batch.column(number), "`{}`", field.name());
    }
}

#[test]
fn existing_vector_column_is_replaced() {
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
        assert!(report.first().replaced_column);
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

        // A second run over its own output: the same vectors and a single footer entry.
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
    let settings = ["batch.start = 1024", "output.carry = \"reencode\""];
    run(&job.config(&settings), &fake(Failure::Never)).expect("a report");
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
        &job.config(&[
            "output.carry = \"reencode\"",
            "output.row_group_rows = 10",
            "input.chunk_rows = 7",
        ]),
        &fake(Failure::Never),
    )
    .expect("a report");
    let groups = read_parquet(&job.output()).metadata;
    let rows: Vec<i64> = groups.row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(rows, [10, 10, 5]);
}

/// A column of every type that the Parquet library writes, each with nulls and metadata.
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
    // One element per row that is not null.
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
