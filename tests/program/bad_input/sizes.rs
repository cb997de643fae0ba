//! Decompression bombs: a few KB that decode to gigabytes.

use std::sync::Arc;

use arrow::array::FixedSizeBinaryArray;

use super::case::{Case, fails, input, refused, succeeds};
use super::forge::{
    Chunk, DELTA_BYTE_ARRAY, Element, FIXED_LEN_BYTE_ARRAY, Forged, Group, Page, ZSTD, prefixed,
    run, step_once, zstd,
};
use super::table::Table;

const BILLION: usize = 1_000_000_000;
const MILLION: usize = 1_000_000;

/// Bytes of a large text.
const LARGE: usize = 10 << 20;

/// IDs, titles and descriptions; one ID repeated in a few bytes.
fn columns(rows: usize, title: Chunk) -> Vec<Chunk> {
    vec![Chunk::repeated("id", "T-1", rows), title, Chunk::nulls("description", rows)]
}

/// The same without texts, with an additional carried column.
fn carried(rows: usize, chunk: Chunk) -> Forged {
    let mut all = columns(rows, Chunk::nulls("title", rows));
    all.push(chunk);
    Forged::of(rows, all)
}

pub fn cases() -> Vec<Case> {
    let bomb = fails(&["row group 0", "decodes to more than", "`input.decode_limit`"]);
    let texts =
        |count| Forged::of(count, columns(count, Chunk::swollen("title", LARGE, count).sealed()));
    vec![
        input(
            "one text, a million times",
            "a dictionary with one title of 10 MB, repeated 1,000,000 times",
            bomb,
            || {
                let title = Chunk::swollen("title", LARGE, MILLION).sealed();
                Forged::of(MILLION, columns(MILLION, title)).bytes()
            },
        ),
        input(
            "one text, twenty times",
            "a dictionary with one title of 10 MB, repeated 20 times",
            succeeds(20),
            move || texts(20).bytes(),
        ),
        input(
            "one text, twenty times, and a low limit",
            "the same under input.decode_limit = \"100 MiB\"",
            bomb,
            move || texts(20).bytes(),
        )
        .set("REEMBED_INPUT_DECODE_LIMIT", "100 MiB"),
        input(
            "one text, 120 times",
            "a dictionary with one title of 10 MB, repeated 120 times: 1.2 GB",
            bomb,
            move || texts(120).bytes(),
        ),
        input(
            "one text, 120 times, and a high limit",
            "the same under input.decode_limit = \"2 GiB\"",
            succeeds(120),
            move || texts(120).bytes(),
        )
        .set("REEMBED_INPUT_DECODE_LIMIT", "2 GiB"),
        input(
            "a billion nulls",
            "1,000,000,000 rows in a kilobyte: one id, no texts",
            refused(&["1000000000 rows"]),
            || Forged::of(BILLION, columns(BILLION, Chunk::nulls("title", BILLION))).bytes(),
        ),
        input("100,000 rows in a kilobyte", "one id, no texts", succeeds(100_000), || {
            Forged::of(100_000, columns(100_000, Chunk::nulls("title", 100_000))).bytes()
        }),
        input(
            "100,000 rows in a kilobyte, and a low limit",
            "the same under input.decode_limit = \"1 MiB\"",
            refused(&["100000 rows", "decode to more than 1048576 bytes", "`input.decode_limit`"]),
            || Forged::of(100_000, columns(100_000, Chunk::nulls("title", 100_000))).bytes(),
        )
        .set("REEMBED_INPUT_DECODE_LIMIT", "1 MiB"),
        input(
            "a billion files",
            "one row with 1,000,000,000 times the same file, in a kilobyte",
            fails(&["row group 0", "column `files"]),
            || files(BILLION, BILLION as i64),
        ),
        input(
            "a billion files, hidden",
            "the same; the footer says that there is one value",
            fails(&["row group 0", "column `files"]),
            || files(BILLION, 1),
        ),
        input("a million files", "one row with 1,000,000 times the same file", succeeds(1), || {
            files(MILLION, MILLION as i64)
        }),
        input(
            "page of 1 GB",
            "a zstd page of 32 KB that decodes to more than 1 GB of zeros",
            fails(&["row group 0", "column `title`", "`input.page_limit`"]),
            || {
                Forged::tasks()
                    .title(|title| *title = title.clone().zstd_run(0, (1 << 30) + 1))
                    .bytes()
            },
        ),
        input(
            "pages of 200 MB",
            "a zstd page of 6 KB that decodes to 200 MB of zeros, in every column",
            fails(&["row group 0"]),
            || {
                let change = |file: &mut Forged| {
                    for chunk in &mut file.groups[0].chunks {
                        *chunk = chunk.clone().zstd_run(0, 200 << 20);
                    }
                };
                Forged::tasks().with(change).bytes()
            },
        ),
        input(
            "dictionary of 100 MB",
            "a dictionary of 25,000,000 empty strings in 3 KB",
            fails(&["row group 0", "column `title`", "dictionary"]),
            || dictionaries(1, 25_000_000),
        ),
        input(
            "forty dictionaries of 16 MB",
            "40 row groups of one row, each with a dictionary of 4,000,000 empty strings in 1 KB",
            succeeds(40),
            || dictionaries(40, 4_000_000),
        ),
        input(
            "prefixes",
            "1,000,000 delta-encoded titles, each repeating the 10 MB of the one before",
            bomb,
            || {
                let (rows, size) = (MILLION as u64, LARGE as i64);
                let levels = prefixed(&run(rows, 1));
                let start = [levels, step_once(rows, 0, size), step_once(rows, size, -size)];
                let start = start.concat();
                let body = zstd(&start, b'-', LARGE);
                let mut page = Page::data(MILLION, DELTA_BYTE_ARRAY, body);
                page.uncompressed = Some((start.len() + LARGE) as i64);
                let mut title = Chunk::new("title", MILLION, vec![page]);
                title.codec = ZSTD;
                Forged::of(MILLION, columns(MILLION, title)).bytes()
            },
        ),
        input(
            "wide bytes, a million times",
            "a carried column of 10 MB in every row, FIXED_LEN_BYTE_ARRAY, 1,000,000 rows",
            succeeds(MILLION as i64),
            || {
                let mut chunk = Chunk::swollen("blob", LARGE, MILLION).sealed();
                // Fixed-length values have no length prefix.
                chunk.pages[0].body = zstd(&[], b'-', LARGE);
                chunk.pages[0].uncompressed = Some(LARGE as i64);
                fixed(carried(MILLION, chunk), LARGE as i64).bytes()
            },
        ),
        input(
            "values of 2 GB",
            "a carried column whose values are 2³¹-1 bytes wide, all of them null",
            succeeds(3),
            || fixed(carried(3, Chunk::nulls("blob", 3)), i64::from(i32::MAX)).bytes(),
        ),
        input(
            "text in a struct, a million times",
            "a carried struct with one text of 10 MB, repeated 1,000,000 times",
            succeeds(MILLION as i64),
            || {
                let mut chunk = Chunk::swollen("text", LARGE, MILLION);
                // The column inside a group; both are present in every row.
                let old = prefixed(&run(MILLION as u64, 1)).len();
                chunk.pages[1].body.splice(..old, prefixed(&run(MILLION as u64, 2)));
                chunk.path = vec!["note".to_owned(), "text".to_owned()];
                let mut file = carried(MILLION, chunk.sealed());
                file.schema.pop();
                file.schema.extend([Element::group("note", 1), Element::string("text", 1)]);
                file.bytes()
            },
        ),
        input(
            "text in a map, a million times",
            "a carried map whose value is one text of 10 MB, repeated 1,000,000 times",
            succeeds(MILLION as i64),
            || {
                let rows = MILLION as u64;
                let mut file =
                    Forged::of(MILLION, columns(MILLION, Chunk::nulls("title", MILLION)));
                // Optional map, repeated entry, required key, optional value.
                for (leaf, size, level) in [("key", 1, 2), ("value", LARGE, 3)] {
                    let mut chunk = Chunk::swollen(leaf, size, MILLION);
                    let old = prefixed(&run(rows, 1)).len();
                    let levels = [prefixed(&run(rows, 0)), prefixed(&run(rows, level))].concat();
                    chunk.pages[1].body.splice(..old, levels);
                    chunk.path = ["map", "entries", leaf].map(str::to_owned).to_vec();
                    file.groups[0].chunks.push(chunk.sealed());
                }
                file.schema[0].children = Some(4);
                file.schema.extend([
                    Element { converted: Some(1), ..Element::group("map", 1) },
                    Element { repetition: Some(2), ..Element::group("entries", 2) },
                    Element::string("key", 0),
                    Element::string("value", 1),
                ]);
                file.bytes()
            },
        ),
        input(
            "carried bytes of 20 MB",
            "20 rows with FixedSizeBinary of 1 MB",
            succeeds(20),
            || {
                let rows = (0..20u8).map(|row| vec![row; 1 << 20]);
                let bytes = FixedSizeBinaryArray::try_from_iter(rows).expect("equal widths");
                Table::tasks(20).set("blob", Arc::new(bytes)).bytes()
            },
        ),
    ]
}

