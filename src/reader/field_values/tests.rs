use std::sync::Arc;

use arrow::array::{
    BooleanArray, DurationMillisecondArray, Float64Array, Int64Array, ListArray, StringArray,
    StructArray, TimestampMillisecondArray, UInt8Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Fields};

use super::*;

const PLACE: Place<'_> = Place { name: "c", first_row: 10, on_invalid_utf8: InvalidUtf8::Error };

/// The text and the emptiness of each row.
fn rows(column: ArrayRef, names: &[&str], separator: Option<&str>) -> Vec<(String, bool)> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let values = FieldValues::new(&column, &names, separator, PLACE).expect("values");
    let row = |row| {
        let mut text = String::new();
        values.write(row, &mut text).expect("a string takes it");
        (text, values.is_empty(row))
    };
    (0..column.len()).map(row).collect()
}

fn texts(rows: Vec<(String, bool)>) -> Vec<String> {
    rows.into_iter().map(|(text, _)| text).collect()
}

fn list(items: ArrayRef, lengths: &[usize], valid: Option<Vec<bool>>) -> ArrayRef {
    let field = Arc::new(Field::new("element", items.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(ListArray::new(field, offsets, items, valid.map(NullBuffer::from)))
}

#[test]
fn strings_are_taken_as_they_are() {
    let column = Arc::new(StringArray::from(vec![Some(" a\n"), None, Some("")]));
    let expected = [(" a\n".to_owned(), false), (String::new(), true), (String::new(), true)];
    assert_eq!(rows(column, &[], None), expected);
}

#[test]
fn numbers_and_booleans_have_their_plain_form() {
    let numbers = Arc::new(Int64Array::from(vec![Some(-7), None]));
    assert_eq!(rows(numbers, &[], None), [("-7".to_owned(), false), (String::new(), true)]);
    let floats = Arc::new(Float64Array::from(vec![4.5, 4.0, 1e300, f64::NAN]));
    assert_eq!(texts(rows(floats, &[], None)), ["4.5", "4.0", "1e300", "NaN"]);
    let switches = Arc::new(BooleanArray::from(vec![true, false]));
    assert_eq!(texts(rows(switches, &[], None)), ["true", "false"]);
}

#[test]
fn times_in_zones_are_utc_and_durations_are_numbers() {
    let zoned = |zone: &str| {
        let times = TimestampMillisecondArray::from(vec![Some(1_500), None]);
        Arc::new(times.with_timezone(zone)) as ArrayRef
    };
    for zone in ["UTC", "+02:00", "Europe/Berlin"] {
        assert_eq!(texts(rows(zoned(zone), &[], None)), ["1970-01-01T00:00:01.500Z", ""], "{zone}");
    }
    let local = Arc::new(TimestampMillisecondArray::from(vec![0]));
    assert_eq!(texts(rows(local, &[], None)), ["1970-01-01T00:00:00"]);
    let durations = Arc::new(DurationMillisecondArray::from(vec![90]));
    assert_eq!(texts(rows(durations, &[], None)), ["90"]);
}

#[test]
fn value_without_a_plain_form_is_named_by_its_row() {
    let times = Arc::new(TimestampMillisecondArray::from(vec![0, i64::MAX])) as ArrayRef;
    let error = FieldValues::new(&times, &[], None, PLACE).expect_err("beyond the calendar");
    assert!(error.to_string().starts_with("row 12: column `c`: its value has no plain"), "{error}");
}

#[test]
fn lists_are_joined_without_their_nulls() {
    let items = Arc::new(StringArray::from(vec![Some("a"), None, Some("b"), Some("hidden"), None]));
    let column = list(items, &[3, 0, 1, 1], Some(vec![true, true, false, true]));
    let expected = [("a, b", false), ("", true), ("", true), ("", true)];
    assert_eq!(rows(column, &[], None), expected.map(|(text, empty)| (text.to_owned(), empty)));
    let one_empty = list(Arc::new(StringArray::from(vec![""])), &[1], None);
    assert_eq!(rows(one_empty, &[], None), [(String::new(), false)]);
}

#[test]
fn fields_of_structs_in_lists_of_lists_are_flattened() {
    let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
    let content: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
    let number: ArrayRef = Arc::new(UInt8Array::from(vec![1, 2, 3, 4]));
    let fields = Fields::from(vec![field("n", DataType::UInt8), field("content", DataType::Utf8)]);
    let valid = NullBuffer::from(vec![true, false, true, true]);
    let structs = Arc::new(StructArray::new(fields, vec![number, content], Some(valid)));
    let inner = list(structs, &[2, 1, 1], Some(vec![true, true, false]));
    let outer = list(inner, &[1, 2], None);
    assert_eq!(texts(rows(outer.clone(), &["content"], None)), ["a", "c"]);
    assert_eq!(texts(rows(outer.slice(1, 1), &["n"], None)), ["3"]);
}

#[test]
fn delimited_strings_are_lists_of_what_is_between() {
    let column = Arc::new(StringArray::from(vec![Some("a.py; b.py;;"), Some(" ; "), None]));
    let expected = [("a.py, b.py", false), ("", true), ("", true)];
    let expected = expected.map(|(text, empty)| (text.to_owned(), empty));
    assert_eq!(rows(column, &[], Some(";")), expected);
}

#[test]
fn text_that_is_not_utf8_is_named_by_its_row_and_replaced_on_request() {
    let bytes = |values: &[&[u8]]| Arc::new(BinaryViewArray::from_iter_values(values)) as ArrayRef;
    let column = bytes(&[b"a", b"\xffb"]);
    let error = FieldValues::new(&column, &[], None, PLACE).expect_err("not UTF-8");
    assert!(error.to_string().starts_with("row 12: column `c`: its text is not UTF-8"), "{error}");
    let items = list(bytes(&[b"a", b"b", b"\xff"]), &[1, 2], None);
    let error = FieldValues::new(&items, &[], None, PLACE).expect_err("not UTF-8");
    assert!(error.to_string().starts_with("row 12: "), "{error}");
    // No row has the bad bytes.
    let hidden = list(bytes(&[b"a", b"\xff"]), &[1, 1], Some(vec![true, false]));
    assert_eq!(texts(rows(hidden, &[], None)), ["a", ""]);
    let replace = Place { on_invalid_utf8: InvalidUtf8::Replace, ..PLACE };
    let values = FieldValues::new(&column, &[], None, replace).expect("values");
    assert_eq!(values.single(1), Some("\u{fffd}b"));
}
