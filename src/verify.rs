//! Verifies a published file against its own footer, its input and its model.

use std::path::Path;

use arrow::array::{Array, LargeStringArray, RecordBatch};
use reembed_encoder::batch::RowNames;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::inference::Inference;
use reembed_encoder::limit::AdaptiveLimit;
use reembed_encoder::model::Model;
use reembed_encoder::model::tokenizer::tokenize_texts;
use reembed_encoder::task::TextTemplate;

use crate::chunk::RowChunk;
use crate::config::InputConfig;
use crate::digest::TableHasher;
use crate::footer::Footer;
use crate::publish::readback;
use crate::reader::{Chunks, Reader};
use crate::vectors::{
    LENGTH_TOLERANCE, VectorRows, euclidean_length, is_unit_length, largest_difference,
};

/// Largest difference of a component that is computed again by an encoder that is not
/// batch-invariant. It is twice the encoder's tolerance, because both vectors deviate.
const SAMPLE_TOLERANCE: f32 = 2e-6;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub what: &'static str,
    /// What was found, what is wrong, or why it was skipped.
    pub found: String,
    /// The verdict.
    pub verdict: Verdict,
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The file is as it should be.
    Passed,
    /// The file is wrong.
    Failed,
    /// The check was not requested or is not possible.
    Skipped,
}

/// Opens an output and reads its footer. `reading` has the column names; its path is ignored.
///
/// # Errors
/// `Input` when the file is not a Parquet file; `Output` when reembed did not write it.
pub fn open(reading: &InputConfig, output: &Path) -> Result<(Reader, Footer)> {
    let refuse = |message: &str| {
        Error::new(ErrorKind::Output, message)
            .in_file(output)
            .advice("only files that `reembed run` wrote can be verified")
    };
    let reader = Reader::open(&reading.for_output(output))
        .map_err(|error| error.advice("name a file that `reembed run` wrote"))?;
    let entry = reader.footer_entry().ok_or_else(|| refuse("its footer has no `reembed` entry"))?;
    let footer = Footer::parse(&entry).map_err(|error| refuse(&error.to_string()))?;
    Ok((reader, footer))
}

/// Checks the rows and vectors of an output, and compares it with the input `original` and the
/// model if they are given. With a model, the given number of rows is embedded again.
///
/// # Errors
/// When a file cannot be read to its end or a row cannot be embedded. A file that is merely wrong has
/// a check that is [`Verdict::Failed`].
pub fn verify(
    reading: &InputConfig,
    output: &Reader,
    footer: &Footer,
    original: Option<&Path>,
    model: Option<(&Model, u64)>,
) -> Result<Vec<Check>> {
    let template = TextTemplate { files_prefix: footer.text.files_prefix.clone() };
    let input = |path: &Path| InputConfig { path: path.to_owned(), ..reading.clone() };
    let original = original.map(|path| Reader::open(&input(path))).transpose()?;
    let mut originals =
        original.as_ref().map(|reader| Originals { chunks: reader.chunks(&template), rest: None });
    let rows = output.rows();
    let stride = model.map_or(u64::MAX, |(_, sample)| rows.div_ceil(sample.max(1)).max(1));

    let mut state = State::new(footer);
    let mut hasher = TableHasher::new(output.schema(), None)?;
    for chunk in output.chunks(&template) {
        let chunk = chunk?;
        hasher.update(&chunk.columns)?;
        let vectors = vector_rows(&chunk.columns, &footer.column)?;
        state.check_vectors(&chunk.rows, &vectors);
        if let Some(originals) = &mut originals {
            let (mut start, rows) = (0, chunk.columns.num_rows());
            while start < rows {
                let Some(original) = originals.next(rows - start)? else {
                    state.wrong_rows(format!("the input ends before {}", chunk.rows.name(start)));
                    break;
                };
                let length = original.columns.num_rows();
                state.compare(&slice(&chunk, start, length), &original);
                start += length;
            }
        }
        if let Some((model, _)) = model {
            let first = chunk.rows.first_row.next_multiple_of(stride) - chunk.rows.first_row;
            let picked = (first..chunk.texts.len() as u64).step_by(stride as usize);
            for row in picked {
                state.embed_again(model, &chunk, &vectors, row as usize)?;
            }
        }
    }
    if let Some(Some(more)) = originals.map(|mut originals| originals.next(1)).transpose()? {
        state.wrong_rows(format!("the output ends before {}", more.rows.name(0)));
    }
    state.compare_digests(hasher, output);
    Ok(state.checks(original.is_some(), model.is_some()))
}

