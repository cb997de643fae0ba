//! How the columns of an output differ from those of its input.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field};

use crate::vectors::Element;

/// How the columns of an output differ from those of its input.
#[derive(Debug, Clone)]
pub struct ColumnChange<'a> {
    pub(super) columns: &'a [&'a str],
    pub(super) carried: &'a [bool],
    pub(super) vectors: &'a Field,
    pub(super) position: usize,
    /// For each name: its place among the carried columns; `None` if it is not carried.
    places: HashMap<&'a str, Option<usize>>,
}

/// What becomes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// It is true of the output as it is.
    Unchanged,
    /// Its new value.
    Replaced(String),
    /// It cannot be made true of the output; the reason.
    Dropped(&'static str),
}

impl<'a> ColumnChange<'a> {
    /// A change of the root columns `columns` to those that are `carried` and, at `position` among
    /// the columns of the output, the `vectors`: a list or fixed-size list of an [`Element`].
    ///
    /// A column that the vectors replace is not carried.
    pub fn new(
        columns: &'a [&'a str],
        carried: &'a [bool],
        vectors: &'a Field,
        position: usize,
    ) -> ColumnChange<'a> {
        let mut places = HashMap::with_capacity(columns.len() + 1);
        let mut place = 0;
        for (column, carried) in columns.iter().zip(carried) {
            let entry = places.entry(*column).or_insert(None);
            if *carried {
                // Of two columns with one name, the first stands for both.
                entry.get_or_insert(place);
                place += 1;
            }
        }
        places.insert(vectors.name(), None);
        ColumnChange { columns, carried, vectors, position, places }
    }

    /// The type of the elements of the vectors; `None` if they are no vectors.
    pub fn element(&self) -> Option<Element> {
        match self.vectors.data_type() {
            DataType::FixedSizeList(child, _) | DataType::List(child) => {
                Element::from_data_type(child.data_type())
            }
            _ => None,
        }
    }

    /// Whether an entry about the column `name` must go: the column is not carried, or the vectors
    /// have its name. A name that the input does not have stays, as useless as it was.
    pub fn removes(&self, name: &str) -> bool {
        self.places.get(name).is_some_and(Option::is_none)
    }

    /// The index at which the vectors belong in a list of columns.
    pub fn insertion_index<'n>(&self, mut names: impl ExactSizeIterator<Item = &'n str>) -> usize {
        let end = names.len();
        let follows = |name| {
            let place = self.places.get(name).copied().flatten();
            place.is_some_and(|place| place >= self.position)
        };
        names.position(follows).unwrap_or(end)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use super::*;

    /// The field of vectors: fixed-size lists of `width`, or lists.
    pub fn vectors(name: &str, width: Option<i32>, nullable: bool) -> Field {
        vectors_of(DataType::Float32, name, width, nullable)
    }

    /// The same, of other elements.
    pub fn vectors_of(element: DataType, name: &str, width: Option<i32>, nullable: bool) -> Field {
        let child = Arc::new(Field::new("element", element, false));
        let data_type = match width {
            Some(width) => DataType::FixedSizeList(child, width),
            None => DataType::List(child),
        };
        Field::new(name, data_type, nullable)
    }

    #[test]
    fn vectors_stand_before_the_columns_that_follow_them() {
        let field = vectors("v", None, true);
        let (columns, carried) = (["a", "gone", "b", "v"], [true, false, true, false]);
        for (position, listed, expected) in [
            (0, &["a", "b"][..], 0),
            (1, &["a", "b"], 1),
            (2, &["a", "b"], 2),
            (usize::MAX, &["a", "b"], 2),
            (1, &["other", "a", "other", "b"], 3),
            (1, &["b", "a"], 0),
            (1, &["a"], 1),
            (0, &[], 0),
        ] {
            let change = ColumnChange::new(&columns, &carried, &field, position);
            let index = change.insertion_index(listed.iter().copied());
            assert_eq!(index, expected, "{position} in {listed:?}");
        }
    }

    #[test]
    fn columns_that_are_not_carried_or_have_the_name_of_the_vectors_go() {
        let field = vectors("v", None, true);
        let change = ColumnChange::new(
            &["a", "gone", "twice", "twice"],
            &[true, false, false, true],
            &field,
            1,
        );
        for (name, removed) in
            [("a", false), ("gone", true), ("v", true), ("twice", false), ("unknown", false)]
        {
            assert_eq!(change.removes(name), removed, "{name}");
        }
    }
}
