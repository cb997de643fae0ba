//! A few KB that decode to gigabytes.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray};

use super::case::{Case, fails, input, refused, succeeds};
use super::forge::{
    Chunk, DELTA_BYTE_ARRAY, Element, FIXED_LEN_BYTE_ARRAY, Forged, Group, Page, RLE_DICTIONARY,
    delta, prefixed, run,
};
use super::table::Table;

const BILLION: usize = 1_000_000_000;
const MILLION: usize = 1_000_000;

fn large() -> String {
    "fix the login loop ".repeat(550_000)
}

/// Ids, titles and descriptions; the ids are one id in a few bytes.
fn columns(rows: usize, title: Chunk) -> Vec<Chunk> {
    vec![Chunk::repeated("id", "T-1", rows), title, Chunk::nulls("description", rows)]
}

pub fn cases() -> Vec<Case> {
    vec![
        input(
            "one text, a million times",
            "a dictionary with one title of 10 MB, repeated 1,000,000 times",
            fails(&["row group 0", "decode"]),
            || {
                Forged::of(MILLION, columns(MILLION, Chunk::repeated("title", &large(), MILLION)))
                    .bytes()
            },
        ),
        input(
            "one text, twenty times",
            "a dictionary with one title of 10 MB, repeated 20 times",
            succeeds(20),
            || Forged::of(20, columns(20, Chunk::repeated("title", &large(), 20))).bytes(),
        ),
        input(
            "a billion nulls",
            "1,000,000,000 rows in a kilobyte: one id, no texts",
            refused(&["1000000000 rows"]),
            || Forged::of(BILLION, columns(BILLION, Chunk::nulls("title", BILLION))).bytes(),
        ),
        input("100,000 rows in a kilobyte", "one id, one title", succeeds(100_000), || {
            Forged::of(100_000, columns(100_000, Chunk::repeated("title", "same", 100_000))).bytes()
        })
        .set("REEMBED_OUTPUT_ON_EMPTY", "null"),
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
            "a zstd page of 32 KB that decodes to 1 GB of zeros",
            fails(&["row group 0", "column `title`"]),
            || Forged::tasks().title(|title| *title = title.clone().zstd_run(0, 1 << 30)).bytes(),
        ),
        input("three pages of 1 GB", "the same in every column", fails(&["row group 0"]), || {
            let change = |file: &mut Forged| {
                for chunk in &mut file.groups[0].chunks {
                    *chunk = chunk.clone().zstd_run(0, 1 << 30);
                }
            };
            Forged::tasks().with(change).bytes()
        }),
        input(
            "a hundred dictionaries of 100 MB",
            "100 row groups, each with a dictionary of 100 MB in 3 KB, and one row",
            fails(&["row group"]),
            || {
                let mut file = Forged::tasks();
                let dictionary = Page::dictionary(&["one"]);
                let body = [prefixed(&run(1, 1)), vec![1], run(1, 0)].concat();
                let title =
                    Chunk::new("title", 1, vec![dictionary, Page::data(1, RLE_DICTIONARY, body)]);
                let mut chunks = Forged::of(1, columns(1, title)).groups.remove(0).chunks;
                // Twenty-five million empty strings: each takes four zero bytes.
                let values = 25 << 20;
                chunks[1].codec = 6;
                for (page, size) in [(0, 4 * values), (1, 1)] {
                    let page = &mut chunks[1].pages[page];
                    if size > 1 {
                        page.values = values as i64;
                        page.body = super::forge::zstd_run(0, size);
                        page.uncompressed = Some(size as i64);
                    } else {
                        page.uncompressed = Some(page.body.len() as i64);
                        page.body = stored(&page.body);
                    }
                }
                file.groups = vec![Group { rows: 1, chunks }; 100];
                file.rows = 100;
                file.bytes()
            },
        ),
        input(
            "prefixes",
            "1,000,000 delta-encoded titles, each repeating the 10 MB of the one before",
            fails(&["row group 0", "decode"]),
            || {
                let text = large();
                let mut suffixes = delta(MILLION as u64, 0, 0);
                // The first suffix is the text; its length goes before a run of zeros.
                suffixes.clear();
                suffixes.extend(first_then_zeros(MILLION as u64, text.len() as i64));
                let prefixes = zero_then(MILLION as u64, text.len() as i64);
                let body =
                    [prefixed(&run(MILLION as u64, 1)), prefixes, suffixes, text.into_bytes()];
                let page = Page::data(MILLION, DELTA_BYTE_ARRAY, body.concat());
                Forged::of(MILLION, columns(MILLION, Chunk::new("title", MILLION, vec![page])))
                    .bytes()
            },
        ),
        input(
            "wide bytes, a million times",
            "a carried column of 10 MB in every row, FIXED_LEN_BYTE_ARRAY, 1,000,000 rows",
            fails(&["row group 0", "decode"]),
            || {
                let width = large().len();
                let mut chunk = Chunk::repeated("blob", &large(), MILLION);
                chunk.physical = FIXED_LEN_BYTE_ARRAY;
                // Values of fixed length stand without their lengths.
                chunk.pages[0].body.drain(..4);
                let mut all = columns(MILLION, Chunk::nulls("title", MILLION));
                all.push(chunk);
                let mut file = Forged::of(MILLION, all);
                let blob = file.schema.last_mut().expect("a column");
                blob.physical = Some(FIXED_LEN_BYTE_ARRAY);
                blob.length = Some(width as i64);
                blob.converted = None;
                file.bytes()
            },
        ),
        input(
            "values of 2 GB",
            "a carried column whose values are 2³¹-1 bytes wide, all of them null",
            succeeds(3),
            || {
                let mut chunk = Chunk::nulls("blob", 3);
                chunk.physical = FIXED_LEN_BYTE_ARRAY;
                let mut all = Forged::tasks().groups.remove(0).chunks;
                all.push(chunk);
                let mut file = Forged::of(3, all);
                let blob = file.schema.last_mut().expect("a column");
                blob.physical = Some(FIXED_LEN_BYTE_ARRAY);
                blob.length = Some(i64::from(i32::MAX));
                blob.converted = None;
                file.bytes()
            },
        ),
        input(
            "nested texts, a million times",
            "a carried list of structs with one text of 10 MB, repeated 1,000,000 times",
            fails(&["row group 0", "decode"]),
            || {
                let mut all = columns(MILLION, Chunk::nulls("title", MILLION));
                let mut chunk = Chunk::repeated("text", &large(), MILLION);
                // A group around it; both are there in every row.
                let levels = prefixed(&run(MILLION as u64, 2));
                let old = prefixed(&run(MILLION as u64, 1)).len();
                chunk.pages[1].body.splice(..old, levels);
                chunk.path = vec!["note".to_owned(), "text".to_owned()];
                all.push(chunk);
                let mut file = Forged::of(MILLION, all);
                file.schema.pop();
                file.schema.extend([Element::group("note", 1), Element::string("text", 1)]);
                file.bytes()
            },
        ),
        input(
            "mapped texts, a million times",
            "a carried map whose value is one text of 10 MB, repeated 1,000,000 times",
            fails(&["row group 0", "decode"]),
            || {
                let rows = MILLION;
                let mut all = columns(rows, Chunk::nulls("title", rows));
                for (leaf, text) in [("key", "k".to_owned()), ("value", large())] {
                    let mut chunk = Chunk::repeated(leaf, &text, rows);
                    let old = prefixed(&run(rows as u64, 1)).len();
                    // Optional map, repeated entry, required key, optional value.
                    let most = if leaf == "key" { 2 } else { 3 };
                    let levels =
                        [prefixed(&run(rows as u64, 0)), prefixed(&run(rows as u64, most))]
                            .concat();
                    chunk.pages[1].body.splice(..old, levels);
                    chunk.path = ["map", "entries", leaf].map(str::to_owned).to_vec();
                    all.push(chunk);
                }
                let mut file = Forged::of(rows, all);
                file.schema.truncate(4);
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
            "20 rows with 1 MB each in FixedSizeBinary",
            succeeds(20),
            || {
                let rows = (0..20u8).map(|row| vec![row; 1 << 20]);
                let bytes = FixedSizeBinaryArray::try_from_iter(rows).expect("equal widths");
                Table::tasks(20).set("blob", Arc::new(bytes) as ArrayRef).bytes()
            },
        ),
    ]
}

