//! A loaded model, for the class `Embedder` of the Python sources.

mod per_process;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use reembed::config::{CacheConfig, Origin, OutputPlace, RawConfig};
use reembed::events::Warning;
use reembed::pipeline::{BatchJob, embed_batches};
use reembed::reader::BatchColumns;
use reembed::text::{TaskColumns, TextRecipe};
use reembed::vectors::Components;
use reembed_encoder::limit::RequestedLimits;
use reembed_encoder::model::FoundModel;
use reembed_encoder::model::precedent::Precedents;
use reembed_encoder::task::TextTemplate;
use reembed_encoder::{
    BatchOptions, Embedder, Environment, Error, ErrorKind, IsaName, ModelConfig, ModelIdentity,
    Precision, Progress, Result, SourceConfig, Stop,
};

use crate::arrow::column::VectorColumn;
use crate::arrow::table::ArrowTable;
use crate::errors::{in_rows, in_sentences, raise};
use crate::log::Log;
use crate::texts::{self, Nulls, Texts};
use crate::work::{at_once, interruptible};
use per_process::PerProcess;

/// A call with more texts, or more work, has a thread of its own, so that Ctrl-C can end it. Starting that takes a tenth of
/// the time of a short text.
const SHORT_TEXTS: usize = 4;

/// Floating point operations for which no processor of today takes a second: those of some 1,000 tokens of
/// all-MiniLM-L6-v2, or of 80 of a model with twelve times its weights.
const SHORT_OPERATIONS: f64 = 2.2e10;

/// What a token costs where the model computes next to nothing: the tokenizer's work.
const LEAST_OPERATIONS: f64 = 1e6;

/// A loaded model. Calls may come from several threads at once.
///
/// Each call says its prompt; the weights in memory serve them all.
#[pyclass(frozen, module = "reembed._reembed")]
pub struct Model {
    config: ModelConfig,
    /// With the prompt that is the model's default.
    identity: ModelIdentity,
    default_dims: usize,
    /// The prompts that the model declares, by their names.
    prompts: BTreeMap<String, String>,
    /// What the user should know about prompts.
    prompt_note: Option<String>,
    /// Floating point operations of a token.
    token_operations: f64,
    runs_on: String,
    embedder: PerProcess<Embedder>,
}

#[pymethods]
impl Model {
    /// Finds and loads a model: a directory, or an id that the program's own sources know.
    #[new]
    #[pyo3(signature = (*, directory, id, precision, threads, python))]
    fn new(
        py: Python<'_>,
        directory: Option<PathBuf>,
        id: Option<String>,
        precision: Option<&str>,
        threads: Option<NonZeroUsize>,
        python: String,
    ) -> PyResult<Self> {
        let mut config = config(directory, id, python).map_err(raise)?;
        config.threads = threads;
        config.precision = precision.map(parse_precision).transpose().map_err(raise)?;
        let log = Log::default();
        let opened = interruptible(py, |stop| Model::open(config, stop, &log), |py| log.flush(py));
        log.flush(py)?;
        opened
    }

    #[getter]
    fn dimension(&self) -> usize {
        self.identity.dimension
    }

    /// Components of a vector unless a call says otherwise.
    #[getter]
    fn default_dims(&self) -> usize {
        self.default_dims
    }

    #[getter]
    fn max_seq_length(&self) -> usize {
        self.identity.max_seq_length
    }

    #[getter]
    fn fingerprint(&self) -> String {
        self.identity.fingerprint()
    }

    #[getter]
    fn precision(&self) -> &str {
        &self.identity.precision
    }

    #[getter]
    fn default_prompt(&self) -> &str {
        &self.identity.prompt
    }

    /// That the model may need a prompt that it does not get by default; `None` if not.
    #[getter]
    fn prompt_note(&self) -> Option<&str> {
        self.prompt_note.as_deref()
    }

    /// Whether the model scales its vectors to length 1.
    #[getter]
    fn normalizes(&self) -> bool {
        self.identity.normalized
    }

    #[getter]
    fn runs_on(&self) -> &str {
        &self.runs_on
    }

    /// The texts of the prompts that the model declares, by their names.
    #[getter]
    fn prompts(&self) -> BTreeMap<String, String> {
        self.prompts.clone()
    }

