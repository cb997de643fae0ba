//! Good rows in the encodings and types that other writers use.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, DictionaryArray,
    DurationSecondArray, FixedSizeBinaryArray, FixedSizeListArray, Float16Array, Int8Array,
    Int32Array, Int64Array, IntervalDayTimeArray, IntervalYearMonthArray, LargeBinaryArray,
    LargeListArray, LargeStringArray, MapArray, NullArray, StringViewArray, StructArray,
    Time32SecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int8Type, IntervalDayTime};
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterPropertiesBuilder, WriterVersion};
use parquet::schema::types::ColumnPath;

use super::case::{Case, input, succeeds};
use super::forge::{Chunk, Element, Forged, Group, REPEATED, plain, prefixed, run};
use super::table::{Table, lists, strings};

const ROWS: usize = 20;
const ALL: i64 = ROWS as i64;

fn texts() -> Vec<String> {
    (0..ROWS).map(|row| format!("a text with number {row}")).collect()
}

fn text() -> ArrayRef {
    Arc::new(arrow::array::StringArray::from(texts()))
}

fn as_type(column: ArrayRef, data_type: &DataType) -> ArrayRef {
    cast(&column, data_type).expect("a cast")
}

fn list_of(items: ArrayRef) -> ArrayRef {
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    let ends = OffsetBuffer::from_lengths(std::iter::repeat_n(items.len() / ROWS, ROWS));
    Arc::new(arrow::array::ListArray::new(item, ends, items, None))
}

fn with_column(name: &'static str, column: fn() -> ArrayRef) -> impl Fn() -> Vec<u8> + Send + Sync {
    move || Table::tasks(ROWS).set(name, column()).bytes()
}

fn written(
    properties: fn(WriterPropertiesBuilder) -> WriterPropertiesBuilder,
) -> impl Fn() -> Vec<u8> + Send + Sync {
    move || Table::tasks(ROWS).bytes_with(properties)
}

fn entries(keys: ArrayRef, values: ArrayRef) -> ArrayRef {
    let fields: Fields = vec![
        Field::new("key", keys.data_type().clone(), false),
        Field::new("value", values.data_type().clone(), true),
    ]
    .into();
    let entries = StructArray::new(fields.clone(), vec![keys, values], None);
    let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
    let ends = OffsetBuffer::from_lengths(std::iter::repeat_n(1, ROWS));
    Arc::new(MapArray::new(field, ends, entries, None, false))
}

/// A struct of strings, bytes, a list and a dictionary.
fn nested() -> ArrayRef {
    let dictionary: DictionaryArray<Int8Type> = texts().iter().map(|t| Some(t.as_str())).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("large", as_type(text(), &DataType::LargeUtf8)),
        ("bytes", as_type(text(), &DataType::Binary)),
        ("list", list_of(as_type(text(), &DataType::Utf8View))),
        ("dictionary", Arc::new(dictionary)),
    ];
    let fields = columns.map(|(name, column)| {
        (Arc::new(Field::new(name, column.data_type().clone(), true)), column)
    });
    Arc::new(StructArray::from(fields.to_vec()))
}

