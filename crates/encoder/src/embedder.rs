//! Embeds texts in memory: strings, Arrow arrays or task rows in, vectors out.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, FixedSizeListArray, Float32Array, LargeStringArray, StringArray, StringViewArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field};

use crate::batch::RowNames;
use crate::budget::MemoryReadings;
use crate::error::{Error, ErrorKind, Result};
use crate::events::EncodeEvent;
use crate::inference::{Inference, Work, allocate};
use crate::limit::RequestedLimits;
use crate::memory;
use crate::model::config::ModelConfig;
use crate::model::identity::ModelIdentity;
use crate::model::tokenizer::{count_tokens_uncut, tokenize_texts};
use crate::model::{self, Model};
use crate::position::Position;
use crate::stop::Stop;
use crate::task::{TaskRow, build_input_text};

/// Texts that are tokenized and planned together: this bounds the memory of their tokens.
const CHUNK_ROWS: usize = 1024;

/// A loaded model that embeds texts.
///
/// ```
/// use reembed_encoder::{BatchOptions, Embedder, ModelConfig, TaskRow};
///
/// # fn main() -> reembed_encoder::Result<()> {
/// # let tiny = reembed_testing::model_directory::ModelDirectory::tiny().write();
/// # let directory = tiny.path();
/// // `directory` has the layout of sentence-transformers.
/// let embedder = Embedder::open(&ModelConfig::from_directory(directory))?;
///
/// let vectors = embedder.embed(&["Fix the login loop", "Add a dark theme"])?;
/// assert_eq!((vectors.len(), vectors.dim()), (2, embedder.dim()));
///
/// // The title, description and files of a task row become one text.
/// let task = |title: &str| TaskRow { title: Some(title.into()), ..TaskRow::default() };
/// let tasks = [task("Fix the login loop"), task("Add a dark theme")];
/// let both = embedder.compute_embeddings_batch(&tasks, &BatchOptions::default())?;
/// assert_eq!(both.row(0), embedder.compute_embedding(&tasks[0])?);
/// # Ok(())
/// # }
/// ```
pub struct Embedder {
    model: Model,
    /// Read after the model was loaded.
    memory: MemoryReadings,
}

/// Options of [`Embedder::embed_with`] and the other batch methods.
#[derive(Default)]
pub struct BatchOptions<'a> {
    /// Texts of a batch at the start; `None`: the default of the encoder, which is in tokens unless
    /// it pads.
    pub batch_size: Option<NonZeroUsize>,
    /// Components of a vector that are kept, the first ones, which are not scaled again: all if there are not as many.
    /// `None`: as many as [`Embedder::dim`] says.
    pub dims: Option<NonZeroUsize>,
    /// Called when more texts are done, within a batch too if the encoder runs it in parts. Calls
    /// come from any thread, one at a time, and the encoder waits for them: embed nothing in one.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

/// The progress of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Texts embedded so far, more in each call.
    pub done: usize,
    /// Texts of the call; nulls are none.
    pub total: usize,
}

/// The vectors of several texts, in their order.
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

    /// Whether there are no vectors.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Components of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The vector of a row, `dim` components.
    ///
    /// # Panics
    /// If `row` is not less than [`Embeddings::len`].
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..][..self.dim]
    }

    /// An iterator over the vectors, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dim)
    }

    /// All components, `len × dim`, row-major.
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// All components, `len × dim`, row-major.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// The tokens and batches of the call.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Converts the vectors to an Arrow array of type `FixedSizeList<Float32, dim>`.
    ///
    /// # Errors
    /// `Encode` if `dim` exceeds the limit of Arrow, `i32::MAX`.
    pub fn into_array(self) -> Result<FixedSizeListArray> {
        fixed_size_list(self.values, self.dim, None)
    }
}

impl Embedder {
    /// Loads a model, and fetches it first if it is not on this machine.
    ///
    /// # Errors
    /// As [`model::load`].
    pub fn open(config: &ModelConfig) -> Result<Embedder> {
        Ok(Embedder::new(model::load(config, &|_| ())?))
    }

    /// An embedder of a loaded model.
    pub fn new(model: Model) -> Embedder {
        Embedder { model, memory: memory::read() }
    }

