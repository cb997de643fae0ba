//! The `[[embedding]]` blocks: one vector column each, with settings of its own.
//!
//! A block stands between the rest of the file and the environment: what it sets replaces what the file
//! sets for all columns, and no variable or flag may set it for all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind};
use toml::de::{DeTable, DeValue};

use super::names::{nearest, shown};
use super::origin::Origin;
use super::settings::{SETTINGS, Setting};
use super::values::{Value, Written};

/// The name of the array of tables.
pub(super) const TABLE: &str = "embedding";

/// What it is for, in one or two sentences.
pub(super) const HELP: &str = "Several vector columns: a block for each, with its column and those keys of text, model and vector that it does not share with the others. All are written in one pass.";

/// The setting that a block calls `column`.
pub(super) const COLUMN: &str = "output.column";

/// The settings that hold for one model and for no other.
pub const OF_ONE_MODEL: [&str; 6] = [
    "model.id",
    "model.path",
    "model.revision",
    "model.sha256",
    "model.prompt",
    "model.prompt_name",
];

/// The settings of a vector column.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The file and the line where it begins.
    place: (PathBuf, usize),
    pub(super) values: BTreeMap<&'static str, (Value, Origin)>,
}

/// The key of a setting in a block; `None` if it is one for all columns.
pub(super) fn key_in_block(setting: &Setting) -> Option<&'static str> {
    match setting.key {
        COLUMN => Some("column"),
        "compute.precision" => Some(setting.key),
        // They concern the machine.
        "model.cache" | "model.offline" => None,
        _ => ["text", "model", "vector"].contains(&setting.table()).then_some(setting.key),
    }
}

impl Block {
    /// Parses a block. `fault` makes the error of a place in the file.
    pub(super) fn parse(
        content: &DeTable<'_>,
        start: usize,
        (path, line_of): (&Path, &dyn Fn(usize) -> usize),
        fault: &mut dyn FnMut(usize, String),
    ) -> Block {
        let place = (path.to_owned(), line_of(start));
        let mut block = Block { place, values: BTreeMap::new() };
        let mut set = |name: &str, at: usize, value: &DeValue<'_>| {
            let setting = SETTINGS.iter().find(|setting| key_in_block(setting) == Some(name));
            let Some(setting) = setting else {
                fault(at, unknown(name));
                return;
            };
            match Written::from_toml(value).parse_as(setting.kind, true) {
                Ok(value) => {
                    let origin = Origin::Block(path.to_owned(), line_of(at));
                    block.values.insert(setting.key, (value, origin));
                }
                Err(wrong) => fault(at, format!("`{name}` {wrong}")),
            }
        };
        for (key, value) in content {
            let (name, at) = (key.get_ref(), key.span().start);
            let is_setting =
                SETTINGS.iter().any(|setting| key_in_block(setting) == Some(name.as_ref()));
            match value.get_ref().as_table() {
                Some(keys) if !is_setting => {
                    for (key, value) in keys {
                        let full = format!("{name}.{}", key.get_ref());
                        set(&full, key.span().start, value.get_ref());
                    }
                }
                _ => set(name, at, value.get_ref()),
            }
        }
        block
    }

    /// The name of its column, if it has one.
    pub(super) fn column(&self) -> Option<&str> {
        match self.values.get(COLUMN) {
            Some((Value::Text(name), _)) => Some(name),
            _ => None,
        }
    }

    /// The place in the file.
    pub(super) fn shown_place(&self) -> String {
        format!("{}:{}", self.place.0.display(), self.place.1)
    }

    pub(super) fn error(&self, message: String) -> Error {
        let (file, line) = &self.place;
        Error::new(ErrorKind::Config, message).in_file(file).at(format!("line {line}"))
    }
}

/// The message for an unknown key of a block.
fn unknown(name: &str) -> String {
    let known = || SETTINGS.iter().filter_map(key_in_block);
    let inner = |key: &&'static str| key.split_once('.').is_some_and(|(_, key)| key == name);
    let hint = match (known().find(inner), Setting::find(name)) {
        (Some(key), _) => format!("; did you mean `{key}`?"),
        (None, Some(_)) => "; it holds for all columns: set it outside of the block".to_owned(),
        (None, None) => match nearest(name, known()) {
            near if near.is_empty() => {
                "; a block has `column` and keys of text, model and vector".to_owned()
            }
            near => near,
        },
    };
    format!("unknown key `{}` of an [[embedding]] block{hint}", shown(name))
}
