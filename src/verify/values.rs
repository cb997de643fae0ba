//! Compares carried columns that were encoded anew: by value, as Arrow decodes both files.

use arrow::array::{AsArray, LargeStringArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use reembed_encoder::batch::{RowNames, strings};
use reembed_encoder::error::{Error, ErrorKind, Result};

use super::carried_state::CarriedState;
use super::kept_rows::{KeptRows, RowSource};
use crate::chunk::RowChunk;
use crate::config::InputConfig;
use crate::digest::TableHasher;
use crate::footer::{Footer, first_changed};
use crate::reader::{Decoded, Reader, TableFile};
use crate::row_parts;
use crate::text::TextRecipe;

/// Compares the carried columns of an output with its footer, and with the input if it is given.
/// `dropped_by` is the recipe whose rows without text are not in the output, if they are not.
///
/// # Errors
/// When a file cannot be read or decoded.
pub fn check(
    reading: &InputConfig,
    output: &TableFile,
    footer: &Footer,
    dropped_by: Option<&TextRecipe>,
    original: Option<&TableFile>,
) -> Result<CarriedState> {
    let mut state =
        CarriedState { compared: "equal, value for value".into(), ..Default::default() };
    // Only ids and values are compared, of the rows that the output has.
    let no_text = TextRecipe::columns(Vec::new());
    let open = |table: &TableFile, recipe: &TextRecipe| {
        Reader::open(&reading.for_output(table.path()), recipe, Decoded::All)
    };
    let output = open(output, &no_text)?;
    let original = original
        .map(|table| open(table, dropped_by.unwrap_or(&no_text)))
        .transpose()?
        .map(|reader| RowSource::of_input(reader, footer));
    let mut originals =
        original.as_ref().map(|source| Originals { rows: source.rows(), rest: None, last: None });
    let has_parts = footer.input_rows.is_some();
    let is_carried = |at: usize| !footer.is_vectors(output.schema().field(at).name());
    let mut hasher = TableHasher::new(output.schema(), is_carried)?;
    for chunk in output.chunks() {
        let chunk = chunk?;
        hasher.update(&chunk.columns)?;
        let Some(originals) = &mut originals else { continue };
        if let (true, Some(starts)) = (has_parts, starts_of_rows(&chunk.columns)) {
            match originals.repeated(&starts)? {
                Some(repeated) => compare(&mut state, footer, &chunk, &repeated),
                None => {
                    let name = chunk.rows.name(0);
                    state.wrong_rows.get_or_insert(format!("the input ends after {name}"));
                }
            }
            continue;
        }
        let (mut start, rows) = (0, chunk.columns.num_rows());
        while start < rows {
            let Some(original) = originals.next(rows - start)? else {
                let name = chunk.rows.name(start);
                state.wrong_rows.get_or_insert(format!("the input ends before {name}"));
                break;
            };
            let length = original.columns.num_rows();
            compare(&mut state, footer, &slice(&chunk, start, length), &original);
            start += length;
        }
    }
    if let Some(originals) = &mut originals {
        if let Some(more) = originals.next(1)? {
            state.wrong_rows.get_or_insert(format!("the output ends before {}", more.rows.name(0)));
        }
        let (found, written) = (originals.rows.dropped(), footer.dropped_rows);
        if found != written && state.wrong_rows.is_none() {
            state.wrong_rows =
                Some(format!("the input has {found} rows without text, {written} were left out"));
        }
        let of_input = footer.input_rows.unwrap_or(written + footer.rows);
        if footer.limit.is_some_and(|limit| limit != of_input) {
            state.wrong_rows.get_or_insert("the footer's numbers of rows do not add up".to_owned());
        }
    }
    if let Some(digests) = &footer.digests {
        let found = hasher.finish();
        state.wrong_digest = first_changed(&found, &digests.carried)
            .map(|column| format!("column `{column}` was changed"));
    }
    Ok(state)
}

/// The rows of the input, in parts that match the chunks of the output.
struct Originals<'a> {
    rows: KeptRows<'a>,
    rest: Option<RowChunk>,
    /// The row of the last part.
    last: Option<RowChunk>,
}

