//! Estimates what a run would do and cost. Nothing is written.

use std::time::{Duration, Instant};

use arrow::array::Array;
use reembed_encoder::batch::strings;
use reembed_encoder::error::Result;
use reembed_encoder::inference::{Inference, Work};
use reembed_encoder::limit::{BatchLimit, BatchShape, TokenCount};
use reembed_encoder::memory;
use reembed_encoder::model::Model;
use reembed_encoder::model::tokenizer::tokenize_texts;

use crate::chunk::needs_vector;
use crate::config::Config;
use crate::footer::Lineage;
use crate::pipeline::add_input_file;
use crate::reader::Reader;
use crate::vectors::VectorForm;

/// Tokens that are embedded to measure the speed of this machine.
const TRIAL_TOKENS: usize = 4096;

/// Texts that an estimate with `run.limit` shows.
pub const PREVIEW_TEXTS: usize = 3;

/// The estimate of a run.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// Rows of the input that are read.
    pub rows: u64,
    /// Rows without text.
    pub empty_rows: u64,
    /// Rows whose text is cut at the model's maximum length.
    pub truncated_rows: u64,
    /// What the model would compute.
    pub work: Work,
    /// The shape of the largest batch.
    pub largest: BatchShape,
    /// Bytes that the largest batch takes beside the weights; `None` if unknown.
    pub largest_bytes: Option<u64>,
    /// Bytes that a batch may take; `None` if there is no budget.
    pub budget: Option<u64>,
    /// The batch limit of the plan.
    pub limit: BatchLimit,
    /// The duration of the run, extrapolated from a short trial.
    pub duration: Duration,
    /// Bytes of the vectors before compression.
    pub vector_bytes: u64,
    /// The model that would make the vectors.
    pub lineage: Lineage,
    /// With `run.limit`, the first texts, at most [`PREVIEW_TEXTS`]: the row's number or id, and the text.
    pub preview: Vec<(String, String)>,
}

/// Reads and tokenizes the whole input, plans every batch, and embeds a few batches to measure the
/// speed. `form` is that of the vector column.
///
/// # Errors
/// Those of a run up to the inference stage.
pub fn estimate(
    config: &Config,
    reader: &Reader,
    model: &Model,
    form: &VectorForm,
) -> Result<Estimate> {
    count(config, reader, model, form).map_err(|error| add_input_file(error, &config.input.path))
}

fn count(config: &Config, reader: &Reader, model: &Model, form: &VectorForm) -> Result<Estimate> {
    let encoder = model.encoder.as_ref();
    let settings =
        model.batch_settings(config.batch.requested, config.batch.memory_limit, memory::read());
    let budget = settings.budget;
    let counting = TokenCount::from_padding(encoder.pads());
    let inference = Inference::new(encoder, settings.limit, budget, &|_| ());
    let limit = inference.limit();

    let mut rows = 0;
    let mut empty_rows = 0;
    let mut truncated_rows = 0;
    let mut preview = Vec::new();
    let mut work = Work::default();
    let mut largest = BatchShape::default();
    let (mut trial_tokens, mut trial) = (0, Duration::ZERO);
    for chunk in reader.chunks() {
        let chunk = chunk?;
        rows += chunk.texts.len() as u64;
        let shown = match config.run.limit {
            Some(_) => PREVIEW_TEXTS - preview.len(),
            None => 0,
        };
        let first = strings(&chunk.texts).enumerate().take(shown);
        preview.extend(first.map(|(row, text)| (chunk.rows.name(row), text.to_owned())));
        let mut texts = Vec::with_capacity(chunk.texts.len());
        for (row, text) in strings(&chunk.texts).enumerate() {
            if needs_vector(config.output.on_empty, text, &chunk.rows, row)? {
                texts.push((row, text));
            }
        }
        let count = chunk.texts.len();
        empty_rows += (count - texts.len()) as u64;
        let texts = tokenize_texts(&model.tokenizer, &chunk.rows, count, texts, limit)?;
        truncated_rows += texts.truncated.len() as u64;
        // From the middle, where batches have an average length.
        let mut tried = Vec::new();
        for batch in texts.batches.iter().skip(texts.batches.len() / 2) {
            if trial_tokens >= TRIAL_TOKENS {
                break;
            }
            trial_tokens += counting.tokens(batch.shape());
            tried.push(batch.clone());
        }
        if !tried.is_empty() {
            let started = Instant::now();
            inference.embed(&chunk.rows, count, tried)?;
            trial += started.elapsed();
        }
        for batch in &texts.batches {
            work.count(batch, encoder.pads());
            if counting.tokens(batch.shape()) > counting.tokens(largest) {
                largest = batch.shape();
            }
        }
    }
    let duration = match trial_tokens {
        0 => Duration::ZERO,
        tokens => trial.mul_f64(work.padded_tokens as f64 / tokens as f64),
    };
    Ok(Estimate {
        rows,
        empty_rows,
        truncated_rows,
        vector_bytes: work.rows * form.bytes_per_row(),
        work,
        largest,
        largest_bytes: encoder.bytes_for(largest),
        budget,
        limit,
        duration,
        lineage: Lineage::new(&model.identity),
        preview,
    })
}
