//! Bad and unusual input: `reembed run` succeeds or prints a one-line error with the cause and the place. It
//! never panics, hangs or exceeds the memory bound, and never publishes a wrong file.
//!
//! A test compares the outcomes with the table in `tests/program/bad-input.md`. To update it:
//! `UPDATE_SNAPSHOTS=1 cargo test --test program bad_input`.

mod case;
mod configs;
mod container;
mod forge;
mod metadata;
mod models;
mod pages;
mod paths;
mod rows;
mod schema;
mod sizes;
mod string_views;
mod table;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::sync::OnceLock;

use case::{Case, Observed};

/// A group of cases; the first test that needs it runs it.
struct Topic {
    title: &'static str,
    cases: fn() -> Vec<Case>,
    observed: OnceLock<Vec<Observed>>,
}

impl Topic {
    const fn new(title: &'static str, cases: fn() -> Vec<Case>) -> Self {
        Topic { title, cases, observed: OnceLock::new() }
    }

    fn observed(&self) -> &[Observed] {
        self.observed.get_or_init(|| case::observe_all(&(self.cases)()))
    }

    fn assert(&self) {
        let observed = self.observed();
        let slowest = observed.iter().max_by_key(|case| case.elapsed).expect("a case");
        let largest = observed.iter().max_by_key(|case| case.peak).expect("a case");
        println!(
            "{}: {} cases; slowest: {}, {:.1} s; largest: {}, {} MiB",
            self.title,
            observed.len(),
            slowest.name,
            slowest.elapsed.as_secs_f64(),
            largest.name,
            largest.peak >> 20,
        );
        let mut report = String::new();
        for case in observed.iter().filter(|case| !case.problems.is_empty()) {
            let _ = writeln!(report, "\n{} ({}):", case.name, case.made);
            for problem in &case.problems {
                let _ = writeln!(report, "    {problem}");
            }
        }
        assert!(report.is_empty(), "{}:\n{report}", self.title);
    }
}

static CONTAINER: Topic = Topic::new("Container", container::cases);
static METADATA: Topic = Topic::new("Metadata", metadata::cases);
static PAGES: Topic = Topic::new("Pages", pages::cases);
static SCHEMA: Topic = Topic::new("Schema", schema::cases);
static ENCODINGS: Topic = Topic::new("Encodings", string_views::cases);
static ROWS: Topic = Topic::new("Rows", rows::cases);
static SIZES: Topic = Topic::new("Sizes", sizes::cases);
static PATHS: Topic = Topic::new("Paths", paths::cases);
static MODELS: Topic = Topic::new("Model directories", models::cases);
static CONFIGS: Topic = Topic::new("Configurations", configs::cases);

static TOPICS: [&Topic; 10] =
    [&CONTAINER, &METADATA, &PAGES, &SCHEMA, &ENCODINGS, &ROWS, &SIZES, &PATHS, &MODELS, &CONFIGS];

#[test]
fn a_file_that_is_no_parquet_file_is_refused() {
    CONTAINER.assert();
}

#[test]
fn a_footer_that_lies_is_found_out() {
    METADATA.assert();
}

#[test]
fn a_damaged_page_is_named_with_row_group_and_column() {
    PAGES.assert();
}

#[test]
fn a_schema_that_cannot_do_is_refused_with_its_column() {
    SCHEMA.assert();
}

#[test]
fn good_rows_get_through_in_any_encoding() {
    ENCODINGS.assert();
}

#[test]
fn odd_rows_get_through() {
    ROWS.assert();
}

#[test]
fn a_small_file_that_decodes_to_gigabytes_takes_little_memory() {
    SIZES.assert();
}

#[test]
fn odd_paths_work_or_are_refused() {
    PATHS.assert();
}

#[test]
fn a_broken_model_directory_is_refused_with_its_file() {
    MODELS.assert();
}

#[test]
fn a_broken_configuration_is_refused_with_its_key() {
    CONFIGS.assert();
}

/// The good file with a single bit flipped, at places from its first byte to its last.
#[test]
fn a_flipped_bit_anywhere_does_no_harm() {
    const FLIPS: usize = 150;
    let good = [table::Table::tasks(6).bytes(), forge::Forged::tasks().bytes()];
    let cases: Vec<Case> = (0..FLIPS)
        .map(|flip| {
            let mut file = good[flip % 2].clone();
            let at = flip * (file.len() - 1) / (FLIPS - 1);
            file[at] ^= 1 << (flip / 2 % 8);
            let name = format!("bit {} of byte {at}", flip / 2 % 8);
            case::input(name.leak(), "a good file", case::Expect::Either, move || file.clone())
        })
        .collect();
    let mut report = String::new();
    for case in case::observe_all(&cases).iter().filter(|case| !case.problems.is_empty()) {
        let _ = writeln!(report, "{}: {:?}", case.name, case.problems);
    }
    assert!(report.is_empty(), "{report}");
}

#[test]
fn every_case_has_its_own_name() {
    for topic in TOPICS {
        let cases = (topic.cases)();
        let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len(), "{}", topic.title);
    }
}

#[test]
fn the_table_in_the_docs_is_what_was_seen() {
    let seen = rendered();
    let path = reembed_testing::repository().join("tests/program/bad-input.md");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(&path, &seen).expect("tests/program/bad-input.md");
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let change = written.lines().zip(seen.lines()).find(|(written, seen)| written != seen);
    assert!(
        written == seen,
        "tests/program/bad-input.md is not what was seen; first change: {change:?}\n\
         mend it with `UPDATE_SNAPSHOTS=1 cargo test --test program bad_input`"
    );
}

fn rendered() -> String {
    let count: usize = TOPICS.iter().map(|topic| topic.observed().len()).sum();
    let mut text = format!(
        "# What bad input gets\n\n\
         {count} bad and odd inputs and what `reembed run` makes of them. The table is written by \
         `tests/program/bad_input.rs`, which runs every case against the real program: after a change, \
         `UPDATE_SNAPSHOTS=1 cargo test --test program bad_input`.\n\n\
         No case panics, hangs, dies by a signal, takes longer than {} s or holds more than {} MiB \
         (in the development profile). After a failure the target is as it was and no other file is left; after a \
         success `reembed verify` agrees. Directories are left out of the messages.\n\n\
         A file may decode to 1 GiB and 1000 times its size, by default (`input.decode_limit`): \
         a run's memory is bounded by its chunks and not by this, so a sound file that is refused \
         needs nothing but a higher limit. docs/decisions/0015-decode-limit.md says why.\n\n\
         Exit 1: failed while it was read. Exit 2: refused before any work, also for its model.\n",
        case::MOST_SECONDS,
        case::MOST_RESIDENT >> 20,
    );
    for topic in TOPICS {
        let _ = write!(
            text,
            "\n## {}\n\n| case | what it is | outcome | what is said |\n",
            topic.title
        );
        text.push_str("|---|---|---|---|\n");
        for case in topic.observed() {
            let cells = [case.name, case.made, &case.outcome, &case.message].map(cell);
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    text
}

/// Text escaped for a table cell, shortened if it is very long.
fn cell(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut cell = String::new();
    for c in text.chars().take(LONGEST) {
        match c {
            '|' | '\\' | '<' | '>' | '*' | '_' | '[' | ']' => cell.extend(['\\', c]),
            '\n' => cell.push_str("; "),
            _ => cell.push(c),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        cell.push('…');
    }
    cell
}