impl Originals<'_> {
    /// The next rows, at most `max_rows`; `None` at the end.
    fn next(&mut self, max_rows: usize) -> Result<Option<RowChunk>> {
        let Some(chunk) = self.rest.take().map(Ok).or_else(|| self.rows.next()).transpose()? else {
            return Ok(None);
        };
        let rows = chunk.columns.num_rows();
        if rows <= max_rows {
            return Ok(Some(chunk));
        }
        self.rest = Some(slice(&chunk, max_rows, rows - max_rows));
        Ok(Some(slice(&chunk, 0, max_rows)))
    }

    /// The rows of parts: for each, whether the next row starts. `None` if the input has fewer rows.
    fn repeated(&mut self, starts: &[bool]) -> Result<Option<RowChunk>> {
        let mut wanted = starts.iter().filter(|starts| **starts).count();
        let mut found: Vec<RowChunk> = Vec::new();
        if starts.first() == Some(&false) {
            let Some(last) = self.last.take() else { return Ok(None) };
            found.push(last);
        }
        while wanted > 0 {
            let Some(next) = self.next(wanted)? else { return Ok(None) };
            wanted -= next.columns.num_rows();
            found.push(next);
        }
        let Some(first) = found.first() else { return Ok(None) };
        let cannot = |cause: ArrowError| {
            Error::new(ErrorKind::Internal, "rows of the input cannot be repeated").caused_by(cause)
        };
        let batches = found.iter().map(|chunk| &chunk.columns);
        let columns = concat_batches(first.columns.schema_ref(), batches).map_err(cannot)?;
        let ids: Option<Vec<&str>> = found
            .iter()
            .map(|chunk| chunk.rows.ids.as_ref().map(|ids| strings(ids).collect::<Vec<_>>()))
            .collect::<Option<Vec<_>>>()
            .map(|ids| ids.concat());
        let mut row = usize::from(starts.first() == Some(&false));
        let rows: Vec<usize> = starts
            .iter()
            .map(|starts| {
                row += usize::from(*starts);
                row - 1
            })
            .collect();
        let indices: UInt32Array =
            rows.iter().map(|row| Some(u32::try_from(*row).unwrap_or(u32::MAX))).collect();
        let ids = ids.map(|ids| rows.iter().map(|row| Some(ids[*row])).collect());
        let names = RowNames { first_row: first.rows.first_row, ids, parts: None };
        let repeated = take_record_batch(&columns, &indices).map_err(cannot)?;
        let last = found.pop();
        self.last = last.map(|last| slice(&last, last.columns.num_rows() - 1, 1));
        let texts = vec![LargeStringArray::from_iter_values(std::iter::empty::<&str>())];
        Ok(Some(RowChunk { columns: repeated, rows: names, texts, parts: None }))
    }
}

/// For each part of a row in an output, whether it is the first of its row; `None` if the output has no
/// column that says it.
fn starts_of_rows(columns: &RecordBatch) -> Option<Vec<bool>> {
    let index = columns.column_by_name(row_parts::COLUMNS[0])?;
    let index = index.as_primitive_opt::<Int32Type>()?;
    Some(index.iter().map(|index| index.is_none_or(|index| index == 0)).collect())
}

/// Some rows of a chunk, without their texts.
fn slice(chunk: &RowChunk, start: usize, length: usize) -> RowChunk {
    RowChunk {
        columns: chunk.columns.slice(start, length),
        rows: chunk.rows.slice(start, length),
        parts: None,
        texts: vec![LargeStringArray::from_iter_values(std::iter::empty::<&str>())],
    }
}

/// Compares rows of the output with the same number of rows of the input.
fn compare(state: &mut CarriedState, footer: &Footer, output: &RowChunk, original: &RowChunk) {
    let (ids, expected) = (&output.rows.ids, &original.rows.ids);
    let (ids, expected) = (ids.iter().flat_map(strings), expected.iter().flat_map(strings));
    if let Some(row) = ids.zip(expected).position(|(id, expected)| id != expected) {
        let (found, expected) = (output.rows.name(row), original.rows.name(row));
        state.wrong_carried.get_or_insert_with(|| format!("{found}, the input has {expected}"));
    }
    for (position, field) in original.columns.schema_ref().fields().iter().enumerate() {
        // A column of parts in the input was not carried.
        let is_made =
            footer.input_rows.is_some() && row_parts::COLUMNS.contains(&field.name().as_str());
        if is_made || footer.is_vectors(field.name()) {
            continue;
        }
        let expected = original.columns.column(position);
        // Two columns may have the same name; they keep their order.
        let fields = original.columns.schema_ref().fields();
        let nth = fields[..position].iter().filter(|f| f.name() == field.name()).count();
        let named = output.columns.schema_ref().fields().iter().enumerate();
        let found = named.filter(|(_, f)| f.name() == field.name()).nth(nth);
        let same = match found.map(|(position, _)| output.columns.column(position)) {
            // It was left out by `output.keep` or `output.drop`; the digests tell a lost one.
            None => continue,
            Some(column) if column.data_type() != expected.data_type() => {
                state.wrong_carried.get_or_insert_with(|| {
                    let (found, expected) = (column.data_type(), expected.data_type());
                    format!("column `{}` is {found}, was {expected}", field.name())
                });
                continue;
            }
            Some(column) => column.as_ref() == expected.as_ref(),
        };
        if !same {
            let name = output.rows.name(0);
            state.wrong_carried.get_or_insert_with(|| {
                format!("column `{}` differs, at or after {name}", field.name())
            });
        }
    }
}
