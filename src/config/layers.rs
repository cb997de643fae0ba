//! The layers of a configuration: defaults, file, environment, flags. A later layer overrides an
//! earlier one.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use reembed_encoder::environment::{Environment, OTHER_VARIABLES};
use reembed_encoder::error::{Error, ErrorKind, Result};
use toml::de::DeTable;

use super::blocks::{self, Block};
use super::names::{
    nearest, not_a_table, renamed_key, renamed_table, shown, suggest_key, suggest_table,
};
use super::origin::Origin;
use super::settings::{DefaultValue, Kind, PREFIX, RENAMED, SETTINGS, Setting, variable_of};
use super::values::{Value, Written};
use super::words::{Carry, OnEmpty, Preset};

/// Largest size of a configuration file in bytes. A larger file is not a configuration.
const LARGEST_FILE: u64 = 1 << 20;

/// The settings of all layers so far: known keys with values of their kind.
///
/// [`RawConfig::check`] checks whether they fit together.
#[derive(Debug, Clone, Default)]
pub struct RawConfig {
    /// Relative paths in the file start here.
    pub(super) base: PathBuf,
    pub(super) values: BTreeMap<&'static str, (Value, Origin)>,
    /// Settings of one vector column each.
    pub(super) blocks: Vec<Block>,
}

