//! Writes task rows to a Parquet file, like the export of an issue tracker.

use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use reembed::publish;
use reembed_encoder::error::Result;
use reembed_encoder::files::DirectorySync;
use reembed_encoder::task::TaskRow;

/// Rows of a row group. Its dictionaries, which a reader keeps in memory, fill up within this number of rows.
const ROW_GROUP_ROWS: usize = 50_000;

/// Rows of a record batch.
const BATCH_ROWS: usize = 8192;

/// Writes a Parquet file with the columns `id`, `title`, `description` and `files`, and replaces an existing file.
/// Returns the number of rows.
///
/// # Errors
/// `Output`, naming the file.
pub fn write_tasks(path: &Path, rows: impl IntoIterator<Item = TaskRow>) -> Result<u64> {
    let write_error = |cause| publish::write_error(path, "it cannot be written", cause);
    let file = publish::create_temporary_beside(path)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let mut rows = rows.into_iter();
    let mut count = 0;
    let mut batch = record_batch(&[])?;
    let mut writer = ArrowWriter::try_new(BufWriter::new(file), batch.schema(), Some(properties))
        .map_err(write_error)?;
    loop {
        writer.write(&batch).map_err(write_error)?;
        let next: Vec<TaskRow> = rows.by_ref().take(BATCH_ROWS).collect();
        if next.is_empty() {
            break;
        }
        count += next.len() as u64;
        batch = record_batch(&next)?;
    }
    let buffered = writer.into_inner().map_err(write_error)?;
    let file = buffered
        .into_inner()
        .map_err(|cause| publish::write_error(path, "it cannot be written", cause.into_error()))?;
    // Where the file system has no fsync of directories, the sample is made again.
    let _: DirectorySync = publish::replace(file, path, |_| Ok(()))?;
    Ok(count)
}

fn record_batch(rows: &[TaskRow]) -> Result<RecordBatch> {
    let id = StringArray::from_iter_values(rows.iter().map(|row| &row.id));
    let title: StringArray = rows.iter().map(|row| row.title.as_deref()).collect();
    let description: StringArray = rows.iter().map(|row| row.description.as_deref()).collect();
    let mut files = ListBuilder::new(StringBuilder::new());
    for row in rows {
        match &row.files {
            Some(names) => files.append_value(names.iter().map(Some)),
            None => files.append_null(),
        }
    }
    let columns: [(&str, ArrayRef, bool); 4] = [
        ("id", Arc::new(id), false),
        ("title", Arc::new(title), true),
        ("description", Arc::new(description), true),
        ("files", Arc::new(files.finish()), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|cause| {
        publish::write_error(Path::new("the sample"), "its columns have different lengths", cause)
    })
}
