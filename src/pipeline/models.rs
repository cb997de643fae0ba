//! The models of a run: one for each vector column, found once where settings are equal, and loaded when
//! the first text needs it.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::model::config::ModelConfig;
use reembed_encoder::model::precedent::Precedents;
use reembed_encoder::model::{FoundModel, Model, ModelFacts};
use reembed_encoder::stop::Stop;

use super::precedents::precedents;
use crate::config::Config;
use crate::events::Event;
use crate::publish::ExistingTarget;

/// The models of all vector columns.
pub struct Models<'a> {
    distinct: Vec<LazyModel<'a>>,
    /// The number of the model of each column.
    of_column: Vec<usize>,
}

/// A model that is loaded when it is needed. Its identity is known before.
pub enum LazyModel<'a> {
    /// One that was loaded elsewhere.
    Loaded(&'a Model),
    /// One that was found.
    Found(Box<ModelToLoad>),
}

/// A model that was found and is loaded once.
pub struct ModelToLoad {
    facts: ModelFacts,
    /// The time to find its files.
    finding: Duration,
    found: Mutex<Option<FoundModel>>,
    loaded: OnceLock<(Model, Duration)>,
}

impl<'a> Models<'a> {
    /// Finds the models of a configuration. `existing` is the existing output, whose precision they
    /// follow; `writes` says whether the vector cache may be repaired.
    ///
    /// # Errors
    /// As [`FoundModel::find`]; `CacheBusy` when another process has the vector cache open for longer
    /// than `cache.wait`.
    pub fn find(
        config: &Config,
        existing: &ExistingTarget,
        writes: bool,
        stop: &Stop,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Models<'a>> {
        let on_progress = |progress| on_event(Event::Model(progress));
        let wanted = config.embeddings.iter().map(|embedding| {
            let precedents = precedents(config, embedding, existing, writes, (stop, on_event))?;
            Ok((&embedding.model, precedents))
        });
        let wanted: Vec<(&ModelConfig, Precedents)> = wanted.collect::<Result<_>>()?;
        let mut models = Models { distinct: Vec::new(), of_column: Vec::new() };
        for (column, one) in wanted.iter().enumerate() {
            let number = match wanted[..column].iter().position(|earlier| earlier == one) {
                Some(same) => models.of_column[same],
                None => {
                    let finding = Instant::now();
                    let found = FoundModel::find(one.0, &one.1, stop, &on_progress)?;
                    let model = ModelToLoad::new(found, finding.elapsed());
                    models.distinct.push(LazyModel::Found(Box::new(model)));
                    models.distinct.len() - 1
                }
            };
            models.of_column.push(number);
        }
        Ok(models)
    }

    /// One model for `columns` vector columns.
    pub fn shared(model: &'a Model, columns: usize) -> Models<'a> {
        Models { distinct: vec![LazyModel::Loaded(model)], of_column: vec![0; columns] }
    }

    /// Loads all that are not loaded yet.
    ///
    /// # Errors
    /// As [`LazyModel::get`].
    pub fn load(&self, stop: &Stop) -> Result<()> {
        self.distinct.iter().try_for_each(|model| model.get(stop).map(drop))
    }

    /// The different models.
    pub fn distinct(&self) -> &[LazyModel<'a>] {
        &self.distinct
    }

    /// The model of each vector column.
    pub fn by_column(&self) -> impl Iterator<Item = &LazyModel<'a>> {
        self.numbers().map(|number| &self.distinct[number])
    }

    /// The number among [`Models::distinct`] of the model of each vector column.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.of_column.iter().copied()
    }

    /// The time to find, check and load those that are loaded; `None` if none is.
    pub fn load_time(&self) -> Option<Duration> {
        let loaded = self.distinct.iter().filter(|model| model.loaded().is_some());
        loaded.map(LazyModel::took).reduce(|sum, took| sum + took)
    }
}

impl LazyModel<'_> {
    /// What is known about it.
    pub fn facts(&self) -> &ModelFacts {
        match self {
            LazyModel::Loaded(model) => &model.facts,
            LazyModel::Found(found) => &found.facts,
        }
    }

    /// The model, which is loaded first if it is not yet.
    ///
    /// # Errors
    /// As [`FoundModel::load`].
    pub fn get(&self, stop: &Stop) -> Result<&Model> {
        match self {
            LazyModel::Loaded(model) => Ok(model),
            LazyModel::Found(found) => found.load(stop),
        }
    }

    /// The model if it is loaded.
    pub fn loaded(&self) -> Option<&Model> {
        match self {
            LazyModel::Loaded(model) => Some(model),
            LazyModel::Found(found) => found.loaded.get().map(|(model, _)| model),
        }
    }

    /// The time to find it, and to load it if it is loaded.
    pub fn took(&self) -> Duration {
        match self {
            LazyModel::Loaded(_) => Duration::ZERO,
            LazyModel::Found(found) => {
                let loading = found.loaded.get().map(|(_, loading)| *loading);
                found.finding + loading.unwrap_or_default()
            }
        }
    }
}

impl ModelToLoad {
    fn new(found: FoundModel, finding: Duration) -> ModelToLoad {
        let facts = found.facts().clone();
        ModelToLoad { facts, finding, found: Mutex::new(Some(found)), loaded: OnceLock::new() }
    }

    fn load(&self, stop: &Stop) -> Result<&Model> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = found.take() {
            let loading = Instant::now();
            let model = found.load(stop)?;
            let _ = self.loaded.set((model, loading.elapsed()));
        }
        match self.loaded.get() {
            Some((model, _)) => Ok(model),
            // Whoever asked first was told why.
            None => Err(Error::new(ErrorKind::Model, "the model could not be loaded before")),
        }
    }
}
