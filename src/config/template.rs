//! Generates the commented `pipeline.toml` from the table of settings.

use super::blocks;
use super::settings::{DefaultValue, Kind, SETTINGS, Setting};
use super::values::quoted;

/// Maximum width of a comment line, in characters.
const WIDTH: usize = 100;

const HEAD: &str = "\
# The configuration of `reembed run`. A commented-out key shows its default, or an example if it has none.
# Precedence: command line flag, environment variable (REEMBED_BATCH_START for batch.start), this file, default.
# Relative paths start at the directory of this file. `reembed run --print-config` shows the values in force.
";

/// A `pipeline.toml` with the help and default of every setting.
///
/// `set` has full keys with their values in TOML; all other keys are commented out. `notes` are further
/// comments at the head of the file.
pub fn template(set: &[(&str, toml::Value)], notes: &[&str]) -> String {
    let mut text = HEAD.to_owned();
    notes.iter().for_each(|note| push_comment(&mut text, note));
    let mut table = "";
    for setting in SETTINGS {
        if setting.table() != table {
            table = setting.table();
            text.push_str(&format!("\n[{table}]\n"));
        } else {
            text.push('\n');
        }
        push_comment(&mut text, &describe(setting));
        let set = set.iter().find(|(key, _)| *key == setting.key);
        let line = match (set, setting.default) {
            (Some((_, value)), _) => {
                format!("{} = {value}\n", setting.name())
            }
            (None, DefaultValue::Value(value)) => format!("# {} = {value}\n", setting.name()),
            (None, DefaultValue::None { example }) => format!("# {} = {example}\n", setting.name()),
        };
        text.push_str(&line);
    }
    text.push('\n');
    push_comment(&mut text, blocks::HELP);
    text.push_str(BLOCKS);
    text
}

/// Two blocks as an example. Keys are indented, so that they are not taken for those of the table before.
const BLOCKS: &str = "\
# [[embedding]]
#   column = \"title_vector\"
#   text.columns = [\"title\"]
# [[embedding]]
#   column = \"body_vector\"
#   text.columns = [\"body\"]
#   model.path = \"models/mine\"
#   vector.type = \"int8\"
#   vector.ranges = \"ranges.json\"
";

/// The help of a setting, and the values that it accepts.
fn describe(setting: &Setting) -> String {
    let values = match setting.kind {
        Kind::Word(words) => format!(" One of {}.", quoted(words)),
        Kind::WordOrAuto(words) => format!(" One of {}.", quoted(&[&["auto"], words].concat())),
        Kind::Bytes(_) | Kind::BytesOrAuto(_) => {
            " A number of bytes or a size such as \"2 GiB\".".to_owned()
        }
        Kind::Names => " A list of names.".to_owned(),
        Kind::Seconds => " A number of seconds or a time such as \"90m\".".to_owned(),
        _ => String::new(),
    };
    format!("{}{values}", setting.help)
}

/// Appends a comment, wrapped at [`WIDTH`].
fn push_comment(text: &mut String, comment: &str) {
    let mut width = 0;
    for word in comment.split(' ') {
        if width > 0 && width + 1 + word.chars().count() > WIDTH {
            text.push('\n');
            width = 0;
        }
        if width == 0 {
            text.push('#');
            width = 1;
        }
        text.push(' ');
        text.push_str(word);
        width += 1 + word.chars().count();
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::RawConfig;

    #[test]
    fn template_names_every_setting_once() {
        let text = template(&[], &[]);
        for setting in SETTINGS {
            let name = format!("# {} = ", setting.name());
            let in_table = text.split("\n[").filter(|part| part.starts_with(setting.table()));
            let lines = in_table.flat_map(str::lines).filter(|line| line.starts_with(&name));
            assert_eq!(lines.count(), 1, "{}", setting.key);
        }
        assert!(text.lines().all(|line| line.chars().count() <= 120), "a line is too long");
    }

    #[test]
    fn template_parses_with_every_line_uncommented() {
        let is_key = |line: &str| {
            SETTINGS.iter().any(|setting| line.starts_with(&format!("{} = ", setting.name())))
        };
        let text: String = template(&[], &[])
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let text = text.replace("64 hexadecimal digits", &"0".repeat(64));
        let raw = RawConfig::parse(&text, Path::new("pipeline.toml")).expect("valid examples");
        for setting in SETTINGS {
            assert!(raw.is_set(setting.key), "{}", setting.key);
        }
    }

    #[test]
    fn repository_file_equals_the_template() {
        let set = [("input.path", "data/tasks.parquet"), ("output.path", "out/tasks.parquet")]
            .map(|(key, path)| (key, toml::Value::from(path)));
        crate::config::assert_generated("pipeline.toml", &template(&set, &[]));
    }
}
