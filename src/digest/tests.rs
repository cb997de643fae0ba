use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal256Array, DictionaryArray, FixedSizeBinaryArray,
    FixedSizeListArray, Float32Array, Int8Array, Int32Array, Int64Array, ListArray, ListBuilder,
    MapBuilder, NullArray, StringArray, StringBuilder, StringViewArray, StructArray, UnionArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{Field, Fields, Int8Type, UInt8Type};
use proptest::prelude::*;

use super::*;

fn digest(array: &ArrayRef) -> String {
    digest_of_pieces(array.data_type(), std::slice::from_ref(array))
}

fn digest_of_pieces(data_type: &DataType, pieces: &[ArrayRef]) -> String {
    let mut hasher = ColumnHasher::new("c", data_type).expect("a supported type");
    for piece in pieces {
        hasher.update(piece.as_ref()).expect("an array of that type");
    }
    hasher.finish()
}

fn strings(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn lists(rows: &[Option<&[Option<&str>]>]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in rows {
        match row {
            Some(row) => builder.append_value(row.iter().copied()),
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

/// Columns of `rows` rows with nulls: one for every kind of node.
fn columns(rows: usize) -> Vec<ArrayRef> {
    let present = |row: usize| row % 4 != 2;
    let nulls = || Some(NullBuffer::from((0..rows).map(present).collect::<Vec<_>>()));
    let numbers = |factor: i64| -> ArrayRef {
        let number = |row: usize| present(row).then_some(row as i64 * factor);
        Arc::new((0..rows).map(number).collect::<Int64Array>())
    };
    let words = || -> ArrayRef {
        let word = |row: usize| present(row).then(|| "x".repeat(row % 7) + &row.to_string());
        Arc::new((0..rows).map(word).collect::<StringArray>())
    };
    let long = || -> ArrayRef {
        let word = |row: usize| (row % 3 != 1).then(|| format!("{row}").repeat(400));
        Arc::new((0..rows).map(word).collect::<StringArray>())
    };
    let item = |array: &ArrayRef| Arc::new(Field::new("item", array.data_type().clone(), true));
    let lengths =
        || (0..rows).map(|row| if present(row) { row % 3 } else { 2 }).collect::<Vec<_>>();
    let list = |elements: ArrayRef| -> ArrayRef {
        let offsets = OffsetBuffer::from_lengths(lengths());
        Arc::new(ListArray::new(item(&elements), offsets, elements, nulls()))
    };
    let total: usize = lengths().iter().sum();
    let elements = || -> ArrayRef {
        let element = |row: usize| (row % 5 != 1).then(|| row.to_string());
        Arc::new((0..total).map(element).collect::<StringArray>())
    };
    let structure = || -> ArrayRef {
        let fields = Fields::from(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("w", DataType::Utf8, true),
        ]);
        Arc::new(StructArray::new(fields, vec![numbers(3), words()], nulls()))
    };
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for row in 0..rows {
        for entry in 0..row % 3 {
            map.keys().append_value(format!("{row}.{entry}"));
            map.values().append_option((entry == 1).then_some("v"));
        }
        map.append(present(row)).expect("as many keys as values");
    }
    let pairs: ArrayRef = Arc::new(Float32Array::from_iter_values((0..2 * rows).map(|n| n as f32)));
    let fixed = FixedSizeListArray::new(item(&pairs), 2, pairs, nulls());
    let triples = (0..rows).map(|row| present(row).then_some([row as u8; 3]));
    let triples = FixedSizeBinaryArray::try_from_sparse_iter_with_size(triples, 3).expect("bytes");
    let inner = list(elements());
    let outer_lengths = vec![rows / 2, 0, rows - rows / 2];
    let outer =
        ListArray::new(item(&inner), OffsetBuffer::from_lengths(outer_lengths), inner, None);
    vec![
        Arc::new(NullArray::new(rows)),
        Arc::new(
            (0..rows).map(|row| present(row).then_some(row % 3 == 0)).collect::<BooleanArray>(),
        ),
        numbers(1),
        cast(&numbers(1), &DataType::Int8).expect("small numbers"),
        cast(&numbers(1), &DataType::Decimal256(40, 2)).expect("decimals"),
        words(),
        long(),
        cast(&words(), &DataType::Binary).expect("bytes"),
        cast(&words(), &DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)))
            .expect("a dictionary"),
        Arc::new(triples),
        list(elements()),
        list(structure_of(total)),
        list(elements()).slice(0, 0),
        Arc::new(outer),
        structure(),
        Arc::new(map.finish()),
        Arc::new(fixed),
    ]
}

fn structure_of(rows: usize) -> ArrayRef {
    let flags: ArrayRef =
        Arc::new((0..rows).map(|row| Some(row % 2 == 0)).collect::<BooleanArray>());
    let fields = Fields::from(vec![Field::new("f", DataType::Boolean, true)]);
    let nulls = NullBuffer::from((0..rows).map(|row| row % 7 != 3).collect::<Vec<_>>());
    Arc::new(StructArray::new(fields, vec![flags], Some(nulls)))
}

proptest! {
    #[test]
    fn digest_does_not_depend_on_how_rows_are_cut(
        rows in 1usize..40,
        cuts in prop::collection::vec(0usize..40, 0..6),
        copied in any::<bool>(),
    ) {
        for column in columns(rows) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (column.len() + 1)).collect();
            cuts.extend([0, column.len()]);
            cuts.sort_unstable();
            let piece = |ends: &[usize]| {
                let slice = column.slice(ends[0], ends[1] - ends[0]);
                // A copy has offset zero; a slice has the values of other rows around it.
                if copied { concat(&[slice.as_ref()]).expect("a copy") } else { slice }
            };
            let pieces: Vec<ArrayRef> = cuts.windows(2).map(piece).collect();
            let whole = digest(&column);
            prop_assert_eq!(digest_of_pieces(column.data_type(), &pieces), whole, "{}", column.data_type());
        }
    }

    #[test]
    fn digest_depends_on_values_nulls_and_order(row in 0usize..30, other in 0usize..30) {
        for column in columns(30).into_iter().filter(|column| column.len() == 30) {
            // Row `other` replaces `row`.
            let mut picked: Vec<i32> = (0..30).collect();
            picked[row] = other as i32;
            let changed = take(&column, &Int32Array::from(picked.clone()), None).expect("rows");
            let same = changed.as_ref() == column.as_ref();
            prop_assert_eq!(digest(&changed) == digest(&column), same, "{}", column.data_type());
            // The two rows are swapped.
            picked[other] = row as i32;
            let changed = take(&column, &Int32Array::from(picked), None).expect("rows");
            let same = changed.as_ref() == column.as_ref();
            prop_assert_eq!(digest(&changed) == digest(&column), same, "{}", column.data_type());
        }
    }
}

