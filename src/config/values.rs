//! Parses one value, from TOML or from a string, as its [`Kind`] requires.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use reembed_encoder::model::chunk_size::ChunkSize;
use reembed_encoder::model::config::Device;
use toml::de::DeValue;

use super::settings::Kind;

/// A parsed value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `Text`, `Word` and `Device`.
    Text(String),
    /// `Path`; from a flag it may hold bytes that are not UTF-8.
    Path(PathBuf),
    /// `Switch`.
    Switch(bool),
    /// `Count`, `Bytes` and `Seconds`.
    Number(u64),
    /// `"auto"`.
    Auto,
    /// `Hashes`.
    Hashes(BTreeMap<String, String>),
    /// `Names`.
    Names(Vec<String>),
    /// `Separators`.
    Separators(BTreeMap<String, String>),
    /// `Chunk`.
    Chunk(ChunkSize),
}

/// A value as the user wrote it, before it is checked against its kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// A string. Environment variables and flags are always strings.
    Text(String),
    /// An integer.
    Integer(i64),
    /// `true` or `false`.
    Switch(bool),
    /// A table of strings.
    Table(BTreeMap<String, String>),
    /// A table of integers.
    Numbers(BTreeMap<String, i64>),
    /// An array of strings; `None`: it holds another value.
    List(Option<Vec<String>>),
    /// Any other TOML value; holds its description.
    Other(&'static str),
}

/// What is wrong with a value: a clause that follows its key.
pub type ValueError = String;

