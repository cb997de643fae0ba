//! The main job: every thread, channel and join of it, and nothing numeric.
//!
//! ```text
//!   reader ──[KeyedChunk]──► tokenizer ──[TokenChunk]──► inference + writer
//!    thread    bounded         thread     bounded          this thread
//!                                ▲ looks texts up            │ commits new vectors
//!                                └────────── cache ◄─────────┘
//! ```
//!
//! A stage owns its ends of the channels. When it ends, in whatever way (done, error, panic), they close: a
//! closed channel means "stop" to its neighbours and is never an error itself. So at most one stage has
//! something to say, and that is what the user sees. The output is published only after every stage is joined
//! and none has failed.
//!
//! Memory in flight is bounded by construction: a chunk in each stage and [`CHANNEL_CHUNKS`] in each channel,
//! times the size of a chunk.

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

use crate::cache::{self, Finished, VectorCache};
use crate::chunk::{KeyedChunk, TokenChunk};
use crate::config::Config;
use crate::digest::{ColumnDigest, TableHasher};
use crate::events::{Event, Loaded, Report, Stage, Warning};
use crate::failpoints::{self, Failpoint};
use crate::footer::{Digests, Footer, FooterText, Lineage};
use crate::publish::{self, Claim, LockHolder, Standing, readback};
use crate::reader::{Reader, RepeatedIds};
use crate::writer::{Published, Writer};
use clock::StageClocks;
use reuse::{ChunkResolver, Sample, Totals, keyed, look_up, tokenize_chunk};

/// Chunks that wait between two stages: one, so that a stage always has its next piece of work at hand.
pub const CHANNEL_CHUNKS: usize = 1;

/// What holds for this process's run, beside the configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Who has the lock of the output.
    pub lock: LockHolder,
    /// Bytes that a batch may take, in the place of `batch.memory_limit`.
    pub memory_limit: Option<u64>,
    /// How long this process may take, in the place of `run.deadline`.
    pub deadline: Option<Duration>,
}

/// What a run works with, once it is opened.
pub struct Opened<'a> {
    /// The input.
    pub reader: &'a Reader,
    /// The output.
    pub claim: &'a Claim,
    /// The model.
    pub model: &'a Model,
    /// What it took to find, check and load the model.
    pub model_load: Duration,
}

