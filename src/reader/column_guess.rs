//! Guesses the id and text columns of an unknown table, for `reembed init`.

use arrow::datatypes::{DataType, Schema};

/// The columns that a new configuration names. A person should check them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnGuess {
    /// A flat column with the name of an id.
    pub id: Option<String>,
    /// A string column with the name of a title, else the first string column.
    pub title: Option<String>,
    /// A string column with the name of a description.
    pub description: Option<String>,
    /// A column of string lists with the name of files.
    pub files: Option<String>,
}

const IDS: [&str; 5] = ["id", "key", "uuid", "guid", "number"];
const TITLES: [&str; 7] = ["title", "name", "subject", "summary", "headline", "question", "text"];
const DESCRIPTIONS: [&str; 8] =
    ["description", "body", "content", "text", "details", "abstract", "answer", "review"];
const FILES: [&str; 2] = ["files", "paths"];

impl ColumnGuess {
    /// Whether the columns are those of a task row by their very names.
    pub fn is_task_row(&self) -> bool {
        let is = |column: &Option<String>, name| column.as_deref().is_none_or(|c| c == name);
        self.title.as_deref() == Some("title")
            && is(&self.description, "description")
            && is(&self.files, "files")
    }

    /// Guesses by names and types.
    pub fn from_schema(schema: &Schema) -> ColumnGuess {
        let columns = |fits: fn(&DataType) -> bool| {
            let fields = schema.fields().iter().filter(move |field| fits(field.data_type()));
            fields.map(|field| field.name().as_str()).collect::<Vec<_>>()
        };
        let (flat, strings, lists) = (columns(is_flat), columns(is_text), columns(is_list_of_text));
        let title = find_named(&strings, &TITLES, &[]).or_else(|| {
            let id = find_named(&flat, &IDS, &[]);
            strings.iter().find(|name| Some(**name) != id).or(strings.first()).copied()
        });
        let taken: Vec<&str> = title.into_iter().collect();
        let id = find_named(&flat, &IDS, &taken);
        let taken: Vec<&str> = title.into_iter().chain(id).collect();
        let owned = |name: Option<&str>| name.map(str::to_owned);
        ColumnGuess {
            id: owned(id),
            title: owned(title),
            description: owned(find_named(&strings, &DESCRIPTIONS, &taken)),
            files: owned(find_named(&lists, &FILES, &[])),
        }
    }
}

/// The first column whose name is one of `words`, or ends in one (`task_id`), in any letter case.
fn find_named<'a>(columns: &[&'a str], words: &[&str], taken: &[&str]) -> Option<&'a str> {
    let free = || columns.iter().copied().filter(|name| !taken.contains(name));
    let whole = |word: &str| free().find(|name| name.eq_ignore_ascii_case(word));
    let end = |word: &str| {
        free().find(|name| {
            let name = name.to_ascii_lowercase();
            name.strip_suffix(word).is_some_and(|rest| rest.ends_with(['_', '.', ' ', '-']))
        })
    };
    words.iter().find_map(|word| whole(word)).or_else(|| words.iter().find_map(|word| end(word)))
}

fn is_flat(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_flat(values),
        other => !other.is_nested() && !matches!(other, DataType::Null),
    }
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

pub(super) fn is_list_of_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_text(item.data_type())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn columns_are_guessed_by_name_and_then_by_type() {
        let text = || DataType::Utf8;
        let list = || DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        let guess = |columns: &[(&str, DataType)]| {
            let fields: Vec<Field> = columns
                .iter()
                .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
                .collect();
            let guess = ColumnGuess::from_schema(&Schema::new(fields));
            [guess.id, guess.title, guess.description, guess.files].map(Option::unwrap_or_default)
        };
        for (columns, expected) in [
            (
                &[("id", text()), ("title", text()), ("description", text()), ("files", list())][..],
                ["id", "title", "description", "files"],
            ),
            (
                &[("body", text()), ("Task_ID", DataType::Int64), ("Subject", text())],
                ["Task_ID", "Subject", "body", ""],
            ),
            (&[("stars", DataType::Int8), ("review", text())], ["", "review", "", ""]),
            (&[("review", text())], ["", "review", "", ""]),
            (&[("n", DataType::Int64)], ["", "", "", ""]),
            (&[("tags", list())], ["", "", "", ""]),
            (&[], ["", "", "", ""]),
        ] {
            assert_eq!(guess(columns), expected, "{columns:?}");
        }
    }
}
