//! Compares carried columns that were encoded anew: by value, as Arrow decodes both files.

use arrow::array::LargeStringArray;
use reembed_encoder::batch::strings;
use reembed_encoder::error::Result;

use super::carried_state::CarriedState;
use crate::chunk::RowChunk;
use crate::config::InputConfig;
use crate::digest::TableHasher;
use crate::footer::{Footer, first_changed};
use crate::reader::{Chunks, Decoded, Reader, TableFile};
use crate::text::TextRecipe;

/// Compares the carried columns of an output with its footer, and with the input if it is given.
///
/// # Errors
/// When a file cannot be read or decoded.
pub fn check(
    reading: &InputConfig,
    output: &TableFile,
    footer: &Footer,
    original: Option<&TableFile>,
) -> Result<CarriedState> {
    let mut state =
        CarriedState { compared: "equal, value for value".into(), ..Default::default() };
    // Only ids and values are compared.
    let no_text = TextRecipe::columns(Vec::new());
    let open =
        |table: &TableFile| Reader::open(&reading.for_output(table.path()), &no_text, Decoded::All);
    let output = open(output)?;
    let original = original.map(open).transpose()?;
    let mut originals =
        original.as_ref().map(|reader| Originals { chunks: reader.chunks(), rest: None });
    let vectors = output.schema().index_of(&footer.column).ok();
    let mut hasher = TableHasher::new(output.schema(), |at| Some(at) != vectors)?;
    for chunk in output.chunks() {
        let chunk = chunk?;
        hasher.update(&chunk.columns)?;
        let Some(originals) = &mut originals else { continue };
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
    if let Some(Some(more)) = originals.map(|mut originals| originals.next(1)).transpose()? {
        state.wrong_rows.get_or_insert(format!("the output ends before {}", more.rows.name(0)));
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
        rows: chunk.rows.slice(start, length),
        texts: LargeStringArray::from_iter_values(std::iter::empty::<&str>()),
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
        if *field.name() == footer.column {
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
