//! Finds the columns that make ids and texts, and checks their types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use reembed_encoder::batch::escape_id;
use reembed_encoder::error::{Error, ErrorKind, Result};

use super::decoder::types_of_selection;
use super::field_path;
use super::named_column::{all_of, find_root};
use crate::config::IdColumn;
use crate::format::entries::ARROW_SCHEMA;
use crate::format::metadata::Metadata;
use crate::format::projection::Selection;
use crate::format::schema::{Annotation, Leaf, Schema, element, physical};
use crate::text::{Holds, TextField, TextRecipe};

/// Where the ids and the fields of the texts lie in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRoots {
    /// The column of the ids; `None` if rows have none.
    pub id: Option<IdRoot>,
    /// The field of each text, by recipe; `None` where an optional one is absent.
    pub texts: Vec<Vec<Option<FieldRoot>>>,
}

/// The column of the ids: any flat column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRoot {
    /// The root column.
    pub root: usize,
    /// Whether the ids are text.
    pub is_text: bool,
}

/// A field of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRoot {
    /// The root column.
    pub root: usize,
    /// Its only leaf.
    pub leaf: usize,
    /// The fields of structs that lead to it from the root column.
    pub names: Vec<String>,
}

impl TextRoots {
    /// Finds the columns of the ids and of the texts by name, and checks their types.
    ///
    /// # Errors
    /// `Input`, without the file, naming every column that is missing, there twice, encrypted or of
    /// another type.
    pub fn find(
        metadata: &Metadata<'_>,
        id: &IdColumn,
        recipes: &[&TextRecipe],
    ) -> Result<TextRoots> {
        let mut faults = Vec::new();
        let id = find_id(metadata, id).unwrap_or_else(|error| {
            faults.push(error);
            None
        });
        let mut find = |field: &TextField| {
            find_field(metadata, field).unwrap_or_else(|error| {
                faults.push(error);
                None
            })
        };
        let texts =
            recipes.iter().map(|recipe| recipe.fields().iter().map(&mut find).collect()).collect();
        match faults.is_empty() {
            true => Ok(TextRoots { id, texts }),
            false => Err(all_of(faults)),
        }
    }

    /// The columns to decode: the leaves of all fields.
    pub fn selection(&self, schema: &Schema<'_>) -> Selection {
        let id = self.id.iter().flat_map(|id| schema.roots[id.root].leaves.clone());
        let fields = self.texts.iter().flatten().flatten().map(|field| field.leaf);
        Selection::of_leaves(schema, id.chain(fields))
    }
}

/// The column of the ids; `None` if rows have none.
fn find_id(metadata: &Metadata<'_>, id: &IdColumn) -> Result<Option<IdRoot>> {
    let schema = &metadata.schema;
    let name = match id {
        IdColumn::None => return Ok(None),
        IdColumn::IfPresent(name) if !schema.roots.iter().any(|root| root.name == *name) => {
            return Ok(None);
        }
        IdColumn::IfPresent(name) | IdColumn::Required(name) => name,
    };
    let root = find_root(schema, "input.id", name)?;
    let leaves = schema.roots[root].leaves.clone();
    let at = |error: Error| error.at(format!("column `{}`", escape_id(name)));
    check_not_encrypted(metadata, leaves.clone()).map_err(at)?;
    let found = type_of(metadata, &Selection::of_roots(schema, &[root]));
    let leaves = &schema.leaves[leaves];
    if !found.as_ref().is_ok_and(|found| is_id(found, metadata, leaves)) {
        let message = format!(
            "its type is {}; the column must hold a flat type such as strings or integers",
            shown_type(found, metadata, leaves)
        );
        return Err(at(Error::new(ErrorKind::Input, message).advice(
            "name another column in `input.id`, or set it to \"\" to name rows by their numbers",
        )));
    }
    let is_text = leaves.iter().all(|leaf| is_text_or_null(leaf.annotation));
    Ok(Some(IdRoot { root, is_text }))
}

