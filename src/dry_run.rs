//! Estimates what a run would do and cost. Nothing is written.

use std::time::{Duration, Instant};

use arrow::array::{Array, LargeStringArray};
use reembed_encoder::batch::{RowNames, strings};
use reembed_encoder::error::Result;
use reembed_encoder::inference::{Inference, Work};
use reembed_encoder::limit::{BatchLimit, BatchShape, TokenCount};
use reembed_encoder::model::Model;
use reembed_encoder::model::tokenizer::tokenize_texts;

use crate::chunk::needs_vector;
use crate::config::Config;
use crate::footer::Lineage;
use crate::pipeline::{Models, Splitter, add_input_file, batch_settings};
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
    /// The chunks of their texts, if each is a row of the output.
    pub chunks: Option<u64>,
    /// The vector columns, one or more.
    pub columns: Vec<ColumnEstimate>,
}

/// The estimate of one vector column.
#[derive(Debug, Clone)]
pub struct ColumnEstimate {
    /// Its name.
    pub column: String,
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
    /// The time to embed its texts, extrapolated from a short trial.
    pub duration: Duration,
    /// Bytes of the vectors before compression.
    pub vector_bytes: u64,
    /// The model that would make the vectors.
    pub lineage: Lineage,
    /// With `run.limit`, the first texts, at most [`PREVIEW_TEXTS`]: the row's number or id, and the text.
    pub preview: Vec<(String, String)>,
}

impl Estimate {
    /// The duration of the run, extrapolated from short trials.
    pub fn duration(&self) -> Duration {
        self.columns.iter().map(|column| column.duration).sum()
    }
}

/// Reads and tokenizes the whole input, plans every batch, and embeds a few batches to measure the
/// speed. `forms` are those of the vector columns.
///
/// # Errors
/// Those of a run up to the inference stage.
pub fn estimate(
    config: &Config,
    reader: &Reader,
    models: &Models<'_>,
    forms: &[VectorForm],
) -> Result<Estimate> {
    count(config, reader, models, forms).map_err(|error| add_input_file(error, &config.input.path))
}

fn count(
    config: &Config,
    reader: &Reader,
    models: &Models<'_>,
    forms: &[VectorForm],
) -> Result<Estimate> {
    let settings = batch_settings(config, config.batch.memory_limit, models);
    let inferences: Vec<Inference<'_>> = settings
        .into_iter()
        .zip(models.distinct())
        .map(|(settings, loaded)| {
            let encoder = loaded.model.encoder.as_ref();
            Inference::new(encoder, settings.limit, settings.budget, &|_| ())
        })
        .collect();
    let mut columns: Vec<ColumnCounter<'_>> = models
        .by_column()
        .zip(models.numbers())
        .map(|(model, number)| ColumnCounter::new(model, &inferences[number]))
        .collect();
    let splitter = Splitter::of_config(config, models);
    let (mut rows, mut chunks) = (0, 0);
    for chunk in reader.chunks() {
        let chunk = chunk?;
        rows += chunk.len() as u64;
        let parts = match &splitter {
            Some(splitter) => splitter.split(&chunk)?,
            None => vec![chunk],
        };
        for chunk in parts {
            chunks += chunk.len() as u64;
            for (column, texts) in columns.iter_mut().zip(&chunk.texts) {
                column.add(config, &chunk.rows, texts)?;
            }
        }
    }
    let counted = config.embeddings.iter().zip(columns).zip(forms);
    let counted =
        counted.map(|((embedding, column), form)| column.finish(embedding.column.clone(), form));
    let chunks = splitter.map(|_| chunks);
    Ok(Estimate { rows, chunks, columns: counted.collect() })
}

/// Counts what a run would do for a vector column.
struct ColumnCounter<'a> {
    model: &'a Model,
    inference: &'a Inference<'a>,
    counting: TokenCount,
    limit: BatchLimit,
    empty_rows: u64,
    truncated_rows: u64,
    preview: Vec<(String, String)>,
    work: Work,
    largest: BatchShape,
    trial_tokens: usize,
    trial: Duration,
}

impl<'a> ColumnCounter<'a> {
    fn new(model: &'a Model, inference: &'a Inference<'a>) -> ColumnCounter<'a> {
        ColumnCounter {
            model,
            inference,
            counting: TokenCount::from_padding(model.encoder.pads()),
            limit: inference.memory_limit(),
            empty_rows: 0,
            truncated_rows: 0,
            preview: Vec::new(),
            work: Work::default(),
            largest: BatchShape::default(),
            trial_tokens: 0,
            trial: Duration::ZERO,
        }
    }

    /// Counts the texts of a chunk.
    fn add(&mut self, config: &Config, rows: &RowNames, texts: &LargeStringArray) -> Result<()> {
        let shown = match config.run.limit {
            Some(_) => PREVIEW_TEXTS - self.preview.len(),
            None => 0,
        };
        let first = strings(texts).enumerate().take(shown);
        self.preview.extend(first.map(|(row, text)| (rows.name(row), text.to_owned())));
        let mut wanted = Vec::with_capacity(texts.len());
        for (row, text) in strings(texts).enumerate() {
            if needs_vector(config.output.on_empty, text, rows, row)? {
                wanted.push((row, text));
            }
        }
        let count = texts.len();
        self.empty_rows += (count - wanted.len()) as u64;
        let texts = tokenize_texts(&self.model.tokenizer, rows, count, wanted, self.limit)?;
        self.truncated_rows += texts.truncated.len() as u64;
        // From the middle, where batches have an average length.
        let mut tried = Vec::new();
        for batch in texts.batches.iter().skip(texts.batches.len() / 2) {
            if self.trial_tokens >= TRIAL_TOKENS {
                break;
            }
            self.trial_tokens += self.counting.tokens(batch.shape());
            tried.push(batch.clone());
        }
        if !tried.is_empty() {
            let started = Instant::now();
            self.inference.embed(rows, count, tried)?;
            self.trial += started.elapsed();
        }
        for batch in &texts.batches {
            self.work.count(batch, self.model.encoder.pads());
            if self.counting.tokens(batch.shape()) > self.counting.tokens(self.largest) {
                self.largest = batch.shape();
            }
        }
        Ok(())
    }

    fn finish(self, column: String, form: &VectorForm) -> ColumnEstimate {
        let duration = match self.trial_tokens {
            0 => Duration::ZERO,
            tokens => self.trial.mul_f64(self.work.padded_tokens as f64 / tokens as f64),
        };
        ColumnEstimate {
            column,
            empty_rows: self.empty_rows,
            truncated_rows: self.truncated_rows,
            vector_bytes: self.work.rows * form.bytes_per_row(),
            work: self.work,
            largest: self.largest,
            largest_bytes: self.model.encoder.bytes_for(self.largest),
            budget: self.inference.budget(),
            limit: self.limit,
            duration,
            lineage: Lineage::new(&self.model.identity),
            preview: self.preview,
        }
    }
}
