//! Checks every vector of an output, and embeds a sample of its rows again.

use std::collections::VecDeque;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Field;
use reembed_encoder::batch::RowNames;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::inference::Inference;
use reembed_encoder::limit::AdaptiveLimit;
use reembed_encoder::model::Model;
use reembed_encoder::model::tokenizer::tokenize_texts;

use super::kept_rows::RowSource;
use crate::chunk::RowChunk;
use crate::config::Carry;
use crate::digest::TableHasher;
use crate::footer::{ColumnHash, EmbeddingFooter};
use crate::group_digest::vectors_digest;
use crate::publish::readback::{GroupHasher, first_unequal, vector_decoder};
use crate::reader::{Decoder, TableFile};
use crate::vectors::{Flaw, Ranges, Vector, VectorExpectation, VectorForm, VectorRows, compare};

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
    /// Why rows cannot be embedded again, if the ranges of their components are not those of the
    /// sample.
    pub lacks_ranges: Option<String>,
}

/// What embeds a sample of the rows again.
pub struct Sample<'a> {
    /// The model.
    pub model: &'a Model,
    /// Number of rows of the column.
    pub rows: u64,
    /// The ranges of components, if the configuration names a file of them.
    pub ranges: Option<&'a Ranges>,
}

/// Checks the vectors of a column of an output. `texts` reads the texts and ids of its rows, if it can be
/// had.
///
/// # Errors
/// When a file cannot be read to its end or a row cannot be embedded.
pub fn check(
    output: &TableFile,
    carry: Carry,
    footer: &EmbeddingFooter<'_>,
    texts: Option<&RowSource>,
    sample: Option<&Sample<'_>>,
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
    let decoder = vector_decoder(output, root, footer).map_err(|cause| {
        refuse("its type is not that of the footer".to_owned()).caused_by(cause)
    })?;
    let mut whole = TableHasher::new(decoder.schema(), |_| true)?;
    let mut by_group = GroupHasher::new(&decoder);
    let mut hash = |group: usize, batch: &RecordBatch| match carry {
        Carry::Copy => by_group.update(group, batch),
        Carry::Reencode => whole.update(batch),
    };
    let mut state = VectorState::default();
    let expectation = VectorExpectation::from_footer(footer);
    let again = match sample {
        None => None,
        Some(sample) => {
            state.lacks_ranges = lacks_ranges(footer, sample.ranges);
            EmbedAgain::new(footer, sample)?
        }
    };
    let mut vectors = VectorBatches { decoder: &decoder, group: 0, batches: None, rows: 0 };
    match texts {
        None => {
            while let Some((group, batch)) = vectors.next()? {
                hash(group, &batch)?;
                let names = RowNames::unnamed(state.rows);
                state.check_vectors(&expectation, &names, &vector_rows(&batch, &refuse)?);
            }
        }
        Some(source) => {
            let stride =
                sample.map_or(u64::MAX, |sample| output.rows().div_ceil(sample.rows.max(1)).max(1));
            let mut rest: VecDeque<RecordBatch> = VecDeque::new();
            for chunk in source.rows() {
                let chunk = chunk?;
                let mut start = 0;
                while start < chunk.len() {
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
                    let rows = batch.num_rows().min(chunk.len() - start);
                    if rows < batch.num_rows() {
                        rest.push_front(batch.slice(rows, batch.num_rows() - rows));
                    }
                    let part = batch.slice(0, rows);
                    let vectors = vector_rows(&part, &refuse)?;
                    let names = chunk.rows.slice(start, rows);
                    state.check_vectors(&expectation, &names, &vectors);
                    if let Some(again) = &again {
                        let first = names.first_row.next_multiple_of(stride) - names.first_row;
                        let picked = (first..rows as u64).step_by(stride as usize);
                        for row in picked {
                            let found = vectors.get(row as usize);
                            state.embed_again(again, &chunk, start + row as usize, found)?;
                        }
                    }
                    start += rows;
                }
            }
            // Rows that the source of the texts does not have.
            for batch in rest {
                let names = RowNames::unnamed(state.rows);
                state.check_vectors(&expectation, &names, &vector_rows(&batch, &refuse)?);
            }
            while let Some((group, batch)) = vectors.next()? {
                hash(group, &batch)?;
                let names = RowNames::unnamed(state.rows);
                state.check_vectors(&expectation, &names, &vector_rows(&batch, &refuse)?);
            }
        }
    }
    if let Some(digest) = footer.vectors {
        let is_wrong = match carry {
            Carry::Copy => {
                let found = by_group.finish(decoder.group_count())?;
                let written = footer.groups.iter().map(|group| &group.values);
                first_unequal(found.iter(), written).is_some()
                    || vectors_digest(footer.groups) != digest
            }
            Carry::Reencode => {
                let expected = ColumnHash::Sha256(digest.to_owned());
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
        .ok_or_else(|| refuse(format!("its type is {}, that of no vectors", column.data_type())))
}

impl VectorState {
    fn check_vectors(
        &mut self,
        expectation: &VectorExpectation,
        names: &RowNames,
        vectors: &VectorRows<'_>,
    ) {
        for (row, vector) in vectors.iter().enumerate() {
            self.rows += 1;
            let Some(vector) = vector else {
                self.null_rows += 1;
                continue;
            };
            let name = || names.name(row);
            for flaw in expectation.flaws(vector).into_iter().flatten() {
                match flaw {
                    Flaw::Width(width) => {
                        self.wrong_width.get_or_insert_with(|| format!("{} has {width}", name()));
                    }
                    Flaw::NotFinite => {
                        self.not_finite.get_or_insert_with(name);
                    }
                    Flaw::Length(length) => {
                        let wrong = || format!("{} has length {length}", name());
                        self.wrong_length.get_or_insert_with(wrong);
                    }
                }
            }
        }
    }

    /// Embeds one row of a chunk again and compares the vector with the one that was found.
    fn embed_again(
        &mut self,
        again: &EmbedAgain<'_>,
        chunk: &RowChunk,
        row: usize,
        found: Option<Vector<'_>>,
    ) -> Result<()> {
        let Some(found) = found else { return Ok(()) };
        let (difference, is_explained) = again.compare(chunk, row, found)?;
        self.sampled += 1;
        self.largest_difference = self.largest_difference.max(difference);
        if !is_explained {
            let name = chunk.rows.name(row);
            self.wrong_sample.get_or_insert_with(|| {
                format!("{name} differs by {difference:e} from the vector computed now")
            });
        }
        Ok(())
    }
}

/// Why the vectors of an output cannot be made with these ranges; `None` if they can.
fn lacks_ranges(footer: &EmbeddingFooter<'_>, given: Option<&Ranges>) -> Option<String> {
    let written = footer.form?.ranges.as_ref()?;
    match given.map(Ranges::sha256) {
        Some(given) if given == written => None,
        Some(given) => Some(format!(
            "`vector.ranges` is another file than that of the output: its SHA-256 is {given:.12}, and \
             that of the output's ranges is {written:.12}"
        )),
        None => Some(format!(
            "the ranges of the components are not given: set `vector.ranges` to their file, whose \
             SHA-256 is {written:.12}"
        )),
    }
}

/// Embeds rows again, in the form of an output.
struct EmbedAgain<'a> {
    model: &'a Model,
    form: VectorForm,
    field: Field,
}

impl<'a> EmbedAgain<'a> {
    /// `None` if the form has ranges other than those of `sample`.
    fn new(footer: &EmbeddingFooter<'_>, sample: &Sample<'a>) -> Result<Option<EmbedAgain<'a>>> {
        let dim = sample.model.encoder.dim();
        let form = match footer.form {
            Some(form) => VectorForm::from_footer(form, dim, sample.ranges),
            None => Some(VectorForm::of_model(dim)),
        };
        let Some(form) = form else { return Ok(None) };
        let field = form.field(footer.column, true)?;
        Ok(Some(EmbedAgain { model: sample.model, form, field }))
    }

    /// The difference between the vector of a row that was found and the one that is made now, and
    /// whether it is one that the encoder may make.
    fn compare(&self, chunk: &RowChunk, row: usize, found: Vector<'_>) -> Result<(f32, bool)> {
        let EmbedAgain { model, form, field } = self;
        let names = chunk.rows.slice(row, 1);
        let limit = AdaptiveLimit::single();
        let inference = Inference::new(model.encoder.as_ref(), limit, None, &|_| ());
        let text = [(0, chunk.first_texts().value(row))];
        let texts = tokenize_texts(&model.tokenizer, &names, 1, text, inference.limit())?;
        let made = inference.embed(&names, 1, texts.batches)?;
        let mut scaled = Vec::new();
        let components = form.components().of(&made.values, &mut scaled).to_vec();
        let slack = if model.encoder.is_batch_invariant() { 0.0 } else { SAMPLE_TOLERANCE };
        // A component that is too large for the form now is unlike the one that was found.
        let Ok(column) = form.build_column(field, made) else { return Ok((f32::INFINITY, false)) };
        let rows = VectorRows::new(column.as_ref());
        let Some(made) = rows.as_ref().and_then(|rows| rows.get(0)) else {
            return Ok((f32::INFINITY, false));
        };
        let difference = compare(found, made, &components, form.is_bits(), slack);
        Ok((difference.largest, difference.is_explained))
    }
}
