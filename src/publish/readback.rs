//! Does a finished file hold what was written? Everything in it is decoded again before it is published.
//!
//! What it is held against was computed on the way: the digests of the carried columns where they were read, that of
//! the vectors where they were made. So a write that was lost, a row that fell out between two stages, an encoder of
//! pages that erred, and a bit that memory or disk turned over are all found here.

use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type, Schema};
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::stop::Stop;

use crate::config::InputConfig;
use crate::digest::TableHasher;
use crate::failpoints::{self, Failpoint};
use crate::footer::{Digests, Footer};
use crate::reader::Reader;

/// A normalised vector's length may be off by this much: rounding of 384 components in f32 stays far below.
pub const LENGTH_TOLERANCE: f64 = 1e-4;

/// Reads the whole file at `path`, which is to be published as `target`, and holds it against `written`: the schema
/// of the carried columns, in their order, and the footer. `on_rows` hears how many rows were read so far.
///
/// # Errors
/// `Output`, naming the target and what differs; `Stopped` when that was asked for.
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
    let differs = |what: String| {
        Error::new(ErrorKind::Output, format!("read back, {what}"))
            .in_file(target)
            .advice("nothing was replaced; check the machine's disk and memory, then run again")
    };
    let reader = Reader::open(&input.of_output(path))
        .map_err(|cause| differs("it is no whole file".to_owned()).caused_by(cause))?;
    let footer = reader.footer_entry().map(|entry| Footer::parse(&entry));
    if !matches!(footer, Some(Ok(footer)) if footer == *written) {
        return Err(differs("its footer is another one".to_owned()));
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
        return Err(differs("it has no vectors".to_owned()));
    };
    if carried(reader.schema()) != carried(schema) {
        return Err(differs("its columns are others".to_owned()));
    }

    let mut hasher = TableHasher::new(reader.schema(), None)?;
    let mut vectors = Vectors::new(written);
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
        return Err(differs(format!("column `{column}` does not hold what was written")));
    }
    let counts = (vectors.rows, vectors.null_rows);
    if counts != (written.rows, written.null_rows) {
        let (rows, nulls) = counts;
        return Err(differs(format!(
            "it has {rows} rows, {nulls} of them without a vector; {} and {} were written",
            written.rows, written.null_rows
        )));
    }
    Ok(())
}

/// The first column of a table whose digest is not the one that was written, with its vectors at `position`.
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

/// The policy that vectors are held against, and what was seen of them.
struct Vectors {
    dim: usize,
    unit: bool,
    rows: u64,
    null_rows: u64,
}

impl Vectors {
    fn new(written: &Footer) -> Vectors {
        let model = &written.lineage.model;
        Vectors { dim: model.dimension, unit: model.normalized, rows: 0, null_rows: 0 }
    }

    /// Checks the next rows; says what is wrong with the first that is.
    fn check(&mut self, column: &dyn Array) -> std::result::Result<(), String> {
        let (values, width, offsets) = match column.data_type() {
            DataType::FixedSizeList(_, width) => {
                let width = usize::try_from(*width).unwrap_or(0);
                (column.as_fixed_size_list().values(), width, None)
            }
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                (list.values(), 0, Some(list.value_offsets()))
            }
            other => return Err(format!("its vectors are of type {other}")),
        };
        let start = |row: usize| match offsets {
            Some(offsets) => offsets[row].unsigned_abs() as usize,
            None => row * width,
        };
        let Some(values) = values.as_primitive_opt::<Float32Type>() else {
            return Err(format!("its vectors are of type {}", column.data_type()));
        };
        for row in 0..column.len() {
            if column.is_null(row) {
                self.null_rows += 1;
            } else {
                let vector = &values.values()[start(row)..start(row + 1)];
                if let Some(flaw) = flaw(vector, self.dim, self.unit) {
                    return Err(format!("the vector of row {} {flaw}", self.rows));
                }
            }
            self.rows += 1;
        }
        Ok(())
    }
}

/// What is wrong with a vector, as a phrase about it.
fn flaw(vector: &[f32], dim: usize, unit: bool) -> Option<String> {
    if vector.len() != dim {
        return Some(format!("has {} components, not {dim}", vector.len()));
    }
    // Several sums at once, since each has to wait for its own last addition.
    let mut sums = [0f64; 8];
    let (whole, rest) = vector.as_chunks::<8>();
    for eight in whole {
        for (sum, component) in sums.iter_mut().zip(eight) {
            *sum += f64::from(*component) * f64::from(*component);
        }
    }
    for (sum, component) in sums.iter_mut().zip(rest) {
        *sum += f64::from(*component) * f64::from(*component);
    }
    // The square of a finite f32 is a finite f64, and so is the sum of as many as fit in memory.
    let squares: f64 = sums.iter().sum();
    if !squares.is_finite() {
        return Some("has a component that is not finite".to_owned());
    }
    let length = squares.sqrt();
    (unit && (length - 1.0).abs() > LENGTH_TOLERANCE).then(|| format!("has length {length}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_finite_of_its_width_and_of_length_one_if_it_should_be() {
        let unit = |at: usize, value: f32| {
            let mut vector = vec![0.0; 11];
            vector[at] = value;
            vector
        };
        for (vector, normalised, expected) in [
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
            let found = flaw(&vector, 11, normalised);
            let as_expected = match (&found, expected) {
                (Some(found), Some(expected)) => found.starts_with(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(as_expected, "{vector:?}: {found:?}, not {expected:?}");
        }
    }
}
