//! An Arrow schema for an output whose input has none, so that Arrow readers see the vectors as a
//! fixed-size list. Parquet itself has no such type.
//!
//! It must not change how any reader sees a carried column. So it is made only if every one has a type
//! that all Arrow readers find in the same way without a schema; otherwise they see a plain list.

use arrow::datatypes::{DataType, FieldRef, Schema};
use parquet::arrow::encode_arrow_schema;

use crate::format::metadata::Metadata;
use crate::format::output::{Columns, Slot};
use crate::format::schema::{Annotation, Root, Text, element, physical, repetition};
use crate::reader::types_of;

/// The value of the footer entry `ARROW:schema`; `None` if the output gets none.
pub fn arrow_schema(
    metadata: &Metadata<'_>,
    columns: &Columns,
    vectors: &[FieldRef],
) -> Option<String> {
    if !vectors.iter().any(|field| matches!(field.data_type(), DataType::FixedSizeList(..))) {
        return None;
    }
    let roots = &metadata.schema.roots;
    let carried: Vec<usize> = (0..roots.len()).filter(|root| columns.carried[*root]).collect();
    if !carried.iter().all(|root| is_plain(metadata, &roots[*root])) {
        return None;
    }
    let types = types_of(metadata, &carried).ok()?;
    let mut of_carried = types.fields().iter();
    let field = |slot: Slot| match slot {
        Slot::Carried(_) => of_carried.next().cloned(),
        Slot::Vectors(number) => vectors.get(number).cloned(),
    };
    let fields: Option<Vec<FieldRef>> = columns.slots().into_iter().map(field).collect();
    Some(encode_arrow_schema(&Schema::new(fields?)))
}

/// Whether a column is a leaf, or a list in the standard layout, of a type that readers agree about.
fn is_plain(metadata: &Metadata<'_>, root: &Root) -> bool {
    let schema = &metadata.schema;
    let repetition =
        |position: usize| schema.element(position).int(element::REPETITION).unwrap_or(-1);
    let first = root.elements.start;
    let [leaf] = &schema.leaves[root.leaves.clone()] else { return false };
    let is_standard = match root.elements.len() {
        1 => repetition(first) != repetition::REPEATED,
        3 => {
            let is_list = Annotation::read(&schema.element(first)) == Annotation::Other("LIST");
            is_list
                && repetition(first) != repetition::REPEATED
                && repetition(first + 1) == repetition::REPEATED
                && schema.element(first + 1).bytes(element::NAME) == Some(b"list")
                && repetition(first + 2) != repetition::REPEATED
        }
        _ => false,
    };
    let number = schema.element(leaf.element).int(element::TYPE).unwrap_or(-1);
    let is_agreed = match leaf.annotation {
        Annotation::None => ![physical::INT96, physical::FIXED_LEN_BYTE_ARRAY].contains(&number),
        Annotation::Text(text) => text == Text::String,
        Annotation::Other(name) => ["INTEGER", "DATE", "TIMESTAMP", "DECIMAL"].contains(&name),
        Annotation::Null => false,
    };
    is_standard && is_agreed
}
