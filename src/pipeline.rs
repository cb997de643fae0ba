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

mod clock;
mod reuse;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use reembed_encoder::error::{Error, ErrorKind, Result, catch_panic};
use reembed_encoder::events::EncodeEvent;
use reembed_encoder::inference::Inference;
use reembed_encoder::memory;
use reembed_encoder::model::{self, Model};
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKeys;

use crate::cache::{self, CacheReadyToPublish, VectorCache};
use crate::chunk::{KeyedChunk, TokenChunk};
use crate::config::{Config, Engine};
use crate::digest::TableHasher;
use crate::events::{Event, Loaded, Report, Stage, Warning};
use crate::failpoints::{self, Failpoint};
use crate::footer::{ColumnDigest, Digests, Footer, FooterText, Lineage};
use crate::publish::{self, ExistingTarget, LockHolder, OutputLock, readback};
use crate::reader::{Reader, RepeatedIds};
use crate::vectors::find_column;
use crate::writer::{Published, Writer};
use clock::StageClocks;
use reuse::{ChunkResolver, Sample, Totals, add_keys, look_up, tokenize_chunk};

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
    let model = model::load_until(&config.model, stop, &on_progress)?;
    let opened =
        Opened { reader: &reader, lock: &lock, model: &model, model_load: loading.elapsed() };
    run_with(config, options.memory_limit, &opened, stop, on_event)
}

/// Checks everything that does not need the model: the input and its columns, the output path and
/// the existing file. Nothing is created.
///
/// # Errors
/// `Input`, `Target` or `Config`.
pub fn prepare(config: &Config) -> Result<(Reader, ExistingTarget)> {
    if config.model.engine == Engine::Packed {
        config.model.isa()?;
    }
    let reader = Reader::open(&config.input)?;
    check_vector_column(config, &reader)?;
    carried_hasher(config, &reader)?;
    let existing = publish::check_output(config, &reader)?;
    Ok((reader, existing))
}

