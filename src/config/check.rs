//! The one step from what was written to what the program uses: what has to fit together, and what nobody set.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use super::layers::{Origin, RawConfig};
use super::settings::{SETTINGS, Setting};
use super::values::{Value, parse_device};
use super::{
    BatchConfig, CacheConfig, CacheMode, ColumnNames, Config, Device, Effective, Engine,
    Environment, InputConfig, LockHolder, ModelConfig, OnEmpty, OutputConfig, Percent,
    PublishConfig, ReportConfig, RunConfig, VectorType,
};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{Isa, Precision};
use crate::limit::RequestedLimits;
use crate::model::source::{self, SourceConfig};
use crate::task::TextTemplate;

impl RawConfig {
    /// Turns what was written into a configuration that holds together.
    ///
    /// # Errors
    /// `Config`, naming the key and where it was set.
    pub fn check(mut self, environment: &Environment) -> Result<Config> {
        self.lay_defaults()?;
        let asked = RequestedLimits {
            start: self.number("batch.start").and_then(to_size),
            max: self.number("batch.max").and_then(to_size),
            tokens: self.number("batch.tokens").and_then(to_size),
        };
        if let (Some(start), Some(max)) = (asked.start, asked.max)
            && max < start
        {
            return Err(
                self.complain("batch.max", &format!("is {max}, less than batch.start = {start}"))
            );
        }
        let columns = self.columns()?;
        let output_column = self.text("output.column")?;
        let mapped = [Some(&columns.id), Some(&columns.title), columns.description.as_ref()];
        let files = columns.files.as_ref().filter(|_| columns.files_required);
        if mapped.into_iter().chain([files]).flatten().any(|column| *column == output_column) {
            let message = format!("is {output_column:?}, a column that the text is built from");
            return Err(self.complain("output.column", &message));
        }
        let config = Config {
            input: InputConfig {
                path: self.path("input.path").ok_or_else(|| self.missing("input.path"))?,
                columns,
                chunk_rows: self.size("input.chunk_rows")?,
                chunk_bytes: self.size("input.chunk_bytes")?,
                decode_limit: self.number("input.decode_limit"),
            },
            text: TextTemplate { files_prefix: self.text("text.files_prefix")? },
            model: self.model(environment)?,
            batch: BatchConfig { asked, memory_limit: self.number("batch.memory_limit") },
            output: OutputConfig {
                path: self.path("output.path").ok_or_else(|| self.missing("output.path"))?,
                column: output_column,
                vector_type: match self.text("output.vector_type")?.as_str() {
                    "list" => VectorType::List,
                    _ => VectorType::FixedSizeList,
                },
                on_empty: match self.text("output.on_empty")?.as_str() {
                    "embed" => OnEmpty::Embed,
                    "error" => OnEmpty::Error,
                    _ => OnEmpty::Null,
                },
                row_group_rows: self.size("output.row_group_rows")?,
            },
            report: self.report()?,
            cache: CacheConfig {
                path: self.path("cache.path"),
                mode: match self.text("cache.mode")?.as_str() {
                    "off" => CacheMode::Off,
                    "read-only" => CacheMode::ReadOnly,
                    _ => CacheMode::ReadWrite,
                },
                max_size: self
                    .number("cache.max_size")
                    .ok_or_else(|| self.missing("cache.max_size"))?,
                commit_rows: self.size("cache.commit_rows")?,
                verify_sample: self
                    .number("cache.verify_sample")
                    .ok_or_else(|| self.missing("cache.verify_sample"))?,
            },
            publish: PublishConfig {
                max_shrink: self
                    .number("publish.max_shrink")
                    .and_then(Percent::new)
                    .ok_or_else(|| self.missing("publish.max_shrink"))?,
                check_space: self.is_on("publish.check_space"),
            },
            run: RunConfig {
                rebuild: self.is_on("run.rebuild"),
                replace: self.is_on("run.replace"),
                deadline: self.number("run.deadline").map(Duration::from_secs),
                lock: LockHolder::ThisProcess,
            },
            effective: self.effective(),
        };
        Ok(config)
    }

