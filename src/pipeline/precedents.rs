//! The models that made the vectors which exist already.

use reembed_encoder::error::Result;
use reembed_encoder::model::precedent::Precedents;
use reembed_encoder::stop::Stop;

use crate::cache::{self, Patience};
use crate::config::{CacheConfig, CalibrationConfig, Config, EmbeddingConfig, Engine, ModelConfig};
use crate::events::Event;
use crate::hidden_names::OutputPlace;
use crate::publish::ExistingTarget;

/// The models of the vectors that a column may reuse, which decide its precision if the configuration
/// does not. `writes` says whether the vector cache may be repaired.
pub(super) fn precedents(
    config: &Config,
    embedding: &EmbeddingConfig,
    existing: &ExistingTarget,
    writes: bool,
    (stop, on_event): (&Stop, &(dyn Fn(Event) + Sync)),
) -> Result<Precedents> {
    let existing = (&config.output.place, existing);
    let patience = Patience { time: config.cache.wait, stop, on_event };
    precedents_at(existing, &embedding.column, (&embedding.model, &config.cache), writes, patience)
}

/// The models of the vectors that exist already, for a calibration, which only reads.
///
/// # Errors
/// `Target` when the existing output cannot be read; `CacheBusy` when another process has the vector cache
/// open.
pub fn calibration_precedents(
    config: &CalibrationConfig,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Precedents> {
    let Some(output) = &config.output else { return Ok(Precedents::default()) };
    let existing = (&OutputPlace::alone(output.clone()), &ExistingTarget::read(output)?);
    let patience = Patience { time: config.cache.wait, stop: &Stop::new(), on_event };
    precedents_at(existing, &config.column, (&config.model, &config.cache), false, patience)
}

fn precedents_at(
    (output, existing): (&OutputPlace, &ExistingTarget),
    column: &str,
    (model, cache): (&ModelConfig, &CacheConfig),
    writes: bool,
    patience: Patience<'_>,
) -> Result<Precedents> {
    if model.engine != Engine::Packed || model.precision.is_some() {
        return Ok(Precedents::default());
    }
    let made = existing.file().embedding(column);
    let made = made.map(|embedding| embedding.lineage.model.clone());
    Ok(Precedents { output: made, cache: cache::models(cache, output, writes, patience)? })
}
