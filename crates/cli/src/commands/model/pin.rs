//! `reembed model pin`: the checksums of a model's files as `[model.sha256]`, so that a run refuses any other files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;
use reembed::config::RawConfig;
use reembed::{Error, ErrorKind};
use reembed_encoder::model::source::{
    DEFAULT_ENDPOINT, DEFAULT_ID, DEFAULT_REVISION, ModelFiles, Pins, SourceConfig, default_pins,
};

use crate::cli::{Logging, ModelArgs, PinArgs};
use crate::commands::model::named::{named_config, resolve};
use crate::exit::Exit;
use crate::text::printable_path;
use crate::{atomic_file, print};

const HEADER: &str = "[model.sha256]";

/// `reembed model pin`.
pub fn pin(args: &PinArgs, logging: &Logging) -> Result<Exit> {
    let files = resolve_unpinned(&args.model, logging)?;
    let pins = files.hashes();
    let Some(path) = &args.write else {
        print::result(&block(&pins))?;
        return Ok(Exit::Done);
    };
    let unreadable = |cause| {
        Error::new(ErrorKind::Config, "the configuration cannot be read")
            .in_file(path)
            .advice("name an existing file; `reembed init` writes one")
            .caused_by(cause)
    };
    let old = fs::read_to_string(path).map_err(unreadable)?;
    let new = with_pins(&old, &pins).map_err(|why| {
        Error::new(ErrorKind::Config, why)
            .in_file(path)
            .advice("remove these pins and try again, or copy what `reembed model pin` prints")
    })?;
    check(path, &new)?;
    atomic_file::write(path, &new).map_err(|cause| {
        Error::new(ErrorKind::Output, "the configuration cannot be written")
            .in_file(path)
            .advice("check the space and the permissions of the directory")
            .caused_by(cause)
    })?;
    print::result_or_warn(&format!("pinned {} files in {}\n", pins.len(), printable_path(path)));
    Ok(Exit::Done)
}

/// The files of the model that the arguments name, whatever the configuration pins: the pins are to be renewed.
fn resolve_unpinned(args: &ModelArgs, logging: &Logging) -> Result<ModelFiles> {
    let mut source = named_config(args)?.source;
    source.pins = built_in_pins(&source);
    resolve(&source, logging)
}

/// The pins of a model without any in the configuration. Those of the default model stay: without them, its package on
/// PyPI is not trusted.
fn built_in_pins(source: &SourceConfig) -> Pins {
    let id = source.id.as_deref().unwrap_or(DEFAULT_ID);
    let is_published = source.revision == DEFAULT_REVISION && source.endpoint == DEFAULT_ENDPOINT;
    match source.path.is_none() && id == DEFAULT_ID && is_published {
        true => default_pins(),
        false => Pins::new(),
    }
}

/// Refuses a text that is no configuration, before the file is touched.
fn check(path: &Path, text: &str) -> Result<()> {
    let beside = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut temporary = tempfile::NamedTempFile::new_in(beside.unwrap_or(Path::new(".")))?;
    std::io::Write::write_all(&mut temporary, text.as_bytes())?;
    RawConfig::read(temporary.path())?;
    Ok(())
}

/// The pins as a table of TOML.
fn block(pins: &BTreeMap<String, String>) -> String {
    let mut text = format!("{HEADER}\n");
    for (file, hash) in pins {
        let _ = writeln!(text, "{file:?} = \"{hash}\"");
    }
    text
}

/// A configuration with these pins: in the place of its table of pins, else at its end. Everything else keeps its bytes.
fn with_pins(text: &str, pins: &BTreeMap<String, String>) -> Result<String, &'static str> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    if let Some(first) = lines.iter().position(|line| line.trim() == HEADER) {
        let is_pin = |line: &str| line.trim_start().starts_with('"') && line.contains('=');
        let pinned = lines[first + 1..].iter().take_while(|line| is_pin(line)).count();
        let after = lines[first + 1 + pinned..].concat();
        return Ok(lines[..first].concat() + &block(pins) + &after);
    }
    let sets_pins = |line: &&str| {
        let key = line.trim_start().split('=').next().unwrap_or("").trim();
        ["sha256", "model.sha256"].contains(&key) || key.starts_with("sha256.")
    };
    if lines.iter().any(sets_pins) {
        return Err("its pins are not in a table [model.sha256]");
    }
    let gap = match text {
        "" => "",
        text if text.ends_with("\n\n") => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    Ok(format!("{text}{gap}{}", block(pins)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use reembed::Environment;

    use super::*;

    #[test]
    fn default_model_alone_keeps_pins() {
        let source = SourceConfig::with_cache(&Environment::default(), PathBuf::new());
        let named = |id: &str| SourceConfig { id: Some(id.to_owned()), ..source.clone() };
        for source in [source.clone(), named(DEFAULT_ID)] {
            assert_eq!(built_in_pins(&source), default_pins(), "{:?}", source.id);
        }
        let path = Some(PathBuf::from("models/mine"));
        for other in [
            named("org/own"),
            SourceConfig { path, ..named(DEFAULT_ID) },
            SourceConfig { revision: "v2".to_owned(), ..source.clone() },
            SourceConfig { endpoint: "https://mirror.example".to_owned(), ..source.clone() },
        ] {
            assert_eq!(built_in_pins(&other), Pins::new(), "{other:?}");
        }
    }

    #[test]
    fn pins_replace_their_table_and_nothing_else() {
        let pins = BTreeMap::from([("a/config.json".to_owned(), "12".to_owned())]);
        let table = "[model.sha256]\n\"a/config.json\" = \"12\"\n";
        for (before, after) in [
            ("", table.to_owned()),
            ("[run]\nlimit = 3", format!("[run]\nlimit = 3\n\n{table}")),
            ("[run]\n\n", format!("[run]\n\n{table}")),
            (
                "# one\n[model.sha256]\n\"old\" = \"34\"\n\"b\" = \"5\"\n\n# two\n[run]\n",
                format!("# one\n{table}\n# two\n[run]\n"),
            ),
            ("[model.sha256]\n[run]\n", format!("{table}[run]\n")),
            ("# sha256 = {}\n", format!("# sha256 = {{}}\n\n{table}")),
        ] {
            assert_eq!(with_pins(before, &pins).as_ref(), Ok(&after), "{before:?}");
        }
        for text in ["[model]\nsha256 = { a = \"1\" }\n", "model.sha256 = {}\n"] {
            assert!(with_pins(text, &pins).is_err(), "{text:?}");
        }
    }
}