    /// An embedder that writes this text before every text, in place of the model's own prompt. It shares the weights.
    ///
    /// # Errors
    /// As [`TextTokenizer::with_prompt`](crate::model::tokenizer::TextTokenizer::with_prompt).
    pub fn with_prompt(&self, prompt: &str) -> Result<Embedder> {
        Ok(Embedder { model: self.model.with_prompt(prompt)?, memory: self.memory })
    }

    /// Components of a vector, unless [`BatchOptions::dims`] says otherwise: `truncate_dim` of the model's
    /// configuration, as in sentence-transformers, else all.
    pub fn dim(&self) -> usize {
        self.model.facts.default_dims().min(self.model.encoder.dim())
    }

    /// Whether a vector has the same bits in any batch.
    pub fn is_batch_invariant(&self) -> bool {
        self.model.encoder.is_batch_invariant()
    }

    /// The hardware, for people: instruction set and threads, or a device.
    pub fn runs_on(&self) -> String {
        self.model.facts.runs_on.clone()
    }

    /// Counts the tokens of the text of each row, special tokens included, after truncation; of all
    /// chunks together if a vector is their mean.
    ///
    /// # Errors
    /// `Encode` if the tokenizer fails.
    pub fn count_tokens(&self, rows: &[TaskRow]) -> Result<Vec<usize>> {
        let count = |row| {
            let chunks = self.model.tokenizer.tokenize_chunks(&build_input_text(row))?;
            Ok(chunks.iter().map(|chunk| chunk.ids.len()).sum())
        };
        rows.iter().map(count).collect()
    }

