//! Checks every vector of an output, and embeds a sample of its rows again.

use std::collections::VecDeque;

use arrow::array::{Array, RecordBatch};
use reembed_encoder::batch::RowNames;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::inference::Inference;
use reembed_encoder::limit::AdaptiveLimit;
use reembed_encoder::model::Model;
use reembed_encoder::model::tokenizer::tokenize_texts;

use crate::chunk::RowChunk;
use crate::config::Carry;
use crate::digest::TableHasher;
use crate::footer::{ColumnHash, Footer};
use crate::group_digest::vectors_digest;
use crate::publish::readback::{GroupHasher, first_unequal, vector_decoder};
use crate::reader::{Decoder, Reader, TableFile};
use crate::vectors::{VectorRows, euclidean_length, is_unit_length, largest_difference};

/// Largest difference of a component that is computed again by an encoder that is not
/// batch-invariant. It is twice the encoder's tolerance, because both vectors deviate.
const SAMPLE_TOLERANCE: f32 = 2e-6;

/// What the checks have found: counts, and the first problem of each kind.
#[derive(Debug, Default)]
pub struct VectorState {
    pub rows: u64,
    pub null_rows: u64,
    pub not_finite: Option<String>,
    pub wrong_length: Option<String>,
    pub wrong_width: Option<String>,
    pub wrong_digest: Option<String>,
    pub sampled: u64,
    pub largest_difference: f32,
    pub wrong_sample: Option<String>,
}

/// Checks the vectors of an output. `texts` reads the texts and ids of its rows, if it can be had.
///
/// # Errors
/// When a file cannot be read to its end or a row cannot be embedded.
pub fn check(
    output: &TableFile,
    footer: &Footer,
    texts: Option<&Reader>,
    model: Option<(&Model, u64)>,
) -> Result<VectorState> {
    let refuse = |message: String| {
        Error::new(ErrorKind::Output, message)
            .in_file(output.path())
            .at(format!("column `{}`", footer.column))
            .advice("the vector column was changed after it was written")
    };
    let metadata = output.metadata()?;
    let mut named = metadata.schema.roots.iter().enumerate();
    let root = named.find(|(_, root)| root.name == footer.column).map(|(position, _)| position);
    let root = root.ok_or_else(|| refuse("it is missing".to_owned()))?;
    let decoder = vector_decoder(output, root, footer)
        .map_err(|cause| refuse("its type is not a list of Float32".to_owned()).caused_by(cause))?;
    let mut whole = TableHasher::new(decoder.schema(), |_| true)?;
    let mut by_group = GroupHasher::new(&decoder);
    let mut hash = |group: usize, batch: &RecordBatch| match footer.carry {
        Carry::Copy => by_group.update(group, batch),
        Carry::Reencode => whole.update(batch),
    };
    let mut state = VectorState::default();
    let mut vectors = VectorBatches { decoder: &decoder, group: 0, batches: None, rows: 0 };
    match texts {
        None => {
            while let Some((group, batch)) = vectors.next()? {
                hash(group, &batch)?;
                let names = RowNames::unnamed(state.rows);
                state.check_vectors(footer, &names, &vector_rows(&batch, &refuse)?);
            }
        }
        Some(reader) => {
            let stride =
                model.map_or(u64::MAX, |(_, sample)| output.rows().div_ceil(sample.max(1)).max(1));
            let mut rest: VecDeque<RecordBatch> = VecDeque::new();
            for chunk in reader.chunks() {
                let chunk = chunk?;
                let mut start = 0;
                while start < chunk.texts.len() {
                    let batch = match rest.pop_front() {
                        Some(batch) => batch,
                        None => match vectors.next()? {
                            Some((group, batch)) => {
                                hash(group, &batch)?;
                                batch
                            }
                            None => break,
                        },
                    };
                    let rows = batch.num_rows().min(chunk.texts.len() - start);
                    if rows < batch.num_rows() {
                        rest.push_front(batch.slice(rows, batch.num_rows() - rows));
                    }
                    let part = batch.slice(0, rows);
                    let vectors = vector_rows(&part, &refuse)?;
                    let names = chunk.rows.slice(start, rows);
                    state.check_vectors(footer, &names, &vectors);
                    if let Some((model, _)) = model {
                        let first = names.first_row.next_multiple_of(stride) - names.first_row;
                        let picked = (first..rows as u64).step_by(stride as usize);
                        for row in picked {
                            let found = vectors.get(row as usize);
                            state.embed_again(model, &chunk, start + row as usize, found)?;
                        }
                    }
                    start += rows;
                }
            }
            // Rows that the source of the texts does not have.
            for batch in rest {
                let names = RowNames::unnamed(state.rows);
                state.check_vectors(footer, &names, &vector_rows(&batch, &refuse)?);
            }
            while let Some((group, batch)) = vectors.next()? {
                hash(group, &batch)?;
                let names = RowNames::unnamed(state.rows);
                state.check_vectors(footer, &names, &vector_rows(&batch, &refuse)?);
            }
        }
    }
    if let Some(digests) = &footer.digests {
        let is_wrong = match footer.carry {
            Carry::Copy => {
                let found = by_group.finish(decoder.group_count())?;
                let written = footer.groups.iter().map(|group| &group.values);
                first_unequal(found.iter(), written).is_some()
                    || vectors_digest(&footer.groups) != digests.vectors
            }
            Carry::Reencode => {
                let expected = ColumnHash::Sha256(digests.vectors.clone());
                whole.finish().first().is_none_or(|found| found.digest != expected)
            }
        };
        state.wrong_digest = is_wrong.then(|| format!("column `{}` was changed", footer.column));
    }
    Ok(state)
}

