//! Finds a column by its name, and tells what is wrong with several columns at once.

use reembed_encoder::batch::escape_id;
use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::format::schema::Schema;

/// What stands before the list of columns in the message of a missing one.
pub(super) const COLUMN_LIST: &str = "; the columns are ";

/// The root column with a name.
///
/// # Errors
/// `Input`, without the file, when there is none or there are two.
pub fn find_root(schema: &Schema<'_>, key: &str, name: &str) -> Result<usize> {
    let mut named = schema.roots.iter().enumerate().filter(|(_, root)| root.name == name);
    let refuse = |message: String| Error::new(ErrorKind::Input, message);
    match (named.next(), named.next()) {
        (Some((position, _)), None) => Ok(position),
        (Some(_), Some(_)) => Err(refuse(format!("there are two columns `{}`", escape_id(name)))
            .advice("rename one of them, so that reembed can tell which one to read")),
        (None, _) if schema.roots.is_empty() => Err(refuse("the file has no columns".to_owned())
            .advice("name another file with --input or `input.path`")),
        (None, _) => {
            let names = list_names(schema.roots.iter().map(|root| root.name.as_str()));
            let name = escape_id(name);
            let advice = match key {
                "input.title" => "name the columns of the text with --text or `text.columns`, or \
                                  set `input.title` to one of them"
                    .to_owned(),
                "input.description" => format!("set `{key}` to one of them or to \"\""),
                "text.template" => format!("name one of them in `{key}`"),
                key => format!("set `{key}` to one of them"),
            };
            Err(refuse(format!("there is no column `{name}`{COLUMN_LIST}{names}")).advice(advice))
        }
    }
}

/// Names for a message, the first ones if there are many.
pub fn list_names<'n>(names: impl Iterator<Item = &'n str>) -> String {
    const MAX_NAMES: usize = 20;
    let mut names = names.map(|name| format!("`{}`", escape_id(name)));
    let mut listed: Vec<String> = names.by_ref().take(MAX_NAMES).collect();
    listed.extend(names.next().map(|_| "…".to_owned()));
    listed.join(", ")
}

/// One error that tells all of them, so that one look at the file mends them all.
pub fn all_of(mut errors: Vec<Error>) -> Error {
    let mut told: Vec<String> = errors.iter().map(Error::to_string).collect();
    let mut seen = std::collections::HashSet::new();
    told.retain(|told| seen.insert(told.clone()));
    if told.len() == 1 {
        return errors.remove(0);
    }
    // The columns of the file are listed once, after the last one that is missing.
    let mut listed = None;
    for told in told.iter_mut().rev() {
        if let Some(at) = told.find(COLUMN_LIST) {
            let list = told[at..].to_owned();
            if listed.as_ref() == Some(&list) {
                told.truncate(at);
            }
            listed = Some(list);
        }
    }
    let mut advice: Vec<&str> = errors.iter().filter_map(Error::advice_text).collect();
    advice.dedup();
    Error::new(ErrorKind::Input, told.join("; ")).advice(advice.join("; "))
}
