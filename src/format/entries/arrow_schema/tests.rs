//! Tests of the Arrow schema.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, TimeUnit, UnionMode};
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::super::change::tests::vectors;
use super::*;

fn message(schema: &Schema) -> Vec<u8> {
    let options = IpcWriteOptions::default();
    let mut tracker = DictionaryTracker::new(true);
    let encoded = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
        schema,
        &mut tracker,
        &options,
    );
    encapsulate(&encoded.ipc_message).expect("a message")
}

fn decode(message: &[u8]) -> Schema {
    try_schema_from_ipc_buffer(message).expect("a schema")
}

/// The change that carries some of a schema's columns, with other metadata kept.
fn follow_schema(
    bytes: &[u8],
    columns: &[&str],
    carried: &[bool],
    vectors: &Field,
    position: usize,
) -> Result<Option<Vec<u8>>, &'static str> {
    changed(bytes, &ColumnChange::new(columns, carried, vectors, position), |_, _| {
        Followed::Unchanged
    })
}

fn leaf() -> impl Strategy<Value = DataType> {
    prop_oneof![
        prop::sample::select(vec![
            DataType::Null,
            DataType::Boolean,
            DataType::Int64,
            DataType::UInt8,
            DataType::Float16,
            DataType::Utf8View,
            DataType::LargeBinary,
            DataType::Date64,
            DataType::Timestamp(TimeUnit::Millisecond, Some("Europe/Berlin".into())),
            DataType::Decimal256(50, -3),
            DataType::FixedSizeBinary(0),
        ]),
        Just(DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::LargeUtf8))),
    ]
}

fn field_of(data_type: BoxedStrategy<DataType>) -> impl Strategy<Value = Field> {
    let metadata = btree_map("[a-zé:]{0,9}", ".{0,9}", 0..3);
    (".{0,5}", data_type, any::<(bool, bool)>(), metadata).prop_map(
        |(name, data_type, (nullable, ordered), mut metadata)| {
            if ordered {
                metadata.insert("ARROW:extension:name".to_owned(), "arrow.opaque".to_owned());
            }
            let field = Field::new(name, data_type, nullable).with_dict_is_ordered(ordered);
            field.with_metadata(metadata)
        },
    )
}

fn field() -> impl Strategy<Value = Field> {
    let nested = leaf().boxed().prop_recursive(3, 12, 3, |inner| {
        let field = field_of(inner).prop_map(Arc::new).boxed();
        let pair =
            [Field::new("keys", DataType::Utf8, false), Field::new("v", DataType::Null, true)];
        let entries = Field::new("entries", DataType::Struct(pair.to_vec().into()), false);
        prop_oneof![
            field.clone().prop_map(DataType::List),
            field.clone().prop_map(DataType::LargeListView),
            field.clone().prop_map(|field| DataType::FixedSizeList(field, 0)),
            vec(field.clone(), 0..3).prop_map(|fields| DataType::Struct(fields.into())),
            field.prop_map(|field: FieldRef| {
                let fields = std::iter::once((5, field)).collect();
                DataType::Union(fields, UnionMode::Dense)
            }),
            Just(DataType::Map(Arc::new(entries), true)),
        ]
    });
    field_of(nested.boxed())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn decoded_schema_is_the_expected_one(
        columns in vec((field(), any::<bool>()), 0..6),
        metadata in btree_map("[abp]{0,3}", ".{0,20}", 0..3),
        width in prop::option::of(0..9i32),
        nullable in any::<bool>(),
        position in 0..7usize,
    ) {
        let (fields, carried): (Vec<Field>, Vec<bool>) = columns.into_iter().unzip();
        let schema = Schema::new_with_metadata(fields.clone(), metadata.clone());
        let old = message(&schema);
        prop_assert_eq!(&decode(&old), &schema);
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let field = vectors("v", width, nullable);
        let change = ColumnChange::new(&names, &carried, &field, position);
        // Of the metadata, `a` is dropped and what begins with `b` is rewritten.
        let new = changed(&old, &change, |key, value| match key {
            "a" => Followed::Dropped(""),
            key if key.starts_with('b') => Followed::Replaced(value.repeat(3)),
            _ => Followed::Unchanged,
        });

        let new = new.expect("no reason").expect("a change");
        let expected_metadata: Metadata = metadata
            .iter()
            .filter(|(key, _)| *key != "a")
            .map(|(key, value)| {
                (key.clone(), if key.starts_with('b') { value.repeat(3) } else { value.clone() })
            })
            .collect();
        let kept = fields.into_iter().zip(&carried).filter(|(_, carried)| **carried);
        let mut expected: Vec<Field> = kept.map(|(field, _)| field).collect();
        expected.insert(position.min(expected.len()), field.clone());
        let expected = Schema::new_with_metadata(expected, expected_metadata);
        prop_assert_eq!(&decode(&new), &expected);

        // A run on the output, with the same vectors, changes nothing.
        let names: Vec<&str> =
            expected.fields().iter().map(|field| field.name().as_str()).collect();
        let position = position.min(names.len() - 1);
        let carried: Vec<bool> = (0..names.len()).map(|at| at != position).collect();
        prop_assert_eq!(follow_schema(&new, &names, &carried, &field, position), Ok(None));
    }

    #[test]
    fn damaged_message_never_panics(
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = message(&example());
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let field = vectors("b", Some(2), true);
        let change = ColumnChange::new(&["a", "b"], &[true, false], &field, 1);
        for bytes in [&bytes, &bytes[..length.index(bytes.len())]] {
            let _ = changed(bytes, &change, |_, _| Followed::Unchanged);
            let _ = changed(bytes, &change, |_, value| Followed::Replaced(value.to_owned()));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200)) {
        let field = vectors("v", Some(2), true);
        let _ = follow_schema(&bytes, &[], &[], &field, 0);
    }
}

