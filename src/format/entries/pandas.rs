//! What pandas knows of the columns: which are indexes, and their types.

use std::borrow::Cow;

use super::change::{ColumnChange, Followed};
use super::json::{Object, parse_array, quote, write_array};
use crate::vectors::Element;

/// Follows `pandas`.
pub fn follow(value: &str, change: &ColumnChange<'_>) -> Followed {
    match changed(value, change) {
        Some(value) => Followed::Replaced(value),
        None => Followed::Dropped("it cannot be parsed"),
    }
}

fn changed(value: &str, change: &ColumnChange<'_>) -> Option<String> {
    let mut entry = Object::parse(value)?;
    let mut names = Vec::new();
    let mut columns = Vec::new();
    let text = entry.get("columns")?.to_owned();
    for column in parse_array(&text)? {
        let name = column_name(&Object::parse(&column)?);
        if !name.as_deref().is_some_and(|name| change.removes(name)) {
            names.push(name.unwrap_or_default());
            columns.push(column);
        }
    }
    let index = change.insertion_index(names.iter().map(String::as_str));
    let name = quote(change.vectors.name());
    let element = match change.element()? {
        Element::F32 => "float32",
        Element::F16 => "float16",
        Element::I8 => "int8",
        Element::U8 => "uint8",
    };
    let column = format!(
        concat!(
            r#"{{"name":{0},"field_name":{0},"pandas_type":"list[{1}]","#,
            r#""numpy_type":"object","metadata":null}}"#,
        ),
        name, element,
    );
    columns.insert(index, column.into());
    entry.replace("columns", write_array(&columns));
    if let Some(indexes) = entry.get("index_columns") {
        // An index that no column stores is an object and stays.
        let removed = |index: &Cow<'_, str>| {
            serde_json::from_str::<String>(index).is_ok_and(|name| change.removes(&name))
        };
        let mut indexes = parse_array(indexes)?;
        indexes.retain(|index| !removed(index));
        let indexes = write_array(&indexes);
        entry.replace("index_columns", indexes);
    }
    if let Some(labels) = entry.get("column_indexes")
        && !are_text(labels)?
    {
        // pyarrow converts the name of every column to the type of the labels, such as int64, and
        // fails for that of the vectors. Without a type, labels are text.
        entry.replace("column_indexes", "[]".to_owned());
    }
    Some(entry.to_string())
}

/// The name of a column in the file. Entries of pandas before 0.22 have only the first of both.
fn column_name(column: &Object<'_>) -> Option<String> {
    column.string("field_name").or_else(|| column.string("name"))
}

/// Whether the labels of the columns can be any text.
fn are_text(labels: &str) -> Option<bool> {
    let levels = parse_array(labels)?;
    let [level] = &levels[..] else { return Some(levels.is_empty()) };
    let kind = Object::parse(level)?.string("pandas_type");
    Some(kind.is_some_and(|kind| ["unicode", "string", "bytes"].contains(&kind.as_str())))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use serde_json::{Value, json};

    use super::super::change::tests::{vectors, vectors_of};
    use super::*;

    fn column(name: Value, field_name: &str) -> Value {
        json!({"name": name, "field_name": field_name, "pandas_type": "int64", "metadata": null})
    }

    fn vector_column(name: &str) -> Value {
        json!({
            "name": name,
            "field_name": name,
            "pandas_type": "list[float32]",
            "numpy_type": "object",
            "metadata": null,
        })
    }

    fn followed(entry: &Value, columns: &[&str], carried: &[bool], v: &str, at: usize) -> Value {
        let field = vectors(v, Some(2), true);
        let change = ColumnChange::new(columns, carried, &field, at);
        match follow(&entry.to_string(), &change) {
            Followed::Replaced(value) => serde_json::from_str(&value).expect("JSON"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn columns_and_indexes_follow() {
        let range = json!({"kind": "range", "name": null, "start": 0, "stop": 6, "step": 1});
        let (a, b) = (column("a".into(), "a"), column("b".into(), "b"));
        let level = column(Value::Null, "__index_level_0__");
        let entry = |columns: &[&Value], indexes: &[&Value]| {
            json!({
                "index_columns": indexes,
                "columns": columns,
                "attributes": {},
                "column_indexes": [{"name": null, "pandas_type": "unicode"}],
                "pandas_version": "3.1.1",
            })
        };
        let stored = json!("__index_level_0__");
        let before = entry(&[&a, &b, &level], &[&stored, &range]);
        let columns = ["a", "b", "__index_level_0__"];
        let vector = vector_column("v");
        for (v, carried, at, expected) in [
            ("v", [true, true, true], 3, entry(&[&a, &b, &level, &vector], &[&stored, &range])),
            ("v", [true, true, true], 2, entry(&[&a, &b, &vector, &level], &[&stored, &range])),
            ("v", [false, true, false], 1, entry(&[&b, &vector], &[&range])),
            (
                "a",
                [false, true, true],
                0,
                entry(&[&vector_column("a"), &b, &level], &[&stored, &range]),
            ),
        ] {
            assert_eq!(followed(&before, &columns, &carried, v, at), expected, "{v} at {at}");
        }
    }

    #[test]
    fn column_has_the_type_of_the_elements() {
        for (element, expected) in [
            (DataType::Float16, "list[float16]"),
            (DataType::Int8, "list[int8]"),
            (DataType::UInt8, "list[uint8]"),
        ] {
            let field = vectors_of(element, "v", Some(2), true);
            let change = ColumnChange::new(&[], &[], &field, 0);
            let Followed::Replaced(value) = follow(r#"{"columns":[]}"#, &change) else {
                panic!("dropped")
            };
            let entry: Value = serde_json::from_str(&value).expect("JSON");
            assert_eq!(entry["columns"][0]["pandas_type"], expected);
        }
    }

    #[test]
    fn entry_of_an_old_version_follows() {
        let old = json!({"columns": [{"name": "a"}, {"name": null}], "pandas_version": "0.20.3"});
        assert_eq!(
            followed(&old, &["a"], &[false], "v", 0),
            json!({"columns": [{"name": null}, vector_column("v")], "pandas_version": "0.20.3"})
        );
    }

    #[test]
    fn type_of_labels_that_the_vectors_do_not_fit_goes() {
        let unicode = json!([{"name": "n", "pandas_type": "unicode"}]);
        let bytes = json!([{"pandas_type": "bytes"}]);
        for (labels, kept) in [
            (json!([]), true),
            (unicode, true),
            (bytes, true),
            (json!([{"pandas_type": "int64"}]), false),
            (json!([{"pandas_type": "datetime64[us]"}]), false),
            (json!([{"pandas_type": "unicode"}, {"pandas_type": "int64"}]), false),
            (json!([{}]), false),
        ] {
            let entry = json!({"columns": [], "column_indexes": labels});
            let after = followed(&entry, &[], &[], "v", 0);
            let expected = if kept { labels } else { json!([]) };
            assert_eq!(after["column_indexes"], expected);
        }
    }
}
