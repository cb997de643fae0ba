//! Well-formed files with unusual rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringBuilder};

use super::case::{Case, fails, input, succeeds};
use super::table::{Table, lists, strings};

/// A single row with this title.
fn title(text: impl Fn() -> String + Send + Sync + 'static) -> impl Fn() -> Vec<u8> + Send + Sync {
    move || Table::tasks(1).set("title", strings(&[Some(&text())])).bytes()
}

fn nothing(rows: usize) -> Table {
    let nulls = || strings(&vec![None; rows]);
    Table::tasks(rows).set("title", nulls()).set("description", nulls()).without("files")
}

fn some_lists() -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    builder.append_null();
    builder.append(true);
    builder.append_value([None::<&str>, None]);
    builder.append_value([Some("a.rs"), None, Some("")]);
    Arc::new(builder.finish())
}

pub fn cases() -> Vec<Case> {
    vec![
        input("no rows", "0 rows", succeeds(0), || Table::tasks(0).bytes()),
        input("one row", "1 row", succeeds(1), || Table::tasks(1).bytes()),
        input("null texts", "3 rows, every text null", succeeds(3), || nothing(3).bytes()),
        input(
            "null texts as errors",
            "the same under on_empty = \"error\"",
            fails(&["row 1", "T-0"]),
            || nothing(3).bytes(),
        )
        .set("REEMBED_OUTPUT_ON_EMPTY", "error"),
        input("null texts embedded", "the same under on_empty = \"embed\"", succeeds(3), || {
            nothing(3).bytes()
        })
        .set("REEMBED_OUTPUT_ON_EMPTY", "embed"),
        input(
            "null texts as lists",
            "the same under vector.layout = \"list\"",
            succeeds(3),
            || nothing(3).bytes(),
        )
        .set("REEMBED_VECTOR_LAYOUT", "list"),
        input("empty texts", "3 rows, every text of 0 characters", succeeds(3), || {
            Table::tasks(3)
                .set("title", strings(&[Some(""); 3]))
                .set("description", strings(&[Some(""); 3]))
                .without("files")
                .bytes()
        }),
        input("blank texts", "spaces, tabs, line ends, no-break spaces", succeeds(4), || {
            let blanks = strings(&[Some(" "), Some("\t\t"), Some("\r\n"), Some("\u{a0}\u{2003}")]);
            Table::tasks(4)
                .set("title", blanks)
                .set("description", strings(&[None; 4]))
                .without("files")
                .bytes()
        }),
        input(
            "lists without files",
            "null, empty, of nulls, with nulls and the empty name",
            succeeds(4),
            || Table::tasks(4).set("files", some_lists()).bytes(),
        ),
        input("NUL", "NUL within a title", succeeds(1), title(|| "a\0b\0".to_owned())),
        input(
            "control characters",
            "all of them in a title",
            succeeds(1),
            title(|| {
                (0u8..0x20).chain([0x7f]).map(char::from).collect::<String>()
                    + "\u{1b}[2J\u{1b}]0;x\u{7}"
            }),
        ),
        input(
            "odd Unicode",
            "bidi overrides, combining marks, joiners, private use, the last code point",
            succeeds(1),
            title(|| {
                format!(
                    "\u{202e}abc\u{202c} e{} \u{200d}\u{feff} \u{e000} \u{10ffff} 👩‍👩‍👧‍👦",
                    "\u{301}".repeat(1000)
                )
            }),
        ),
        input(
            "special tokens",
            "[CLS], [SEP], [PAD], [MASK], [UNK] and ##ing in a title",
            succeeds(1),
            title(|| "[CLS] [SEP] [PAD][PAD] [MASK] [UNK] ##ing [unused1]".to_owned()),
        ),
        input("text of 10 MB", "a description of 10 MB of words", succeeds(1), || {
            let text = "fix the login loop ".repeat(10 * (1 << 20) / 19);
            Table::tasks(1).set("description", strings(&[Some(&text)])).bytes()
        }),
        input(
            "word of 2 MB",
            "a title of one word of 2 MB",
            succeeds(1),
            title(|| "x".repeat(2 << 20)),
        ),
        input(
            "special tokens of 2 MB",
            "a title of 400,000 times [SEP]",
            succeeds(1),
            title(|| "[SEP]".repeat(400_000)),
        ),
        input(
            "blanks of 2 MB",
            "a title of 2 MB of spaces",
            succeeds(1),
            title(|| " ".repeat(2 << 20)),
        ),
        input(
            "ideographs of 2 MB",
            "a title of 700,000 ideographs",
            succeeds(1),
            title(|| "文".repeat(700_000)),
        ),
        input(
            "accents of 2 MB",
            "a letter with 1,000,000 combining accents",
            succeeds(1),
            title(|| format!("e{}", "\u{301}".repeat(1_000_000))),
        ),
        input(
            "ten texts of 10 MB",
            "descriptions of 10 MB each: blanks, one word, accents, controls, brackets, ideographs, …",
            succeeds(10),
            || {
                let texts = [
                    " ",
                    "x",
                    "e\u{301}",
                    "\u{301}",
                    "\0",
                    "[",
                    "文",
                    "\u{a0}\u{200b}",
                    "[SEP",
                    "é ",
                ]
                .map(|pattern| pattern.repeat(10_000_000 / pattern.len()));
                Table::tasks(10)
                    .set("description", strings(&texts.each_ref().map(|text| Some(text.as_str()))))
                    .bytes()
            },
        ),
        input(
            "controls of 2 MB",
            "a title of 2 MB of NUL",
            succeeds(1),
            title(|| "\0".repeat(2 << 20)),
        ),
        input("100,000 files", "one row with 100,000 files", succeeds(1), || {
            let files: Vec<String> =
                (0..100_000).map(|file| format!("src/part{file}.rs")).collect();
            Table::tasks(1).set("files", lists(&[files])).bytes()
        }),
        input("one large row among small ones", "1,500 rows, one of 5 MB", succeeds(1500), || {
            let large = "slow query ".repeat(500_000);
            let text = |row: usize| if row == 700 { Some(large.as_str()) } else { Some("fast") };
            let texts: Vec<Option<&str>> = (0..1500).map(text).collect();
            Table::tasks(1500).set("description", strings(&texts)).bytes()
        }),
        input("repeated ids", "5 rows of one id", succeeds(5), || {
            Table::tasks(5).set("id", strings(&[Some("T-1"); 5])).bytes()
        }),
        input("odd ids", "empty, escape, newline, 1 MB", succeeds(4), || {
            let long = "i".repeat(1 << 20);
            let ids = strings(&[Some(""), Some("\u{1b}[2J"), Some("a\nb"), Some(&long)]);
            Table::tasks(4).set("id", ids).bytes()
        }),
        input(
            "odd id in an error",
            "a row without text whose id is escape, newline and 1 MB",
            fails(&["row 1", "\\u{1b}", "…"]),
            || {
                let long = format!("\u{1b}[2J\n{}", "i".repeat(1 << 20));
                nothing(1).set("id", strings(&[Some(&long)])).bytes()
            },
        )
        .set("REEMBED_OUTPUT_ON_EMPTY", "error"),
        input("equal rows", "2,000 equal rows", succeeds(2000), || {
            let same = || strings(&[Some("the same"); 2000]);
            Table::tasks(2000)
                .set("title", same())
                .set("description", same())
                .without("files")
                .bytes()
        }),
    ]
}
