//! Well-formed footers with false content.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::encode_arrow_schema;

use super::case::{Case, fails, input, refused, succeeds};
use super::forge::{Chunk, Element, Forged, PLAIN, Page, Thrift, prefixed, run};
use super::table::Table;

const GROUP: &str = "row group 0";
const TITLE: &str = "column `title`";

pub fn cases() -> Vec<Case> {
    let title = |change: fn(&mut Chunk)| move || Forged::tasks().title(change).bytes();
    let file = |change: fn(&mut Forged)| move || Forged::tasks().with(change).bytes();
    let rows = |rows: i64, groups: i64| {
        move || {
            let change = |file: &mut Forged| {
                file.rows = rows;
                file.groups[0].rows = groups;
            };
            Forged::tasks().with(change).bytes()
        }
    };
    vec![
        input(
            "footer counts too many rows",
            "4 rows in the footer, 3 in the row group",
            refused(&["declares 4 rows", "3"]),
            rows(4, 3),
        ),
        input("negative rows", "-3 rows everywhere", refused(&[GROUP, "-3 rows"]), rows(-3, -3)),
        input(
            "too many rows everywhere",
            "5 rows by footer and row group, 3 in the pages",
            fails(&[GROUP, "declares 5 rows", "have 3"]),
            rows(5, 5),
        ),
        input(
            "too few rows everywhere",
            "2 rows by footer and row group, 3 in the pages",
            fails(&[GROUP, "declares 2 rows", "have 3"]),
            rows(2, 2),
        ),
        input(
            "rows beyond counting",
            "2⁶³-1 rows by footer and row group",
            refused(&["9223372036854775807 rows"]),
            rows(i64::MAX, i64::MAX),
        ),
        input(
            "sum of rows overflows",
            "two row groups of 2⁶³-1 rows",
            refused(&["row group 1", "rows"]),
            file(|file| {
                file.groups.push(file.groups[0].clone());
                file.groups.iter_mut().for_each(|group| group.rows = i64::MAX);
                file.rows = -2;
            }),
        ),
        input(
            "one column is shorter",
            "2 titles beside 3 ids",
            fails(&[GROUP, TITLE]),
            title(|title| *title = Chunk::strings("title", &[Some("a"), Some("b")])),
        ),
        input(
            "one column is longer",
            "4 titles beside 3 ids",
            fails(&[GROUP, TITLE]),
            title(|title| *title = Chunk::strings("title", &[Some("a"); 4])),
        ),
        input(
            "too many values in one chunk",
            "the title's chunk says 1,000,000 values",
            fails(&[GROUP, TITLE, "1000000 values for 3 rows"]),
            title(|title| title.values = 1_000_000),
        ),
        input(
            "negative values in one chunk",
            "the title's chunk says -1 values",
            fails(&[GROUP, TITLE, "-1 values for 3 rows"]),
            title(|title| title.values = -1),
        ),
        input(
            "chunk beyond the file",
            "the title's pages begin at byte 10¹²",
            refused(&[GROUP, TITLE]),
            title(|title| title.offset = Some(1_000_000_000_000)),
        ),
        input(
            "chunk before the file",
            "the title's pages begin at byte -1",
            refused(&[GROUP, TITLE]),
            title(|title| title.offset = Some(-1)),
        ),
        input(
            "chunk elsewhere",
            "the title's pages begin in the middle of another page",
            refused(&[GROUP, "its bytes are those of another column too"]),
            title(|title| title.offset = Some(20)),
        ),
        input(
            "data page outside of its chunk",
            "the title's dictionary is in its place, its first data page at byte 10¹²",
            refused(&[GROUP, TITLE, "its first data page at offset 1000000000000 is not inside"]),
            title(|title| {
                *title = Chunk::repeated("title", "same", 3);
                title.offset = Some(1_000_000_000_000);
            }),
        ),
        input(
            "chunk too large",
            "the title's chunk has 2⁶² bytes",
            refused(&[GROUP, TITLE]),
            title(|title| title.compressed = Some(1 << 62)),
        ),
        input(
            "chunk of negative size",
            "the title's chunk has -1 bytes",
            refused(&[GROUP, TITLE]),
            title(|title| title.compressed = Some(-1)),
        ),
        input(
            "chunk of no size",
            "the title's chunk has 0 bytes",
            fails(&[GROUP, TITLE]),
            title(|title| title.compressed = Some(0)),
        ),
        input(
            "lying uncompressed size",
            "the title's chunk decodes to 2⁶² bytes, it says",
            succeeds(3),
            title(|title| title.uncompressed = Some(1 << 62)),
        ),
        input("unknown codec", "codec number 99", refused(&[]), title(|title| title.codec = 99)),
        input(
            "codec that nobody has",
            "codec LZO",
            fails(&[GROUP, TITLE, "LZO"]),
            title(|title| title.codec = 3),
        ),
        input(
            "wrong codec",
            "plain pages that are said to be zstd",
            fails(&[GROUP, TITLE]),
            title(|title| title.codec = 6),
        ),
        input(
            "missing chunk",
            "a row group with two chunks for three columns",
            refused(&[]),
            file(|file| drop(file.groups[0].chunks.pop())),
        ),
        input(
            "surplus chunk",
            "a row group with four chunks for three columns",
            refused(&[]),
            file(|file| {
                let chunk = file.groups[0].chunks[0].clone();
                file.groups[0].chunks.push(chunk);
            }),
        ),
        input(
            "chunk without metadata",
            "the title's chunk has no metadata",
            refused(&[]),
            title(|title| title.without_metadata = true),
        ),
        input(
            "chunk in another file",
            "the title's chunk lies in /etc/passwd, it says",
            refused(&[GROUP, TITLE, "/etc/passwd"]),
            title(|title| title.file = Some("/etc/passwd".to_owned())),
        ),
        input(
            "wrong physical type of a chunk",
            "the title's chunk holds INT64, it says; the schema knows better",
            succeeds(3),
            title(|title| title.physical = 2),
        ),
        input(
            "wrong path of a chunk",
            "the title's chunk is called `other`",
            succeeds(3),
            title(|title| title.path = vec!["other".to_owned()]),
        ),
        input(
            "no row groups",
            "0 rows in 0 row groups",
            succeeds(0),
            file(|file| {
                file.groups.clear();
                file.rows = 0;
            }),
        ),
        input(
            "rows without row groups",
            "3 rows in 0 row groups",
            refused(&["declares 3 rows"]),
            file(|file| file.groups.clear()),
        ),
        input(
            "schema 20,000 deep",
            "a column inside 20,000 groups",
            refused(&["deep"]),
            file(|file| deep(file, 20_000)),
        ),
        input(
            "schema 1,000,000 deep",
            "a column inside 1,000,000 groups",
            refused(&["deep"]),
            file(|file| deep(file, 1_000_000)),
        ),
        input(
            "deep schema as a set",
            "a column inside 20,000 groups; the schema is said to be a set, not a list",
            refused(&["schema"]),
            file(|file| {
                deep(file, 20_000);
                file.twist = |footer| {
                    for (_, value) in footer {
                        if let Thrift::Structs(list) = value.clone() {
                            *value = Thrift::Set(list);
                        }
                    }
                };
            }),
        ),
        input(
            "deep schema of long numbers",
            "a column inside 20,000 groups, whose children are counted in 64 bits",
            refused(&["schema"]),
            file(|file| {
                deep(file, 20_000);
                file.twist = |footer| {
                    let Thrift::Structs(schema) = &mut footer[1].1 else { unreachable!() };
                    for (number, value) in schema.iter_mut().flatten() {
                        if let (5, Thrift::I32(children)) = (number, value.clone()) {
                            *value = Thrift::I64(children);
                        }
                    }
                };
            }),
        ),
        input(
            "deep schema of numbers that wrap",
            "a column inside 20,000 groups, whose children are counted as -2³³ + 1, 1 in 32 bits",
            refused(&["schema"]),
            file(|file| {
                deep(file, 20_000);
                for element in &mut file.schema[1..] {
                    element.children = element.children.map(|children| children - (1 << 33));
                }
            }),
        ),
        input(
            "schema 20 deep",
            "a carried column inside 20 groups",
            succeeds(3),
            file(|file| deep(file, 20)),
        ),
        input(
            "root with too many children",
            "the schema's root claims 1,000 columns, has 3",
            refused(&[]),
            file(|file| file.schema[0].children = Some(1000)),
        ),
        input(
            "root with too few children",
            "the schema's root claims 1 column, has 3",
            refused(&[]),
            file(|file| file.schema[0].children = Some(1)),
        ),
        input(
            "root with negative children",
            "the schema's root claims -1 columns",
            refused(&[]),
            file(|file| file.schema[0].children = Some(-1)),
        ),
        input(
            "schema without a root",
            "an empty list of schema elements",
            refused(&[]),
            file(|file| file.schema.clear()),
        ),
        input(
            "endless schema",
            "a list of 2³¹-1 schema elements that are not there",
            refused(&[]),
            file(|file| file.twist = |footer| footer[1].1 = Thrift::EndlessList((1 << 31) - 1)),
        ),
        input(
            "endless row groups",
            "a list of 2³¹-1 row groups that are not there",
            refused(&[]),
            file(|file| file.twist = |footer| footer[3].1 = Thrift::EndlessList((1 << 31) - 1)),
        ),
        input(
            "endless entries",
            "a list of 2³¹-1 footer entries that are not there",
            refused(&[]),
            file(|file| file.twist = |footer| footer[4].1 = Thrift::EndlessList((1 << 31) - 1)),
        ),
        input(
            "endless writer name",
            "a writer's name of 2⁶³ bytes that are not there",
            refused(&[]),
            file(|file| file.twist = |footer| footer[5].1 = Thrift::EndlessBinary(1 << 63)),
        ),
        input(
            "large entry",
            "a footer entry of 5 MB, carried",
            succeeds(3),
            file(|file| file.entries.push(("note".to_owned(), "x".repeat(5_000_000)))),
        ),
        input(
            "control characters in an entry",
            "a footer entry of NUL, escape and line ends, carried",
            succeeds(3),
            file(|file| {
                file.entries.push(("\u{1b}[2J\n".to_owned(), "\0\u{1b}[31m\r\n".to_owned()))
            }),
        ),
        input(
            "lying ARROW:schema: types",
            "says that the title is an Int32; the file's own schema knows better",
            succeeds(3),
            || {
                arrow_schema(&[
                    ("id", DataType::Utf8),
                    ("title", DataType::Int32),
                    ("description", DataType::Utf8),
                ])
            },
        ),
        input("lying ARROW:schema: columns", "says that there is one column", succeeds(3), || {
            arrow_schema(&[("id", DataType::Utf8)])
        }),
        input(
            "lying ARROW:schema: names",
            "says that the columns have other names",
            succeeds(3),
            || arrow_schema(&[("a", DataType::Utf8), ("b", DataType::Utf8), ("c", DataType::Utf8)]),
        ),
        input(
            "lying ARROW:schema: not null",
            "says that no title is null; the file's own schema knows better",
            succeeds(3),
            || {
                let field = |name: &str| Field::new(name, DataType::Utf8, name != "title");
                let fields: Vec<Field> = ["id", "title", "description"].map(field).into();
                entry(encode_arrow_schema(&Schema::new(fields)))
            },
        ),
        input(
            "ARROW:schema with wide lists",
            "says that three null lists of files have 4,000,000 places each",
            succeeds(3),
            || wide_lists(4_000_000),
        ),
        input(
            "ARROW:schema with endless lists",
            "says that three null lists of files have 2³¹-1 places each",
            succeeds(3),
            || wide_lists(i32::MAX),
        ),
        input("ARROW:schema is no base64", "says `!!!!`", succeeds(3), || entry("!!!!".to_owned())),
        input("ARROW:schema is noise", "says 300 times `A`, which is base64", succeeds(3), || {
            entry("A".repeat(300))
        }),
        input("1,000 columns", "1,000 carried columns", succeeds(20), || {
            let id = Table::tasks(20).batch().column(0).clone();
            let wide = |table: Table, n: usize| table.set(&format!("extra {n}"), id.clone());
            (0..1000).fold(Table::tasks(20), wide).bytes()
        }),
    ]
}

