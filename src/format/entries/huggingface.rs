//! The features that the `datasets` library of Hugging Face gives to columns.

use arrow::datatypes::DataType;

use super::change::{ColumnChange, Followed};
use super::json::Object;
use crate::vectors::Element;

/// Follows `huggingface`.
pub fn follow(value: &str, change: &ColumnChange<'_>) -> Followed {
    changed(value, change).unwrap_or(Followed::Dropped("it cannot be parsed"))
}

fn changed(value: &str, change: &ColumnChange<'_>) -> Option<Followed> {
    let mut entry = Object::parse(value)?;
    // `datasets` takes it for a hash of the rows and reuses what it computed from them.
    entry.members.retain(|(name, _)| name != "fingerprint");
    let info = entry.get("info").unwrap_or("{}").to_owned();
    let mut info = Object::parse(&info)?;
    let text = info.get("features").unwrap_or("null").to_owned();
    if text != "null" {
        let mut features = Object::parse(&text)?;
        features.members.retain(|(name, _)| !change.removes(name));
        let names = features.members.iter().map(|(name, _)| name.as_str());
        let index = change.insertion_index(names);
        let feature = (change.vectors.name().to_owned(), feature(change, &text)?.into());
        features.members.insert(index, feature);
        info.replace("features", features.to_string());
        entry.replace("info", info.to_string());
    }
    Some(Followed::Replaced(entry.to_string()))
}

/// The feature that `datasets` infers from the Arrow type of the vectors.
///
/// Before version 4 it is called `Sequence`, and `List` is an error. Later versions read both, so
/// an entry that says `Sequence` in other features gets another one.
fn feature(change: &ColumnChange<'_>, others: &str) -> Option<String> {
    let before_4 = others.contains(r#""Sequence""#) && !others.contains(r#""List""#);
    let kind = if before_4 { "Sequence" } else { "List" };
    let length = match change.vectors.data_type() {
        DataType::FixedSizeList(_, width) => format!(r#""length":{width},"#),
        _ => String::new(),
    };
    let dtype = match change.element()? {
        Element::F32 => "float32",
        Element::F16 => "float16",
        Element::I8 => "int8",
        Element::U8 => "uint8",
    };
    Some(format!(r#"{{"feature":{{"dtype":"{dtype}","_type":"Value"}},{length}"_type":"{kind}"}}"#))
}

#[cfg(test)]
mod tests {
    use super::super::change::tests::{vectors, vectors_of};
    use super::*;

    fn entry(features: &[&str]) -> String {
        let features = features.join(",");
        format!(r#"{{"info":{{"features":{{{features}}},"size":1e30}},"x":1e30}}"#)
    }

    #[test]
    fn features_follow_the_columns() {
        let b = r#""b":{"names": ["x"],"_type":"ClassLabel"}"#;
        let a = r#""a":{"dtype":"string","_type":"Value"}"#;
        let fixed = r#"{"feature":{"dtype":"float32","_type":"Value"},"length":3,"_type":"List"}"#;
        let list = fixed.replace(r#""length":3,"#, "");
        for (name, width, carried, position, expected) in [
            (
                "v",
                Some(3),
                [true, true],
                2,
                vec![b.to_owned(), a.into(), format!(r#""v":{fixed}"#)],
            ),
            ("b", None, [false, true], 0, vec![format!(r#""b":{list}"#), a.into()]),
            ("v", None, [true, true], 1, vec![b.to_owned(), format!(r#""v":{list}"#), a.into()]),
            ("v", None, [false, false], 0, vec![format!(r#""v":{list}"#)]),
        ] {
            let field = vectors(name, width, true);
            let change = ColumnChange::new(&["b", "a"], &carried, &field, position);
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            let followed = follow(&entry(&[b, a]), &change);
            assert_eq!(followed, Followed::Replaced(entry(&expected)), "{name}");
        }
    }

    #[test]
    fn entry_of_an_older_version_gets_a_feature_that_it_reads() {
        let old = r#""a":{"feature":{"dtype":"string","_type":"Value"},"_type":"Sequence"}"#;
        let both = r#""c":{"feature":{"dtype":"string","_type":"Value"},"_type":"List"}"#;
        let field = vectors("v", None, true);
        let change = ColumnChange::new(&["a"], &[true], &field, 1);
        for (features, kind) in [(&[old][..], "Sequence"), (&[old, both], "List"), (&[], "List")] {
            let Followed::Replaced(new) = follow(&entry(features), &change) else {
                panic!("dropped")
            };
            let json: serde_json::Value = serde_json::from_str(&new).expect("JSON");
            assert_eq!(json["info"]["features"]["v"]["_type"], kind, "{features:?}");
        }
    }

    #[test]
    fn feature_has_the_type_of_the_elements() {
        for (element, dtype) in
            [(DataType::Float16, "float16"), (DataType::Int8, "int8"), (DataType::UInt8, "uint8")]
        {
            let field = vectors_of(element, "v", Some(3), true);
            let change = ColumnChange::new(&["a"], &[true], &field, 1);
            let Followed::Replaced(new) = follow(&entry(&[]), &change) else { panic!("dropped") };
            let json: serde_json::Value = serde_json::from_str(&new).expect("JSON");
            assert_eq!(json["info"]["features"]["v"]["feature"]["dtype"], dtype);
        }
    }

    #[test]
    fn fingerprint_of_the_old_rows_goes() {
        let field = vectors("v", None, true);
        let change = ColumnChange::new(&["a"], &[true], &field, 1);
        for (value, expected) in [
            (r#"{"fingerprint":"f","x":1}"#, r#"{"x":1}"#),
            (r#"{"info":{"features":null},"fingerprint":"f"}"#, r#"{"info":{"features":null}}"#),
        ] {
            let followed = follow(value, &change);
            assert_eq!(followed, Followed::Replaced(expected.to_owned()));
        }
    }

    #[test]
    fn features_that_are_no_object_drop_the_entry() {
        let field = vectors("v", None, true);
        let change = ColumnChange::new(&["a"], &[true], &field, 1);
        for value in [r#"{"info":null}"#, r#"{"info":{"features":[]}}"#, r#"{"info":"a"}"#] {
            let followed = follow(value, &change);
            assert!(matches!(followed, Followed::Dropped(_)), "{value}: {followed:?}");
        }
    }
}
