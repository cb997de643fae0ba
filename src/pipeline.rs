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
mod unchanged;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use crossbeam_channel::{Receiver, Sender, bounded};
use reembed_encoder::batch::strings;
use reembed_encoder::error::{Error, ErrorKind, Result, catch_panic};
use reembed_encoder::events::EncodeEvent;
use reembed_encoder::inference::Inference;
use reembed_encoder::memory;
use reembed_encoder::model::precedent::Precedents;
use reembed_encoder::model::{self, Model};
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKeys;

use crate::cache::{self, CacheReadyToPublish, VectorCache};
use crate::carried;
use crate::chunk::{KeyedChunk, RowChunk, Rows, TokenChunk, UnchangedGroup};
use crate::config::{
    CacheConfig, CalibrationConfig, Carry, Config, Engine, ModelConfig, OnEmpty, Preset,
};
use crate::digest::TableHasher;
use crate::events::{Event, Loaded, Report, Stage, Warning};
use crate::failpoints::{self, Failpoint};
use crate::footer::{ColumnDigest, Digests, Footer, FooterText, Lineage};
use crate::format::metadata::Metadata;
use crate::format::output::Columns;
use crate::format::projection::Types;
use crate::format::schema::{Annotation, Text};
use crate::publish::{self, ExistingFile, ExistingTarget, LockHolder, OutputLock, readback};
use crate::reader::{self, Decoder, GroupFilter, Reader, RepeatedIds, TableFile};
use crate::vectors::{Ranges, VectorForm};
use crate::writer::{self, Published, Writer};
use clock::StageClocks;
use reuse::{ChunkResolver, Sample, Totals, add_keys, look_up, tokenize_chunk};
use unchanged::{ExistingVectors, NoFilter, UnchangedTexts};

/// Carried columns that are decoded together to check them: each scan parses the footer again.
const COLUMNS_PER_SCAN: usize = 64;

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

/// The models of the vectors that a run may reuse, which decide the precision if the configuration
/// does not. `writes` says whether the vector cache may be repaired.
pub fn precedents(config: &Config, existing: &ExistingTarget, writes: bool) -> Precedents {
    precedents_at(&config.output.path, existing, (&config.model, &config.cache), writes)
}

/// As [`precedents`], for a calibration, which only reads.
///
/// # Errors
/// `Target` when the existing output cannot be read.
pub fn calibration_precedents(config: &CalibrationConfig) -> Result<Precedents> {
    let Some(output) = &config.output else { return Ok(Precedents::default()) };
    let existing = ExistingTarget::read(output)?;
    Ok(precedents_at(output, &existing, (&config.model, &config.cache), false))
}

fn precedents_at(
    output: &Path,
    existing: &ExistingTarget,
    (model, cache): (&ModelConfig, &CacheConfig),
    writes: bool,
) -> Precedents {
    if model.engine != Engine::Packed || model.precision.is_some() {
        return Precedents::default();
    }
    let made = match existing.file() {
        ExistingFile::Output(footer) => Some(footer.lineage.model.clone()),
        _ => None,
    };
    Precedents { output: made, cache: cache::models(cache, output, writes) }
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
    // Whether they are those of the model shows only when it is loaded.
    config.output.vector.ranges.as_deref().map(Ranges::read).transpose()?;
    let table = TableFile::open(&config.input.path)?;
    let columns = check_columns(config, &table)?;
    let (limit, carry) = (config.limit_of(table.rows()), config.carry(table.rows())?);
    let reader = Reader::with_table(table, &config.input, &config.text, carry.into())?;
    let reader = reader.with_limit(limit);
    check_vector_column(config, &reader)?;
    if carry == Carry::Reencode {
        let metadata = reader.table().metadata()?;
        let leaves_rows_out = match config.output.on_empty {
            OnEmpty::Drop => Some("`output.on_empty`"),
            _ => limit.map(|_| "`run.limit`"),
        };
        writer::check_types(&metadata, reader.schema().fields(), &columns).map_err(|error| {
            let error = error.in_file(&config.input.path);
            match leaves_rows_out {
                Some(setting) => error.advice(format!(
                    "leave the columns out with `output.drop`, or keep every row without {setting}: \
                     then they are copied"
                )),
                None => error,
            }
        })?;
    }
    carried_hasher(config, &reader)?;
    let existing = publish::check_output(config, &reader)?;
    let switches = config.run.rebuild || config.run.switch_model;
    existing
        .file()
        .check_text(&config.text, &reader.columns().names(), switches)
        .map_err(|error| error.in_file(&config.output.path))?;
    Ok((reader, existing))
}

