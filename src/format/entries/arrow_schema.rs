//! The Arrow schema of the columns, as base64 of an encapsulated IPC message.
//!
//! Arrow libraries write types that arrow-rs does not know, so the fields of carried columns are
//! not decoded. The new message is a short front with new tables, the old message byte for byte,
//! and the field of the vectors as arrow-rs encodes it. References of a flatbuffer only lead
//! forward: those of the front lead into the other two parts.

use std::collections::{HashMap, HashSet};

use arrow::datatypes::{Field, Metadata, Schema};
use arrow::ipc::convert::IpcSchemaEncoder;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::change::{ColumnChange, Followed};
use super::flatbuffer::{Malformed, Table};
use super::splice::{Part, Splice};

/// The largest entry in bytes. Real ones take about 150 bytes for each column.
const MAX_BYTES: usize = 256 << 20;

/// The first bytes of an encapsulated message. Before Arrow 0.15 it began with the length.
const CONTINUATION: [u8; 4] = [0xff; 4];

const MALFORMED: &str = "it is no encapsulated Arrow schema";
const TOO_LARGE: &str = "it is too large";
const NEWER_FORM: &str = "its form is newer than this version of reembed";
const OTHER_COLUMNS: &str = "its fields are not the columns of the file";

/// Numbers of the fields of `Message`.
mod message {
    pub const VERSION: usize = 0;
    pub const HEADER_TYPE: usize = 1;
    pub const HEADER: usize = 2;
    pub const BODY_LENGTH: usize = 3;
    pub const CUSTOM_METADATA: usize = 4;
    pub const END: usize = 5;
}

/// Numbers of the fields of `Schema`.
mod schema {
    pub const ENDIANNESS: usize = 0;
    pub const FIELDS: usize = 1;
    pub const CUSTOM_METADATA: usize = 2;
    pub const FEATURES: usize = 3;
    pub const END: usize = 4;
}

/// Numbers of the fields of `Field`.
mod field {
    pub const NAME: usize = 0;
    pub const NULLABLE: usize = 1;
    pub const TYPE_TYPE: usize = 2;
    pub const TYPE: usize = 3;
    pub const DICTIONARY: usize = 4;
    pub const CHILDREN: usize = 5;
    pub const CUSTOM_METADATA: usize = 6;
    pub const END: usize = 7;
}

/// Numbers of the fields of `KeyValue`.
mod key_value {
    pub const KEY: usize = 0;
    pub const VALUE: usize = 1;
}

/// Values of the fields that say which table follows.
mod kind {
    pub const SCHEMA: u8 = 1;
    pub const INTEGER: u8 = 2;
    pub const FLOATING_POINT: u8 = 3;
    pub const LIST: u8 = 12;
    pub const FIXED_SIZE_LIST: u8 = 16;
}

/// An entry of the metadata in the schema, as the output has it.
enum Entry {
    /// The position of the old table.
    Kept(usize),
    /// Its key and new value.
    Rewritten(String, String),
}

/// Follows `ARROW:schema`. `follow_metadata` follows the key-value entries inside the schema.
pub fn follow(
    value: &str,
    change: &ColumnChange<'_>,
    follow_metadata: impl Fn(&str, &str) -> Followed,
) -> Followed {
    if value.len() > MAX_BYTES {
        return Followed::Dropped(TOO_LARGE);
    }
    let Ok(bytes) = BASE64_STANDARD.decode(value) else { return Followed::Dropped(MALFORMED) };
    match changed(&bytes, change, follow_metadata) {
        Ok(Some(bytes)) => Followed::Replaced(BASE64_STANDARD.encode(bytes)),
        Ok(None) => Followed::Unchanged,
        Err(reason) => Followed::Dropped(reason),
    }
}

