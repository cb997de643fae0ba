//! Runs the job: threads, channels and joins, and nothing numeric.
//!
//! ```text
//!   reader ──[KeyedChunk]──► tokenizer ──[TokenChunk]──► inference + writer
//!    thread    bounded         thread     bounded          this thread
//!                                ▲ looks up texts            │ commits new vectors
//!                                └────────── cache ◄─────────┘
//! ```
//!
//! A stage owns its ends of the channels. They close when the stage ends, by success, error or panic.
//! A closed channel stops the neighbours and is not an error of theirs, so the error that the user
//! sees is the first real one. The output is published after every stage has joined without error.
//!
//! Memory is bounded: one chunk in each stage and [`CHANNEL_CHUNKS`] chunks in each channel.
//!
//! ```text
//!   prepare    what is checked before the first row    stages   what each thread does
//!   models     the models of the vector columns        clock    where the time goes
//!   lazy_inference  what embeds, made at the first text that needs it
//!   reuse      which rows need the model               unchanged  row groups whose vectors are copied
//! ```

mod clock;
mod lazy_inference;
mod models;
mod precedents;
mod prepare;
mod reuse;
mod split;
mod stages;
mod unchanged;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::events::EncodeEvent;
use reembed_encoder::files::DirectorySync;
use reembed_encoder::limit::BatchLimit;
use reembed_encoder::memory;
use reembed_encoder::model::ModelFacts;
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKeys;

use crate::cache::{CacheReadyToPublish, VectorCache};
use crate::chunk::{KeyedChunk, Rows, TokenChunk};
use crate::config::{Carry, Config};
use crate::events::{ColumnReport, Event, Report, Stage, Warning};
use crate::footer::{EarlierColumn, Footer, FooterColumn, FooterFrame, FooterText, Lineage};
use crate::publish::{LockHolder, OutputLock, readback};
use crate::reader::{GroupFilter, Reader, RepeatedIds};
use crate::vectors::VectorForm;
use crate::writer::{Contents, Published, Writer};
use clock::StageClocks;
pub use lazy_inference::{BatchWishes, LazyInference};
pub use models::{LazyModel, Models};
pub use precedents::calibration_precedents;
use prepare::{carried_columns, check_carried};
pub use prepare::{check_models, prepare};
use reuse::{ChunkResolver, Sample};
pub use split::Splitter;
use stages::{ReadRows, ReadStage, in_stage, infer, join, spawn, tokenize};
pub(crate) use unchanged::{ExistingVectors, NoFilter, UnchangedTexts};

/// Chunks in the channel between two stages. With one, a stage finds its next chunk ready.
pub const CHANNEL_CHUNKS: usize = 1;

/// Options of this process, beside the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// The process that holds the lock of the output.
    pub lock: LockHolder,
    /// Bytes that a batch may take; overrides `batch.memory_limit`.
    pub memory_limit: Option<u64>,
    /// Time limit of this process; overrides `run.deadline`.
    pub deadline: Option<Duration>,
}

/// The open input, the locked output and the models of a run.
#[derive(Clone, Copy)]
pub struct Opened<'a> {
    /// The input.
    pub reader: &'a Reader,
    /// The output.
    pub lock: &'a OutputLock,
    /// The models.
    pub models: &'a Models<'a>,
}

