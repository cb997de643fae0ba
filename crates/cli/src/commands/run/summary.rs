//! The results of `reembed run` as text.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::path::Path;

use reembed::config::{OPTIONAL_COLUMNS, Origin};
use reembed::dry_run::{ColumnEstimate, Estimate};
use reembed::events::{CacheUse, ColumnReport, TableCounts};
use reembed::figures::{bytes, count};
use reembed::{Config, Report};

use crate::answer::{Counts, EstimateAnswer};
use crate::text::{printable, printable_path, table};

/// The summary of a run. `page` is the path of its report.
pub fn run(report: &Report, page: Option<&Path>) -> String {
    let elapsed = report.elapsed.as_secs_f64();
    let load = match report.model_load {
        Some(load) => format!("plus {:.2} to load the model", load.as_secs_f64()),
        None => "the model was not needed".to_owned(),
    };
    let mut lines = vec![
        ("rows", rows(report)),
        ("vectors", vectors(report)),
        ("tokens", tokens(report)),
        ("seconds", format!("{elapsed:.2} ({load})")),
        (
            "speed",
            format!(
                "{:.1} tasks/s, {} tokens/s",
                report.rows_per_second(),
                count(report.tokens_per_second() as u64)
            ),
        ),
        ("batch sizes", batch_sizes(report)),
        ("truncated", format!("{} rows", count(report.truncated_rows()))),
    ];
    if let Some(counts) = &report.tables {
        lines.insert(0, ("tables", tables(counts)));
    }
    if report.repeated_ids > 0 {
        let what = "have the id of an earlier row";
        lines.push(("repeated ids", format!("{} rows {what}", count(report.repeated_ids))));
    }
    if let (changes @ 1.., Some(limit)) = (report.limit_changes, report.first().limit) {
        lines.push(("batch limit", format!("changed {changes} times, {limit} at the end")));
    }
    for column in report.columns.iter().filter(|column| column.replaced_column) {
        lines.push(("replaced", format!("column `{}` of the input", printable(&column.column))));
    }
    lines.extend(report.cache.as_ref().map(|cache| ("cache", cache_use(cache))));
    lines.extend(report.peak_resident.map(|peak| ("peak memory", bytes(peak))));
    for column in &report.columns {
        let ColumnReport { column: name, form, lineage, runs_on, .. } = column;
        let model = &lineage.model;
        let (id, fingerprint) = (printable(&model.id), &lineage.fingerprint);
        let model = format!("{id}, {}, fingerprint {fingerprint:.12}", model.numerics);
        let name = format!("`{}`, {form}", printable(name));
        lines.extend(match report.columns.len() {
            1 => [("model", model), ("device", runs_on.clone()), ("column", name)],
            _ => [
                ("column", name),
                ("  model", format!("{model}, {runs_on}")),
                ("  vectors", column_vectors(column)),
            ],
        });
    }
    let unchanged = if report.output_unchanged { ", unchanged" } else { "" };
    let output = printable_path(&report.output);
    lines.push(("output", format!("{output} ({}{unchanged})", bytes(report.output_bytes))));
    lines.extend(page.map(|page| ("report", printable_path(page))));
    table(&lines)
}

/// `400 (20 published, 380 unchanged)`.
fn tables(counts: &TableCounts) -> String {
    let numbers = [
        (counts.published - counts.same_bytes.min(counts.published), "published"),
        (counts.unchanged + counts.same_bytes, "unchanged"),
        (counts.failed, "failed"),
        (counts.not_tried, "not tried"),
        (counts.under_way, "under way in other shards"),
        (counts.listed - counts.taken.min(counts.listed), "not taken"),
        (counts.gone - counts.deleted.min(counts.gone), "without an input"),
        (counts.deleted, "deleted"),
    ];
    let told = numbers.iter().filter(|(number, _)| *number > 0);
    let told: Vec<String> =
        told.map(|(number, what)| format!("{} {what}", count(*number))).collect();
    format!("{} ({})", count(counts.listed), told.join(", "))
}

/// `1,200 (3 without text, null)`.
fn rows(report: &Report) -> String {
    let empty = match report.dropped_rows {
        0 if report.columns.len() > 1 => String::new(),
        0 => format!("{} without text, null", count(report.null_rows())),
        dropped => format!("{} without text, dropped", count(dropped)),
    };
    let limit = report.limit_rows.map(|limit| format!("; only the first {} read", count(limit)));
    let chunks = report.input_rows.map(|rows| format!("chunks of {} rows; ", count(rows)));
    let notes = format!("{}{empty}{}", chunks.unwrap_or_default(), limit.unwrap_or_default());
    match notes.trim_matches([';', ' ']) {
        "" => count(report.rows),
        notes => format!("{} ({notes})", count(report.rows)),
    }
}