/// The rows of the input, in parts that match the chunks of the output.
struct Originals<'a> {
    chunks: Chunks<'a>,
    rest: Option<RowChunk>,
}

impl Originals<'_> {
    /// The next rows, at most `max_rows`; `None` at the end.
    fn next(&mut self, max_rows: usize) -> Result<Option<RowChunk>> {
        let Some(chunk) = self.rest.take().map(Ok).or_else(|| self.chunks.next()).transpose()?
        else {
            return Ok(None);
        };
        let rows = chunk.columns.num_rows();
        if rows <= max_rows {
            return Ok(Some(chunk));
        }
        self.rest = Some(slice(&chunk, max_rows, rows - max_rows));
        Ok(Some(slice(&chunk, 0, max_rows)))
    }
}

/// Some rows of a chunk, without their texts.
fn slice(chunk: &RowChunk, start: usize, length: usize) -> RowChunk {
    RowChunk {
        columns: chunk.columns.slice(start, length),
        rows: RowNames {
            first_row: chunk.rows.first_row + start as u64,
            ids: chunk.rows.ids.slice(start, length),
        },
        texts: LargeStringArray::from_iter_values(std::iter::empty::<&str>()),
    }
}

/// The vectors of a chunk.
fn vector_rows<'a>(columns: &'a RecordBatch, name: &str) -> Result<VectorRows<'a>> {
    let refuse = |message: String| {
        Error::new(ErrorKind::Output, message)
            .at(format!("column `{name}`"))
            .advice("the vector column was changed after it was written")
    };
    let column = columns.column_by_name(name).ok_or_else(|| refuse("it is missing".to_owned()))?;
    VectorRows::new(column.as_ref())
        .ok_or_else(|| refuse(format!("its type is {}, not a list of Float32", column.data_type())))
}

/// What the checks have found so far: counts, and the first problem of each kind.
struct State<'a> {
    footer: &'a Footer,
    rows: u64,
    null_rows: u64,
    wrong_row_count: Option<String>,
    not_finite: Option<String>,
    wrong_length: Option<String>,
    wrong_width: Option<String>,
    wrong_digest: Option<String>,
    ids: Option<String>,
    carried: Option<String>,
    sampled: u64,
    largest_difference: f32,
    wrong_sample: Option<String>,
}

impl<'a> State<'a> {
    fn new(footer: &'a Footer) -> Self {
        State {
            footer,
            rows: 0,
            null_rows: 0,
            wrong_row_count: None,
            not_finite: None,
            wrong_length: None,
            wrong_width: None,
            wrong_digest: None,
            ids: None,
            carried: None,
            sampled: 0,
            largest_difference: 0.0,
            wrong_sample: None,
        }
    }

