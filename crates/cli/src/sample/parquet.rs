//! Task rows as a Parquet file, the way a tracker would export them.

use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use reembed::publish;
use reembed_encoder::error::Result;
use reembed_encoder::task::TaskRow;

/// A reader keeps the dictionaries of a row group, which fill up in its first tens of thousands of rows.
const ROWS_OF_A_ROW_GROUP: usize = 50_000;

/// Rows that are turned into columns together.
const ROWS_AT_A_TIME: usize = 8192;

/// Writes task rows with the columns `id`, `title`, `description` and `files` under `path`, in place of what is
/// there. Gives the number of rows.
///
/// # Errors
/// `Output`, naming the file.
pub fn write_tasks(path: &Path, rows: impl IntoIterator<Item = TaskRow>) -> Result<u64> {
    let refused = |cause| publish::failed(path, "it cannot be written", cause);
    let file = publish::temporary_beside(path, None)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROWS_OF_A_ROW_GROUP))
        .build();
    let mut rows = rows.into_iter();
    let mut count = 0;
    let mut batch = columns(&[])?;
    let mut writer = ArrowWriter::try_new(BufWriter::new(file), batch.schema(), Some(properties))
        .map_err(refused)?;
    loop {
        writer.write(&batch).map_err(refused)?;
        let next: Vec<TaskRow> = rows.by_ref().take(ROWS_AT_A_TIME).collect();
        if next.is_empty() {
            break;
        }
        count += next.len() as u64;
        batch = columns(&next)?;
    }
    let buffered = writer.into_inner().map_err(refused)?;
    let file = buffered
        .into_inner()
        .map_err(|cause| publish::failed(path, "it cannot be written", cause.into_error()))?;
    publish::publish(file, path, |_| Ok(()))?;
    Ok(count)
}

fn columns(rows: &[TaskRow]) -> Result<RecordBatch> {
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
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|cause| publish::failed(Path::new("the sample"), "it has uneven columns", cause))
}