/// Embeds every row of the input and publishes the output.
///
/// `on_event` is called from several threads, often; it should return soon.
///
/// # Errors
/// The first real cause, naming its place; `Stopped` when `stop` or the deadline asked for it. The output path
/// is then as it was before, unless the error [says otherwise](Error::is_after_publish).
pub fn run(
    config: &Config,
    options: RunOptions,
    stop: &Stop,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Report> {
    let deadline = options.deadline.or(config.run.deadline);
    let stop = &stop.with_deadline(deadline.and_then(|time| Instant::now().checked_add(time)));
    let (reader, _) = prepare(config)?;
    let claim = Claim::take(config, options.lock, &reader)?;
    let loading = Instant::now();
    let on_progress = |progress| on_event(Event::Model(progress));
    let model = model::load_until(&config.model, stop, &on_progress)?;
    let opened =
        Opened { reader: &reader, claim: &claim, model: &model, model_load: loading.elapsed() };
    run_with(config, options.memory_limit, &opened, stop, on_event)
}

/// Everything that can be known before the model is loaded: the input opens and has the columns, the output
/// can be put where it is wanted, and what is there, which it gives, may be replaced. Nothing is made.
///
/// # Errors
/// `Input`, `Target` or `Config`.
pub fn prepare(config: &Config) -> Result<(Reader, Standing)> {
    let reader = Reader::open(&config.input)?;
    check_output_column(config, &reader)?;
    carried_hasher(config, &reader)?;
    let standing = publish::look(config, &reader)?;
    Ok((reader, standing))
}

/// The column of vectors may stand in the place of one column of the input, but not of one that is read.
fn check_output_column(config: &Config, reader: &Reader) -> Result<()> {
    let column = &config.output.column;
    let refuse = |message: String| {
        Err(Error::new(ErrorKind::Input, message)
            .in_file(&config.input.path)
            .advice("set `output.column` to another name"))
    };
    if reader.columns().names().contains(column) {
        return refuse(format!("the vectors would replace column `{column}`, which is embedded"));
    }
    let fields = reader.schema().fields();
    if fields.iter().filter(|field| field.name() == column).count() > 1 {
        return refuse(format!("there are two columns `{column}`"));
    }
    Ok(())
}

/// [`run`], with the input opened, the output claimed and the model loaded. `memory_limit` is what a batch may take, in
/// the place of `batch.memory_limit`.
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
    let Opened { reader, claim, model, model_load } = *opened;
    let lineage = Lineage::new(&model.identity);
    check_before_work(config, reader, claim.standing(), &lineage)?;
    let warnings = Mutex::new(Vec::new());
    let limit_changes = AtomicU64::new(0);
    let on_event = |event: Event| {
        match &event {
            Event::Warning(warning) => {
                warnings.lock().unwrap_or_else(|poison| poison.into_inner()).push(warning.clone());
            }
            Event::Limit(_) => {
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
    let settings = model.batch_settings(config.batch.asked, memory_limit, memory::read());
    on_event(Event::Budget { bytes: settings.budget, least: settings.single_text_bytes });
    let on_encode = |event: EncodeEvent| on_event(event.into());
    let inference =
        Inference::new(encoder, settings.limit, settings.budget, &on_encode).with_stop(stop);
    let mut writer =
        Writer::create(&config.output, claim, reader.schema(), reader.key_values(), encoder.dim())?;
    let replaced_column = writer.replaces_column();
    on_event(Event::Started { rows: reader.rows(), limit: inference.limit() });

    let (row_sender, row_receiver) = bounded::<KeyedChunk>(CHANNEL_CHUNKS);
    let (token_sender, token_receiver) = bounded::<TokenChunk>(CHANNEL_CHUNKS);
    let commit_rows = config.cache.commit_rows.get();
    let clocks = StageClocks::default();
    let flowed = thread::scope(|scope| {
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
        // Upstream first: what a stage lacked is the fault of the one before it.
        let repeated = join(reading);
        let tokenized = join(tokenizing);
        let (repeated, carried) = repeated?;
        tokenized?;
        Ok::<_, Error>((inferred?, (repeated, carried)))
    })
    .map_err(|error| of_input(error, &config.input.path));
    let (totals, repeated) = flowed.inspect_err(|_| on_event(Event::Stages(clocks.times())))?;
    let (repeated, carried) = repeated;
    if let RepeatedIds { count, first: Some(first) } = repeated {
        on_event(Event::Warning(Warning::DuplicateIds { count, first }));
    }
    if let (Some(cache), true) = (&cache, totals.damaged > 0) {
        let (path, count) = (cache.path().to_owned(), totals.damaged);
        on_event(Event::Warning(Warning::DamagedEntries { path, count }));
    }
    // Before the output is published: nothing can fail after it is in place.
    let cache = cache.map(|cache| cache.finish(totals.evicted, totals.not_kept)).transpose()?;

    stop.check()?;
    let published = clocks.busy(Stage::Writer, || {
        let footer = (carried, &lineage);
        publish(config, reader, claim, writer, footer, stop, &on_event)
    });
    on_event(Event::Stages(clocks.times()));
    let published = published?;
    let cache = cache.map(Finished::published);
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

/// What could not be known before the model was: whether its vectors may replace those that stand at the output path,
/// and whether there is room for them. Nothing is made.
///
/// # Errors
/// `OtherModel` or `Target`.
pub fn check_before_work(
    config: &Config,
    reader: &Reader,
    standing: &Standing,
    lineage: &Lineage,
) -> Result<()> {
    let path = &config.output.path;
    standing
        .previous()
        .check_lineage(lineage, config.run.rebuild)
        .map_err(|error| error.in_file(path))?;
    if config.publish.check_space {
        let dim = lineage.model.dimension;
        let estimate = publish::estimate(reader.rows(), dim, reader.bytes());
        let cache = cache::path_for(&config.cache, path);
        let growth = cache::growth(&config.cache, path, reader.rows(), dim);
        publish::check_space(path, estimate, &cache, growth)?;
    }
    Ok(())
}

/// Completes the file with its footer, reads it back, and puts it in place.
fn publish(
    config: &Config,
    reader: &Reader,
    claim: &Claim,
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
    let (finished, footer) = writer.finish(|contents| Footer {
        lineage: lineage.clone(),
        text: FooterText::new(&config.text, columns.names().to_vec()),
        column: config.output.column.clone(),
        rows: contents.rows,
        null_rows: contents.null_rows,
        digests: Some(Digests { ids, carried, vectors: contents.vectors }),
    })?;
    let on_rows = |rows| on_event(Event::ReadBack { rows });
    finished.publish(claim, |path| {
        let (target, schema) = (claim.path(), reader.schema());
        readback::check(path, target, &config.input, schema, &footer, stop, &on_rows)
    })
}

/// A row is found where it stands: the stages behind the reader do not know the file.
fn of_input(error: Error, input: &Path) -> Error {
    let is_of_a_row =
        matches!(error.kind(), ErrorKind::Data | ErrorKind::OutOfMemory | ErrorKind::Encode);
    if is_of_a_row && error.place().file().is_none() { error.in_file(input) } else { error }
}

/// A hasher of the columns that come out as they went in.
fn carried_hasher(config: &Config, reader: &Reader) -> Result<TableHasher> {
    let replaced = reader.schema().index_of(&config.output.column).ok();
    TableHasher::new(reader.schema(), replaced).map_err(|error| error.in_file(&config.input.path))
}

/// Reads and hashes every row; gives the repeated ids and the digests of the carried columns.
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
            Ok(keyed(chunk, keys))
        });
        Some(chunk)
    };
    while let Some(keyed) = clocks.busy(Stage::Reader, &mut next) {
        stop.check()?;
        let keyed = keyed?;
        if failpoints::is_on(Failpoint::DropOneBatch) && keyed.chunk.rows.first_row == 0 {
            continue;
        }
        if !clocks.waiting_for_output(Stage::Reader, || out.send(keyed).is_ok()) {
            break;
        }
    }
    Ok((chunks.repeated_ids().clone(), hasher.finish()))
}

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