impl RawConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// `Config`, when the file cannot be read or is not TOML; or naming file, line and key of all that
    /// are unknown or have a value of the wrong kind or out of range.
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
        // A device or a pipe reports no size.
        let mut text = String::new();
        let file = fs::File::open(path).map_err(cannot)?;
        file.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(cannot)?;
        if text.len() as u64 > LARGEST_FILE {
            return Err(too_large(path));
        }
        RawConfig::parse(&text, path)
    }

    /// Parses `text`, the content of the configuration file at `path`.
    ///
    /// # Errors
    /// As [`RawConfig::read`].
    pub fn parse(text: &str, path: &Path) -> Result<RawConfig> {
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        let mut raw = RawConfig { base, ..RawConfig::default() };
        let line_of = |offset: usize| {
            1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count()
        };
        let line_error = |offset: usize, message: String| {
            Error::new(ErrorKind::Config, message)
                .in_file(path)
                .at(format!("line {}", line_of(offset)))
                .advice("fix or remove this line; removing it uses the default")
        };
        let document = DeTable::parse(text).map_err(|cause| {
            let at = cause.span().map_or(0, |span| span.start);
            line_error(at, format!("not TOML: {}", cause.message())).advice(
                "fix this line; settings are written as `key = value` below their `[table]`",
            )
        })?;
        let mut faults = Vec::new();
        for (table, content) in document.get_ref() {
            let at = table.span().start;
            let name = table.get_ref();
            if name == blocks::TABLE {
                let Some(array) = content.get_ref().as_array() else {
                    let message = "the settings of a vector column are written [[embedding]]";
                    faults.push((at, line_error(at, message.to_owned())));
                    continue;
                };
                for block in array.iter() {
                    let at = block.span().start;
                    let mut fault = |at: usize, message: String| {
                        faults.push((at, line_error(at, message)));
                    };
                    match block.get_ref().as_table() {
                        Some(content) => {
                            let place = (path, &line_of as &dyn Fn(usize) -> usize);
                            raw.blocks.push(Block::parse(content, at, place, &mut fault));
                        }
                        None => fault(at, "a block of `embedding` is not a table".to_owned()),
                    }
                }
                continue;
            }
            let Some(keys) = content.get_ref().as_table() else {
                let fault = line_error(at, not_a_table(name))
                    .advice("settings are written as `key = value` below their `[table]`");
                faults.push((at, fault));
                continue;
            };
            if let Some(now) = renamed_table(name) {
                let fault = line_error(at, format!("the table [{name}] is now called [{now}]"))
                    .advice(format!("rename it to [{now}]; its keys keep their names"));
                faults.push((at, fault));
                continue;
            }
            if !SETTINGS.iter().any(|setting| setting.table() == *name) {
                let message = format!("unknown table [{}]{}", shown(name), suggest_table(name));
                faults.push((at, line_error(at, message)));
                continue;
            }
            for (key, value) in keys {
                let full = format!("{name}.{}", key.get_ref());
                let at = key.span().start;
                let Some(setting) = Setting::find(&full) else {
                    let hint = renamed_key(&full).unwrap_or_else(|| suggest_key(&full));
                    let message = format!("unknown key `{}`{hint}", shown(&full));
                    faults.push((at, line_error(at, message)));
                    continue;
                };
                match Written::from_toml(value.get_ref()).parse_as(setting.kind, true) {
                    Ok(value) => {
                        let origin = Origin::File(path.to_owned(), line_of(at));
                        raw.values.insert(setting.key, (value, origin));
                    }
                    Err(wrong) => faults.push((at, line_error(at, format!("`{full}` {wrong}")))),
                }
            }
        }
        // In the order of the lines.
        faults.sort_by_key(|(at, _)| *at);
        let faults = faults.into_iter().map(|(_, fault)| fault).collect();
        Error::all(faults).map_or(Ok(raw), Err)
    }

    /// Applies the environment variables `REEMBED_…`.
    ///
    /// # Errors
    /// `Config`, naming every variable whose name is unknown or of an earlier version, or whose value is wrong.
    pub fn apply_environment(&mut self, environment: &Environment) -> Result<()> {
        let mut faults = Vec::new();
        for (old, now) in RENAMED {
            let variable = variable_of(old);
            if environment.get(&variable).is_some() {
                let message = format!("the variable {variable} is now called {}", variable_of(now));
                faults.push(
                    Error::new(ErrorKind::Config, message)
                        .advice(format!("rename it; it sets `{now}`")),
                );
            }
        }
        faults.extend(unknown_variables(environment));
        for setting in SETTINGS {
            let variable = setting.variable();
            if let Some(text) = environment.get(&variable) {
                faults.extend(self.set(setting.key, text, Origin::Variable(variable)).err());
            }
        }
        Error::all(faults).map_or(Ok(()), Err)
    }

    /// Sets a key to a value in text form, from a variable or a flag.
    ///
    /// # Errors
    /// `Config`, naming the origin, when the key is unknown or the value is wrong.
    pub fn set(&mut self, key: &str, text: &str, origin: Origin) -> Result<()> {
        let setting = Setting::find(key).ok_or_else(|| {
            let hint = renamed_key(key).unwrap_or_else(|| suggest_key(key));
            Error::new(ErrorKind::Config, format!("unknown key `{key}`{hint}"))
                .advice("see pipeline.toml for all keys; `reembed init` writes one")
        })?;
        let value =
            Written::Text(text.to_owned()).parse_as(setting.kind, false).map_err(|wrong| {
                Error::new(ErrorKind::Config, format!("{origin} {wrong}"))
                    .advice(format!("it sets `{key}`; fix or remove it"))
            })?;
        self.values.insert(setting.key, (value, origin));
        Ok(())
    }

    /// Sets a key to a path from a flag. The path may hold bytes that are not UTF-8.
    ///
    /// # Errors
    /// `Config` when the key is unknown or the path is empty.
    pub fn set_path(&mut self, key: &str, path: &Path, origin: Origin) -> Result<()> {
        match Setting::find(key) {
            Some(setting) if setting.kind == Kind::Path && !path.as_os_str().is_empty() => {
                self.values.insert(setting.key, (Value::Path(path.to_owned()), origin));
                Ok(())
            }
            _ => self.set(key, &path.to_string_lossy(), origin),
        }
    }

    /// Sets a key to several paths from arguments.
    ///
    /// # Errors
    /// `Config` when the key is unknown, or a path is not UTF-8 or named twice.
    pub fn set_paths(&mut self, key: &str, paths: &[PathBuf], origin: Origin) -> Result<()> {
        let wrong = |message: String| {
            Error::new(ErrorKind::Config, format!("{origin}: {message}"))
                .advice("list the files in a file and name it with --files-from")
        };
        let names: Option<Vec<String>> =
            paths.iter().map(|path| path.to_str().map(str::to_owned)).collect();
        let names = names.ok_or_else(|| wrong("a path is not UTF-8".to_owned()))?;
        let setting = Setting::find(key).filter(|setting| setting.kind == Kind::Names);
        let setting = setting.ok_or_else(|| wrong(format!("{key} is no list (bug)")))?;
        self.values.insert(setting.key, (Value::Names(names), origin));
        Ok(())
    }

    /// Forgets the value of a key, which another key of a higher layer replaces.
    pub fn unset(&mut self, key: &str) {
        self.values.remove(key);
    }

    /// The value of `output.for`.
    pub(super) fn preset(&self) -> Option<Preset> {
        match self.values.get("output.for") {
            Some((Value::Text(word), _)) => Preset::parse(word),
            _ => None,
        }
    }

    /// A copy in which every unset key has its default, if it has one.
    ///
    /// # Errors
    /// `Config` when a default does not parse.
    pub(super) fn with_defaults(&self) -> Result<RawConfig> {
        let mut merged = self.clone();
        if let Some(preset) = merged.preset() {
            for (key, value) in preset.defaults() {
                if !merged.values.contains_key(key) {
                    merged.set(key, value, Origin::Preset(preset))?;
                }
            }
        }
        // Rows are left out or repeated, and copied columns keep each of them once.
        let splits = merged.by_column().iter().any(|raw| {
            raw.values.contains_key("text.chunk") && !raw.values.contains_key("text.pool")
        });
        let drops = matches!(merged.values.get("output.on_empty"),
            Some((Value::Text(word), _)) if OnEmpty::parse(word) == Some(OnEmpty::Drop));
        if (drops || splits) && !merged.values.contains_key("output.carry") {
            let by = if splits { "text.chunk" } else { "output.on_empty = \"drop\"" };
            let by = Origin::Implied { by };
            merged.set("output.carry", Carry::Reencode.as_str(), by)?;
        }
        for setting in SETTINGS {
            let DefaultValue::Value(default) = setting.default else { continue };
            if !merged.values.contains_key(setting.key) {
                merged.set(setting.key, default.trim_matches('"'), Origin::Default)?;
            }
        }
        Ok(merged)
    }
}

