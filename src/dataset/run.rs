//! Runs a dataset: the tables that changed, one after the other through one model and one cache.
//!
//! ```text
//!   table 7   …read…│ embedded, written │ published           a few tables are in flight at once,
//!   table 8      read ahead…            │ embedded, written │ …    but the model works on one
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use reembed_encoder::error::{Error, ErrorKind, Result, catch_panic};
use reembed_encoder::events::EncodeEvent;
use reembed_encoder::memory;
use reembed_encoder::stop::Stop;

use super::failures::{FailedTable, ends_the_run};
use super::inputs::Dataset;
use super::journal::{self, Journal};
use super::listing::ListedTable;
use super::lock::{DatasetLock, create_directories, sweep_table};
use super::manifest::{ColumnRecord, FailedRecord, Manifest, TableRecord};
use super::places::Places;
use super::plan::{Reason, Todo, excess_loss, todo};
use super::settings::settings_digest;
use super::stamp::{Stamp, footer_digest};
use super::warnings::TableWarnings;
use crate::cache::{CacheReadyToPublish, Coverage, VectorCache};
use crate::config::{Config, OnMissing};
use crate::events::{ColumnReport, Event, Report, TableCounts};
use crate::file_id::FileId;
use crate::footer::Lineage;
use crate::hidden_names::directory_of;
use crate::pipeline::{
    BatchWishes, Encoders, Heard, LazyInference, Models, RunOptions, StageClocks, Table, Turn,
    Turns, announce, check_models, prepare,
};
use crate::publish::{self, ExistingTarget, LockHolder, OutputLock, write_error};
use crate::reader::TableFile;
use crate::vectors::VectorForm;

/// Tables in flight: one reads ahead, one is embedded, one is published.
const IN_FLIGHT: usize = 3;

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
    let known = Known::read(dataset)?;
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
    let plan = Plan::new(dataset, &known, &settings);
    check_gone(config, &known, &plan.gone)?;
    check_texts(dataset, &plan)?;
    // The others are swept under their locks.
    let left_alone = plan.unchanged.iter().chain(&plan.gone);
    left_alone.for_each(|record| sweep_table(dataset.places.root(), &record.path));

    let cache = match plan.publish.is_empty() {
        true => None,
        false => {
            let place = &config.output.place;
            VectorCache::open(&config.cache, place, config.run.rebuild, stop, &on_event)?
        }
    };
    announce(&models, cache.as_ref(), &on_event)?;
    let mut report =
        Report::without_tables(dataset.places.root(), report_columns(config, &models, &columns));
    let splits = config.embeddings.first.text.chunk().is_some();
    plan.unchanged
        .iter()
        .for_each(|record| report.add(&report_of_unchanged(record, &report, splits)));
    let unchanged = plan.unchanged.iter().map(|record| record.input_rows).sum();
    let mut counts = TableCounts {
        listed: dataset.listing.tables.len() as u64,
        taken: dataset.taken.len() as u64,
        unchanged: plan.unchanged.len() as u64,
        ..TableCounts::default()
    };
    on_event(Event::Tables(counts));
    told_of_unchanged(&report, unchanged, &on_event);

    let in_place = plan.kept.iter().chain(&plan.earlier);
    let mut records: BTreeMap<PathBuf, TableRecord> = in_place
        .map(|record| TableRecord { input_is_gone: false, ..(*record).clone() })
        .map(|record| (record.path.clone(), record))
        .collect();
    let mut failed = Vec::new();
    let mut ended = Ok(());
    let clocks = StageClocks::default();
    let mut totals = (0, 0);
    let deletes = config.dataset.on_missing == OnMissing::Delete;
    let changes = !plan.publish.is_empty() || (deletes && !plan.gone.is_empty());
    let journal = match changes {
        true => {
            remove_success_file(dataset)?;
            Some(Journal::start(&dataset.places.journal(), &known.journal)?)
        }
        false => None,
    };
    if let Some(journal) = journal.as_ref().filter(|_| !plan.publish.is_empty()) {
        let on_encode = |event: EncodeEvent| on_event(event.into());
        let wishes = BatchWishes::new(config, options.memory_limit, &models);
        let inferences = LazyInference::all(&models, wishes, stop, &on_event, &on_encode);
        let commit_rows = config.cache.commit_rows;
        let encoders = Encoders::new(&models, &inferences, cache.as_ref(), commit_rows);
        let run = Run {
            dataset,
            run_id,
            settings: &settings,
            models: &models,
            encoders: &encoders,
            journal,
            clocks: &clocks,
            warnings: TableWarnings::default(),
            stop,
            on_event: &on_event,
        };
        for outcome in run.tables(&plan.publish) {
            match outcome {
                Ok(done) => {
                    counts.published += 1;
                    counts.same_bytes += u64::from(done.report.output_unchanged);
                    report.add(&done.report);
                    records.insert(done.record.path.clone(), done.record);
                }
                Err((below, error)) => match ends_the_run(&error) {
                    true if ended.is_ok() => ended = Err(error),
                    true => {}
                    false => failed.push((below, error)),
                },
            }
        }
        run.warnings.tell_counts(&on_event);
        match encoders.commit() {
            Ok(of_cache) => totals = of_cache,
            Err(error) => ended = ended.and(Err(error)),
        }
    }
    let is_whole = plan.kept.is_empty() && failed.is_empty() && ended.is_ok();
    let coverage = if is_whole { Coverage::EveryRow } else { Coverage::ChangedTables };
    let cache = cache.map(|cache| cache.finish(coverage, totals)).transpose();
    // What was published stays in the journal.
    ended?;
    let cache = cache?;
    counts.failed = failed.len() as u64;
    counts.not_tried = plan.publish.len() as u64 - counts.published - counts.failed;
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
    report.cache = cache.map(CacheReadyToPublish::mark_published);
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

