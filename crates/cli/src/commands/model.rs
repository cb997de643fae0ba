//! `reembed model`: fetches, shows, pins, converts or checks a model.

mod check;
mod convert;
mod list;
mod named;
mod pin;

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::Result;
use reembed_encoder::model::description::{self, ModelDescription};
use reembed_encoder::model::source::ModelFiles;

pub use check::check;
pub use convert::convert;
pub use list::list;
pub use pin::pin;

use crate::cli::{Logging, ModelArgs};
use crate::exit::Exit;
use crate::print;
use crate::text::{printable, printable_path, table};
use named::resolve_named;

/// `reembed model fetch`.
pub fn fetch(args: &ModelArgs, logging: &Logging) -> Result<Exit> {
    let started = Instant::now();
    let (_, files) = resolve_named(args, logging)?;
    print::result(&table(&[
        ("model", printable(files.label.as_str())),
        ("from", files.origin.to_string()),
        ("directory", printable_path(&files.directory)),
        ("seconds", format!("{:.1}", started.elapsed().as_secs_f64())),
    ]))?;
    Ok(Exit::Done)
}

/// `reembed model show`.
pub fn show(args: &ModelArgs, logging: &Logging) -> Result<Exit> {
    let (config, files) = resolve_named(args, logging)?;
    let description = description::read(&files, &config.text)?;
    print::result(&description_text(&files, &description))?;
    Ok(Exit::Done)
}

fn description_text(files: &ModelFiles, description: &ModelDescription) -> String {
    let encoder = &description.encoder;
    let whole = description.dim();
    let cut = description.truncate_dim.map(NonZeroUsize::get).filter(|kept| *kept < whole);
    let dimension = match cut {
        Some(kept) => format!("{kept} (the first of {whole}, truncate_dim of the model)"),
        None => whole.to_string(),
    };
    let normalized = match (description.normalizes(), cut) {
        (true, None) => "yes",
        // As in sentence-transformers, nothing is scaled after the cut.
        (true, Some(_)) => "no (scaled before the cut)",
        (false, _) => "no",
    };
    let mut text = table(&[
        ("model", printable(files.label.as_str())),
        ("from", files.origin.to_string()),
        ("directory", printable_path(&files.directory)),
        ("dimension", dimension),
        ("max length", format!("{} tokens", description.max_seq_length)),
        ("pooling", description.pooling.names()),
        ("normalized", normalized.to_owned()),
        ("prompt", format!("{:?}", description.prompt.text)),
        (
            "transformer",
            format!(
                "{}, {} layers, {} heads, feed-forward {}, vocabulary {}",
                encoder.architecture,
                encoder.layers,
                encoder.attention.heads,
                encoder.feed_forward.width,
                encoder.vocab_size
            ),
        ),
    ]);
    text.push_str("\nSHA-256\n");
    for (name, hash) in files.hashes() {
        let _ = writeln!(text, "{hash}  {}", printable(&name));
    }
    text
}
