//! The in-memory API: texts or task rows in, vectors out.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, FixedSizeListArray, Float32Array, LargeStringArray, StringArray, StringViewArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field};

use crate::batch::RowNames;
use crate::error::{Error, ErrorKind, Result};
use crate::events::EncodeEvent;
use crate::inference::{Inference, Work};
use crate::limit::RequestedLimits;
use crate::memory;
use crate::model::config::ModelConfig;
use crate::model::identity::ModelIdentity;
use crate::model::{self, Model};
use crate::task::{TaskRow, build_input_text};
use crate::tokenizer::tokenize_texts;

/// Texts that are tokenized and sorted by length together.
const ROWS_AT_A_TIME: usize = 1024;

/// A loaded model that embeds texts.
///
/// ```
/// use reembed_encoder::{BatchOptions, Embedder, Environment, ModelConfig, TaskRow};
///
/// # fn main() -> reembed_encoder::Result<()> {
/// let environment = Environment::new(std::env::vars());
/// let embedder = Embedder::open(&ModelConfig::standard(&environment)?)?;
///
/// let vectors = embedder.embed(&["Fix the login loop", "Add a dark theme"])?;
/// assert_eq!((vectors.len(), vectors.dim()), (2, 384));
///
/// // Task rows: title, description and files become one text.
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
    /// What the machine had left when the model was loaded.
    memory: crate::budget::MemoryReadings,
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
        fixed_size_list(self.values, self.dim, None)
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
        Embedder { model, memory: memory::read() }
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
    pub fn identity(&self) -> &ModelIdentity {
        &self.model.identity
    }

    /// The vectors of several texts, `texts.len() × dim`, in their order. An empty text is embedded like any other.
    ///
    /// # Errors
    /// `OutOfMemory` or `Encode`, naming the row: the position of the text, from 0.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S]) -> Result<Embeddings> {
        self.embed_with(texts, &BatchOptions::default())
    }

    /// [`Embedder::embed`], with a batch size or progress of the caller's.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn embed_with<S: AsRef<str>>(
        &self,
        texts: &[S],
        options: &BatchOptions<'_>,
    ) -> Result<Embeddings> {
        let text = |row: usize| Some(texts[row].as_ref());
        self.embed_rows(texts.len(), text, |first, _| RowNames::unnamed(first as u64), options)
    }

    /// The vectors of an Arrow array of strings (`Utf8`, `LargeUtf8` or `Utf8View`) as one of type
    /// `FixedSizeList<Float32, dim>` and the same length. Strings are read where they lie; a null has no vector.
    ///
    /// # Errors
    /// `Input` when the array holds no strings; `OutOfMemory` or `Encode`, naming the row, from 0.
    pub fn embed_array(
        &self,
        texts: &dyn Array,
        options: &BatchOptions<'_>,
    ) -> Result<FixedSizeListArray> {
        let strings = Strings::new(texts)?;
        let text = |row: usize| texts.is_valid(row).then(|| strings.value(row));
        let unnamed = |first, _| RowNames::unnamed(first as u64);
        let Embeddings { values, dim, .. } =
            self.embed_rows(texts.len(), text, unnamed, options)?;
        fixed_size_list(values, dim, texts.nulls().cloned())
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
        let texts: Vec<String> = rows.iter().map(build_input_text).collect();
        let names = |first: usize, count: usize| {
            RowNames::new(first as u64, rows[first..][..count].iter().map(|row| &row.id))
        };
        self.embed_rows(rows.len(), |row| Some(texts[row].as_str()), names, options)
    }

    /// Embeds `count` texts, a bounded number at a time: `text` gives the text at a position, or `None` for one that
    /// gets zeros; `names` what the rows of a chunk are called, by its first row and its length.
    fn embed_rows<'t>(
        &self,
        count: usize,
        text: impl Fn(usize) -> Option<&'t str>,
        names: impl Fn(usize, usize) -> RowNames,
        options: &BatchOptions<'_>,
    ) -> Result<Embeddings> {
        let encoder = self.model.encoder.as_ref();
        let done = AtomicUsize::new(0);
        let on_event = |event: EncodeEvent| {
            if let (EncodeEvent::Batch { rows, .. }, Some(progress)) = (event, options.progress) {
                let done = done.fetch_add(rows, Ordering::Relaxed) + rows;
                progress(Progress { done, total: count });
            }
        };
        let requested = RequestedLimits { start: options.batch_size, ..RequestedLimits::default() };
        let batching = self.model.batching(requested, None, self.memory);
        let inference = Inference::new(encoder, batching.limit, batching.budget, &on_event);

        let mut values = Vec::new();
        let mut work = Work::default();
        for first in (0..count).step_by(ROWS_AT_A_TIME) {
            let rows = ROWS_AT_A_TIME.min(count - first);
            let names = names(first, rows);
            let texts = (0..rows).filter_map(|row| Some((row, text(first + row)?)));
            let limit = inference.limit();
            let texts = tokenize_texts(&self.model.tokenizer, &names, rows, texts, limit)?;
            let vectors = inference.embed(&names, rows, texts.batches)?;
            values.extend_from_slice(&vectors.values);
            work.add(&vectors.work);
        }
        Ok(Embeddings { values, dim: encoder.dim(), work })
    }
}

/// An Arrow array of strings, whatever the width of its offsets.
enum Strings<'a> {
    Small(&'a StringArray),
    Large(&'a LargeStringArray),
    Views(&'a StringViewArray),
}

impl<'a> Strings<'a> {
    fn new(array: &'a dyn Array) -> Result<Self> {
        match array.data_type() {
            DataType::Utf8 => Ok(Strings::Small(array.as_string())),
            DataType::LargeUtf8 => Ok(Strings::Large(array.as_string())),
            DataType::Utf8View => Ok(Strings::Views(array.as_string_view())),
            other => {
                let message = format!("an array of {other} was given, but strings are needed");
                Err(Error::new(ErrorKind::Input, message)
                    .advice("cast it to Utf8, LargeUtf8 or Utf8View"))
            }
        }
    }

    fn value(&self, row: usize) -> &'a str {
        match self {
            Strings::Small(array) => array.value(row),
            Strings::Large(array) => array.value(row),
            Strings::Views(array) => array.value(row),
        }
    }
}

/// Row-major values as `FixedSizeList<Float32, dim>`.
fn fixed_size_list(
    values: Vec<f32>,
    dim: usize,
    nulls: Option<NullBuffer>,
) -> Result<FixedSizeListArray> {
    let wide = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Encode, format!("{dim} components are too many for an Arrow list"))
            .caused_by(cause)
    };
    let size = i32::try_from(dim).map_err(|cause| wide(cause.into()))?;
    let child = Arc::new(Field::new("element", DataType::Float32, false));
    let values = Arc::new(Float32Array::from(values));
    FixedSizeListArray::try_new(child, size, values, nulls).map_err(|cause| wide(cause.into()))
}
