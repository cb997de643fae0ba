//! Reads the finished file back before it is published, and compares it with what was written.
//!
//! The digests to compare with were computed on the way: those of the carried columns while they
//! were copied or read, that of the vectors by the writer. The comparison finds lost writes, rows
//! lost between two stages, encoder bugs and bit flips in memory or on the disk.

use std::ops::Range;
use std::path::Path;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use reembed_encoder::batch::row_number;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::stop::Stop;

use crate::carried;
use crate::config::Carry;
use crate::digest::TableHasher;
use crate::failpoints::{self, Failpoint};
use crate::footer::{ColumnHash, EmbeddingFooter, Footer, first_changed};
use crate::format::metadata::Metadata;
use crate::format::projection::Types;
use crate::format::schema::{element, repetition};
use crate::group_digest::vectors_digest;
use crate::reader::{Decoder, Limits, TableFile};
use crate::row_parts;
use crate::vectors::{Flaw, VectorExpectation, VectorRows, data_type};

/// Reads the whole file at `path` and compares it with `written`. It was made from these row groups of `input` and will
/// be published as `target`.
///
/// `on_rows` gets the number of rows checked so far.
///
/// # Errors
/// `Output`, naming the target and the difference; `Stopped` when a stop is requested.
pub fn check(
    path: &Path,
    target: &Path,
    (input, of_input): (&TableFile, Range<usize>),
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
    let unreadable = |error: Error| match error.place().file() {
        _ if matches!(error.kind(), ErrorKind::Stopped(_)) => error,
        Some(place) if place == target => error,
        _ => differs("it cannot be decoded".to_owned()).caused_by(error),
    };
    let incomplete =
        |cause: Error| differs("it is not a complete file".to_owned()).caused_by(cause);
    let table = TableFile::open(path).map_err(incomplete)?;
    let metadata = table.metadata().map_err(incomplete)?;
    let footer = table.footer_entry().map_err(incomplete)?.map(|entry| Footer::parse(&entry));
    if !matches!(footer, Some(Ok(footer)) if footer == *written) {
        return Err(differs("its footer differs from the one that was written".to_owned()));
    }
    let roots = &metadata.schema.roots;
    let embeddings = written.embeddings();
    let position = |column: &str| roots.iter().position(|root| root.name == column);
    let positions: Option<Vec<usize>> =
        embeddings.iter().map(|embedding| position(embedding.column)).collect();
    let (Some(positions), Some(digests)) = (positions, &written.digests) else {
        return Err(differs("a vector column is missing".to_owned()));
    };
    let mut checks: Vec<VectorCheck> = embeddings.iter().map(VectorCheck::new).collect();
    let carried = match written.carry {
        Carry::Copy => {
            let rows = |metadata: &Metadata<'_>, groups: Range<usize>| -> Result<Vec<i64>> {
                groups.map(|group| metadata.group(group).map(|group| group.rows())).collect()
            };
            let found = rows(&metadata, 0..metadata.group_count())?;
            if found != rows(&input.metadata()?, of_input)? {
                return Err(differs("its row groups are not those of the input".to_owned()));
            }
            let is_carried: Vec<bool> =
                (0..roots.len()).map(|root| !positions.contains(&root)).collect();
            let carried = carried::digests(&table, &metadata, &is_carried, || stop.check())
                .map_err(unreadable)?;
            let columns = embeddings.len() as u64;
            for (number, ((embedding, position), check)) in
                (0u64..).zip(embeddings.iter().zip(&positions).zip(&mut checks))
            {
                let decoder = vector_decoder(&table, *position, embedding).map_err(incomplete)?;
                let mut hasher = GroupHasher::new(&decoder);
                let scanned = decoder.scan_groups(|group, batch| {
                    stop.check()?;
                    hasher.update(group, batch)?;
                    check.check(batch.column(0).as_ref()).map_err(differs)?;
                    on_rows((number * written.rows + check.rows) / columns);
                    Ok(())
                });
                scanned.map_err(unreadable)?;
                let values = hasher.finish(decoder.group_count())?;
                let written_values = embedding.groups.iter().map(|group| &group.values);
                if let Some(group) = first_unequal(values.iter(), written_values) {
                    let column = embedding.column;
                    return Err(differs(format!(
                        "the vectors of row group {group} in column `{column}` are not those written"
                    )));
                }
                check.digest = Some(vectors_digest(embedding.groups));
            }
            carried
        }
        Carry::Reencode => {
            let all: Vec<usize> = (0..roots.len()).collect();
            let decoder =
                Decoder::new(&table, &all, Types::AsWritten, Limits::NONE).map_err(incomplete)?;
            let has_parts = written.input_rows.is_some();
            let mut made = positions.clone();
            if has_parts {
                // They stand after the carried columns.
                let others = (0..roots.len()).rev().filter(|root| !positions.contains(root));
                made.extend(others.take(row_parts::COLUMNS.len()));
            }
            check_types(decoder.schema(), input, &made).map_err(differs)?;
            let mut hasher = TableHasher::new(decoder.schema(), |_| true)?;
            let scanned = decoder.scan(|batch| {
                stop.check()?;
                hasher.update(batch)?;
                for (check, position) in checks.iter_mut().zip(&positions) {
                    check.check(batch.column(*position).as_ref()).map_err(differs)?;
                }
                on_rows(checks.first().map_or(0, |check| check.rows));
                Ok(())
            });
            scanned.map_err(unreadable)?;
            let mut carried = Vec::new();
            for (at, found) in hasher.finish().into_iter().enumerate() {
                match positions.iter().position(|position| *position == at) {
                    Some(number) => {
                        let (ColumnHash::Sha256(digest) | ColumnHash::Xxh3(digest)) = found.digest;
                        checks[number].digest = Some(digest);
                    }
                    None => carried.push(found),
                }
            }
            carried
        }
    };
    let not_written =
        |column: &str| differs(format!("the values of column `{column}` are not those written"));
    if let Some(column) = first_changed(&carried, &digests.carried) {
        return Err(not_written(column));
    }
    for (embedding, check) in embeddings.iter().zip(&checks) {
        if check.digest.as_deref() != embedding.vectors {
            return Err(not_written(embedding.column));
        }
        let (rows, nulls) = (check.rows, check.null_rows);
        if (rows, nulls) != (written.rows, embedding.null_rows) {
            return Err(differs(format!(
                "column `{}` has {rows} rows, {nulls} of them without a vector, but {} and {} were \
                 written",
                embedding.column, written.rows, embedding.null_rows
            )));
        }
    }
    Ok(())
}

