//! The models of a run: one for each vector column, loaded once where settings are equal.

use std::time::{Duration, Instant};

use reembed_encoder::error::Result;
use reembed_encoder::model::config::ModelConfig;
use reembed_encoder::model::precedent::Precedents;
use reembed_encoder::model::{self, Model};
use reembed_encoder::stop::Stop;

use super::precedents::precedents;
use crate::config::Config;
use crate::events::Event;
use crate::publish::ExistingTarget;

/// The models of all vector columns, as they were loaded.
pub struct LoadedModels {
    loaded: Vec<(Model, Duration)>,
    /// The number of the model of each column.
    of_column: Vec<usize>,
}

/// The models of all vector columns.
#[derive(Clone)]
pub struct Models<'a> {
    distinct: Vec<LoadedModel<'a>>,
    /// The number of the model of each column.
    of_column: Vec<usize>,
}

/// A model and the time to find, check and load it.
#[derive(Clone, Copy)]
pub struct LoadedModel<'a> {
    /// The model.
    pub model: &'a Model,
    /// The time.
    pub took: Duration,
}

impl LoadedModels {
    /// Loads the models of a configuration. `existing` is the existing output, whose precision they
    /// follow; `writes` says whether the vector cache may be repaired.
    ///
    /// # Errors
    /// As [`model::load_until`]; `CacheBusy` when another process has the vector cache open for longer
    /// than `cache.wait`.
    pub fn load(
        config: &Config,
        existing: &ExistingTarget,
        writes: bool,
        stop: &Stop,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<LoadedModels> {
        let on_progress = |progress| on_event(Event::Model(progress));
        let wanted = config.embeddings.iter().map(|embedding| {
            let precedents = precedents(config, embedding, existing, writes, (stop, on_event))?;
            Ok((&embedding.model, precedents))
        });
        let wanted: Vec<(&ModelConfig, Precedents)> = wanted.collect::<Result<_>>()?;
        let mut models = LoadedModels { loaded: Vec::new(), of_column: Vec::new() };
        for (column, one) in wanted.iter().enumerate() {
            let number = match wanted[..column].iter().position(|earlier| earlier == one) {
                Some(same) => models.of_column[same],
                None => {
                    let loading = Instant::now();
                    let model = model::load_until(one.0, &one.1, stop, &on_progress)?;
                    models.loaded.push((model, loading.elapsed()));
                    models.loaded.len() - 1
                }
            };
            models.of_column.push(number);
        }
        Ok(models)
    }

    /// The models.
    pub fn models(&self) -> Models<'_> {
        let distinct = self.loaded.iter().map(|(model, took)| LoadedModel { model, took: *took });
        Models { distinct: distinct.collect(), of_column: self.of_column.clone() }
    }
}

impl<'a> Models<'a> {
    /// One model for `columns` vector columns.
    pub fn shared(model: &'a Model, columns: usize) -> Models<'a> {
        let loaded = LoadedModel { model, took: Duration::ZERO };
        Models { distinct: vec![loaded], of_column: vec![0; columns] }
    }

    /// The different models.
    pub fn distinct(&self) -> &[LoadedModel<'a>] {
        &self.distinct
    }

    /// The model of each vector column.
    pub fn by_column(&self) -> impl Iterator<Item = &'a Model> {
        self.numbers().map(|number| self.distinct[number].model)
    }

    /// The number among [`Models::distinct`] of the model of each vector column.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.of_column.iter().copied()
    }
}
