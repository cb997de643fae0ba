//! The layers of a configuration: defaults, the file, the environment, flags. The later wins.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use reembed_encoder::environment::Environment;
use reembed_encoder::error::{Error, ErrorKind, Result};
use toml::de::{DeTable, DeValue};

use super::names::{nearest_key, nearest_table, no_table, renamed_key, renamed_table, shown};
use super::settings::{DefaultValue, Kind, RENAMED, SETTINGS, Setting, variable_of};
use super::values::{Value, Written};

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
    pub(super) base: PathBuf,
    pub(super) values: BTreeMap<&'static str, (Value, Origin)>,
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
                .advice("fix or remove this line; removing it uses the default")
        };
        let document = DeTable::parse(text).map_err(|cause| {
            let at = cause.span().map_or(0, |span| span.start);
            complain(at, format!("not TOML: {}", cause.message())).advice(
                "fix this line; settings are written as `key = value` below their `[table]`",
            )
        })?;
        for (table, content) in document.get_ref() {
            let at = table.span().start;
            let name = table.get_ref();
            let Some(keys) = content.get_ref().as_table() else {
                return Err(complain(at, no_table(name))
                    .advice("settings are written as `key = value` below their `[table]`"));
            };
            if let Some(now) = renamed_table(name) {
                return Err(complain(at, format!("the table [{name}] is now called [{now}]"))
                    .advice(format!("rename it to [{now}]; its keys keep their names")));
            }
            if !SETTINGS.iter().any(|setting| setting.table() == *name) {
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
        for (old, now) in RENAMED {
            let variable = variable_of(old);
            if environment.get(&variable).is_some() {
                let message = format!("the variable {variable} is now called {}", variable_of(now));
                return Err(Error::new(ErrorKind::Config, message)
                    .advice(format!("rename it; it sets `{now}`")));
            }
        }
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
            let hint = renamed_key(key).unwrap_or_else(|| nearest_key(key));
            Error::new(ErrorKind::Config, format!("unknown key `{key}`{hint}"))
                .advice("see pipeline.toml for all keys; `reembed init` writes one")
        })?;
        let value =
            Written::Text(text.to_owned()).fit(setting.kind, false).map_err(|complaint| {
                Error::new(ErrorKind::Config, format!("{origin} {complaint}"))
                    .advice(format!("it sets `{key}`; fix or remove it"))
            })?;
        self.values.insert(setting.key, (value, origin));
        Ok(())
    }

    /// Sets a key of a path, which may hold bytes that are no UTF-8, as a flag gives it.
    ///
    /// # Errors
    /// `Config` when the key holds no path, or the path is empty.
    pub fn set_path(&mut self, key: &str, path: &Path, origin: Origin) -> Result<()> {
        match Setting::find(key) {
            Some(setting) if setting.kind == Kind::Path && !path.as_os_str().is_empty() => {
                self.values.insert(setting.key, (Value::Path(path.to_owned()), origin));
                Ok(())
            }
            _ => self.set(key, &path.to_string_lossy(), origin),
        }
    }

    /// The same with the defaults below it.
    ///
    /// # Errors
    /// `Config`, if a default did not fit its own kind.
    pub(super) fn with_defaults(&self) -> Result<RawConfig> {
        let mut laid = self.clone();
        for setting in SETTINGS {
            let DefaultValue::Value(default) = setting.default else { continue };
            if !laid.values.contains_key(setting.key) {
                laid.set(setting.key, default.trim_matches('"'), Origin::Default)?;
            }
        }
        Ok(laid)
    }
}

fn too_large(path: &Path) -> Error {
    let message = format!("this has more than {LARGEST_FILE} bytes and is no configuration");
    Error::new(ErrorKind::Config, message).in_file(path).advice("name another one with --config")
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