/// A decoder of a vector column of an output, which is its root column `root`.
///
/// # Errors
/// `Input`, naming the file, when it cannot be decoded as the footer says.
pub fn vector_decoder(
    table: &TableFile,
    root: usize,
    footer: &EmbeddingFooter<'_>,
) -> Result<Decoder> {
    let data_type = match footer.form {
        Some(form) => {
            let vector_type = form.vector_type;
            data_type(form.layout, vector_type.element(), vector_type.width(form.dims))?
        }
        // Up to version 2 every output has an Arrow schema.
        None => {
            let all: Vec<usize> = (0..table.metadata()?.schema.roots.len()).collect();
            let decoder = Decoder::new(table, &all, Types::AsWritten, Limits::NONE)?;
            decoder.schema().field(root).data_type().clone()
        }
    };
    let metadata = table.metadata()?;
    let position = metadata.schema.roots[root].elements.start;
    let is_required =
        metadata.schema.element(position).int(element::REPETITION) == Some(repetition::REQUIRED);
    let name = &metadata.schema.roots[root].name;
    Decoder::of_vectors(table, root, Field::new(name, data_type, !is_required))
}

/// The number of the first item in which two sequences differ, their ends included.
pub fn first_unequal<T: PartialEq>(
    mut one: impl Iterator<Item = T>,
    mut other: impl Iterator<Item = T>,
) -> Option<usize> {
    let mut at = 0;
    loop {
        match (one.next(), other.next()) {
            (None, None) => return None,
            (one, other) if one != other => return Some(at),
            _ => at += 1,
        }
    }
}

/// Hashes the values of the vectors of each row group.
pub struct GroupHasher {
    schema: SchemaRef,
    group: usize,
    hasher: Option<TableHasher>,
    values: Vec<String>,
}

