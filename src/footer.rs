//! The footer metadata of an output: where its vectors come from, and what its columns hold.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;

use reembed_encoder::model::chunk_size::ChunkSize;
use reembed_encoder::model::identity::ModelIdentity;
use reembed_encoder::task::TextTemplate;
use serde::{Deserialize, Serialize};

use crate::config::{Carry, OnEmpty, VectorLayout, VectorType};
use crate::group_digest::GroupDigest;
use crate::text::{Piece, TaskColumns, TextRecipe};

/// The key of the metadata entry in the Parquet footer.
pub const FOOTER_KEY: &str = "reembed";

/// The version of the JSON form of a [`Footer`]; a newer one is refused. Version 1 has no digests;
/// up to version 2 carried columns were always encoded anew, and `carry` is absent; up to version 3
/// the text is that of a task row, and there is one vector column.
pub const FORMAT_VERSION: u32 = 4;

/// The program and its version, as written to every file that it makes.
pub const TOOL: &str = concat!("reembed ", env!("CARGO_PKG_VERSION"));

/// The model and the program that made the vectors. It does not depend on time, host or speed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// [`FORMAT_VERSION`].
    pub version: u32,
    /// The program and its version: [`TOOL`].
    pub tool: String,
    /// Vectors are comparable only if this is equal; see [`ModelIdentity::fingerprint`].
    pub fingerprint: String,
    /// The model.
    pub model: ModelIdentity,
}

/// The metadata entry: the lineage, and what the file holds. The fields about a vector column are those
/// of the first one, as in earlier versions; [`Footer::embeddings`] has all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    /// Where the vectors come from.
    pub lineage: Lineage,
    /// How a row became text.
    pub text: FooterText,
    /// The name of the vector column.
    pub column: String,
    /// The form of the vector column; absent up to version 2, where the vectors are those of the
    /// model and the file's Arrow schema has the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<FooterForm>,
    /// How the other columns came from the input.
    #[serde(default = "reencoded", with = "carry_word")]
    pub carry: Carry,
    /// Number of rows.
    pub rows: u64,
    /// Number of rows without a vector.
    pub null_rows: u64,
    /// Number of rows of the input that were left out because they have no text.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_rows: u64,
    /// Number of rows of the input that were read, the first ones; absent if all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Number of rows of the input that were read, if rows are chunks of texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_rows: Option<u64>,
    /// Digests of the columns; absent in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digests: Option<Digests>,
    /// Whether a row without text has a vector, is refused, has none, or is left out; absent up to
    /// version 2.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "on_empty_word")]
    pub on_empty: Option<OnEmpty>,
    /// The row groups, if columns were copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupDigest>,
    /// The vector columns after the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<FooterColumn>,
    /// Carried columns that are vector columns of the input's own footer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierColumn>,
}

/// A vector column after the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FooterColumn {
    /// Its name.
    pub column: String,
    /// Where its vectors come from.
    pub lineage: Lineage,
    /// How a row became text.
    pub text: FooterText,
    /// The form of its vectors.
    pub form: FooterForm,
    /// Number of rows without a vector in it.
    pub null_rows: u64,
    /// The digest of its values, as [`Digests::vectors`].
    pub vectors: String,
    /// The row groups, if columns were copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupDigest>,
}

/// A vector column that an earlier run wrote, and that was carried since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierColumn {
    /// Its name.
    pub column: String,
    /// Where its vectors come from.
    pub lineage: Lineage,
    /// How a row became text.
    pub text: FooterText,
    /// The form of its vectors, as [`Footer::form`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<FooterForm>,
}

/// What a footer says of one vector column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingFooter<'a> {
    /// Its name.
    pub column: &'a str,
    /// Where its vectors come from.
    pub lineage: &'a Lineage,
    /// How a row became text.
    pub text: &'a FooterText,
    /// The form of its vectors, as [`Footer::form`].
    pub form: Option<&'a FooterForm>,
    /// Number of rows without a vector in it.
    pub null_rows: u64,
    /// The digest of its values, as [`Digests::vectors`]; `None` in version 1.
    pub vectors: Option<&'a str>,
    /// The row groups, if columns were copied.
    pub groups: &'a [GroupDigest],
}

