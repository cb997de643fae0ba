//! Architecture rules that neither Cargo nor lints can enforce: modules import in one direction, a library
//! crate is used only by its owner, and the library reads no environment variables.
//!
//! The rules see code only: comments, literals and test modules are blanked and imports expanded
//! (`use std::{fs, thread}` gives `std::thread`). Each rule is tested on a snippet that breaks it.
//!
//! `cargo test --test tidy -- --nocapture` prints the module graph.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may panic and print"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// The crates, bottom up, and their source directories. Cargo enforces the order between them.
const CRATES: [(&str, &str); 5] = [
    ("reembed-kernels", "crates/kernels/src"),
    ("reembed-encoder", "crates/encoder/src"),
    ("reembed", "src"),
    ("reembed-cli", "crates/cli/src"),
    ("reembed-python", "python/src"),
];

/// The restricted paths, the files that may use them as `crate/path.rs`, and the reason.
type Rule = (&'static [&'static str], fn(&str) -> bool, &'static str);

const RULES: &[Rule] = &[
    (
        &["crossbeam_channel"],
        |file| is_part(file, "reembed/pipeline"),
        "only the pipeline uses channels",
    ),
    (
        &["parquet"],
        |file| {
            let parts = ["reembed/reader", "reembed/writer", "reembed-cli/sample"];
            parts.iter().any(|part| is_part(file, part))
        },
        "only the reader and the writer use Parquet",
    ),
    (&["redb"], |file| is_part(file, "reembed/cache"), "only the cache uses the database"),
    (
        &["twox_hash"],
        |file| {
            [
                "reembed/cache",
                "reembed/carried",
                "reembed/group_digest",
                "reembed/published/table",
                "reembed/writer/vector_chunk",
            ]
            .iter()
            .any(|part| is_part(file, part))
        },
        "only the cache and the digests of columns as bytes use XXH3",
    ),
    (
        &["base64"],
        |file| is_part(file, "reembed/format/entries"),
        "only footer entries are written in base64",
    ),
    (
        &["tokenizers"],
        |file| is_part(file, "reembed-encoder/model/tokenizer"),
        "only the tokenizer uses its library",
    ),
    (&["toml"], |file| is_part(file, "reembed/config"), "only the configuration uses TOML"),
    (
        &["candle_core", "candle_nn", "candle_transformers"],
        |file| {
            ["candle.rs", "convert.rs"]
                .iter()
                .any(|part| file == format!("reembed-encoder/model/{part}"))
        },
        "only its encoder and the reader of pickles use candle",
    ),
    (
        &["askama"],
        |file| {
            let pages = ["page", "report/html", "bench/html"];
            pages.iter().any(|page| is_part(file, &format!("reembed-cli/{page}")))
        },
        "only HTML pages use templates",
    ),
    (
        &["signal_hook"],
        |file| file == "reembed-cli/signals.rs" || is_part(file, "reembed-cli/supervisor"),
        "only the program handles signals",
    ),
    (
        &["std::thread"],
        |file| {
            is_part(file, "reembed/pipeline")
                || file == "reembed/dataset/tables.rs"
                || file == "reembed-cli/signals.rs"
                || is_part(file, "reembed-cli/supervisor")
                || file == "reembed-python/work.rs"
                // These only count processors.
                || ["reembed-encoder/model/config.rs", "reembed-cli/machine.rs"].contains(&file)
                // This one only sleeps.
                || file == "reembed/cache/patience.rs"
        },
        "only the pipeline, the run of a dataset and the program start threads",
    ),
    (
        &["std::env"],
        |file| file.starts_with("reembed-cli/") || file == "reembed-python/model.rs",
        "the library reads no environment variables",
    ),
    (
        &["std::process::exit", "std::process::abort", "std::process::Command"],
        |file| file.starts_with("reembed-cli/") || file == "reembed-encoder/model/source/pypi.rs",
        "the library never exits and starts only pip",
    ),
    (
        &["std::time::Instant"],
        |file| !is_part(file, "reembed-cli/report"),
        "a report gets its times from the caller",
    ),
    (
        &["std::arch", "core::arch"],
        |file| is_part(file, "reembed-kernels/arch"),
        "only arch/ uses intrinsics",
    ),
];

/// Policies: pure functions that import only std and each other.
const POLICIES: [&str; 9] = [
    "reembed-encoder/plan.rs",
    "reembed-encoder/limit.rs",
    "reembed-encoder/budget.rs",
    "reembed-encoder/position.rs",
    "reembed-encoder/model/tokenizer/split/windows.rs",
    "reembed-encoder/model/source/retry.rs",
    "reembed/cache/eviction.rs",
    "reembed/publish/shrink.rs",
    "reembed-cli/supervisor/policy.rs",
];

