//! Any bytes are read as a footer and written again, cut down and edited, or refused; it never panics, and a footer that
//! is written again is read as it was.
#![no_main]

use arrow::datatypes::{DataType, Field};
use libfuzzer_sys::fuzz_target;
use reembed::format::metadata::FooterBytes;
use reembed::vectors::Element;
use reembed::format::output::{self, Columns};
use reembed::format::projection::{self, Selection, Types};

fuzz_target!(|bytes: &[u8]| {
    let footer = FooterBytes::new(bytes.to_vec(), 1 << 20);
    let Ok(metadata) = footer.parse() else { return };
    let Ok(()) = metadata.check() else { return };
    let roots: Vec<usize> = (0..metadata.schema.roots.len()).collect();
    for types in [Types::TextAsBytes, Types::Annotated, Types::AsWritten] {
        if let Some(cut) = projection::project(&metadata, &Selection::of_roots(&metadata.schema, &roots), types, &|_, _| None) {
            let cut = FooterBytes::new(cut, 1 << 20);
            let again = cut.parse().expect("a footer that was written");
            assert_eq!(again.schema.roots.len(), roots.len());
        }
    }
    let columns = Columns {
        carried: vec![true; roots.len()],
        vectors_after: roots.len(),
        name: "embedding".to_owned(),
        element: Element::F32,
        is_nullable: true,
    };
    let vectors = Field::new("embedding", DataType::Float32, true);
    if let Some(edited) = output::encode(&metadata, &columns, (0, &[]), &vectors, &[]) {
        let edited = FooterBytes::new(edited, 1 << 20);
        let edited = edited.parse().expect("a footer that was written");
        assert_eq!(edited.schema.roots.len(), roots.len() + 1);
    }
});