pub fn cases() -> Vec<Case> {
    let carried = |column: fn() -> ArrayRef| with_column("carried", column);
    let mut cases = vec![
        input(
            "large strings",
            "LargeUtf8",
            succeeds(ALL),
            with_column("title", || Arc::new(LargeStringArray::from(texts()))),
        ),
        input(
            "string views",
            "Utf8View",
            succeeds(ALL),
            with_column("title", || Arc::new(StringViewArray::from_iter_values(texts()))),
        ),
        input(
            "dictionary",
            "Dictionary(Int8, Utf8)",
            succeeds(ALL),
            with_column("title", || {
                let column: DictionaryArray<Int8Type> =
                    texts().iter().map(|t| Some(t.as_str())).collect();
                Arc::new(column)
            }),
        ),
        input(
            "dictionary of large strings",
            "Dictionary(Int32, LargeUtf8)",
            succeeds(ALL),
            with_column("title", || {
                let keys = Int32Array::from_iter_values((0..ROWS as i32).map(|row| row % 3));
                let values = LargeStringArray::from(vec!["one", "two", "three"]);
                Arc::new(DictionaryArray::new(keys, Arc::new(values)))
            }),
        ),
        input(
            "dictionary with a null",
            "a dictionary that holds a null",
            succeeds(ALL),
            with_column("title", || {
                let keys = Int8Array::from_iter_values((0..ROWS as i8).map(|row| row % 2));
                Arc::new(DictionaryArray::new(keys, strings(&[Some("one"), None])))
            }),
        ),
        input(
            "dictionaries of 8 bits",
            "200 different titles, 100 in each of 2 row groups, under Dictionary(Int8, Utf8)",
            succeeds(200),
            || {
                let title = |row: usize| format!("title {row}");
                let keys = |group: usize| (0..100).map(move |row| title(100 * group + row));
                let part = |group: usize| {
                    let column: DictionaryArray<Int8Type> =
                        keys(group).collect::<Vec<_>>().iter().map(|t| Some(t.as_str())).collect();
                    Table::tasks(100).set("title", Arc::new(column)).batch()
                };
                let mut writer =
                    parquet::arrow::ArrowWriter::try_new(Vec::new(), part(0).schema(), None)
                        .expect("a writer");
                for group in [0, 1] {
                    writer.write(&part(group)).expect("rows");
                    writer.flush().expect("a row group");
                }
                writer.into_inner().expect("a footer")
            },
        ),
        input(
            "large lists",
            "LargeList of Utf8",
            succeeds(ALL),
            with_column("files", || {
                let item = Arc::new(Field::new("item", DataType::Utf8, true));
                let ends = OffsetBuffer::from_lengths(std::iter::repeat_n(1, ROWS));
                Arc::new(LargeListArray::new(item, ends, text(), None))
            }),
        ),
        input(
            "lists of fixed size",
            "FixedSizeList of one Utf8",
            succeeds(ALL),
            with_column("files", || {
                let item = Arc::new(Field::new("item", DataType::Utf8, true));
                Arc::new(FixedSizeListArray::new(item, 1, text(), None))
            }),
        ),
        input(
            "lists of fixed size with nulls",
            "FixedSizeList of two LargeUtf8, every other row null",
            succeeds(ALL),
            with_column("files", || {
                let item = Arc::new(Field::new("item", DataType::LargeUtf8, true));
                let twice = [texts(), texts()].concat();
                let nulls = (0..ROWS).map(|row| row % 2 == 0).collect();
                Arc::new(FixedSizeListArray::new(
                    item,
                    2,
                    Arc::new(LargeStringArray::from(twice)),
                    Some(nulls),
                ))
            }),
        ),
        input(
            "lists of dictionaries",
            "List of Dictionary(Int8, Utf8)",
            succeeds(ALL),
            with_column("files", || {
                let column: DictionaryArray<Int8Type> =
                    texts().iter().map(|t| Some(t.as_str())).collect();
                list_of(Arc::new(column))
            }),
        ),
        input(
            "lists of views",
            "List of Utf8View",
            succeeds(ALL),
            with_column("files", || list_of(Arc::new(StringViewArray::from_iter_values(texts())))),
        ),
        input(
            "two-level lists",
            "a repeated string inside a group, as old writers have it",
            succeeds(3),
            || {
                let mut file = Forged::tasks();
                file.schema[0].children = Some(4);
                let list = Element { converted: Some(3), ..Element::group("files", 1) };
                file.schema.extend([list, Element::string("array", REPEATED)]);
                // Rows: two files, none, one. Repetition and definition levels, then the strings.
                let repetition = [run(1, 0), run(1, 1), run(2, 0)].concat();
                let definition = [run(2, 2), run(1, 1), run(1, 2)].concat();
                let body = [
                    prefixed(&repetition),
                    prefixed(&definition),
                    plain(&["a", "b", "c"].map(Some)),
                ];
                let mut chunk =
                    Chunk::new("files", 4, vec![super::forge::Page::data(4, 0, body.concat())]);
                chunk.path = vec!["files".to_owned(), "array".to_owned()];
                file.groups[0].chunks.push(chunk);
                file.bytes()
            },
        ),
        input(
            "carried: struct",
            "a struct of strings, bytes, a list of views and a dictionary",
            succeeds(ALL),
            carried(nested),
        ),
        input(
            "carried: lists of structs",
            "the same in lists",
            succeeds(ALL),
            carried(|| list_of(nested())),
        ),
        input(
            "carried: map",
            "a map of strings to strings",
            succeeds(ALL),
            carried(|| entries(text(), text())),
        ),
        input(
            "carried: map of structs",
            "a map of strings to structs",
            succeeds(ALL),
            carried(|| entries(text(), nested())),
        ),
        input(
            "carried: lists of fixed size",
            "FixedSizeList of two binaries",
            succeeds(ALL),
            carried(|| {
                let item = Arc::new(Field::new("item", DataType::Binary, true));
                let twice = [texts(), texts()].concat();
                let values = BinaryArray::from_iter_values(twice);
                Arc::new(FixedSizeListArray::new(item, 2, Arc::new(values), None))
            }),
        ),
        input("carried: bytes", "binary in its three types", succeeds(ALL), || {
            let bytes = texts();
            Table::tasks(ROWS)
                .set("small", Arc::new(BinaryArray::from_iter_values(&bytes)))
                .set("large", Arc::new(LargeBinaryArray::from_iter_values(&bytes)))
                .set("view", Arc::new(BinaryViewArray::from_iter_values(&bytes)))
                .bytes()
        }),
        input(
            "carried: fixed bytes",
            "FixedSizeBinary(16)",
            succeeds(ALL),
            carried(|| {
                let rows = (0..ROWS as u8).map(|row| [row; 16]);
                Arc::new(FixedSizeBinaryArray::try_from_iter(rows).expect("equal widths"))
            }),
        ),
        input(
            "carried: flat types",
            "null, boolean, numbers, times, intervals",
            succeeds(ALL),
            || {
                let column = |array: ArrayRef| array;
                let number = 0..ROWS as i64;
                [
                    ("null", column(Arc::new(NullArray::new(ROWS)))),
                    ("boolean", column(Arc::new(BooleanArray::from(vec![Some(true); ROWS])))),
                    (
                        "half",
                        column(Arc::new(Float16Array::from_iter_values(
                            number.clone().map(|n| half(n as u16)),
                        ))),
                    ),
                    (
                        "unsigned",
                        column(Arc::new(UInt64Array::from_iter_values(
                            number.clone().map(|n| u64::MAX - n as u64),
                        ))),
                    ),
                    ("time", column(Arc::new(Time32SecondArray::from_iter_values(0..ROWS as i32)))),
                    (
                        "duration",
                        column(Arc::new(DurationSecondArray::from_iter_values(number.clone()))),
                    ),
                    (
                        "zoned",
                        column(Arc::new(
                            TimestampNanosecondArray::from_iter_values(number.clone())
                                .with_timezone("Europe/Berlin"),
                        )),
                    ),
                    (
                        "months",
                        column(Arc::new(IntervalYearMonthArray::from_iter_values(0..ROWS as i32))),
                    ),
                    (
                        "days",
                        column(Arc::new(IntervalDayTimeArray::from_iter_values(
                            (0..ROWS as i32).map(|n| IntervalDayTime::new(n, n)),
                        ))),
                    ),
                    (
                        "decimal",
                        as_type(
                            Arc::new(Int64Array::from_iter_values(number)),
                            &DataType::Decimal256(60, 5),
                        ),
                    ),
                ]
                .into_iter()
                .fold(Table::tasks(ROWS), |table, (name, column)| table.set(name, column))
                .bytes()
            },
        ),
        input(
            "carried: structs without columns",
            "a struct whose only column is null",
            succeeds(ALL),
            carried(|| {
                let inner: ArrayRef = Arc::new(NullArray::new(ROWS));
                Arc::new(StructArray::from(vec![(
                    Arc::new(Field::new("n", DataType::Null, true)),
                    inner,
                )]))
            }),
        ),
        input(
            "carried: empty lists",
            "lists of lists, empty or null",
            succeeds(ALL),
            carried(|| list_of(list_of_empty())),
        ),
        input(
            "data page version 2",
            "written under Parquet 2.0",
            succeeds(ALL),
            written(|p| p.set_writer_version(WriterVersion::PARQUET_2_0)),
        ),
        input(
            "no dictionaries",
            "plain pages",
            succeeds(ALL),
            written(|p| p.set_dictionary_enabled(false)),
        ),
        input(
            "delta strings",
            "DELTA_BYTE_ARRAY titles, DELTA_LENGTH_BYTE_ARRAY descriptions",
            succeeds(ALL),
            written(|p| {
                p.set_dictionary_enabled(false)
                    .set_column_encoding(ColumnPath::from("title"), Encoding::DELTA_BYTE_ARRAY)
                    .set_column_encoding(
                        ColumnPath::from("description"),
                        Encoding::DELTA_LENGTH_BYTE_ARRAY,
                    )
            }),
        ),
        input("delta numbers", "DELTA_BINARY_PACKED ids", succeeds(ALL), || {
            let ids = Int64Array::from_iter_values((0..ALL).map(|row| row * row));
            Table::tasks(ROWS).set("id", Arc::new(ids)).bytes_with(|p| {
                p.set_dictionary_enabled(false)
                    .set_column_encoding(ColumnPath::from("id"), Encoding::DELTA_BINARY_PACKED)
            })
        }),
        input("split bytes", "BYTE_STREAM_SPLIT ids", succeeds(ALL), || {
            let ids = Int64Array::from_iter_values(0..ALL);
            Table::tasks(ROWS).set("id", Arc::new(ids)).bytes_with(|p| {
                p.set_dictionary_enabled(false)
                    .set_column_encoding(ColumnPath::from("id"), Encoding::BYTE_STREAM_SPLIT)
            })
        }),
        input(
            "bloom filters",
            "with bloom filters and page statistics",
            succeeds(ALL),
            written(|p| {
                p.set_bloom_filter_enabled(true).set_statistics_enabled(EnabledStatistics::Page)
            }),
        ),
        input(
            "no statistics",
            "without statistics",
            succeeds(ALL),
            written(|p| p.set_statistics_enabled(EnabledStatistics::None)),
        ),
        input(
            "one row to a page",
            "pages of one row",
            succeeds(ALL),
            written(|p| p.set_data_page_row_count_limit(1).set_write_batch_size(1)),
        ),
        input(
            "one row to a row group",
            "20 row groups",
            succeeds(ALL),
            written(|p| p.set_max_row_group_row_count(Some(1))),
        ),
        input("1,000 row groups", "one row in each", succeeds(1000), || {
            Table::tasks(1000).bytes_with(|p| p.set_max_row_group_row_count(Some(1)))
        }),
        input("empty row group", "3 rows, none, 3 rows", succeeds(6), || {
            let change = |file: &mut Forged| {
                let mut empty = Forged::of(
                    0,
                    ["id", "title", "description"].map(|name| Chunk::strings(name, &[])).to_vec(),
                );
                file.groups
                    .push(Group { rows: 0, chunks: std::mem::take(&mut empty.groups[0].chunks) });
                file.groups.push(file.groups[0].clone());
                file.rows = 6;
            };
            Forged::tasks().with(change).bytes()
        }),
        input(
            "empty row group without pages",
            "3 rows, then a row group without a single page",
            succeeds(3),
            || {
                let change = |file: &mut Forged| {
                    let chunks =
                        ["id", "title", "description"].map(|name| Chunk::new(name, 0, Vec::new()));
                    file.groups.push(Group { rows: 0, chunks: chunks.to_vec() });
                };
                Forged::tasks().with(change).bytes()
            },
        ),
    ];
    cases.extend(codecs().map(|(name, made, codec)| {
        input(name, made, succeeds(ALL), move || {
            Table::tasks(ROWS).bytes_with(|p| p.set_compression(codec))
        })
    }));
    cases
}