#[test]
fn libraries_are_used_where_they_belong() {
    let files = sources();
    assert!(files.len() > 100, "only {} files", files.len());
    let complaints: Vec<String> =
        files.iter().flat_map(|(name, text)| complaints(name, text)).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn policies_are_pure() {
    let files = sources();
    for policy in POLICIES {
        let (_, text) = files.iter().find(|(name, _)| name == policy).expect(policy);
        let impure: Vec<String> = paths(&code(text))
            .into_iter()
            .filter(|path| path.imported && !is_pure(&path.text))
            .map(|path| path.text)
            .collect();
        assert!(impure.is_empty(), "{policy} names {impure:?}");
    }
    for (import, pure) in [
        ("std::num::NonZeroUsize", true),
        ("std::fs::File", false),
        ("std::time::Instant", false),
        ("crate::limit::BatchLimit", true),
        ("crate::memory", false),
        ("redb::Table", false),
    ] {
        assert_eq!(is_pure(import), pure, "{import}");
    }
}

/// Whether a policy may import this path: std without clocks, files, sockets and threads, or another policy.
fn is_pure(import: &str) -> bool {
    let segments: Vec<&str> = import.split("::").collect();
    match segments[..] {
        ["std", "fs" | "net" | "env" | "process" | "thread" | "io", ..] => false,
        ["std", "time", "Instant" | "SystemTime", ..] => false,
        ["std", ..] => true,
        ["crate", "limit" | "plan" | "budget", ..] => true,
        // A percentage is a range-checked number.
        ["crate", "config", "Percent"] => true,
        _ => false,
    }
}

#[test]
fn modules_import_in_one_direction() {
    for (name, root) in CRATES {
        let graph = graph(&files_of(root));
        assert!(graph.len() > 10, "{name}: only {} modules", graph.len());
        for (module, imports) in &graph {
            let imports: Vec<&str> = imports.iter().map(String::as_str).collect();
            println!("{name}: {module} -> {}", imports.join(", "));
        }
        let cycles = cycles(&graph);
        assert!(cycles.is_empty(), "{name}: modules import each other in a circle: {cycles:#?}");
    }
}

#[test]
fn a_circle_of_modules_is_found() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let files = [
        file("lib.rs", "mod a; mod b; mod c; pub use a::A;"),
        file("a.rs", "mod inner; use crate::b::B; pub use inner::C;"),
        file("a/inner.rs", "use super::A;"),
        file("b.rs", "use crate::c; use std::fmt;"),
        file("c.rs", "fn f() -> crate::b::B { crate::b::B }"),
    ];
    let graph = graph(&files);
    let imports = |module: &str| graph[module].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(imports("a"), ["a/inner", "b"]);
    assert_eq!(imports("a/inner"), ["a"]);
    assert_eq!(imports("c"), ["b"]);
    assert_eq!(cycles(&graph), [vec!["a", "a/inner"], vec!["b", "c"]]);
}

#[test]
fn each_rule_notices_what_breaks_it() {
    for (file, snippet, expected) in [
        ("reembed/reader.rs", "use crossbeam_channel::bounded;", "crossbeam_channel"),
        ("reembed/verify.rs", "use parquet::errors::ParquetError;", "parquet"),
        ("reembed/pipeline.rs", "fn f(d: &redb::Database) {}", "redb"),
        (
            "reembed-encoder/model/description.rs",
            "fn f(t: &tokenizers::Tokenizer) {}",
            "tokenizers",
        ),
        ("reembed/writer.rs", "use ::toml::Value;", "toml"),
        ("reembed-encoder/model/weights.rs", "use candle_core::Tensor;", "candle_core"),
        ("reembed-cli/report/record.rs", "use askama::Template;", "askama"),
        ("reembed-cli/commands.rs", "use signal_hook::flag;", "signal_hook"),
        ("reembed/reader.rs", "use std::{fs, thread};", "std::thread"),
        ("reembed-encoder/model.rs", "fn f() { std::env::var(\"HOME\"); }", "std::env"),
        ("reembed/publish.rs", "fn f() { std::process::exit(1) }", "std::process"),
        ("reembed-cli/report/bottleneck.rs", "use std::time::Instant;", "std::time::Instant"),
        ("reembed-kernels/f32/linear.rs", "use std::arch::asm;", "std::arch"),
    ] {
        let found = complaints(file, snippet);
        let named = found.iter().any(|complaint| complaint.contains(expected));
        assert!(named, "{file}: {snippet:?} gave {found:?}");
    }
    for (file, snippet) in [
        ("reembed/pipeline.rs", "use crossbeam_channel::bounded; use std::thread;"),
        (
            "reembed/verify.rs",
            "// use parquet::x;\n/* std::env */ const X: &str = \"std::env::var\";",
        ),
        ("reembed/verify.rs", "#[cfg(test)]\nmod tests { use std::thread; }"),
        ("reembed/cache/database.rs", "use redb::{Database, Table};"),
    ] {
        assert_eq!(complaints(file, snippet), Vec::<String>::new(), "{file}: {snippet:?}");
    }
}