/// One row whose list of files holds one name `count` times; the footer says that there are `said` values.
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

/// A zstd frame that holds the bytes as they are.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    out.extend((bytes.len() as u32).to_le_bytes());
    let header = (bytes.len() as u32) << 3 | 1;
    out.extend(&header.to_le_bytes()[..3]);
    out.extend(bytes);
    out
}

/// DELTA_BINARY_PACKED: `first`, then zeros.
fn first_then_zeros(count: u64, first: i64) -> Vec<u8> {
    step_once(count, first, -first)
}

/// DELTA_BINARY_PACKED: zero, then `then` for ever.
fn zero_then(count: u64, then: i64) -> Vec<u8> {
    step_once(count, 0, then)
}

/// `first`, then one step, then no more: the first block of 128 deltas has widths, the others none.
fn step_once(count: u64, first: i64, step: i64) -> Vec<u8> {
    const BLOCK: u64 = 128;
    let mut out = Vec::new();
    super::forge::varint(&mut out, BLOCK);
    super::forge::varint(&mut out, 1);
    super::forge::varint(&mut out, count);
    super::forge::zigzag(&mut out, first);
    let mut left = count - 1;
    let mut is_first = true;
    while left > 0 {
        // The least delta of the block; what is added to it has 64 bits in the first block.
        let least = if is_first { step.min(0) } else { 0 };
        super::forge::zigzag(&mut out, least);
        if is_first {
            out.push(64);
            for delta in 0..BLOCK {
                let value = if delta == 0 { step } else { 0 };
                out.extend((value - least).to_le_bytes());
            }
        } else {
            out.push(0);
        }
        is_first = false;
        left = left.saturating_sub(BLOCK);
    }
    out
}
