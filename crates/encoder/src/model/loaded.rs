//! A model in memory, and the limits of its batches.

use std::sync::Arc;

use super::encoder::Encoder;
use super::facts::ModelFacts;
use super::tokenizer::TextTokenizer;
use crate::budget::{MemoryReadings, max_tokens_for_budget, memory_budget};
use crate::error::Result;
use crate::limit::{
    AdaptiveLimit, BatchShape, EncoderLimits, LimitBounds, RequestedLimits, TokenCount,
};

/// A model that is ready to embed texts. A clone shares its weights.
#[derive(Clone)]
pub struct Model {
    /// Text to token ids, truncated to the model's maximum length.
    pub tokenizer: TextTokenizer,
    /// Token ids to vectors.
    pub encoder: Arc<dyn Encoder>,
    /// What is known about it.
    pub facts: ModelFacts,
}

impl Model {
    /// The same model with this text before every text, in place of its own prompt. It shares the weights.
    ///
    /// # Errors
    /// As [`TextTokenizer::with_prompt`].
    pub fn with_prompt(&self, prompt: &str) -> Result<Model> {
        let mut model = Model { tokenizer: self.tokenizer.with_prompt(prompt)?, ..self.clone() };
        prompt.clone_into(&mut model.facts.identity.prompt);
        // This one was chosen.
        model.facts.notes.prompt = None;
        Ok(model)
    }

    /// Bytes that the longest text or chunk needs beside the weights; `None` if the
    /// device's allocator decides.
    pub fn single_text_bytes(&self) -> Option<u64> {
        let longest = self.tokenizer.longest_text().get();
        self.encoder.bytes_for(BatchShape { rows: 1, longest, tokens: longest })
    }

    /// The batch limit and memory budget of a run that starts now.
    ///
    /// The budget is `memory_limit` bytes or, if that is `None`, a share of the free memory of
    /// `readings`.
    pub fn batch_settings(
        &self,
        requested: RequestedLimits,
        memory_limit: Option<u64>,
        readings: MemoryReadings,
    ) -> BatchSettings {
        let single_text_bytes = self.single_text_bytes();
        let budget = memory_budget(memory_limit, readings, single_text_bytes);
        let counting = TokenCount::from_padding(self.encoder.pads());
        let bytes_for = |shape| self.encoder.bytes_for(shape);
        let longest = self.tokenizer.longest_text();
        let affordable = max_tokens_for_budget(budget, longest, counting, bytes_for);
        let texts_at_once = self.encoder.texts_at_once();
        let encoder = EncoderLimits { counting, affordable, texts_at_once, longest };
        let limit = AdaptiveLimit::new(LimitBounds::new(requested, encoder));
        BatchSettings { limit, budget, single_text_bytes }
    }
}

/// The batch limit and memory budget at the start of a run.
#[derive(Debug, Clone)]
pub struct BatchSettings {
    /// The limit of the first batch.
    pub limit: AdaptiveLimit,
    /// Bytes that a batch may need; `None` if the device's allocator decides.
    pub budget: Option<u64>,
    /// As [`Model::single_text_bytes`].
    pub single_text_bytes: Option<u64>,
}
