//! `report.json`: a [`RunRecord`] as it stands, with its fields in the order in which they are documented.

use reembed_encoder::error::{Error, ErrorKind, Result};
#[cfg(test)]
use serde_json::Value;

use super::record::RunRecord;

/// The file's content.
///
/// # Errors
/// `Internal`, when a record cannot be written as JSON; no record is known that cannot.
pub fn json(record: &RunRecord) -> Result<String> {
    let text = serde_json::to_string_pretty(record).map_err(|cause| {
        Error::new(ErrorKind::Internal, "the report cannot be written as JSON").caused_by(cause)
    })?;
    Ok(text + "\n")
}

#[cfg(test)]
/// Every field of a JSON document, as `rows.truncated_ids` or `stages[].busy`; below `lineage` the footer's
/// own format begins.
pub(crate) fn fields(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                found.push(path.clone());
                if path != "lineage" {
                    fields(value, &path, found);
                }
            }
        }
        Value::Array(values) => {
            values.first().into_iter().for_each(|value| fields(value, &format!("{path}[]"), found));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::example;
    use super::*;

    #[test]
    fn every_field_is_documented() {
        let schemas = include_str!("../../../../docs/schemas.md");
        let mut found = Vec::new();
        for record in [example::done(), example::failed()] {
            let value: Value = serde_json::from_str(&json(&record).expect("JSON")).expect("JSON");
            fields(&value, "", &mut found);
        }
        assert!(found.len() > 60, "{found:?}");
        let missing: Vec<&String> =
            found.iter().filter(|field| !schemas.contains(&format!("`{field}`"))).collect();
        assert!(missing.is_empty(), "docs/schemas.md says nothing of {missing:?}");
        assert!(schemas.contains(super::super::record::SCHEMA));
    }
}
