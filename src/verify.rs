//! Verifies a published file against its own footer, its input and its model.
//!
//! ```text
//!   vectors        each vector, and a sample that is embedded again
//!   bytes          carried columns that were copied, chunk by chunk
//!   values         carried columns that were encoded anew
//!   carried_state  what either has found
//!   kept_rows      the rows of the input that the output has
//! ```

mod bytes;
mod carried_state;
mod kept_rows;
mod values;
mod vectors;

use std::path::Path;

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::config::{Carry, IdColumn, InputConfig, InvalidUtf8, OnEmpty, VectorType};
use crate::footer::{EmbeddingFooter, Footer, FooterText};
use crate::footer_recipe::recipe_of;
use crate::reader::{Decoded, Reader, TableFile, check_text_columns};
use crate::vectors::VectorExpectation;
use carried_state::CarriedState;
use kept_rows::RowSource;
pub use vectors::Sample;
use vectors::VectorState;

/// The first version whose carried columns can be compared with the input.
const FIRST_COMPARABLE: u32 = 3;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub what: &'static str,
    /// The vector column, if there are several and it concerns one.
    pub column: Option<String>,
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

/// Opens an output and reads its footer.
///
/// # Errors
/// `Input` when the file is not a Parquet file; `Output` when reembed did not write it.
pub fn open(output: &Path) -> Result<(TableFile, Footer)> {
    let refuse = |message: &str| {
        Error::new(ErrorKind::Output, message)
            .in_file(output)
            .advice("only files that `reembed run` wrote can be verified")
    };
    let table = TableFile::open(output)
        .map_err(|error| error.advice("name a file that `reembed run` wrote"))?;
    let entry = table.footer_entry()?.ok_or_else(|| refuse("its footer has no `reembed` entry"))?;
    let footer = Footer::parse(&entry).map_err(|error| refuse(&error.to_string()))?;
    Ok((table, footer))
}

/// Checks the rows and vectors of an output, and compares it with the input `original` if it is given.
/// With `samples`, one for each vector column, a number of rows is embedded again. `reading` has the
/// column names; its path is ignored.
///
/// # Errors
/// When a file cannot be read to its end or a row cannot be embedded. A file that is merely wrong has
/// a check that is [`Verdict::Failed`].
pub fn verify(
    reading: &InputConfig,
    output: &TableFile,
    footer: &Footer,
    original: Option<&Path>,
    samples: &[Sample<'_>],
) -> Result<Vec<Check>> {
    let original = original.map(TableFile::open).transpose()?;
    let mut columns = Vec::new();
    for (number, embedding) in footer.embeddings().into_iter().enumerate() {
        let reading = reading_of(reading, embedding.text);
        let texts = text_source(&reading, output, footer, &embedding, original.as_ref())?;
        let (carry, source) = (footer.carry, texts.as_ref().ok());
        let state = vectors::check(output, carry, &embedding, source, samples.get(number))?;
        columns.push(ColumnState { embedding, state, no_texts: texts.err() });
    }
    let version = footer.lineage.version;
    let carried = match footer.carry {
        _ if version < FIRST_COMPARABLE => None,
        Carry::Copy => Some(bytes::check(output, footer, original.as_ref())?),
        Carry::Reencode => {
            let drops_rows = footer.on_empty == Some(OnEmpty::Drop);
            let first = &footer.text;
            let dropped_by = drops_rows.then(|| recipe_of(first, output)).transpose()?;
            let (recipe, original) = (dropped_by.as_ref(), original.as_ref());
            let reading = reading_of(reading, first);
            Some(values::check(&reading, output, footer, recipe, original)?)
        }
    };
    Ok(checks(footer, &columns, carried, original.is_some(), !samples.is_empty()))
}

/// What was found of a vector column.
struct ColumnState<'a> {
    embedding: EmbeddingFooter<'a>,
    state: VectorState,
    /// Why its texts cannot be read, if they cannot.
    no_texts: Option<String>,
}

/// How tables are read: as the footer says. Bytes that are not UTF-8 were replaced, or there are none.
fn reading_of(reading: &InputConfig, text: &FooterText) -> InputConfig {
    let id = match (&text.id, &text.lines) {
        (Some(id), _) => IdColumn::IfPresent(id.clone()),
        (None, Some(_)) => IdColumn::None,
        // Up to version 3 the footer does not name the ids.
        (None, None) => reading.id.clone(),
    };
    InputConfig { id, on_invalid_utf8: InvalidUtf8::Replace, ..reading.clone() }
}

/// Where the texts and ids of the output's rows come from: the output, or the input if the output does
/// not carry the columns; else why neither has them.
fn text_source(
    reading: &InputConfig,
    output: &TableFile,
    footer: &Footer,
    embedding: &EmbeddingFooter<'_>,
    original: Option<&TableFile>,
) -> Result<std::result::Result<RowSource, String>> {
    let tables = std::iter::once((output, false)).chain(original.map(|table| (table, true)));
    let mut reasons = Vec::new();
    for (table, is_input) in tables {
        let recipe = recipe_of(embedding.text, table)?;
        match check_text_columns(&table.metadata()?, &reading.id, &[&recipe]) {
            Ok(()) if is_input && footer.input_rows.is_some() => {
                reasons.push("the input: rows of the output are chunks of its texts".to_owned());
            }
            Ok(()) => {
                let config = reading.for_output(table.path());
                if footer.input_rows.is_some() {
                    return Ok(Ok(RowSource::of_chunks(&config, &recipe)?));
                }
                let reader = Reader::open(&config, &recipe, Decoded::Text)?;
                return Ok(Ok(match is_input {
                    true => RowSource::of_input(reader, footer),
                    false => RowSource::of_output(reader),
                }));
            }
            Err(error) => {
                let place = if is_input { "the input" } else { "the output" };
                reasons.push(format!("{place}: {error}"));
            }
        }
    }
    let advice = if original.is_none() { "; give --input" } else { "" };
    Ok(Err(format!("the texts cannot be read from {}{advice}", reasons.join(", nor from "))))
}

