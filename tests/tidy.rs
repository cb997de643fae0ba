//! The house law of the source text: who may know whom, and what the library never does.
//!
//! The rules look at code alone: comments, the contents of literals and test modules are blanked first, and
//! imports are taken apart, so that `use std::{fs, thread}` counts as `std::thread`. Each rule is itself
//! tested on a snippet that breaks it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// Files of the binary; all others below `src/` are the library.
const BINARY: [&str; 12] = [
    "main.rs",
    "cli.rs",
    "commands.rs",
    "exit.rs",
    "logging.rs",
    "print.rs",
    "progress.rs",
    "signals.rs",
    "supervisor.rs",
    "supervisor/policy.rs",
    "supervisor/wire.rs",
    "supervisor/worker.rs",
];

/// Names of crates, and whether a file may use them.
type Owned = (&'static [&'static str], fn(&str) -> bool);

/// Crates that belong to one place, the files that are this place, and why.
const CRATES: &[Owned] = &[
    (&["crossbeam", "crossbeam_channel"], |file| is_part(file, "pipeline")),
    (&["parquet"], |file| ["reader", "writer", "lineage"].iter().any(|part| is_part(file, part))),
    (&["redb", "twox_hash"], |file| is_part(file, "cache")),
    (&["tokenizers"], |file| is_part(file, "tokenizer")),
    (&["toml"], |file| is_part(file, "config")),
    (&["candle_core", "candle_nn", "candle_transformers"], |file| file == "model/candle.rs"),
    (&["askama"], is_page),
    (
        &["clap", "clap_complete", "clap_mangen", "anyhow", "indicatif", "tracing_subscriber"],
        is_binary,
    ),
    // An encoder owns the pool that its arithmetic runs on, the tokenizer the one that its texts are shared among; no
    // stage starts threads in this way.
    (&["rayon"], |file| {
        is_part(file, "model") || is_part(file, "kernels") || file == "tokenizer.rs"
    }),
    (&["signal_hook"], listens),
];