/// The form of the vectors of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FooterForm {
    /// The type of the components.
    #[serde(rename = "type", with = "type_word")]
    pub vector_type: VectorType,
    /// The Arrow type of the column.
    #[serde(with = "layout_word")]
    pub layout: VectorLayout,
    /// Number of components that were kept of the model's vectors.
    pub dims: usize,
    /// Whether they were scaled to length 1.
    pub normalize: bool,
    /// SHA-256 of the file with the ranges of components, in hexadecimal; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranges: Option<String>,
}

/// `int8 × 256, scaled to length 1, in a list`: for reports.
impl fmt::Display for FooterForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {}", self.vector_type.as_str(), self.dims)?;
        if self.normalize {
            f.write_str(", scaled to length 1")?;
        }
        match self.layout {
            VectorLayout::FixedSizeList => Ok(()),
            VectorLayout::List => f.write_str(", in a list"),
        }
    }
}

/// Digests of the columns of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Every carried column in the order of the schema.
    pub carried: Vec<ColumnDigest>,
    /// The values of the vector column, SHA-256 in hexadecimal: that of
    /// [`vectors_digest`](crate::group_digest::vectors_digest) if columns were copied, else as
    /// [`crate::digest`] defines it.
    pub vectors: String,
}

/// The digest of one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDigest {
    /// The column's name.
    pub column: String,
    /// Its digest.
    #[serde(flatten)]
    pub digest: ColumnHash,
}

/// A digest in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnHash {
    /// Of its values, as [`crate::digest`] defines it: a column that was encoded anew.
    Sha256(String),
    /// Of its bytes, as [`crate::carried`] defines it: a column that was copied.
    Xxh3(String),
}

/// A module that writes an optional setting as its word.
macro_rules! optional_word {
    ($module:ident, $setting:ty) => {
        mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            pub fn serialize<S: Serializer>(
                setting: &Option<$setting>,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                match setting {
                    Some(setting) => serializer.serialize_some(setting.as_str()),
                    None => serializer.serialize_none(),
                }
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(
                from: D,
            ) -> Result<Option<$setting>, D::Error> {
                let word = Option::<String>::deserialize(from)?;
                let unknown = |word: &str| D::Error::custom(format!("unknown word {word:?}"));
                let parse = |word: String| <$setting>::parse(&word).ok_or_else(|| unknown(&word));
                word.map(parse).transpose()
            }
        }
    };
}

/// A module that writes a setting as its word.
macro_rules! word {
    ($module:ident, $setting:ty) => {
        mod $module {
            use serde::{Deserialize, Deserializer, Serializer, de::Error};

            pub fn serialize<S: Serializer>(
                setting: &$setting,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(setting.as_str())
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$setting, D::Error> {
                let word = String::deserialize(from)?;
                let unknown = || D::Error::custom(format!("unknown word {word:?}"));
                <$setting>::parse(&word).ok_or_else(unknown)
            }
        }
    };
}

word!(carry_word, crate::config::Carry);
word!(type_word, crate::config::VectorType);
word!(layout_word, crate::config::VectorLayout);
optional_word!(on_empty_word, crate::config::OnEmpty);

/// The first column whose digest differs from the one that was written, or that only one side has.
pub fn first_changed<'a>(
    found: &'a [ColumnDigest],
    written: &'a [ColumnDigest],
) -> Option<&'a str> {
    let differs = found.iter().zip(written).find(|(found, written)| found != written);
    let longer = if found.len() > written.len() { found } else { written };
    let extra = longer.get(found.len().min(written.len()));
    differs.map(|(found, _)| found).or(extra).map(|digest| digest.column.as_str())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn reencoded() -> Carry {
    Carry::Reencode
}

