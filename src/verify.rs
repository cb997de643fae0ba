//! Is a published file what it says it is? Against its own footer, its input, and its model.

use std::path::Path;

use arrow::array::LargeStringArray;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type};
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
use crate::publish::readback::{self, LENGTH_TOLERANCE};
use crate::reader::{Chunks, Reader};

/// A vector that is made again may differ by this much per component where the encoder is not
/// batch-invariant: twice what it promises, since neither of the two is the reference.
const SAMPLE_TOLERANCE: f32 = 2e-6;

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub what: &'static str,
    /// What was found, or what is wrong.
    pub found: String,
    /// How it ended.
    pub verdict: Verdict,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not.
    Broken,
    /// It was not asked for.
    Skipped,
}

/// Opens an output and reads its footer. `reading` says how tables are read; its own path does not matter.
///
/// # Errors
/// `Input` when the file is no Parquet, or `Output` when reembed did not write it.
pub fn open(reading: &InputConfig, output: &Path) -> Result<(Reader, Footer)> {
    let refuse = |message: &str| {
        Error::new(ErrorKind::Output, message)
            .in_file(output)
            .advice("only files that `reembed run` wrote can be verified")
    };
    let reader = Reader::open(&reading.of_output(output))
        .map_err(|error| error.advice("name a file that `reembed run` wrote"))?;
    let entry = reader.footer_entry().ok_or_else(|| refuse("its footer has no `reembed` entry"))?;
    let footer = Footer::parse(&entry).map_err(|flaw| refuse(&flaw.to_string()))?;
    Ok((reader, footer))
}

/// Checks an output: rows, vectors, and whatever of `original` and `model` is given. With a model, `sample` rows
/// spread over the file are embedded again.
///
/// # Errors
/// Only when a file cannot be read to its end or a row cannot be embedded; what is merely wrong is a check that
/// is [`Verdict::Broken`].
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
        let vectors = vectors(&chunk.columns, &footer.column)?;
        state.check_vectors(&chunk.rows, &vectors);
        if let Some(originals) = &mut originals {
            let (mut start, rows) = (0, chunk.columns.num_rows());
            while start < rows {
                let Some(original) = originals.next(rows - start)? else {
                    state.wrong_rows(format!("the input ends before {}", chunk.rows.name(start)));
                    break;
                };
                let length = original.columns.num_rows();
                state.compare(&part(&chunk, start, length), &original);
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

/// The rows of the input, in parts that suit the output's chunks: the two files are not cut alike.
struct Originals<'a> {
    chunks: Chunks<'a>,
    rest: Option<RowChunk>,
}

impl Originals<'_> {
    /// The next rows, at most `most`; `None` at the end.
    fn next(&mut self, most: usize) -> Result<Option<RowChunk>> {
        let Some(chunk) = self.rest.take().map(Ok).or_else(|| self.chunks.next()).transpose()?
        else {
            return Ok(None);
        };
        let rows = chunk.columns.num_rows();
        if rows <= most {
            return Ok(Some(chunk));
        }
        self.rest = Some(part(&chunk, most, rows - most));
        Ok(Some(part(&chunk, 0, most)))
    }
}

/// Some rows of a chunk, without their texts.
fn part(chunk: &RowChunk, start: usize, length: usize) -> RowChunk {
    RowChunk {
        columns: chunk.columns.slice(start, length),
        rows: RowNames {
            first_row: chunk.rows.first_row + start as u64,
            ids: chunk.rows.ids.slice(start, length),
        },
        texts: LargeStringArray::from_iter_values(std::iter::empty::<&str>()),
    }
}

