//! The in-memory API: the drop-in for callers that embed one task at a time.

use std::num::NonZeroUsize;
use std::sync::Arc;

use arrow::array::{FixedSizeListArray, Float32Array};
use arrow::datatypes::{DataType, Field};

use crate::batch::RowNames;
use crate::config::{ModelConfig, OnEmpty};
use crate::error::{Error, ErrorKind, Result};
use crate::inference::{Inference, Work};
use crate::limit::{
    AdaptiveLimit, LimitBounds, RequestedLimits, TokenCount, max_tokens_for_budget, memory_budget,
};
use crate::lineage::Lineage;
use crate::memory;
use crate::model::{self, Model};
use crate::report::Event;
use crate::task::{TaskRow, build_input_text};
use crate::tokenizer::tokenize_texts;

/// Texts that are tokenized and sorted by length together.
const ROWS_AT_A_TIME: usize = 1024;

/// A loaded model that embeds task rows.
///
/// ```
/// use reembed::{BatchOptions, Embedder, Environment, ModelConfig, TaskRow};
///
/// # fn main() -> reembed::Result<()> {
/// let environment = Environment::new(std::env::vars());
/// let embedder = Embedder::open(&ModelConfig::standard(&environment)?)?;
///
/// let task = |title: &str| TaskRow { title: Some(title.into()), ..TaskRow::default() };
/// let one = embedder.compute_embedding(&task("Fix the login loop"))?;
/// assert_eq!(one.len(), 384);
///
/// let tasks = [task("Fix the login loop"), task("Add a dark theme")];
/// let both = embedder.compute_embeddings_batch(&tasks, &BatchOptions::default())?;
/// assert_eq!((both.len(), both.dim()), (2, 384));
/// let same: f32 = one.iter().zip(both.row(0)).map(|(a, b)| a * b).sum();
/// assert!(same > 0.999_99);
/// # Ok(())
/// # }
/// ```
pub struct Embedder {
    model: Model,
    /// Bytes that a batch may take, where they are counted before it runs.
    budget: Option<u64>,
}

/// How a batch of rows is embedded.
#[derive(Default)]
pub struct BatchOptions<'a> {
    /// Texts that go through the model together; `None`: as many as suit the encoder, which an encoder that
    /// does not pad counts in tokens.
    pub batch_size: Option<NonZeroUsize>,
    /// Called after every batch.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

/// How far a batch call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Rows embedded so far.
    pub done: usize,
    /// Rows of the call.
    pub total: usize,
}

/// Vectors of several rows, in the order of the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    values: Vec<f32>,
    dim: usize,
    work: Work,
}

impl Embeddings {
    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Components of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The vector of a row, as a slice of [`Embeddings::dim`] components.
    ///
    /// # Panics
    /// As slices do, if there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..][..self.dim]
    }

    /// Every vector, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dim)
    }

    /// All components, row-major: `len × dim`.
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// All components, row-major: `len × dim`.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// Tokens and batches that it took.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// The vectors as an Arrow array of type `FixedSizeList<Float32, dim>`.
    ///
    /// # Errors
    /// `Encode` when a vector is wider than Arrow allows.
    pub fn into_array(self) -> Result<FixedSizeListArray> {
        let wide = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::Encode, format!("{} components are too many", self.dim))
                .caused_by(cause)
        };
        let size = i32::try_from(self.dim).map_err(|cause| wide(cause.into()))?;
        let child = Arc::new(Field::new("element", DataType::Float32, false));
        let values = Arc::new(Float32Array::from(self.values));
        FixedSizeListArray::try_new(child, size, values, None).map_err(|cause| wide(cause.into()))
    }
}

impl Embedder {
    /// Finds, checks and loads the model; fetches it if it is not on this machine.
    ///
    /// # Errors
    /// As [`model::load`].
    pub fn open(config: &ModelConfig) -> Result<Embedder> {
        Ok(Embedder::new(model::load(config, &|_| ())?))
    }