/// Why an entry under [`FOOTER_KEY`] cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FooterError {
    /// Its version is newer than [`FORMAT_VERSION`].
    #[error(
        "its `reembed` footer entry has version {0}, written by a newer reembed; this version \
         reads versions up to {FORMAT_VERSION}"
    )]
    Newer(u32),
    /// It is not JSON, or a field is missing or has another type.
    #[error("its `reembed` footer entry cannot be parsed: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// What the footer of an output says beside its vector columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FooterFrame {
    /// As [`Footer::carry`].
    pub carry: Carry,
    /// As [`Footer::rows`].
    pub rows: u64,
    /// As [`Footer::dropped_rows`].
    pub dropped_rows: u64,
    /// As [`Footer::limit`].
    pub limit: Option<u64>,
    /// As [`Footer::input_rows`].
    pub input_rows: Option<u64>,
    /// As [`Digests::carried`].
    pub carried: Vec<ColumnDigest>,
    /// As [`Footer::on_empty`].
    pub on_empty: OnEmpty,
    /// As [`Footer::earlier`].
    pub earlier: Vec<EarlierColumn>,
}

impl Footer {
    /// The footer of an output whose first vector column is `first`, and that has `more`.
    pub fn new(frame: FooterFrame, first: FooterColumn, more: Vec<FooterColumn>) -> Footer {
        let FooterFrame { carry, rows, dropped_rows, limit, .. } = frame;
        let FooterFrame { input_rows, carried, on_empty, earlier, .. } = frame;
        let FooterColumn { column, lineage, text, form, null_rows, vectors, groups } = first;
        Footer {
            lineage,
            text,
            column,
            form: Some(form),
            carry,
            rows,
            null_rows,
            dropped_rows,
            limit,
            input_rows,
            digests: Some(Digests { carried, vectors }),
            on_empty: Some(on_empty),
            groups,
            more,
            earlier,
        }
    }

    /// The vector columns, one or more.
    pub fn embeddings(&self) -> Vec<EmbeddingFooter<'_>> {
        let first = EmbeddingFooter {
            column: &self.column,
            lineage: &self.lineage,
            text: &self.text,
            form: self.form.as_ref(),
            null_rows: self.null_rows,
            vectors: self.digests.as_ref().map(|digests| digests.vectors.as_str()),
            groups: &self.groups,
        };
        let more = self.more.iter().map(|more| EmbeddingFooter {
            column: &more.column,
            lineage: &more.lineage,
            text: &more.text,
            form: Some(&more.form),
            null_rows: more.null_rows,
            vectors: Some(&more.vectors),
            groups: &more.groups,
        });
        std::iter::once(first).chain(more).collect()
    }

    /// The vector column with a name.
    pub fn embedding(&self, column: &str) -> Option<EmbeddingFooter<'_>> {
        self.embeddings().into_iter().find(|embedding| embedding.column == column)
    }

    /// Whether a column of the output has vectors of this footer.
    pub fn is_vectors(&self, column: &str) -> bool {
        self.column == column || self.more.iter().any(|more| more.column == column)
    }

    /// The vector columns of this footer that an output carries, for its own footer.
    pub fn carried_on(&self, is_carried: impl Fn(&str) -> bool) -> Vec<EarlierColumn> {
        let own = self.embeddings().into_iter().map(|own| EarlierColumn {
            column: own.column.to_owned(),
            lineage: own.lineage.clone(),
            text: own.text.clone(),
            form: own.form.cloned(),
        });
        own.chain(self.earlier.iter().cloned())
            .filter(|earlier| is_carried(&earlier.column))
            .collect()
    }

    /// Parses the entry.
    ///
    /// # Errors
    /// When its version is newer, or it is malformed.
    pub fn parse(entry: &str) -> Result<Footer, FooterError> {
        // The version comes first: the other fields of a newer form are unknown.
        #[derive(Deserialize)]
        struct Versioned {
            lineage: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Versioned { lineage: Version { version } } = serde_json::from_str(entry)?;
        match version {
            0..=FORMAT_VERSION => Ok(serde_json::from_str(entry)?),
            newer => Err(FooterError::Newer(newer)),
        }
    }
}

/// How a row became text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FooterText {
    /// The lines of the recipe; absent up to version 3, where it is that of a task row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<Vec<Vec<FooterPart>>>,
    /// What separates the items of strings that hold lists, by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub split: BTreeMap<String, String>,
    /// The input columns of the text, in order; without optional ones that the input does not have.
    pub columns: Vec<String>,
    /// Up to version 3, the text before the list of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_prefix: Option<String>,
    /// The column of the row ids; absent if rows have none, and up to version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The chunks that a text was split into, each a row; absent if a text is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<FooterChunk>,
}