/// The vectors of a chunk: the components of row `r` are `values[r]`, `None` for a null.
fn vectors(columns: &RecordBatch, name: &str) -> Result<Vec<Option<Vec<f32>>>> {
    let refuse = |found: String| {
        Error::new(ErrorKind::Output, found)
            .at(format!("column `{name}`"))
            .advice("the column of vectors was changed after it was written")
    };
    let column = columns.column_by_name(name).ok_or_else(|| refuse("is missing".to_owned()))?;
    let of_row = |row: usize| -> Option<ArrayRef> {
        match column.data_type() {
            _ if column.is_null(row) => None,
            DataType::FixedSizeList(..) => Some(column.as_fixed_size_list().value(row)),
            _ => Some(column.as_list::<i32>().value(row)),
        }
    };
    match column.data_type() {
        DataType::FixedSizeList(item, _) | DataType::List(item)
            if item.data_type() == &DataType::Float32 => {}
        other => return Err(refuse(format!("its type is {other}, not a list of Float32"))),
    }
    let floats = |array: ArrayRef| array.as_primitive::<Float32Type>().values().to_vec();
    Ok((0..column.len()).map(|row| of_row(row).map(floats)).collect())
}

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

    fn check_vectors(&mut self, names: &RowNames, vectors: &[Option<Vec<f32>>]) {
        let model = &self.footer.lineage.model;
        self.rows += vectors.len() as u64;
        for (row, vector) in vectors.iter().enumerate() {
            let Some(vector) = vector else {
                self.null_rows += 1;
                continue;
            };
            let name = || names.name(row);
            if vector.len() != model.dimension {
                let width = vector.len();
                self.wrong_width.get_or_insert_with(|| format!("{} has {width}", name()));
            }
            if vector.iter().any(|component| !component.is_finite()) {
                self.not_finite.get_or_insert_with(name);
            }
            let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            // Written so that a NaN is wrong too.
            let right = (length - 1.0).abs() <= LENGTH_TOLERANCE;
            if model.normalized && !right {
                self.wrong_length.get_or_insert_with(|| format!("{} has length {length}", name()));
            }
        }
    }

    /// Holds every column against its digest in the footer.
    fn compare_digests(&mut self, hasher: TableHasher, output: &Reader) {
        let Some(written) = &self.footer.digests else { return };
        let position = output.schema().index_of(&self.footer.column).unwrap_or(usize::MAX);
        let changed = readback::first_difference(hasher, position, written);
        self.wrong_digest = changed.map(|column| format!("column `{column}` was changed since"));
    }

    /// Compares as many rows of the one with as many of the other.
    fn compare(&mut self, output: &RowChunk, original: &RowChunk) {
        let (ids, wanted) = (&output.rows.ids, &original.rows.ids);
        if let Some(row) = ids.iter().zip(wanted.iter()).position(|(id, wanted)| id != wanted) {
            let (found, wanted) = (output.rows.name(row), original.rows.name(row));
            self.ids.get_or_insert_with(|| format!("{found}, the input has {wanted}"));
        }
        for (position, field) in original.columns.schema_ref().fields().iter().enumerate() {
            if *field.name() == self.footer.column {
                continue;
            }
            let wanted = original.columns.column(position);
            // Names may come twice; equal ones keep their order.
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
                Some(column) if column.data_type() != wanted.data_type() => {
                    self.carried.get_or_insert_with(|| {
                        let (found, wanted) = (column.data_type(), wanted.data_type());
                        format!("column `{}` is {found}, was {wanted}", field.name())
                    });
                    continue;
                }
                Some(column) => column.as_ref() == wanted.as_ref(),
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

    /// Embeds one row again and compares it with the vector that is there.
    fn embed_again(
        &mut self,
        model: &Model,
        chunk: &RowChunk,
        vectors: &[Option<Vec<f32>>],
        row: usize,
    ) -> Result<()> {
        let Some(found) = &vectors[row] else { return Ok(()) };
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
        let difference = match made.len() == found.len() {
            true => made.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max),
            false => f32::INFINITY,
        };
        self.sampled += 1;
        self.largest_difference = self.largest_difference.max(difference);
        // Written so that a NaN is wrong too.
        let same = difference <= tolerance;
        if !same {
            let name = chunk.rows.name(row);
            self.wrong_sample.get_or_insert_with(|| {
                format!("{name} differs by {difference:e} from its text's vector")
            });
        }
        Ok(())
    }

    fn checks(self, compared: bool, embedded: bool) -> Vec<Check> {
        let footer = self.footer;
        let check = |what, wrong: Option<String>, found: String| match wrong {
            Some(wrong) => Check { what, found: wrong, verdict: Verdict::Broken },
            None => Check { what, found, verdict: Verdict::Holds },
        };
        let optional = |asked: bool, check: Check, how: &str| match asked {
            true => check,
            false => Check { found: how.to_owned(), verdict: Verdict::Skipped, ..check },
        };
        let unequal = |promised: u64, found: u64| {
            (promised != found).then(|| format!("{found}, the footer promises {promised}"))
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
            check("finite", self.not_finite, "every component".to_owned()),
            optional(
                footer.lineage.model.normalized,
                check("length", self.wrong_length, format!("1 ± {LENGTH_TOLERANCE:e}")),
                "the model does not normalise",
            ),
            optional(
                footer.digests.is_some(),
                check("digests", self.wrong_digest, "of every column, as written".to_owned()),
                "written before there were any",
            ),
            optional(
                compared,
                check("same rows as input", self.wrong_row_count, "as many".to_owned()),
                "no --input",
            ),
            optional(
                compared,
                check("ids", self.ids, "the input's, in order".to_owned()),
                "no --input",
            ),
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
