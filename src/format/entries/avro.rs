//! The Avro schema of the rows, as parquet-avro writes it.

use super::change::{ColumnChange, Followed};
use super::fields;
use super::json::quote;
use crate::vectors::Element;

/// Follows `parquet.avro.schema`, or `avro.schema` of older files.
pub fn follow(value: &str, change: &ColumnChange<'_>) -> Followed {
    if !is_avro_name(change.vectors.name()) {
        return Followed::Dropped("Avro allows only ASCII letters, digits and _ in names");
    }
    let name = quote(change.vectors.name());
    let items = match change.element() {
        Some(Element::F32) => "float",
        Some(Element::I8 | Element::U8) => "int",
        Some(Element::F16) | None => return Followed::Dropped("Avro has no such numbers"),
    };
    let array = format!(r#"{{"type":"array","items":"{items}"}}"#);
    let field = if change.vectors.is_nullable() {
        format!(r#"{{"name":{name},"type":["null",{array}],"default":null}}"#)
    } else {
        format!(r#"{{"name":{name},"type":{array}}}"#)
    };
    fields::follow(value, "record", change, field)
}

fn is_avro_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(legal) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::super::change::tests::{vectors, vectors_of};
    use super::*;

    #[test]
    fn fields_follow_the_columns_and_keep_their_text() {
        let a = r#"{"name":"a","type":["null","long"],"default":null,"doc":"1.0"}"#;
        let b = r#"{"name":"b","type":{"type":"bytes","logicalType":"decimal","precision":50}}"#;
        let record = |fields: &[&str]| {
            let fields = fields.join(",");
            format!(r#"{{"type":"record","name":"r","namespace":"n.m","fields":[{fields}]}}"#)
        };
        let array = r#"{"type":"array","items":"float"}"#;
        let nullable = format!(r#"{{"name":"v","type":["null",{array}],"default":null}}"#);
        let required = format!(r#"{{"name":"b","type":{array}}}"#);
        for (name, carried, position, nullable, expected) in [
            ("v", [true, true], 2, true, record(&[a, b, &nullable])),
            ("v", [false, true], 0, true, record(&[&nullable, b])),
            ("b", [true, false], 1, false, record(&[a, &required])),
        ] {
            let field = vectors(name, None, nullable);
            let change = ColumnChange::new(&["a", "b"], &carried, &field, position);
            let followed = follow(&record(&[a, b]), &change);
            assert_eq!(followed, Followed::Replaced(expected), "{name}");
        }
    }

    #[test]
    fn bytes_are_integers_and_halves_drop_the_entry() {
        for (element, expected) in [
            (DataType::Int8, Some("int")),
            (DataType::UInt8, Some("int")),
            (DataType::Float16, None),
        ] {
            let field = vectors_of(element, "v", None, false);
            let change = ColumnChange::new(&[], &[], &field, 0);
            let record = |fields: &str| format!(r#"{{"type":"record","fields":[{fields}]}}"#);
            let followed = follow(&record(""), &change);
            match expected {
                Some(items) => {
                    let array = format!(r#"{{"type":"array","items":"{items}"}}"#);
                    let field = format!(r#"{{"name":"v","type":{array}}}"#);
                    assert_eq!(followed, Followed::Replaced(record(&field)));
                }
                None => assert!(matches!(followed, Followed::Dropped(_)), "{followed:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_record_is_dropped() {
        let field = vectors("v", None, true);
        let change = ColumnChange::new(&["a"], &[true], &field, 1);
        for value in [r#""string""#, r#"[{"type":"record","fields":[]}]"#, r#"{"type":"enum"}"#] {
            let followed = follow(value, &change);
            assert!(matches!(followed, Followed::Dropped(_)), "{value}: {followed:?}");
        }
    }

    #[test]
    fn name_that_avro_does_not_allow_drops_the_entry() {
        for (name, legal) in [
            ("v", true),
            ("_1", true),
            ("V_2", true),
            ("", false),
            ("1v", false),
            ("a-b", false),
            ("a.b", false),
            ("é", false),
        ] {
            let field = vectors(name, None, true);
            let change = ColumnChange::new(&[], &[], &field, 0);
            let followed = follow(r#"{"type":"record","fields":[]}"#, &change);
            assert_eq!(matches!(followed, Followed::Replaced(_)), legal, "{name}");
        }
    }
}
