//! `reembed model`: fetches or shows the model.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::Result;
use reembed::{Event, ModelConfig};
use reembed_encoder::model::description::{self, ModelDescription};
use reembed_encoder::model::source::{self, ModelFiles};

use super::config::{environment, load};
use crate::cli::{Logging, ModelArgs};
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;
use crate::text::{printable, printable_path, table};

/// `reembed model fetch`.
pub fn fetch(args: &ModelArgs, logging: &Logging) -> Result<Exit> {
    let config = load(&args.config)?.check_model(&environment())?;
    let started = Instant::now();
    let files = resolve(&config, logging)?;
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
    let config = load(&args.config)?.check_model(&environment())?;
    let files = resolve(&config, logging)?;
    let description = description::read(&files, &config.text)?;
    print::result(&description_text(&files, &description))?;
    Ok(Exit::Done)
}

/// Finds or fetches the files of the model.
fn resolve(config: &ModelConfig, logging: &Logging) -> reembed::Result<ModelFiles> {
    let progress = Progress::new(logging);
    source::resolve(&config.source, &|event| progress.event(Event::Model(event)))
}

fn description_text(files: &ModelFiles, description: &ModelDescription) -> String {
    let encoder = &description.encoder;
    let mut text = table(&[
        ("model", printable(files.label.as_str())),
        ("from", files.origin.to_string()),
        ("directory", printable_path(&files.directory)),
        ("dimension", description.dim().to_string()),
        ("max length", format!("{} tokens", description.max_seq_length)),
        ("pooling", description.pooling.names()),
        ("normalized", if description.normalizes() { "yes" } else { "no" }.to_owned()),
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
