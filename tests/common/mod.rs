//! Helpers shared by the test binaries: the environment, the real model, a job in a temporary directory, and
//! a reader for its output.

#![allow(dead_code, reason = "each test binary that takes this module in uses some of it")]

use std::fs::File;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float32Type, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use reembed::config::{CalibrationConfig, RawConfig};
use reembed::publish::{LockHolder, OutputLock};
use reembed::reader::Reader;
use reembed::{Config, Environment, Event, ModelConfig, Report, Result, Stop, TaskRow, pipeline};
use reembed_cli::sample;
use reembed_encoder::batch::TokenBatch;
use reembed_encoder::inference::Work;
use reembed_encoder::limit::BatchShape;
use reembed_encoder::model::fake::FakeEncoder;
use reembed_encoder::model::{self, EncodeError, Encoder, Model};
use reembed_kernels::Precision;
use tempfile::TempDir;

/// The environment as the binary captures it.
pub fn environment() -> Environment {
    Environment::new(
        std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }),
    )
}

/// all-MiniLM-L6-v2, found and cached as `reembed run` does it.
pub fn real_model() -> ModelConfig {
    // `auto` depends on the CPU.
    let standard =
        ModelConfig::from_environment(&environment()).expect("a configuration without a file");
    ModelConfig { precision: Some(Precision::F32), ..standard }
}

/// The configuration for a model in a directory; `settings` are lines such as `model.prompt = "q: "`.
pub fn model_config(directory: &Path, settings: &[&str]) -> ModelConfig {
    let path = format!("model.path = {:?}", directory.to_str().expect("a path in UTF-8"));
    let text = [&[path.as_str()], settings].concat().join("\n");
    let raw = RawConfig::parse(&text, &directory.join("pipeline.toml")).expect("settings");
    raw.check_model(&nobody()).expect("a configuration")
}

/// Loads the model in a directory.
pub fn load(directory: &Path) -> Model {
    model::load(&model_config(directory, &[]), &|_| ()).expect("a model")
}

/// An environment with only a home, for tests that must not depend on the developer's settings.
fn nobody() -> Environment {
    Environment::new([("HOME".to_owned(), "/nowhere".to_owned())])
}

/// A directory for an input and an output, removed on drop.
pub struct Job {
    directory: TempDir,
}