/// The field of a text; `None` if it is optional and absent.
fn find_field(metadata: &Metadata<'_>, field: &TextField) -> Result<Option<FieldRoot>> {
    let schema = &metadata.schema;
    let is_there = || schema.roots.iter().any(|root| root.name == field.name);
    if !field.required && !is_there() {
        return Ok(None);
    }
    let path = field_path::find(schema, field.key, &field.name)?;
    let at = |error: Error| error.at(format!("column `{}`", escape_id(&field.name)));
    let root = &schema.roots[path.root];
    let leaves = schema.leaves_below(root, path.element);
    check_not_encrypted(metadata, leaves.clone()).map_err(at)?;
    let selection = Selection::of_leaves(schema, leaves.clone());
    let found = type_of(metadata, &selection).map(|root| inner_type(&root, &path.names));
    let fields = field_path::fields_below(schema, path.element);
    let is_int96 = |leaf: usize| {
        let element = schema.element(schema.leaves[leaf].element);
        element.int(element::TYPE) == Some(physical::INT96)
    };
    // The decoder gives INT96 in nanoseconds, which end in the year 2262.
    let fits = leaves.len() == 1
        && fields.is_empty()
        && !is_int96(leaves.start)
        && found.as_ref().is_ok_and(|found| {
            is_field(found.as_ref(), schema.leaves[leaves.start].annotation, field)
        });
    if fits {
        let (root, leaf) = (path.root, leaves.start);
        return Ok(Some(FieldRoot { root, leaf, names: path.names }));
    }
    let described = match &found {
        _ if leaves.clone().any(is_int96) => "INT96".to_owned(),
        Ok(None) => "unknown".to_owned(),
        Ok(Some(_)) if !fields.is_empty() => {
            format!("a struct with the fields {}", fields.join(", "))
        }
        _ => {
            let found = found.map(|found| found.unwrap_or(DataType::Null));
            shown_type(found, metadata, &schema.leaves[leaves])
        }
    };
    let wanted = wanted_values(field);
    let advice = match field.separator {
        _ if described.starts_with("Binary") => {
            "write the column as UTF-8 strings; its bytes are not annotated as strings".to_owned()
        }
        _ if described == "INT96" => "write the column as timestamps of microseconds".to_owned(),
        _ if described.starts_with("a struct") => {
            format!("name one of its fields, such as `{}.NAME`", escape_id(&field.name))
        }
        None if field.holds == Holds::Texts && described == "Utf8" => format!(
            "name another column, or split its strings: `text.split = {{ {} = \";\" }}`",
            escape_id(&field.name)
        ),
        _ => "name another column in the configuration, or convert this column".to_owned(),
    };
    let message = format!("its type is {described}; the column must hold {wanted}");
    Err(at(Error::new(ErrorKind::Input, message).advice(advice)))
}

/// What a column must hold, for messages.
pub fn wanted_values(field: &TextField) -> &'static str {
    match (&field.separator, field.holds) {
        (Some(_), _) | (None, Holds::Text) => "strings",
        (None, Holds::Texts) => "lists of strings",
        (None, Holds::Plain) => "strings, numbers, booleans, dates, times or lists of them",
    }
}

/// The Arrow type of the only root column of a selection.
fn type_of(metadata: &Metadata<'_>, selection: &Selection) -> Result<DataType> {
    let schema = types_of_selection(metadata, selection)?;
    let field = schema.fields().first();
    field.map(|field| field.data_type().clone()).ok_or_else(|| {
        Error::new(ErrorKind::Input, "the column has no values")
            .advice("name another column in the configuration")
    })
}

/// The type of a field inside a type; lists on the way are kept around it.
fn inner_type(data_type: &DataType, names: &[String]) -> Option<DataType> {
    match (data_type, names) {
        (data_type, []) => Some(data_type.clone()),
        (DataType::Struct(fields), [name, names @ ..]) => {
            let field = fields.iter().find(|field| field.name() == name)?;
            inner_type(field.data_type(), names)
        }
        (
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _),
            names,
        ) => {
            let inner = inner_type(item.data_type(), names)?;
            Some(DataType::List(Arc::new(Field::new(item.name(), inner, true))))
        }
        _ => None,
    }
}

/// Whether a field can be part of a text. `annotation` is that of its only leaf.
fn is_field(data_type: Option<&DataType>, annotation: Annotation, field: &TextField) -> bool {
    let holds = match annotation {
        Annotation::Text(_) => Values::Text,
        Annotation::Null => Values::Null,
        _ => Values::Other,
    };
    can_be_text(data_type, holds, field)
}

/// What the innermost values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Strings.
    Text,
    /// Nulls alone.
    Null,
    /// Values of the type.
    Other,
}

/// Whether values of this type, in lists or not, can be part of a text as `field` wants them.
pub fn can_be_text(data_type: Option<&DataType>, holds: Values, field: &TextField) -> bool {
    let mut lists = 0;
    let mut data_type = data_type;
    while let Some(
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _),
    ) = data_type
    {
        (data_type, lists) = (Some(item.data_type()), lists + 1);
    }
    let Some(value) = data_type.filter(|data_type| !data_type.is_nested()) else { return false };
    let is_text = holds != Values::Other;
    // A column without a value fits every use.
    let is_null = holds == Values::Null || *value == DataType::Null;
    match (&field.separator, field.holds) {
        (Some(_), _) | (None, Holds::Text) => lists == 0 && is_text,
        (None, Holds::Texts) => (lists == 1 || is_null) && is_text,
        (None, Holds::Plain) => is_text || is_plain(value),
    }
}

/// Numbers, booleans, dates and times, which have a plain form as text.
fn is_plain(data_type: &DataType) -> bool {
    let is_time = matches!(
        data_type,
        DataType::Date32
            | DataType::Date64
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(..)
    );
    data_type.is_numeric() || is_time || *data_type == DataType::Boolean
}

/// The type of a column for a message.
fn shown_type(found: Result<DataType>, metadata: &Metadata<'_>, leaves: &[Leaf]) -> String {
    match found {
        Ok(data_type) if !is_annotated_otherwise(leaves) => data_type.to_string(),
        _ => describe(&metadata.schema, leaves),
    }
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

/// Checks the columns of the ids and of the texts.
///
/// # Errors
/// `Input`, without the file, naming every column that is missing, there twice, encrypted or of
/// another type.
pub fn check_text_columns(
    metadata: &Metadata<'_>,
    id: &IdColumn,
    recipes: &[&TextRecipe],
) -> Result<()> {
    TextRoots::find(metadata, id, recipes).map(drop)
}