/// The new encapsulated message; `None` if nothing changes.
fn changed(
    bytes: &[u8],
    change: &ColumnChange<'_>,
    follow_metadata: impl Fn(&str, &str) -> Followed,
) -> Result<Option<Vec<u8>>, &'static str> {
    let old = flatbuffer(bytes)?;
    let message = Table::root(old)?;
    if message.scalar(message::HEADER_TYPE)? != Some([kind::SCHEMA]) {
        return Err(MALFORMED);
    }
    let schema = message.table(message::HEADER)?.ok_or(MALFORMED)?;
    if message.has_fields_from(message::END) || schema.has_fields_from(schema::END) {
        return Err(NEWER_FORM);
    }
    let old_fields = schema.tables(schema::FIELDS)?.unwrap_or_default();
    check_names(&old_fields, change)?;
    let old_entries = schema.tables(schema::CUSTOM_METADATA)?.unwrap_or_default();
    let entries = followed_entries(&old_entries, old.len(), follow_metadata)?;

    let added = encode(change.vectors, &entries);
    let added_schema = Table::root(&added)?;
    let added_fields = added_schema.tables(schema::FIELDS)?.unwrap_or_default();
    let added_field = added_fields.first().ok_or(MALFORMED)?;
    let same_entries = entries.len() == old_entries.len()
        && entries.iter().all(|entry| matches!(entry, Entry::Kept(_)));
    if same_entries && has_same_vectors(&old_fields, added_field, change)? {
        return Ok(None);
    }

    let kept = old_fields.iter().zip(change.carried).filter(|(_, carried)| **carried);
    let mut fields: Vec<Part> = kept.map(|(field, _)| Part::Old(field.position())).collect();
    let position = change.position.min(fields.len());
    fields.insert(position, Part::Added(added_field.position()));
    // Arrow encodes the entries in the order of their keys.
    let rewritten = added_schema.tables(schema::CUSTOM_METADATA)?.unwrap_or_default();
    let rewritten: HashMap<_, _> = rewritten
        .iter()
        .map(|entry| Ok((entry.string(key_value::KEY)?, entry.position())))
        .collect::<Result<_, Malformed>>()?;
    let part = |entry: &Entry| match entry {
        Entry::Kept(position) => Some(Part::Old(*position)),
        Entry::Rewritten(key, _) => rewritten.get(&Some(key.as_bytes())).copied().map(Part::Added),
    };
    let spliced = Splice {
        old,
        added: &added,
        version: message.scalar(message::VERSION)?,
        body_length: message.scalar(message::BODY_LENGTH)?,
        message_metadata: message.target(message::CUSTOM_METADATA)?,
        endianness: schema.scalar(schema::ENDIANNESS)?,
        features: schema.target(schema::FEATURES)?,
        fields,
        metadata: entries.iter().filter_map(part).collect(),
    }
    .write()
    .ok_or(TOO_LARGE)?;
    Ok(Some(encapsulate(&spliced).ok_or(TOO_LARGE)?))
}

/// The flatbuffer of an encapsulated message.
fn flatbuffer(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let bytes = bytes.strip_prefix(&CONTINUATION).unwrap_or(bytes);
    let (length, bytes) = bytes.split_first_chunk().ok_or(MALFORMED)?;
    let length = usize::try_from(i32::from_le_bytes(*length)).map_err(|_| MALFORMED)?;
    bytes.get(..length).ok_or(MALFORMED)
}

fn encapsulate(flatbuffer: &[u8]) -> Option<Vec<u8>> {
    let length = i32::try_from(flatbuffer.len()).ok()?;
    Some([&CONTINUATION, &length.to_le_bytes(), flatbuffer].concat())
}

/// Checks that the fields are the columns of the input.
fn check_names(fields: &[Table<'_>], change: &ColumnChange<'_>) -> Result<(), &'static str> {
    if fields.len() != change.columns.len() || fields.len() != change.carried.len() {
        return Err(OTHER_COLUMNS);
    }
    for (field, column) in fields.iter().zip(change.columns) {
        if field.string(field::NAME)?.unwrap_or_default() != column.as_bytes() {
            return Err(OTHER_COLUMNS);
        }
    }
    Ok(())
}

