//! Reads the finished file back before it is published, and compares it with what was written.
//!
//! The digests to compare with were computed on the way: those of the carried columns by the
//! reader, that of the vectors by the writer. The comparison finds lost writes, rows lost between
//! two stages, encoder bugs and bit flips in memory or on the disk.

use std::path::Path;

use arrow::array::Array;
use arrow::datatypes::{DataType, Schema};
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::stop::Stop;

use crate::config::InputConfig;
use crate::digest::TableHasher;
use crate::failpoints::{self, Failpoint};
use crate::footer::{Digests, Footer};
use crate::reader::Reader;
use crate::vectors::{VectorRows, euclidean_length, is_unit_length};

/// Reads the whole file at `path` and compares it with `written` and with the carried columns of
/// `schema`. The file will be published as `target`.
///
/// `on_rows` gets the number of rows checked so far.
///
/// # Errors
/// `Output`, naming the target and the difference; `Stopped` when a stop is requested.
pub fn check(
    path: &Path,
    target: &Path,
    input: &InputConfig,
    schema: &Schema,
    written: &Footer,
    stop: &Stop,
    on_rows: &dyn Fn(u64),
) -> Result<()> {
    if failpoints::is_on(Failpoint::SkipReadBack) {
        return Ok(());
    }
    let differs = |difference: String| {
        Error::new(
            ErrorKind::Output,
            format!("read-back of the finished file failed: {difference}"),
        )
        .in_file(target)
        .advice(
            "the output was not replaced; check the disk and the memory of the machine, then \
                 run again",
        )
    };
    let reader = Reader::open(&input.for_output(path))
        .map_err(|cause| differs("it is not a complete file".to_owned()).caused_by(cause))?;
    let footer = reader.footer_entry().map(|entry| Footer::parse(&entry));
    if !matches!(footer, Some(Ok(footer)) if footer == *written) {
        return Err(differs("its footer differs from the one that was written".to_owned()));
    }
    let position = reader.schema().index_of(&written.column).ok();
    let carried = |schema: &Schema| -> Vec<(String, DataType)> {
        let fields = schema.fields().iter();
        fields
            .filter(|field| *field.name() != written.column)
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect()
    };
    let (Some(position), Some(digests)) = (position, &written.digests) else {
        return Err(differs("it has no vector column".to_owned()));
    };
    if carried(reader.schema()) != carried(schema) {
        return Err(differs("its columns differ from those of the input".to_owned()));
    }

    let mut hasher = TableHasher::new(reader.schema(), None)?;
    let mut vectors = VectorCheck::new(written);
    reader
        .scan(|batch| {
            stop.check()?;
            hasher.update(batch)?;
            vectors.check(batch.column(position).as_ref()).map_err(differs)?;
            on_rows(vectors.rows);
            Ok(())
        })
        .map_err(|error| match error.place().file() {
            _ if matches!(error.kind(), ErrorKind::Stopped(_)) => error,
            Some(place) if place == target => error,
            _ => differs("it cannot be decoded".to_owned()).caused_by(error),
        })?;
    if let Some(column) = first_difference(hasher, position, digests) {
        return Err(differs(format!("the values of column `{column}` are not those written")));
    }
    let counts = (vectors.rows, vectors.null_rows);
    if counts != (written.rows, written.null_rows) {
        let (rows, nulls) = counts;
        return Err(differs(format!(
            "it has {rows} rows, {nulls} of them without a vector, but {} and {} were written",
            written.rows, written.null_rows
        )));
    }
    Ok(())
}

/// The first column whose digest differs from the one that was written. The vector column is at
/// `position`.
pub fn first_difference(hasher: TableHasher, position: usize, written: &Digests) -> Option<String> {
    let mut found = hasher.finish();
    if position >= found.len() {
        return Some("vectors".to_owned());
    }
    let vectors = found.remove(position);
    let mut pairs = found.iter().zip(&written.carried);
    if let Some((found, _)) = pairs.find(|(found, written)| found != written) {
        return Some(found.column.clone());
    }
    let longer = if found.len() > written.carried.len() { &found } else { &written.carried };
    if let Some(more) = longer.get(found.len().min(written.carried.len())) {
        return Some(more.column.clone());
    }
    (vectors.sha256 != written.vectors).then_some(vectors.column)
}

/// Checks that vectors are what the model makes, and counts them.
struct VectorCheck {
    dim: usize,
    normalized: bool,
    rows: u64,
    null_rows: u64,
}

impl VectorCheck {
    fn new(written: &Footer) -> VectorCheck {
        let model = &written.lineage.model;
        VectorCheck { dim: model.dimension, normalized: model.normalized, rows: 0, null_rows: 0 }
    }

    /// Checks the next rows; describes the first bad vector.
    fn check(&mut self, column: &dyn Array) -> std::result::Result<(), String> {
        let vectors = VectorRows::new(column)
            .ok_or_else(|| format!("its vector column has type {}", column.data_type()))?;
        for vector in vectors.iter() {
            match vector {
                None => self.null_rows += 1,
                Some(vector) => {
                    if let Some(flaw) = find_flaw(vector, self.dim, self.normalized) {
                        return Err(format!("the vector of row {} {flaw}", self.rows));
                    }
                }
            }
            self.rows += 1;
        }
        Ok(())
    }
}

/// What is wrong with a vector, as a clause about it.
fn find_flaw(vector: &[f32], dim: usize, normalized: bool) -> Option<String> {
    if vector.len() != dim {
        return Some(format!("has {} components, not {dim}", vector.len()));
    }
    let length = euclidean_length(vector);
    if !length.is_finite() {
        return Some("has a component that is not finite".to_owned());
    }
    (normalized && !is_unit_length(length)).then(|| format!("has length {length}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vector_of_other_width_or_length_or_not_finite_is_found() {
        let unit = |at: usize, value: f32| {
            let mut vector = vec![0.0; 11];
            vector[at] = value;
            vector
        };
        for (vector, normalized, expected) in [
            (unit(3, 1.0), true, None),
            (unit(10, -1.0), true, None),
            (vec![0.30151135; 11], true, None),
            (unit(3, 1.00005), true, None),
            (unit(3, 1.001), true, Some("has length 1.001")),
            (unit(3, 0.0), true, Some("has length 0")),
            (unit(3, 7.0), false, None),
            (unit(3, f32::MAX), false, None),
            (unit(10, f32::NAN), false, Some("has a component that is not finite")),
            (unit(0, f32::INFINITY), true, Some("has a component that is not finite")),
            (vec![1.0], true, Some("has 1 components, not 11")),
            (vec![], false, Some("has 0 components, not 11")),
        ] {
            let found = find_flaw(&vector, 11, normalized);
            let as_expected = match (&found, expected) {
                (Some(found), Some(expected)) => found.starts_with(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(as_expected, "{vector:?}: {found:?}, not {expected:?}");
        }
    }
}