    /// The vectors of texts, `(N, kept)`, in an array that owns the encoder's memory. `on_tick` is called with the
    /// number of texts done and of all, ten times a second.
    #[pyo3(signature = (sentences, *, prompt, batch_size, kept, normalize, on_tick))]
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of a Python call")]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        sentences: &Bound<'py, PyAny>,
        prompt: &str,
        batch_size: Option<NonZeroUsize>,
        kept: usize,
        normalize: bool,
        on_tick: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let texts = texts::read(sentences, Nulls::Refused)?;
        let call =
            Call { prompt, batch_size, components: self.components(kept, normalize), on_tick };
        let (values, present) = self.embed(py, &texts, &call)?;
        values.into_pyarray(py).reshape([present.len(), call.components.kept()])
    }

    /// The vectors of texts as an Arrow array, in which a null stays null. Arguments as in `encode`.
    #[pyo3(signature = (sentences, *, prompt, batch_size, kept, normalize, on_tick))]
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of a Python call")]
    fn encode_arrow(
        &self,
        py: Python<'_>,
        sentences: &Bound<'_, PyAny>,
        prompt: &str,
        batch_size: Option<NonZeroUsize>,
        kept: usize,
        normalize: bool,
        on_tick: Option<Py<PyAny>>,
    ) -> PyResult<VectorColumn> {
        let texts = texts::read(sentences, Nulls::Kept)?;
        let call =
            Call { prompt, batch_size, components: self.components(kept, normalize), on_tick };
        let (values, present) = self.embed(py, &texts, &call)?;
        VectorColumn::new(values, call.components.kept(), Some(present)).map_err(raise)
    }

    /// The tokens of texts before they are cut, prompt and special tokens included; 0 for a null.
    #[pyo3(signature = (sentences, *, prompt))]
    fn token_lengths<'py>(
        &self,
        py: Python<'py>,
        sentences: &Bound<'py, PyAny>,
        prompt: &str,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let texts = texts::read(sentences, Nulls::Kept)?;
        let work = |stop: &Stop| {
            let embedder = self.with_prompt(prompt, stop)?;
            let texts = texts.by_position()?;
            let text = |row: usize| texts[row].map(Cow::Borrowed);
            embedder.count_positions(texts.len(), text, stop).map_err(in_sentences)
        };
        let counts = interruptible(py, work, |_| Ok(()))?;
        Ok(counts.into_iter().map(|tokens| tokens as i64).collect::<Vec<_>>().into_pyarray(py))
    }

    /// The vectors of the rows of a table, whose texts a recipe makes: columns, a template, or title, description and
    /// files; and warnings of the vector cache. A row without text is null. Other arguments as in `encode`.
    #[pyo3(signature = (table, *, columns, template, prompt, batch_size, kept, normalize, cache, on_tick))]
    #[expect(clippy::too_many_arguments, reason = "they are the arguments of a Python call")]
    fn embed_table(
        &self,
        py: Python<'_>,
        table: &ArrowTable,
        columns: Option<Vec<String>>,
        template: Option<&str>,
        prompt: &str,
        batch_size: Option<NonZeroUsize>,
        kept: usize,
        normalize: bool,
        cache: Option<PathBuf>,
        on_tick: Option<Py<PyAny>>,
    ) -> PyResult<(VectorColumn, Vec<String>)> {
        let recipe = recipe(columns, template).map_err(raise)?;
        let columns = BatchColumns::find(table.schema(), &recipe).map_err(raise)?;
        let cache = cache.map(cache_at).transpose().map_err(raise)?;
        let components = self.components(kept, normalize);
        let (rows, done) = (table.rows(), AtomicUsize::new(0));
        let on_rows =
            |rows: u64| done.store(usize::try_from(rows).unwrap_or(usize::MAX), Ordering::Relaxed);
        let requested = RequestedLimits { start: batch_size, ..RequestedLimits::default() };
        let work = |stop: &Stop| {
            let embedder = self.with_prompt(prompt, stop)?;
            columns.check(table.batches())?;
            let model = embedder.model();
            let job = BatchJob { model, components, cache, requested, stop, on_rows: &on_rows };
            embed_batches(&job, &columns, table.batches()).map_err(in_rows)
        };
        let tick = |py: Python<'_>| match &on_tick {
            Some(on_tick) => on_tick.call1(py, (done.load(Ordering::Relaxed), rows)).map(drop),
            None => Ok(()),
        };
        let vectors = interruptible(py, work, tick)?;
        let warnings = vectors.warnings.iter().map(Warning::to_string).collect();
        let column = VectorColumn::new(vectors.values, components.kept(), Some(vectors.present));
        Ok((column.map_err(raise)?, warnings))
    }
}

