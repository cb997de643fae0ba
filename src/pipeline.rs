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
//!   reuse      which rows need the model               clock    where the time goes
//!   unchanged  row groups whose vectors are copied
//! ```

mod clock;
mod prepare;
mod reuse;
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
use reembed_encoder::inference::Inference;
use reembed_encoder::memory;
use reembed_encoder::model::{self, Model};
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKeys;

use crate::cache::{CacheReadyToPublish, VectorCache};
use crate::chunk::{KeyedChunk, Rows, TokenChunk};
use crate::config::{Carry, Config};
use crate::events::{Event, Loaded, Report, Stage, Warning};
use crate::footer::{ColumnDigest, Digests, Footer, FooterText, Lineage};
use crate::publish::{LockHolder, OutputLock, readback};
use crate::reader::{GroupFilter, Reader, RepeatedIds};
use crate::vectors::VectorForm;
use crate::writer::{Published, Writer};
use clock::StageClocks;
pub use prepare::{calibration_precedents, check_model, precedents, prepare};
use prepare::{carried_columns, check_carried};
use reuse::{ChunkResolver, Sample};
use stages::{in_stage, infer, join, read, spawn, tokenize};
use unchanged::{ExistingVectors, NoFilter, UnchangedTexts};

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

/// The open input, the locked output and the loaded model of a run.
pub struct Opened<'a> {
    /// The input.
    pub reader: &'a Reader,
    /// The output.
    pub lock: &'a OutputLock,
    /// The model.
    pub model: &'a Model,
    /// The time to find, check and load the model.
    pub model_load: Duration,
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
    let loading = Instant::now();
    let on_progress = |progress| on_event(Event::Model(progress));
    let precedents = precedents(config, lock.existing(), true);
    let model = model::load_until(&config.model, &precedents, stop, &on_progress)?;
    let opened =
        Opened { reader: &reader, lock: &lock, model: &model, model_load: loading.elapsed() };
    run_with(config, options.memory_limit, &opened, stop, on_event)
}