#[test]
fn every_variable_that_is_named_is_known() {
    let of_settings = reembed::config::SETTINGS.iter().map(reembed::config::Setting::variable);
    let others = reembed_encoder::environment::OTHER_VARIABLES.map(str::to_owned);
    let known: BTreeSet<String> = of_settings.chain(others).collect();
    let documents = ["README.md", "BENCHMARKS.md", "CONTRIBUTING.md", "ARCHITECTURE.md"];
    let mut texts: Vec<(String, String)> = sources();
    for path in documents
        .iter()
        .map(|name| reembed_testing::repository().join(name))
        .chain(documents_below("docs"))
    {
        let text = fs::read_to_string(&path).expect("a document");
        texts.push((path.display().to_string(), text));
    }
    let mut unknown = BTreeSet::new();
    for (file, text) in &texts {
        // Names of earlier versions, and the name of what is refused.
        let text = if file.ends_with("upgrade-0.2.md") { "" } else { text };
        let shown = without_unit_tests(text);
        for name in variables(shown).filter(|name| !known.contains(*name)) {
            unknown.insert(format!("{file}: {name}"));
        }
    }
    // In builds for tests alone.
    unknown.retain(|line| !line.ends_with("REEMBED_FAILPOINTS"));
    // Of Kubernetes, which docs/operations.md warns of.
    unknown.retain(|line| !line.ends_with("operations.md: REEMBED_SERVICE_HOST"));
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// The names of variables of this program in a text.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(move |c| !is_part(c));
    words.filter(|word| word.strip_prefix("REEMBED_").is_some_and(|rest| !rest.is_empty()))
}

/// The text before the unit tests of a source.
fn without_unit_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

