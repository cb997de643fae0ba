//! What the keys of published rows cost, without vectors. `cargo bench --bench index`
//!
//! Generated key files of 25,000 rows are added to an index, as published tables are. For 1 and 10 million rows: bytes a
//! row, time, lookups of texts that are there and of others. `cargo bench --bench index -- 100000000` takes a hundred
//! million as well.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench prints, and ends where it cannot go on"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use reembed::published::{
    KeyFile, KeyFileWriter, KeyedColumn, PublishedTable, PublishedVectors, RowKey, ShortKey,
};
use reembed_encoder::memory;
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKeys;

const ROWS: [u64; 2] = [1_000_000, 10_000_000];
const ROWS_PER_TABLE: u64 = 25_000;
const LOOKUPS: u64 = 20_000;

fn main() {
    let most: Option<u64> = std::env::args().find_map(|argument| argument.parse().ok());
    for rows in ROWS.into_iter().chain(most) {
        measure(rows);
    }
}

fn measure(rows: u64) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (root, index) = (directory.path(), directory.path().join("index"));
    let keys = ContentKeys::new("fingerprint");
    let key = |row: u64| keys.key(&format!("task number {row}"));
    let tables = rows.div_ceil(ROWS_PER_TABLE);
    let rows = tables * ROWS_PER_TABLE;
    let published =
        PublishedVectors::of_dataset(root, &index, &[], (Vec::new(), Vec::new()), &Stop::new())
            .expect("an index");
    let mut adding = 0.0;
    let mut of_keys = 0;
    for number in 0..tables {
        let path = root.join("table.keys");
        let table = PublishedTable {
            below: PathBuf::from(format!("part={:02}/{number:05}.parquet", number % 100)),
            footer: format!("{number:032x}"),
        };
        let first = number * ROWS_PER_TABLE;
        write_keys(&path, &table.footer, (first..first + ROWS_PER_TABLE).map(key));
        of_keys += fs::metadata(&path).expect("a file").len();
        let file = KeyFile::open(&path, &table.footer).expect("keys");
        let started = Instant::now();
        published.add(&table, &file, true).expect("it is added");
        adding += started.elapsed().as_secs_f64();
    }
    let started = Instant::now();
    published.save().expect("it is saved");
    adding += started.elapsed().as_secs_f64();
    let of_index: u64 = fs::read_dir(&index)
        .expect("a directory")
        .map(|entry| entry.and_then(|entry| entry.metadata()).expect("a file").len())
        .sum();
    let lookups = |first: u64, step: u64| {
        let started = Instant::now();
        let found = (0..LOOKUPS)
            .filter(|lookup| published.has(&key(first + lookup * step)).expect("it is read"))
            .count();
        (started.elapsed().as_secs_f64() * 1e6 / LOOKUPS as f64, found as u64)
    };
    let (present, found) = lookups(0, rows / LOOKUPS);
    assert_eq!(found, LOOKUPS, "every text is there");
    let (absent, found) = lookups(rows, 1);
    assert_eq!(found, 0, "no other text is there");
    println!(
        "{rows} rows in {tables} tables: index {:.2} bytes a row, keys {:.2} bytes a row; added in {adding:.1} s \
         ({:.0} ns a row); a lookup {present:.1} µs, of an absent text {absent:.1} µs; peak memory {:.0} MB",
        of_index as f64 / rows as f64,
        of_keys as f64 / rows as f64,
        adding * 1e9 / rows as f64,
        memory::peak_rss().unwrap_or(0) as f64 / 1e6
    );
}

fn write_keys(
    path: &Path,
    footer: &str,
    keys: impl Iterator<Item = reembed_encoder::task::ContentKey>,
) {
    let column = KeyedColumn { column: "embedding".to_owned(), is_lossless: true };
    let file = fs::File::create(path).expect("a file");
    let mut writer = KeyFileWriter::new(file, vec![column]).expect("a writer");
    for key in keys {
        let key = RowKey { key: Some(ShortKey::from(&key)), measure: Some((42, false)) };
        writer.add([key]).expect("a row");
    }
    writer.finish(footer).expect("a file");
}