    /// Counts the tokens of `count` texts before they are cut, prompt and special tokens included:
    /// one that has more than [`ModelIdentity::max_seq_length`] is cut. `text` returns the text at a
    /// position; `None` counts as 0.
    ///
    /// # Errors
    /// `Encode`, naming the row, if the tokenizer fails; `Stopped` if a stop is requested.
    pub fn count_positions<'t>(
        &self,
        count: usize,
        text: impl Fn(usize) -> Option<Cow<'t, str>>,
        stop: &Stop,
    ) -> Result<Vec<usize>> {
        let mut counts = vec![0; count];
        for first in (0..count).step_by(CHUNK_ROWS) {
            stop.check()?;
            let rows = CHUNK_ROWS.min(count - first);
            let texts: Vec<(usize, Cow<'t, str>)> =
                (0..rows).filter_map(|row| Some((row, text(first + row)?))).collect();
            let names = RowNames::unnamed(first as u64);
            let borrowed: Vec<(usize, &str)> =
                texts.iter().map(|(row, text)| (*row, text.as_ref())).collect();
            let found = count_tokens_uncut(&self.model.tokenizer, &names, &borrowed)?;
            for ((row, _), tokens) in borrowed.into_iter().zip(found) {
                counts[first + row] = tokens;
            }
        }
        Ok(counts)
    }

    /// The loaded model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The identity of the model.
    pub fn identity(&self) -> &ModelIdentity {
        &self.model.facts.identity
    }

    /// Embeds texts. The result has one vector for each text, in order; an empty text has a vector
    /// too. A text that is too long is truncated, or has the mean of its chunks ([`TextOptions`]).
    ///
    /// [`TextOptions`]: crate::model::config::TextOptions
    ///
    /// # Errors
    /// `OutOfMemory` or `Encode`, naming the position of the text, from 0.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S]) -> Result<Embeddings> {
        self.embed_with(texts, &BatchOptions::default())
    }

    /// As [`Embedder::embed`], with options.
    ///
    /// # Errors
    /// As [`Embedder::embed`].
    pub fn embed_with<S: AsRef<str>>(
        &self,
        texts: &[S],
        options: &BatchOptions<'_>,
    ) -> Result<Embeddings> {
        self.embed_until(texts, options, &Stop::new())
    }

    /// As [`Embedder::embed_with`], and returns early when `stop` is requested: within a part of a
    /// batch.
    ///
    /// # Errors
    /// As [`Embedder::embed`], and `Stopped`.
    pub fn embed_until<S: AsRef<str>>(
        &self,
        texts: &[S],
        options: &BatchOptions<'_>,
        stop: &Stop,
    ) -> Result<Embeddings> {
        let text = |row: usize| Some(Cow::Borrowed(texts[row].as_ref()));
        self.embed_positions(texts.len(), 0, text, options, stop)
    }

    /// As [`Embedder::embed_until`], for `count` texts that lie elsewhere: `text` returns the one at
    /// a position, or `None` for one of the `nulls`, whose vectors are zeros and cost nothing.
    ///
    /// It is called once for each position, in order. What it owns is dropped after some hundred
    /// texts.
    ///
    /// # Errors
    /// As [`Embedder::embed_until`].
    pub fn embed_positions<'t>(
        &self,
        count: usize,
        nulls: usize,
        text: impl Fn(usize) -> Option<Cow<'t, str>>,
        options: &BatchOptions<'_>,
        stop: &Stop,
    ) -> Result<Embeddings> {
        let unnamed = |first, _| RowNames::unnamed(first as u64);
        self.embed_rows(count, nulls, text, unnamed, options, stop)
    }

    /// Embeds an Arrow array of type `Utf8`, `LargeUtf8` or `Utf8View`, without copying its
    /// strings.
    ///
    /// The result is of type `FixedSizeList<Float32, dim>` and has the same length. A null has a
    /// null vector.
    ///
    /// # Errors
    /// `Input` if the array has another type; `OutOfMemory` or `Encode`, naming the row, from 0.
    pub fn embed_array(
        &self,
        texts: &dyn Array,
        options: &BatchOptions<'_>,
    ) -> Result<FixedSizeListArray> {
        let strings = StringArrayRef::new(texts)?;
        let text = |row: usize| texts.is_valid(row).then(|| Cow::Borrowed(strings.value(row)));
        let unnamed = |first, _| RowNames::unnamed(first as u64);
        let Embeddings { values, dim, .. } =
            self.embed_rows(texts.len(), texts.null_count(), text, unnamed, options, &Stop::new())?;
        fixed_size_list(values, dim, texts.nulls().cloned())
    }

    /// Computes the vector of a task row, `dim` components. A row without text has the vector of
    /// the empty text.
    ///
    /// # Errors
    /// `OutOfMemory` or `Encode`.
    pub fn compute_embedding(&self, row: &TaskRow) -> Result<Vec<f32>> {
        let options = BatchOptions::default();
        Ok(self.compute_embeddings_batch(std::slice::from_ref(row), &options)?.values)
    }

    /// Computes the vectors of task rows, in order.
    ///
    /// Each is the vector of [`Embedder::compute_embedding`]: with the same bits if the encoder is
    /// batch-invariant, else within 1e-6 per component.
    ///
    /// # Errors
    /// `OutOfMemory` or `Encode`, naming the row.
    pub fn compute_embeddings_batch(
        &self,
        rows: &[TaskRow],
        options: &BatchOptions<'_>,
    ) -> Result<Embeddings> {
        let names = |first: usize, count: usize| {
            RowNames::new(first as u64, rows[first..][..count].iter().map(|row| &row.id))
        };
        let text = |row: usize| Some(Cow::Owned(build_input_text(&rows[row])));
        self.embed_rows(rows.len(), 0, text, names, options, &Stop::new())
    }

    /// Embeds `count` rows, chunk by chunk. `text` returns the text of a row, or `None` for one of
    /// the `nulls` rows of zeros; `names` returns the names of the rows of a chunk by its first row
    /// and its length.
    fn embed_rows<'t>(
        &self,
        count: usize,
        nulls: usize,
        text: impl Fn(usize) -> Option<Cow<'t, str>>,
        names: impl Fn(usize, usize) -> RowNames,
        options: &BatchOptions<'_>,
        stop: &Stop,
    ) -> Result<Embeddings> {
        let encoder = self.model.encoder.as_ref();
        let position = Mutex::new(Position::default());
        let on_event = |event: EncodeEvent| {
            let Some(progress) = options.progress else { return };
            // Locked until `progress` returns, so that no later position overtakes this one.
            let mut position = position.lock().unwrap_or_else(PoisonError::into_inner);
            let before = position.shown().rows;
            match event {
                EncodeEvent::BatchStarted(_) => position.start_batch(),
                EncodeEvent::PartDone { rows, tokens } => position.add_part(rows, tokens),
                EncodeEvent::BatchDone { rows, tokens } => position.finish_batch(rows, tokens),
                EncodeEvent::LimitChanged(_) => {}
            }
            let done = position.shown().rows;
            if done > before {
                progress(Progress { done: done as usize, total: count - nulls });
            }
        };
        let requested = RequestedLimits { start: options.batch_size, ..RequestedLimits::default() };
        let settings = self.model.batch_settings(requested, None, self.memory);
        let inference =
            Inference::new(encoder, settings.limit, settings.budget, &on_event).with_stop(stop);

        let whole = encoder.dim();
        let dim = options.dims.map_or(self.dim(), |dims| dims.get().min(whole));
        let mut values = allocate(count.saturating_mul(dim))?;
        let mut work = Work::default();
        for first in (0..count).step_by(CHUNK_ROWS) {
            stop.check()?;
            let rows = CHUNK_ROWS.min(count - first);
            let names = names(first, rows);
            let texts: Vec<(usize, Cow<'t, str>)> =
                (0..rows).filter_map(|row| Some((row, text(first + row)?))).collect();
            let texts = texts.iter().map(|(row, text)| (*row, text.as_ref()));
            let limit = inference.limit();
            let texts = tokenize_texts(&self.model.tokenizer, &names, rows, texts, limit)?;
            let vectors = inference.embed(&names, rows, texts.batches)?;
            for vector in vectors.values.chunks_exact(whole) {
                values.extend_from_slice(&vector[..dim]);
            }
            work.add(&vectors.work);
        }
        Ok(Embeddings { values, dim, work })
    }
}

