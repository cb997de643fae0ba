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
    let is_whole = schema.roots.iter().any(|root| root.name == name);
    let is_outer = |root: &&Root| {
        name.strip_prefix(root.name.as_str()).is_some_and(|rest| rest.starts_with('.'))
    };
    let mut outer: Vec<&Root> = schema.roots.iter().filter(is_outer).collect();
    // The longest name first, as among the fields of a struct.
    outer.sort_by_key(|root| std::cmp::Reverse(root.name.len()));
    let Some(longest) = outer.first().filter(|_| !is_whole) else {
        let root = find_root(schema, key, name)?;
        return Ok(FieldPath { root, element: schema.roots[root].elements.start, names: vec![] });
    };
    for outer in &outer {
        let root = find_root(schema, key, &outer.name)?;
        let (start, rest) = (schema.roots[root].elements.start, &name[outer.name.len() + 1..]);
        let mut names = Vec::new();
        match descend(schema, start, rest, &mut names) {
            Descent::Found(element) => return Ok(FieldPath { root, element, names }),
            Descent::Twice => {
                let message = format!("there are two fields `{}`", escape_id(name));
                return Err(Error::new(ErrorKind::Input, message)
                    .advice("rename one of them, so that reembed can tell which one to read"));
            }
            Descent::None => {}
        }
    }
    let fields = fields_below(schema, longest.elements.start);
    let outer = escape_id(&longest.name);
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

/// What the rest of a name leads to.
enum Descent {
    Found(usize),
    /// Two fields have the name.
    Twice,
    None,
}

/// Follows the rest of a name below an element. The longest name of a child that fits is tried first.
fn descend(schema: &Schema<'_>, element: usize, rest: &str, names: &mut Vec<String>) -> Descent {
    let mut fitting: Vec<(String, usize)> = struct_of(schema, element)
        .into_iter()
        .map(|child| (schema.name(child), child))
        .filter(|(name, _)| {
            rest.strip_prefix(name.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('.'))
        })
        .collect();
    fitting.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    if fitting.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Descent::Twice;
    }
    for (name, child) in fitting {
        let below = rest.get(name.len() + 1..);
        names.push(name);
        match below.map(|below| descend(schema, child, below, names)) {
            None => return Descent::Found(child),
            Some(Descent::None) => {}
            Some(found) => return found,
        }
        names.pop();
    }
    Descent::None
}

/// The fields of a struct. The groups that make a list are passed: a group with one repeated group
/// in it, and the group of the list's items. A map has no fields.
fn struct_of(schema: &Schema<'_>, element: usize) -> Vec<usize> {
    use crate::format::schema::{element as field, repetition};
    let is_repeated = |position: usize| {
        schema.element(position).int(field::REPETITION) == Some(repetition::REPEATED)
    };
    let mut group = element;
    loop {
        if is_map(schema, group) {
            return Vec::new();
        }
        let children = schema.children(group);
        let [only] = children[..] else { return children };
        let items = schema.children(only);
        if !is_repeated(only) || items.is_empty() {
            return if is_repeated(only) { Vec::new() } else { children };
        }
        // The old form of a list has no group between the repeated one and the fields of its items.
        let name = schema.name(only);
        let is_old = name == "array" || name.ends_with("_tuple");
        match items[..] {
            [item] if !is_old => group = item,
            _ => return items,
        }
        if schema.children(group).is_empty() {
            return Vec::new();
        }
    }
}

/// Whether a group is annotated as a map.
fn is_map(schema: &Schema<'_>, group: usize) -> bool {
    use crate::format::schema::element as field;
    // `MAP` and `MAP_KEY_VALUE` of `ConvertedType`, `MAP` of `LogicalType`.
    const CONVERTED: [i64; 2] = [1, 2];
    const LOGICAL: i16 = 2;
    let fields = schema.element(group);
    fields.int(field::CONVERTED_TYPE).is_some_and(|number| CONVERTED.contains(&number))
        || fields.structure(field::LOGICAL_TYPE).is_some_and(|union| union.has(LOGICAL))
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
            structure("a.b.c", vec![text("x")]),
            structure("twice", vec![text("t"), text("t")]),
            structure("one", vec![text("only")]),
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
            ("one.only", "only", "one.only"),
            ("a.b.c.x", "x", "a.b.c.x"),
        ] {
            let found = find(name).expect(name);
            assert_eq!(found, (names.to_owned(), leaves.to_owned()), "{name}");
        }
        for (name, message) in [
            ("b", "there is no column `b`"),
            ("a.c", "there is no field `a.c`; `a` is no struct"),
            ("payload.nope", "the fields of `payload` are `title`, `deep`, `x.y`"),
            ("tags.element", "there is no field `tags.element`; `tags` is no struct"),
            ("twice.t", "there are two fields `twice.t`"),
            ("messages.nope", "the fields of `messages` are `role`, `content`"),
        ] {
            let error = find(name).expect_err(name).to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