/// A schema of two columns, the second of which is one of vectors.
fn example() -> Schema {
    let a = Field::new("a", DataType::Date64, true);
    let fields = vec![a, vectors("b", Some(2), true)];
    Schema::new_with_metadata(fields, Metadata::from([("key", "value")]))
}

#[test]
fn field_of_an_unknown_type_keeps_its_bytes() {
    let schema = Schema::new(vec![
        Field::new("a", DataType::Date64, true),
        Field::new("b", DataType::Utf8, true),
    ]);
    let mut old = message(&schema);
    let types = |bytes: &[u8]| -> Vec<(usize, u8)> {
        let buffer = flatbuffer(bytes).expect("a buffer");
        let message = Table::root(buffer).expect("a message");
        let schema = message.table(message::HEADER).expect("a table").expect("a schema");
        let fields = schema.tables(schema::FIELDS).expect("tables").expect("fields");
        let kind = |field: &Table<'_>| field.scalar::<1>(field::TYPE_TYPE).expect("a byte");
        fields.iter().map(|field| (field.position(), kind(field).expect("set")[0])).collect()
    };
    // The type stands in the table, after the reference to the vtable.
    let (position, date) = types(&old)[0];
    let table = &mut old[8 + position + 4..];
    let at = table.iter().position(|byte| *byte == date).expect("the type");
    table[at] = 99;
    assert_eq!(types(&old)[0].1, 99);
    assert!(try_schema_from_ipc_buffer(&old).is_err());

    let field = vectors("v", None, true);
    let new = follow_schema(&old, &["a", "b"], &[true, true], &field, 1);
    let new = new.expect("no reason").expect("a change");
    let kinds: Vec<u8> = types(&new).iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [99, kind::LIST, 5]);
    let old = flatbuffer(&old).expect("a buffer");
    let found = new.windows(old.len()).position(|window| window == old).expect("the bytes");
    assert_eq!((found - 8) % 16, 0);
}

#[test]
fn message_of_the_old_framing_is_read() {
    let bytes = message(&example());
    let field = vectors("v", None, true);
    let follow = |bytes: &[u8]| {
        follow_schema(bytes, &["a", "b"], &[true, true], &field, 2).expect("no reason")
    };
    assert_eq!(follow(&bytes[4..]), follow(&bytes));
    assert!(follow(&bytes).is_some_and(|new| new.starts_with(&CONTINUATION)));
}

#[test]
fn message_with_other_columns_is_dropped() {
    let bytes = message(&example());
    let field = vectors("v", None, true);
    for columns in [&["a"][..], &["b", "a"], &["a", "B"], &["a", "b", "c"], &[]] {
        let carried = vec![true; columns.len()];
        let followed = follow_schema(&bytes, columns, &carried, &field, 0);
        assert_eq!(followed, Err(OTHER_COLUMNS), "{columns:?}");
    }
    let followed = follow_schema(&bytes, &["a", "b"], &[true], &field, 0);
    assert_eq!(followed, Err(OTHER_COLUMNS));
}

