//! Writes the vectors of an output as raw little-endian f32, `rows × dim`, without a header; a null vector
//! becomes NaN components. `cargo run --example vectors -- out/tasks.parquet vectors.f32`

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray};
use arrow::datatypes::Float32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (input, output) = arguments
        .next()
        .zip(arguments.next())
        .context("usage: vectors OUTPUT.parquet VECTORS.f32")?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(input)?)?.build()?;
    let mut raw = BufWriter::new(File::create(output)?);
    for batch in reader {
        let batch = batch?;
        let column = batch.column_by_name("embedding").context("there is no column `embedding`")?;
        let vectors =
            column.as_fixed_size_list_opt().context("its vectors are no fixed-size lists")?;
        for row in 0..vectors.len() {
            let values = vectors.value(row);
            for value in values.as_primitive::<Float32Type>().values() {
                let value = if vectors.is_valid(row) { *value } else { f32::NAN };
                raw.write_all(&value.to_le_bytes())?;
            }
        }
    }
    Ok(raw.flush()?)
}
