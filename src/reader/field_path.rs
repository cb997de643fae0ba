//! Finds the column or the nested field that a name such as `payload.title` means.

use reembed_encoder::batch::escape_id;
use reembed_encoder::error::{Error, ErrorKind, Result};

use super::named_column::find_root;
use crate::format::schema::{Root, Schema};

/// Where a field lies in a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath {
    /// The root column.
    pub root: usize,
    /// The element of the field.
    pub element: usize,
    /// The names of the structs' fields that lead to it from the root column. Lists on the way have
    /// none.
    pub names: Vec<String>,
}

/// Finds the field with a name. A column of that very name comes first; else a dot leads into a
/// struct, or into the structs of a list.
///
/// # Errors
/// `Input`, without the file, when there is no such column or field, or the column is there twice.
/// `key` is the setting that names it.
pub fn find(schema: &Schema<'_>, key: &str, name: &str) -> Result<FieldPath> {
    let named = |root: &&Root| {
        name.strip_prefix(root.name.as_str()).is_some_and(|rest| rest.starts_with('.'))
    };
    let is_whole = schema.roots.iter().any(|root| root.name == name);
    let outer = schema.roots.iter().filter(named).max_by_key(|root| root.name.len());
    let Some(outer) = outer.filter(|_| !is_whole) else {
        let root = find_root(schema, key, name)?;
        return Ok(FieldPath { root, element: schema.roots[root].elements.start, names: vec![] });
    };
    let root = find_root(schema, key, &outer.name)?;
    let start = schema.roots[root].elements.start;
    let mut names = Vec::new();
    match descend(schema, start, &name[outer.name.len() + 1..], &mut names) {
        Some(element) => Ok(FieldPath { root, element, names }),
        None => {
            let fields = fields_below(schema, start);
            let outer = escape_id(&outer.name);
            let message = match fields.is_empty() {
                true => format!("there is no field `{}`; `{outer}` is no struct", escape_id(name)),
                false => format!(
                    "there is no field `{}`; the fields of `{outer}` are {}",
                    escape_id(name),
                    fields.join(", ")
                ),
            };
            Err(Error::new(ErrorKind::Input, message)
                .advice(format!("set `{key}` to one of the table's columns or fields")))
        }
    }
}

/// The names of the fields of a struct or of the structs of a list, from the root column down.
pub fn fields_below(schema: &Schema<'_>, element: usize) -> Vec<String> {
    const MAX_FIELDS: usize = 20;
    let mut names: Vec<String> = struct_of(schema, element)
        .iter()
        .take(MAX_FIELDS)
        .map(|child| format!("`{}`", escape_id(&schema.name(*child))))
        .collect();
    if struct_of(schema, element).len() > MAX_FIELDS {
        names.push("…".to_owned());
    }
    names
}

/// Follows the rest of a name below an element. The longest name of a child that fits is taken.
fn descend(
    schema: &Schema<'_>,
    element: usize,
    rest: &str,
    names: &mut Vec<String>,
) -> Option<usize> {
    let mut fitting: Vec<(String, usize)> = struct_of(schema, element)
        .into_iter()
        .map(|child| (schema.name(child), child))
        .filter(|(name, _)| {
            rest.strip_prefix(name.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('.'))
        })
        .collect();
    fitting.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, child) in fitting {
        let below = rest.get(name.len() + 1..);
        names.push(name);
        match below {
            None => return Some(child),
            Some(below) => {
                if let Some(found) = descend(schema, child, below, names) {
                    return Some(found);
                }
            }
        }
        names.pop();
    }
    None
}

/// The fields of a struct. The groups that make a list are passed: a group with one repeated group
/// in it, and the group of the list's items.
fn struct_of(schema: &Schema<'_>, element: usize) -> Vec<usize> {
    use crate::format::schema::{element as field, repetition};
    let is_repeated = |position: usize| {
        schema.element(position).int(field::REPETITION) == Some(repetition::REPEATED)
    };
    let mut children = schema.children(element);
    while let [only] = children[..] {
        // The old form of a list has no group between the repeated one and the fields.
        let inner = schema.children(only);
        let is_list = is_repeated(only) && !inner.is_empty();
        if !is_list {
            break;
        }
        children = match inner[..] {
            [item] if !schema.children(item).is_empty() => schema.children(item),
            _ => inner,
        };
    }
    children
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::format::metadata::FooterBytes;

    fn text(name: &str) -> Field {
        Field::new(name, DataType::Utf8, true)
    }

    fn structure(name: &str, fields: Vec<Field>) -> Field {
        Field::new(name, DataType::Struct(Fields::from(fields)), true)
    }

    fn list(name: &str, item: DataType) -> Field {
        Field::new(name, DataType::List(Arc::new(Field::new("element", item, true))), true)
    }

    #[test]
    fn dots_lead_into_structs_and_lists_unless_a_column_has_the_whole_name() {
        let pair = || vec![text("role"), text("content")];
        let schema = ArrowSchema::new(vec![
            text("a"),
            text("a.b"),
            structure("payload", vec![text("title"), structure("deep", pair()), text("x.y")]),
            structure("payload.title", vec![text("z")]),
            list("messages", DataType::Struct(Fields::from(pair()))),
            list("tags", DataType::Utf8),
            list(
                "nested",
                DataType::List(Arc::new(Field::new(
                    "element",
                    DataType::Struct(Fields::from(pair())),
                    true,
                ))),
            ),
        ]);
        let mut file = Vec::new();
        let writer = ArrowWriter::try_new(&mut file, Arc::new(schema), None).expect("a writer");
        writer.close().expect("a file");
        let end = file.len() - 8;
        let length = u32::from_le_bytes(file[end..end + 4].try_into().expect("four bytes"));
        let start = end - length as usize;
        let footer = FooterBytes::new(file[start..end].to_vec(), start as u64);
        let metadata = footer.parse().expect("metadata");
        let find = |name: &str| {
            let found = find(&metadata.schema, "text.columns", name);
            found.map(|path| {
                let root = &metadata.schema.roots[path.root];
                let leaves = metadata.schema.leaves_below(root, path.element);
                let paths = metadata.schema.leaves[leaves].iter().map(|leaf| leaf.path.clone());
                (path.names.join("/"), paths.collect::<Vec<_>>().join(" "))
            })
        };
        for (name, names, leaves) in [
            ("a", "", "a"),
            ("a.b", "", "a.b"),
            ("payload.deep.role", "deep/role", "payload.deep.role"),
            ("payload.x.y", "x.y", "payload.x.y"),
            ("payload.title", "", "payload.title.z"),
            ("payload.title.z", "z", "payload.title.z"),
            ("messages.content", "content", "messages.list.element.content"),
            ("nested.content", "content", "nested.list.element.list.element.content"),
            ("tags", "", "tags.list.element"),
        ] {
            let found = find(name).expect(name);
            assert_eq!(found, (names.to_owned(), leaves.to_owned()), "{name}");
        }
        for (name, message) in [
            ("b", "there is no column `b`"),
            ("a.c", "there is no field `a.c`; `a` is no struct"),
            ("payload.nope", "the fields of `payload` are `title`, `deep`, `x.y`"),
            ("messages.nope", "the fields of `messages` are `role`, `content`"),
        ] {
            let error = find(name).expect_err(name).to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