impl GroupHasher {
    /// A hasher of the only column of a decoder.
    pub fn new(decoder: &Decoder) -> GroupHasher {
        let schema = decoder.schema().clone();
        GroupHasher { schema, group: 0, hasher: None, values: Vec::new() }
    }

    /// Adds the next rows, which are in a row group. Row groups come in order.
    ///
    /// # Errors
    /// Those of [`TableHasher`].
    pub fn update(&mut self, group: usize, batch: &RecordBatch) -> Result<()> {
        self.close_until(group)?;
        let hasher = match &mut self.hasher {
            Some(hasher) => hasher,
            None => self.hasher.insert(TableHasher::new(&self.schema, |_| true)?),
        };
        hasher.update(batch)
    }

    /// The digests of all row groups, of which there are `groups`.
    ///
    /// # Errors
    /// Those of [`TableHasher`].
    pub fn finish(mut self, groups: usize) -> Result<Vec<String>> {
        self.close_until(groups)?;
        Ok(self.values)
    }

    fn close_until(&mut self, group: usize) -> Result<()> {
        while self.group < group {
            let hasher = match self.hasher.take() {
                Some(hasher) => hasher,
                None => TableHasher::new(&self.schema, |_| true)?,
            };
            let digest = hasher.finish().pop().map(|digest| digest.digest);
            if let Some(ColumnHash::Sha256(values)) = digest {
                self.values.push(values);
            }
            self.group += 1;
        }
        Ok(())
    }
}

/// Checks that the types of the carried columns of an output that was encoded anew are those of the
/// input. Columns of the output at the positions `made` are not carried.
fn check_types(
    found: &Schema,
    input: &TableFile,
    made: &[usize],
) -> std::result::Result<(), String> {
    let types = |schema: &Schema, skip: &dyn Fn(usize, &str) -> bool| {
        let fields = schema.fields().iter().enumerate();
        fields
            .filter(|(at, field)| !skip(*at, field.name()))
            .map(|(_, field)| (field.name().clone(), field.data_type().clone()))
            .collect::<Vec<_>>()
    };
    let carried = types(found, &|at, _| made.contains(&at));
    let expected = input
        .metadata()
        .and_then(|metadata| {
            let all: Vec<usize> = (0..metadata.schema.roots.len()).collect();
            Decoder::new(input, &all, Types::AsWritten, Limits::NONE)
        })
        .map(|decoder| {
            let names: Vec<&String> = carried.iter().map(|(name, _)| name).collect();
            let is_left_out = |_: usize, name: &str| !names.iter().any(|found| *found == name);
            types(decoder.schema(), &is_left_out)
        });
    match expected {
        Ok(expected) if expected == carried => Ok(()),
        _ => Err("its columns differ from those of the input".to_owned()),
    }
}

/// Checks that vectors are what the model makes, and counts them.
struct VectorCheck {
    column: String,
    expectation: VectorExpectation,
    rows: u64,
    null_rows: u64,
    /// The digest of the whole column.
    digest: Option<String>,
}

impl VectorCheck {
    fn new(written: &EmbeddingFooter<'_>) -> VectorCheck {
        let expectation = VectorExpectation::from_footer(written);
        let column = written.column.to_owned();
        VectorCheck { column, expectation, rows: 0, null_rows: 0, digest: None }
    }

    /// Checks the next rows; describes the first bad vector.
    fn check(&mut self, column: &dyn Array) -> std::result::Result<(), String> {
        let vectors = VectorRows::new(column)
            .ok_or_else(|| format!("column `{}` has type {}", self.column, column.data_type()))?;
        for vector in vectors.iter() {
            match vector {
                None => self.null_rows += 1,
                Some(vector) => {
                    if let Some(flaw) = self.expectation.find_flaw(vector) {
                        let flaw = describe(flaw, self.expectation.width);
                        let (row, column) = (row_number(self.rows), &self.column);
                        return Err(format!("the vector of {row} in column `{column}` {flaw}"));
                    }
                }
            }
            self.rows += 1;
        }
        Ok(())
    }
}

/// What is wrong with a vector, as a clause about it.
fn describe(flaw: Flaw, width: usize) -> String {
    match flaw {
        Flaw::Width(found) => format!("has {found} components, not {width}"),
        Flaw::NotFinite => "has a component that is not finite".to_owned(),
        Flaw::Length(length) => format!("has length {length}"),
    }
}
