//! The main job: every thread, channel and join of it, and nothing numeric.
//!
//! ```text
//!   reader ──[RowChunk]──► tokenizer ──[TokenChunk]──► inference + writer
//!    thread   bounded        thread     bounded          this thread
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

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::batch::{RowChunk, TokenBatch, TokenChunk, shown_id};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result, catch_panic};
use crate::inference::{Inference, Work};
use crate::limit::{AdaptiveLimit, memory_budget, tokens_within};
use crate::lineage::{Footer, FooterText};
use crate::memory;
use crate::model::{self, Model};
use crate::reader::{Reader, RepeatedIds};
use crate::report::stages::Stage;
use crate::report::{Event, Loaded, Report, Warning};
use crate::tokenizer::tokenize_chunk;
use crate::writer::{self, Writer};
use clock::StageClocks;

/// Chunks that wait between two stages: one, so that a stage always has its next piece of work at hand.
pub const CHANNEL_CHUNKS: usize = 1;

/// Embeds every row of the input and publishes the output.
///
/// `on_event` is called from several threads, often; it should return soon.
///
/// # Errors
/// The first real cause, naming its place. The output path is then as it was before.
pub fn run(config: &Config, on_event: &(dyn Fn(Event) + Sync)) -> Result<Report> {
    let reader = prepare(config)?;
    writer::make_folder(&config.output.path)?;
    let loading = Instant::now();
    let model = model::load(&config.model, &|progress| on_event(Event::Model(progress)))?;
    run_with(config, &reader, &model, loading.elapsed(), on_event)
}

