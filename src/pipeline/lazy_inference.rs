//! What embeds the texts of a vector column: its model is loaded, and its batch limit set, when the first
//! text needs it.

use std::sync::{Mutex, OnceLock, PoisonError};

use reembed_encoder::error::Result;
use reembed_encoder::events::EncodeEvent;
use reembed_encoder::inference::Inference;
use reembed_encoder::limit::{BatchLimit, RequestedLimits};
use reembed_encoder::memory;
use reembed_encoder::model::tokenizer::TextTokenizer;
use reembed_encoder::model::{BatchSettings, Model};
use reembed_encoder::stop::Stop;

use super::models::{LazyModel, Models};
use crate::config::Config;
use crate::events::{Event, Loaded};
use crate::footer::Lineage;

/// The limits of the batches of a run, before the free memory is known.
#[derive(Debug, Clone, Copy)]
pub struct BatchWishes {
    /// What the user set.
    pub requested: RequestedLimits,
    /// Bytes that a batch may take; `None`: a share of the free memory.
    pub memory_limit: Option<u64>,
    /// How many models share the memory. One works at a time, but each keeps its buffers.
    pub models: usize,
}

impl BatchWishes {
    /// What the configuration wishes, for these models. `memory_limit` overrides `batch.memory_limit`.
    pub fn new(config: &Config, memory_limit: Option<u64>, models: &Models<'_>) -> BatchWishes {
        BatchWishes {
            requested: config.batch.requested,
            memory_limit: memory_limit.or(config.batch.memory_limit),
            models: models.distinct().len(),
        }
    }

    /// The batch limit and the memory budget of a model in memory.
    pub fn settings(&self, model: &Model) -> BatchSettings {
        let readings = memory::read();
        let alone = model.batch_settings(self.requested, self.memory_limit, readings);
        match alone.budget.filter(|_| self.models > 1) {
            Some(budget) => {
                let share = budget / self.models as u64;
                model.batch_settings(self.requested, Some(share), readings)
            }
            None => alone,
        }
    }
}

/// A model and its inference stage, made when the first text needs them.
pub struct LazyInference<'a> {
    model: &'a LazyModel<'a>,
    wishes: BatchWishes,
    stop: &'a Stop,
    on_event: &'a (dyn Fn(Event) + Sync),
    on_encode: &'a (dyn Fn(EncodeEvent) + Sync),
    starting: Mutex<()>,
    started: OnceLock<Inference<'a>>,
}

impl<'a> LazyInference<'a> {
    /// The inference stage of a model.
    fn new(
        model: &'a LazyModel<'a>,
        wishes: BatchWishes,
        stop: &'a Stop,
        on_event: &'a (dyn Fn(Event) + Sync),
        on_encode: &'a (dyn Fn(EncodeEvent) + Sync),
    ) -> LazyInference<'a> {
        let (starting, started) = (Mutex::new(()), OnceLock::new());
        LazyInference { model, wishes, stop, on_event, on_encode, starting, started }
    }

    /// The inference stages of all models.
    pub fn all(
        models: &'a Models<'_>,
        wishes: BatchWishes,
        stop: &'a Stop,
        on_event: &'a (dyn Fn(Event) + Sync),
        on_encode: &'a (dyn Fn(EncodeEvent) + Sync),
    ) -> Vec<LazyInference<'a>> {
        let of_model = |model| LazyInference::new(model, wishes, stop, on_event, on_encode);
        models.distinct().iter().map(of_model).collect()
    }

    /// Components of a vector.
    pub fn dim(&self) -> usize {
        self.model.facts().identity.dimension
    }

    /// The request to stop that this stage checks.
    pub fn stop(&self) -> &Stop {
        self.stop
    }

    /// The tokenizer and the inference stage.
    ///
    /// # Errors
    /// As [`LazyModel::get`].
    pub fn get(&self) -> Result<(&TextTokenizer, &Inference<'a>)> {
        let _one = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        let model = self.model.get(self.stop)?;
        let inference = self.started.get_or_init(|| {
            let facts = &model.facts;
            let (lineage, runs_on) = (Lineage::new(&facts.identity), facts.runs_on.clone());
            let took = self.model.took();
            (self.on_event)(Event::Loaded(Box::new(Loaded { lineage, runs_on, took })));
            // Only now, since the weights are a part of what is in use.
            let BatchSettings { limit, budget, single_text_bytes: least } =
                self.wishes.settings(model);
            let encoder = model.encoder.as_ref();
            let inference =
                Inference::new(encoder, limit, budget, self.on_encode).with_stop(self.stop);
            let limit = inference.memory_limit();
            (self.on_event)(Event::Budget { bytes: budget, least, limit });
            inference
        });
        Ok((&model.tokenizer, inference))
    }

    /// The batch limit of memory now; `None` if no text needed the model.
    pub fn memory_limit(&self) -> Option<BatchLimit> {
        self.started.get().map(Inference::memory_limit)
    }
}
