//! The schema of a Parquet file: its root columns, each with its elements and leaves.

use std::ops::Range;

use super::thrift::{Fields, List};

/// Maximum nesting of groups. Real-world schemas have about five levels; decoders recurse.
pub const MAX_DEPTH: usize = 100;

/// Maximum bytes of the names of all elements, each with those of the groups around it.
const MAX_PATH_BYTES: usize = 64 << 20;

/// Field numbers of `SchemaElement`.
pub mod element {
    /// Physical type; absent for a group.
    pub const TYPE: i16 = 1;
    /// Bytes of a fixed-width value.
    pub const TYPE_LENGTH: i16 = 2;
    /// Required, optional or repeated.
    pub const REPETITION: i16 = 3;
    /// The name.
    pub const NAME: i16 = 4;
    /// Number of children of a group.
    pub const NUM_CHILDREN: i16 = 5;
    /// The annotation of old writers.
    pub const CONVERTED_TYPE: i16 = 6;
    /// Digits after the point of a decimal.
    pub const SCALE: i16 = 7;
    /// Digits of a decimal.
    pub const PRECISION: i16 = 8;
    /// The annotation.
    pub const LOGICAL_TYPE: i16 = 10;
}

/// Physical types, as the format numbers them.
pub mod physical {
    /// 32-bit signed integer.
    pub const INT32: i64 = 1;
    /// Twelve bytes: days and nanoseconds.
    pub const INT96: i64 = 3;
    /// 32-bit floating point.
    pub const FLOAT: i64 = 4;
    /// Bytes with a length each.
    pub const BYTE_ARRAY: i64 = 6;
    /// Bytes of one length.
    pub const FIXED_LEN_BYTE_ARRAY: i64 = 7;
}

/// Repetition types, as the format numbers them.
pub mod repetition {
    /// One value.
    pub const REQUIRED: i64 = 0;
    /// One value or null.
    pub const OPTIONAL: i64 = 1;
    /// Any number of values.
    pub const REPEATED: i64 = 2;
}

/// The schema of a footer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema<'a> {
    /// The root, then all elements depth first.
    pub elements: List<'a>,
    /// The root columns in order.
    pub roots: Vec<Root>,
    /// The leaves in order; one column chunk each in every row group.
    pub leaves: Vec<Leaf>,
}

/// A column as tables have it: a leaf, or a group with all that it contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Its name.
    pub name: String,
    /// Its elements in [`Schema::elements`].
    pub elements: Range<usize>,
    /// Its leaves in [`Schema::leaves`].
    pub leaves: Range<usize>,
}

/// A column of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The names from the root column down, joined by dots.
    pub path: String,
    /// The position of its element in [`Schema::elements`].
    pub element: usize,
    /// Whether it or a group around it is repeated.
    pub is_repeated: bool,
    /// What its values mean.
    pub annotation: Annotation,
}

/// What the values of a leaf mean, so far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Annotation {
    /// Nothing beyond the physical type.
    None,
    /// UTF-8 text: a string, an enumeration's word or JSON.
    Text(Text),
    /// No value at all.
    Null,
    /// Something else, by the name that the format gives it.
    Other(&'static str),
}

/// The kinds of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// `STRING`, `UTF8`.
    String,
    /// `ENUM`.
    Enum,
    /// `JSON`.
    Json,
}

