//! Columns that are missing, duplicated, or not text.

use std::fs;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    FixedSizeListArray, Float32Array, Float64Array, Int32Array, Int64Array, NullArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type};

use super::case::{Case, fails, input, refused, site, succeeds};
use super::forge::{Element, Forged};
use super::table::{Table, lists, strings};

fn put(name: &'static str, column: fn() -> ArrayRef) -> impl Fn() -> Vec<u8> + Send + Sync {
    move || Table::tasks(3).set(name, column()).bytes()
}

fn numbers() -> ArrayRef {
    Arc::new(Int64Array::from(vec![1, 2, 3]))
}

fn three() -> ArrayRef {
    strings(&[Some("a"), Some("b"), Some("c")])
}

fn of_struct(inner: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("inner", inner.data_type().clone(), true));
    Arc::new(StructArray::from(vec![(field, inner)]))
}

/// Three vectors of two components.
fn vectors() -> ArrayRef {
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let values = Arc::new(Float32Array::from(vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8]));
    Arc::new(FixedSizeListArray::new(item, 2, values, None))
}

pub fn cases() -> Vec<Case> {
    let id = |column: fn() -> ArrayRef| put("id", column);
    let named = |name: &'static str| move || Table::tasks(3).rename("title", name).bytes();
    vec![
        input("no id", "no column `id`", succeeds(3), || Table::tasks(3).without("id").bytes()),
        input(
            "no id where one is named",
            "no column `id`",
            refused(&["`id`", "`input.id`"]),
            || Table::tasks(3).without("id").bytes(),
        )
        .set("REEMBED_INPUT_ID", "id"),
        input("no title", "no column `title`", refused(&["`title`", "`input.title`"]), || {
            Table::tasks(3).without("title").bytes()
        }),
        input(
            "no description",
            "no column `description`",
            refused(&["`description`", "`input.description`", "\"\""]),
            || Table::tasks(3).without("description").bytes(),
        ),
        site("no description wanted", "the same, under description = \"\"", succeeds(3), |site| {
            let job = site.job();
            fs::write(&job.input, Table::tasks(3).without("description").bytes())
                .expect("the input");
            fs::write(&job.config, "[input]\ndescription = \"\"\n").expect("a configuration");
            job
        }),
        input("no files", "no column `files`", succeeds(3), || {
            Table::tasks(3).without("files").bytes()
        }),
        input(
            "no files although named",
            "no column `paths`, which is named",
            refused(&["`paths`", "`input.files`"]),
            || Table::tasks(3).bytes(),
        )
        .set("REEMBED_INPUT_FILES", "paths"),
        input("no columns", "a schema without columns", refused(&["no columns"]), || {
            Forged::of(0, Vec::new()).bytes()
        }),
        input(
            "capital letters",
            "`Title` in the place of `title`",
            refused(&["`title`", "`Title`"]),
            named("Title"),
        ),
        input(
            "blank in a name",
            "`title ` in the place of `title`",
            refused(&["`title `"]),
            named("title "),
        ),
        input(
            "control characters in a name",
            "a column called escape, newline, NUL",
            refused(&["`title`"]),
            named("\u{1b}[2J\n\0"),
        ),
        input("endless name", "a column with a name of 1 MB", refused(&["`title`", "…"]), || {
            let name = "n".repeat(1_000_000);
            Table::tasks(3).rename("title", &name).bytes()
        }),
        input("empty name", "a carried column without a name", succeeds(3), put("", numbers)),
        input(
            "odd names",
            "carried columns called `a.b`, `a b`, `日本`, newline",
            succeeds(3),
            || {
                ["a.b", "a b", "日本", "\n", "\u{1b}[2J", "`"]
                    .into_iter()
                    .fold(Table::tasks(3), |table, name| table.set(name, numbers()))
                    .bytes()
            },
        ),
        input("two ids", "two columns `id`", refused(&["two columns `id`"]), || {
            Table::tasks(3).add("id", three()).bytes()
        }),
        input("two titles", "two columns `title`", refused(&["two columns `title`"]), || {
            Table::tasks(3).add("title", three()).bytes()
        }),
        input(
            "two carried of a name",
            "two columns `note`, of different types",
            succeeds(3),
            || Table::tasks(3).add("note", three()).add("note", numbers()).bytes(),
        ),
        input(
            "title of numbers",
            "Int64",
            refused(&["column `title`", "Int64", "strings"]),
            put("title", numbers),
        ),
        input(
            "title of structs",
            "a struct of a string",
            refused(&["column `title`", "a struct"]),
            put("title", || of_struct(three())),
        ),
        input(
            "title of lists",
            "lists of strings",
            refused(&["column `title`", "List"]),
            put("title", || lists(&[vec!["a"], vec![], vec!["b"]])),
        ),
        input(
            "title of bytes",
            "binary without the UTF-8 annotation",
            refused(&["column `title`", "Binary", "UTF-8"]),
            put("title", || Arc::new(BinaryArray::from(vec![b"a".as_slice(), b"b", b"c"]))),
        ),
        input(
            "title of nothing",
            "a column of type null",
            succeeds(3),
            put("title", || Arc::new(NullArray::new(3))),
        ),
        input(
            "title of truth",
            "Boolean",
            refused(&["column `title`", "Boolean"]),
            put("title", || Arc::new(BooleanArray::from(vec![true, false, true]))),
        ),
        input(
            "description of times",
            "timestamps",
            refused(&["column `description`", "Timestamp"]),
            put("description", || Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3]))),
        ),
        input(
            "files as text",
            "strings, not lists",
            refused(&["column `files`", "Utf8", "lists of strings"]),
            put("files", three),
        ),
        input(
            "files of numbers",
            "lists of Int32",
            refused(&["column `files`", "Int32"]),
            put("files", || {
                let row = |numbers: [i32; 2]| Some(numbers.map(Some).to_vec());
                Arc::new(arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>(
                    [[1, 2], [3, 4], [5, 6]].map(row),
                ))
            }),
        ),
        input(
            "files in lists of lists",
            "lists of lists of strings",
            refused(&["column `files`", "List"]),
            put("files", || {
                let inner = lists(&[vec!["a"], vec!["b"], vec!["c"]]);
                let item = Arc::new(Field::new("item", inner.data_type().clone(), true));
                let ends = arrow::buffer::OffsetBuffer::from_lengths([1, 1, 1]);
                Arc::new(arrow::array::ListArray::new(item, ends, inner, None))
            }),
        ),
        input(
            "nested title",
            "a title inside a struct `task`",
            refused(&["`title`", "`task`"]),
            || Table::tasks(3).without("title").set("task", of_struct(three())).bytes(),
        ),
        input(
            "repeated title",
            "a repeated string without a list around it",
            refused(&["column `title`", "List"]),
            || {
                let change = |file: &mut Forged| file.schema[2] = Element::string("title", 2);
                Forged::tasks().with(change).bytes()
            },
        ),
        input(
            "bytes by hand",
            "BYTE_ARRAY without a converted type",
            refused(&["column `title`", "Binary"]),
            || {
                let change = |file: &mut Forged| file.schema[2].converted = None;
                Forged::tasks().with(change).bytes()
            },
        ),
        input("ids of numbers", "Int64", succeeds(3), id(numbers)),
        input(
            "ids of fractions",
            "Float64 with NaN",
            succeeds(3),
            id(|| Arc::new(Float64Array::from(vec![0.5, f64::NAN, -0.0]))),
        ),
        input(
            "ids of dates",
            "Date32, one beyond the calendar",
            fails(&["row 2", "column `id`"]),
            id(|| Arc::new(Date32Array::from(vec![1, i32::MAX, 3]))),
        ),
        input(
            "ids of decimals",
            "Decimal128(38, 10)",
            succeeds(3),
            id(|| {
                let values = Decimal128Array::from(vec![1, -5, i128::from(i64::MAX)]);
                Arc::new(values.with_precision_and_scale(38, 10).expect("a decimal"))
            }),
        ),
        input(
            "ids of bytes",
            "binary",
            succeeds(3),
            id(|| Arc::new(BinaryArray::from(vec![b"\xff".as_slice(), b"\0", b"c"]))),
        ),
        input(
            "ids of lists",
            "lists of strings",
            refused(&["column `id`", "List"]),
            id(|| lists(&[vec!["a"], vec!["b"], vec!["c"]])),
        ),
        input(
            "ids of nothing",
            "a column of type null",
            refused(&["column `id`", "Null"]),
            id(|| Arc::new(NullArray::new(3))),
        ),
        input(
            "null id",
            "the second id is null",
            fails(&["row 2", "column `id`"]),
            id(|| strings(&[Some("a"), None, Some("c")])),
        ),
        input(
            "null in a dictionary of ids",
            "a dictionary that holds a null",
            fails(&["row 2", "column `id`"]),
            id(|| {
                let keys = Int32Array::from(vec![0, 1, 0]);
                Arc::new(DictionaryArray::new(keys, strings(&[Some("a"), None])))
            }),
        ),
        input(
            "embedding there",
            "a column `embedding` of other vectors",
            succeeds(3),
            put("embedding", vectors),
        ),
        input(
            "embedding of text",
            "a column `embedding` of strings",
            succeeds(3),
            put("embedding", three),
        ),
        input(
            "two embeddings",
            "two columns `embedding`",
            refused(&["two columns `embedding`", "output.column"]),
            || Table::tasks(3).add("embedding", three()).add("embedding", vectors()).bytes(),
        ),
        input(
            "embedding over its text",
            "output.column = \"title\"",
            refused(&["output.column", "title"]),
            || Table::tasks(3).bytes(),
        )
        .set("REEMBED_OUTPUT_COLUMN", "title")
        .names("REEMBED_OUTPUT_COLUMN"),
        input(
            "embedding over the files",
            "output.column = \"files\", which is not named otherwise",
            refused(&["`files`", "`output.column`"]),
            || Table::tasks(3).bytes(),
        )
        .set("REEMBED_OUTPUT_COLUMN", "files"),
    ]
}
