//! Records as JSON documents, with their fields in the documented order.

use reembed_encoder::error::{Error, ErrorKind, Result};
use serde::Serialize;

/// A JSON document with a final newline. `name` names it in an error.
///
/// # Errors
/// `Internal`, when the record cannot be serialized.
pub fn to_document(record: &impl Serialize, name: &str) -> Result<String> {
    let text = serde_json::to_string_pretty(record).map_err(|cause| {
        let message = format!("cannot serialize {name}");
        Error::new(ErrorKind::Internal, message).caused_by(cause)
    })?;
    Ok(text + "\n")
}

/// The fields of a document that docs/schemas.md does not describe.
#[cfg(test)]
pub fn undocumented_fields(document: &str) -> Vec<String> {
    let schemas = include_str!("../../../docs/schemas.md");
    let document = serde_json::from_str(document).expect("JSON");
    let mut fields = Vec::new();
    collect_fields(&document, "", &mut fields);
    assert!(fields.len() > 40, "{fields:?}");
    fields.retain(|field| !schemas.contains(&format!("`{field}`")));
    fields
}

/// Collects paths such as `rows.truncated_ids` or `stages[].busy`. `lineage` follows the schema of the footer.
#[cfg(test)]
fn collect_fields(value: &serde_json::Value, path: &str, fields: &mut Vec<String>) {
    use serde_json::Value;

    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields.push(path.clone());
                if path != "lineage" {
                    collect_fields(value, &path, fields);
                }
            }
        }
        Value::Array(values) => {
            let first = values.first().into_iter();
            first.for_each(|value| collect_fields(value, &format!("{path}[]"), fields));
        }
        _ => {}
    }
}
