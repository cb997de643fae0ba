//! What the program says at the end: results on standard output, errors on standard error.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use reembed::cache::{CacheCheck, Pruned, Stats};
use reembed::dry_run::Estimate;
use reembed::events::CacheUse;
pub use reembed::figures::{bytes, count};
use reembed::figures::{measure, percent};
use reembed::verify::{Check, Verdict};
use reembed::{Config, Error, Report};
use reembed_encoder::model::description::ModelDescription;
use reembed_encoder::model::source::ModelFiles;

use crate::bench::BenchRecord;
use crate::cli::{LogFormat, Logging};

/// Writes a result to standard output.
///
/// # Errors
/// When standard output is closed or full. Whether that matters is the caller's to say.
pub fn result(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Says an error in one line: place, sentence, causes, and what to do.
pub fn error(error: &anyhow::Error, logging: &Logging) {
    let line = one_line(error);
    match logging.log_format {
        LogFormat::Json if !logging.quiet => tracing::error!("{line}"),
        // Nobody is left to hear of a standard error that is closed.
        _ => drop(writeln!(io::stderr(), "error: {line}")),
    }
}

/// An error as one line that is safe on a terminal.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let _ = write!(line, ": {inner}");
        cause = inner.source();
    }
    if let Some(advice) = error.downcast_ref::<Error>().and_then(Error::what_to_do) {
        let _ = write!(line, " ({advice})");
    }
    safe(&line)
}

/// The text without characters that move a cursor or end a line.
pub fn safe(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || c == '\u{2028}' || c == '\u{2029}' { ' ' } else { c })
        .collect()
}

/// The configuration in force as TOML, each value with where it came from.
pub fn config(config: &Config) -> String {
    let mut text = String::new();
    let mut table = "";
    for line in &config.effective {
        let (of, key) = line.key.split_once('.').unwrap_or(("", line.key));
        if of != table {
            let gap = if table.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{of}]");
            table = of;
        }
        let _ = writeln!(text, "{key} = {}  # {}", line.value, safe(&line.origin.to_string()));
    }
    text
}

/// The summary of a run; `page` is where its report for people is.
pub fn summary(report: &Report, page: Option<&Path>) -> String {
    let work = &report.work;
    let mut lines = vec![
        (
            "rows",
            format!("{} ({} without text, null)", count(report.rows), count(report.null_rows)),
        ),
        ("vectors", vectors(report)),
        (
            "tokens",
            match work.padded_tokens - work.tokens {
                0 => format!("{} (no padding)", count(work.tokens)),
                padding => format!(
                    "{} (and {} of padding, {:.1} % real)",
                    count(work.tokens),
                    count(padding),
                    100.0 * work.padding_efficiency()
                ),
            },
        ),
        ("seconds", {
            let (run, load) = (report.elapsed.as_secs_f64(), report.model_load.as_secs_f64());
            format!("{run:.2} (and {load:.2} to load the model)")
        }),
        (
            "speed",
            format!(
                "{:.1} tasks/s, {} tokens/s",
                report.rows_per_second(),
                count(report.tokens_per_second() as u64)
            ),
        ),
        ("batch sizes", batch_sizes(report)),
        ("truncated", format!("{} rows longer than the model reads", count(report.truncated_rows))),
    ];
    if report.limit_changes > 0 {
        let now = report.limit;
        lines.push((
            "batch limit",
            format!("moved {} times, {now} at the end", report.limit_changes),
        ));
    }
    if report.replaced_column {
        lines.push(("replaced", format!("the input's column `{}`", safe(&report.column))));
    }
    if let Some(cache) = &report.cache {
        lines.push(("cache", cache_use(cache)));
    }
    if let Some(peak) = report.peak_resident {
        lines.push(("peak memory", bytes(peak)));
    }
    lines.push(("model", {
        let model = &report.lineage.model;
        format!(
            "{}, {}, fingerprint {:.12}",
            safe(&model.id),
            model.numerics,
            report.lineage.fingerprint
        )
    }));
    lines.push(("ran on", report.runs_on.clone()));
    let place = safe(&report.output.display().to_string());
    let as_it_was = if report.output_unchanged { ", unchanged" } else { "" };
    lines.push(("output", format!("{place} ({}{as_it_was})", bytes(report.output_bytes))));
    lines.extend(page.map(|page| ("report", safe(&page.display().to_string()))));
    table(&lines)
}

/// Where the vectors came from: `1,150 embedded, 40 reused (32 of them checked), 9 repeated`.
fn vectors(report: &Report) -> String {
    let origins = &report.origins;
    let mut text = format!("{} embedded", count(origins.encoded));
    if report.cache.is_some() || origins.reused > 0 {
        let _ = write!(text, ", {} reused", count(origins.reused));
        if origins.sampled > 0 {
            let _ = write!(text, " ({} embedded again: equal)", count(origins.sampled));
        }
    }
    let _ = write!(text, ", {} of repeated texts", count(origins.duplicate));
    if origins.tokens_saved > 0 {
        let _ = write!(text, "; {} tokens saved", count(origins.tokens_saved));
    }
    text
}