impl Job {
    pub fn new() -> Job {
        Job { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// A job whose input holds `rows`.
    pub fn of(rows: &[TaskRow]) -> Job {
        let job = Job::new();
        let written = sample::write_tasks(&job.input(), rows.iter().cloned()).expect("an input");
        assert_eq!(written, rows.len() as u64);
        job
    }

    /// A job whose input is `batch`, in row groups of `row_group_rows`.
    pub fn of_batch(batch: &RecordBatch, row_group_rows: usize) -> Job {
        let job = Job::new();
        write_parquet(&job.input(), batch, row_group_rows);
        job
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn input(&self) -> PathBuf {
        self.directory().join("in.parquet")
    }

    /// A separate directory, so that leftover files of a run are visible.
    pub fn output(&self) -> PathBuf {
        self.directory().join("out/tasks.parquet")
    }

    /// The configuration of a calibration over the job's input.
    pub fn calibration(&self, settings: &[&str]) -> CalibrationConfig {
        let text = [&["input.path = \"in.parquet\""], settings].concat().join("\n");
        RawConfig::parse(&text, &self.directory().join("pipeline.toml"))
            .and_then(|raw| raw.check_calibration(&nobody()))
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The configuration of the job; `settings` are lines such as `batch.start = 8`.
    pub fn config(&self, settings: &[&str]) -> Config {
        let paths = ["input.path = \"in.parquet\"", "output.path = \"out/tasks.parquet\""];
        let text = [&paths[..], settings].concat().join("\n");
        RawConfig::parse(&text, &self.directory().join("pipeline.toml"))
            .and_then(|raw| raw.check(&nobody()))
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The cache beside the job's output.
    pub fn cache(&self) -> PathBuf {
        self.directory().join("out/_reembed/tasks.parquet.cache")
    }

    /// The names of the files in the output's directory and in `_reembed`, without the cache and the reports.
    pub fn beside_output(&self) -> Vec<String> {
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("an entry").file_name().to_string_lossy().into_owned()
        };
        let names = |directory: &str| {
            let entries = std::fs::read_dir(self.directory().join(directory));
            entries.into_iter().flatten().map(name).collect::<Vec<String>>()
        };
        let mut all = [names("out"), names("out/_reembed")].concat();
        let own = ["_reembed", "tasks.parquet.cache", "keys", "reports"];
        all.retain(|name| !own.contains(&name.as_str()));
        all
    }
}

/// Runs the steps of `pipeline::run` that precede the load of the model.
pub fn prepare(config: &Config) -> Result<(Reader, OutputLock)> {
    let (reader, _) = pipeline::prepare(config)?;
    let lock = OutputLock::acquire(config, LockHolder::ThisProcess, &reader)?;
    Ok((reader, lock))
}

/// [`pipeline::run_with`] with inputs that are already open.
pub fn run_opened(
    config: &Config,
    (reader, lock): (&Reader, &OutputLock),
    model: &Model,
    stop: &Stop,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Report> {
    let models = &pipeline::Models::shared(model, config.embeddings.len());
    let opened = pipeline::Opened { reader, lock, models };
    pipeline::run_with(config, None, &opened, stop, on_event)
}

/// Writes a batch uncompressed, so that a damaged byte damages a value or a header.
pub fn write_parquet(path: &Path, batch: &RecordBatch, row_group_rows: usize) {
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(row_group_rows)).build();
    let file = File::create(path).expect("an input");
    let mut writer =
        ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(batch).expect("a batch");
    writer.close().expect("a footer");
}

/// A Parquet file read back.
pub struct Table {
    pub schema: SchemaRef,
    pub rows: RecordBatch,
    pub metadata: ParquetMetaData,
}

/// Reads a whole file with the Parquet library alone.
pub fn read_parquet(path: &Path) -> Table {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
    let schema = builder.schema().clone();
    let metadata = builder.metadata().as_ref().clone();
    let batches: Vec<RecordBatch> =
        builder.build().expect("a reader").collect::<Result<_, ArrowError>>().expect("every batch");
    let rows = concat_batches(&schema, &batches).expect("one batch");
    Table { schema, rows, metadata }
}

impl Table {
    /// The footer entry with a key.
    pub fn entry(&self, key: &str) -> Option<String> {
        let entries = self.metadata.file_metadata().key_value_metadata()?;
        entries.iter().find(|entry| entry.key == key)?.value.clone()
    }

    /// The vectors of a column; a null is `None`.
    pub fn vectors(&self, column: &str) -> Vec<Option<Vec<f32>>> {
        let column = self.rows.column_by_name(column).expect("the column of vectors");
        let of_row = |row: usize| match column.data_type() {
            _ if column.is_null(row) => None,
            DataType::FixedSizeList(..) => Some(column.as_fixed_size_list().value(row)),
            _ => Some(column.as_list::<i32>().value(row)),
        };
        (0..column.len())
            .map(|row| Some(of_row(row)?.as_primitive::<Float32Type>().values().to_vec()))
            .collect()
    }

    /// The strings of a `Utf8` column; a null is `None`.
    pub fn strings(&self, column: &str) -> Vec<Option<String>> {
        let column = self.rows.column_by_name(column).expect("a column of strings");
        column.as_string::<i32>().iter().map(|value| value.map(str::to_owned)).collect()
    }

    /// The columns `id`, `title`, `description` and `files` as task rows.
    pub fn tasks(&self) -> Vec<TaskRow> {
        let files = self.rows.column_by_name("files").expect("files").as_list::<i32>();
        let names = |row: usize| -> Option<Vec<String>> {
            let names = (!files.is_null(row)).then(|| files.value(row))?;
            let names = names.as_string::<i32>().iter().flatten().map(str::to_owned);
            Some(names.collect())
        };
        let columns = self
            .strings("id")
            .into_iter()
            .zip(self.strings("title"))
            .zip(self.strings("description"));
        columns
            .enumerate()
            .map(|(row, ((id, title), description))| TaskRow {
                id: id.expect("an id"),
                title,
                description,
                files: names(row),
            })
            .collect()
    }
}

/// An encoder that calls `act` before each batch. `act` gets the number of the call, from 0, and may fail in
/// place of the encoder.
pub struct Before<E, F> {
    inner: E,
    act: F,
    calls: AtomicU64,
}

impl<E, F: Fn(u64, &TokenBatch) -> Result<(), EncodeError>> Before<E, F> {
    pub fn new(inner: E, act: F) -> Self {
        Before { inner, act, calls: AtomicU64::new(0) }
    }
}

impl<E, F> Encoder for Before<E, F>
where
    E: Deref<Target = dyn Encoder> + Send + Sync,
    F: Fn(u64, &TokenBatch) -> Result<(), EncodeError> + Send + Sync,
{
    fn dim(&self) -> usize {
        self.inner.dim()
    }
    fn is_batch_invariant(&self) -> bool {
        self.inner.is_batch_invariant()
    }
    fn pads(&self) -> bool {
        self.inner.pads()
    }
    fn texts_at_once(&self) -> NonZeroUsize {
        self.inner.texts_at_once()
    }
    fn precision(&self) -> Precision {
        self.inner.precision()
    }
    fn normalizes(&self) -> bool {
        self.inner.normalizes()
    }
    fn numerics(&self) -> &'static str {
        self.inner.numerics()
    }
    fn bytes_for(&self, shape: BatchShape) -> Option<u64> {
        self.inner.bytes_for(shape)
    }
    fn encode(&self, batch: &TokenBatch, vectors: &mut [f32]) -> Result<(), EncodeError> {
        (self.act)(self.calls.fetch_add(1, Ordering::Relaxed), batch)?;
        self.inner.encode(batch, vectors)
    }
}

/// The fake encoder with every component negated.
pub struct Negated(pub FakeEncoder);

impl Encoder for Negated {
    fn dim(&self) -> usize {
        self.0.dim()
    }
    fn is_batch_invariant(&self) -> bool {
        true
    }
    fn pads(&self) -> bool {
        self.0.pads()
    }
    fn texts_at_once(&self) -> NonZeroUsize {
        self.0.texts_at_once()
    }
    fn normalizes(&self) -> bool {
        self.0.normalizes()
    }
    fn numerics(&self) -> &'static str {
        self.0.numerics()
    }
    fn bytes_for(&self, shape: BatchShape) -> Option<u64> {
        self.0.bytes_for(shape)
    }
    fn encode(&self, batch: &TokenBatch, vectors: &mut [f32]) -> Result<(), EncodeError> {
        self.0.encode(batch, vectors)?;
        vectors.iter_mut().for_each(|component| *component = -*component);
        Ok(())
    }
}

/// A row with only a title.
pub fn task(id: impl Into<String>, title: impl Into<String>) -> TaskRow {
    TaskRow { id: id.into(), title: Some(title.into()), description: None, files: None }
}

/// The largest absolute difference between components.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of different width");
    // `f32::max` would ignore a NaN.
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |most, next| if next <= most { most } else { next })
}

/// The bits of each component: 0 == −0, but their bits differ.
pub fn bits(vector: &[f32]) -> Vec<u32> {
    vector.iter().map(|x| x.to_bits()).collect()
}

/// The Euclidean length.
pub fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// Number of batches that ran, of any size.
pub fn batches(work: &Work) -> u64 {
    work.batch_sizes.values().sum()
}
