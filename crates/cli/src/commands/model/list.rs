//! `reembed model list`: the architectures that reembed runs.

use anyhow::Result;
use reembed_encoder::model::architecture::Architecture;
use reembed_encoder::model::source::DEFAULT_ID;

use crate::exit::Exit;
use crate::print;

/// `reembed model list`.
pub fn list() -> Result<Exit> {
    let mut text = format!("{:<14}{:<20}{}\n", "model_type", "architecture", "such models");
    for architecture in Architecture::all() {
        text += &format!(
            "{:<14}{:<20}{}\n",
            architecture.model_type(),
            architecture.to_string(),
            architecture.examples().join(", ")
        );
    }
    text += &format!(
        "\nTried with real weights: {DEFAULT_ID}. The others are proven by shape, with small models: compare one of them \
         with sentence-transformers by `reembed model check`.\n\
         Only {DEFAULT_ID} runs in bf16 by default; the others run in f32 unless --precision says otherwise.\n"
    );
    print::result(&text)?;
    Ok(Exit::Done)
}
