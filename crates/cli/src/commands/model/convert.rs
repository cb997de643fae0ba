//! `reembed model convert`: pickled weights as safetensors.

use anyhow::Result;
use reembed_encoder::model::convert::{self as converting, Converted};

use crate::cli::ConvertArgs;
use crate::exit::Exit;
use crate::print;
use crate::text::{printable_path, table};

/// `reembed model convert`.
pub fn convert(args: &ConvertArgs) -> Result<Exit> {
    // Each is told at once: a failure of the next one leaves it in place.
    for (place, pickle) in converting::pickles(&args.directory)?.into_iter().enumerate() {
        let Converted { from, to, tensors } = pickle.convert()?;
        let told = table(&[
            ("read", printable_path(&from)),
            ("wrote", printable_path(&to)),
            ("tensors", tensors.to_string()),
        ]);
        let separator = if place == 0 { "" } else { "\n" };
        print::result_or_warn(&format!("{separator}{told}"));
    }
    Ok(Exit::Done)
}