impl<'a> Schema<'a> {
    /// Reads the list of schema elements.
    ///
    /// # Errors
    /// What is wrong, as a clause about the schema.
    pub fn read(elements: List<'a>) -> Result<Schema<'a>, String> {
        let malformed = || "is malformed".to_owned();
        let mut roots: Vec<Root> = Vec::new();
        let mut leaves = Vec::new();
        // For each group that is open: children left, and the bytes of the path before its children.
        let mut open: Vec<OpenGroup> = Vec::new();
        let mut path = String::new();
        let mut path_bytes = 0;
        let count = elements.items.len();
        for (position, item) in elements.items.iter().enumerate() {
            let fields = Fields::parse(item).ok_or_else(malformed)?;
            let children = match fields.has(element::NUM_CHILDREN) {
                true => fields.int(element::NUM_CHILDREN).ok_or_else(malformed)?,
                false => 0,
            };
            let children = usize::try_from(children).map_err(|_| malformed())?;
            if position == 0 {
                open.push(OpenGroup { left: children, path: 0, is_repeated: false });
            } else {
                let parent = open.last_mut().ok_or("has elements after its end")?;
                parent.left -= 1;
                let parent = *parent;
                if open.len() > MAX_DEPTH {
                    return Err(format!("is nested more than {MAX_DEPTH} groups deep"));
                }
                path.truncate(parent.path);
                let name = fields.bytes(element::NAME).ok_or_else(malformed)?;
                let name = std::str::from_utf8(name).map_err(|_| "has a name that is not UTF-8")?;
                if open.len() == 1 {
                    let (elements, leaves) = (position..position + 1, leaves.len()..leaves.len());
                    roots.push(Root { name: name.to_owned(), elements, leaves });
                } else {
                    path.push('.');
                }
                path.push_str(name);
                path_bytes += path.len();
                if path_bytes > MAX_PATH_BYTES {
                    return Err(format!("has names of more than {MAX_PATH_BYTES} bytes in all"));
                }
                let is_repeated = parent.is_repeated
                    || fields.int(element::REPETITION) == Some(repetition::REPEATED);
                // A group without children is read as a leaf if it has a type.
                if children > 0 || !fields.has(element::TYPE) {
                    open.push(OpenGroup { left: children, path: path.len(), is_repeated });
                } else {
                    let (path, element) = (path.clone(), position);
                    let annotation = Annotation::read(&fields);
                    leaves.push(Leaf { path, element, is_repeated, annotation });
                }
            }
            while open.last().is_some_and(|group| group.left == 0) && open.len() > 1 {
                open.pop();
            }
            if let Some(root) = roots.last_mut() {
                root.elements.end = position + 1;
                root.leaves.end = leaves.len();
            }
            if open.len() == 1 && open[0].left == 0 && position + 1 < count {
                return Err("has elements after its end".to_owned());
            }
        }
        match open.as_slice() {
            [OpenGroup { left: 0, .. }] => Ok(Schema { elements, roots, leaves }),
            _ => Err("ends early".to_owned()),
        }
    }

    /// The fields of an element; empty if there is no such element.
    pub fn element(&self, position: usize) -> Fields<'_> {
        self.elements.items.get(position).and_then(|item| Fields::parse(item)).unwrap_or_default()
    }

    /// The positions of the children of an element.
    pub fn children(&self, position: usize) -> Vec<usize> {
        let count = self.element(position).int(element::NUM_CHILDREN).unwrap_or(0);
        let mut children = Vec::new();
        let mut next = position + 1;
        while (children.len() as i64) < count && next < self.elements.items.len() {
            children.push(next);
            next = self.end_of(next);
        }
        children
    }

    /// The name of an element; empty if there is no such element.
    pub fn name(&self, position: usize) -> String {
        let fields = self.element(position);
        fields.bytes(element::NAME).map_or(String::new(), |n| String::from_utf8_lossy(n).into())
    }

    /// The leaves at and below an element of a root column.
    pub fn leaves_below(&self, root: &Root, position: usize) -> Range<usize> {
        let elements = position..self.end_of(position);
        let leaves = &self.leaves[root.leaves.clone()];
        let start = leaves.iter().take_while(|leaf| leaf.element < elements.start).count();
        let end = leaves.iter().take_while(|leaf| leaf.element < elements.end).count();
        root.leaves.start + start..root.leaves.start + end
    }

    /// The position behind an element and all that it contains.
    fn end_of(&self, position: usize) -> usize {
        let mut open = 1i64;
        let mut next = position;
        while open > 0 && next < self.elements.items.len() {
            open += self.element(next).int(element::NUM_CHILDREN).unwrap_or(0).max(0) - 1;
            next += 1;
        }
        next
    }

    /// The root column that a leaf belongs to.
    pub fn root_of(&self, leaf: usize) -> Option<usize> {
        self.roots.iter().position(|root| root.leaves.contains(&leaf))
    }
}

#[derive(Clone, Copy)]
struct OpenGroup {
    left: usize,
    path: usize,
    is_repeated: bool,
}