/// What earlier runs published.
pub struct Known {
    /// The manifest that this run will replace.
    manifest: Option<Manifest>,
    /// What the journal has beyond it.
    journal: Vec<TableRecord>,
    /// The tables of both, and those of the whole dataset that belong to the shard.
    tables: BTreeMap<PathBuf, TableRecord>,
}

impl Known {
    /// Reads manifest and journal.
    ///
    /// # Errors
    /// `Target`, when one of them cannot be read.
    pub fn read(dataset: &Dataset) -> Result<Known> {
        let places = &dataset.places;
        let manifest = Manifest::read(&places.manifest())?;
        let journal = journal::read(&places.journal()).map_err(|cause| {
            Error::new(ErrorKind::Target, "the journal cannot be read")
                .in_file(places.journal())
                .advice("check its permissions")
                .caused_by(cause)
        })?;
        let mut tables = BTreeMap::new();
        if let Some(shard) = dataset.config.dataset.shard {
            let whole = Manifest::read(&places.whole_manifest())?;
            let of_shard = whole.into_iter().flat_map(|whole| whole.tables);
            tables.extend(
                of_shard
                    .filter(|table| shard.has(&table.path))
                    .map(|table| (table.path.clone(), table)),
            );
        }
        let of_manifest = manifest.iter().flat_map(|manifest| &manifest.tables);
        tables.extend(of_manifest.chain(&journal).map(|table| (table.path.clone(), table.clone())));
        Ok(Known { manifest, journal, tables })
    }

    /// The tables that were published, by their paths.
    pub fn tables(&self) -> &BTreeMap<PathBuf, TableRecord> {
        &self.tables
    }

    /// Checks that the outputs are not those of another directory, whose tables would be taken for gone.
    fn check_root(&self, dataset: &Dataset) -> Result<()> {
        let Some(manifest) = &self.manifest else { return Ok(()) };
        let (before, now) = (Path::new(&manifest.root), dataset.listing.root.as_path());
        // One that is no longer there was moved, or named from another directory.
        if !before.is_dir() || publish::resolve(before) == publish::resolve(now) {
            return Ok(());
        }
        let message = format!(
            "its tables were made from those below {before:?}, and this run would read {now:?}"
        );
        Err(Error::new(ErrorKind::Target, message)
            .in_file(dataset.places.root())
            .advice(format!("name another output, or set `dataset.root` (--root) to {before:?}")))
    }

    /// The tables that failed in the last run.
    pub fn failed(&self) -> &[FailedRecord] {
        self.manifest.as_ref().map_or(&[], |manifest| &manifest.failed)
    }
}

/// What is to do for a dataset.
pub struct Plan<'a> {
    /// The tables to publish, and why.
    pub publish: Vec<(&'a ListedTable, Reason)>,
    /// The tables that are in place.
    pub unchanged: Vec<&'a TableRecord>,
    /// All records that stay as they are: those, and those of tables that this run does not take.
    pub kept: Vec<&'a TableRecord>,
    /// The records of tables to publish whose earlier output is in place: they hold until then.
    pub earlier: Vec<&'a TableRecord>,
    /// The records of tables whose input is gone.
    pub gone: Vec<&'a TableRecord>,
}