fn checks(
    footer: &Footer,
    columns: &[ColumnState<'_>],
    carried: Option<CarriedState>,
    compared: bool,
    embedded: bool,
) -> Vec<Check> {
    let check = |what, wrong: &Option<String>, found: String| match wrong {
        Some(wrong) => Check { what, column: None, found: wrong.clone(), verdict: Verdict::Failed },
        None => Check { what, column: None, found, verdict: Verdict::Passed },
    };
    let skipped = |what, why_not: &str| Check {
        what,
        column: None,
        found: why_not.to_owned(),
        verdict: Verdict::Skipped,
    };
    let unequal = |declared: u64, found: u64| {
        (declared != found).then(|| format!("{found}, but the footer declares {declared}"))
    };
    let mut checks = Vec::new();
    for ColumnState { embedding, state, .. } in columns {
        let expectation = VectorExpectation::from_footer(embedding);
        let of_column = [
            check("footer", &None, format!("fingerprint {:.12}", embedding.lineage.fingerprint)),
            check("rows", &unequal(footer.rows, state.rows), state.rows.to_string()),
            check(
                "null vectors",
                &unequal(embedding.null_rows, state.null_rows),
                state.null_rows.to_string(),
            ),
            check("dimension", &state.wrong_width, dimensions(embedding)),
            check("finite", &state.not_finite, "all components".to_owned()),
            match expectation.length_tolerance {
                Some(tolerance) => {
                    check("length", &state.wrong_length, format!("1 ± {tolerance:e}"))
                }
                None => skipped("length", why_any_length(embedding)),
            },
        ];
        checks
            .extend(of_column.map(|check| Check { column: name_of(columns, embedding), ..check }));
    }
    const OLD: &str = "not comparable: version 0.1 encoded the carried columns anew";
    let digest_of_carried = carried.as_ref().and_then(|carried| carried.wrong_digest.clone());
    let digest_of_vectors = columns.iter().find_map(|column| column.state.wrong_digest.clone());
    checks.push(match (&footer.digests, &carried) {
        (None, _) => skipped("digests", "the file was written without digests"),
        (Some(_), None) => {
            check("digests", &digest_of_vectors, "the vectors are as written".to_owned())
        }
        (Some(_), Some(_)) => {
            let wrong = digest_of_carried.or(digest_of_vectors);
            check("digests", &wrong, "all columns are as written".to_owned())
        }
    });
    match (&carried, compared) {
        (_, false) => {
            checks.push(skipped("row count of input", "no --input"));
            checks.push(skipped("carried columns", "no --input"));
        }
        (None, true) => {
            checks.push(skipped("row count of input", OLD));
            checks.push(skipped("carried columns", OLD));
        }
        (Some(carried), true) => {
            checks.push(check("row count of input", &carried.wrong_rows, row_count(footer)));
            let found = carried.compared.clone();
            checks.push(check("carried columns", &carried.wrong_carried, found));
        }
    }
    for ColumnState { embedding, state, no_texts } in columns {
        let again = match (embedded, no_texts, &state.lacks_ranges) {
            (false, _, _) => skipped("embedded again", "--sample 0"),
            (true, Some(reason), _) | (true, None, Some(reason)) => {
                skipped("embedded again", reason)
            }
            (true, None, None) => {
                let VectorState { sampled, largest_difference, .. } = state;
                let found = format!("{sampled} rows, largest difference {largest_difference:.1e}");
                check("embedded again", &state.wrong_sample, found)
            }
        };
        checks.push(Check { column: name_of(columns, embedding), ..again });
    }
    checks
}

/// The name of a vector column, if there are several.
fn name_of(columns: &[ColumnState<'_>], embedding: &EmbeddingFooter<'_>) -> Option<String> {
    (columns.len() > 1).then(|| embedding.column.to_owned())
}

/// What is expected of the number of rows of the input, for people.
fn row_count(footer: &Footer) -> String {
    let chunks = footer.input_rows.map(|rows| format!("{rows}, in {} chunks", footer.rows));
    let first = footer.limit.map(|limit| format!("the first {limit} of the input"));
    let skipped = match footer.dropped_rows {
        0 => None,
        1 => Some("without the one that has no text".to_owned()),
        rows => Some(format!("without the {rows} that have no text")),
    };
    let parts: Vec<String> =
        std::iter::once("equal".to_owned()).chain(chunks).chain(first).chain(skipped).collect();
    parts.join(", ")
}

/// The elements of a vector, for people.
fn dimensions(footer: &EmbeddingFooter<'_>) -> String {
    let width = VectorExpectation::from_footer(footer).width;
    match footer.form {
        Some(form) if form.vector_type != VectorType::F32 => {
            format!("{width} ({} of {} components)", form.vector_type.as_str(), form.dims)
        }
        _ => width.to_string(),
    }
}

/// Why a vector may have any length.
fn why_any_length(footer: &EmbeddingFooter<'_>) -> &'static str {
    let model = &footer.lineage.model;
    match footer.form {
        Some(form) if !matches!(form.vector_type, VectorType::F32 | VectorType::F16) => {
            "steps and signs have no length"
        }
        Some(form) if form.dims < model.dimension => "cut vectors are not normalised",
        _ => "the model does not normalise",
    }
}