impl Annotation {
    /// The newer `LogicalType` counts before `ConvertedType`, except that one contradicts the other:
    /// then the older one is told, which other readers see.
    pub fn read(fields: &Fields<'_>) -> Annotation {
        // The fields of the union `LogicalType`, then the values of `ConvertedType`.
        const LOGICAL: [&str; 18] = [
            "STRING",
            "MAP",
            "LIST",
            "ENUM",
            "DECIMAL",
            "DATE",
            "TIME",
            "TIMESTAMP",
            "",
            "INTEGER",
            "UNKNOWN",
            "JSON",
            "BSON",
            "UUID",
            "FLOAT16",
            "VARIANT",
            "GEOMETRY",
            "GEOGRAPHY",
        ];
        const CONVERTED: [&str; 22] = [
            "UTF8",
            "MAP",
            "MAP_KEY_VALUE",
            "LIST",
            "ENUM",
            "DECIMAL",
            "DATE",
            "TIME",
            "TIME",
            "TIMESTAMP",
            "TIMESTAMP",
            "INTEGER",
            "INTEGER",
            "INTEGER",
            "INTEGER",
            "INTEGER",
            "INTEGER",
            "INTEGER",
            "INTEGER",
            "JSON",
            "BSON",
            "INTERVAL",
        ];
        let converted = fields
            .int(element::CONVERTED_TYPE)
            .map(|number| usize::try_from(number).ok().and_then(|at| CONVERTED.get(at)).copied());
        let logical = fields
            .structure(element::LOGICAL_TYPE)
            .map(|union| (1..).zip(LOGICAL).find(|(id, _)| union.has(*id)).map(|(_, name)| name));
        let is_bytes = fields.int(element::TYPE) == Some(physical::BYTE_ARRAY);
        match (logical.flatten(), converted.flatten()) {
            (Some("UNKNOWN"), None) => Annotation::Null,
            (Some("UNKNOWN"), Some(name)) => Annotation::Other(name),
            (Some("STRING"), _) | (None, Some("UTF8")) if is_bytes => {
                Annotation::Text(Text::String)
            }
            (Some("ENUM"), _) | (None, Some("ENUM")) if is_bytes => Annotation::Text(Text::Enum),
            (Some("JSON"), _) | (None, Some("JSON")) if is_bytes => Annotation::Text(Text::Json),
            (Some(name), _) | (None, Some(name)) => Annotation::Other(name),
            (None, None) if logical.is_some() || converted.is_some() => {
                Annotation::Other("an annotation that this version does not know")
            }
            (None, None) => Annotation::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::thrift::List;
    use super::*;

    fn element(name: &str, children: i32, repeated: bool) -> Vec<u8> {
        let mut fields = Fields::default();
        match children {
            0 => fields.set_i32(element::TYPE, physical::BYTE_ARRAY as i32),
            children => fields.set_i32(element::NUM_CHILDREN, children),
        }
        fields.set_i32(element::REPETITION, if repeated { 2 } else { 1 });
        fields.set_bytes(element::NAME, name.as_bytes());
        fields.encode()
    }

    fn list(elements: &[(&str, i32, bool)]) -> List<'static> {
        let mut list = List::of_structs();
        elements.iter().for_each(|(name, children, rep)| list.push(element(name, *children, *rep)));
        list
    }

    #[test]
    fn roots_have_their_elements_and_leaves() {
        let schema = Schema::read(list(&[
            ("schema", 3, false),
            ("id", 0, false),
            ("files", 1, false),
            ("list", 2, true),
            ("element", 0, false),
            ("more", 0, false),
            ("a.b", 0, false),
        ]))
        .expect("a schema");
        let names: Vec<&str> = schema.roots.iter().map(|root| root.name.as_str()).collect();
        assert_eq!(names, ["id", "files", "a.b"]);
        assert_eq!(
            (schema.roots[1].elements.clone(), schema.roots[1].leaves.clone()),
            (2..6, 1..3)
        );
        let leaves: Vec<(&str, bool)> =
            schema.leaves.iter().map(|leaf| (leaf.path.as_str(), leaf.is_repeated)).collect();
        let expected = [
            ("id", false),
            ("files.list.element", true),
            ("files.list.more", true),
            ("a.b", false),
        ];
        assert_eq!(leaves, expected);
        assert_eq!(schema.root_of(2), Some(1));
        assert!(Schema::read(list(&[("schema", 0, false)])).is_ok_and(|s| s.roots.is_empty()));
    }

    #[test]
    fn schema_of_other_counts_or_too_deep_is_refused() {
        for (elements, message) in [
            (vec![], "ends early"),
            (vec![("s", 2, false), ("a", 0, false)], "ends early"),
            (vec![("s", 1, false), ("a", 0, false), ("b", 0, false)], "has elements after its end"),
            (vec![("s", -1, false)], "is malformed"),
            (vec![("s", 1, false); 200], "is nested more than 100 groups deep"),
        ] {
            assert_eq!(Schema::read(list(&elements)).expect_err("no schema"), message);
        }
    }

    #[test]
    fn schema_whose_names_take_too_much_memory_is_refused() {
        let long = "n".repeat(1 << 20);
        let leaves = 80;
        let mut elements = vec![("s", 1, false), (long.as_str(), leaves, false)];
        elements.extend((0..leaves).map(|_| ("leaf", 0, false)));
        let fault = Schema::read(list(&elements)).expect_err("too many bytes");
        assert_eq!(fault, "has names of more than 67108864 bytes in all");
    }
}
