//! The layers of a configuration: defaults, the file, the environment, flags. The later wins.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::settings::{SETTINGS, Setting};
use super::values::{Value, Written, parse_device};
use super::{
    BatchConfig, ColumnNames, Config, Device, Effective, Engine, Environment, InputConfig,
    LockHolder, ModelConfig, OnEmpty, OutputConfig, Percent, PublishConfig, ReportConfig,
    RunConfig, StoreConfig, StoreMode, VectorType,
};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{Isa, Precision};
use crate::limit::AskedBounds;
use crate::model::source::{self, SourceConfig};
use crate::task::TextTemplate;

/// A configuration file is a page of text; one that is larger is something else.
const LARGEST_FILE: u64 = 1 << 20;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file, and the line in it.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// What was written, layer over layer: known keys with values of the right kind. Whether they fit together is
/// for [`RawConfig::check`] to say.
#[derive(Debug, Clone, Default)]
pub struct RawConfig {
    /// Relative paths in the file start here.
    base: PathBuf,
    values: BTreeMap<&'static str, (Value, Origin)>,
}

impl RawConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// `Config`, naming file, line and key: not to be read, not TOML, an unknown key (with the nearest known
    /// one), a value of the wrong kind or out of range.
    pub fn read(path: &Path) -> Result<RawConfig> {
        let cannot = |cause: std::io::Error| {
            Error::new(ErrorKind::Config, "the configuration cannot be read")
                .in_file(path)
                .advice("name another one with --config")
                .caused_by(cause)
        };
        let size = fs::metadata(path).map_err(cannot)?.len();
        if size > LARGEST_FILE {
            return Err(too_large(path));
        }
        // A device or a pipe has no size to ask for.
        let mut text = String::new();
        let file = fs::File::open(path).map_err(cannot)?;
        file.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(cannot)?;
        if text.len() as u64 > LARGEST_FILE {
            return Err(too_large(path));
        }
        RawConfig::parse(&text, path)
    }

    /// Reads a configuration out of `text`, which `path` is the name of.
    ///
    /// # Errors
    /// As [`RawConfig::read`].
    pub fn parse(text: &str, path: &Path) -> Result<RawConfig> {
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        let mut raw = RawConfig { base, values: BTreeMap::new() };
        let line_of = |offset: usize| {
            1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count()
        };
        let complain = |offset: usize, message: String| {
            Error::new(ErrorKind::Config, message)
                .in_file(path)
                .at(format!("line {}", line_of(offset)))
                .advice("mend the line, or take it out: the default then holds")
        };
        let document = DeTable::parse(text).map_err(|cause| {
            let at = cause.span().map_or(0, |span| span.start);
            complain(at, format!("not TOML: {}", cause.message())).advice(
                "mend the line; settings are written as `key = value` below their `[table]`",
            )
        })?;
        for (table, content) in document.get_ref() {
            let at = table.span().start;
            let name = table.get_ref();
            let Some(keys) = content.get_ref().as_table() else {
                return Err(complain(at, no_table(name))
                    .advice("settings are written as `key = value` below their `[table]`"));
            };
            if !SETTINGS.iter().any(|setting| table_of(setting) == *name) {
                let message = format!("unknown table [{}]{}", shown(name), nearest_table(name));
                return Err(complain(at, message));
            }
            for (key, value) in keys {
                let full = format!("{name}.{}", key.get_ref());
                let at = key.span().start;
                let setting = Setting::find(&full).ok_or_else(|| {
                    complain(at, format!("unknown key `{}`{}", shown(&full), nearest_key(&full)))
                })?;
                let value = written(value.get_ref())
                    .fit(setting.kind, true)
                    .map_err(|complaint| complain(at, format!("`{full}` {complaint}")))?;
                let origin = Origin::File(path.to_owned(), line_of(at));
                raw.values.insert(setting.key, (value, origin));
            }
        }
        Ok(raw)
    }

    /// Lays the variables `REEMBED_…` over what is there.
    ///
    /// # Errors
    /// `Config`, naming the variable.
    pub fn lay_environment(&mut self, environment: &Environment) -> Result<()> {
        for setting in SETTINGS {
            let variable = setting.variable();
            if let Some(text) = environment.get(&variable) {
                self.set(setting.key, text, Origin::Variable(variable.clone()))?;
            }
        }
        Ok(())
    }

    /// Sets one key from text, as a variable or a flag gives it.
    ///
    /// # Errors
    /// `Config`, naming where the text came from.
    pub fn set(&mut self, key: &str, text: &str, origin: Origin) -> Result<()> {
        let setting = Setting::find(key).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("unknown key `{key}`{}", nearest_key(key)))
                .advice("README.md lists the keys")
        })?;
        let value =
            Written::Text(text.to_owned()).fit(setting.kind, false).map_err(|complaint| {
                Error::new(ErrorKind::Config, format!("{origin} {complaint}"))
                    .advice(format!("it sets `{key}`; mend it, or leave it out"))
            })?;
        self.values.insert(setting.key, (value, origin));
        Ok(())
    }

    /// Sets one key from text unless it is set already.
    ///
    /// # Errors
    /// As [`RawConfig::set`].
    pub fn set_default(&mut self, key: &str, text: &str) -> Result<()> {
        if self.values.contains_key(key) {
            return Ok(());
        }
        self.set(key, text, Origin::Default)
    }

    /// Turns what was written into a configuration that holds together.
    ///
    /// # Errors
    /// `Config`, naming the key and where it was set.
    pub fn check(mut self, environment: &Environment) -> Result<Config> {
        self.lay_defaults()?;
        let asked = AskedBounds {
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
            store: StoreConfig {
                path: self.path("store.path"),
                mode: match self.text("store.mode")?.as_str() {
                    "off" => StoreMode::Off,
                    "read-only" => StoreMode::ReadOnly,
                    _ => StoreMode::ReadWrite,
                },
                max_size: self
                    .number("store.max_size")
                    .ok_or_else(|| self.missing("store.max_size"))?,
                commit_rows: self.size("store.commit_rows")?,
                verify_sample: self
                    .number("store.verify_sample")
                    .ok_or_else(|| self.missing("store.verify_sample"))?,
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

    fn lay_defaults(&mut self) -> Result<()> {
        for setting in SETTINGS {
            let Some(default) = setting.default else { continue };
            self.set_default(setting.key, default.trim_matches('"'))?;
        }
        Ok(())
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
            // A folder of the user's own needs none.
            None if path.is_some() => environment.cache().unwrap_or_default(),
            None => environment.cache()?,
        };
        let pins = match self.values.get("model.sha256") {
            Some((Value::Hashes(pins), _)) => pins.clone(),
            // A folder of the user's own is whatever it is, even under the default name.
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
            (Engine::Candle(_), Some(tiles @ (Precision::Bf16 | Precision::Bf16x3))) => {
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

fn too_large(path: &Path) -> Error {
    let message = format!("this has more than {LARGEST_FILE} bytes and is no configuration");
    Error::new(ErrorKind::Config, message).in_file(path).advice("name another one with --config")
}

fn to_size(number: u64) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(number).ok()?)
}

fn table_of(setting: &Setting) -> &'static str {
    setting.key.split('.').next().unwrap_or(setting.key)
}

fn written(value: &DeValue<'_>) -> Written {
    match value {
        DeValue::String(text) => Written::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Written::Other("an integer of more than 64 bits"), Written::Integer),
        DeValue::Boolean(on) => Written::Switch(*on),
        DeValue::Table(table) => {
            let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                Some((key.to_string(), value.get_ref().as_str()?.to_owned()))
            };
            let entries: Option<BTreeMap<String, String>> = table.iter().map(entry).collect();
            entries.map_or(Written::Other("a table"), Written::Table)
        }
        DeValue::Float(_) => Written::Other("a number with a fraction"),
        DeValue::Datetime(_) => Written::Other("a date"),
        DeValue::Array(_) => Written::Other("a list"),
    }
}