/// A file whose ARROW:schema has these columns.
fn arrow_schema(columns: &[(&str, DataType)]) -> Vec<u8> {
    let field = |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), true);
    entry(encode_arrow_schema(&Schema::new(columns.iter().map(field).collect::<Vec<_>>())))
}

/// Three null lists declared with this fixed size.
fn wide_lists(size: i32) -> Vec<u8> {
    let item = Arc::new(Field::new("element", DataType::Utf8, true));
    let mut fields: Vec<Field> =
        ["id", "title", "description"].map(|name| Field::new(name, DataType::Utf8, true)).into();
    fields.push(Field::new("files", DataType::FixedSizeList(item, size), true));
    let schema = encode_arrow_schema(&Schema::new(fields));
    let levels = [prefixed(&run(3, 0)), prefixed(&run(3, 0))].concat();
    let lists = Chunk::new("files", 3, vec![Page::data(3, PLAIN, levels)]);
    let change = |file: &mut Forged| file.entries.push(("ARROW:schema".to_owned(), schema));
    Forged::tasks().with_list("files", lists).with(change).bytes()
}

fn entry(schema: String) -> Vec<u8> {
    let change = |file: &mut Forged| file.entries.push(("ARROW:schema".to_owned(), schema));
    Forged::tasks().with(change).bytes()
}

/// Adds a column of three nulls nested in `depth` groups.
fn deep(file: &mut Forged, depth: usize) {
    file.schema[0].children = Some(4);
    file.schema.extend((0..depth).map(|_| Element::group("g", 1)));
    file.schema.push(Element::string("leaf", 1));
    let mut chunk = Chunk::nulls("leaf", 3);
    // All levels are zero: the outermost group is null.
    chunk.path = (0..depth).map(|_| "g".to_owned()).chain(["leaf".to_owned()]).collect();
    file.groups[0].chunks.push(chunk);
}