/// The batches of all row groups.
struct VectorBatches<'a> {
    decoder: &'a Decoder,
    group: usize,
    batches: Option<crate::reader::Batches>,
    /// Rows of the row group so far.
    rows: u64,
}

impl VectorBatches<'_> {
    fn next(&mut self) -> Result<Option<(usize, RecordBatch)>> {
        loop {
            if let Some(batches) = &mut self.batches {
                if let Some(batch) = batches.next() {
                    let batch = batch.map_err(|error| self.decoder.locate(self.group, error))?;
                    self.rows += batch.num_rows() as u64;
                    return Ok(Some((self.group, batch)));
                }
                self.decoder.check_rows(self.group, self.rows)?;
                (self.batches, self.rows) = (None, 0);
                self.group += 1;
            }
            if self.group == self.decoder.group_count() {
                return Ok(None);
            }
            self.batches = Some(self.decoder.scan_batches(self.group)?);
        }
    }
}

/// The vectors of a batch that has no other column.
fn vector_rows<'a>(
    batch: &'a RecordBatch,
    refuse: &dyn Fn(String) -> Error,
) -> Result<VectorRows<'a>> {
    let column = batch.column(0);
    VectorRows::new(column.as_ref())
        .ok_or_else(|| refuse(format!("its type is {}, not a list of Float32", column.data_type())))
}

impl VectorState {
    fn check_vectors(&mut self, footer: &Footer, names: &RowNames, vectors: &VectorRows<'_>) {
        let model = &footer.lineage.model;
        for (row, vector) in vectors.iter().enumerate() {
            self.rows += 1;
            let Some(vector) = vector else {
                self.null_rows += 1;
                continue;
            };
            let name = || names.name(row);
            if vector.len() != model.dimension {
                let width = vector.len();
                self.wrong_width.get_or_insert_with(|| format!("{} has {width}", name()));
            }
            let length = euclidean_length(vector);
            if !length.is_finite() {
                self.not_finite.get_or_insert_with(name);
            }
            if model.normalized && !is_unit_length(length) {
                self.wrong_length.get_or_insert_with(|| format!("{} has length {length}", name()));
            }
        }
    }

    /// Embeds one row of a chunk again and compares the vector with the one that was found.
    fn embed_again(
        &mut self,
        model: &Model,
        chunk: &RowChunk,
        row: usize,
        found: Option<&[f32]>,
    ) -> Result<()> {
        let Some(found) = found else { return Ok(()) };
        let names = chunk.rows.slice(row, 1);
        let limit = AdaptiveLimit::single();
        let inference = Inference::new(model.encoder.as_ref(), limit, None, &|_| ());
        let text = [(0, chunk.texts.value(row))];
        let texts = tokenize_texts(&model.tokenizer, &names, 1, text, inference.limit())?;
        let made = inference.embed(&names, 1, texts.batches)?.values;
        let tolerance = if model.encoder.is_batch_invariant() { 0.0 } else { SAMPLE_TOLERANCE };
        let difference = largest_difference(&made, found);
        self.sampled += 1;
        self.largest_difference = self.largest_difference.max(difference);
        if difference > tolerance {
            let name = chunk.rows.name(row);
            self.wrong_sample.get_or_insert_with(|| {
                format!("{name} differs by {difference:e} from the vector computed now")
            });
        }
        Ok(())
    }
}