/// `1,150 embedded, 40 reused, 9 duplicates, 1 null`: of one of several vector columns.
fn column_vectors(column: &ColumnReport) -> String {
    let origins = &column.origins;
    let numbers = [
        (origins.encoded, "embedded"),
        (origins.reused, "reused"),
        (origins.duplicate, "duplicates"),
        (column.null_rows, "null"),
    ];
    let parts = numbers.iter().filter(|(number, _)| *number > 0);
    let parts: Vec<String> =
        parts.map(|(number, what)| format!("{} {what}", count(*number))).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// `1,150 embedded, 40 reused (32 recomputed: equal), 9 duplicates; 689 tokens saved`.
fn vectors(report: &Report) -> String {
    let origins = report.origins();
    let mut text = format!("{} embedded", count(origins.encoded));
    if report.cache.is_some() || origins.reused > 0 {
        let _ = write!(text, ", {} reused", count(origins.reused));
        if origins.sampled > 0 {
            let _ = write!(text, " ({} recomputed: equal)", count(origins.sampled));
        }
    }
    let _ = write!(text, ", {} duplicates", count(origins.duplicate));
    if origins.tokens_saved > 0 {
        let _ = write!(text, "; {} tokens saved", count(origins.tokens_saved));
    }
    text
}

fn tokens(report: &Report) -> String {
    let work = report.work();
    match work.padded_tokens - work.tokens {
        0 => format!("{} (no padding)", count(work.tokens)),
        padding => format!(
            "{} (plus {} of padding, {:.1} % real)",
            count(work.tokens),
            count(padding),
            100.0 * work.padding_efficiency()
        ),
    }
}

/// `32 × 37, 16 × 2 (rows × batches)`, the most frequent size first; the range if there are many sizes.
fn batch_sizes(report: &Report) -> String {
    const MAX_SIZES: usize = 6;
    let mut sizes: Vec<(usize, u64)> =
        report.work().batch_sizes.iter().map(|(rows, batches)| (*rows, *batches)).collect();
    if sizes.is_empty() {
        return "none".to_owned();
    }
    if let ([(min, _), .., (max, _)], true) = (&sizes[..], sizes.len() > MAX_SIZES) {
        let batches: u64 = sizes.iter().map(|(_, batches)| batches).sum();
        return format!("{min} to {max} rows, {} batches", count(batches));
    }
    sizes.sort_by_key(|(rows, batches)| Reverse((*batches, *rows)));
    let text: Vec<String> =
        sizes.iter().map(|(rows, batches)| format!("{rows} × {batches}")).collect();
    format!("{} (rows × batches)", text.join(", "))
}

/// `.tasks.parquet.reembed-store (1,200 vectors, 2.1 MB, 3 evicted)`.
fn cache_use(cache: &CacheUse) -> String {
    let mut text = format!("{} ({} vectors", printable_path(&cache.path), count(cache.entries));
    if let Some(size) = cache.file_bytes {
        let _ = write!(text, ", {}", bytes(size));
    }
    for (number, what) in [(cache.evicted, "evicted"), (cache.not_stored, "not stored (full)")] {
        if number > 0 {
            let _ = write!(text, ", {} {what}", count(number));
        }
    }
    text + ")"
}

/// The result of `--dry-run`.
pub fn estimate(estimate: &Estimate, tables: Option<&TableCounts>) -> String {
    let mut lines = Vec::new();
    if let Some(TableCounts { listed, taken, published, unchanged, under_way, .. }) = tables {
        let not_taken = match listed - taken.min(listed) {
            0 => String::new(),
            number => format!(", {} not taken", count(number)),
        };
        let split = match under_way {
            0 => String::new(),
            number => format!("{} to embed in part, ", count(*number)),
        };
        let (published, unchanged) = (count(*published), count(*unchanged));
        let text = format!(
            "{} ({published} to publish, {split}{unchanged} unchanged{not_taken})",
            count(*listed)
        );
        lines.push(("tables", text));
    }
    for column in &estimate.columns {
        let ColumnEstimate { work, largest, .. } = column;
        let size = |size: Option<u64>| size.map_or("unknown".to_owned(), bytes);
        if estimate.columns.len() > 1 {
            lines.push(("column", format!("`{}`", printable(&column.column))));
        }
        let rows = (count(estimate.rows), count(column.empty_rows));
        let chunks = estimate.chunks.map(|chunks| format!("; {} chunks", count(chunks)));
        let chunks = chunks.unwrap_or_default();
        lines.extend([
            ("rows", format!("{} ({} without text{chunks})", rows.0, rows.1)),
            ("vectors", expected_vectors(column)),
            (
                "tokens",
                format!("{} ({} with padding)", count(work.tokens), count(work.padded_tokens)),
            ),
            ("truncated", format!("{} rows", count(column.truncated_rows))),
            (
                "batches",
                format!("{} of at most {}", work.batch_sizes.values().sum::<u64>(), column.limit),
            ),
            (
                "largest batch",
                format!(
                    "{} rows of up to {} tokens, {} (limit {})",
                    largest.rows,
                    largest.longest,
                    size(column.largest_bytes),
                    size(column.budget)
                ),
            ),
            ("time", format!("about {:.0} s, from a short trial", column.duration.as_secs_f64())),
            ("model", printable(&column.lineage.model.id)),
        ]);
        lines.extend(column.preview.iter().map(|(row, text)| ("text", preview(row, text))));
    }
    let (output, cache) = (bytes(estimate.output_bytes), bytes(estimate.cache_growth));
    lines.push((
        "disk",
        format!("about {output} for the output, {cache} more for the vector cache"),
    ));
    if estimate.columns.len() > 1 {
        let seconds = estimate.duration().as_secs_f64();
        lines.push(("time of all", format!("about {seconds:.0} s")));
    }
    lines.push(("written", "nothing (--dry-run)".to_owned()));
    table(&lines)
}

/// `12 to embed (18.4 KB), 1,180 reused, 8 duplicates`.
fn expected_vectors(column: &ColumnEstimate) -> String {
    format!(
        "{} to embed ({}), {} reused, {} duplicates",
        count(column.work.rows),
        bytes(column.vector_bytes),
        count(column.reused_rows),
        count(column.duplicate_rows)
    )
}

/// The rows that a run would have, by where their vectors would come from.
pub fn expected_counts(estimate: &Estimate) -> Counts {
    let columns = &estimate.columns;
    Counts {
        rows: estimate.chunks.unwrap_or(estimate.rows),
        input_rows: estimate.rows,
        embedded: columns.iter().map(|column| column.work.rows).sum(),
        reused: columns.iter().map(|column| column.reused_rows).sum(),
        duplicates: columns.iter().map(|column| column.duplicate_rows).sum(),
        empty: columns.iter().map(|column| column.empty_rows).sum(),
        truncated: columns.iter().map(|column| column.truncated_rows).sum(),
    }
}

/// The cost of a run.
pub fn expected_cost(estimate: &Estimate) -> EstimateAnswer {
    let columns = &estimate.columns;
    EstimateAnswer {
        tokens: columns.iter().map(|column| column.work.tokens).sum(),
        seconds: estimate.duration().as_secs_f64(),
        vector_bytes: columns.iter().map(|column| column.vector_bytes).sum(),
        output_bytes: estimate.output_bytes,
        cache_growth: estimate.cache_growth,
    }
}

/// `row 1 (id T-1): "Fix the login\nIt fails."`, without the end of a long text.
fn preview(row: &str, text: &str) -> String {
    const MAX_CHARS: usize = 200;
    let shown: String = text.chars().take(MAX_CHARS).collect();
    let cut = if text.chars().nth(MAX_CHARS).is_some() { "…" } else { "" };
    format!("{row}: {shown:?}{cut}")
}

/// The configuration in force as TOML, with the origin of each value.
pub fn config(config: &Config) -> String {
    let mut text = String::new();
    let mut table = String::new();
    for line in &config.effective {
        let (key, line_table) = match line.block {
            // Keys of a block have their table: a block holds several.
            Some(number) => match line.key {
                "output.column" => ("column", format!("[embedding] {number}")),
                key => (key, format!("[embedding] {number}")),
            },
            None => {
                let (line_table, key) = line.key.split_once('.').unwrap_or(("", line.key));
                (key, format!("[{line_table}]"))
            }
        };
        if line_table != table {
            let gap = if table.is_empty() { "" } else { "\n" };
            let head = if line.block.is_some() { "[[embedding]]" } else { &line_table };
            let _ = writeln!(text, "{gap}{head}");
            table = line_table;
        }
        let origin = printable(&line.origin.to_string());
        // A column that is set must exist, so that a default may not be set.
        let is_optional = line.origin == Origin::Default && OPTIONAL_COLUMNS.contains(&line.key);
        let (mark, note) = if is_optional { ("# ", ", if the table has it") } else { ("", "") };
        let _ = writeln!(text, "{mark}{key} = {}  # {origin}{note}", line.value);
    }
    text
}