/// Sets a fixed width for the last column.
fn fixed(mut file: Forged, width: i64) -> Forged {
    let blob = file.schema.last_mut().expect("a column");
    (blob.physical, blob.length, blob.converted) = (Some(FIXED_LEN_BYTE_ARRAY), Some(width), None);
    file.groups[0].chunks.last_mut().expect("a column").physical = FIXED_LEN_BYTE_ARRAY;
    file
}

/// One row whose list of files repeats a name `count` times; the footer declares `said` values.
fn files(count: usize, said: i64) -> Vec<u8> {
    let mut chunk = Chunk::repeated("files", "a.rs", count);
    let old = prefixed(&run(count as u64, 1)).len();
    let repetition = [run(1, 0), run(count as u64 - 1, 1)].concat();
    let levels = [prefixed(&repetition), prefixed(&run(count as u64, 3))].concat();
    chunk.pages[1].body.splice(..old, levels);
    chunk.values = said;
    let title = Chunk::strings("title", &[Some("many files")]);
    Forged::of(1, columns(1, title)).with_list("files", chunk).bytes()
}

/// Row groups of one row, each with a dictionary of `values` empty strings of four zero bytes each.
fn dictionaries(groups: usize, values: usize) -> Vec<u8> {
    let mut title = Chunk::swollen("title", 0, 1).sealed();
    let dictionary = &mut title.pages[0];
    dictionary.values = values as i64;
    dictionary.body = zstd(&[], 0, 4 * values);
    dictionary.uncompressed = Some(4 * values as i64);
    let mut file = Forged::of(1, columns(1, title));
    file.groups = vec![Group { rows: 1, chunks: file.groups.remove(0).chunks }; groups];
    file.rows = groups as i64;
    file.bytes()
}