    /// The part of the configuration that says which model is used.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_model(mut self, environment: &Environment) -> Result<ModelConfig> {
        self.lay_defaults()?;
        self.model(environment)
    }

    fn columns(&self) -> Result<ColumnNames> {
        let column = |key: &str| {
            let name = self.text(key)?;
            Ok(Some(name).filter(|name| !name.is_empty()))
        };
        let required = |key: &str| {
            column(key)?.ok_or_else(|| self.complain(key, "is empty; the column is needed"))
        };
        if self.text("output.column")?.is_empty() {
            return Err(self.complain("output.column", "is empty"));
        }
        Ok(ColumnNames {
            id: required("input.id")?,
            title: required("input.title")?,
            description: column("input.description")?,
            files: column("input.files")?,
            files_required: self.origin("input.files") != Some(&Origin::Default),
        })
    }

    /// Reports lie beside the output unless they are wanted elsewhere.
    fn report(&self) -> Result<ReportConfig> {
        let beside = || Some(self.path("output.path")?.parent()?.join("report"));
        Ok(ReportConfig {
            dir: self.path("report.dir").or_else(beside).unwrap_or_else(|| "report".into()),
            keep: self
                .number("report.keep")
                .and_then(|keep| usize::try_from(keep).ok())
                .unwrap_or(0),
        })
    }

    fn model(&self, environment: &Environment) -> Result<ModelConfig> {
        let id = self.text("model.id")?;
        let path = self.path("model.path");
        let cache = match self.path("model.cache") {
            Some(cache) => cache,
            // A directory of the user's own needs none.
            None if path.is_some() => environment.cache().unwrap_or_default(),
            None => environment.cache()?,
        };
        let pins = match self.values.get("model.sha256") {
            Some((Value::Hashes(pins), _)) => pins.clone(),
            // A directory of the user's own is whatever it is, even under the default name.
            _ if path.is_some() => BTreeMap::new(),
            _ if id == source::DEFAULT_ID => source::default_pins(),
            _ => BTreeMap::new(),
        };
        let offline = self.is_on("model.offline");
        Ok(ModelConfig {
            source: SourceConfig {
                id,
                revision: self.text("model.revision")?,
                path,
                cache,
                hub_cache: environment.hub_cache(),
                endpoint: environment
                    .get("HF_ENDPOINT")
                    .unwrap_or(source::DEFAULT_ENDPOINT)
                    .to_owned(),
                token: environment.get("HF_TOKEN").map(source::Secret::new),
                proxy: environment.proxy().map(source::Secret::new),
                no_proxy: environment.no_proxy(),
                offline: offline || environment.is_on("HF_HUB_OFFLINE"),
                python: environment.get("REEMBED_PYTHON").unwrap_or("python3").into(),
                pins,
            },
            prompt: self.text("model.prompt").ok(),
            engine: self.engine()?,
            precision: self.precision()?,
            threads: match self.number("compute.threads") {
                Some(_) => self.size("compute.threads")?,
                // Honours affinity and cgroup quota; one where the system does not say.
                None => available_parallelism().unwrap_or(NonZeroUsize::MIN),
            },
        })
    }

    fn engine(&self) -> Result<Engine> {
        let device = match parse_device(&self.text("compute.device")?).flatten() {
            None => Device::Cpu,
            Some(index) => Device::Cuda(index),
        };
        let engine = self.text("compute.engine")?;
        let isa = self.text("compute.isa")?;
        match (engine.as_str(), device) {
            ("candle", _) | ("auto", Device::Cuda(_)) => Ok(Engine::Candle(device)),
            (_, Device::Cuda(_)) => {
                Err(self.complain("compute.engine", "is \"packed\", which runs on the CPU only"))
            }
            _ if isa == "auto" => Ok(Engine::Packed(Isa::detect())),
            _ => Isa::named(&isa).map(Engine::Packed).ok_or_else(|| {
                let here: Vec<&str> = Isa::available().map(Isa::name).collect();
                let message =
                    format!("is {isa:?}, which this CPU lacks; it has {}", here.join(", "));
                self.complain("compute.isa", &message)
            }),
        }
    }

    fn precision(&self) -> Result<Option<Precision>> {
        let precision = Precision::named(&self.text("compute.precision")?);
        match (self.engine()?, precision) {
            (Engine::Candle(_), Some(tiles)) if tiles != Precision::F32 => {
                let message = format!("is \"{tiles}\", which only the packed engine computes");
                Err(self.complain("compute.precision", &message))
            }
            _ => Ok(precision),
        }
    }

    fn effective(&self) -> Vec<Effective> {
        let line = |setting: &Setting| {
            let (value, origin) = self.values.get(setting.key)?;
            Some(Effective { key: setting.key, value: value.to_string(), origin: origin.clone() })
        };
        SETTINGS.iter().filter_map(line).collect()
    }

    fn origin(&self, key: &str) -> Option<&Origin> {
        self.values.get(key).map(|(_, origin)| origin)
    }

    fn number(&self, key: &str) -> Option<u64> {
        match self.values.get(key) {
            Some((Value::Number(number), _)) => Some(*number),
            _ => None,
        }
    }

    fn is_on(&self, key: &str) -> bool {
        matches!(self.values.get(key), Some((Value::Switch(true), _)))
    }

    fn size(&self, key: &str) -> Result<NonZeroUsize> {
        let number = self.number(key).ok_or_else(|| self.missing(key))?;
        to_size(number).ok_or_else(|| self.complain(key, "is too large for this machine"))
    }

    fn text(&self, key: &str) -> Result<String> {
        match self.values.get(key) {
            Some((Value::Text(text), _)) => Ok(text.clone()),
            _ => Err(self.missing(key)),
        }
    }

    /// A relative path from the file starts at the file, one from a flag or a variable where the program runs.
    fn path(&self, key: &str) -> Option<PathBuf> {
        match self.values.get(key) {
            Some((Value::Text(text), Origin::File(..))) => Some(self.base.join(text)),
            Some((Value::Text(text), _)) => Some(PathBuf::from(text)),
            _ => None,
        }
    }

    fn missing(&self, key: &str) -> Error {
        Error::new(ErrorKind::Config, format!("`{key}` is not set"))
            .advice("set it in the configuration, or by its flag")
    }

    fn complain(&self, key: &str, message: &str) -> Error {
        let origin = self.origin(key).map_or(String::new(), |origin| format!("{origin}: "));
        Error::new(ErrorKind::Config, format!("{origin}`{key}` {message}"))
            .advice("give it another value, or leave it out: the default then holds")
    }
}

fn to_size(number: u64) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(number).ok()?)
}