/// Checks all columns that the configuration names, and tells everything that is wrong at once.
fn check_columns(config: &Config, table: &TableFile) -> Result<Columns> {
    let metadata = table.metadata()?;
    let text = reader::check_text_columns(&metadata, &config.input.id, &[&config.text]);
    let columns = carried::select(&metadata, &config.output);
    let columns = match (text, columns) {
        (Ok(()), columns) => columns,
        (Err(one), Ok(_)) => Err(one),
        (Err(one), Err(other)) => Err(reader::all_of(vec![one, other])),
    };
    let columns = columns.and_then(|columns| {
        config.output.preset.map_or(Ok(()), |preset| check_preset(preset, &metadata, &columns))?;
        Ok(columns)
    });
    columns.map_err(|error| error.in_file(&config.input.path))
}

/// Checks that the output has the columns that a preset requires.
///
/// # Errors
/// `Input`, without the file, naming the preset and the column.
fn check_preset(preset: Preset, metadata: &Metadata<'_>, columns: &Columns) -> Result<()> {
    let word = preset.as_str();
    let refuse = |name: &str, lack: &str, advice: &str| {
        Err(Error::new(
            ErrorKind::Input,
            format!("the output would have no column `{name}`{lack}, which output.for = {word:?} requires"),
        )
        .advice(advice))
    };
    let schema = &metadata.schema;
    for (name, is_text) in preset.required_columns() {
        let mut carried =
            schema.roots.iter().zip(&columns.carried).filter(|(_, carried)| **carried);
        let found = carried.find(|(root, _)| root.name == *name);
        match found {
            _ if columns.name == *name && !*is_text => {}
            None if *is_text => {
                let advice = "add the column to the input, or give a column this name; \
                              `output.keep` and `output.drop` must not leave it out";
                return refuse(name, "", advice);
            }
            None => return refuse(name, "", "remove `output.column`"),
            Some((root, _)) if *is_text => {
                let kind = Annotation::read(&schema.element(root.elements.start));
                if root.elements.len() != 1 || kind != Annotation::Text(Text::String) {
                    return refuse(name, " of strings", "write the column as strings");
                }
            }
            Some(_) => return refuse(name, " of vectors", "remove `output.column`"),
        }
    }
    Ok(())
}

/// The columns of the input that the output carries.
fn carried_columns(config: &Config, reader: &Reader) -> Result<Columns> {
    carried::select(&reader.table().metadata()?, &config.output)
        .map_err(|error| error.in_file(&config.input.path))
}

