//! The stages: what each thread of a run does.

use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use crossbeam_channel::{Receiver, Sender};
use reembed_encoder::batch::strings;
use reembed_encoder::error::{Error, ErrorKind, Result, catch_panic};
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKeys;

use super::clock::StageClocks;
use super::keys::TableKeys;
use super::lazy_inference::LazyInference;
use super::prepare::carried_hasher;
use super::reuse::{ChunkResolver, Known, Sample, Totals, add_keys, look_up, tokenize_part};
use super::split::Splitter;
use crate::cache::VectorCache;
use crate::chunk::{KeyedChunk, RowChunk, Rows, TokenChunk, UnchangedGroup};
use crate::config::{Config, OnEmpty};
use crate::digest::TableHasher;
use crate::events::{Event, Stage};
use crate::failpoints::{self, Failpoint};
use crate::footer::ColumnDigest;
use crate::reader::{GroupFilter, Reader, RepeatedIds};
use crate::writer::Writer;

/// Chunks in the channel between two stages. With one, a stage finds its next chunk ready.
pub const CHANNEL_CHUNKS: usize = 1;

/// What the reader stage has told of its rows at its end.
#[derive(Default)]
pub(super) struct ReadRows {
    pub repeated: RepeatedIds,
    /// The digests of the carried columns, if they are encoded anew.
    pub carried: Vec<ColumnDigest>,
    /// Rows of the input.
    pub rows: u64,
}

/// What the reader stage does with rows.
pub(super) struct ReadStage<'a> {
    pub config: &'a Config,
    pub reader: &'a Reader,
    /// Those of the vector columns.
    pub keys: &'a [ContentKeys],
    /// If each part of a text is a row of the output.
    pub splitter: Option<Splitter<'a>>,
    pub on_event: &'a (dyn Fn(Event) + Sync),
}

impl ReadStage<'_> {
    /// The reader stage.
    pub(super) fn read(
        &self,
        (filter, found): (&mut dyn GroupFilter, &dyn Fn(usize) -> Option<UnchangedGroup>),
        stop: &Stop,
        clocks: &StageClocks,
        out: Sender<Rows<KeyedChunk>>,
    ) -> Result<ReadRows> {
        let mut hasher = carried_hasher(self.config, self.reader)?;
        let mut chunks = self.reader.chunks();
        let mut read = ReadRows::default();
        let mut next = || {
            let next = chunks.next_rows(filter)?;
            Some(next.and_then(|rows| match rows {
                Ok(chunk) => {
                    read.rows += chunk.len() as u64;
                    self.prepare(chunk, hasher.as_mut())
                }
                Err(number) => {
                    let group = found(number).ok_or_else(|| {
                        Error::new(ErrorKind::Internal, "an unchanged row group is lost (bug)")
                    })?;
                    read.rows += group.rows();
                    Ok(vec![Rows::Unchanged(Box::new(group))])
                }
            }))
        };
        'read: while let Some(rows) = clocks.busy(Stage::Reader, &mut next) {
            for rows in rows? {
                stop.check()?;
                let is_first =
                    matches!(&rows, Rows::Chunk(chunk) if chunk.chunk.rows.first_row == 0);
                if failpoints::is_on(Failpoint::DropOneBatch) && is_first {
                    continue;
                }
                if !clocks.waiting_for_output(Stage::Reader, || out.send(rows).is_ok()) {
                    break 'read;
                }
            }
        }
        read.carried = hasher.map(TableHasher::finish).unwrap_or_default();
        read.repeated = chunks.repeated_ids().clone();
        Ok(read)
    }

    /// Splits the texts of a chunk, hashes what is encoded anew, and adds the keys.
    fn prepare(
        &self,
        chunk: RowChunk,
        mut hasher: Option<&mut TableHasher>,
    ) -> Result<Vec<Rows<KeyedChunk>>> {
        let chunks = match &self.splitter {
            Some(splitter) => {
                let chunks = splitter.split(&chunk)?;
                let rows = chunks.iter().map(RowChunk::len).sum::<usize>() - chunk.len();
                (self.on_event)(Event::Split { rows: rows as u64 });
                chunks
            }
            None => vec![chunk],
        };
        let drops_rows = self.config.output.on_empty == OnEmpty::Drop;
        let prepare = |mut chunk: RowChunk| {
            match (&mut hasher, &chunk.parts) {
                (Some(hasher), Some(parts)) => {
                    let parts = match drops_rows {
                        true => &parts.select(&places_with_text(&chunk)),
                        false => parts,
                    };
                    for start in (0..parts.len()).step_by(HASHED_PARTS) {
                        let end = parts.len().min(start + HASHED_PARTS);
                        hasher.update(&parts.columns(&chunk.columns, start..end)?)?;
                    }
                }
                (Some(hasher), None) => {
                    if drops_rows {
                        chunk.columns = rows_with_text(&chunk)?;
                    }
                    hasher.update(&chunk.columns)?;
                }
                // Only the texts go on: the writer copies the columns.
                (None, _) => chunk.columns = without_columns(&chunk.columns)?,
            }
            Ok(Rows::Chunk(add_keys(chunk, self.keys)))
        };
        chunks.into_iter().map(prepare).collect()
    }
}