#[test]
fn the_source_keeps_the_house_law() {
    let files = sources();
    assert!(files.len() > 30, "only {} files below src/", files.len());
    let complaints: Vec<String> =
        files.iter().flat_map(|(name, text)| complaints(name, text)).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn the_binary_takes_in_no_file_of_the_library() {
    let files = sources();
    let text = |name: &str| files.iter().find(|(file, _)| file == name).map(|(_, text)| text);
    let (library, main) = (text("lib.rs").expect("lib.rs"), text("main.rs").expect("main.rs"));
    let public = modules(library);
    assert!(public.contains("pipeline") && public.contains("model"), "{public:?}");
    let shared: Vec<String> = modules(main).intersection(&public).cloned().collect();
    assert!(shared.is_empty(), "main.rs declares files of the library: {shared:?}");
    for (file, text) in files.iter().filter(|(file, _)| is_binary(file)) {
        let foreign: Vec<String> = paths(&code(text))
            .into_iter()
            .filter(|path| matches!(path.segments()[..], ["crate", module, ..] if public.contains(module)))
            .map(|path| path.text)
            .collect();
        assert!(foreign.is_empty(), "{file} reaches past the crate: {foreign:?}");
    }
}

#[test]
fn no_feature_brings_faults_on_purpose_with_it_and_the_tests_alone_ask_for_them() {
    const FAULTS: &str = "failpoints";
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().expect("TOML");
    let features = manifest["features"].as_table().expect("features");
    assert!(features.contains_key(FAULTS));
    let brings = |names: &toml::Value| {
        let mut names = names.as_array().expect("a list").iter().filter_map(toml::Value::as_str);
        names.any(|name| name.contains(FAULTS))
    };
    let bringing: Vec<&String> =
        features.iter().filter(|(_, names)| brings(names)).map(|(feature, _)| feature).collect();
    assert!(bringing.is_empty(), "{bringing:?}");
    assert!(manifest["dev-dependencies"]["reembed"]["features"].as_array().is_some());
    for (file, text) in sources() {
        let mentions = code(&text).contains(FAULTS) && file != "failpoints.rs" && file != "lib.rs";
        let through_is_on = text.contains("use crate::failpoints::") || is_binary(&file);
        assert!(!mentions || through_is_on, "{file} has a fault of its own");
    }
}

#[test]
fn each_rule_notices_what_breaks_it() {
    for (file, snippet, expected) in [
        ("reader.rs", "use crossbeam_channel::bounded;", "crossbeam_channel"),
        ("readback.rs", "use parquet::errors::ParquetError;", "parquet"),
        ("target/previous.rs", "use parquet::file::metadata::KeyValue;", "parquet"),
        ("reader.rs", "use std::{fs, thread};", "std::thread"),
        ("reader.rs", "fn f() { std::thread::spawn(|| ()); }", "std::thread"),
        (
            "config/check.rs",
            "use std::thread::{available_parallelism, spawn};",
            "std::thread::spawn",
        ),
        ("config/values.rs", "use std::thread::available_parallelism;", "std::thread"),
        ("machine.rs", "use std::thread::spawn;", "std::thread"),
        ("verify.rs", "use parquet::file::metadata::KeyValue;", "parquet"),
        ("reuse.rs", "use redb::Database;", "redb"),
        ("pipeline.rs", "fn f(d: &redb::Database) {}", "redb"),
        ("lineage.rs", "use twox_hash::XxHash64;", "twox_hash"),
        ("model/description.rs", "fn f(t: &tokenizers::Tokenizer) {}", "tokenizers"),
        ("writer.rs", "use ::toml::Value;", "toml"),
        ("model/weights.rs", "use candle_core::Tensor;", "candle_core"),
        ("model.rs", "use candle_nn as nn;", "candle_nn"),
        ("inference.rs", "use rayon::prelude::*;", "rayon"),
        ("tokenizer/prefix.rs", "use rayon::join;", "rayon"),
        ("error.rs", "use anyhow::Context;", "anyhow"),
        ("report/json.rs", "use askama::Template;", "askama"),
        ("report/record.rs", "use crate::page::Figure;", "crate::page"),
        ("report/stages.rs", "use std::time::Instant;", "std::time::Instant"),
        ("page/chart.rs", "use crate::report::Report;", "crate::report"),
        ("task.rs", "fn f(p: *const u8) -> u8 { unsafe { *p } }", "unsafe"),
        ("kernels.rs", "unsafe fn f() {}", "unsafe"),
        ("kernels/gemm.rs", "unsafe fn f() {}", "unsafe"),
        ("kernels/tiles/products.rs", "use std::arch::asm;", "std::arch"),
        ("task.rs", "fn f() { println!(\"x\"); }", "println!"),
        ("task.rs", "fn f() { std::eprint ! (\"x\"); }", "eprint!"),
        ("task.rs", "fn f(x: u8) -> u8 { dbg!(x) }", "dbg!"),
        ("task.rs", "fn f() { todo!() }", "todo!"),
        ("task.rs", "use std::process; fn f() { process::exit(1) }", "process::exit"),
        ("main.rs", "use std::process::{ExitCode, exit};", "std::process::exit"),
        ("model.rs", "fn f() -> Option<String> { std::env::var(\"HOME\").ok() }", "std::env"),
        ("model.rs", "use std::env;", "std::env"),
        ("task.rs", "fn f(x: Option<u8>) -> u8 { x.unwrap() }", "unwrap()"),
        ("task.rs", "fn f(x: Option<u8>) -> u8 {\n    x\n        .expect(\"y\")\n}", "expect()"),
        ("main.rs", "fn f(x: Option<u8>) -> u8 { x.unwrap() }", "unwrap()"),
        ("plan.rs", "use crate::batch::TokenBatch;", "crate::batch"),
        ("plan.rs", "use serde::Serialize;", "serde"),
        ("limit.rs", "fn f(x: u64) -> crate::Result<u64> { Ok(x) }", "crate::Result"),
        ("limit.rs", "fn f(x: arrow::datatypes::DataType) {}", "arrow"),
        ("limit.rs", "use super::memory;", "super::memory"),
        ("supervisor/policy.rs", "use std::time::Duration; use rustix::process::Pid;", "rustix"),
        ("commands.rs", "use signal_hook::flag;", "signal_hook"),
        ("progress.rs", "use std::thread;", "std::thread"),
        ("kernels/gemm.rs", "use crate::error::Result;", "crate::error"),
        ("kernels.rs", "use half::f16;", "half"),
        ("kernels/norm.rs", "use super::super::batch;", "super::super"),
        ("progress.rs", "#[path = \"report.rs\"] mod report;", "#[path]"),
        (
            "task.rs",
            "#[cfg(test)]\nmod tests { fn f() {} }\nfn g(x: Option<u8>) -> u8 { x.unwrap() }",
            "task.rs:3: unwrap()",
        ),
    ] {
        let found = complaints(file, snippet);
        let named = found.iter().any(|complaint| complaint.contains(expected));
        assert!(named, "{file}: {snippet:?} gave {found:?}");
    }
    assert_eq!(modules("mod cli;\npub mod plan;\nmod inline { }\n"), set(&["cli", "plan"]));
}

#[test]
fn what_is_allowed_is_let_through() {
    for (file, snippet) in [
        ("pipeline.rs", "use crossbeam_channel::bounded; use std::thread;"),
        ("pipeline/clock.rs", "use std::time::Instant;"),
        ("report/html.rs", "use askama::Template; use crate::page::Figure;"),
        ("report/html/rows.rs", "use crate::page::Table;"),
        ("config/check.rs", "use std::thread::available_parallelism;"),
        ("machine.rs", "use std::thread::available_parallelism;"),
        ("reader/chunker.rs", "use parquet::errors::ParquetError;"),
        ("writer/publish.rs", "use parquet::errors::ParquetError;"),
        ("cache.rs", "use redb::Error; mod record;"),
        ("cache/database.rs", "use redb::{Database, Table};"),
        ("tokenizer/prefix.rs", "use tokenizers::Tokenizer;"),
        ("tokenizer.rs", "use crate::tokenizer::prefix; use rayon::prelude::*;"),
        ("config.rs", "use toml::Value;"),
        ("model/candle.rs", "use candle_core::Tensor; use rayon::ThreadPool;"),
        ("kernels/avx2.rs", "use super::simd::Simd; use std::arch::x86_64::*; unsafe fn f() {}"),
        ("kernels.rs", "pub use gemm::Linear; use crate::kernels::simd;"),
        ("kernels/amx.rs", "use std::arch::asm; fn f() { unsafe { asm!(\"tilerelease\") } }"),
        ("commands.rs", "use anyhow::Result; fn f() { std::env::vars_os(); }"),
        ("task.rs", "// println!(\"x\"); x.unwrap()\n/* std::env */ /// use parquet::x;\n"),
        ("task.rs", "const X: &str = \"x.unwrap() std::env::var println!\";"),
        ("task.rs", "const X: &str = r#\"say \"x.unwrap()\" \"#; const Y: char = '\"';"),
        ("task.rs", "fn f<'a>(x: &'a str) -> &'a str { x } // 'unsafe\n"),
        ("task.rs", "const X: NonZeroUsize = NonZeroUsize::new(32).unwrap();"),
        ("task.rs", "fn f(x: Option<u8>) -> u8 { x.unwrap_or_default() }"),
        ("task.rs", "#[cfg(test)]\nmod tests { use std::thread; fn f() { x.unwrap(); } }"),
        ("task.rs", "#[cfg(test)]\nuse std::thread;"),
        ("task.rs", "fn f(x: &[u8]) -> impl Iterator<Item = u8> + use<> { let n = 3; 0..n }"),
        ("task.rs", "const V: &str = env!(\"CARGO_PKG_VERSION\"); use std::fs;"),
        ("plan.rs", "use std::cmp::Reverse; use crate::limit::{BatchLimit, BatchShape};"),
        ("limit.rs", "use std::num::NonZeroUsize; fn f() { NonZeroUsize::new(1); }"),
    ] {
        assert_eq!(complaints(file, snippet), Vec::<String>::new(), "{file}: {snippet:?}");
    }
}

/// What is wrong with a file, a line for each finding.
fn complaints(file: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut found = Vec::new();
    let mut complain = |at: usize, what: String| {
        let line = 1 + code[..at].bytes().filter(|byte| *byte == b'\n').count();
        found.push(format!("src/{file}:{line}: {what}"));
    };
    for path in paths(&code) {
        if let Some(why) = wrong_path(file, &path) {
            complain(path.at, format!("{} {why}", path.text));
        }
    }
    let words = words(&code);
    for (number, &(at, word)) in words.iter().enumerate() {
        let next = |ahead: usize| words.get(number + ahead).map(|(_, word)| *word);
        let before = number.checked_sub(1).map(|number| words[number].1);
        match word {
            "unsafe" if !is_instruction_set(file) => {
                complain(at, "unsafe belongs to the instruction sets of src/kernels/".to_owned());
            }
            "println" | "eprintln" | "print" | "eprint" | "dbg" | "todo" | "unimplemented"
                if next(1) == Some("!") =>
            {
                complain(at, format!("{word}! is for no part of this crate"));
            }
            // A constant is computed by the compiler, where a panic is a build that fails.
            "unwrap" | "expect"
                if before == Some(".")
                    && next(1) == Some("(")
                    && !in_constant(&words[..number]) =>
            {
                complain(at, format!("{word}() outside of tests"));
            }
            "path" if before == Some("[") && next(1) == Some("=") => {
                complain(at, "#[path] hides where a module lies".to_owned());
            }
            _ => {}
        }
    }
    found
}

/// Why a file may not mention a path.
fn wrong_path(file: &str, path: &CodePath) -> Option<&'static str> {
    let segments = path.segments();
    let first = segments[0];
    if CRATES.iter().any(|(names, allowed)| names.contains(&first) && !allowed(file)) {
        return Some("has its own place, which is not here");
    }
    // How many processors there are is a reading that the configuration needs; it starts nothing.
    let counts = ["config/check.rs", "machine.rs"].contains(&file)
        && path.text == "std::thread::available_parallelism";
    let threaded = is_part(file, "pipeline") || listens(file);
    if segments.starts_with(&["std", "thread"]) && !threaded && !counts {
        return Some("belongs to the pipeline");
    }
    if segments.starts_with(&["std", "env"]) && !is_binary(file) {
        return Some("is for the binary: the library reads no environment");
    }
    if segments.windows(2).any(|pair| matches!(pair, ["process", "exit" | "abort"])) {
        return Some("ends the process past main");
    }
    if segments.starts_with(&["std", "arch"]) && !is_instruction_set(file) {
        return Some("is for the instruction sets of the kernels");
    }
    if (file == "plan.rs" || file == "limit.rs") && !is_pure(path) {
        return Some("is more than std and the two pure modules");
    }
    if is_part(file, "report") && segments.contains(&"Instant") {
        return Some("is a clock: a record is told when things happened");
    }
    if segments.starts_with(&["crate", "page"]) && !is_page(file) {
        return Some("is for those who write pages");
    }
    if is_part(file, "page") && matches!(segments[..], ["crate", "report" | "bench", ..]) {
        return Some("knows what it shows: a page is made of numbers and words");
    }
    if file == "supervisor/policy.rs" && !is_pure(path) {
        return Some("is more than std");
    }
    if is_part(file, "kernels") && leaves_kernels(path) {
        return Some("is more than std and the kernels");
    }
    None
}

