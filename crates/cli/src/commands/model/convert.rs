//! `reembed model convert`: pickled weights as safetensors.

use anyhow::Result;
use reembed_encoder::model::convert as converting;

use crate::cli::ConvertArgs;
use crate::exit::Exit;
use crate::print;
use crate::text::{printable_path, table};

/// `reembed model convert`.
pub fn convert(args: &ConvertArgs) -> Result<Exit> {
    let converted = converting::convert(&args.directory)?;
    print::result_or_warn(&table(&[
        ("read", printable_path(&converted.from)),
        ("wrote", printable_path(&converted.to)),
        ("tensors", converted.tensors.to_string()),
    ]));
    Ok(Exit::Done)
}
