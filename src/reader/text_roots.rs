//! Finds the root columns that make ids and texts, and checks their types.

use arrow::datatypes::DataType;
use reembed_encoder::batch::escape_id;
use reembed_encoder::error::{Error, ErrorKind, Result};

use super::decoder::types_of;
use crate::config::ColumnNames;
use crate::format::entries::ARROW_SCHEMA;
use crate::format::metadata::Metadata;
use crate::format::schema::{Annotation, Leaf, Root, Schema, element, physical};

/// What stands before the list of columns in the message of a missing one.
const COLUMN_LIST: &str = "; the columns are ";

/// The positions of the id and text columns among the root columns of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRoots {
    /// Any flat column.
    pub id: usize,
    /// Whether the ids are text.
    pub id_is_text: bool,
    /// Strings.
    pub title: usize,
    /// Strings.
    pub description: Option<usize>,
    /// Lists of strings.
    pub files: Option<usize>,
}

impl TextRoots {
    /// Finds the columns by name and checks their types.
    ///
    /// # Errors
    /// `Input`, without the file, naming every column that is missing, there twice, encrypted or of
    /// another type.
    pub fn find(metadata: &Metadata<'_>, names: &ColumnNames) -> Result<TextRoots> {
        let mut faults = Vec::new();
        let mut find = |key: &str, name: &str, wanted: Wanted| {
            let found = find_root(&metadata.schema, key, name)
                .and_then(|root| check_type(metadata, root, wanted).map(|()| root));
            found.map_err(|error| faults.push(error)).ok()
        };
        let id = find("input.id", &names.id, Wanted::Id);
        let title = find("input.title", &names.title, Wanted::Text);
        let description =
            names.description.as_deref().map(|name| find("input.description", name, Wanted::Text));
        let is_there = |name: &str| metadata.schema.roots.iter().any(|root| root.name == name);
        let files = names.files.as_deref().filter(|name| names.files_required || is_there(name));
        let files = files.map(|name| find("input.files", name, Wanted::Lists));
        match (id, title) {
            (Some(id), Some(title)) if faults.is_empty() => {
                let (description, files) = (description.flatten(), files.flatten());
                let leaves = metadata.schema.roots[id].leaves.clone();
                let is_text = |leaf: &Leaf| matches!(leaf.annotation, Annotation::Text(_));
                let id_is_text = metadata.schema.leaves[leaves].iter().all(is_text);
                Ok(TextRoots { id, id_is_text, title, description, files })
            }
            _ => Err(all_of(faults)),
        }
    }

    /// All of them, in the order of the file, each once.
    pub fn sorted(&self) -> Vec<usize> {
        let mut roots: Vec<usize> = [Some(self.id), Some(self.title), self.description, self.files]
            .into_iter()
            .flatten()
            .collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    /// Those of the text, in the order of the text.
    pub fn of_text(&self) -> impl Iterator<Item = usize> {
        [Some(self.title), self.description, self.files].into_iter().flatten()
    }
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
            const MAX_NAMES: usize = 20;
            let named = |root: &Root| format!("`{}`", escape_id(&root.name));
            let mut names: Vec<String> = schema.roots.iter().take(MAX_NAMES).map(named).collect();
            if schema.roots.len() > MAX_NAMES {
                names.push("…".to_owned());
            }
            let optional = if key == "input.description" { " or to \"\"" } else { "" };
            let (name, names) = (escape_id(name), names.join(", "));
            Err(refuse(format!("there is no column `{name}`{COLUMN_LIST}{names}"))
                .advice(format!("set `{key}` to one of them{optional}")))
        }
    }
}

/// What a column must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Id,
    Text,
    Lists,
}

fn check_type(metadata: &Metadata<'_>, position: usize, wanted: Wanted) -> Result<()> {
    let root = &metadata.schema.roots[position];
    let leaves = &metadata.schema.leaves[root.leaves.clone()];
    let at = |error: Error| error.at(format!("column `{}`", escape_id(&root.name)));
    check_not_encrypted(metadata, root.leaves.clone()).map_err(at)?;
    let found = types_of(metadata, &[position])
        .map(|schema| schema.fields().first().map(|field| field.data_type().clone()));
    let fits = match (&found, wanted) {
        (Ok(Some(data_type)), Wanted::Id) => is_id(data_type, metadata, leaves),
        (Ok(Some(data_type)), Wanted::Text) => {
            let is_flat = !data_type.is_nested();
            is_flat && leaves.iter().all(|leaf| is_text_or_null(leaf.annotation))
        }
        (Ok(Some(data_type)), Wanted::Lists) => match data_type {
            DataType::Null => true,
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                let is_flat = !item.data_type().is_nested();
                is_flat && leaves.iter().all(|leaf| is_text_or_null(leaf.annotation))
            }
            _ => false,
        },
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let described = match found {
        Ok(Some(data_type)) if !is_annotated_otherwise(leaves) => data_type.to_string(),
        _ => describe(&metadata.schema, leaves),
    };
    let (wanted, advice) = match wanted {
        Wanted::Id => (
            "a flat type such as strings or integers",
            "name another column in the configuration, or convert this column",
        ),
        Wanted::Text if described.starts_with("Binary") => {
            ("strings", "write the column as UTF-8 strings; its bytes are not annotated as strings")
        }
        Wanted::Text => {
            ("strings", "name another column in the configuration, or convert this column")
        }
        Wanted::Lists => {
            ("lists of strings", "name another column in the configuration, or convert this column")
        }
    };
    let message = format!("its type is {described}; the column must hold {wanted}");
    Err(at(Error::new(ErrorKind::Input, message).advice(advice)))
}