/// Whether a path stays within std, `crate::limit` and `crate::plan`, or starts at a type that is in scope already.
fn is_pure(path: &CodePath) -> bool {
    match path.segments()[..] {
        ["std" | "core", ..] | ["crate", "limit" | "plan", ..] => true,
        // `use std::fmt` is looked at where it stands.
        ["u32" | "u64" | "usize" | "f64" | "fmt", ..] => true,
        [first, ..] => !path.imported && first.starts_with(char::is_uppercase),
        [] => true,
    }
}

/// Whether a path starts at a part of the crate beside the kernels, or at another crate.
fn leaves_kernels(path: &CodePath) -> bool {
    let segments = path.segments();
    match segments[..] {
        ["crate", module, ..] => module != "kernels",
        ["super", "super", ..] => true,
        [first, ..] => DEPENDENCIES.contains(first),
        [] => false,
    }
}

/// The crates that Cargo.toml names, as code names them; but `gemm`, which is a kernel here.
static DEPENDENCIES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().expect("TOML");
    let names = manifest["dependencies"].as_table().expect("dependencies").keys();
    names.map(|name| name.replace('-', "_")).filter(|name| name != "gemm").collect()
});

/// What writes pages: the pieces, and the pages made of them.
fn is_page(file: &str) -> bool {
    ["page", "report/html", "bench/html"].iter().any(|part| is_part(file, part))
}