fn codecs() -> [(&'static str, &'static str, Compression); 7] {
    [
        ("no codec", "uncompressed", Compression::UNCOMPRESSED),
        ("snappy", "compressed with snappy", Compression::SNAPPY),
        ("gzip", "compressed with gzip", Compression::GZIP(GzipLevel::default())),
        ("brotli", "compressed with brotli", Compression::BROTLI(BrotliLevel::default())),
        ("lz4", "compressed with the old lz4", Compression::LZ4),
        ("lz4 raw", "compressed with lz4 raw", Compression::LZ4_RAW),
        ("zstd", "compressed with zstd", Compression::ZSTD(ZstdLevel::default())),
    ]
}

fn half(bits: u16) -> <arrow::datatypes::Float16Type as arrow::array::ArrowPrimitiveType>::Native {
    <arrow::datatypes::Float16Type as arrow::array::ArrowPrimitiveType>::Native::from_bits(bits)
}

/// Lists that alternate between empty and null.
fn list_of_empty() -> ArrayRef {
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let nulls = (0..ROWS).map(|row| row % 2 == 0).collect();
    let ends = OffsetBuffer::from_lengths(std::iter::repeat_n(0, ROWS));
    let none = lists::<&str>(&[]);
    let strings =
        none.as_any().downcast_ref::<arrow::array::ListArray>().expect("a list").values().clone();
    Arc::new(arrow::array::ListArray::new(item, ends, strings, Some(nulls)))
}