/// A name out of the file, cut for a message.
fn shown(name: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = name.chars().take(LONGEST).collect();
    if name.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// What stands alone where a table is expected: a setting above its table, or a table's name with a value.
fn no_table(name: &str) -> String {
    let full = SETTINGS.iter().find(|setting| setting.key.split('.').nth(1) == Some(name));
    let is_table = SETTINGS.iter().any(|setting| table_of(setting) == name);
    let hint = match full {
        Some(setting) => format!("; did you mean `{}`?", setting.key),
        None if is_table => String::new(),
        None => nearest_key(name),
    };
    format!("{:?} is not a table of settings{hint}", shown(name))
}

/// The nearest key, or, where none is near, all keys of its table.
fn nearest_key(key: &str) -> String {
    let near = nearest(key, SETTINGS.iter().map(|setting| setting.key));
    let table = key.split('.').next().unwrap_or(key);
    let known: Vec<&str> =
        SETTINGS.iter().filter(|s| table_of(s) == table).map(|setting| setting.key).collect();
    match (near.as_str(), known.is_empty()) {
        ("", false) => format!("; known are {}", known.join(", ")),
        _ => near,
    }
}

fn nearest_table(name: &str) -> String {
    nearest(name, SETTINGS.iter().map(table_of))
}

/// `; did you mean …?` for the nearest candidate, or the empty string where none is near.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    const NEAR: f64 = 0.7;
    let word = shown(word);
    // The table is mostly right, and must not make every key of it look near.
    let likeness = |candidate: &str| match (word.split_once('.'), candidate.split_once('.')) {
        (Some((table, key)), Some((other, candidate))) => {
            (strsim::jaro_winkler(table, other) + 3.0 * strsim::jaro_winkler(key, candidate)) / 4.0
        }
        _ => strsim::jaro_winkler(&word, candidate),
    };
    candidates
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(String::new(), |(_, candidate)| format!("; did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::super::settings::Kind;
    use super::*;

    fn environment() -> Environment {
        Environment::new([("HOME".to_owned(), "/home/someone".to_owned())])
    }

    fn parse(text: &str) -> Result<RawConfig> {
        RawConfig::parse(text, Path::new("conf/pipeline.toml"))
    }

    fn check(text: &str) -> Result<Config> {
        parse(text)?.check(&environment())
    }

    const PATHS: &str = "[input]\npath = \"in.parquet\"\n[output]\npath = \"/out.parquet\"\n";

    #[test]
    fn the_least_configuration_has_two_paths() {
        let config = check(PATHS).expect("it is valid");
        assert_eq!(config.input.path, Path::new("conf/in.parquet"));
        assert_eq!(config.output.path, Path::new("/out.parquet"));
        assert_eq!(config.batch.asked, AskedBounds::default());
        assert_eq!(config.model.source.cache, Path::new("/home/someone/.cache/reembed"));
        assert_eq!(config.model.prompt, None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            ("[input\n", "conf/pipeline.toml: line 1: not TOML: "),
            (
                "\n[batch]\nstrat = 8\n",
                "conf/pipeline.toml: line 3: unknown key `batch.strat`; did you mean `batch.start`?",
            ),
            (
                "[bacth]\n",
                "conf/pipeline.toml: line 1: unknown table [bacth]; did you mean `batch`?",
            ),
            (
                "[batch]\nstart = 0\n",
                "conf/pipeline.toml: line 2: `batch.start` must be a whole number from 1 to 65536, is 0",
            ),
            (
                "[batch]\nstart = \"32\"\n",
                "conf/pipeline.toml: line 2: `batch.start` must be a whole number from 1 to 65536, is \"32\"",
            ),
            (
                "[output]\non_empty = \"skip\"\n",
                "conf/pipeline.toml: line 2: `output.on_empty` must be one of \"null\", \"embed\", \"error\", is \"skip\"",
            ),
            (
                "[batch]\nxyzzy = 8\n",
                "conf/pipeline.toml: line 2: unknown key `batch.xyzzy`; known are batch.start, batch.max,",
            ),
            (
                "[batch]\nstart = 99999999999999999999\n",
                "conf/pipeline.toml: line 2: `batch.start` must be a whole number from 1 to 65536, is an integer of more than 64 bits",
            ),
            ("batch = 3\n", "conf/pipeline.toml: line 1: \"batch\" is not a table of settings"),
            (
                "start = 3\n",
                "conf/pipeline.toml: line 1: \"start\" is not a table of settings; did you mean `batch.start`?",
            ),
            (
                "[model]\nsha256 = { \"config.json\" = \"12\" }\n",
                "conf/pipeline.toml: line 2: `model.sha256` must give 64 hexadecimal digits for \"config.json\", gives \"12\"",
            ),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (text, expected) in [
            ("", "`input.path` is not set"),
            (
                "[batch]\nstart = 8\nmax = 4\n",
                "conf/pipeline.toml:8: `batch.max` is 4, less than batch.start = 8",
            ),
            (
                "[output]\ncolumn = \"title\"\n",
                "`output.column` is \"title\", a column that the text is built from",
            ),
            ("[input]\ntitle = \"\"\n", "`input.title` is empty; the column is needed"),
        ] {
            let text = match text {
                "" => String::new(),
                // One table may be written once.
                _ if text.starts_with("[output]") => PATHS.to_owned() + &text["[output]\n".len()..],
                _ if text.starts_with("[input]") => PATHS.replace("[input]\n", text),
                _ => PATHS.to_owned() + "\n" + text,
            };
            let error = check(&text).expect_err(&text).to_string();
            assert!(error.contains(expected), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
        let variables = [
            ("HOME".to_owned(), "/h".to_owned()),
            ("REEMBED_BATCH_START".to_owned(), "7".to_owned()),
            ("REEMBED_OUTPUT_COLUMN".to_owned(), "v".to_owned()),
        ];
        let environment = Environment::new(variables);
        let mut raw = parse(&format!("{PATHS}[batch]\nstart = 3\n")).expect("valid");
        raw.lay_environment(&environment).expect("valid");
        raw.set("output.column", "w", Origin::Flag("--column")).expect("valid");
        let config = raw.check(&environment).expect("valid");
        assert_eq!(config.batch.asked.start.map(NonZeroUsize::get), Some(7));
        assert_eq!(config.output.column, "w");
        let origin = |key: &str| {
            config.effective.iter().find(|line| line.key == key).map(|line| line.origin.to_string())
        };
        assert_eq!(origin("batch.start").as_deref(), Some("REEMBED_BATCH_START"));
        assert_eq!(origin("output.column").as_deref(), Some("--column"));
        assert_eq!(origin("input.path").as_deref(), Some("conf/pipeline.toml:2"));
        assert_eq!(origin("input.id").as_deref(), Some("default"));
    }

    #[test]
    fn the_annotated_file_has_every_key_with_its_default_and_a_word_on_it() {
        let mut table = "";
        let mut keys = Vec::new();
        for line in include_str!("../../pipeline.toml").lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                table = name;
            }
            let Some((key, rest)) = line.trim_start_matches("# ").split_once(" = ") else {
                continue;
            };
            let Some(setting) = Setting::find(&format!("{table}.{key}")) else { continue };
            let (value, word) = rest.split_once(" #").unwrap_or((rest, ""));
            assert!(!word.trim().is_empty(), "{}: no word on it", setting.key);
            if let Some(default) = setting.default {
                assert_eq!(value.trim(), default, "{}", setting.key);
            }
            keys.push(setting.key);
        }
        for setting in SETTINGS {
            assert!(keys.contains(&setting.key), "{} is not in pipeline.toml", setting.key);
        }
    }

    #[test]
    fn every_default_fits_its_own_kind() {
        RawConfig::default().lay_defaults().expect("defaults are valid");
        assert!(
            SETTINGS
                .iter()
                .all(|setting| setting.kind != Kind::Hashes || setting.default.is_none())
        );
    }
}