/// Checks that the vector column replaces no column of the text or of the ids.
fn check_vector_column(config: &Config, reader: &Reader) -> Result<()> {
    let (column, input) = (&config.output.column, &config.input.path);
    let is_id = reader.columns().has_ids() && config.input.id.name() == Some(column);
    if is_id || reader.columns().roots().contains(column) {
        let part = if is_id { "has the ids" } else { "is part of the text" };
        let message = format!("the vectors would replace column `{column}`, which {part}");
        return Err(Error::new(ErrorKind::Input, message)
            .in_file(input)
            .advice("set `output.column` to another name"));
    }
    Ok(())
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

/// Checks everything that needs the model: whether its vectors can have the form of the configuration
/// and may replace the existing ones, and whether the disk has space for them. Nothing is created.
/// Returns the form of the vector column.
///
/// # Errors
/// `Config`, `OtherModel` or `Target`.
pub fn check_model(
    config: &Config,
    reader: &Reader,
    existing: &ExistingTarget,
    model: &Model,
) -> Result<VectorForm> {
    let path = &config.output.path;
    let lineage = Lineage::new(&model.identity);
    let form = VectorForm::new(&config.output.vector, model)?;
    config.output.preset.map_or(Ok(()), |preset| preset.check_width(form.width()))?;
    let file = existing.file();
    let switches = config.run.rebuild || config.run.switch_model;
    file.check_lineage(&lineage, switches)
        .and_then(|()| file.check_text(&config.text, &reader.columns().names(), switches))
        .map_err(|error| error.in_file(path))?;
    if config.publish.check_space {
        let (rows, dim) = (reader.rows(), lineage.model.dimension);
        let output = publish::estimate_output_bytes(rows, form.bytes_per_row(), reader.bytes());
        let cache = cache::path_for(&config.cache, path);
        let growth = cache::max_growth(&config.cache, path, rows, dim);
        publish::check_space(path, output, &cache, growth)?;
    }
    Ok(form)
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

/// A hasher of the carried columns if they are encoded anew; `None` if they are copied.
fn carried_hasher(config: &Config, reader: &Reader) -> Result<Option<TableHasher>> {
    match reader.carry() {
        Carry::Copy => Ok(None),
        Carry::Reencode => {
            let columns = carried_columns(config, reader)?;
            TableHasher::new(reader.schema(), |position| columns.carried[position])
                .map(Some)
                .map_err(|error| error.in_file(&config.input.path))
        }
    }
}

/// Decodes every carried column and drops its values.
fn check_carried(config: &Config, reader: &Reader, stop: &Stop) -> Result<()> {
    let columns = carried_columns(config, reader)?;
    let limits = reader.decoder().limits();
    let carried: Vec<usize> =
        (0..columns.carried.len()).filter(|root| columns.carried[*root]).collect();
    let scan = |roots: &[usize]| {
        Decoder::new(reader.table(), roots, Types::Annotated, limits)?.scan(|_| stop.check())
    };
    for roots in carried.chunks(COLUMNS_PER_SCAN) {
        match scan(roots) {
            Err(error) if roots.len() > 1 && error.kind() == ErrorKind::Input => {
                // One has a type that cannot be decoded: each alone tells which.
                let names = &reader.table().metadata()?.schema.roots;
                for root in roots {
                    scan(&[*root])
                        .map_err(|error| error.at(format!("column `{}`", names[*root].name)))?;
                }
            }
            scanned => scanned?,
        }
    }
    Ok(())
}

/// The reader stage. Returns the repeated ids, and the digests of the carried columns if they are
/// encoded anew.
fn read(
    config: &Config,
    reader: &Reader,
    keys: &ContentKeys,
    (filter, found): (&mut dyn GroupFilter, &dyn Fn(usize) -> Option<UnchangedGroup>),
    stop: &Stop,
    clocks: &StageClocks,
    out: Sender<Rows<KeyedChunk>>,
) -> Result<(RepeatedIds, Vec<ColumnDigest>)> {
    let mut hasher = carried_hasher(config, reader)?;
    let mut chunks = reader.chunks();
    let mut next = || {
        let rows = chunks.next_rows(filter)?.and_then(|rows| {
            let mut chunk = match rows {
                Ok(chunk) => chunk,
                Err(number) => {
                    let group = found(number).ok_or_else(|| {
                        Error::new(ErrorKind::Internal, "an unchanged row group is lost (bug)")
                    })?;
                    return Ok(Rows::Unchanged(Box::new(group)));
                }
            };
            match &mut hasher {
                Some(hasher) => {
                    if config.output.on_empty == OnEmpty::Drop {
                        chunk.columns = rows_with_text(&chunk)?;
                    }
                    hasher.update(&chunk.columns)?;
                }
                // Only the texts go on: the writer copies the columns.
                None => chunk.columns = without_columns(&chunk.columns)?,
            }
            Ok(Rows::Chunk(add_keys(chunk, keys)))
        });
        Some(rows)
    };
    while let Some(rows) = clocks.busy(Stage::Reader, &mut next) {
        stop.check()?;
        let rows = rows?;
        let is_first = matches!(&rows, Rows::Chunk(chunk) if chunk.chunk.rows.first_row == 0);
        if failpoints::is_on(Failpoint::DropOneBatch) && is_first {
            continue;
        }
        if !clocks.waiting_for_output(Stage::Reader, || out.send(rows).is_ok()) {
            break;
        }
    }
    let carried = hasher.map(TableHasher::finish).unwrap_or_default();
    Ok((chunks.repeated_ids().clone(), carried))
}

/// The columns of the rows that have a text.
fn rows_with_text(chunk: &RowChunk) -> Result<RecordBatch> {
    let has_text: Vec<bool> = strings(&chunk.texts).map(|text| !text.is_empty()).collect();
    if has_text.iter().all(|has_text| *has_text) {
        return Ok(chunk.columns.clone());
    }
    filter_record_batch(&chunk.columns, &BooleanArray::from(has_text)).map_err(|cause| {
        Error::new(ErrorKind::Internal, "the rows without text cannot be left out").caused_by(cause)
    })
}

/// The rows of a batch without its columns.
fn without_columns(batch: &RecordBatch) -> Result<RecordBatch> {
    batch.project(&[]).map_err(|cause| {
        Error::new(ErrorKind::Internal, "the columns of a chunk cannot be dropped").caused_by(cause)
    })
}

/// The tokenizer stage.
fn tokenize(
    config: &Config,
    model: &Model,
    inference: &Inference<'_>,
    cache: Option<&VectorCache<'_>>,
    mut sample: Sample,
    clocks: &StageClocks,
    (rows, out): (Receiver<Rows<KeyedChunk>>, Sender<Rows<TokenChunk>>),
) -> Result<()> {
    let texts = (config.output.on_empty, model.tokenizer.refuses_long_texts());
    let receive = || clocks.waiting_for_input(Stage::Tokenizer, || rows.recv());
    while let Ok(rows) = receive() {
        inference.stop().check()?;
        let rows = match rows {
            Rows::Unchanged(group) => Rows::Unchanged(group),
            Rows::Chunk(chunk) => Rows::Chunk(clocks.busy(Stage::Tokenizer, || {
                let view = cache.map(VectorCache::view).transpose()?;
                let known = look_up(&chunk, view, inference.dim(), texts, &mut sample)?;
                tokenize_chunk(&model.tokenizer, chunk, known, inference.limit())
            })?),
        };
        if !clocks.waiting_for_output(Stage::Tokenizer, || out.send(rows).is_ok()) {
            break;
        }
    }
    Ok(())
}

/// The inference and writer stages, which share a thread.
fn infer(
    mut resolver: ChunkResolver<'_>,
    clocks: &StageClocks,
    rows: Receiver<Rows<TokenChunk>>,
    writer: &mut Writer<'_>,
) -> Result<Totals> {
    let receive = || clocks.waiting_for_input(Stage::Inference, || rows.recv()).ok();
    let resolved = std::iter::from_fn(receive).try_for_each(|rows| match rows {
        Rows::Chunk(chunk) => {
            let (columns, vectors, facts) =
                clocks.busy(Stage::Inference, || resolver.resolve(chunk))?;
            clocks.busy(Stage::Writer, || writer.write(&columns, vectors, &facts))
        }
        Rows::Unchanged(group) => {
            resolver.skip(&group.digest);
            clocks.busy(Stage::Writer, || writer.copy_group(&group))
        }
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