impl Written {
    /// A value of the configuration file.
    pub fn from_toml(value: &DeValue<'_>) -> Written {
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
                let number = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                    let key: &std::borrow::Cow<'_, str> = key.get_ref();
                    let number = value.get_ref().as_integer()?;
                    let number = i64::from_str_radix(number.as_str(), number.radix()).ok()?;
                    Some((key.to_string(), number))
                };
                let numbers = || table.iter().map(number).collect::<Option<BTreeMap<_, _>>>();
                match entries {
                    Some(entries) => Written::Table(entries),
                    None => numbers().map_or(Written::Other("a table"), Written::Numbers),
                }
            }
            DeValue::Float(_) => Written::Other("a number with a fraction"),
            DeValue::Datetime(_) => Written::Other("a date"),
            DeValue::Array(array) => {
                let text =
                    |value: &toml::Spanned<DeValue<'_>>| Some(value.get_ref().as_str()?.to_owned());
                let texts: Option<Vec<String>> = array.iter().map(text).collect();
                Written::List(texts)
            }
        }
    }

    /// Parses the value as `kind`.
    ///
    /// `typed` is false for the text of a variable or a flag, where the string `32` is a number.
    pub fn parse_as(&self, kind: Kind, typed: bool) -> Result<Value, ValueError> {
        let number = || match self {
            Written::Integer(number) => u64::try_from(*number).ok(),
            Written::Text(text) if !typed => text.trim().parse().ok(),
            _ => None,
        };
        let auto = || matches!(self, Written::Text(text) if text == "auto");
        let wrong = |wanted: &str| Err(format!("must be {wanted}, is {self}"));
        let between = |low: u64, high: u64| match number() {
            Some(number) if (low..=high).contains(&number) => Ok(Value::Number(number)),
            _ => wrong(&format!("a whole number from {low} to {high}")),
        };
        let bytes = |low: u64| {
            let parsed = match self {
                Written::Text(text) => parse_bytes(text),
                _ => number(),
            };
            match parsed {
                Some(bytes) if bytes >= low => Ok(Value::Number(bytes)),
                _ => wrong("a size such as \"512 MiB\" or a number of bytes, at least 1"),
            }
        };
        match (kind, self) {
            (Kind::CountOrAuto(..) | Kind::BytesOrAuto(_) | Kind::WordOrAuto(_), _) if auto() => {
                Ok(Value::Auto)
            }
            (Kind::Count(low, high) | Kind::CountOrAuto(low, high), _) => between(low, high),
            (Kind::Bytes(low) | Kind::BytesOrAuto(low), _) => bytes(low),
            (Kind::Seconds, _) => {
                let parsed = match self {
                    Written::Text(text) => parse_seconds(text),
                    _ => number(),
                };
                match parsed {
                    Some(seconds) if seconds > 0 => Ok(Value::Number(seconds)),
                    _ => wrong("a time such as \"2h\", \"90m\" or a number of seconds, at least 1"),
                }
            }
            (Kind::Text, Written::Text(text)) => Ok(Value::Text(text.clone())),
            (Kind::Path, Written::Text(text)) if text.is_empty() => wrong("a path"),
            (Kind::Path, Written::Text(text)) => Ok(Value::Path(text.into())),
            (Kind::Word(words) | Kind::WordOrAuto(words), Written::Text(text))
                if words.contains(&text.as_str()) =>
            {
                Ok(Value::Text(text.clone()))
            }
            (Kind::Word(words), _) => wrong(&format!("one of {}", quoted(words))),
            (Kind::WordOrAuto(words), _) => {
                wrong(&format!("one of {}", quoted(&[&["auto"], words].concat())))
            }
            (Kind::Device, Written::Text(text)) if Device::parse(text).is_some() => {
                Ok(Value::Text(text.clone()))
            }
            (Kind::Device, _) => wrong("\"cpu\" or \"cuda:0\""),
            (Kind::Switch, Written::Switch(on)) => Ok(Value::Switch(*on)),
            (Kind::Switch, Written::Text(text)) if !typed && text == "true" => {
                Ok(Value::Switch(true))
            }
            (Kind::Switch, Written::Text(text)) if !typed && text == "false" => {
                Ok(Value::Switch(false))
            }
            (Kind::Switch, _) => wrong("true or false"),
            (Kind::Hashes, Written::Table(table)) => {
                for (file, hash) in table {
                    if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                        return Err(format!(
                            "must give 64 hexadecimal digits for {file:?}, gives {hash:?}"
                        ));
                    }
                }
                let lower = |(file, hash): (&String, &String)| (file.clone(), hash.to_lowercase());
                Ok(Value::Hashes(table.iter().map(lower).collect()))
            }
            (Kind::Hashes, _) => wrong("a table of file names and SHA-256"),
            (Kind::Names, Written::List(Some(names))) => {
                parse_names(names.iter().map(String::as_str))
            }
            (Kind::Names, Written::List(None)) => Err("must hold strings only".to_owned()),
            (Kind::Names, Written::Text(text)) if !typed => {
                parse_names(text.split(',').map(str::trim))
            }
            (Kind::Names, _) => wrong("a list of names such as [\"id\", \"title\"]"),
            (Kind::Separators, Written::Table(table)) if !table.is_empty() => {
                Ok(Value::Separators(table.clone()))
            }
            (Kind::Separators, Written::Text(text)) if !typed => parse_separators(text),
            (Kind::Separators, _) => {
                wrong("a table of names and separators such as { files = \";\" }")
            }
            (Kind::Chunk, Written::Numbers(table)) => parse_chunk(table),
            (Kind::Chunk, Written::Text(text)) if !typed => {
                let table = format!("table = {text}").parse::<toml::Table>().ok();
                let table = table.as_ref().and_then(|table| table.get("table")?.as_table());
                let entry = |(key, value): (&String, &toml::Value)| {
                    Some((key.clone(), value.as_integer()?))
                };
                match table.and_then(|table| table.iter().map(entry).collect::<Option<_>>()) {
                    Some(table) => parse_chunk(&table),
                    None => wrong(CHUNK),
                }
            }
            (Kind::Chunk, _) => wrong(CHUNK),
            (Kind::Text, _) => wrong("a string"),
            (Kind::Path, _) => wrong("a path"),
        }
    }
}

/// For messages: a string is quoted; a value without a short form is described by its type.
impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Written::Text(text) if text.chars().count() > 60 => {
                write!(f, "{:?}…", text.chars().take(60).collect::<String>())
            }
            Written::Text(text) => write!(f, "{text:?}"),
            Written::Integer(number) => write!(f, "{number}"),
            Written::Switch(on) => write!(f, "{on}"),
            Written::Table(_) | Written::Numbers(_) => f.write_str("a table"),
            Written::List(_) => f.write_str("a list"),
            Written::Other(name) => f.write_str(name),
        }
    }
}

/// As TOML.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let toml = match self {
            Value::Text(text) => toml::Value::String(text.clone()),
            Value::Path(path) => toml::Value::String(path.to_string_lossy().into_owned()),
            Value::Switch(on) => toml::Value::Boolean(*on),
            Value::Number(number) => return write!(f, "{number}"),
            Value::Auto => toml::Value::String("auto".to_owned()),
            Value::Hashes(hashes) | Value::Separators(hashes) => {
                let entry = |(file, hash): (&String, &String)| {
                    (file.clone(), toml::Value::String(hash.clone()))
                };
                toml::Value::Table(hashes.iter().map(entry).collect())
            }
            Value::Chunk(size) => {
                let (tokens, overlap) = (size.tokens(), size.overlap());
                return write!(f, "{{ tokens = {tokens}, overlap = {overlap} }}");
            }
            Value::Names(names) => {
                toml::Value::Array(names.iter().cloned().map(toml::Value::String).collect())
            }
        };
        write!(f, "{toml}")
    }
}