impl<'a> Plan<'a> {
    /// Compares the listing with what was published.
    pub fn new(dataset: &'a Dataset, known: &'a Known, settings: &str) -> Plan<'a> {
        let mut plan = Plan {
            publish: Vec::new(),
            unchanged: Vec::new(),
            kept: Vec::new(),
            earlier: Vec::new(),
            gone: Vec::new(),
        };
        let mut taken = std::collections::BTreeSet::new();
        for table in &dataset.taken {
            let below = table.below.as_path();
            taken.insert(below);
            let record = known.tables.get(below);
            let input = Stamp::from(&table.id);
            let output = output_stamp(&dataset.places.root().join(below));
            match todo(record, &input, output.as_ref(), settings, dataset.config.run.rebuild) {
                Todo::Nothing => plan.unchanged.extend(record),
                Todo::Publish(reason) => {
                    plan.publish.push((table, reason));
                    plan.earlier
                        .extend(record.filter(|record| output.as_ref() == Some(&record.output)));
                }
            }
        }
        plan.kept.clone_from(&plan.unchanged);
        for (below, record) in &known.tables {
            if taken.contains(below.as_path()) {
                continue;
            }
            let input = dataset.listing.root.join(below);
            match fs::symlink_metadata(input) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => plan.gone.push(record),
                // Another pattern or condition takes it.
                _ => plan.kept.push(record),
            }
        }
        plan
    }
}

/// What the tables of a run share.
struct Run<'a> {
    dataset: &'a Dataset,
    run_id: &'a str,
    settings: &'a str,
    models: &'a Models<'a>,
    encoders: &'a Encoders<'a, 'a>,
    journal: &'a Journal,
    clocks: &'a StageClocks,
    warnings: TableWarnings,
    stop: &'a Stop,
    on_event: &'a (dyn Fn(Event) + Sync),
}

/// A table that was published.
struct Done {
    report: Report,
    record: TableRecord,
}

type Outcome = std::result::Result<Done, (PathBuf, Error)>;

impl Run<'_> {
    /// Publishes tables, a few at once. After an error that concerns all, no further one is begun.
    fn tables(&self, tables: &[(&ListedTable, Reason)]) -> Vec<Outcome> {
        let (next, turns) = (AtomicUsize::new(0), Turns::default());
        let is_over = AtomicBool::new(false);
        let outcomes = Mutex::new(Vec::with_capacity(tables.len()));
        let work = || {
            while !is_over.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((table, _)) = tables.get(number) else { break };
                let turn = turns.of(number);
                let outcome = catch_panic(ErrorKind::Internal, "a table", || {
                    self.stop.check()?;
                    self.publish(table, turn)
                });
                let outcome = outcome.map_err(|error| match error.place().file() {
                    Some(_) => error,
                    None => error.in_file(table.path(&self.dataset.listing.root)),
                });
                let name = table.below.display().to_string();
                match &outcome {
                    Ok(done) => {
                        (self.on_event)(Event::TableDone { table: name, rows: done.report.rows });
                    }
                    Err(error) => {
                        if ends_the_run(error) || self.dataset.config.dataset.fail_fast {
                            is_over.store(true, Ordering::Relaxed);
                        }
                        if !ends_the_run(error) {
                            let message = error.to_string();
                            let advice = error.advice_text().map(str::to_owned);
                            let code = error.kind().code();
                            (self.on_event)(Event::TableFailed {
                                table: name,
                                code,
                                message,
                                advice,
                            });
                        }
                    }
                }
                let outcome = outcome.map_err(|error| (table.below.clone(), error));
                outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
            }
        };
        thread::scope(|scope| {
            let others = 1..IN_FLIGHT.min(tables.len());
            for _ in others {
                let spawned =
                    thread::Builder::new().name("table".to_owned()).spawn_scoped(scope, work);
                if spawned.is_err() {
                    // This thread does their work.
                    break;
                }
            }
            work();
        });
        outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads, embeds and publishes a table.
    fn publish(&self, listed: &ListedTable, turn: Turn<'_>) -> Result<Done> {
        let config = &self.dataset.config_of(listed);
        let on_event = |event| self.warnings.pass(&listed.below, event, self.on_event);
        create_directories(self.dataset.places.root(), &listed.below)?;
        let (reader, _) = prepare(config)?;
        let lock = OutputLock::acquire(config, LockHolder::ThisProcess, &reader)?;
        let forms = check_models(config, &reader, lock.existing(), self.models, self.stop)?;
        let table = Table {
            config,
            reader: &reader,
            lock: &lock,
            forms: &forms,
            stop: self.stop,
            on_event: &on_event,
        };
        let existing = table.existing_vectors(self.models);
        let embedded = table.embed(self.encoders, existing.as_ref(), self.clocks, Some(turn))?;
        let report = table.publish(embedded, self.models, self.clocks)?;
        let output = TableFile::open(config.output.path())?;
        let footer = footer_digest(&output);
        let stamps = (Stamp::from(reader.table().id()), Stamp::from(output.id()));
        let facts = (self.settings, self.run_id, footer);
        let record = TableRecord::new(&listed.below, stamps, facts, &report);
        self.journal.add(&record)?;
        Ok(Done { report, record })
    }
}