/// Checks that no chunk of these leaves is encrypted.
///
/// # Errors
/// `Input`, without a place.
pub fn check_not_encrypted(metadata: &Metadata<'_>, leaves: std::ops::Range<usize>) -> Result<()> {
    if !metadata.is_encrypted() {
        return Ok(());
    }
    for number in 0..metadata.group_count() {
        let group = metadata.group(number)?;
        let is_encrypted =
            |leaf: usize| group.chunk(leaf).is_some_and(|chunk| chunk.is_encrypted());
        if leaves.clone().any(is_encrypted) {
            return Err(Error::new(ErrorKind::Input, "the column is encrypted").advice(
                "leave it out with `output.drop` if it is no text column, or decrypt the file with \
                 the tool that wrote it",
            ));
        }
    }
    Ok(())
}

/// Any flat type has ids. A column without a value has none for a row.
fn is_id(data_type: &DataType, metadata: &Metadata<'_>, leaves: &[Leaf]) -> bool {
    match data_type {
        DataType::Null => metadata.rows() == 0,
        data_type => !data_type.is_nested() && !is_undescribed_number(metadata, leaves),
    }
}

/// Whether the values are 16 bytes that only their writer knows the meaning of: Polars stores
/// integers of 128 bits so, and its Arrow schema alone says it.
fn is_undescribed_number(metadata: &Metadata<'_>, leaves: &[Leaf]) -> bool {
    const BYTES: i64 = 16;
    let has_arrow_schema = metadata.key_value(ARROW_SCHEMA).is_some();
    has_arrow_schema
        && leaves.iter().any(|leaf| {
            let fields = metadata.schema.element(leaf.element);
            leaf.annotation == Annotation::None
                && fields.int(element::TYPE) == Some(physical::FIXED_LEN_BYTE_ARRAY)
                && fields.int(element::TYPE_LENGTH) == Some(BYTES)
        })
}

fn is_text_or_null(annotation: Annotation) -> bool {
    matches!(annotation, Annotation::Text(_) | Annotation::Null)
}

/// Whether a leaf has an annotation that the decoder's type may not show.
fn is_annotated_otherwise(leaves: &[Leaf]) -> bool {
    const SHOWN: [&str; 7] = ["DECIMAL", "DATE", "TIME", "TIMESTAMP", "INTEGER", "FLOAT16", "LIST"];
    leaves.iter().any(|leaf| match leaf.annotation {
        Annotation::Other(name) => !SHOWN.contains(&name),
        _ => false,
    })
}

/// The types of leaves in the words of the format.
fn describe(schema: &Schema<'_>, leaves: &[Leaf]) -> String {
    const PHYSICAL: [&str; 8] = [
        "BOOLEAN",
        "INT32",
        "INT64",
        "INT96",
        "FLOAT",
        "DOUBLE",
        "BYTE_ARRAY",
        "FIXED_LEN_BYTE_ARRAY",
    ];
    let Some(leaf) = leaves.first() else { return "a group without columns".to_owned() };
    let number = schema.element(leaf.element).int(element::TYPE).unwrap_or(-1);
    let physical = usize::try_from(number).ok().and_then(|at| PHYSICAL.get(at)).copied();
    let physical = physical.unwrap_or("an unknown type");
    match leaf.annotation {
        Annotation::Other(name) => format!("{name} ({physical})"),
        Annotation::Null => "NULL".to_owned(),
        Annotation::Text(_) | Annotation::None => physical.to_owned(),
    }
}

/// Checks the columns that make ids and texts.
///
/// # Errors
/// `Input`, without the file, naming every column that is missing, there twice, encrypted or of
/// another type.
pub fn check_text_columns(metadata: &Metadata<'_>, names: &ColumnNames) -> Result<()> {
    TextRoots::find(metadata, names).map(drop)
}