fn documents_below(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(reembed_testing::repository().join(directory)).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

#[test]
fn faults_on_purpose_stay_out_of_builds_for_use() {
    const FAULTS: &str = "failpoints";
    let manifest = |path: &str| -> toml::Table {
        let path = reembed_testing::repository().join(path);
        fs::read_to_string(path).expect("a manifest").parse().expect("TOML")
    };
    for path in ["Cargo.toml", "crates/cli/Cargo.toml"] {
        let manifest = manifest(path);
        let features = manifest["features"].as_table().expect("features");
        assert!(features.contains_key(FAULTS), "{path}");
        for (feature, brings) in features.iter().filter(|(feature, _)| *feature != FAULTS) {
            assert!(!brings.to_string().contains(FAULTS), "{path}: {feature}");
        }
        let dependencies = manifest["dependencies"].to_string();
        assert!(!dependencies.contains(FAULTS), "{path}");
    }
    let tests = manifest("crates/cli/Cargo.toml")["dev-dependencies"]["reembed"].to_string();
    assert!(tests.contains(FAULTS), "the tests ask for the faults");
}

/// The violations in a file, one line each.
fn complaints(file: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut found = Vec::new();
    for path in paths(&code) {
        for (names, allowed, why) in RULES {
            let begins = |name: &&str| {
                path.text
                    .strip_prefix(*name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            };
            if names.iter().any(begins) && !allowed(file) {
                let line = 1 + code[..path.at].bytes().filter(|byte| *byte == b'\n').count();
                found.push(format!("{file}:{line}: {}: {why}", path.text));
            }
        }
    }
    found
}

/// Whether a file is the module `part` or a descendant of it.
fn is_part(file: &str, part: &str) -> bool {
    file.strip_prefix(part).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// The imports of each module, by path without extension. The root is excluded: it re-exports.
fn graph(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let module = |file: &str| file.trim_end_matches(".rs").to_owned();
    let modules: BTreeSet<String> = files
        .iter()
        .map(|(file, _)| module(file))
        .filter(|module| !["lib", "main"].contains(&module.as_str()))
        .collect();
    let mut graph = BTreeMap::new();
    for (file, text) in files {
        let from = module(file);
        if !modules.contains(&from) {
            continue;
        }
        let imports: BTreeSet<String> = paths(&code(text))
            .iter()
            .filter_map(|path| resolve(&from, &path.text, &modules))
            .filter(|to| *to != from)
            .collect();
        graph.insert(from, imports);
    }
    graph
}

/// The module of a path used in `from`: the longest prefix that is a module.
fn resolve(from: &str, path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let mut segments = path.split("::").filter(|segment| !segment.is_empty()).peekable();
    let mut at: Vec<&str> = from.split('/').collect();
    match segments.peek()? {
        &"crate" => {
            at.clear();
            segments.next();
        }
        &"self" => {
            segments.next();
        }
        &"super" => {
            while segments.next_if(|segment| *segment == "super").is_some() {
                at.pop();
            }
        }
        // A child module by its name; any other name is another crate or already in scope.
        child if modules.contains(&format!("{from}/{child}")) => {}
        _ => return None,
    }
    for segment in segments {
        at.push(segment);
        if !modules.contains(&at.join("/")) {
            at.pop();
            break;
        }
    }
    let found = at.join("/");
    modules.contains(&found).then_some(found)
}

/// The import cycles, each a sorted group of modules.
fn cycles(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<&str>> {
    let reach = |start: &str| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = vec![start];
        while let Some(module) = next.pop() {
            for import in graph.get(module).into_iter().flatten() {
                if seen.insert(import.as_str()) {
                    next.push(import);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|module| (module.as_str(), reach(module))).collect();
    let mut cycles: Vec<Vec<&str>> = Vec::new();
    for (module, seen) in &reached {
        let group: Vec<&str> = seen
            .iter()
            .copied()
            .filter(|other| reached.get(other).is_some_and(|seen| seen.contains(module)))
            .collect();
        if seen.contains(module) && !cycles.contains(&group) {
            cycles.push(group);
        }
    }
    cycles
}

/// Every source file of every crate, as `crate/path.rs`.
fn sources() -> Vec<(String, String)> {
    CRATES
        .iter()
        .flat_map(|(name, root)| {
            let files = files_of(root).into_iter();
            files.map(move |(file, text)| (format!("{name}/{file}"), text))
        })
        .collect()
}

/// The source files below a directory with their relative paths, without test modules.
fn files_of(root: &str) -> Vec<(String, String)> {
    let root = reembed_testing::repository().join(root);
    let mut files = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy();
                let text = fs::read_to_string(&path).expect("a file");
                // Code compiled for the tests of other crates is test code too.
                let text = text.replace("#[cfg(any(test, feature = \"testing\"))]", "#[cfg(test)]");
                files.push((name.into_owned(), text));
            }
        }
    }
    files.sort();
    let declared = files.clone();
    files.retain(|(name, _)| !is_test_module(name, &declared));
    files
}

/// Whether a file, or a parent module of it, is declared under `#[cfg(test)]`.
fn is_test_module(name: &str, files: &[(String, String)]) -> bool {
    let parts: Vec<&str> = name.trim_end_matches(".rs").split('/').collect();
    (1..=parts.len()).any(|length| {
        let (above, module) = (&parts[..length - 1], parts[length - 1]);
        let parents = match above {
            [] => vec!["lib.rs".to_owned()],
            above => vec![format!("{}.rs", above.join("/"))],
        };
        files.iter().any(|(file, text)| {
            parents.contains(file)
                && modules(&text.replace("#[cfg(test)]", "")).contains(module)
                && !modules(text).contains(module)
        })
    })
}

/// The modules that a file declares with `mod name;`.
fn modules(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let words = words(&code);
    words
        .windows(3)
        .filter(|three| three[0].1 == "mod" && three[2].1 == ";")
        .map(|three| three[1].1.to_owned())
        .collect()
}

/// A path in the code: a single path of an import, or a path used inline.
struct CodePath {
    at: usize,
    text: String,
    imported: bool,
}

fn paths(code: &str) -> Vec<CodePath> {
    let words = words(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < words.len() {
        // `use<…>` lists the captures of a type and imports nothing.
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

/// Parses one branch of an import from the word at `at`; returns the index after it.
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

/// The tokens of the code with their offsets: names, numbers, `::`, and single characters.
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

/// The text with comments, literals and `#[cfg(test)]` items blanked; line numbers are kept.
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
            // One space per character keeps line numbers and columns.
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

/// The length of a raw string (`r"…"`, `r#"…"#` or `br#"…"#`) at the start of the text.
fn raw_string(text: &str) -> Option<usize> {
    let open = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let body = open.trim_start_matches('#');
    let hashes = &open[..open.len() - body.len()];
    let inside = body.strip_prefix('"')?;
    let close = format!("\"{hashes}");
    let end = inside.find(&close).map_or(inside.len(), |end| end + close.len());
    Some(text.len() - inside.len() + end)
}

/// The length of a character literal; `None` for a lifetime.
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