/// Everything that can be known before the model is loaded: the input opens and has the columns, the output
/// can be put where it is wanted.
///
/// # Errors
/// `Input` or `Target`.
pub fn prepare(config: &Config) -> Result<Reader> {
    let reader = Reader::open(&config.input)?;
    check_output_column(config, &reader)?;
    writer::check_target(&config.output.path, &config.input.path)?;
    Ok(reader)
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

/// [`run`], with the input opened and the model loaded. The output's folder has to be there.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    config: &Config,
    reader: &Reader,
    model: &Model,
    model_load: Duration,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Report> {
    let started = Instant::now();
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

    let encoder = model.encoder.as_ref();
    on_event(Event::Loaded(Box::new(Loaded {
        lineage: model.lineage(),
        runs_on: encoder.runs_on(),
        took: model_load,
    })));
    let budget = memory_budget(config.batch.memory_limit, memory::read());
    let full_length = model.tokenizer.max_length();
    let priced = tokens_within(budget, full_length, |shape| encoder.bytes_for(shape));
    let limit = AdaptiveLimit::new(config.batch.bounds(priced));
    let inference = Inference::new(encoder, limit, budget, &on_event);
    let mut writer =
        Writer::create(&config.output, reader.schema(), reader.key_values(), encoder.dim())?;
    let replaced_column = writer.replaces_column();
    on_event(Event::Started { rows: reader.rows(), limit: inference.limit() });

    let (row_sender, row_receiver) = bounded::<RowChunk>(CHANNEL_CHUNKS);
    let (token_sender, token_receiver) = bounded::<TokenChunk>(CHANNEL_CHUNKS);
    let clocks = StageClocks::default();
    let flowed = thread::scope(|scope| {
        let reading = spawn(scope, "reader", || read(config, reader, &clocks, row_sender));
        let tokenizing = spawn(scope, "tokenizer", || {
            let ends = (row_receiver, token_sender);
            tokenize(config, model, &inference, &clocks, &on_event, ends)
        });
        let inferred = in_stage("inference", || {
            infer(&inference, &clocks, token_receiver, &mut writer, &on_event)
        });
        // Upstream first: what a stage lacked is the fault of the one before it.
        let repeated = join(reading);
        let tokenized = join(tokenizing);
        let repeated = repeated?;
        tokenized?;
        Ok::<_, Error>((inferred?, repeated))
    })
    .map_err(|error| of_input(error, &config.input.path));
    let (sums, repeated) = flowed.inspect_err(|_| on_event(Event::Stages(clocks.times())))?;
    if let RepeatedIds { count, first: Some(first) } = repeated {
        on_event(Event::Warning(Warning::DuplicateIds { count, first }));
    }

    let lineage = model.lineage();
    let published = clocks.busy(Stage::Writer, || {
        writer.publish(|rows, null_rows| Footer {
            lineage: lineage.clone(),
            text: FooterText::new(&config.text, reader.columns().names().to_vec()),
            column: config.output.column.clone(),
            rows,
            null_rows,
        })
    });
    on_event(Event::Stages(clocks.times()));
    let published = published?;
    Ok(Report {
        rows: published.rows,
        null_rows: published.null_rows,
        truncated_rows: sums.truncated,
        work: sums.work,
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
        peak_resident: memory::peak_resident(),
    })
}

/// A row is found where it stands: the stages behind the reader do not know the file.
fn of_input(error: Error, input: &Path) -> Error {
    let is_of_a_row =
        matches!(error.kind(), ErrorKind::Data | ErrorKind::OutOfMemory | ErrorKind::Encode);
    if is_of_a_row && error.place().file().is_none() { error.in_file(input) } else { error }
}

/// What the inference stage adds up.
#[derive(Default)]
struct Sums {
    work: Work,
    truncated: u64,
}

fn read(
    config: &Config,
    reader: &Reader,
    clocks: &StageClocks,
    out: Sender<RowChunk>,
) -> Result<RepeatedIds> {
    let mut chunks = reader.chunks(&config.text);
    while let Some(chunk) = clocks.busy(Stage::Reader, || chunks.next()) {
        let chunk = chunk?;
        if clocks.waiting_for_output(Stage::Reader, || out.send(chunk)).is_err() {
            break;
        }
    }
    Ok(chunks.repeated_ids().clone())
}

fn tokenize(
    config: &Config,
    model: &Model,
    inference: &Inference<'_>,
    clocks: &StageClocks,
    on_event: &(dyn Fn(Event) + Sync),
    (rows, out): (Receiver<RowChunk>, Sender<TokenChunk>),
) -> Result<()> {
    let receive = || clocks.waiting_for_input(Stage::Tokenizer, || rows.recv());
    while let Ok(chunk) = receive() {
        let limit = inference.limit();
        let chunk = clocks.busy(Stage::Tokenizer, || {
            tokenize_chunk(&model.tokenizer, chunk, config.output.on_empty, limit)
        })?;
        on_event(tokenized(&chunk));
        if clocks.waiting_for_output(Stage::Tokenizer, || out.send(chunk)).is_err() {
            break;
        }
    }
    Ok(())
}

fn tokenized(TokenChunk { rows, texts, .. }: &TokenChunk) -> Event {
    let lengths = texts.batches.iter().flat_map(TokenBatch::texts).map(|text| text.len() as u32);
    let id = |row: &usize| rows.ids.get(*row).map(|id| shown_id(id));
    Event::Tokenized {
        lengths: lengths.collect(),
        truncated: texts.truncated.iter().filter_map(id).collect(),
    }
}

fn infer(
    inference: &Inference<'_>,
    clocks: &StageClocks,
    chunks: Receiver<TokenChunk>,
    writer: &mut Writer,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Sums> {
    let mut sums = Sums::default();
    let receive = || clocks.waiting_for_input(Stage::Inference, || chunks.recv());
    while let Ok(TokenChunk { columns, rows, texts }) = receive() {
        sums.truncated += texts.truncated.len() as u64;
        let vectors = clocks.busy(Stage::Inference, || inference.embed(&rows, texts.batches))?;
        sums.work.add(&vectors.work);
        let empty = vectors.present.iter().filter(|present| !**present).count();
        if empty > 0 {
            on_event(Event::Empty { rows: empty });
        }
        clocks.busy(Stage::Writer, || writer.write(&columns, vectors))?;
    }
    Ok(sums)
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
    handle?
        .join()
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "a stage ended without a word")))
}
