//! Damaged pages and false page headers.

use super::case::{Case, fails, input, refused, succeeds};
use super::forge::{
    Chunk, DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY, Forged, Page, RLE_DICTIONARY, delta, levels,
    plain, prefixed, run, step_once, zigzag,
};
use super::table::Table;

const PLACE: &[&str] = &["row group 0", "column `title`"];

const NOT_UTF8: &[&str] = &["row 2", "column `title`", "not UTF-8", "input.on_invalid_utf8"];

/// Row groups are read one at a time: damage in the second one is found there.
const SECOND: &[&str] = &["row group 1", "column `title`"];

const DICTIONARY: i64 = 2;

/// The first three fields of a page header: the page type and the two sizes.
fn header_of(kind: i64, size: i64) -> Vec<u8> {
    let mut header = Vec::new();
    for number in [kind, size, size] {
        header.push(0x15);
        zigzag(&mut header, number);
    }
    header
}

/// A dictionary page of 4 bytes; `count` writes its number of values.
fn dictionary_of(count: fn(&mut Vec<u8>)) -> impl Fn() -> Vec<u8> {
    move || {
        let mut header = header_of(DICTIONARY, 4);
        header.push(0x4c);
        count(&mut header);
        header.extend([0x15, 0, 0, 0]);
        let page = |page: &mut Page| (page.header, page.body) = (Some(header), vec![0; 4]);
        Forged::tasks().page(page).bytes()
    }
}