/// Parts whose columns are repeated at once, to hash them.
const HASHED_PARTS: usize = 64;

/// The rows that have a text.
fn places_with_text(chunk: &RowChunk) -> Vec<usize> {
    let texts = strings(chunk.first_texts()).enumerate();
    texts.filter(|(_, text)| !text.is_empty()).map(|(row, _)| row).collect()
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

/// The tokenizer stage.
pub(super) fn tokenize(
    config: &Config,
    columns: &[&LazyInference<'_>],
    (cache, published): Known<'_, '_>,
    sample: Sample,
    clocks: &StageClocks,
    (rows, out): (Receiver<Rows<KeyedChunk>>, Sender<Rows<TokenChunk>>),
) -> Result<()> {
    let mut samples = vec![sample; columns.len()];
    let mut prepare = |chunk: KeyedChunk| {
        let KeyedChunk { chunk: RowChunk { columns: of_input, rows, texts, parts }, keys } = chunk;
        let mut tokens = Vec::with_capacity(columns.len());
        let of_columns = config.embeddings.iter().zip(columns).zip(&mut samples);
        let of_columns = of_columns.zip(texts.iter().zip(keys));
        for (((embedding, inference), sample), (texts, keys)) in of_columns {
            inference.stop().check()?;
            let view = cache.map(VectorCache::view).transpose()?;
            let treatment = (config.output.on_empty, embedding.model.text.refuses_long_texts());
            let views = (view, published);
            let known = look_up((&rows, texts, &keys), views, inference.dim(), treatment, sample)?;
            tokens.push(tokenize_part(inference, (&rows, texts, keys), known)?);
        }
        Ok(TokenChunk { columns: of_input, rows, parts, tokens })
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
    mut resolver: ChunkResolver<'_, '_, '_>,
    clocks: &StageClocks,
    rows: Receiver<Rows<TokenChunk>>,
    (writer, keys): (&mut Writer<'_>, &mut TableKeys),
) -> Result<Totals> {
    let receive = || clocks.waiting_for_input(Stage::Inference, || rows.recv()).ok();
    std::iter::from_fn(receive).try_for_each(|rows| match rows {
        Rows::Chunk(chunk) => {
            let chunk = clocks.busy(Stage::Inference, || resolver.resolve(chunk))?;
            clocks.busy(Stage::Writer, || {
                keys.add(&chunk)?;
                writer.write(chunk)
            })
        }
        Rows::Unchanged(group) => {
            resolver.skip(&group.digests);
            clocks.busy(Stage::Writer, || {
                keys.copy(&group)?;
                writer.copy_group(&group)
            })
        }
    })?;
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

/// Adds the input file to the error of a row, because the stages after the reader do not know it.
pub fn add_input_file(error: Error, input: &Path) -> Error {
    let names_a_row =
        matches!(error.kind(), ErrorKind::Data | ErrorKind::OutOfMemory | ErrorKind::Encode);
    if names_a_row && error.place().file().is_none() { error.in_file(input) } else { error }
}
