//! A loaded model, for the class `Embedder` of the Python sources.

mod per_process;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use numpy::{IntoPyArray, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use reembed_encoder::model::FoundModel;
use reembed_encoder::model::config::TextOptions;
use reembed_encoder::model::precedent::Precedents;
use reembed_encoder::model::prompt::PromptChoice;
use reembed_encoder::{
    BatchOptions, Embedder, Environment, Error, ErrorKind, ModelConfig, ModelIdentity, Precision,
    Progress, Result, SourceConfig, Stop,
};

use crate::errors::{in_sentences, raise};
use crate::texts;
use crate::work::interruptible;
use per_process::PerProcess;

/// A loaded model. Calls may come from several threads at once.
///
/// The encoder gets no prompt of its own: each call says its prompt, which is written before its texts. So one model
/// in memory serves them all.
#[pyclass(frozen, module = "reembed._reembed")]
pub struct Model {
    config: ModelConfig,
    /// With the prompt that is the model's default.
    identity: ModelIdentity,
    default_dims: usize,
    /// Whether a prompt that is written before a text is pooled as the model wants it.
    pools_prompt: bool,
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
        interruptible(py, |stop| Model::open(config, stop), |_| Ok(()))
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

    /// Whether the model scales its vectors to length 1.
    #[getter]
    fn normalizes(&self) -> bool {
        self.identity.normalized
    }

    #[getter]
    fn runs_on(&self) -> &str {
        &self.runs_on
    }

    /// The text of the prompt that the model declares under a name.
    fn named_prompt(&self, py: Python<'_>, name: String) -> PyResult<String> {
        let choice = PromptChoice::Named(name);
        Ok(interruptible(py, |stop| self.identity_with(choice, stop), |_| Ok(()))?.prompt)
    }

    /// Raises if the model cannot have this text before its texts.
    fn check_prompt(&self, py: Python<'_>, text: String) -> PyResult<()> {
        let choice = PromptChoice::Text(text);
        interruptible(py, |stop| self.identity_with(choice, stop), |_| Ok(())).map(drop)
    }

    /// The vectors of an iterable of str, `(N, dimension)`, in an array that owns the encoder's memory. `on_tick` is
    /// called with the number of texts done and of all, ten times a second.
    #[pyo3(signature = (sentences, *, prompt, batch_size, on_tick))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        sentences: &Bound<'py, PyAny>,
        prompt: &str,
        batch_size: Option<NonZeroUsize>,
        on_tick: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        if !prompt.is_empty() && !self.pools_prompt {
            let message =
                "the model leaves its prompt out of the pooling, which is not supported here";
            return Err(raise(
                Error::new(ErrorKind::Config, message)
                    .advice("pass prompt=\"\", or embed a table with `reembed run`"),
            ));
        }
        let texts = texts::read(sentences)?;
        let (rows, done) = (texts.len(), AtomicUsize::new(0));
        let record = |progress: Progress| done.store(progress.done, Ordering::Relaxed);
        let work = |stop: &Stop| {
            let embedder = self.embedder.get_or_make(|| self.load(stop))?;
            let options = BatchOptions { batch_size, progress: Some(&record) };
            let vectors = if prompt.is_empty() {
                embedder.embed_until(&texts, &options, stop)
            } else {
                let texts: Vec<String> =
                    texts.iter().map(|text| format!("{prompt}{text}")).collect();
                embedder.embed_until(&texts, &options, stop)
            };
            Ok(vectors.map_err(in_sentences)?.into_values())
        };
        let tick = |py: Python<'_>| match &on_tick {
            Some(on_tick) => on_tick.call1(py, (done.load(Ordering::Relaxed), rows)).map(drop),
            None => Ok(()),
        };
        let values = interruptible(py, work, tick)?;
        values.into_pyarray(py).reshape([rows, self.identity.dimension])
    }
}

impl Model {
    fn open(config: ModelConfig, stop: &Stop) -> Result<Model> {
        let found = find(&config, PromptChoice::ModelDefault, stop)?;
        let facts = found.facts();
        let (identity, runs_on) = (facts.identity.clone(), facts.runs_on.clone());
        let (default_dims, pools_prompt) = (facts.default_dims(), facts.pools_prompt);
        let embedder = match identity.prompt.is_empty() {
            true => Embedder::new(found.load(stop)?),
            false => without_prompt(&config, &identity, stop)?,
        };
        let embedder = PerProcess::new(embedder);
        Ok(Model { config, identity, default_dims, pools_prompt, runs_on, embedder })
    }

    /// Loads the model again, in a process that was forked from the one that has it.
    fn load(&self, stop: &Stop) -> Result<Embedder> {
        without_prompt(&self.config, &self.identity, stop)
    }

    fn identity_with(&self, choice: PromptChoice, stop: &Stop) -> Result<ModelIdentity> {
        let found = find(&self.config, choice, stop)?.facts().identity.clone();
        check_same(&found, &self.identity)?;
        Ok(found)
    }
}

/// The configuration of the model in a directory or with an id.
fn config(directory: Option<PathBuf>, id: Option<String>, python: String) -> Result<ModelConfig> {
    if let Some(directory) = directory {
        return Ok(ModelConfig::from_directory(&directory));
    }
    // Names and values that are no UTF-8 are of no use here.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let environment = Environment::new(variables);
    let mut config = ModelConfig::from_environment(&environment)?;
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

fn parse_precision(word: &str) -> Result<Precision> {
    Precision::parse(word).ok_or_else(|| {
        let known = Precision::ALL.map(|precision| format!("\"{}\"", precision.as_str()));
        Error::new(ErrorKind::Config, format!("`precision` is {word:?}"))
            .advice(format!("give one of {}, or None for the default", known.join(", ")))
    })
}

fn find(config: &ModelConfig, prompt: PromptChoice, stop: &Stop) -> Result<FoundModel> {
    let text = TextOptions { prompt, ..config.text.clone() };
    let config = ModelConfig { text, ..config.clone() };
    FoundModel::find(&config, &Precedents::default(), stop, &|_| ())
}

/// The model without a prompt, if its files are still those of `identity`.
fn without_prompt(config: &ModelConfig, identity: &ModelIdentity, stop: &Stop) -> Result<Embedder> {
    let found = find(config, PromptChoice::Text(String::new()), stop)?;
    check_same(&found.facts().identity, identity)?;
    Ok(Embedder::new(found.load(stop)?))
}

/// Whether two identities differ in their prompt at most.
fn check_same(found: &ModelIdentity, expected: &ModelIdentity) -> Result<()> {
    let found = ModelIdentity { prompt: expected.prompt.clone(), ..found.clone() };
    if found.fingerprint() == expected.fingerprint() {
        return Ok(());
    }
    let differences = found.differences(expected).join("; ");
    let message = format!("the model is another one than when it was opened: {differences}");
    Err(Error::new(ErrorKind::OtherModel, message).advice("open the model again"))
}
