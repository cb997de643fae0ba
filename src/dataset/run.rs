//! Runs a dataset: the tables that changed, one after the other through one model and one cache.
//!
//! ```text
//!   table 7   …read…│ embedded, written │ published           a few tables are in flight at once,
//!   table 8      read ahead…            │ embedded, written │ …    but the model works on one
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use reembed_encoder::error::{Error, Result};
use reembed_encoder::events::EncodeEvent;
use reembed_encoder::memory;
use reembed_encoder::stop::Stop;

use super::checks::{check_columns, check_gone, check_texts, first_existing};
use super::comparison::Plan;
use super::directories::TableDirectories;
use super::failures::FailedTable;
use super::inputs::Dataset;
use super::journal::{self, Journal};
use super::known::Known;
use super::lock::DatasetLock;
use super::manifest::{ColumnRecord, FailedRecord, Manifest, TableRecord};
use super::outputs::{delete_outputs, remove_success_file, write_success_file};
use super::places::Places;
use super::published::{self, Releases};
use super::settings::settings_digest;
use super::split::split_tables;
use super::sweep::{sweep_table, sweep_unknown};
use super::tables::{Run, Work};
use super::tally::Tally;
use super::warnings::TableWarnings;
use crate::cache::{CacheReadyToPublish, Coverage, VectorCache};
use crate::config::{Carry, Config, OnMissing};
use crate::events::{ColumnReport, Event, Report, TableCounts};
use crate::footer::Lineage;
use crate::pipeline::{
    BatchWishes, Encoders, Heard, LazyInference, Models, RunOptions, StageClocks, announce, sum,
};
use crate::vectors::VectorForm;

/// The result of a run over a dataset.
#[derive(Debug)]
pub struct DatasetReport {
    /// The sums over all tables that are in place.
    pub report: Report,
    /// The tables that could not be published.
    pub failed: Vec<FailedTable>,
}