/// The columns of a table that a recipe needs, in the order of the table, and whether all that it needs are there;
/// arguments as in `Model.embed_table`. Without one of them they are all columns, whose names that tells.
#[pyfunction]
#[pyo3(signature = (names, *, columns, template))]
pub fn needed_columns(
    names: Vec<String>,
    columns: Option<Vec<String>>,
    template: Option<&str>,
) -> PyResult<(Vec<String>, bool)> {
    let recipe = recipe(columns, template).map_err(raise)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let needed = BatchColumns::needed(&recipe, &names);
    // The error about a missing column names those that exist.
    let is_known = recipe.fields().iter().filter(|field| field.required).all(|field| {
        needed.iter().any(|name| *name == field.name || field.name.starts_with(&format!("{name}.")))
    });
    let found = if is_known { needed } else { names };
    Ok((found.into_iter().map(str::to_owned).collect(), is_known))
}

/// The recipe of the program for the same columns or the same template.
fn recipe(columns: Option<Vec<String>>, template: Option<&str>) -> Result<TextRecipe> {
    let refuse =
        |message: String, advice: &str| Error::new(ErrorKind::Config, message).advice(advice);
    match (columns, template) {
        (Some(_), Some(_)) => {
            Err(refuse("`text` and `template` are both given".into(), "leave one of them out"))
        }
        (Some(columns), None) => {
            let twice = columns.iter().enumerate().find(|(at, name)| columns[..*at].contains(name));
            match twice {
                _ if columns.is_empty() => {
                    Err(refuse("`text` names no column".into(), "name one or more"))
                }
                Some((_, name)) => {
                    Err(refuse(format!("`text` names `{name}` twice"), "name each column once"))
                }
                None => Ok(TextRecipe::columns(columns)),
            }
        }
        (None, Some(template)) => TextRecipe::template(template).map_err(|wrong| {
            refuse(format!("`template` {wrong}"), "see docs/text.md for its syntax")
        }),
        (None, None) => {
            let columns = TaskColumns {
                title: "title".to_owned(),
                description: Some("description".to_owned()),
                files: Some("files".to_owned()),
                files_required: false,
            };
            Ok(TextRecipe::task(columns, &TextTemplate::default()))
        }
    }
}

/// The vector cache at a path, with the program's settings. A caller of a library does not wait for another process.
fn cache_at(path: PathBuf) -> Result<(CacheConfig, OutputPlace)> {
    let mut settings = RawConfig::default();
    settings.set_path("cache.path", &path, Origin::Flag("cache"))?;
    let config = CacheConfig { wait: Duration::ZERO, ..settings.check_cache()? };
    Ok((config, OutputPlace::alone(path)))
}

/// What a call says beside its texts.
struct Call<'a> {
    prompt: &'a str,
    batch_size: Option<NonZeroUsize>,
    components: Components,
    on_tick: Option<Py<PyAny>>,
}

impl Model {
    fn open(config: ModelConfig, stop: &Stop, log: &Log) -> Result<Model> {
        let found = find(&config, stop, log)?;
        let facts = found.facts();
        log.notes(&facts.notes);
        let (identity, runs_on) = (facts.identity.clone(), facts.runs_on.clone());
        let (default_dims, prompts) = (facts.default_dims(), facts.prompts.clone());
        let prompt_note = facts.notes.prompt.as_ref().map(ToString::to_string);
        let token_operations = facts.token_operations;
        let embedder = PerProcess::new(Embedder::new(found.load(stop)?));
        Ok(Model {
            config,
            identity,
            default_dims,
            prompts,
            prompt_note,
            token_operations,
            runs_on,
            embedder,
        })
    }

    /// The model of this process with this prompt. A process that was forked from the one that has it loads it again,
    /// if its files are still the same.
    fn with_prompt(&self, prompt: &str, stop: &Stop) -> Result<Arc<Embedder>> {
        let own = self.embedder.get_or_make(|| {
            let found = find(&self.config, stop, &Log::default())?;
            check_same(&found.facts().identity, &self.identity)?;
            Ok(Embedder::new(found.load(stop)?))
        })?;
        match prompt == own.identity().prompt {
            true => Ok(own),
            false => Ok(Arc::new(own.with_prompt(prompt)?)),
        }
    }

