//! Spark's schema of the rows.

use super::change::{ColumnChange, Followed};
use super::fields;
use super::json::quote;
use crate::vectors::Element;

/// Follows `org.apache.spark.sql.parquet.row.metadata`.
pub fn follow(value: &str, change: &ColumnChange<'_>) -> Followed {
    let element = match change.element() {
        Some(Element::F32) => "float",
        Some(Element::I8) => "byte",
        // Spark has no unsigned numbers, and takes the next wider ones.
        Some(Element::U8) => "short",
        Some(Element::F16) | None => return Followed::Dropped("Spark has no such numbers"),
    };
    let field = format!(
        concat!(
            r#"{{"name":{},"type":{{"type":"array","elementType":"{}","containsNull":false}},"#,
            r#""nullable":{},"metadata":{{}}}}"#,
        ),
        quote(change.vectors.name()),
        element,
        change.vectors.is_nullable(),
    );
    fields::follow(value, "struct", change, field)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::super::change::tests::{vectors, vectors_of};
    use super::*;

    #[test]
    fn fields_follow_the_columns_and_keep_their_text() {
        const V: &str = r#""type":{"type":"array","elementType":"float","containsNull":false}"#;
        let a = r#"{"name":"a","type":"decimal(38,0)","nullable":true,"metadata":{"big": 1e999 }}"#;
        let b = r#"{"metadata":{},"name":"b\u0062","type":{"type":"udt"},"nullable":false}"#;
        let record = |fields: &[&str]| {
            format!(r#"{{"type":"struct","fields":[{}],"x":1}}"#, fields.join(","))
        };
        let new = |name: &str, nullable: bool| {
            format!(r#"{{"name":{name},{V},"nullable":{nullable},"metadata":{{}}}}"#)
        };
        for (name, carried, position, nullable, expected) in [
            ("v", [true, true], 2, true, record(&[a, b, &new(r#""v""#, true)])),
            ("bb", [true, false], 1, false, record(&[a, &new(r#""bb""#, false)])),
            ("a", [false, true], 0, true, record(&[&new(r#""a""#, true), b])),
            ("A", [true, true], 1, true, record(&[a, &new(r#""A""#, true), b])),
            ("\"", [false, false], 0, true, record(&[&new(r#""\"""#, true)])),
        ] {
            let field = vectors(name, Some(3), nullable);
            let change = ColumnChange::new(&["a", "bb"], &carried, &field, position);
            let followed = follow(&record(&[a, b]), &change);
            assert_eq!(followed, Followed::Replaced(expected), "{name}");
        }
    }

    #[test]
    fn elements_have_the_types_as_which_spark_reads_them() {
        for (element, expected) in [
            (DataType::Int8, Some("byte")),
            (DataType::UInt8, Some("short")),
            (DataType::Float16, None),
        ] {
            let field = vectors_of(element, "v", Some(3), true);
            let change = ColumnChange::new(&["a"], &[true], &field, 1);
            match (follow(r#"{"type":"struct","fields":[]}"#, &change), expected) {
                (Followed::Replaced(value), Some(expected)) => {
                    assert!(value.contains(&format!(r#""elementType":"{expected}""#)), "{value}");
                }
                (followed, expected) => {
                    assert!(matches!(followed, Followed::Dropped(_)), "{followed:?}");
                    assert_eq!(expected, None);
                }
            }
        }
    }

    #[test]
    fn what_is_no_struct_is_dropped() {
        let field = vectors("v", None, true);
        let change = ColumnChange::new(&["a"], &[true], &field, 1);
        for value in [
            r#"{"type":"record","fields":[]}"#,
            r#"{"type":{"type":"struct"},"fields":[]}"#,
            r#"{"type":"struct"}"#,
            r#"{"type":"struct","fields":{}}"#,
            r#"{"type":"struct","fields":[1]}"#,
            r#"{"type":"struct","fields":[{"name":1}]}"#,
            r#"{"type":"struct","fields":[{"name":"\ud800"}]}"#,
        ] {
            let followed = follow(value, &change);
            assert!(matches!(followed, Followed::Dropped(_)), "{value}: {followed:?}");
        }
    }
}