fn cache_use(cache: &CacheUse) -> String {
    let place = safe(&cache.path.display().to_string());
    let mut text = format!("{place} ({} vectors", count(cache.entries));
    if let Some(size) = cache.file_bytes {
        let _ = write!(text, ", {}", bytes(size));
    }
    for (number, what) in [(cache.evicted, "made place"), (cache.not_kept, "found no place")] {
        if number > 0 {
            let _ = write!(text, ", {} {what}", count(number));
        }
    }
    text + ")"
}

/// The table of `reembed cache stats`.
pub fn cache_stats(stats: &Stats) -> String {
    let mut text = table(&[
        ("cache", safe(&stats.path.display().to_string())),
        ("size", bytes(stats.file_bytes)),
        ("format", stats.format.to_string()),
        ("vectors", count(stats.entries)),
        ("runs", count(stats.runs)),
    ]);
    text.push_str("\nlast used       vectors\n");
    for (runs_ago, entries) in &stats.last_used {
        let when = match runs_ago {
            0 => "by the last run".to_owned(),
            1 => "a run before".to_owned(),
            runs => format!("{runs} runs before"),
        };
        let _ = writeln!(text, "{when:<15} {}", count(*entries));
    }
    text
}

/// What `reembed cache prune` did.
pub fn pruned(pruned: &Pruned) -> String {
    table(&[
        ("removed", count(pruned.removed)),
        ("kept", count(pruned.kept)),
        ("size", format!("{}, before {}", bytes(pruned.bytes_after), bytes(pruned.bytes_before))),
    ])
}

/// What `reembed cache verify` found.
pub fn cache_check(check: &CacheCheck) -> String {
    let advice = match check.holds() {
        true => "",
        false => {
            "\nA run embeds what is damaged or lost again. To have it whole, delete the file: the next run makes a new one.\n"
        }
    };
    table(&[
        ("vectors", count(check.entries)),
        ("damaged", count(check.damaged)),
        ("lost", count(check.lost)),
        ("pages", if check.pages_hold { "ok" } else { "WRONG" }.to_owned()),
    ]) + advice
}

/// Batch sizes from the most frequent down, as `32 × 37`; where hardly two are alike, what they lie between.
fn batch_sizes(report: &Report) -> String {
    const MOST: usize = 6;
    let mut sizes: Vec<(usize, u64)> =
        report.work.batch_sizes.iter().map(|(rows, batches)| (*rows, *batches)).collect();
    if sizes.is_empty() {
        return "none".to_owned();
    }
    if let ([(least, _), .., (most, _)], true) = (&sizes[..], sizes.len() > MOST) {
        let batches: u64 = sizes.iter().map(|(_, batches)| batches).sum();
        return format!("{least} to {most} rows, {} batches", count(batches));
    }
    sizes.sort_by_key(|(rows, batches)| std::cmp::Reverse((*batches, *rows)));
    let text: Vec<String> =
        sizes.iter().map(|(rows, batches)| format!("{rows} × {batches}")).collect();
    format!("{} (rows × batches)", text.join(", "))
}