    /// An embedder of a model that is already loaded.
    pub fn new(model: Model) -> Embedder {
        let budget = memory_budget(None, memory::read(), model.bytes_of_one_text());
        Embedder { model, budget }
    }

    /// Components of a vector.
    pub fn dim(&self) -> usize {
        self.model.encoder.dim()
    }

    /// Whether a row's vector has the same bits in any batch.
    pub fn is_batch_invariant(&self) -> bool {
        self.model.encoder.is_batch_invariant()
    }

    /// What it runs on, for people: instruction set and threads, or a device.
    pub fn runs_on(&self) -> String {
        self.model.encoder.runs_on()
    }

    /// The tokens of each row's text, special tokens included, after the cut at the model's maximum length.
    ///
    /// # Errors
    /// `Encode` when the tokenizer fails.
    pub fn lengths(&self, rows: &[TaskRow]) -> Result<Vec<usize>> {
        let length = |row| Ok(self.model.tokenizer.tokenize(&build_input_text(row))?.ids.len());
        rows.iter().map(length).collect()
    }

    /// Which model this is.
    pub fn lineage(&self) -> Lineage {
        self.model.lineage()
    }

    /// The vector of one row. A row without any text gets the vector of the empty text.
    ///
    /// # Errors
    /// `OutOfMemory` or `Encode`.
    pub fn compute_embedding(&self, row: &TaskRow) -> Result<Vec<f32>> {
        let options = BatchOptions::default();
        Ok(self.compute_embeddings_batch(std::slice::from_ref(row), &options)?.values)
    }

    /// The vectors of several rows, `rows.len() × dim`, in their order. Each is the vector that
    /// [`Embedder::compute_embedding`] gives: the same bits where the encoder is batch-invariant, within 1e-6
    /// per component otherwise.
    ///
    /// # Errors
    /// `OutOfMemory` or `Encode`, naming the row.
    pub fn compute_embeddings_batch(
        &self,
        rows: &[TaskRow],
        options: &BatchOptions<'_>,
    ) -> Result<Embeddings> {
        let encoder = self.model.encoder.as_ref();
        let done = std::sync::atomic::AtomicUsize::new(0);
        let on_event = |event: Event| {
            if let (Event::Batch { rows: batch, .. }, Some(progress)) = (event, options.progress) {
                let done = done.fetch_add(batch, std::sync::atomic::Ordering::Relaxed) + batch;
                progress(Progress { done, total: rows.len() });
            }
        };
        let full_length = self.model.tokenizer.max_length();
        let counting = TokenCount::padded(encoder.pads());
        let price = |shape| encoder.bytes_for(shape);
        let affordable = max_tokens_for_budget(self.budget, full_length, counting, price);
        let asked = RequestedLimits { start: options.batch_size, ..RequestedLimits::default() };
        let bounds = LimitBounds::new(asked, affordable, counting);
        let limit = AdaptiveLimit::new(bounds);
        let inference = Inference::new(encoder, limit, self.budget, &on_event);

        let mut values = Vec::new();
        let mut work = Work::default();
        for (number, rows) in rows.chunks(ROWS_AT_A_TIME).enumerate() {
            let names = RowNames {
                first_row: (number * ROWS_AT_A_TIME) as u64,
                ids: rows.iter().map(|row| &row.id).collect(),
            };
            let texts: Vec<String> = rows.iter().map(build_input_text).collect();
            let limit = inference.limit();
            let texts = texts.iter().map(String::as_str).enumerate();
            let texts =
                tokenize_texts(&self.model.tokenizer, &names, texts, OnEmpty::Embed, limit)?;
            let vectors = inference.embed(&names, texts.batches)?;
            values.extend_from_slice(&vectors.values);
            work.add(&vectors.work);
        }
        Ok(Embeddings { values, dim: encoder.dim(), work })
    }
}