/// An Arrow array of strings of any type.
enum StringArrayRef<'a> {
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Utf8View(&'a StringViewArray),
}

impl<'a> StringArrayRef<'a> {
    fn new(array: &'a dyn Array) -> Result<Self> {
        match array.data_type() {
            DataType::Utf8 => Ok(StringArrayRef::Utf8(array.as_string())),
            DataType::LargeUtf8 => Ok(StringArrayRef::LargeUtf8(array.as_string())),
            DataType::Utf8View => Ok(StringArrayRef::Utf8View(array.as_string_view())),
            other => {
                let message = format!("the array has the type {other}, expected strings");
                Err(Error::new(ErrorKind::Input, message)
                    .advice("cast it to Utf8, LargeUtf8 or Utf8View"))
            }
        }
    }

    fn value(&self, row: usize) -> &'a str {
        match self {
            StringArrayRef::Utf8(array) => array.value(row),
            StringArrayRef::LargeUtf8(array) => array.value(row),
            StringArrayRef::Utf8View(array) => array.value(row),
        }
    }
}

/// Converts row-major values to `FixedSizeList<Float32, dim>`.
fn fixed_size_list(
    values: Vec<f32>,
    dim: usize,
    nulls: Option<NullBuffer>,
) -> Result<FixedSizeListArray> {
    let too_wide = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Encode, format!("{dim} components do not fit in an Arrow list"))
            .caused_by(cause)
    };
    let size = i32::try_from(dim).map_err(|cause| too_wide(cause.into()))?;
    let child = Arc::new(Field::new("element", DataType::Float32, false));
    let values = Arc::new(Float32Array::from(values));
    FixedSizeListArray::try_new(child, size, values, nulls).map_err(|cause| too_wide(cause.into()))
}