#[test]
fn dictionaries_views_and_wide_offsets_digest_like_values() {
    let words = [Some("a"), None, Some(""), Some("a"), Some("long enough for a view of its own")];
    let plain = strings(&words);
    for data_type in [
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::LargeUtf8)),
    ] {
        let encoded = cast(&plain, &data_type).expect("a cast");
        assert_eq!(digest(&encoded), digest(&plain), "{data_type}");
        // Also for a part of a column.
        let mixed = [plain.clone(), encoded.slice(1, 3)];
        let same = [plain.clone(), plain.slice(1, 3)];
        let plain_type = plain.data_type();
        assert_eq!(digest_of_pieces(plain_type, &mixed), digest_of_pieces(plain_type, &same));
    }
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(5), None, Some(7), Some(5)]));
    let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Int32));
    assert_eq!(digest(&cast(&numbers, &dictionary).expect("a cast")), digest(&numbers));
    let list = lists(&[Some(&[Some("a"), None]), None, Some(&[])]);
    let element = Arc::new(Field::new("x", DataType::Utf8View, true));
    for wide in [DataType::LargeList(element.clone()), DataType::ListView(element)] {
        assert_eq!(digest(&cast(&list, &wide).expect("a cast")), digest(&list), "{wide}");
    }
    let binary: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some(b"a"), None]));
    let view = cast(&binary, &DataType::BinaryView).expect("a cast");
    assert_eq!(digest(&view), digest(&binary));
}

#[test]
fn null_keys_and_null_values_of_dictionaries_are_nulls() {
    let values = Arc::new(StringArray::from(vec![Some("a"), None]));
    let by_value = DictionaryArray::<Int8Type>::new(Int8Array::from(vec![0, 1, 0]), values.clone());
    let by_key =
        DictionaryArray::<Int8Type>::new(Int8Array::from(vec![Some(0), None, Some(0)]), values);
    let plain = strings(&[Some("a"), None, Some("a")]);
    assert_eq!(digest(&(Arc::new(by_value) as ArrayRef)), digest(&plain));
    assert_eq!(digest(&(Arc::new(by_key) as ArrayRef)), digest(&plain));
    let none = DictionaryArray::<UInt8Type>::new(vec![None, None].into(), strings(&[]));
    assert_eq!(digest(&(Arc::new(none) as ArrayRef)), digest(&strings(&[None, None])));
}