/// The first output that exists, which tells the model of the dataset.
///
/// # Errors
/// `Target`, when it cannot be read.
pub fn first_existing(dataset: &Dataset) -> Result<(PathBuf, ExistingTarget)> {
    let outputs = dataset.taken.iter().map(|table| dataset.places.root().join(&table.below));
    let first = outputs.into_iter().find(|output| output.symlink_metadata().is_ok());
    let path = first.unwrap_or_else(|| dataset.places.root().join("none"));
    let existing = ExistingTarget::read(&path)?;
    Ok((path, existing))
}

/// Checks that the vectors of the models may replace those of the existing output, and returns the form of each
/// column.
///
/// # Errors
/// `OtherModel`, without the file; `Config`, when the model cannot have the form.
pub fn check_columns(
    config: &Config,
    existing: &ExistingTarget,
    models: &Models<'_>,
) -> Result<Vec<(Lineage, VectorForm)>> {
    let switches = config.run.replaces_other_vectors();
    let of_columns = config.embeddings.iter().zip(models.by_column());
    let column = of_columns.map(|(embedding, model)| {
        let lineage = Lineage::new(&model.facts().identity);
        existing.file().check_lineage(&embedding.column, &lineage, switches)?;
        Ok((lineage, VectorForm::new(&embedding.vector, model.facts())?))
    });
    column.collect()
}

/// Checks before any work that the settings make the texts of the existing outputs: the first one tells.
fn check_texts(dataset: &Dataset, plan: &Plan<'_>) -> Result<()> {
    let root = dataset.places.root();
    let mut exists = plan.publish.iter().filter(|(table, _)| root.join(&table.below).exists());
    match exists.next().map(|(table, _)| prepare(&dataset.config_of(table))) {
        Some(Err(error)) if error.kind() == ErrorKind::OtherModel => Err(error),
        // Whatever else is wrong concerns this table alone.
        _ => Ok(()),
    }
}

/// The shrink guard of tables and rows whose outputs would be deleted.
fn check_gone(config: &Config, known: &Known, gone: &[&TableRecord]) -> Result<()> {
    if config.dataset.on_missing != OnMissing::Delete {
        return Ok(());
    }
    let rows = |tables: &mut dyn Iterator<Item = &TableRecord>| {
        tables.fold((0, 0), |(tables, rows), table| (tables + 1, rows + table.rows))
    };
    let lost = rows(&mut gone.iter().copied());
    let all = rows(&mut known.tables.values());
    match excess_loss(lost, all, config.publish.max_shrink) {
        None => Ok(()),
        Some(percent) => {
            let message = format!(
                "the inputs of {} of {} tables are gone, {percent} % of the tables or rows; at most {} % are deleted",
                lost.0,
                all.0,
                config.publish.max_shrink.get()
            );
            Err(Error::new(ErrorKind::Target, message).in_file(config.output.path()).advice(
                "check the input; if it is right, run once with --allow-shrink, or raise `publish.max_shrink`",
            ))
        }
    }
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

/// Deletes the outputs of tables that are gone, and directories that are empty then. An output that is not as
/// it was published stays.
///
/// # Errors
/// `Output`, naming the file that cannot be deleted.
pub fn delete_outputs(root: &Path, gone: &[&TableRecord]) -> Result<u64> {
    let mut deleted = 0;
    for record in gone {
        let output = root.join(&record.path);
        if output_stamp(&output).as_ref() != Some(&record.output) {
            continue;
        }
        fs::remove_file(&output).map_err(|cause| {
            write_error(&output, "the output of a table that is gone cannot be deleted", cause)
        })?;
        deleted += 1;
        let mut directory = directory_of(&output);
        while directory != root && directory.starts_with(root) && fs::remove_dir(directory).is_ok()
        {
            directory = directory_of(directory);
        }
    }
    Ok(deleted)
}

/// The output of a table, if there is one.
pub fn output_stamp(output: &Path) -> Option<Stamp> {
    let found = fs::symlink_metadata(output).ok()?;
    Some(Stamp::from(&FileId::from(&found)))
}

fn remove_success_file(dataset: &Dataset) -> Result<()> {
    let path = dataset.places.success_file();
    match fs::remove_file(&path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(write_error(&path, "the file of the last success cannot be removed", cause))
        }
        _ => Ok(()),
    }
}

/// Writes the file that says that every table is in place, unless it is there.
///
/// # Errors
/// `Output`, naming it.
pub fn write_success_file(root: &Path) -> Result<()> {
    let path = Places::new(root, None).success_file();
    if path.is_file() {
        // It was not removed, since nothing changed.
        return Ok(());
    }
    let failed = |cause| write_error(&path, "the file of the success cannot be written", cause);
    fs::File::create(&path).and_then(|file| file.sync_all()).map_err(failed)?;
    reembed_encoder::files::sync_directory(root).map(drop).map_err(failed)
}