/// The metadata entries of the output. `size` is that of the buffer in bytes.
fn followed_entries(
    entries: &[Table<'_>],
    size: usize,
    follow: impl Fn(&str, &str) -> Followed,
) -> Result<Vec<Entry>, &'static str> {
    let mut followed = Vec::with_capacity(entries.len());
    let mut rewritten = HashSet::new();
    let mut total = 0;
    for entry in entries {
        let key = entry.string(key_value::KEY)?.unwrap_or_default();
        let value = entry.string(key_value::VALUE)?.unwrap_or_default();
        // A forged buffer could refer to one long string many times.
        total += key.len() + value.len();
        if total > size {
            return Err(MALFORMED);
        }
        let (Ok(key), Ok(value)) = (str::from_utf8(key), str::from_utf8(value)) else {
            followed.push(Entry::Kept(entry.position()));
            continue;
        };
        match follow(key, value) {
            Followed::Unchanged => followed.push(Entry::Kept(entry.position())),
            // Readers disagree about which of two entries with one key counts: the output has one.
            Followed::Replaced(value) if rewritten.insert(key) => {
                followed.push(Entry::Rewritten(key.to_owned(), value));
            }
            Followed::Replaced(_) | Followed::Dropped(_) => (),
        }
    }
    Ok(followed)
}

/// The flatbuffer of a schema with the field of the vectors and the rewritten entries.
fn encode(vectors: &Field, entries: &[Entry]) -> Vec<u8> {
    let rewritten = entries.iter().filter_map(|entry| match entry {
        Entry::Kept(_) => None,
        Entry::Rewritten(key, value) => Some((key, value)),
    });
    let schema = Schema::new_with_metadata(vec![vectors.clone()], Metadata::from_iter(rewritten));
    IpcSchemaEncoder::new().schema_to_fb(&schema).finished_data().to_vec()
}

/// Whether the vectors replace a column that has their position, name and type, and every other
/// column is carried. Without this check, an entry would grow with every run on its own output.
fn has_same_vectors(
    fields: &[Table<'_>],
    vectors: &Table<'_>,
    change: &ColumnChange<'_>,
) -> Result<bool, Malformed> {
    let columns = change.carried.iter().zip(fields).enumerate();
    let mut replaced = columns.filter(|(_, (carried, _))| !**carried);
    match (replaced.next(), replaced.next()) {
        (Some((position, (_, field))), None) if position == change.position => {
            is_same_field(field, vectors)
        }
        _ => Ok(false),
    }
}

/// Whether a field is `other`, which is a list of numbers or the child of one.
fn is_same_field(field: &Table<'_>, other: &Table<'_>) -> Result<bool, Malformed> {
    let byte = |table: &Table<'_>, number| Ok(table.scalar::<1>(number)?.unwrap_or_default());
    let no_metadata = |table: &Table<'_>| -> Result<bool, Malformed> {
        Ok(table.tables(field::CUSTOM_METADATA)?.is_none_or(|entries| entries.is_empty()))
    };
    let kind = byte(field, field::TYPE_TYPE)?;
    let same = field.string(field::NAME)? == other.string(field::NAME)?
        && byte(field, field::NULLABLE)? == byte(other, field::NULLABLE)?
        && kind == byte(other, field::TYPE_TYPE)?
        && field.target(field::DICTIONARY)?.is_none()
        && no_metadata(field)?
        && no_metadata(other)?
        && !field.has_fields_from(field::END);
    let types = (field.table(field::TYPE)?, other.table(field::TYPE)?);
    let (true, (Some(of_field), Some(of_other))) = (same, types) else { return Ok(false) };
    let same_type = match kind {
        [kind::LIST] => true,
        // The width, and the precision.
        [kind::FIXED_SIZE_LIST] => of_field.scalar::<4>(0)? == of_other.scalar::<4>(0)?,
        [kind::FLOATING_POINT] => of_field.scalar::<2>(0)? == of_other.scalar::<2>(0)?,
        // The bits, and whether there is a sign.
        [kind::INTEGER] => {
            of_field.scalar::<4>(0)? == of_other.scalar::<4>(0)?
                && of_field.scalar::<1>(1)? == of_other.scalar::<1>(1)?
        }
        _ => false,
    };
    let children = field.tables(field::CHILDREN)?.unwrap_or_default();
    let other_children = other.tables(field::CHILDREN)?.unwrap_or_default();
    if !same_type || children.len() != other_children.len() {
        return Ok(false);
    }
    for (child, other) in children.iter().zip(&other_children) {
        if !is_same_field(child, other)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl From<Malformed> for &'static str {
    fn from(_: Malformed) -> Self {
        MALFORMED
    }
}

#[cfg(test)]
mod tests;