    fn check_vectors(&mut self, names: &RowNames, vectors: &VectorRows<'_>) {
        let model = &self.footer.lineage.model;
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

    /// Compares the digest of every column with the footer.
    fn compare_digests(&mut self, hasher: TableHasher, output: &Reader) {
        let Some(written) = &self.footer.digests else { return };
        let position = output.schema().index_of(&self.footer.column).unwrap_or(usize::MAX);
        let changed = readback::first_difference(hasher, position, written);
        self.wrong_digest = changed.map(|column| format!("column `{column}` was changed"));
    }

    /// Compares rows of the output with the same number of rows of the input.
    fn compare(&mut self, output: &RowChunk, original: &RowChunk) {
        let (ids, expected) = (&output.rows.ids, &original.rows.ids);
        if let Some(row) = ids.iter().zip(expected.iter()).position(|(id, expected)| id != expected)
        {
            let (found, expected) = (output.rows.name(row), original.rows.name(row));
            self.ids.get_or_insert_with(|| format!("{found}, the input has {expected}"));
        }
        for (position, field) in original.columns.schema_ref().fields().iter().enumerate() {
            if *field.name() == self.footer.column {
                continue;
            }
            let expected = original.columns.column(position);
            // Two columns may have the same name; they keep their order.
            let fields = original.columns.schema_ref().fields();
            let nth = fields[..position].iter().filter(|f| f.name() == field.name()).count();
            let named = output.columns.schema_ref().fields().iter().enumerate();
            let found = named.filter(|(_, f)| f.name() == field.name()).nth(nth);
            let same = match found.map(|(position, _)| output.columns.column(position)) {
                None => {
                    self.carried
                        .get_or_insert_with(|| format!("column `{}` is missing", field.name()));
                    continue;
                }
                Some(column) if column.data_type() != expected.data_type() => {
                    self.carried.get_or_insert_with(|| {
                        let (found, expected) = (column.data_type(), expected.data_type());
                        format!("column `{}` is {found}, was {expected}", field.name())
                    });
                    continue;
                }
                Some(column) => column.as_ref() == expected.as_ref(),
            };
            if !same {
                let name = output.rows.name(0);
                self.carried.get_or_insert_with(|| {
                    format!("column `{}` differs, at or after {name}", field.name())
                });
            }
        }
    }

    fn wrong_rows(&mut self, what: String) {
        self.wrong_row_count.get_or_insert(what);
    }

    /// Embeds one row again and compares the two vectors.
    fn embed_again(
        &mut self,
        model: &Model,
        chunk: &RowChunk,
        vectors: &VectorRows<'_>,
        row: usize,
    ) -> Result<()> {
        let Some(found) = vectors.get(row) else { return Ok(()) };
        let names = RowNames {
            first_row: chunk.rows.first_row + row as u64,
            ids: chunk.rows.ids.slice(row, 1),
        };
        let limit = AdaptiveLimit::single();
        let inference = Inference::new(model.encoder.as_ref(), limit, None, &|_| ());
        let texts = tokenize_texts(
            &model.tokenizer,
            &names,
            1,
            [(0, chunk.texts.value(row))],
            inference.limit(),
        )?;
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

    fn checks(self, compared: bool, embedded: bool) -> Vec<Check> {
        let footer = self.footer;
        let check = |what, wrong: Option<String>, found: String| match wrong {
            Some(wrong) => Check { what, found: wrong, verdict: Verdict::Failed },
            None => Check { what, found, verdict: Verdict::Passed },
        };
        let optional = |requested: bool, check: Check, why_not: &str| match requested {
            true => check,
            false => Check { found: why_not.to_owned(), verdict: Verdict::Skipped, ..check },
        };
        let unequal = |declared: u64, found: u64| {
            (declared != found).then(|| format!("{found}, but the footer declares {declared}"))
        };
        let dimension = footer.lineage.model.dimension;
        vec![
            check("footer", None, format!("fingerprint {:.12}", footer.lineage.fingerprint)),
            check("rows", unequal(footer.rows, self.rows), self.rows.to_string()),
            check(
                "null vectors",
                unequal(footer.null_rows, self.null_rows),
                self.null_rows.to_string(),
            ),
            check("dimension", self.wrong_width, dimension.to_string()),
            check("finite", self.not_finite, "all components".to_owned()),
            optional(
                footer.lineage.model.normalized,
                check("length", self.wrong_length, format!("1 ± {LENGTH_TOLERANCE:e}")),
                "the model does not normalise",
            ),
            optional(
                footer.digests.is_some(),
                check("digests", self.wrong_digest, "all columns are as written".to_owned()),
                "the file was written without digests",
            ),
            optional(
                compared,
                check("row count of input", self.wrong_row_count, "equal".to_owned()),
                "no --input",
            ),
            optional(compared, check("ids", self.ids, "equal, in order".to_owned()), "no --input"),
            optional(
                compared,
                check("carried columns", self.carried, "equal".to_owned()),
                "no --input",
            ),
            optional(
                embedded,
                check(
                    "embedded again",
                    self.wrong_sample,
                    format!(
                        "{} rows, largest difference {:.1e}",
                        self.sampled, self.largest_difference
                    ),
                ),
                "--sample 0",
            ),
        ]
    }
}