/// Words as a message lists them: quoted, separated by commas.
pub(super) fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

/// What the size of a chunk must be.
const CHUNK: &str = "a table such as { tokens = 256, overlap = 32 }";

/// The size of a chunk. Without `overlap`, chunks share nothing.
fn parse_chunk(table: &BTreeMap<String, i64>) -> Result<Value, ValueError> {
    if let Some(key) = table.keys().find(|key| !["tokens", "overlap"].contains(&key.as_str())) {
        return Err(format!("has the key {key:?}; it must be {CHUNK}"));
    }
    let tokens =
        table.get("tokens").ok_or_else(|| format!("has no `tokens`; it must be {CHUNK}"))?;
    let overlap = table.get("overlap").copied().unwrap_or(0);
    let size = usize::try_from(*tokens)
        .ok()
        .and_then(NonZeroUsize::new)
        .and_then(|tokens| ChunkSize::new(tokens, usize::try_from(overlap).ok()?).ok());
    size.map(Value::Chunk).ok_or_else(|| {
        format!(
            "must have at least one token and a smaller overlap, has tokens = {tokens} and \
             overlap = {overlap}"
        )
    })
}

/// One or more different names, none of them empty.
fn parse_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<Value, ValueError> {
    let names: Vec<&str> = names.collect();
    let mut seen = BTreeSet::new();
    for name in &names {
        if name.is_empty() {
            return Err("has an empty name".to_owned());
        }
        if !seen.insert(name) {
            return Err(format!("has the name {name:?} twice"));
        }
    }
    match names.is_empty() {
        true => Err("must have at least one name, is an empty list".to_owned()),
        false => Ok(Value::Names(names.into_iter().map(str::to_owned).collect())),
    }
}

/// The text of a variable: an inline table of TOML, `{ files = ";" }`.
fn parse_separators(text: &str) -> Result<Value, ValueError> {
    let table = format!("table = {text}").parse::<toml::Table>().ok();
    let table = table.as_ref().and_then(|table| table.get("table")?.as_table());
    let entry =
        |(name, value): (&String, &toml::Value)| Some((name.clone(), value.as_str()?.to_owned()));
    let entries: Option<BTreeMap<String, String>> =
        table.and_then(|table| table.iter().map(entry).collect());
    match entries {
        Some(entries) if !entries.is_empty() => Ok(Value::Separators(entries)),
        _ => Err(format!("must be a table such as {{ files = \";\" }}, is {text:?}")),
    }
}

/// Bytes of a number with an optional unit: B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB
/// (powers of 1024).
fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1000 * 1000,
        "gb" => 1000 * 1000 * 1000,
        "tb" => 1000 * 1000 * 1000 * 1000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Seconds of a number with an optional unit: s, m, min, h or d.