/// Embeds every row of the input and publishes the output.
///
/// `on_event` is called from several threads, often, and should return quickly.
///
/// # Errors
/// The first error of a stage, naming its place; `Stopped` after a stop request or the deadline. The
/// existing output is then unchanged, unless the error [says otherwise](Error::is_after_publish).
pub fn run(
    config: &Config,
    options: RunOptions,
    stop: &Stop,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Report> {
    let deadline = options.deadline.or(config.run.deadline);
    let stop = &stop.with_deadline(deadline.and_then(|time| Instant::now().checked_add(time)));
    let (reader, _) = prepare(config)?;
    let lock = OutputLock::acquire(config, options.lock, &reader)?;
    let models = Models::find(config, lock.existing(), true, stop, on_event)?;
    let opened = Opened { reader: &reader, lock: &lock, models: &models };
    run_with(config, options.memory_limit, &opened, stop, on_event)
}

/// As [`run`], with the open input, the locked output and the models. `memory_limit` overrides
/// `batch.memory_limit`.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    config: &Config,
    memory_limit: Option<u64>,
    opened: &Opened<'_>,
    stop: &Stop,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Report> {
    let started = Instant::now();
    let Opened { reader, lock, models } = *opened;
    let forms = check_models(config, reader, lock.existing(), models, stop)?;
    let warnings = Mutex::new(Vec::new());
    let limit_changes = AtomicU64::new(0);
    let on_event = |event: Event| {
        match &event {
            Event::Warning(warning) => {
                warnings.lock().unwrap_or_else(|poison| poison.into_inner()).push(warning.clone());
            }
            Event::LimitChanged(_) => {
                limit_changes.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        on_event(event);
    };
    if reader.columns().texts().iter().any(|text| !text.absent().is_empty()) {
        on_event(Event::Warning(Warning::NoFilesColumn));
    }

    let cache = VectorCache::open(
        &config.cache,
        &config.output.place,
        config.run.rebuild,
        stop,
        &on_event,
    )?;
    for model in models.distinct() {
        let ModelFacts { identity, notes, .. } = model.facts();
        if let Some(cache) = &cache {
            cache.record_model(identity)?;
        }
        if let Some(precision) = notes.followed {
            on_event(Event::PrecisionFollowed(precision));
        }
        if let Some(warning) = &notes.precision {
            on_event(Event::Warning(Warning::Precision(warning.clone())));
        }
        if let Some(warning) = &notes.prompt {
            on_event(Event::Warning(Warning::Prompt(warning.clone())));
        }
    }
    let lineages: Vec<Lineage> =
        models.by_column().map(|model| Lineage::new(&model.facts().identity)).collect();
    let keys: Vec<ContentKeys> =
        lineages.iter().map(|lineage| ContentKeys::new(&lineage.fingerprint)).collect();
    let on_encode = |event: EncodeEvent| on_event(event.into());
    let wishes = BatchWishes {
        requested: config.batch.requested,
        memory_limit: memory_limit.or(config.batch.memory_limit),
        models: models.distinct().len(),
    };
    let lazy = |model| LazyInference::new(model, wishes, stop, &on_event, &on_encode);
    let inferences: Vec<LazyInference<'_>> = models.distinct().iter().map(lazy).collect();
    let by_column: Vec<&LazyInference<'_>> =
        models.numbers().map(|number| &inferences[number]).collect();
    if config.input.check_carried {
        check_carried(config, reader, stop)?;
    }
    let columns = carried_columns(config, reader)?;
    let of_columns: Vec<(Lineage, VectorForm)> =
        lineages.iter().cloned().zip(forms.iter().cloned()).collect();
    let existing = match reader.carry() {
        Carry::Copy => ExistingVectors::open(config, lock.existing().file(), &of_columns),
        Carry::Reencode => None,
    };
    if existing.is_none() {
        // Without vectors of these models, only a model that can be loaded may begin.
        inferences.iter().try_for_each(|inference| inference.get().map(drop))?;
    }
    let existing = existing.as_ref();
    let copied = existing.map(|existing| (existing.table(), existing.leaves()));
    let replaced: Vec<bool> = columns.vectors.iter().map(|vectors| vectors.replaces).collect();
    let mut writer = Writer::create(&config.output, lock, reader, columns, &forms, copied, stop)?;
    let (rows, columns) = (reader.rows(), forms.len() as u64);
    on_event(Event::Started { rows, columns });

    let (row_sender, row_receiver) = bounded::<Rows<KeyedChunk>>(CHANNEL_CHUNKS);
    let (token_sender, token_receiver) = bounded::<Rows<TokenChunk>>(CHANNEL_CHUNKS);
    let commit_rows = config.cache.commit_rows.get();
    let clocks = StageClocks::default();
    let splitter = Splitter::of_config(config, models, stop)?;
    let stage = ReadStage { config, reader, keys: &keys, splitter, on_event: &on_event };
    let outcome = thread::scope(|scope| {
        let reading = spawn(scope, "reader", || {
            let cache = cache.as_ref();
            let mut texts = existing
                .map(|existing| UnchangedTexts::new(existing, &keys, config, cache, stop))
                .transpose()?;
            let mut none = NoFilter;
            let filter: &mut dyn GroupFilter = match &mut texts {
                Some(texts) => texts,
                None => &mut none,
            };
            let found = |number| existing.map(|existing| existing.group(number));
            stage.read((filter, &found), stop, &clocks, row_sender)
        });
        let tokenizing = spawn(scope, "tokenizer", || {
            let sample = Sample::new(reader.rows(), config.cache.verify_sample);
            let cache = cache.as_ref();
            let ends = (row_receiver, token_sender);
            tokenize(config, &by_column, cache, sample, &clocks, ends)
        });
        let inferred = in_stage("inference", || {
            let (inferences, cache) = (by_column.clone(), cache.as_ref());
            let resolver = ChunkResolver::new(inferences, cache, commit_rows, &on_event);
            infer(resolver, &clocks, token_receiver, &mut writer)
        });
        // Upstream first, because the error of a stage ends the stages after it.
        let read = join(reading);
        let tokenized = join(tokenizing);
        let read = read?;
        tokenized?;
        Ok::<_, Error>((inferred?, read))
    })
    .map_err(|error| add_input_file(error, &config.input.path));
    let (totals, read) = outcome.inspect_err(|_| on_event(Event::Stages(clocks.times())))?;
    let repeated_ids = read.repeated.count;
    if let RepeatedIds { count, first: Some(first) } = &read.repeated {
        let (count, first) = (*count, first.clone());
        on_event(Event::Warning(Warning::DuplicateIds { count, first }));
    }
    let damaged: u64 = totals.columns.iter().map(|column| column.damaged).sum();
    if let (Some(cache), true) = (&cache, damaged > 0) {
        let (path, count) = (cache.path().to_owned(), damaged);
        on_event(Event::Warning(Warning::DamagedEntries { path, count }));
    }
    let limits: Vec<Option<BatchLimit>> =
        by_column.iter().map(|inference| inference.memory_limit()).collect();
    // Before the output is published, because the run must not fail after that.
    let cache = cache.map(|cache| cache.finish(totals.evicted, totals.not_stored)).transpose()?;

    stop.check()?;
    let published = clocks.busy(Stage::Writer, || {
        let footer = (read, &of_columns[..]);
        publish(config, reader, lock, writer, footer, stop, &on_event)
    });
    on_event(Event::Stages(clocks.times()));
    let (published, footer) = published?;
    if published.sync == DirectorySync::NotOffered {
        on_event(Event::Warning(Warning::NoDirectorySync { path: published.path.clone() }));
    }
    let cache = cache.map(CacheReadyToPublish::mark_published);
    let of_columns = config.embeddings.iter().zip(of_columns).zip(limits).zip(totals.columns);
    let written = models.by_column().zip(footer.embeddings()).zip(replaced);
    let columns = of_columns.zip(written).map(|(run, ((model, written), replaced_column))| {
        let (((embedding, (lineage, form)), limit), totals) = run;
        ColumnReport {
            column: embedding.column.clone(),
            form: form.to_footer(),
            lineage,
            runs_on: model.facts().runs_on.clone(),
            replaced_column,
            null_rows: written.null_rows,
            truncated_rows: totals.truncated,
            origins: totals.origins,
            work: totals.work,
            limit,
        }
    });
    Ok(Report {
        rows: footer.rows,
        input_rows: footer.input_rows,
        dropped_rows: footer.dropped_rows,
        limit_rows: reader.limit(),
        repeated_ids,
        columns: columns.collect(),
        cache,
        elapsed: started.elapsed(),
        model_load: models.load_time(),
        limit_changes: limit_changes.into_inner(),
        warnings: warnings.into_inner().unwrap_or_else(|poison| poison.into_inner()),
        output: published.path,
        output_bytes: published.bytes,
        output_unchanged: published.unchanged,
        peak_resident: memory::peak_rss(),
    })
}

/// Writes the footer, reads the file back and publishes it.
fn publish(
    config: &Config,
    reader: &Reader,
    lock: &OutputLock,
    writer: Writer<'_>,
    (read, columns): (ReadRows, &[(Lineage, VectorForm)]),
    stop: &Stop,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<(Published, Footer)> {
    reader.check_unchanged()?;
    let earlier = earlier_columns(config, reader)?;
    let (staged, footer) = writer.finish(|contents| {
        footer_of(config, reader, columns, contents, read, earlier)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the output has no vector column (bug)"))
    })?;
    // How many rows have no text was not known before.
    let (max_shrink, replace) = (config.publish.max_shrink, config.run.replace);
    let existing = lock.existing().file();
    existing
        .check_replaceable(footer.input_rows.unwrap_or(footer.rows), max_shrink, replace)
        .map_err(|error| error.in_file(lock.path()))?;
    let on_rows = |rows| on_event(Event::ReadBack { rows });
    let published = staged.publish(lock, |path| {
        readback::check(path, lock.path(), reader.table(), &footer, stop, &on_rows)
    })?;
    Ok((published, footer))
}

/// The footer entry of an output.
fn footer_of(
    config: &Config,
    reader: &Reader,
    columns: &[(Lineage, VectorForm)],
    contents: Contents,
    read: ReadRows,
    earlier: Vec<EarlierColumn>,
) -> Option<Footer> {
    let Contents { rows, dropped_rows, copied, columns: written } = contents;
    let id = config.input.id.name().filter(|_| reader.columns().has_ids()).map(str::to_owned);
    let of_columns = config.embeddings.iter().zip(columns).zip(written);
    let of_columns = of_columns.zip(reader.columns().texts());
    let mut of_columns =
        of_columns.map(|(((embedding, (lineage, form)), written), text)| FooterColumn {
            column: embedding.column.clone(),
            lineage: lineage.clone(),
            text: FooterText::new(text.recipe(), text.names(), id.clone()),
            form: form.to_footer(),
            null_rows: written.null_rows,
            vectors: written.vectors,
            groups: written.groups,
        });
    let frame = FooterFrame {
        carry: reader.carry(),
        rows,
        dropped_rows,
        limit: reader.limit(),
        input_rows: config.embeddings.first.text.chunk().map(|_| read.rows),
        carried: copied.unwrap_or(read.carried),
        on_empty: config.output.on_empty,
        earlier,
    };
    let first = of_columns.next()?;
    Some(Footer::new(frame, first, of_columns.collect()))
}

/// The vector columns of the input's own footer that the output carries.
fn earlier_columns(config: &Config, reader: &Reader) -> Result<Vec<EarlierColumn>> {
    let Some(entry) = reader.table().footer_entry()? else { return Ok(Vec::new()) };
    // What cannot be read says nothing.
    let Ok(footer) = Footer::parse(&entry) else { return Ok(Vec::new()) };
    let columns = carried_columns(config, reader)?;
    let metadata = reader.table().metadata()?;
    let roots = metadata.schema.roots.iter().zip(&columns.carried);
    let carried: Vec<&str> =
        roots.filter(|(_, carried)| **carried).map(|(root, _)| root.name.as_str()).collect();
    Ok(footer.carried_on(|column| carried.contains(&column)))
}

/// Adds the input file to the error of a row, because the stages after the reader do not know it.
pub(crate) fn add_input_file(error: Error, input: &Path) -> Error {
    let names_a_row =
        matches!(error.kind(), ErrorKind::Data | ErrorKind::OutOfMemory | ErrorKind::Encode);
    if names_a_row && error.place().file().is_none() { error.in_file(input) } else { error }
}
