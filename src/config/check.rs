//! Turns a [`RawConfig`] into a [`Config`]: fills in defaults and checks that settings fit
//! together.
//!
//! It reads no file and queries no hardware.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reembed_encoder::environment::Environment;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::limit::RequestedLimits;
use reembed_encoder::model::config::{Device, Engine, ModelConfig};
use reembed_encoder::model::source::{self, SourceConfig};
use reembed_encoder::task::TextTemplate;
use reembed_kernels::{IsaName, Precision};

use super::layers::{Origin, RawConfig};
use super::settings::{SETTINGS, Setting};
use super::values::Value;
use super::words::{CacheMode, Carry, EngineChoice, InvalidUtf8, OnEmpty, VectorType};
use super::{
    BatchConfig, CacheConfig, ColumnChoice, ColumnNames, Config, Effective, InputConfig,
    OutputConfig, Percent, PublishConfig, ReportConfig, RunConfig,
};

impl RawConfig {
    /// Checks all settings.
    ///
    /// # Errors
    /// `Config`, naming the key and where it was set.
    pub fn check(&self, environment: &Environment) -> Result<Config> {
        let merged = self.with_defaults()?;
        merged.check_paths()?;
        let input = merged.path("input.path").ok_or_else(|| merged.missing("input.path"))?;
        let output = merged.path("output.path").ok_or_else(|| merged.missing("output.path"))?;
        Ok(Config {
            batch: merged.batch()?,
            input: merged.input(input)?,
            text: merged.text_template()?,
            model: merged.model(environment)?,
            report: merged.report(Some(&output))?,
            output: merged.output(output)?,
            cache: merged.cache()?,
            publish: PublishConfig {
                max_shrink: merged
                    .number("publish.max_shrink")
                    .and_then(Percent::new)
                    .ok_or_else(|| merged.missing("publish.max_shrink"))?,
                check_space: merged.is_on("publish.check_space"),
            },
            run: RunConfig {
                rebuild: merged.is_on("run.rebuild"),
                replace: merged.is_on("run.replace"),
                deadline: merged.number("run.deadline").map(Duration::from_secs),
            },
            effective: merged.effective(),
        })
    }