fn infer(
    mut resolver: ChunkResolver<'_>,
    clocks: &StageClocks,
    chunks: Receiver<TokenChunk>,
    writer: &mut Writer,
) -> Result<Totals> {
    let receive = || clocks.waiting_for_input(Stage::Inference, || chunks.recv()).ok();
    let settled = std::iter::from_fn(receive).try_for_each(|chunk| {
        let (columns, vectors) = clocks.busy(Stage::Inference, || resolver.resolve(chunk))?;
        clocks.busy(Stage::Writer, || writer.write(&columns, vectors))
    });
    // Whatever ended the run: what is done need not be done again.
    let committed = clocks.busy(Stage::Inference, || resolver.commit());
    settled.and(committed)?;
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
            Error::new(ErrorKind::Internal, format!("no thread for the {stage} stage"))
                .advice("raise the limit on processes (`ulimit -u`), or free memory")
                .caused_by(cause)
        })
}

/// Runs a stage to its end; a panic in it becomes its error.
fn in_stage<T>(stage: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_panic(ErrorKind::Internal, &format!("the {stage} stage"), work)
}

fn join<T>(handle: Result<ScopedJoinHandle<'_, Result<T>>>) -> Result<T> {
    handle?.join().unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Internal, "a pipeline stage exited without a result (bug)"))
    })
}