/// Publishes every table of a dataset that is not in place, and writes the manifest.
///
/// `on_event` is called from several threads. Tables that fail do not end the run: the report names them.
///
/// # Errors
/// What concerns all tables: `Locked`, `Target`, `OtherModel`, the model's and the cache's errors; `Stopped` after
/// a stop request or the deadline. What was published until then stays, and the next run goes on from there.
pub fn run(
    dataset: &Dataset,
    run_id: &str,
    options: RunOptions,
    stop: &Stop,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<DatasetReport> {
    let started = Instant::now();
    let deadline = options.deadline.or(dataset.config.run.deadline);
    let stop = &stop.with_deadline(deadline.and_then(|time| started.checked_add(time)));
    let heard = Heard::default();
    let on_event = |event: Event| {
        heard.note(&event);
        on_event(event);
    };
    let _lock = DatasetLock::acquire(&dataset.places, options.lock)?;
    let mut known = Known::read(dataset)?;
    known.check_root(dataset)?;
    let config = &dataset.config;
    let existing = first_existing(dataset)?;
    let (existing_path, existing) = &existing;
    // A run over unchanged tables writes to no file, so that the cache is repaired only where it may decide.
    let repairs = existing.id().is_none() || config.run.replaces_other_vectors();
    let models = Models::find(config, existing, repairs, stop, &on_event)?;
    let columns =
        check_columns(config, existing, &models).map_err(|error| error.in_file(existing_path))?;
    let settings = settings_digest(config, &columns);
    let split = split_tables(dataset, &mut known, &settings);
    let plan = Plan::new(dataset, &known, &settings).without(&split);
    let begins = !plan.publish.is_empty() || !split.is_empty();
    let deletes = config.dataset.on_missing == OnMissing::Delete;
    if deletes {
        check_gone(known.tables.values(), &plan.gone, config.publish.max_shrink)
            .map_err(|error| error.in_file(dataset.places.root()))?;
    }
    check_texts(dataset, &plan)?;
    // The others are swept under their locks.
    let left_alone = plan.unchanged.iter().chain(&plan.gone);
    left_alone.for_each(|record| sweep_table(&dataset.places, &record.path));
    sweep_unknown(dataset, &known);

    let releases = published::releases(config, &dataset.places);
    let cache = match begins {
        false => None,
        true => {
            let place = &config.output.place;
            VectorCache::open(&config.cache, place, config.run.rebuild, stop, &on_event)?
        }
    };
    let published = match begins {
        false => None,
        true => published::open(dataset, &known, stop)?,
    };
    if let (Some(cache), Some(published)) = (&cache, &published)
        && releases
        && !config.run.rebuild
        && published::may_hold_published(dataset, &known)
    {
        published::sweep(cache, published, stop)?;
    }
    announce(&models, cache.as_ref(), &on_event)?;
    let mut report =
        Report::without_tables(dataset.places.root(), report_columns(config, &models, &columns));
    let splits = config.embeddings.first.text.chunk().is_some();
    plan.unchanged
        .iter()
        .for_each(|record| report.add(&report_of_unchanged(record, &report, splits)));
    let unchanged = plan.unchanged.iter().map(|record| record.input_rows).sum();
    let of_others = split.iter().filter(|one| !one.is_taken).count();
    let counts = TableCounts {
        listed: dataset.listing.tables.len() as u64,
        taken: (dataset.taken.len() + of_others) as u64,
        unchanged: plan.unchanged.len() as u64,
        ..TableCounts::default()
    };
    on_event(Event::Tables(counts));
    told_of_unchanged(&report, unchanged, &on_event);

    let in_place = plan.kept.iter().chain(&plan.earlier);
    let records: BTreeMap<PathBuf, TableRecord> = in_place
        .map(|record| TableRecord { input_is_gone: false, ..(*record).clone() })
        .map(|record| (record.path.clone(), record))
        .collect();
    let mut tally = Tally::new(report, counts, records);
    let clocks = StageClocks::default();
    let mut totals = (0, 0);
    let changes = begins || (deletes && !plan.gone.is_empty());
    let journal = match changes {
        true => {
            remove_success_file(dataset.places.root())?;
            Some(Journal::start(&dataset.places.journal(), &known.journal)?)
        }
        false => None,
    };
    if let Some(journal) = journal.as_ref().filter(|_| begins) {
        let on_encode = |event: EncodeEvent| on_event(event.into());
        let wishes = BatchWishes::new(config, options.memory_limit, &models);
        let inferences = LazyInference::all(&models, wishes, stop, &on_event, &on_encode);
        let commit_rows = config.cache.commit_rows;
        let (cache, published) = (cache.as_ref(), published.as_ref());
        let encoders = Encoders::new(&models, &inferences, cache, published, commit_rows);
        let run = Run {
            dataset,
            run_id,
            settings: &settings,
            columns: &columns,
            models: &models,
            encoders: &encoders,
            journal,
            directories: TableDirectories::new(dataset.places.root()),
            releases: cache.filter(|_| releases && !config.run.rebuild).map(Releases::new),
            clocks: &clocks,
            warnings: TableWarnings::default(),
            stop,
            on_event: &on_event,
        };
        // Ranges first, since other shards may wait for them.
        let ranges = split.iter().flat_map(Work::ranges);
        let whole = plan.publish.iter().map(|(table, _)| Work::Publish(table));
        tally.add(run.tables(&ranges.chain(whole).collect::<Vec<_>>()));
        tally.add(run.tables(&tally.complete(&split, config.dataset.fail_fast)));
        tally.add_split(&split, &settings);
        run.warnings.tell_counts(&on_event);
        match encoders.commit() {
            Ok(of_cache) => {
                totals = sum(of_cache, encoders.displaced());
                let rest = run.releases.as_ref().map_or(Ok(()), Releases::take_due);
                tally.ended = tally.ended.and(rest);
            }
            Err(error) => tally.ended = tally.ended.and(Err(error)),
        }
        if let Some(published) = published {
            tally.ended = tally.ended.and(published.save());
        }
        if let (Some(cache), Some(published)) = (cache, published)
            && releases
            && config.run.rebuild
            && tally.ended.is_ok()
            && tally.failed.is_empty()
        {
            tally.ended = published::sweep(cache, published, stop);
        }
    }
    let Tally { mut report, mut counts, mut records, failed, under_way, ended, .. } = tally;
    // What stands in tables is not in the cache, so that a run need not have used it.
    let needs_none = releases
        && columns.iter().all(|(_, form)| form.is_lossless())
        && matches!(config.carry(u64::MAX), Ok(Carry::Copy));
    let is_whole = (plan.kept.is_empty() || needs_none)
        && split.is_empty()
        && failed.is_empty()
        && ended.is_ok();
    let coverage = if is_whole { Coverage::EveryRow } else { Coverage::ChangedTables };
    let cache = cache.map(|cache| cache.finish(coverage, totals)).transpose();
    // What was published stays in the journal.
    ended?;
    let cache = cache?;
    counts.failed = failed.len() as u64;
    counts.not_tried =
        counts.taken - counts.unchanged - counts.published - counts.failed - counts.under_way;
    counts.gone = plan.gone.len() as u64;

    let delete = deletes && failed.is_empty();
    for record in &plan.gone {
        match delete {
            true => drop(records.remove(&record.path)),
            false => {
                let gone = TableRecord { input_is_gone: true, ..(*record).clone() };
                records.insert(record.path.clone(), gone);
            }
        }
    }
    let manifest = Manifest {
        columns: config
            .embeddings
            .iter()
            .zip(&columns)
            .map(|(embedding, (lineage, _))| ColumnRecord {
                column: embedding.column.clone(),
                model: lineage.model.id.clone(),
                fingerprint: lineage.fingerprint.clone(),
            })
            .collect(),
        settings,
        tables: records.into_values().collect(),
        failed: failed.iter().map(failed_record).collect(),
        under_way,
        ..Manifest::empty(run_id, &dataset.listing.root, config.dataset.shard)
    };
    if let Some(journal) = journal.filter(|_| delete) {
        // Until they are deleted, since the manifest names them no longer.
        journal.keep(&plan.gone)?;
    }
    write_if_new(&manifest, &known, &dataset.places)?;
    if delete {
        counts.deleted = delete_outputs(dataset.places.root(), &plan.gone)?;
    }
    journal::delete(&dataset.places.journal())?;
    on_event(Event::Tables(counts));
    // Other runs take what this one does not, and may not have.
    let published = manifest.by_path();
    let mut listed = dataset.listing.tables.iter();
    let is_whole = failed.is_empty() && listed.all(|table| published.contains_key(&*table.below));
    if config.dataset.success_file && is_whole {
        write_success_file(dataset.places.root())?;
    }
    report.cache = cache.map(match failed.is_empty() {
        true => CacheReadyToPublish::mark_published,
        false => CacheReadyToPublish::close,
    });
    report.tables = Some(counts);
    report.elapsed = started.elapsed();
    report.model_load = models.load_time();
    report.peak_resident = memory::peak_rss();
    (report.warnings, report.limit_changes) = heard.into_parts();
    let failed = failed
        .into_iter()
        .map(|(below, error)| FailedTable { table: below.display().to_string(), error })
        .collect();
    Ok(DatasetReport { report, failed })
}

/// The columns of a report before any table.
fn report_columns(
    config: &Config,
    models: &Models<'_>,
    columns: &[(Lineage, VectorForm)],
) -> Vec<ColumnReport> {
    let of_columns = config.embeddings.iter().zip(models.by_column()).zip(columns);
    let column = |((embedding, model), (lineage, form)): (
        (&crate::config::EmbeddingConfig, &crate::pipeline::LazyModel<'_>),
        &(Lineage, VectorForm),
    )| {
        let runs_on = model.facts().runs_on.clone();
        ColumnReport::empty(&embedding.column, form.to_footer(), lineage.clone(), runs_on)
    };
    of_columns.map(column).collect()
}

/// The report of a table that is in place: every vector is reused.
fn report_of_unchanged(record: &TableRecord, of_run: &Report, splits: bool) -> Report {
    let columns = of_run.columns.iter().zip(&record.columns).map(|(column, counts)| {
        let ColumnReport { form, lineage, runs_on, .. } = column.clone();
        let mut report = ColumnReport::empty(&column.column, form, lineage, runs_on);
        report.null_rows = counts.null_rows;
        report.truncated_rows = counts.truncated_rows;
        report.origins.reused = record.rows.saturating_sub(counts.null_rows);
        report
    });
    let mut report = Report::without_tables(&of_run.output, columns.collect());
    report.rows = record.rows;
    report.input_rows = splits.then_some(record.input_rows);
    report.dropped_rows = record.dropped_rows;
    report.output_bytes = record.output.size;
    report
}

/// Counts the rows of unchanged tables as a run that reads them would.
fn told_of_unchanged(report: &Report, rows: u64, on_event: &dyn Fn(Event)) {
    if rows == 0 {
        return;
    }
    let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    on_event(Event::Started { rows, columns: report.columns.len() as u64 });
    let empty = report.null_rows() + report.dropped_rows;
    if empty > 0 {
        on_event(Event::Empty { rows: count(empty) });
    }
    on_event(Event::Known { reused: count(report.origins().reused), duplicate: 0 });
}

fn failed_record((path, error): &(PathBuf, Error)) -> FailedRecord {
    FailedRecord {
        path: path.clone(),
        code: error.kind().code().to_owned(),
        message: error.to_string(),
    }
}

/// Writes the manifest if it says anything new.
fn write_if_new(manifest: &Manifest, known: &Known, places: &Places) -> Result<()> {
    let says =
        |one: &Manifest| Manifest { run_id: String::new(), joined: Vec::new(), ..one.clone() };
    match known.manifest.as_ref().map(says) == Some(says(manifest)) {
        true => Ok(()),
        false => manifest.write(&places.manifest()),
    }
}