#[test]
fn same_vectors_leave_the_entry_unchanged() {
    let bytes = message(&example());
    let child = |name: &str, nullable| Arc::new(Field::new(name, DataType::Float32, nullable));
    let list = |child| Field::new("b", DataType::FixedSizeList(child, 2), true);
    let same = vectors("b", Some(2), true);
    for (what, carried, field, position, unchanged) in [
        ("same", [true, false], same.clone(), 1, true),
        ("position", [true, false], same.clone(), 0, false),
        ("other column", [false, true], same.clone(), 0, false),
        ("both", [false, false], same.clone(), 0, false),
        ("width", [true, false], vectors("b", Some(3), true), 1, false),
        ("list", [true, false], vectors("b", None, true), 1, false),
        ("required", [true, false], vectors("b", Some(2), false), 1, false),
        ("name", [true, false], vectors("c", Some(2), true), 1, false),
        ("child's name", [true, false], list(child("item", false)), 1, false),
        ("nullable child", [true, false], list(child("element", true)), 1, false),
        ("metadata", [true, false], same.with_metadata([("k", "v")]), 1, false),
    ] {
        let followed = follow_schema(&bytes, &["a", "b"], &carried, &field, position);
        assert_eq!(followed.map(|new| new.is_none()), Ok(unchanged), "{what}");
    }
}

#[test]
fn text_that_is_no_base64_is_dropped() {
    let field = vectors("v", None, true);
    let change = ColumnChange::new(&[], &[], &field, 0);
    for value in ["é", "/////w", "AAAA", "/////wAAAAA=", "/////////4A="] {
        let followed = follow(value, &change, |_, _| Followed::Unchanged);
        assert_eq!(followed, Followed::Dropped(MALFORMED), "{value}");
    }
}

#[test]
fn metadata_inside_the_schema_follows_too() {
    let columns = |names: &[&str]| {
        let columns: Vec<_> = names.iter().map(|name| format!(r#"{{"name":"{name}"}}"#)).collect();
        format!(r#"{{"columns":[{}]}}"#, columns.join(","))
    };
    let metadata = [
        ("pandas", columns(&["a", "b"])),
        ("reembed", "{}".to_owned()),
        ("geo", "no JSON".to_owned()),
        ("other", "kept".to_owned()),
    ];
    let schema = example().with_metadata(Metadata::from_iter(metadata));
    let field = vectors("b", Some(2), true);
    let change = ColumnChange::new(&["a", "b"], &[true, false], &field, 1);
    let follow = |value: &str| super::super::follow("ARROW:schema", value, &change);
    let Followed::Replaced(new) = follow(&BASE64_STANDARD.encode(message(&schema))) else {
        panic!("not replaced")
    };
    let decoded = decode(&BASE64_STANDARD.decode(&new).expect("base64"));
    assert_eq!(decoded.fields(), schema.fields());
    let keys: Vec<&str> = decoded.metadata().iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["other", "pandas"]);
    assert!(decoded.metadata()["pandas"].contains("list[float32]"));
    assert_eq!(follow(&new), Followed::Unchanged, "a run on the output");
}

#[test]
fn long_string_with_many_references_is_refused() {
    let entry = ("k".repeat(100), "v".repeat(100));
    let schema = example().with_metadata(Metadata::from_iter([entry]));
    let bytes = message(&schema);
    let field = vectors("v", None, true);
    let change = ColumnChange::new(&["a", "b"], &[true, true], &field, 2);
    assert!(matches!(changed(&bytes, &change, |_, _| Followed::Unchanged), Ok(Some(_))));
    let buffer = flatbuffer(&bytes).expect("a buffer");
    let schema = Table::root(buffer).expect("a table").table(message::HEADER);
    let entries = schema.expect("a table").expect("a schema").tables(schema::CUSTOM_METADATA);
    let entries = entries.expect("tables").expect("entries").repeat(100);
    let followed = followed_entries(&entries, buffer.len(), |_, _| Followed::Unchanged);
    assert_eq!(followed.err(), Some(MALFORMED));
}
