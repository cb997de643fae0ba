//! Cuts a stream of record batches into chunks of a fixed number of rows, or fewer if rows are large.
//!
//! Chunks depend on the rows and the configuration only, not on row groups or timing.

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions};
use arrow::compute::concat;
use arrow::datatypes::{DataType, SchemaRef};
use reembed_encoder::error::{Error, ErrorKind, Result};

use super::string_views::from_views;

/// Collects rows until a chunk is full.
pub struct Chunker {
    /// The schema of the chunks. Incoming batches may have views in the place of strings.
    schema: SchemaRef,
    max_rows: usize,
    max_bytes: usize,
    /// Rows that are not in a chunk yet. They stay views, which take little memory.
    rest: Option<Rest>,
    pieces: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    /// Bytes of all rows so far.
    total: u64,
}

struct Rest {
    batch: RecordBatch,
    sizes: Vec<usize>,
    start: usize,
}

impl Chunker {
    /// A chunk ends after `max_rows` rows, or with the row that reaches `max_bytes` bytes.
    pub fn new(schema: SchemaRef, max_rows: usize, max_bytes: usize) -> Self {
        let (rest, pieces) = (None, Vec::new());
        Chunker { schema, max_rows, max_bytes, rest, pieces, rows: 0, bytes: 0, total: 0 }
    }

    /// Bytes in memory of all rows so far, without sharing.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Adds rows. Call it only after [`Chunker::next_full`] has returned `None`.
    pub fn push(&mut self, batch: RecordBatch) {
        debug_assert!(self.rest.is_none());
        let sizes = row_sizes(&batch);
        let sum = sizes.iter().fold(0u64, |sum, size| sum.saturating_add(*size as u64));
        self.total = self.total.saturating_add(sum);
        self.rest = Some(Rest { batch, sizes, start: 0 });
    }

    /// The next full chunk. Chunks are made one by one, because they can be far larger than the views.
    pub fn next_full(&mut self) -> Result<Option<RecordBatch>> {
        let Some(Rest { batch, sizes, start }) = self.rest.take() else { return Ok(None) };
        for row in start..batch.num_rows() {
            self.rows += 1;
            self.bytes = self.bytes.saturating_add(sizes[row]);
            if self.rows == self.max_rows || self.bytes >= self.max_bytes {
                self.take(&batch.slice(start, row + 1 - start))?;
                self.rest = Some(Rest { batch, sizes, start: row + 1 });
                return self.finish();
            }
        }
        if start < batch.num_rows() {
            self.take(&batch.slice(start, batch.num_rows() - start))?;
        }
        Ok(None)
    }

    /// Adds rows to the chunk in its own types. Views would keep whole pages in memory.
    fn take(&mut self, piece: &RecordBatch) -> Result<()> {
        self.pieces.push(from_views(piece, &self.schema)?);
        Ok(())
    }

    /// The last chunk; `None` if no rows are left.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>> {
        (self.rows, self.bytes) = (0, 0);
        let pieces = std::mem::take(&mut self.pieces);
        if pieces.is_empty() {
            return Ok(None);
        }
        let rows = pieces.iter().map(RecordBatch::num_rows).sum();
        let joined = |(position, field): (usize, &arrow::datatypes::FieldRef)| {
            let parts: Vec<&dyn Array> =
                pieces.iter().map(|piece| piece.column(position).as_ref()).collect();
            concat(&parts).map_err(|cause| {
                Error::new(ErrorKind::Data, "its values cannot be concatenated")
                    .at(format!("column `{}`", field.name()))
                    .advice("write the column as plain strings, or with wider dictionary keys")
                    .caused_by(cause)
            })
        };
        let fields = self.schema.fields().iter().enumerate();
        let columns = fields.map(joined).collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map(Some).map_err(
            |cause| {
                Error::new(ErrorKind::Data, "the columns of a chunk do not match the schema")
                    .caused_by(cause)
            },
        )
    }
}

/// Bytes of each row, counting shared strings in every row.
fn row_sizes(batch: &RecordBatch) -> Vec<usize> {
    let mut sizes = vec![0usize; batch.num_rows()];
    for column in batch.columns() {
        add(&mut sizes, value_sizes(column.as_ref()));
    }
    sizes
}

