//! The stages: what each thread of a run does.

use std::thread::{self, ScopedJoinHandle};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use crossbeam_channel::{Receiver, Sender};
use reembed_encoder::batch::strings;
use reembed_encoder::error::{Error, ErrorKind, Result, catch_panic};
use reembed_encoder::inference::Inference;
use reembed_encoder::model::tokenizer::TextTokenizer;
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKeys;

use super::clock::StageClocks;
use super::prepare::carried_hasher;
use super::reuse::{ChunkResolver, Sample, Totals, add_keys, look_up, tokenize_part};
use crate::cache::VectorCache;
use crate::chunk::{KeyedChunk, RowChunk, Rows, TokenChunk, UnchangedGroup};
use crate::config::{Config, OnEmpty};
use crate::digest::TableHasher;
use crate::events::Stage;
use crate::failpoints::{self, Failpoint};
use crate::footer::ColumnDigest;
use crate::reader::{GroupFilter, Reader, RepeatedIds};
use crate::writer::Writer;

/// The reader stage. Returns the repeated ids, and the digests of the carried columns if they are
/// encoded anew.
pub(super) fn read(
    config: &Config,
    reader: &Reader,
    keys: &[ContentKeys],
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
pub(super) fn rows_with_text(chunk: &RowChunk) -> Result<RecordBatch> {
    let has_text: Vec<bool> = strings(chunk.first_texts()).map(|text| !text.is_empty()).collect();
    if has_text.iter().all(|has_text| *has_text) {
        return Ok(chunk.columns.clone());
    }
    filter_record_batch(&chunk.columns, &BooleanArray::from(has_text)).map_err(|cause| {
        Error::new(ErrorKind::Internal, "the rows without text cannot be left out").caused_by(cause)
    })
}

/// The rows of a batch without its columns.
pub(super) fn without_columns(batch: &RecordBatch) -> Result<RecordBatch> {
    batch.project(&[]).map_err(|cause| {
        Error::new(ErrorKind::Internal, "the columns of a chunk cannot be dropped").caused_by(cause)
    })
}

/// What embeds the texts of a vector column.
pub(super) struct ColumnEncoder<'a> {
    pub tokenizer: &'a TextTokenizer,
    pub inference: &'a Inference<'a>,
}

/// The tokenizer stage.
pub(super) fn tokenize(
    on_empty: OnEmpty,
    columns: &[ColumnEncoder<'_>],
    cache: Option<&VectorCache<'_>>,
    sample: Sample,
    clocks: &StageClocks,
    (rows, out): (Receiver<Rows<KeyedChunk>>, Sender<Rows<TokenChunk>>),
) -> Result<()> {
    let mut samples = vec![sample; columns.len()];
    let mut prepare = |chunk: KeyedChunk| {
        let KeyedChunk { chunk: RowChunk { columns: of_input, rows, texts }, keys } = chunk;
        let mut parts = Vec::with_capacity(columns.len());
        let of_columns = columns.iter().zip(&mut samples).zip(texts.iter().zip(keys));
        for ((column, sample), (texts, keys)) in of_columns {
            let ColumnEncoder { tokenizer, inference } = *column;
            inference.stop().check()?;
            let view = cache.map(VectorCache::view).transpose()?;
            let treatment = (on_empty, tokenizer.refuses_long_texts());
            let known = look_up((&rows, texts, &keys), view, inference.dim(), treatment, sample)?;
            parts.push(tokenize_part(tokenizer, (&rows, texts, keys), known, inference.limit())?);
        }
        Ok(TokenChunk { columns: of_input, rows, parts })
    };
    let receive = || clocks.waiting_for_input(Stage::Tokenizer, || rows.recv());
    while let Ok(rows) = receive() {
        let rows = match rows {
            Rows::Unchanged(group) => Rows::Unchanged(group),
            Rows::Chunk(chunk) => Rows::Chunk(clocks.busy(Stage::Tokenizer, || prepare(chunk))?),
        };
        if !clocks.waiting_for_output(Stage::Tokenizer, || out.send(rows).is_ok()) {
            break;
        }
    }
    Ok(())
}

/// The inference and writer stages, which share a thread.
pub(super) fn infer(
    mut resolver: ChunkResolver<'_>,
    clocks: &StageClocks,
    rows: Receiver<Rows<TokenChunk>>,
    writer: &mut Writer<'_>,
) -> Result<Totals> {
    let receive = || clocks.waiting_for_input(Stage::Inference, || rows.recv()).ok();
    let resolved = std::iter::from_fn(receive).try_for_each(|rows| match rows {
        Rows::Chunk(chunk) => {
            let (columns, vectors) = clocks.busy(Stage::Inference, || resolver.resolve(chunk))?;
            clocks.busy(Stage::Writer, || writer.write(&columns, vectors))
        }
        Rows::Unchanged(group) => {
            resolver.skip(&group.digests);
            clocks.busy(Stage::Writer, || writer.copy_group(&group))
        }
    });
    // Also after an error, so that the next run reuses the vectors.
    let committed = clocks.busy(Stage::Inference, || resolver.commit());
    resolved.and(committed)?;
    Ok(resolver.into_totals())
}

pub(super) fn spawn<'scope, 'env, T: Send + 'scope>(
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
pub(super) fn in_stage<T>(stage: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_panic(ErrorKind::Internal, &format!("the {stage} stage"), work)
}

pub(super) fn join<T>(handle: Result<ScopedJoinHandle<'_, Result<T>>>) -> Result<T> {
    handle?.join().unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Internal, "a pipeline stage exited without a result (bug)"))
    })
}