    /// Checks the tables `[model]` and `[compute]` alone.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_model(&self, environment: &Environment) -> Result<ModelConfig> {
        self.with_defaults()?.model(environment)
    }

    /// Checks the table `[input]` alone, for the file at `path` in the place of `input.path`.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_input(&self, path: &Path) -> Result<InputConfig> {
        self.with_defaults()?.input(path.to_owned())
    }

    /// Checks the table `[text]` alone.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_text(&self) -> Result<TextTemplate> {
        self.with_defaults()?.text_template()
    }

    /// Checks the table `[report]` alone. Without `report.dir` and `output.path` the directory is
    /// `out/report`.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_report(&self) -> Result<ReportConfig> {
        let merged = self.with_defaults()?;
        let output = merged.path("output.path");
        merged.report(output.as_deref())
    }

    /// Checks the table `[cache]` alone.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_cache(&self) -> Result<CacheConfig> {
        self.with_defaults()?.cache()
    }

    /// The value of `output.path`.
    ///
    /// # Errors
    /// `Config` when it is not set.
    pub fn output_path(&self) -> Result<PathBuf> {
        self.path("output.path").ok_or_else(|| self.missing("output.path"))
    }

    /// Whether the file, the environment or a flag sets a key.
    pub fn is_set(&self, key: &str) -> bool {
        self.origin(key).is_some_and(|origin| *origin != Origin::Default)
    }

    fn batch(&self) -> Result<BatchConfig> {
        let requested = RequestedLimits {
            start: self.number("batch.start").and_then(to_size),
            max: self.number("batch.max").and_then(to_size),
            tokens: self.number("batch.tokens").and_then(to_size),
        };
        match (requested.start, requested.max) {
            (Some(start), Some(max)) if max < start => {
                let message = format!("is {max}, less than batch.start = {start}");
                Err(self.value_error("batch.max", &message))
            }
            _ => Ok(BatchConfig { requested, memory_limit: self.number("batch.memory_limit") }),
        }
    }

    fn input(&self, path: PathBuf) -> Result<InputConfig> {
        Ok(InputConfig {
            path,
            columns: self.columns()?,
            chunk_rows: self.size("input.chunk_rows")?,
            chunk_bytes: self.size("input.chunk_bytes")?,
            decode_limit: self.number("input.decode_limit"),
            page_limit: self.page_limit()?,
            on_invalid_utf8: self.word("input.on_invalid_utf8", InvalidUtf8::parse)?,
            check_carried: self.is_on("input.check_carried"),
        })
    }

    fn page_limit(&self) -> Result<u64> {
        let key = "input.page_limit";
        let limit = self.number(key).ok_or_else(|| self.missing(key))?;
        match limit > InputConfig::MAX_PAGE_LIMIT {
            true => Err(self.value_error(
                key,
                &format!("is {limit}, more than the largest page, 2147483647 bytes (2 GiB - 1)"),
            )),
            false => Ok(limit),
        }
    }

    fn columns(&self) -> Result<ColumnNames> {
        let column = |key: &str| {
            let name = self.text(key)?;
            Ok(Some(name).filter(|name| !name.is_empty()))
        };
        let required = |key: &str| {
            column(key)?.ok_or_else(|| self.value_error(key, "is empty; this column is required"))
        };
        Ok(ColumnNames {
            id: required("input.id")?,
            title: required("input.title")?,
            description: column("input.description")?,
            files: column("input.files")?,
            files_required: self.is_set("input.files"),
        })
    }

    fn text_template(&self) -> Result<TextTemplate> {
        Ok(TextTemplate { files_prefix: self.text("text.files_prefix")? })
    }

    fn output(&self, path: PathBuf) -> Result<OutputConfig> {
        let column = self.text("output.column")?;
        if column.is_empty() {
            return Err(self.value_error("output.column", "is empty"));
        }
        let columns = self.columns()?;
        let mapped = [Some(&columns.id), Some(&columns.title), columns.description.as_ref()];
        let files = columns.files.as_ref().filter(|_| columns.files_required);
        if mapped.into_iter().chain([files]).flatten().any(|mapped| *mapped == column) {
            let message = format!("is {column:?}, a column that the text is built from");
            return Err(self.value_error("output.column", &message));
        }
        Ok(OutputConfig {
            path,
            column,
            vector_type: self.word("output.vector_type", VectorType::parse)?,
            on_empty: self.word("output.on_empty", OnEmpty::parse)?,
            columns: self.column_choice()?,
            carry: self.carry()?,
            row_group_rows: self.size("output.row_group_rows")?,
        })
    }

    fn column_choice(&self) -> Result<ColumnChoice> {
        match (self.names("output.keep"), self.names("output.drop")) {
            (None, None) => Ok(ColumnChoice::All),
            (Some(keep), None) => Ok(ColumnChoice::Keep(keep)),
            (None, Some(drop)) => Ok(ColumnChoice::Drop(drop)),
            (Some(_), Some(_)) => {
                let keep = self.origin("output.keep").map_or(String::new(), Origin::to_string);
                let message = format!("is set, and so is `output.keep` ({keep})");
                Err(self.value_error("output.drop", &message).advice("remove one of the two"))
            }
        }
    }

    /// The value of `output.carry`. Refuses the settings that do not fit it.
    fn carry(&self) -> Result<Carry> {
        let carry = self.word("output.carry", Carry::parse)?;
        let invalid = self.word("input.on_invalid_utf8", InvalidUtf8::parse)?;
        match (carry, invalid) {
            (Carry::Copy, _) if self.is_set("output.row_group_rows") => Err(self
                .value_error(
                    "output.row_group_rows",
                    "is set, but row groups are those of the input with output.carry = \"copy\"",
                )
                .advice("remove it, or set output.carry to \"reencode\"")),
            // Re-encoding would write the replacement in the place of the text.
            (Carry::Reencode, InvalidUtf8::Replace) => Err(self
                .value_error(
                    "input.on_invalid_utf8",
                    "is \"replace\", which would change the carried texts with output.carry = \"reencode\"",
                )
                .advice("set it to \"error\", or output.carry to \"copy\"")),
            _ => Ok(carry),
        }
    }

    /// Reports are written beside the output unless `report.dir` is set.
    fn report(&self, output: Option<&Path>) -> Result<ReportConfig> {
        let beside = || Some(output?.parent()?.join("report"));
        Ok(ReportConfig {
            dir: self.path("report.dir").or_else(beside).unwrap_or_else(|| "out/report".into()),
            keep: self
                .number("report.keep")
                .and_then(|keep| usize::try_from(keep).ok())
                .ok_or_else(|| self.missing("report.keep"))?,
        })
    }

    fn cache(&self) -> Result<CacheConfig> {
        let number = |key: &str| self.number(key).ok_or_else(|| self.missing(key));
        Ok(CacheConfig {
            path: self.path("cache.path"),
            mode: self.word("cache.mode", CacheMode::parse)?,
            max_size: number("cache.max_size")?,
            commit_rows: self.size("cache.commit_rows")?,
            verify_sample: number("cache.verify_sample")?,
        })
    }

    fn model(&self, environment: &Environment) -> Result<ModelConfig> {
        let id = self.text("model.id")?;
        let path = self.path("model.path");
        let cache = match self.path("model.cache") {
            Some(cache) => cache,
            // A local model needs no cache.
            None if path.is_some() => environment.model_cache().unwrap_or_default(),
            None => environment.model_cache()?,
        };
        let pins = match self.values.get("model.sha256") {
            Some((Value::Hashes(pins), _)) => pins.clone(),
            // The built-in hashes are those of the hub's files, not of a local model.
            _ if path.is_some() => BTreeMap::new(),
            _ if id == source::DEFAULT_ID => source::default_pins(),
            _ => BTreeMap::new(),
        };
        let standard = SourceConfig::with_cache(environment, cache);
        let offline = self.is_on("model.offline") || standard.offline;
        let revision = self.text("model.revision")?;
        let source = SourceConfig { id, revision, path, offline, pins, ..standard };
        let engine = self.engine()?;
        Ok(ModelConfig {
            source,
            prompt: self.text("model.prompt").ok(),
            engine,
            isa: self.word_or_auto("compute.isa", IsaName::parse)?,
            precision: self.precision(engine)?,
            threads: self.number("compute.threads").and_then(to_size),
        })
    }

    fn engine(&self) -> Result<Engine> {
        let device = self.word("compute.device", Device::parse)?;
        match (self.word("compute.engine", EngineChoice::parse)?, device) {
            (EngineChoice::Candle, _) | (EngineChoice::Auto, Device::Cuda(_)) => {
                Ok(Engine::Candle(device))
            }
            (EngineChoice::Packed, Device::Cuda(_)) => {
                Err(self.value_error("compute.engine", "is \"packed\", which runs on the CPU only"))
            }
            (EngineChoice::Auto | EngineChoice::Packed, Device::Cpu) => Ok(Engine::Packed),
        }
    }

    fn precision(&self, engine: Engine) -> Result<Option<Precision>> {
        let precision = self.word_or_auto("compute.precision", Precision::parse)?;
        match (engine, precision) {
            (Engine::Candle(_), Some(other)) if other != Precision::F32 => {
                let message = format!("is \"{other}\", which only the packed engine computes");
                Err(self.value_error("compute.precision", &message))
            }
            _ => Ok(precision),
        }
    }

    fn effective(&self) -> Vec<Effective> {
        let line = |setting: &Setting| {
            let (value, origin) = self.values.get(setting.key)?;
            Some(Effective { key: setting.key, value: value.to_string(), origin: origin.clone() })
        };
        SETTINGS.iter().filter(|setting| self.is_in_force(setting.key)).filter_map(line).collect()
    }

    /// Whether the other settings let the setting have an effect. `run --print-config` prints no
    /// other, so that its output is a valid configuration.
    fn is_in_force(&self, key: &str) -> bool {
        let copies = || self.word("output.carry", Carry::parse).is_ok_and(|c| c == Carry::Copy);
        key != "output.row_group_rows" || !copies()
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
        to_size(number).ok_or_else(|| self.value_error(key, "is too large for this machine"))
    }

    fn text(&self, key: &str) -> Result<String> {
        match self.values.get(key) {
            Some((Value::Text(text), _)) => Ok(text.clone()),
            _ => Err(self.missing(key)),
        }
    }

    fn names(&self, key: &str) -> Option<Vec<String>> {
        match self.values.get(key) {
            Some((Value::Names(names), _)) => Some(names.clone()),
            _ => None,
        }
    }

    /// Parses a word. An unknown word is an error, never a default.
    fn word<T>(&self, key: &str, parse: fn(&str) -> Option<T>) -> Result<T> {
        let word = self.text(key)?;
        parse(&word).ok_or_else(|| self.value_error(key, &format!("is {word:?}, an unknown word")))
    }

    fn word_or_auto<T>(&self, key: &str, parse: fn(&str) -> Option<T>) -> Result<Option<T>> {
        match self.values.get(key) {
            Some((Value::Auto, _)) => Ok(None),
            _ => self.word(key, parse).map(Some),
        }
    }

    /// A relative path starts at the directory of the file, or at the working directory if a flag or
    /// a variable sets it.
    fn path(&self, key: &str) -> Option<PathBuf> {
        match self.values.get(key) {
            Some((Value::Path(path), Origin::File(..))) => Some(self.base.join(path)),
            Some((Value::Path(path), _)) => Some(path.clone()),
            _ => None,
        }
    }

    /// Checks what a path looks like, before anything is made at it.
    fn check_paths(&self) -> Result<()> {
        for setting in SETTINGS {
            let Some((Value::Path(path), _)) = self.values.get(setting.key) else { continue };
            if path.starts_with("~") {
                let message = format!("is {path:?}; `~` is not expanded, write the path in full");
                return Err(self.value_error(setting.key, &message));
            }
        }
        match self.values.get("output.path") {
            Some((Value::Path(path), _)) if path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                let message = format!("is {path:?}, which names a directory; name a file");
                Err(self.value_error("output.path", &message))
            }
            _ => Ok(()),
        }
    }

    fn missing(&self, key: &str) -> Error {
        Error::new(ErrorKind::Config, format!("`{key}` is not set"))
            .advice("set it in the configuration file or with its flag")
    }

    fn value_error(&self, key: &str, message: &str) -> Error {
        let origin = self.origin(key).map_or(String::new(), |origin| format!("{origin}: "));
        Error::new(ErrorKind::Config, format!("{origin}`{key}` {message}"))
            .advice("set another value, or remove the setting; removing it uses the default")
    }
}

fn to_size(number: u64) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(number).ok()?)
}
