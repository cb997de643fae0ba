//! The key-value entries of a Parquet footer that describe the columns, and what becomes of them
//! when the columns change.
//!
//! Each entry is changed in its own form, and unknown parts of it are kept. An entry that cannot be
//! made to match is dropped: readers then use the Parquet schema.

mod arrow_schema;
mod avro;
mod change;
mod fields;
mod flatbuffer;
mod geo;
mod huggingface;
mod json;
mod pandas;
mod spark;
mod splice;

pub use change::{ColumnChange, Followed};

use crate::footer::FOOTER_KEY;

/// The key of the Arrow schema.
/// The key of the entry with the Arrow schema.
pub const ARROW_SCHEMA: &str = "ARROW:schema";

/// What becomes of the entry `key` of a footer whose columns change.
///
/// The entry that an earlier run of reembed wrote is dropped: the output gets its own.
pub fn follow(key: &str, value: &str, change: &ColumnChange<'_>) -> Followed {
    match key {
        ARROW_SCHEMA => {
            arrow_schema::follow(value, change, |key, value| follow_metadata(key, value, change))
        }
        _ => follow_metadata(key, value, change),
    }
}

/// What becomes of an entry of the footer, or of the metadata inside the Arrow schema: pyarrow
/// writes the entries to both, and reads only those inside the Arrow schema.
fn follow_metadata(key: &str, value: &str, change: &ColumnChange<'_>) -> Followed {
    let followed = match key {
        "org.apache.spark.sql.parquet.row.metadata" => spark::follow(value, change),
        // Files of parquet-mr before 1.8 have the second key.
        "parquet.avro.schema" | "avro.schema" => avro::follow(value, change),
        "pandas" => pandas::follow(value, change),
        "geo" => geo::follow(value, change),
        "huggingface" => huggingface::follow(value, change),
        // Iceberg finds columns by their ids. An id for a new column is the catalog's to give.
        "iceberg.schema" => Followed::Dropped("only the catalog gives ids to new columns"),
        FOOTER_KEY => Followed::Dropped("it describes the vectors of an earlier run"),
        ARROW_SCHEMA => Followed::Dropped("an Arrow schema inside an Arrow schema is never read"),
        _ => Followed::Unchanged,
    };
    match followed {
        Followed::Replaced(same) if same == value => Followed::Unchanged,
        followed => followed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::change::tests::vectors;
    use super::*;

    const KEYS: [&str; 9] = [
        ARROW_SCHEMA,
        "org.apache.spark.sql.parquet.row.metadata",
        "parquet.avro.schema",
        "avro.schema",
        "iceberg.schema",
        "pandas",
        "geo",
        "huggingface",
        FOOTER_KEY,
    ];

    #[test]
    fn entry_that_describes_no_columns_is_unchanged() {
        let field = vectors("v", Some(2), true);
        let change = ColumnChange::new(&["a"], &[true], &field, 1);
        for key in ["", "org.apache.spark.version", "writer.model.name", "Pandas", "PARQUET.AVRO"] {
            assert_eq!(follow(key, "{", &change), Followed::Unchanged, "{key}");
        }
    }

    #[test]
    fn entry_that_cannot_be_parsed_is_dropped() {
        let field = vectors("v", Some(2), true);
        let change = ColumnChange::new(&["a"], &[true], &field, 1);
        let deep = "[".repeat(100_000);
        for key in KEYS {
            for value in ["", "{", "null", "[]", "\u{0}", "\"a\"", "/////w==", &deep] {
                let followed = follow(key, value, &change);
                assert!(matches!(followed, Followed::Dropped(_)), "{key} {value:.9}: {followed:?}");
            }
        }
    }

    #[test]
    fn iceberg_schema_and_the_entry_of_an_earlier_run_are_dropped() {
        let field = vectors("v", Some(2), true);
        let change = ColumnChange::new(&["a"], &[true], &field, 1);
        for key in ["iceberg.schema", FOOTER_KEY] {
            assert!(matches!(follow(key, "{}", &change), Followed::Dropped(_)), "{key}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_value_panics(
            key in 0..KEYS.len(),
            value in prop_oneof![
                any::<String>(),
                // Pieces of what the entries hold.
                vec(prop::sample::select(vec![
                    "{", "}", "[", "]", ":", ",", "\"", "\\u", "null", "1e999", "\"a\"", "\"b\"",
                    "\"fields\"", "\"name\"", "\"columns\"", "\"type\":\"struct\"",
                    "\"type\":\"record\"", "\"info\":{\"features\"", "\"index_columns\"",
                    "\"primary_column\"", "\"covering\"",
                ]), 0..20).prop_map(|pieces| pieces.concat()),
            ],
            position in any::<usize>(),
            carried in vec(any::<bool>(), 0..4),
        ) {
            let field = vectors("v", None, false);
            follow(KEYS[key], &value, &ColumnChange::new(&["a", "b"], &carried, &field, position));
        }
    }
}