/// As [`ChunkSize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FooterChunk {
    /// Most tokens of a chunk.
    pub tokens: NonZeroUsize,
    /// Most tokens that two neighbours share.
    pub overlap: usize,
}

impl From<ChunkSize> for FooterChunk {
    fn from(size: ChunkSize) -> Self {
        FooterChunk { tokens: size.tokens(), overlap: size.overlap() }
    }
}

/// A part of a line: a string, or an object with the name of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FooterPart {
    /// Text.
    Literal(String),
    /// The value of a column.
    Column {
        /// Its name.
        column: String,
    },
}

impl From<Piece> for FooterPart {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Literal(literal) => FooterPart::Literal(literal),
            Piece::Column(column) => FooterPart::Column { column },
        }
    }
}

impl From<FooterPart> for Piece {
    fn from(part: FooterPart) -> Self {
        match part {
            FooterPart::Literal(literal) => Piece::Literal(literal),
            FooterPart::Column { column } => Piece::Column(column),
        }
    }
}

impl FooterText {
    /// What the footer says of a recipe over an input that has `columns`, and the column `id`.
    pub fn new(recipe: &TextRecipe, columns: Vec<String>, id: Option<String>) -> Self {
        let parts = |line: Vec<Piece>| line.into_iter().map(FooterPart::from).collect();
        let lines = Some(recipe.to_lines().into_iter().map(parts).collect());
        let chunk = recipe.chunk().map(FooterChunk::from);
        FooterText { lines, split: recipe.split(), columns, files_prefix: None, id, chunk }
    }

    /// The recipe. `is_list` says whether a column holds lists: up to version 3 the footer does not
    /// say whether the second of two columns was the description or the files.
    ///
    /// # Errors
    /// What is wrong with it, as a clause about the entry.
    pub fn recipe(&self, is_list: &dyn Fn(&str) -> bool) -> Result<TextRecipe, String> {
        if let Some(lines) = &self.lines {
            let pieces = |line: &Vec<FooterPart>| line.iter().cloned().map(Piece::from).collect();
            let recipe = TextRecipe::from_lines(lines.iter().map(pieces).collect());
            let has = |name: &str| self.columns.iter().any(|column| column == name);
            let chunk = match self.chunk {
                Some(FooterChunk { tokens, overlap }) => Some(
                    ChunkSize::new(tokens, overlap)
                        .map_err(|_| "has chunks that overlap as a whole")?,
                ),
                None => None,
            };
            return Ok(recipe.with_present(has).with_split(&self.split)?.with_chunk(chunk));
        }
        let mut columns = self.columns.clone();
        let files = match columns.len() {
            3 => columns.pop(),
            2 if is_list(&columns[1]) => columns.pop(),
            _ => None,
        };
        let description = (columns.len() == 2).then(|| columns.pop()).flatten();
        let title = columns.pop().ok_or("names no column of the text")?;
        let files_prefix = self.files_prefix.clone().unwrap_or_default();
        let files_required = files.is_some();
        let columns = TaskColumns { title, description, files, files_required };
        Ok(TextRecipe::task(columns, &TextTemplate { files_prefix }))
    }

    /// How the texts of `recipe` differ from these, as a clause; `None` if they do not. The input
    /// has the columns `present`.
    pub fn difference(&self, recipe: &TextRecipe, present: &[String]) -> Option<String> {
        let split = recipe.split();
        let there = [true, false].map(|is_list| self.recipe(&|_| is_list).ok());
        let here = match self.lines {
            Some(_) => recipe.clone(),
            // Up to version 3 the footer names what the input had.
            None => recipe.of_present(|name| present.iter().any(|column| column == name)),
        };
        if !there.iter().flatten().any(|there| there.to_lines() == here.to_lines()) {
            let there = there.into_iter().flatten().next();
            let there = there.map_or_else(|| self.columns.join(", "), |there| there.to_string());
            let here = here.to_string();
            return Some(format!("the text was made by {there:?} there, it is {here:?} here"));
        }
        if self.split != split {
            return Some(format!("text.split is {:?} there, {split:?} here", self.split));
        }
        let shown = |chunk: Option<FooterChunk>| match chunk {
            Some(FooterChunk { tokens, overlap }) => {
                format!("{{ tokens = {tokens}, overlap = {overlap} }}")
            }
            None => "not set".to_owned(),
        };
        let chunk = recipe.chunk().map(FooterChunk::from);
        (self.chunk != chunk)
            .then(|| format!("text.chunk is {} there, {} here", shown(self.chunk), shown(chunk)))
    }
}