/// The parts of the binary that wait for signals and for another process.
fn listens(file: &str) -> bool {
    file == "signals.rs" || is_part(file, "supervisor")
}

/// Whether a file is where instructions have names.
fn is_instruction_set(file: &str) -> bool {
    ["avx512", "avx512bf16", "avx2", "amx"]
        .iter()
        .any(|isa| is_part(file, &format!("kernels/{isa}")))
}

fn is_binary(file: &str) -> bool {
    BINARY.contains(&file)
}

/// Whether a file is the module `part` or lies below it.
fn is_part(file: &str, part: &str) -> bool {
    file.strip_prefix(part).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Whether the last of these words stands in a `const` item.
fn in_constant(words: &[(usize, &str)]) -> bool {
    let statement = words
        .iter()
        .rposition(|(_, word)| matches!(*word, ";" | "{" | "}"))
        .map_or(words, |end| &words[end + 1..]);
    let start = statement.iter().position(|(_, word)| *word == "const");
    start.is_some_and(|start| statement.get(start + 1).is_some_and(|(_, word)| *word != "fn"))
}

/// The modules that a file declares as files of their own.
fn modules(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let words = words(&code);
    words
        .windows(3)
        .filter(|three| three[0].1 == "mod" && three[2].1 == ";")
        .map(|three| three[1].1.to_owned())
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A path in the code: one of an import, its groups taken apart, or one that is used where it stands.
struct CodePath {
    at: usize,
    text: String,
    imported: bool,
}

impl CodePath {
    fn segments(&self) -> Vec<&str> {
        self.text.split("::").collect()
    }
}

fn paths(code: &str) -> Vec<CodePath> {
    let words = words(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < words.len() {
        // `use<…>` says what a type captures and imports nothing.
        if words[at].1 == "use" && words.get(at + 1).is_some_and(|(_, word)| *word != "<") {
            at = import(&words, at + 1, "", &mut paths);
        } else if is_name(words[at].1) && (at == 0 || words[at - 1].1 != ".") {
            let start = at;
            let mut text = words[at].1.to_owned();
            while at + 2 < words.len() && words[at + 1].1 == "::" && is_name(words[at + 2].1) {
                text = format!("{text}::{}", words[at + 2].1);
                at += 2;
            }
            if at > start {
                paths.push(CodePath { at: words[start].0, text, imported: false });
            }
            at += 1;
        } else {
            at += 1;
        }
    }
    paths
}

/// Reads one branch of an import, from the word at `at`; gives the word after it.
fn import(
    words: &[(usize, &str)],
    mut at: usize,
    prefix: &str,
    paths: &mut Vec<CodePath>,
) -> usize {
    let start = at;
    let mut text = prefix.to_owned();
    while let Some((_, word)) = words.get(at) {
        match *word {
            "::" => {}
            "{" => {
                at += 1;
                while words.get(at).is_some_and(|(_, word)| *word != "}") {
                    at = import(words, at, &text, paths);
                    at += usize::from(words.get(at).is_some_and(|(_, word)| *word == ","));
                }
                return at + 1;
            }
            "as" => at += 1,
            ";" | "," | "}" => break,
            name if text.is_empty() => text = name.to_owned(),
            // `use std::{self}` is `std` itself.
            "self" => {}
            name => text = format!("{text}::{name}"),
        }
        at += 1;
    }
    if !text.is_empty() {
        paths.push(CodePath { at: words[start].0, text, imported: true });
    }
    at
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The code as words with their places: names, numbers, `::`, and any other character by itself.
fn words(code: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let mut rest = code.char_indices().peekable();
    while let Some((start, c)) = rest.next() {
        let mut end = start + c.len_utf8();
        let mut take = |wanted: fn(char) -> bool| {
            let next = rest.next_if(|(_, c)| wanted(*c));
            end = next.map_or(end, |(at, c)| at + c.len_utf8());
            next.is_some()
        };
        if c.is_whitespace() {
            continue;
        } else if c.is_alphanumeric() || c == '_' {
            while take(|c| c.is_alphanumeric() || c == '_') {}
        } else if c == ':' {
            take(|c| c == ':');
        }
        words.push((start, &code[start..end]));
    }
    words
}

/// The text with comments, the contents of literals and `#[cfg(test)]` items blanked; lines stay where they are.
fn code(text: &str) -> String {
    without_tests(&without_comments(text))
}

fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after_name = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let (length, keep) = match c {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => (block_comment(rest), false),
            '"' => (string(rest), false),
            'r' | 'b' if !after_name => match raw_string(rest) {
                Some(length) => (length, false),
                None => (1, true),
            },
            '\'' => character(rest).map_or((1, true), |length| (length, false)),
            _ => (c.len_utf8(), true),
        };
        let (piece, behind) = rest.split_at(length);
        if keep {
            code.push_str(piece);
        } else {
            // One space for a character, so that places in the code stay on their lines.
            code.extend(piece.chars().map(|c| if c == '\n' { c } else { ' ' }));
        }
        rest = behind;
    }
    code
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of `r"…"`, `r#"…"#` or `br#"…"#`, if one begins here.
fn raw_string(text: &str) -> Option<usize> {
    let open = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let body = open.trim_start_matches('#');
    let hashes = &open[..open.len() - body.len()];
    let inside = body.strip_prefix('"')?;
    let close = format!("\"{hashes}");
    let end = inside.find(&close).map_or(inside.len(), |end| end + close.len());
    Some(text.len() - inside.len() + end)
}

/// The length of a character literal, if it is none of a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        chars.next()?;
        return chars.find(|(_, c)| *c == '\'').map(|(at, _)| at + 1);
    }
    chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1)
}

fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = code.to_owned();
    while let Some(start) = kept.find(MARK) {
        let mut depth = 0;
        let end = kept[start + MARK.len()..]
            .char_indices()
            .find(|(_, c)| {
                depth += i32::from(*c == '{') - i32::from(*c == '}');
                depth == 0 && matches!(c, '}' | ';')
            })
            .map_or(kept.len(), |(at, _)| start + MARK.len() + at + 1);
        let blank: String =
            kept[start..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        kept.replace_range(start..end, &blank);
    }
    kept
}

/// Every file below `src/` by its path there, without the files that are test modules.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory below src/") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("below src/").to_string_lossy();
                files.push((name.replace('\\', "/"), fs::read_to_string(&path).expect("a file")));
            }
        }
    }
    files.sort();
    let all = files.clone();
    files.retain(|(name, _)| !is_test_module(name, &all));
    files
}

/// Whether a file is `tests.rs`, declared under `#[cfg(test)]` by the module above it, or lies below such a file.
fn is_test_module(name: &str, files: &[(String, String)]) -> bool {
    let below = name.split_once("/tests/").map(|(above, _)| above);
    let Some(above) = name.strip_suffix("/tests.rs").or(below) else { return false };
    let above = format!("{above}.rs");
    files.iter().any(|(file, text)| {
        *file == above
            && modules(&text.replace("#[cfg(test)]", "")).contains("tests")
            && !modules(text).contains("tests")
    })
}
