//! The values of settings by their keys, each with the type that its kind has.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::config::blocks::key_in_block;
use crate::config::layers::RawConfig;
use crate::config::origin::Origin;
use crate::config::settings::Setting;
use crate::config::values::Value;

impl RawConfig {
    pub(super) fn origin(&self, key: &str) -> Option<&Origin> {
        self.values.get(key).map(|(_, origin)| origin)
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        match self.values.get(key) {
            Some((Value::Number(number), _)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn is_on(&self, key: &str) -> bool {
        matches!(self.values.get(key), Some((Value::Switch(true), _)))
    }

    pub(super) fn size(&self, key: &str) -> Result<NonZeroUsize> {
        let number = self.number(key).ok_or_else(|| self.missing(key))?;
        to_size(number).ok_or_else(|| self.value_error(key, "is too large for this machine"))
    }

    pub(super) fn text(&self, key: &str) -> Result<String> {
        match self.values.get(key) {
            Some((Value::Text(text), _)) => Ok(text.clone()),
            _ => Err(self.missing(key)),
        }
    }

    pub(super) fn names(&self, key: &str) -> Option<Vec<String>> {
        match self.values.get(key) {
            Some((Value::Names(names), _)) => Some(names.clone()),
            _ => None,
        }
    }

    /// Parses a word. An unknown word is an error, never a default.
    pub(super) fn word<T>(&self, key: &str, parse: fn(&str) -> Option<T>) -> Result<T> {
        let word = self.text(key)?;
        parse(&word).ok_or_else(|| self.value_error(key, &format!("is {word:?}, an unknown word")))
    }

    pub(super) fn word_or_auto<T>(
        &self,
        key: &str,
        parse: fn(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.values.get(key) {
            Some((Value::Auto, _)) => Ok(None),
            _ => self.word(key, parse).map(Some),
        }
    }

    /// A relative path starts at the directory of the file, or at the working directory if a flag or
    /// a variable sets it.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        match self.values.get(key) {
            Some((Value::Path(path), Origin::File(..) | Origin::Block(..))) => {
                Some(self.base.join(path))
            }
            Some((Value::Path(path), _)) => Some(path.clone()),
            _ => None,
        }
    }

    /// Of two keys that exclude each other, the one that the higher layer sets; `None` if neither is set.
    ///
    /// # Errors
    /// `Config` when a layer sets both.
    pub(super) fn key_in_force(&self, keys: &[&'static str]) -> Result<Option<&'static str>> {
        let layer = |key: &str| self.origin(key).map(Origin::layer);
        let Some(highest) = keys.iter().filter_map(|key| layer(key)).max() else { return Ok(None) };
        let mut in_force = keys.iter().filter(|key| layer(key) == Some(highest));
        match (in_force.next(), in_force.next()) {
            (Some(one), Some(other)) => {
                let origin = self.origin(one).map_or(String::new(), Origin::to_string);
                let message = format!("is set, and so is `{one}` ({origin})");
                Err(self.value_error(other, &message).advice("remove one of the two"))
            }
            (one, _) => Ok(one.copied()),
        }
    }

    pub(super) fn missing(&self, key: &str) -> Error {
        Error::new(ErrorKind::Config, format!("`{key}` is not set"))
            .advice("set it in the configuration file or with its flag")
    }

    pub(in crate::config) fn value_error(&self, key: &str, message: &str) -> Error {
        let origin = self.origin(key);
        let in_block = Setting::find(key).and_then(key_in_block);
        let shown = match (origin, in_block) {
            (Some(Origin::Block(..)), Some(shown)) => shown,
            _ => key,
        };
        let place = origin.map_or(String::new(), |origin| format!("{origin}: "));
        Error::new(ErrorKind::Config, format!("{place}`{shown}` {message}"))
            .advice("set another value, or remove the setting; removing it uses the default")
    }
}

pub(super) fn to_size(number: u64) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(number).ok()?)
}