/// The table of `reembed bench`.
pub fn bench(record: &BenchRecord) -> String {
    let corpus = &record.corpus;
    let mut text = format!(
        "{} rows, {} tokens; median of {} repeats, interleaved\n",
        count(corpus.rows),
        count(corpus.tokens),
        record.repeats,
    );
    for subject in &record.subjects {
        let rows = match subject.rows == corpus.rows {
            true => String::new(),
            false => format!(", on {} rows, for it is slow", count(subject.rows)),
        };
        let _ = writeln!(
            text,
            "\n{:<15} {:>8} {:>8} {:>9} {:>9} {:>7} {:>8} {:>8} {:>9} {:>9}",
            subject.name,
            "tasks/s",
            "ms/task",
            "tokens/s",
            "speed-up",
            "spread",
            "real",
            "of peak",
            "peak",
            "max |Δ|"
        );
        for mode in &subject.modes {
            let share = |share: Option<f64>| share.map_or("–".to_owned(), percent);
            let _ = writeln!(
                text,
                "{:<15} {:>8} {:>8.2} {:>9.0} {:>8.2}× {:>6.2}× {:>8} {:>8} {:>9} {:>9.1e}",
                mode.name,
                measure(mode.tasks_per_second),
                mode.ms_per_task,
                mode.tokens_per_second,
                mode.speed_up.unwrap_or(1.0),
                mode.spread,
                percent(mode.padding_efficiency),
                share(mode.of_peak),
                mode.peak_resident.map_or("–".to_owned(), bytes),
                mode.largest_difference,
            );
        }
        let _ = writeln!(text, "{} on {}{rows}", subject.numerics, subject.runs_on);
    }
    text.push('\n');
    for acceptance in &record.acceptance {
        let _ = writeln!(text, "{}", acceptance.sentence());
    }
    for subject in &record.subjects {
        let promise = match subject.batch_invariant {
            true => "every vector has the same bits in every batch".to_owned(),
            false => format!(
                "no component moved by more than {:.0e} between batches",
                crate::bench::TOLERANCE
            ),
        };
        let compared = match (subject.lowest_cosine, subject.largest_difference) {
            (Some(cosine), Some(difference)) => format!(
                "; against {}: cosine at least {cosine:.7}, components within {difference:.1e}",
                record.subjects[0].name
            ),
            _ => String::new(),
        };
        let _ = writeln!(text, "Verified of {}: {promise}{compared}.", subject.name);
    }
    if let Some(tfidf) = record.tfidf {
        let _ = writeln!(
            text,
            "TF-IDF takes {} tasks/s: {} times as many as the fastest mode.",
            measure(tfidf.tasks_per_second),
            measure(tfidf.times)
        );
    }
    for peer in &record.peers {
        let _ =
            writeln!(text, "{:>9} tasks/s  {}", measure(peer.tasks_per_second), safe(&peer.name));
    }
    if !record.memory.is_empty() {
        let _ = writeln!(
            text,
            "\n{:<15} {:>7} {:>7} {:>10} {:>10} {:>10} {:>8}",
            "memory", "tokens", "texts", "measured", "predicted", "a text", "ratio"
        );
        for line in &record.memory {
            let _ = writeln!(
                text,
                "{:<15} {:>7} {:>7} {:>10} {:>10} {:>10} {:>8.2}",
                line.engine,
                line.length,
                line.rows,
                bytes(line.measured),
                bytes(line.predicted),
                bytes(line.measured_per_row.round() as u64),
                line.ratio
            );
        }
        let verdict = match record.prices_hold() {
            true => "Every price is within 15 % of what the batch takes.",
            false => "A price is off by more than 15 %.",
        };
        let _ = writeln!(text, "{verdict}");
    }
    text
}

/// What `--dry-run` found.
pub fn estimate(estimate: &Estimate) -> String {
    let work = &estimate.work;
    let size = |size: Option<u64>| size.map_or("not counted".to_owned(), bytes);
    table(&[
        ("rows", format!("{} ({} without text)", count(estimate.rows), count(estimate.empty_rows))),
        ("tokens", format!("{} ({} computed)", count(work.tokens), count(work.padded_tokens))),
        (
            "truncated",
            format!("{} rows longer than the model reads", count(estimate.truncated_rows)),
        ),
        (
            "batches",
            format!("{} of at most {}", work.batch_sizes.values().sum::<u64>(), estimate.limit),
        ),
        (
            "largest batch",
            format!(
                "{} rows of up to {} tokens, {} (limit {})",
                estimate.largest.rows,
                estimate.largest.longest,
                size(estimate.largest_bytes),
                size(estimate.budget)
            ),
        ),
        ("vectors", bytes(estimate.vector_bytes)),
        ("time", format!("about {:.0} s, by a short trial", estimate.duration.as_secs_f64())),
        ("model", safe(&estimate.lineage.model.id)),
        ("written", "nothing (--dry-run)".to_owned()),
    ])
}

/// The table of `reembed verify`.
pub fn checks(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.what.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Check { what, found, verdict } in checks {
        let verdict = match verdict {
            Verdict::Holds => "ok",
            Verdict::Broken => "WRONG",
            Verdict::Skipped => "-",
        };
        let _ = writeln!(text, "{verdict:<5}  {what:<width$}  {}", safe(found));
    }
    text
}

/// What `reembed model show` found.
pub fn model(id: &str, files: &ModelFiles, description: &ModelDescription) -> String {
    let bert = &description.bert;
    let length = if description.normalize { "1" } else { "as it comes" };
    let mut text = table(&[
        ("model", safe(id)),
        ("from", files.origin.to_string()),
        ("directory", safe(&files.directory.display().to_string())),
        ("dimension", bert.hidden.to_string()),
        ("max length", format!("{} tokens", description.max_seq_length)),
        ("pooling", description.pooling.name().to_owned()),
        ("vector length", length.to_owned()),
        ("prompt", format!("{:?}", description.prompt)),
        (
            "transformer",
            format!(
                "BERT, {} layers, {} heads, feed-forward {}, vocabulary {}",
                bert.layers, bert.heads, bert.intermediate, bert.vocab_size
            ),
        ),
    ]);
    text.push_str("\nSHA-256\n");
    for (name, hash) in files.hashes() {
        let _ = writeln!(text, "{hash}  {}", safe(&name));
    }
    text
}

/// Lines of `name  value`, the names in one column.
pub fn table(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:<width$}  {value}\n");
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_its_causes_say() {
        let cause = std::io::Error::other("line one\nline two \u{1b}[2J");
        let error = Error::new(reembed::ErrorKind::Data, "bad").advice("mend it").caused_by(cause);
        assert_eq!(one_line(&error.into()), "bad: line one line two  [2J (mend it)");
    }
}