fn parse_seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim() {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_with_and_without_units() {
        for (text, expected) in [
            ("90", Some(90)),
            ("45 s", Some(45)),
            ("30m", Some(1800)),
            ("30 min", Some(1800)),
            ("2h", Some(7200)),
            ("1d", Some(86_400)),
            ("1.5h", None),
            ("2h30m", None),
            ("-5", None),
            ("h", None),
            ("999999999999999999 d", None),
        ] {
            assert_eq!(parse_seconds(text), expected, "{text}");
        }
        let zero = Written::Text("0".to_owned()).parse_as(Kind::Seconds, true);
        assert!(zero.is_err_and(|error| error.contains("at least 1")));
    }

    #[test]
    fn sizes_parse_with_and_without_units() {
        for (text, expected) in [
            ("7", Some(7)),
            ("512 MiB", Some(512 << 20)),
            ("2GB", Some(2_000_000_000)),
            ("1gib", Some(1 << 30)),
            ("1.5 GiB", None),
            ("-1", None),
            ("MiB", None),
            ("99999999999 TiB", None),
        ] {
            assert_eq!(parse_bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn names_are_a_list_or_separated_by_commas() {
        let text = |text: &str| Written::Text(text.to_owned());
        let list = |names: &[&str]| {
            Written::List(Some(names.iter().map(|name| (*name).to_owned()).collect()))
        };
        for (written, typed, expected) in [
            (list(&["id", "a, b"]), true, Ok(vec!["id", "a, b"])),
            (text("id"), false, Ok(vec!["id"])),
            (text("id, title"), false, Ok(vec!["id", "title"])),
            (list(&[]), true, Err("must have at least one name, is an empty list")),
            (list(&["id", ""]), true, Err("has an empty name")),
            (text(""), false, Err("has an empty name")),
            (text("id,,title"), false, Err("has an empty name")),
            (list(&["id", "b", "id"]), true, Err("has the name \"id\" twice")),
            (Written::List(None), true, Err("must hold strings only")),
            (text("id, id"), false, Err("has the name \"id\" twice")),
            (
                text("id"),
                true,
                Err("must be a list of names such as [\"id\", \"title\"], is \"id\""),
            ),
        ] {
            let expected = expected
                .map(|names| Value::Names(names.into_iter().map(str::to_owned).collect()))
                .map_err(str::to_owned);
            assert_eq!(written.parse_as(Kind::Names, typed), expected, "{written:?}");
        }
    }

    #[test]
    fn size_of_a_chunk_is_a_table_of_numbers() {
        let size = |tokens, overlap| {
            let tokens = NonZeroUsize::new(tokens).expect("a number");
            Value::Chunk(ChunkSize::new(tokens, overlap).expect("a size"))
        };
        let variable = |text: &str| Written::Text(text.to_owned());
        let table = |entries: &[(&str, i64)]| {
            Written::Numbers(entries.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect())
        };
        for (written, typed, expected) in [
            (table(&[("tokens", 256), ("overlap", 32)]), true, Some(size(256, 32))),
            (table(&[("tokens", 9)]), true, Some(size(9, 0))),
            (variable("{ tokens = 9, overlap = 8 }"), false, Some(size(9, 8))),
            (variable("{ tokens = 9, overlap = 8 }"), true, None),
            (variable("{ tokens = \"9\" }"), false, None),
            (table(&[("tokens", 9), ("overlap", 9)]), true, None),
            (table(&[("tokens", 0)]), true, None),
            (table(&[("tokens", 9), ("overlap", -1)]), true, None),
            (table(&[("overlap", 1)]), true, None),
            (table(&[("tokens", 9), ("step", 1)]), true, None),
            (Written::Integer(256), true, None),
        ] {
            assert_eq!(written.parse_as(Kind::Chunk, typed).ok(), expected, "{written:?}");
        }
        assert_eq!(size(256, 32).to_string(), "{ tokens = 256, overlap = 32 }");
    }

    #[test]
    fn separators_are_a_table_of_strings() {
        let expected = BTreeMap::from([("files".to_owned(), ";".to_owned())]);
        let variable = |text: &str| Written::Text(text.to_owned());
        for (written, typed, fits) in [
            (Written::Table(expected.clone()), true, true),
            (variable("{ files = \";\" }"), false, true),
            (variable("{ files = \";\" }"), true, false),
            (Written::Table(BTreeMap::new()), true, false),
            (variable("{}"), false, false),
            (variable("{ files = 7 }"), false, false),
            (variable("files=;"), false, false),
        ] {
            let parsed = written.parse_as(Kind::Separators, typed);
            assert_eq!(parsed.is_ok(), fits, "{written:?}: {parsed:?}");
            if let Ok(value) = parsed {
                assert_eq!(value, Value::Separators(expected.clone()));
            }
        }
    }

    #[test]
    fn names_are_shown_as_toml() {
        let names = Value::Names(vec!["id".to_owned(), "a \"b\"".to_owned()]);
        let shown: toml::Table = format!("keep = {names}").parse().expect("TOML");
        let expected: toml::Table = "keep = [\"id\", 'a \"b\"']".parse().expect("TOML");
        assert_eq!(shown, expected);
    }

    #[test]
    fn value_of_the_wrong_kind_is_described() {
        let number = |written: Written| written.parse_as(Kind::Count(1, 9), true);
        assert_eq!(
            number(Written::Integer(0)),
            Err("must be a whole number from 1 to 9, is 0".to_owned())
        );
        assert_eq!(
            number(Written::Text("5".to_owned())),
            Err("must be a whole number from 1 to 9, is \"5\"".to_owned())
        );
        let flag = Written::Text("5".to_owned());
        assert_eq!(flag.parse_as(Kind::Count(1, 9), false), Ok(Value::Number(5)));
    }
}