#[cfg(test)]
mod pool_tests;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow_array::Int32Array;
    use arrow_array::types::Float32Type;
    use reembed_testing::model_directory::ModelDirectory;

    use super::*;

    const TEXTS: [&str; 4] = ["Fix the login loop", "", "a", "Rotate the database credentials"];

    fn tiny() -> Embedder {
        let directory = ModelDirectory::tiny().write();
        Embedder::open(&ModelConfig::from_directory(directory.path())).expect("a model")
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn embed_returns_unit_vectors_in_order_with_equal_bits_alone() {
        let embedder = tiny();
        assert_eq!((embedder.dim(), embedder.is_batch_invariant()), (32, true));
        let vectors = embedder.embed(&TEXTS).expect("vectors");
        assert_eq!((vectors.len(), vectors.dim(), vectors.is_empty()), (4, 32, false));
        assert_eq!(vectors.work().rows, 4);
        for (text, vector) in TEXTS.iter().zip(vectors.rows()) {
            let alone = embedder.embed(&[text.to_owned()]).expect("a vector");
            assert_eq!(bits(alone.row(0)), bits(vector), "{text:?}");
            let length: f32 = vector.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5, "{text:?}: {length}");
        }
        let array = vectors.clone().into_array().expect("an array");
        assert_eq!((array.len(), array.value_length(), array.null_count()), (4, 32, 0));
        assert!(embedder.embed::<&str>(&[]).expect("no vectors").is_empty());
    }

    #[test]
    fn embed_until_stops_between_batches_and_changes_no_bit_without_a_request() {
        let embedder = tiny();
        let (stop, options) = (Stop::new(), BatchOptions::default());
        let vectors = embedder.embed_until(&TEXTS, &options, &stop).expect("vectors");
        assert_eq!(vectors, embedder.embed(&TEXTS).expect("vectors"));
        let request = |_: Progress| stop.request(crate::stop::StopReason::Interrupted);
        let batch_size = NonZeroUsize::new(1);
        let options =
            BatchOptions { batch_size, progress: Some(&request), ..BatchOptions::default() };
        let error = embedder.embed_until(&TEXTS, &options, &stop).expect_err("stopped");
        assert_eq!(error.kind(), ErrorKind::Stopped(crate::stop::StopReason::Interrupted));
    }

    #[test]
    fn embed_with_reports_progress_and_keeps_bits_at_any_batch_size() {
        let embedder = tiny();
        let texts: Vec<String> =
            (0..40).map(|row| format!("task {row}").repeat(1 + row % 5)).collect();
        let expected = embedder.embed(&texts).expect("vectors");
        for (batch_size, batches) in [(7, 6), (40, 1)] {
            let progress = Mutex::new(Vec::new());
            let record = |step: Progress| progress.lock().expect("no panic").push(step);
            let batch_size = NonZeroUsize::new(batch_size);
            let options =
                BatchOptions { batch_size, progress: Some(&record), ..BatchOptions::default() };
            let vectors = embedder.embed_with(&texts, &options).expect("vectors");
            assert_eq!(bits(vectors.as_slice()), bits(expected.as_slice()));
            assert_eq!(vectors.work().batch_sizes.values().sum::<u64>(), batches);
            let progress = progress.into_inner().expect("no panic");
            assert!(progress.len() as u64 > batches, "within a batch too: {progress:?}");
            assert!(progress.is_sorted_by(|a, b| a.done < b.done), "{progress:?}");
            assert_eq!(progress.last(), Some(&Progress { done: 40, total: 40 }));
        }
    }

    #[test]
    fn embed_array_accepts_each_string_type_and_keeps_nulls() {
        let embedder = tiny();
        let rows = [Some(TEXTS[0]), None, Some(TEXTS[1]), Some(TEXTS[3]), None];
        let arrays: [&dyn Array; 3] = [
            &StringArray::from_iter(rows),
            &LargeStringArray::from_iter(rows),
            &StringViewArray::from_iter(rows),
        ];
        for array in arrays {
            let kind = array.data_type();
            let vectors = embedder.embed_array(array, &BatchOptions::default()).expect("vectors");
            assert_eq!((vectors.len(), vectors.value_length()), (5, 32), "{kind}");
            for (row, text) in rows.iter().enumerate() {
                assert_eq!(vectors.is_valid(row), text.is_some(), "{kind}, row {row}");
                let Some(text) = text else { continue };
                let vector = vectors.value(row);
                let expected = embedder.embed(&[text]).expect("a vector");
                let found = vector.as_primitive::<Float32Type>().values();
                assert_eq!(bits(found), bits(expected.row(0)), "{kind}, row {row}");
            }
        }
        let sliced = StringArray::from_iter(rows).slice(3, 2);
        let progress = Mutex::new(Vec::new());
        let record = |step: Progress| progress.lock().expect("no panic").push(step);
        let options = BatchOptions { progress: Some(&record), ..BatchOptions::default() };
        let vectors = embedder.embed_array(&sliced, &options).expect("vectors");
        assert_eq!(*progress.lock().expect("no panic"), [Progress { done: 1, total: 1 }]);
        assert_eq!((vectors.is_valid(0), vectors.is_valid(1)), (true, false));
    }

    #[test]
    fn vectors_are_cut_as_the_model_or_the_call_says() {
        let directory = ModelDirectory::tiny().write();
        let whole =
            Embedder::open(&ModelConfig::from_directory(directory.path())).expect("a model");
        let expected = whole.embed(&TEXTS).expect("vectors");
        directory.edit_json("config_sentence_transformers.json", |config| {
            config["truncate_dim"] = 8.into();
        });
        let cut = Embedder::open(&ModelConfig::from_directory(directory.path())).expect("a model");
        assert_eq!(cut.dim(), 8);
        for (dims, kept) in [(None, 8), (Some(5), 5), (Some(32), 32), (Some(99), 32)] {
            let dims = dims.and_then(NonZeroUsize::new);
            let options = BatchOptions { dims, ..BatchOptions::default() };
            let vectors = cut.embed_with(&TEXTS, &options).expect("vectors");
            assert_eq!((vectors.len(), vectors.dim()), (TEXTS.len(), kept), "{dims:?}");
            for (vector, whole) in vectors.rows().zip(expected.rows()) {
                assert_eq!(bits(vector), bits(&whole[..kept]), "{dims:?}");
            }
            let array = StringArray::from_iter_values(TEXTS);
            let array = cut.embed_array(&array, &options).expect("vectors");
            assert_eq!(array.value_length(), kept as i32, "{dims:?}");
        }
        let row = TaskRow { title: Some(TEXTS[0].into()), ..TaskRow::default() };
        assert_eq!(cut.compute_embedding(&row).expect("a vector").len(), 8);
    }

    #[test]
    fn embed_array_refuses_other_types() {
        let numbers = Int32Array::from(vec![1, 2]);
        let error = tiny().embed_array(&numbers, &BatchOptions::default()).expect_err("no strings");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert_eq!(error.to_string(), "the array has the type Int32, expected strings");
        assert!(error.advice_text().is_some_and(|advice| advice.contains("Utf8View")));
    }

    #[test]
    fn tokens_are_counted_before_a_text_is_cut() {
        let embedder = tiny();
        let most = embedder.identity().max_seq_length;
        let long = "login ".repeat(30_000);
        let texts = [Some("login"), None, Some(""), Some(long.as_str())];
        let text = |row: usize| texts[row].map(Cow::Borrowed);
        let counts = embedder.count_positions(4, text, &Stop::new()).expect("counts");
        let one = counts[0] - 2;
        assert!(one > 0, "{counts:?}");
        assert_eq!(counts, [one + 2, 0, 2, one * 30_000 + 2]);
        assert!(counts[3] > most);
        // A text that just fits has as many tokens as go through the model.
        let fits = "login ".repeat((most - 2) / one);
        let fitting = |_: usize| Some(Cow::Borrowed(fits.as_str()));
        let counts = embedder.count_positions(1, fitting, &Stop::new()).expect("counts");
        let vectors = embedder.embed(&[&fits]).expect("a vector");
        assert_eq!(counts[0] as u64, vectors.work().tokens);
    }

    #[test]
    fn task_rows_are_embedded_as_their_input_text() {
        let embedder = tiny();
        let row = TaskRow {
            title: Some(TEXTS[0].into()),
            files: Some(vec!["a.py".into()]),
            ..TaskRow::default()
        };
        let text = build_input_text(&row);
        let expected = embedder.embed(&[&text]).expect("a vector");
        assert_eq!(embedder.compute_embedding(&row).expect("a vector"), expected.row(0));
        let counts = embedder.count_tokens(&[row, TaskRow::default()]).expect("counts");
        assert_eq!(counts[1], 2, "an empty text has the special tokens");
        assert!(counts[0] > 2);
    }

    #[test]
    fn from_directory_fails_with_the_path_if_it_does_not_exist() {
        let directory = ModelDirectory::tiny().write();
        let missing = directory.path().join("missing");
        let error = Embedder::open(&ModelConfig::from_directory(&missing)).err().expect("no model");
        assert_eq!(error.kind(), ErrorKind::Model);
        assert_eq!(error.place().file(), Some(missing.as_path()));
        assert!(error.to_string().ends_with("the directory does not exist"), "{error}");
    }

    #[test]
    fn from_directory_names_the_model_after_the_directory() {
        let directory = ModelDirectory::tiny().write();
        let name = directory.path().file_name().expect("a name").to_string_lossy().into_owned();
        let embedder =
            Embedder::open(&ModelConfig::from_directory(directory.path())).expect("a model");
        assert_eq!(embedder.identity().id, name);
        assert_eq!(embedder.identity().precision, "f32");
    }
}