    /// The components of a vector that a call wants. A whole vector that the model has scaled has length 1: scaling it
    /// again would change its last bits.
    fn components(&self, kept: usize, normalize: bool) -> Components {
        let dimension = self.identity.dimension;
        let normalize = normalize && !(kept >= dimension && self.identity.normalized);
        Components::first(kept, dimension, normalize)
    }

    /// The vectors of texts, row-major, and which texts have one.
    fn embed(
        &self,
        py: Python<'_>,
        texts: &Texts,
        call: &Call<'_>,
    ) -> PyResult<(Vec<f32>, Vec<bool>)> {
        let texts = texts.by_position().map_err(raise)?;
        let present: Vec<bool> = texts.iter().map(Option::is_some).collect();
        let nulls = present.iter().filter(|present| !**present).count();
        let (rows, done) = (texts.len(), AtomicUsize::new(0));
        let record = |progress: Progress| done.store(progress.done, Ordering::Relaxed);
        let work = |stop: &Stop| {
            let embedder = self.with_prompt(call.prompt, stop)?;
            // Whole: `components` cuts them.
            let dims = NonZeroUsize::new(self.identity.dimension);
            let options =
                BatchOptions { batch_size: call.batch_size, dims, progress: Some(&record) };
            let text = |row: usize| texts[row].map(Cow::Borrowed);
            let vectors = embedder
                .embed_positions(rows, nulls, text, &options, stop)
                .map_err(in_sentences)?;
            Ok(call.components.of_all(vectors.into_values()))
        };
        let tick = |py: Python<'_>| match &call.on_tick {
            Some(on_tick) => {
                on_tick.call1(py, (done.load(Ordering::Relaxed), rows - nulls)).map(drop)
            }
            None => Ok(()),
        };
        let bytes: usize = texts.iter().flatten().map(|text| text.len() + call.prompt.len()).sum();
        // A token has a byte at least.
        let is_short = rows <= SHORT_TEXTS
            && bytes as f64 * self.token_operations.max(LEAST_OPERATIONS) <= SHORT_OPERATIONS
            && call.on_tick.is_none();
        let values = match is_short && self.embedder.is_made() {
            true => at_once(py, work)?,
            false => interruptible(py, work, tick)?,
        };
        Ok((values, present))
    }
}

/// The configuration of the model in a directory or with an id.
fn config(directory: Option<PathBuf>, id: Option<String>, python: String) -> Result<ModelConfig> {
    // Names and values that are no UTF-8 are of no use here.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let environment = Environment::new(variables);
    let mut config = match directory {
        Some(directory) => ModelConfig::from_directory(&directory),
        None => ModelConfig::from_environment(&environment)?,
    };
    config.isa = match environment.get("REEMBED_COMPUTE_ISA") {
        None | Some("" | "auto") => None,
        Some(word) => Some(parse_isa(word)?),
    };
    if environment.get("REEMBED_PYTHON").is_none() {
        config.source.python = python.into();
    }
    let is_default =
        id.as_deref().is_none_or(|id| id == reembed_encoder::model::source::DEFAULT_ID);
    if !is_default {
        config.source = SourceConfig { id, pins: Default::default(), ..config.source };
    }
    Ok(config)
}

fn parse_isa(word: &str) -> Result<IsaName> {
    IsaName::parse(word).ok_or_else(|| {
        let known = IsaName::ALL.map(IsaName::as_str).join(", ");
        Error::new(ErrorKind::Config, format!("REEMBED_COMPUTE_ISA is {word:?}"))
            .advice(format!("set it to one of auto, {known}"))
    })
}

fn parse_precision(word: &str) -> Result<Precision> {
    Precision::parse(word).ok_or_else(|| {
        let known = Precision::ALL.map(|precision| format!("\"{}\"", precision.as_str()));
        Error::new(ErrorKind::Config, format!("`precision` is {word:?}"))
            .advice(format!("give one of {}, or None for the default", known.join(", ")))
    })
}

fn find(config: &ModelConfig, stop: &Stop, log: &Log) -> Result<FoundModel> {
    FoundModel::find(config, &Precedents::default(), stop, &|progress| log.fetch(progress))
}

/// Whether a model that was found again is the same.
fn check_same(found: &ModelIdentity, expected: &ModelIdentity) -> Result<()> {
    if found.fingerprint() == expected.fingerprint() {
        return Ok(());
    }
    let differences = found.differences(expected).join("; ");
    let message = format!("the model is another one than when it was opened: {differences}");
    Err(Error::new(ErrorKind::OtherModel, message).advice("open the model again"))
}