impl Lineage {
    /// The lineage of vectors that this version of the program makes with `model`.
    pub fn new(model: &ModelIdentity) -> Self {
        Lineage {
            version: FORMAT_VERSION,
            tool: TOOL.to_owned(),
            fingerprint: model.fingerprint(),
            model: model.clone(),
        }
    }

    /// The fields that make the vectors of `self` and `other` incomparable; empty if the
    /// fingerprints are equal.
    pub fn differences(&self, other: &Lineage) -> Vec<String> {
        if self.fingerprint == other.fingerprint {
            return Vec::new();
        }
        let differences = self.model.differences(&other.model);
        if differences.is_empty() {
            return vec!["the fingerprint was computed by another method".to_owned()];
        }
        differences
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A footer that describes no real file.
    pub(crate) fn footer() -> Footer {
        let digest = |column: &str| ColumnDigest {
            column: column.to_owned(),
            digest: ColumnHash::Xxh3("00".to_owned()),
        };
        Footer {
            lineage: Lineage::new(&model()),
            text: FooterText::new(
                &TextRecipe::columns(vec!["title".to_owned()]),
                vec!["title".to_owned()],
                Some("id".to_owned()),
            ),
            column: "embedding".to_owned(),
            form: Some(FooterForm {
                vector_type: VectorType::F32,
                layout: VectorLayout::FixedSizeList,
                dims: 384,
                normalize: false,
                ranges: None,
            }),
            carry: Carry::Copy,
            rows: 7,
            null_rows: 1,
            dropped_rows: 0,
            limit: None,
            input_rows: None,
            digests: Some(Digests {
                carried: vec![digest("id"), digest("title")],
                vectors: "01".to_owned(),
            }),
            on_empty: Some(OnEmpty::Null),
            groups: vec![GroupDigest {
                rows: 7,
                null_rows: 1,
                tokens: 70,
                truncated: 0,
                texts: vec!["02".to_owned()],
                pages: "03".to_owned(),
                values: "04".to_owned(),
            }],
            more: Vec::new(),
            earlier: Vec::new(),
        }
    }

    /// The same with a second vector column.
    pub(crate) fn footer_of_two() -> Footer {
        let one = footer();
        let second = FooterColumn {
            column: "second".to_owned(),
            lineage: one.lineage.clone(),
            text: one.text.clone(),
            form: one.form.clone().expect("a form"),
            null_rows: 0,
            vectors: "05".to_owned(),
            groups: one.groups.clone(),
        };
        Footer { more: vec![second], ..one }
    }

    #[test]
    fn vector_columns_are_found_by_name_and_carried_on() {
        let two = footer_of_two();
        let names: Vec<&str> = two.embeddings().iter().map(|one| one.column).collect();
        assert_eq!(names, ["embedding", "second"]);
        assert!(two.is_vectors("second") && !two.is_vectors("title"));
        assert_eq!(two.embedding("second").expect("a column").vectors, Some("05"));
        assert_eq!(two.embedding("title"), None);
        let json = serde_json::to_string(&two).expect("JSON");
        assert_eq!(Footer::parse(&json).expect("a footer"), two);

        let carried = two.carried_on(|column| column == "second");
        assert_eq!(carried.len(), 1);
        let later = Footer { column: "third".to_owned(), earlier: carried.clone(), ..footer() };
        assert_eq!(later.carried_on(|column| column == "second"), carried);
        assert_eq!(later.carried_on(|_| true).len(), 2);
        assert_eq!(later.carried_on(|_| false), []);
    }

    #[test]
    fn known_versions_parse_and_a_newer_one_is_refused() {
        let entry = |change: fn(&mut serde_json::Value)| {
            let mut json = serde_json::to_value(footer()).expect("JSON");
            change(&mut json);
            Footer::parse(&json.to_string())
        };
        assert_eq!(entry(|_| ()).expect("a footer"), footer());
        let first = entry(|json| {
            json["lineage"]["version"] = 1.into();
            let fields = json.as_object_mut().expect("an object");
            fields.retain(|field, _| {
                !["digests", "carry", "form", "on_empty", "groups"].contains(&field.as_str())
            });
        });
        let first = first.expect("a footer");
        assert_eq!((first.digests, first.carry, first.form), (None, Carry::Reencode, None));
        let second = entry(|json| {
            let old = serde_json::json!({ "column": "id", "sha256": "00" });
            json["digests"] = serde_json::json!({ "ids": "00", "carried": [old], "vectors": "01" });
        });
        let digests = second.expect("a footer").digests.expect("digests");
        assert_eq!(digests.carried[0].digest, ColumnHash::Sha256("00".to_owned()));
        let newer = entry(|json| {
            json["lineage"]["version"] = (FORMAT_VERSION + 1).into();
            json["rows"] = "of another form".into();
        });
        assert!(matches!(newer, Err(FooterError::Newer(version)) if version == FORMAT_VERSION + 1));
        assert!(matches!(entry(|json| json["rows"] = (-1).into()), Err(FooterError::Malformed(_))));
        assert!(matches!(Footer::parse("{}"), Err(FooterError::Malformed(_))));
        assert!(matches!(Footer::parse("\u{0}"), Err(FooterError::Malformed(_))));
    }

    #[test]
    fn recipe_over_an_old_footer_differs_only_if_its_texts_do() {
        let old = |columns: &[&str], prefix: &str| FooterText {
            lines: None,
            split: BTreeMap::new(),
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            files_prefix: Some(prefix.to_owned()),
            id: None,
            chunk: None,
        };
        let template = |text: &str| TextRecipe::template(text).expect("a template");
        let both = ["review", "files"];
        for (there, here, present, is_same) in [
            (old(&both, "Files: "), "{review}\nFiles: {files}", &both[..], true),
            (old(&both, "Files: "), "{review}\n{files}", &both, true),
            (old(&both, "Files: "), "{review}\nPaths: {files}", &both, false),
            (old(&["review"], "Files: "), "{review}", &["review"], true),
            (old(&["review"], "Files: "), "{review}\nFiles: {files}", &["review"], true),
            (old(&["review"], "Files: "), "{review}\n{title}", &["review", "title"], false),
            (old(&["a", "b", "c"], ""), "{a}\n{b}\n{c}", &["a", "b", "c"], true),
            (old(&["a", "b", "c"], ""), "{b}\n{a}\n{c}", &["a", "b", "c"], false),
        ] {
            let present: Vec<String> = present.iter().map(|name| (*name).to_owned()).collect();
            let difference = there.difference(&template(here), &present);
            assert_eq!(difference.is_none(), is_same, "{there:?}, {here:?}: {difference:?}");
        }
    }

    #[test]
    fn lineages_differ_only_where_fingerprints_do() {
        let here = Lineage::new(&model());
        assert_eq!(here.differences(&here), Vec::<String>::new());
        let pinned = ModelIdentity { precision: "bf16".to_owned(), ..model() };
        assert_eq!(
            here.differences(&Lineage::new(&pinned)),
            [r#"precision "bf16" there, "f32" here"#]
        );
        let otherwise = Lineage { fingerprint: "1234".to_owned(), ..here.clone() };
        assert_eq!(
            here.differences(&otherwise),
            ["the fingerprint was computed by another method"]
        );
    }

    fn model() -> ModelIdentity {
        ModelIdentity {
            id: "a/b".to_owned(),
            files: BTreeMap::from([("config.json".to_owned(), "00".to_owned())]),
            pooling: "mean".to_owned(),
            normalized: true,
            max_seq_length: 256,
            truncation: None,
            chunks: None,
            tokens: None,
            prompt: String::new(),
            dimension: 384,
            precision: "f32".to_owned(),
            numerics: "fake-1".to_owned(),
        }
    }
}