/// Checks that the vector column replaces at most one column of the input, and none of the text.
fn check_vector_column(config: &Config, reader: &Reader) -> Result<()> {
    let (column, input) = (&config.output.column, &config.input.path);
    if reader.columns().names().contains(column) {
        let message =
            format!("the vectors would replace column `{column}`, which is part of the text");
        return Err(Error::new(ErrorKind::Input, message)
            .in_file(input)
            .advice("set `output.column` to another name"));
    }
    find_column(reader.schema(), column).map(drop).map_err(|error| error.in_file(input))
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
    check_model(config, reader, lock.existing(), &lineage)?;
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
    if config.input.columns.files.is_some() && !reader.columns().has_files() {
        on_event(Event::Warning(Warning::NoFilesColumn));
    }

    let cache =
        VectorCache::open(&config.cache, &config.output.path, config.run.rebuild, &on_event)?;
    let keys = ContentKeys::new(&lineage.fingerprint);
    let encoder = model.encoder.as_ref();
    let (loaded, runs_on) = (lineage.clone(), encoder.runs_on());
    on_event(Event::Loaded(Box::new(Loaded { lineage: loaded, runs_on, took: model_load })));
    if let Some(warning) = encoder.warning() {
        on_event(Event::Warning(Warning::Precision(warning)));
    }
    let memory_limit = memory_limit.or(config.batch.memory_limit);
    let settings = model.batch_settings(config.batch.requested, memory_limit, memory::read());
    on_event(Event::Budget { bytes: settings.budget, least: settings.single_text_bytes });
    let on_encode = |event: EncodeEvent| on_event(event.into());
    let inference =
        Inference::new(encoder, settings.limit, settings.budget, &on_encode).with_stop(stop);
    let mut writer =
        Writer::create(&config.output, lock, reader.schema(), reader.key_values(), encoder.dim())?;
    let replaced_column = writer.replaces_column();
    on_event(Event::Started { rows: reader.rows(), limit: inference.limit() });

    let (row_sender, row_receiver) = bounded::<KeyedChunk>(CHANNEL_CHUNKS);
    let (token_sender, token_receiver) = bounded::<TokenChunk>(CHANNEL_CHUNKS);
    let commit_rows = config.cache.commit_rows.get();
    let clocks = StageClocks::default();
    let outcome = thread::scope(|scope| {
        let reading =
            spawn(scope, "reader", || read(config, reader, &keys, stop, &clocks, row_sender));
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
        let footer = (carried, &lineage);
        publish(config, reader, lock, writer, footer, stop, &on_event)
    });
    on_event(Event::Stages(clocks.times()));
    let published = published?;
    let cache = cache.map(CacheReadyToPublish::mark_published);
    Ok(Report {
        rows: published.rows,
        null_rows: published.null_rows,
        truncated_rows: totals.truncated,
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

/// Checks everything that needs the model: whether its vectors may replace the existing ones, and
/// whether the disk has space for them. Nothing is created.
///
/// # Errors
/// `OtherModel` or `Target`.
pub fn check_model(
    config: &Config,
    reader: &Reader,
    existing: &ExistingTarget,
    lineage: &Lineage,
) -> Result<()> {
    let path = &config.output.path;
    existing
        .file()
        .check_lineage(lineage, config.run.rebuild)
        .map_err(|error| error.in_file(path))?;
    if config.publish.check_space {
        let dim = lineage.model.dimension;
        let output = publish::estimate_output_bytes(reader.rows(), dim, reader.bytes());
        let cache = cache::path_for(&config.cache, path);
        let growth = cache::max_growth(&config.cache, path, reader.rows(), dim);
        publish::check_space(path, output, &cache, growth)?;
    }
    Ok(())
}

/// Writes the footer, reads the file back and publishes it.
fn publish(
    config: &Config,
    reader: &Reader,
    lock: &OutputLock,
    writer: Writer,
    (carried, lineage): (Vec<ColumnDigest>, &Lineage),
    stop: &Stop,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Published> {
    reader.check_unchanged()?;
    let columns = reader.columns();
    let id = reader.schema().field(columns.id()).name();
    let ids = carried.iter().find(|digest| digest.column == *id);
    let ids = ids.map(|digest| digest.sha256.clone()).unwrap_or_default();
    let (staged, footer) = writer.finish(|contents| Footer {
        lineage: lineage.clone(),
        text: FooterText::new(&config.text, columns.names().to_vec()),
        column: config.output.column.clone(),
        rows: contents.rows,
        null_rows: contents.null_rows,
        digests: Some(Digests { ids, carried, vectors: contents.vectors }),
    })?;
    let on_rows = |rows| on_event(Event::ReadBack { rows });
    staged.publish(lock, |path| {
        let (target, schema) = (lock.path(), reader.schema());
        readback::check(path, target, &config.input, schema, &footer, stop, &on_rows)
    })
}

/// Adds the input file to the error of a row, because the stages after the reader do not know it.
fn add_input_file(error: Error, input: &Path) -> Error {
    let names_a_row =
        matches!(error.kind(), ErrorKind::Data | ErrorKind::OutOfMemory | ErrorKind::Encode);
    if names_a_row && error.place().file().is_none() { error.in_file(input) } else { error }
}

/// A hasher of the carried columns.
fn carried_hasher(config: &Config, reader: &Reader) -> Result<TableHasher> {
    let replaced = reader.schema().index_of(&config.output.column).ok();
    TableHasher::new(reader.schema(), replaced).map_err(|error| error.in_file(&config.input.path))
}

/// The reader stage. Returns the repeated ids and the digests of the carried columns.
fn read(
    config: &Config,
    reader: &Reader,
    keys: &ContentKeys,
    stop: &Stop,
    clocks: &StageClocks,
    out: Sender<KeyedChunk>,
) -> Result<(RepeatedIds, Vec<ColumnDigest>)> {
    let mut hasher = carried_hasher(config, reader)?;
    let mut chunks = reader.chunks(&config.text);
    let mut next = || {
        let chunk = chunks.next()?.and_then(|chunk| {
            hasher.update(&chunk.columns)?;
            Ok(add_keys(chunk, keys))
        });
        Some(chunk)
    };
    while let Some(chunk) = clocks.busy(Stage::Reader, &mut next) {
        stop.check()?;
        let chunk = chunk?;
        if failpoints::is_on(Failpoint::DropOneBatch) && chunk.chunk.rows.first_row == 0 {
            continue;
        }
        if !clocks.waiting_for_output(Stage::Reader, || out.send(chunk).is_ok()) {
            break;
        }
    }
    Ok((chunks.repeated_ids().clone(), hasher.finish()))
}

/// The tokenizer stage.
fn tokenize(
    config: &Config,
    model: &Model,
    inference: &Inference<'_>,
    cache: Option<&VectorCache<'_>>,
    mut sample: Sample,
    clocks: &StageClocks,
    (rows, out): (Receiver<KeyedChunk>, Sender<TokenChunk>),
) -> Result<()> {
    let on_empty = config.output.on_empty;
    let receive = || clocks.waiting_for_input(Stage::Tokenizer, || rows.recv());
    while let Ok(chunk) = receive() {
        inference.stop().check()?;
        let chunk = clocks.busy(Stage::Tokenizer, || {
            let view = cache.map(VectorCache::view).transpose()?;
            let known = look_up(&chunk, view, inference.dim(), on_empty, &mut sample)?;
            tokenize_chunk(&model.tokenizer, chunk, known, inference.limit())
        })?;
        if !clocks.waiting_for_output(Stage::Tokenizer, || out.send(chunk).is_ok()) {
            break;
        }
    }
    Ok(())
}

/// The inference and writer stages, which share a thread.
fn infer(
    mut resolver: ChunkResolver<'_>,
    clocks: &StageClocks,
    chunks: Receiver<TokenChunk>,
    writer: &mut Writer,
) -> Result<Totals> {
    let receive = || clocks.waiting_for_input(Stage::Inference, || chunks.recv()).ok();
    let resolved = std::iter::from_fn(receive).try_for_each(|chunk| {
        let (columns, vectors) = clocks.busy(Stage::Inference, || resolver.resolve(chunk))?;
        clocks.busy(Stage::Writer, || writer.write(&columns, vectors))
    });
    // Also after an error, so that the next run reuses the vectors.
    let committed = clocks.busy(Stage::Inference, || resolver.commit());
    resolved.and(committed)?;
    Ok(resolver.into_totals())
}

fn spawn<'scope, 'env, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, 'env>,
    stage: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, Result<T>>> {
    thread::Builder::new()
        .name(stage.to_owned())
        .spawn_scoped(scope, move || in_stage(stage, work))
        .map_err(|cause| {
            Error::new(ErrorKind::Internal, format!("cannot start the thread of the {stage} stage"))
                .advice("raise the limit on processes (`ulimit -u`), or free memory")
                .caused_by(cause)
        })
}

/// Runs a stage. A panic becomes an error.
fn in_stage<T>(stage: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_panic(ErrorKind::Internal, &format!("the {stage} stage"), work)
}

fn join<T>(handle: Result<ScopedJoinHandle<'_, Result<T>>>) -> Result<T> {
    handle?.join().unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Internal, "a pipeline stage exited without a result (bug)"))
    })
}