/// As [`run`], with the open input, the locked output and the loaded model. `memory_limit` overrides
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
    let Opened { reader, lock, model, model_load } = *opened;
    let lineage = Lineage::new(&model.identity);
    let form = check_model(config, reader, lock.existing(), model)?;
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
    if !reader.columns().absent().is_empty() {
        on_event(Event::Warning(Warning::NoFilesColumn));
    }

    let cache =
        VectorCache::open(&config.cache, &config.output.path, config.run.rebuild, &on_event)?;
    if let Some(cache) = &cache {
        cache.record_model(&lineage.model)?;
    }
    let keys = ContentKeys::new(&lineage.fingerprint);
    let encoder = model.encoder.as_ref();
    let (loaded, runs_on) = (lineage.clone(), encoder.runs_on());
    on_event(Event::Loaded(Box::new(Loaded { lineage: loaded, runs_on, took: model_load })));
    if let Some(precision) = model.notes.precision {
        on_event(Event::PrecisionFollowed(precision));
    }
    if let Some(warning) = encoder.warning() {
        on_event(Event::Warning(Warning::Precision(warning)));
    }
    if let Some(warning) = &model.notes.prompt {
        on_event(Event::Warning(Warning::Prompt(warning.clone())));
    }
    let memory_limit = memory_limit.or(config.batch.memory_limit);
    let settings = model.batch_settings(config.batch.requested, memory_limit, memory::read());
    on_event(Event::Budget { bytes: settings.budget, least: settings.single_text_bytes });
    let on_encode = |event: EncodeEvent| on_event(event.into());
    let inference =
        Inference::new(encoder, settings.limit, settings.budget, &on_encode).with_stop(stop);
    if config.input.check_carried {
        check_carried(config, reader, stop)?;
    }
    let columns = carried_columns(config, reader)?;
    let existing = match reader.carry() {
        Carry::Copy => ExistingVectors::open(config, lock.existing().file(), &lineage, &form),
        Carry::Reencode => None,
    };
    let existing = existing.as_ref();
    let copied = existing.map(|existing| (existing.table(), existing.leaf()));
    let mut writer =
        Writer::create(&config.output, lock, reader, columns, form.clone(), copied, stop)?;
    let replaced_column = writer.replaces_column();
    on_event(Event::Started { rows: reader.rows(), limit: inference.limit() });

    let (row_sender, row_receiver) = bounded::<Rows<KeyedChunk>>(CHANNEL_CHUNKS);
    let (token_sender, token_receiver) = bounded::<Rows<TokenChunk>>(CHANNEL_CHUNKS);
    let commit_rows = config.cache.commit_rows.get();
    let clocks = StageClocks::default();
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
            read(config, reader, &keys, (filter, &found), stop, &clocks, row_sender)
        });
        let tokenizing = spawn(scope, "tokenizer", || {
            let sample = Sample::new(reader.rows(), config.cache.verify_sample);
            let cache = cache.as_ref();
            let ends = (row_receiver, token_sender);
            tokenize(config, model, &inference, cache, sample, &clocks, ends)
        });
        let inferred = in_stage("inference", || {
            let resolver = ChunkResolver::new(&inference, cache.as_ref(), commit_rows, &on_event);
            infer(resolver, &clocks, token_receiver, &mut writer)
        });
        // Upstream first, because the error of a stage ends the stages after it.
        let read = join(reading);
        let tokenized = join(tokenizing);
        let (repeated, carried) = read?;
        tokenized?;
        Ok::<_, Error>((inferred?, repeated, carried))
    })
    .map_err(|error| add_input_file(error, &config.input.path));
    let (totals, repeated, carried) =
        outcome.inspect_err(|_| on_event(Event::Stages(clocks.times())))?;
    let repeated_ids = repeated.count;
    if let RepeatedIds { count, first: Some(first) } = repeated {
        on_event(Event::Warning(Warning::DuplicateIds { count, first }));
    }
    if let (Some(cache), true) = (&cache, totals.damaged > 0) {
        let (path, count) = (cache.path().to_owned(), totals.damaged);
        on_event(Event::Warning(Warning::DamagedEntries { path, count }));
    }
    // Before the output is published, because the run must not fail after that.
    let cache = cache.map(|cache| cache.finish(totals.evicted, totals.not_stored)).transpose()?;

    stop.check()?;
    let published = clocks.busy(Stage::Writer, || {
        let footer = (carried, &lineage, &form);
        publish(config, reader, lock, writer, footer, stop, &on_event)
    });
    on_event(Event::Stages(clocks.times()));
    let published = published?;
    let cache = cache.map(CacheReadyToPublish::mark_published);
    Ok(Report {
        rows: published.rows,
        null_rows: published.null_rows,
        dropped_rows: published.dropped_rows,
        limit_rows: reader.limit(),
        truncated_rows: totals.truncated,
        repeated_ids,
        form: form.to_footer(),
        origins: totals.origins,
        cache,
        work: totals.work,
        elapsed: started.elapsed(),
        model_load,
        limit: inference.limit(),
        limit_changes: limit_changes.into_inner(),
        replaced_column,
        column: config.output.column.clone(),
        warnings: warnings.into_inner().unwrap_or_else(|poison| poison.into_inner()),
        lineage,
        runs_on: encoder.runs_on(),
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
    (reencoded, lineage, form): (Vec<ColumnDigest>, &Lineage, &VectorForm),
    stop: &Stop,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Published> {
    reader.check_unchanged()?;
    let (staged, footer) = writer.finish(|contents| Footer {
        lineage: lineage.clone(),
        text: footer_text(config, reader),
        column: config.output.column.clone(),
        form: Some(form.to_footer()),
        carry: reader.carry(),
        rows: contents.rows,
        null_rows: contents.null_rows,
        dropped_rows: contents.dropped_rows,
        limit: reader.limit(),
        digests: Some(Digests {
            carried: contents.copied.unwrap_or(reencoded),
            vectors: contents.vectors,
        }),
        on_empty: Some(config.output.on_empty),
        groups: contents.groups,
    })?;
    // How many rows have no text was not known before.
    let (max_shrink, replace) = (config.publish.max_shrink, config.run.replace);
    let existing = lock.existing().file();
    existing
        .check_replaceable(footer.rows, max_shrink, replace)
        .map_err(|error| error.in_file(lock.path()))?;
    let on_rows = |rows| on_event(Event::ReadBack { rows });
    staged.publish(lock, |path| {
        readback::check(path, lock.path(), reader.table(), &footer, stop, &on_rows)
    })
}

/// What the footer says of the texts.
fn footer_text(config: &Config, reader: &Reader) -> FooterText {
    let id = config.input.id.name().filter(|_| reader.columns().has_ids()).map(str::to_owned);
    FooterText::new(&config.text, reader.columns().names(), id)
}

/// Adds the input file to the error of a row, because the stages after the reader do not know it.
pub(crate) fn add_input_file(error: Error, input: &Path) -> Error {
    let names_a_row =
        matches!(error.kind(), ErrorKind::Data | ErrorKind::OutOfMemory | ErrorKind::Encode);
    if names_a_row && error.place().file().is_none() { error.in_file(input) } else { error }
}