pub fn cases() -> Vec<Case> {
    let page = |change: fn(&mut Page)| move || Forged::tasks().page(change).bytes();
    let title = |pages: fn() -> Vec<Page>| {
        move || Forged::tasks().title(|title| title.pages = pages()).bytes()
    };
    let text = |bytes: &'static [u8]| {
        move || {
            let mut body = levels(&[true, true, true]);
            for text in [b"one".as_slice(), bytes, b"three"] {
                body.extend((text.len() as u32).to_le_bytes());
                body.extend(text);
            }
            let pages = vec![Page::data(3, 0, body)];
            Forged::tasks().title(|title| title.pages = pages).bytes()
        }
    };
    vec![
        input(
            "page of 2 GB",
            "a zstd page of 18 bytes that says it decodes to 2³¹-1",
            fails(PLACE),
            || {
                let change = |title: &mut Chunk| {
                    *title = title.clone().zstd_run(0, 100);
                    title.pages[0].uncompressed = Some(i64::from(i32::MAX));
                };
                Forged::tasks().title(change).bytes()
            },
        ),
        input(
            "page of negative size",
            "a page that says it decodes to -1 bytes",
            fails(PLACE),
            page(|page| page.uncompressed = Some(-1)),
        ),
        input(
            "page larger than its chunk",
            "a page that says it has 1,000,000 bytes in the file",
            fails(PLACE),
            page(|page| page.compressed = Some(1_000_000)),
        ),
        input(
            "page of negative length",
            "a page that says it has -1 bytes in the file",
            fails(PLACE),
            page(|page| page.compressed = Some(-1)),
        ),
        input(
            "page of no length",
            "a page that says it has 0 bytes in the file",
            fails(PLACE),
            page(|page| page.compressed = Some(0)),
        ),
        input(
            "too many values in a page",
            "a page that says it has 2³¹-1 values",
            fails(PLACE),
            page(|page| page.values = i64::from(i32::MAX)),
        ),
        input(
            "negative values in a page",
            "a page that says it has -1 values",
            fails(PLACE),
            page(|page| page.values = -1),
        ),
        input(
            "page of no values",
            "a page of 0 values before the good one",
            succeeds(3),
            title(|| {
                let good = Forged::tasks().groups[0].chunks[1].pages[0].clone();
                vec![Page::data(0, 0, prefixed(&[])), good]
            }),
        ),
        input(
            "only pages of no values",
            "10,000 pages of 0 values, and no other",
            fails(PLACE),
            title(|| vec![Page::data(0, 0, prefixed(&[])); 10_000]),
        ),
        input(
            "garbage in a page",
            "a page of 64 times 0xff",
            fails(PLACE),
            page(|page| page.body = vec![0xff; 64]),
        ),
        input(
            "zeros in a page",
            "a page of 64 zeros",
            fails(PLACE),
            page(|page| page.body = vec![0; 64]),
        ),
        input(
            "page without bytes",
            "a page of 0 bytes",
            fails(PLACE),
            page(|page| page.body.clear()),
        ),
        input(
            "garbage for a page header",
            "64 times 0xff in the header's place",
            fails(PLACE),
            page(|page| page.header = Some(vec![0xff; 64])),
        ),
        input(
            "zeros for a page header",
            "64 zeros in the header's place",
            fails(PLACE),
            page(|page| page.header = Some(vec![0; 64])),
        ),
        input(
            "page header without an end",
            "a header whose unknown field is a list in a list in a list, 60 deep",
            fails(PLACE),
            page(|page| page.header = Some([&[0xf9][..], &[0x19; 60]].concat())),
        ),
        input(
            "dictionary of a number without an end",
            "a dictionary page whose number of values has 11 bytes, of which a decoder may keep what it likes",
            fails(PLACE),
            dictionary_of(|header| {
                header.push(0x15);
                header.extend([0xc6; 10]);
                header.push(0x06);
            }),
        ),
        input(
            "dictionary of a number that wraps",
            "a dictionary page of -2³³ + 2³⁰ values, 2³⁰ in 32 bits",
            fails(PLACE),
            dictionary_of(|header| {
                header.push(0x15);
                zigzag(header, (1 << 30) - (1 << 33));
            }),
        ),
        input(
            "dictionary of a long number",
            "a dictionary page of 2³⁰ values, said in 64 bits",
            fails(PLACE),
            dictionary_of(|header| {
                header.push(0x16);
                zigzag(header, 1 << 30);
            }),
        ),
        input(
            "two pages in one header",
            "a dictionary page of 2³⁰ values that has the header of a data page of 1 as well",
            fails(PLACE),
            page(|page| {
                let mut header = header_of(DICTIONARY, 4);
                header.extend([0x4c, 0x15]);
                zigzag(&mut header, 1 << 30);
                header.extend([0x15, 0, 0]);
                // Field ID 5 after field ID 7.
                header.extend([0x0c, 10, 0x15, 2, 0x15, 0, 0x15, 6, 0x15, 6, 0, 0]);
                (page.header, page.body) = (Some(header), vec![0; 4]);
            }),
        ),
        input(
            "kind of page beyond 16 bits",
            "a dictionary page of 2³⁰ values, whose field has number 65,543, 7 in 16 bits",
            fails(PLACE),
            page(|page| {
                let mut header = header_of(DICTIONARY, 4);
                header.push(0x0c);
                zigzag(&mut header, 65_536 + 7);
                header.push(0x15);
                zigzag(&mut header, 1 << 30);
                header.extend([0x15, 0, 0, 0]);
                (page.header, page.body) = (Some(header), vec![0; 4]);
            }),
        ),
        input("unknown kind of page", "page kind 99", fails(PLACE), page(|page| page.kind = 99)),
        input(
            "unknown encoding",
            "encoding number 99",
            fails(PLACE),
            page(|page| page.encoding = 99),
        ),
        input(
            "encoding of numbers",
            "strings that are said to be packed integers",
            fails(PLACE),
            page(|page| page.encoding = 5),
        ),
        input(
            "wrong CRC",
            "a page whose CRC is that of other bytes",
            fails(&["row group 0", "column `title`", "CRC"]),
            page(|page| page.crc = Some(12345)),
        ),
        input(
            "flipped bit under a CRC",
            "a letter of a title changed after the CRC was taken",
            fails(&["row group 0", "column `title`", "CRC"]),
            page(|page| {
                *page = page.clone().with_crc();
                let last = page.body.len() - 1;
                page.body[last] ^= 1;
            }),
        ),
        input(
            "right CRC",
            "a page with its CRC",
            succeeds(3),
            page(|page| {
                *page = page.clone().with_crc();
            }),
        ),
        input(
            "second row group damaged",
            "a second row group whose titles are garbage",
            fails(SECOND),
            || {
                let add = |file: &mut Forged| {
                    let mut group = file.groups[0].clone();
                    group.chunks[1].pages[0].body = vec![0xff; 64];
                    file.groups.push(group);
                    file.rows = 6;
                };
                Forged::tasks().with(add).bytes()
            },
        ),
        input(
            "levels missing",
            "definition levels that say they have 2³²-1 bytes",
            fails(PLACE),
            page(|page| page.body[..4].copy_from_slice(&u32::MAX.to_le_bytes())),
        ),
        input(
            "levels too short",
            "definition levels of one value for three",
            fails(PLACE),
            page(|page| page.body = prefixed(&run(1, 1))),
        ),
        input(
            "levels too large",
            "a definition level of 255",
            fails(PLACE),
            page(|page| page.body = [prefixed(&run(3, 255)), plain(&[Some("a")])].concat()),
        ),
        input(
            "string beyond its page",
            "a string that says it has 2³²-1 bytes",
            fails(PLACE),
            page(|page| {
                page.body = [levels(&[true; 3]), u32::MAX.to_le_bytes().to_vec()].concat();
            }),
        ),
        input(
            "dictionary missing",
            "indexes into a dictionary that is not there",
            fails(PLACE),
            page(|page| {
                page.encoding = RLE_DICTIONARY;
                page.body = [levels(&[true; 3]), vec![1], run(3, 0)].concat();
            }),
        ),
        input(
            "index beyond its dictionary",
            "index 200 into a dictionary of one",
            fails(PLACE),
            title(|| {
                let body = [levels(&[true; 3]), vec![8], run(3, 200)].concat();
                vec![Page::dictionary(&["one"]), Page::data(3, RLE_DICTIONARY, body)]
            }),
        ),
        input(
            "indexes of 255 bits",
            "indexes that say they have 255 bits each",
            fails(PLACE),
            title(|| {
                let body = [levels(&[true; 3]), vec![255], run(3, 0)].concat();
                vec![Page::dictionary(&["one"]), Page::data(3, RLE_DICTIONARY, body)]
            }),
        ),
        input(
            "dictionary too short",
            "a dictionary of 2³¹-1 strings in 7 bytes",
            fails(PLACE),
            title(|| {
                let body = [levels(&[true; 3]), vec![1], run(3, 0)].concat();
                let mut dictionary = Page::dictionary(&["one"]);
                dictionary.values = i64::from(i32::MAX);
                vec![dictionary, Page::data(3, RLE_DICTIONARY, body)]
            }),
        ),
        input(
            "two dictionaries",
            "two dictionary pages in one chunk",
            refused(&["row group 0", "column `"]),
            title(|| {
                let body = [levels(&[true; 3]), vec![1], run(3, 0)].concat();
                let dictionary = Page::dictionary(&["one"]);
                vec![dictionary.clone(), dictionary, Page::data(3, RLE_DICTIONARY, body)]
            }),
        ),
        input(
            "prefix of nothing",
            "delta-encoded strings that repeat 1,000 bytes of the one before, which has none",
            succeeds(3),
            title(|| {
                let body = [prefixed(&run(3, 1)), delta(3, 1000, 0), delta(3, 0, 0)].concat();
                vec![Page::data(3, DELTA_BYTE_ARRAY, body)]
            }),
        ),
        input(
            "negative prefix",
            "delta-encoded strings that repeat -1 bytes of the one before",
            succeeds(3),
            title(|| {
                let body = [prefixed(&run(3, 1)), delta(3, -1, 0), delta(3, 0, 0)].concat();
                vec![Page::data(3, DELTA_BYTE_ARRAY, body)]
            }),
        ),
        input(
            "delta of too many",
            "a delta-encoded page of 2⁴⁰ lengths",
            fails(PLACE),
            title(|| {
                let mut lengths = Vec::new();
                for number in [128, 4, 1u64 << 40] {
                    super::forge::varint(&mut lengths, number);
                }
                let body = [prefixed(&run(3, 1)), lengths].concat();
                vec![Page::data(3, DELTA_LENGTH_BYTE_ARRAY, body)]
            }),
        ),
        input(
            "delta of two billion",
            "delta-encoded strings whose lengths say that there are 2³¹-1 of them",
            fails(PLACE),
            title(|| {
                let lengths = step_once(i32::MAX as u64, 0, 0);
                let body = [prefixed(&run(3, 1)), lengths[..100].to_vec()].concat();
                vec![Page::data(3, DELTA_BYTE_ARRAY, body)]
            }),
        ),
        input(
            "delta lengths of two billion",
            "strings whose delta-encoded lengths say that there are 2³¹-1 of them",
            fails(PLACE),
            title(|| {
                let lengths = step_once(i32::MAX as u64, 0, 0);
                let body = [prefixed(&run(3, 1)), lengths[..100].to_vec()].concat();
                vec![Page::data(3, DELTA_LENGTH_BYTE_ARRAY, body)]
            }),
        ),
        input(
            "page of version 2 with long levels",
            "levels of 2³⁰ bytes each",
            fails(PLACE),
            title(|| vec![Page::version_2(3, plain(&[Some("a"); 3]), 1 << 30, 1 << 30)]),
        ),
        input(
            "page of version 2 with negative levels",
            "levels of -1 bytes",
            fails(PLACE),
            title(|| vec![Page::version_2(3, plain(&[Some("a"); 3]), -1, -1)]),
        ),
        input(
            "page of version 2",
            "levels of 2 bytes, then three titles",
            succeeds(3),
            title(|| vec![Page::version_2(3, [run(3, 1), plain(&[Some("a"); 3])].concat(), 0, 2)]),
        ),
        input("invalid UTF-8", "a title of the bytes ff fe", fails(NOT_UTF8), text(b"\xff\xfe")),
        input(
            "surrogate",
            "a title with a lone surrogate, ed a0 80",
            fails(NOT_UTF8),
            text(b"a\xed\xa0\x80b"),
        ),
        input(
            "overlong UTF-8",
            "a title with an overlong slash, c0 af",
            fails(NOT_UTF8),
            text(b"\xc0\xaf"),
        ),
        input(
            "cut UTF-8",
            "a title that ends within a character",
            fails(NOT_UTF8),
            text(b"caf\xc3"),
        ),
        input(
            "data zeroed",
            "Arrow's file with zeros between head and footer",
            fails(&["row group 0", "column `id`"]),
            || {
                let mut file = Table::tasks(20).bytes();
                let at = file.len() - 8;
                let length =
                    u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]);
                let footer = at - length as usize;
                file[4..footer].fill(0);
                file
            },
        ),
        input(
            "100,000 empty pages",
            "100,000 pages of 0 values, then the good one",
            fails(PLACE),
            title(|| {
                let good = Forged::tasks().groups[0].chunks[1].pages[0].clone();
                let mut pages = vec![Page::data(0, 0, prefixed(&[])); 100_000];
                pages.push(good);
                pages
            }),
        ),
    ]
}
