//! A JSON object with a list of named fields, as Spark and Avro describe records.

use super::change::{ColumnChange, Followed};
use super::json::{Object, parse_array, write_array};

/// Removes the fields of a record that are not carried and inserts the text `vectors`.
///
/// `kind` is the value of the member `type` that says what a record is.
pub fn follow(value: &str, kind: &str, change: &ColumnChange<'_>, vectors: String) -> Followed {
    match changed(value, kind, change, vectors) {
        Some(value) => Followed::Replaced(value),
        None => Followed::Dropped("it cannot be parsed"),
    }
}

fn changed(value: &str, kind: &str, change: &ColumnChange<'_>, vectors: String) -> Option<String> {
    let mut record = Object::parse(value)?;
    if record.string("type")? != kind {
        return None;
    }
    let fields = parse_array(record.get("fields")?)?;
    let mut names = Vec::with_capacity(fields.len());
    let mut kept = Vec::with_capacity(fields.len() + 1);
    for field in &fields {
        let name = Object::parse(field)?.string("name")?;
        if !change.removes(&name) {
            names.push(name);
            kept.push(field.clone());
        }
    }
    let index = change.insertion_index(names.iter().map(String::as_str));
    kept.insert(index, vectors.into());
    let fields = write_array(&kept);
    record.replace("fields", fields);
    Some(record.to_string())
}