#[test]
fn slots_below_a_null_do_not_count() {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    let nulls = Some(NullBuffer::from(vec![true, false, true]));
    let vectors = |below: f32| -> ArrayRef {
        let values = Float32Array::from(vec![1.0, 2.0, below, below, 3.0, 4.0]);
        Arc::new(FixedSizeListArray::new(item.clone(), 2, Arc::new(values), nulls.clone()))
    };
    assert_eq!(digest(&vectors(0.0)), digest(&vectors(f32::NAN)));
    let list = |length: usize| -> ArrayRef {
        let offsets = OffsetBuffer::from_lengths([1, length, 1]);
        let mut values = vec![1.0];
        values.extend(std::iter::repeat_n(9.0, length));
        values.push(3.0);
        let values = Arc::new(Float32Array::from(values));
        Arc::new(ListArray::new(item.clone(), offsets, values, nulls.clone()))
    };
    assert_eq!(digest(&list(0)), digest(&list(5)));
}

#[test]
fn columns_with_the_same_bytes_have_different_digests() {
    let same_bytes: Vec<ArrayRef> = vec![
        strings(&[Some("ab"), Some("c")]),
        strings(&[Some("a"), Some("bc")]),
        strings(&[Some("abc"), Some("")]),
        strings(&[Some("abc"), None]),
        strings(&[None, Some("abc")]),
        strings(&[Some("abc")]),
        Arc::new(BinaryArray::from_vec(vec![b"ab", b"c"])),
        lists(&[Some(&[Some("ab")]), Some(&[Some("c")])]),
        lists(&[Some(&[Some("ab"), Some("c")]), Some(&[])]),
        lists(&[Some(&[Some("ab"), Some("c")]), None]),
        lists(&[Some(&[Some("ab"), Some("c"), None]), Some(&[])]),
        Arc::new(Int8Array::from(vec![0, 0])),
        Arc::new(BooleanArray::from(vec![false, false])),
        Arc::new(Int32Array::from(vec![0, 0])),
        Arc::new(Float32Array::from(vec![0.0, -0.0])),
        Arc::new(NullArray::new(2)),
        Arc::new(NullArray::new(3)),
        strings(&[None, None]),
        Arc::new(Decimal256Array::from(vec![None, None])),
    ];
    let digests: Vec<String> = same_bytes.iter().map(digest).collect();
    for (left, digest) in digests.iter().enumerate() {
        for right in left + 1..digests.len() {
            assert_ne!(digest, &digests[right], "{:?} {:?}", same_bytes[left], same_bytes[right]);
        }
    }
}

#[test]
fn long_string_repeated_by_a_view_is_hashed_once() {
    let long = "x".repeat(64 << 20);
    let values = StringViewArray::from_iter_values([&long]);
    let rows = take(&values, &Int32Array::from(vec![0; 100_000]), None).expect("rows");
    // 6 TB of text, which would take an hour if every row were hashed.
    assert_eq!(digest(&rows).len(), 64);
    let two = strings(&[Some(&long), Some(&long)]);
    assert_eq!(digest(&rows.slice(0, 2)), digest(&two));
}

/// The worked example for implementations in other languages.
#[test]
fn digest_has_the_documented_form() {
    let sha = |bytes: &[u8]| -> [u8; 32] { Sha256::digest(bytes).into() };
    let mut node = vec![b's'];
    node.extend(3u64.to_le_bytes());
    node.extend(sha(&1u64.to_le_bytes()));
    node.extend(sha(&[2u64.to_le_bytes(), 1u64.to_le_bytes()].concat()));
    node.extend(sha(b"abc"));
    assert_eq!(digest(&strings(&[Some("ab"), None, Some("c")])), hex(&sha(&node)));
}

#[test]
fn type_without_a_digest_is_refused_with_its_column() {
    let union = UnionArray::try_new(
        [(0, Arc::new(Field::new("n", DataType::Int32, true)))].into_iter().collect(),
        vec![0].into(),
        None,
        vec![Arc::new(Int32Array::from(vec![1]))],
    )
    .expect("a union");
    let schema = Schema::new(vec![Field::new("u", union.data_type().clone(), true)]);
    let error = TableHasher::new(&schema, |_| true).err().expect("it is refused");
    assert!(error.to_string().starts_with("column `u`: columns of type Union"), "{error}");
    assert!(TableHasher::new(&schema, |at| at != 0).is_ok(), "the union is left out");
    let mut hasher = ColumnHasher::new("c", &DataType::Utf8).expect("strings");
    assert!(hasher.update(&Int32Array::from(vec![1])).is_err());
}