/// An error for each variable `REEMBED_…` that nothing reads, such as a misspelt one.
fn unknown_variables(environment: &Environment) -> Vec<Error> {
    let of_settings = SETTINGS.iter().map(Setting::variable);
    let known: Vec<String> =
        of_settings.chain(OTHER_VARIABLES.map(str::to_owned)).chain(for_tests()).collect();
    let is_known = |name: &str| known.iter().any(|other| other == name);
    let is_renamed = |name: &str| RENAMED.iter().any(|(old, _)| variable_of(old) == name);
    let ours = environment.names().filter(|name| name.starts_with(PREFIX));
    let unknown = ours.filter(|name| !is_known(name) && !is_renamed(name));
    let error = |name: &str| {
        let hint = nearest(name, known.iter().map(String::as_str));
        Error::new(ErrorKind::Config, format!("unknown variable {}{hint}", shown(name))).advice(
            "fix its name or unset it; the variable of `batch.start` is REEMBED_BATCH_START",
        )
    };
    unknown.map(error).collect()
}

/// The variables that the program reads in a build for its tests alone.
fn for_tests() -> Option<String> {
    cfg!(feature = "failpoints").then(|| "REEMBED_FAILPOINTS".to_owned())
}

fn too_large(path: &Path) -> Error {
    let message =
        format!("the file is larger than {LARGEST_FILE} bytes and is not a configuration");
    Error::new(ErrorKind::Config, message).in_file(path).advice("name another one with --config")
}