/// Bytes of each value: exact for strings, also inside lists and structs, an average for other types.
fn value_sizes(array: &dyn Array) -> Vec<usize> {
    const VIEW: usize = 16;
    let lengths = |lengths: &mut dyn Iterator<Item = u32>| {
        lengths.map(|length| length as usize + VIEW).collect()
    };
    match array.data_type() {
        DataType::Utf8View => lengths(&mut array.as_string_view().lengths()),
        DataType::BinaryView => lengths(&mut array.as_binary_view().lengths()),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            list_sizes(list.values().as_ref(), list.value_offsets())
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            list_sizes(list.values().as_ref(), list.value_offsets())
        }
        DataType::Map(..) => {
            let map = array.as_map();
            list_sizes(map.entries(), map.value_offsets())
        }
        DataType::FixedSizeList(_, width) => {
            let (width, items) = (*width as usize, array.as_fixed_size_list().values());
            let items = value_sizes(items.as_ref());
            (0..array.len()).map(|row| items[row * width..][..width].iter().sum()).collect()
        }
        DataType::Struct(_) => {
            let mut sizes = vec![0; array.len()];
            for column in array.as_struct().columns() {
                add(&mut sizes, value_sizes(column.as_ref()));
            }
            sizes
        }
        _ => vec![array.get_array_memory_size() / array.len().max(1); array.len()],
    }
}

fn list_sizes<O: OffsetSizeTrait>(items: &dyn Array, offsets: &[O]) -> Vec<usize> {
    let items = value_sizes(items);
    let list = |ends: &[O]| {
        size_of::<O>() + items[ends[0].as_usize()..ends[1].as_usize()].iter().sum::<usize>()
    };
    offsets.windows(2).map(list).collect()
}

fn add(sizes: &mut [usize], more: Vec<usize>) {
    for (size, more) in sizes.iter_mut().zip(more) {
        *size = size.saturating_add(more);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringViewArray};
    use proptest::prelude::*;

    use super::*;

    fn batch(texts: &[String], from: i32) -> RecordBatch {
        let numbers = Int32Array::from_iter_values(from..from + texts.len() as i32);
        let texts = StringViewArray::from_iter_values(texts);
        RecordBatch::try_from_iter([
            ("n", Arc::new(numbers) as ArrayRef),
            ("t", Arc::new(texts) as ArrayRef),
        ])
        .expect("columns of equal length")
    }

    proptest! {
        #[test]
        fn chunks_hold_every_row_in_order_however_batches_are_cut(
            lengths in prop::collection::vec(0usize..200, 1..80),
            pieces in prop::collection::vec(1usize..20, 1..20),
            max_rows in 1usize..30,
            max_bytes in 100usize..2000,
        ) {
            let texts: Vec<String> = lengths.iter().map(|length| "x".repeat(*length)).collect();
            let cut = |sizes: &[usize]| -> Vec<Vec<i32>> {
                let schema = batch(&[], 0).schema();
                let mut chunker = Chunker::new(schema, max_rows, max_bytes);
                let mut chunks = Vec::new();
                let mut at = 0;
                for size in sizes.iter().cycle() {
                    let end = (at + size).min(texts.len());
                    chunker.push(batch(&texts[at..end], at as i32));
                    while let Some(chunk) = chunker.next_full().expect("cut") {
                        chunks.push(chunk);
                    }
                    at = end;
                    if at == texts.len() {
                        break;
                    }
                }
                chunks.extend(chunker.finish().expect("finished"));
                chunks
                    .iter()
                    .map(|chunk| {
                        let numbers = chunk.column(0).as_primitive::<arrow::datatypes::Int32Type>();
                        numbers.values().to_vec()
                    })
                    .collect()
            };
            let chunks = cut(&pieces);
            prop_assert_eq!(chunks.concat(), (0..texts.len() as i32).collect::<Vec<_>>());
            prop_assert!(chunks.iter().all(|chunk| chunk.len() <= max_rows));
            // The average size of the numbers depends on the batches, so compare only where the number
            // of rows decides.
            if max_bytes > 250 * max_rows {
                prop_assert_eq!(chunks, cut(&[texts.len()]));
            }
        }
    }
}
