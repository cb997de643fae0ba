//! Ordinary Parquet files, written by the standard Parquet library.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};

/// Columns of equal length.
#[derive(Clone)]
pub struct Table {
    columns: Vec<(String, ArrayRef)>,
}

impl Table {
    /// `rows` valid tasks with the columns id, title, description and files.
    pub fn tasks(rows: usize) -> Self {
        let texts = |text: fn(usize) -> String| {
            Arc::new(StringArray::from_iter_values((0..rows).map(text))) as ArrayRef
        };
        let files: Vec<Vec<String>> = (0..rows)
            .map(|row| vec![format!("src/part{row}.rs"), "README.md".to_owned()])
            .collect();
        Table { columns: Vec::new() }
            .set("id", texts(|row| format!("T-{row}")))
            .set("title", texts(|row| format!("Fix the login loop number {row}")))
            .set("description", texts(|row| format!("It fails after {row} steps, sometimes.")))
            .set("files", lists(&files))
    }

    /// Replaces the column of that name, or appends it.
    pub fn set(mut self, name: &str, column: ArrayRef) -> Self {
        match self.columns.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = column,
            None => self.columns.push((name.to_owned(), column)),
        }
        self
    }

    /// Appends a column, even if its name exists.
    pub fn add(mut self, name: &str, column: ArrayRef) -> Self {
        self.columns.push((name.to_owned(), column));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.columns.retain(|(known, _)| known != name);
        self
    }

    pub fn rename(mut self, name: &str, to: &str) -> Self {
        self.columns
            .iter_mut()
            .filter(|(known, _)| known == name)
            .for_each(|(known, _)| *known = to.to_owned());
        self
    }

    pub fn batch(&self) -> RecordBatch {
        let fields = self
            .columns
            .iter()
            .map(|(name, column)| Field::new(name, column.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns = self.columns.iter().map(|(_, column)| column.clone()).collect();
        RecordBatch::try_new(schema, columns).expect("columns of equal length")
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_with(|properties| properties)
    }

    /// The file with other writer properties than the default.
    pub fn bytes_with(
        &self,
        properties: impl FnOnce(WriterPropertiesBuilder) -> WriterPropertiesBuilder,
    ) -> Vec<u8> {
        let properties = properties(WriterProperties::builder()).build();
        let batch = self.batch();
        let mut writer =
            ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("a writer");
        writer.write(&batch).expect("rows");
        writer.into_inner().expect("a footer")
    }
}

/// A column of strings.
pub fn strings(texts: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

/// A column of lists of strings.
pub fn lists<T: AsRef<str>>(rows: &[Vec<T>]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        builder.append_value(row.iter().map(|text| Some(text.as_ref())));
    }
    Arc::new(builder.finish())
}
