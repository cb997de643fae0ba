//! Finds the columns of a text in record batches in memory, and builds the texts of their rows.
//!
//! Texts are those that a run makes of the same table in a Parquet file: types that such a file
//! does not have count as what they are written as.

use std::sync::Arc;

use arrow::array::{Array, LargeStringArray, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use reembed_encoder::batch::escape_id;
use reembed_encoder::error::{Error, ErrorKind, Result};

use super::columns::RecipeColumns;
use super::named_column::{COLUMN_LIST, all_of, list_names};
use super::text_roots::{Values, can_be_text, wanted_values};
use crate::config::{InvalidUtf8, nearest};
use crate::text::{TextField, TextRecipe};

/// The columns of the texts of a recipe in record batches of one schema.
#[derive(Debug, Clone)]
pub struct BatchColumns {
    columns: RecipeColumns,
    /// The positions of the root columns, each once.
    roots: Vec<usize>,
    /// The root columns as Parquet would have them.
    types: SchemaRef,
}

impl BatchColumns {
    /// Finds the columns of a recipe by name, and checks their types.
    ///
    /// # Errors
    /// `Input`, naming every column that is missing, there twice or of another type.
    pub fn find(schema: &Schema, recipe: &TextRecipe) -> Result<BatchColumns> {
        let mut faults = Vec::new();
        let mut found = Vec::new();
        for field in recipe.fields() {
            match find_field(schema, field) {
                Ok(path) => found.push(path),
                Err(error) => faults.push(error),
            }
        }
        if !faults.is_empty() {
            return Err(all_of(faults));
        }
        let mut roots: Vec<usize> = found.iter().flatten().map(|path| path.root).collect();
        roots.sort_unstable();
        roots.dedup();
        let types = roots.iter().map(|root| as_in_parquet(&schema.fields()[*root]));
        let types = Arc::new(Schema::new(types.collect::<Vec<FieldRef>>()));
        let fields = found.into_iter().map(|path| {
            let Path { root, names } = path?;
            let position = roots.binary_search(&root).ok()?;
            Some((position, schema.field(root).name().clone(), names))
        });
        let columns = RecipeColumns::in_batches(recipe.clone(), fields.collect());
        Ok(BatchColumns { columns, roots, types })
    }

    /// Checks the memory of the columns, which another library may have made: that offsets are in their
    /// bounds and strings are UTF-8.
    ///
    /// # Errors
    /// `Input`, naming the column.
    pub fn check(&self, batches: &[RecordBatch]) -> Result<()> {
        for batch in batches {
            for root in &self.roots {
                batch.column(*root).to_data().validate_full().map_err(|cause| {
                    let name = escape_id(batch.schema_ref().field(*root).name());
                    Error::new(ErrorKind::Input, format!("its memory is damaged: {cause}"))
                        .at(format!("column `{name}`"))
                        .advice("make the column again with valid UTF-8")
                        .caused_by(cause)
                })?;
            }
        }
        Ok(())
    }

    /// The names of the columns among `names` that a recipe needs, each once, in the order of the
    /// table. A name with dots needs the column of that name or the struct that it leads into.
    pub fn needed<'n>(recipe: &TextRecipe, names: &[&'n str]) -> Vec<&'n str> {
        let is_needed = |name: &&&str| {
            recipe.fields().iter().any(|field| {
                let rest = field.name.strip_prefix(**name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        names.iter().filter(is_needed).copied().collect()
    }

    /// Builds the texts of the rows of a batch, of which the first is at `first_row` of the table.
    /// A row without text has the empty one.
    ///
    /// # Errors
    /// `Data`, naming the row and the column, when a value has no form as text.
    pub fn texts(&self, first_row: u64, batch: &RecordBatch) -> Result<LargeStringArray> {
        let columns = self.roots.iter().zip(self.types.fields()).map(|(root, field)| {
            let column = batch.column(*root);
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            cast(column, field.data_type()).map_err(|cause| {
                Error::new(ErrorKind::Data, "its values have no plain form as text")
                    .at(format!("column `{}`", escape_id(field.name())))
                    .advice("convert the column to strings")
                    .caused_by(cause)
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.types.clone(), columns, &options)
            .map_err(|cause| {
                Error::new(ErrorKind::Internal, "the columns do not match their types (bug)")
                    .caused_by(cause)
            })?;
        self.columns.build(first_row, &batch, InvalidUtf8::Error)
    }
}

/// Where a field lies in a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path {
    /// The root column.
    root: usize,
    /// The fields of structs that lead to it. Lists on the way have none.
    names: Vec<String>,
}

/// The field of a text; `None` if it is optional and absent.
fn find_field(schema: &Schema, field: &TextField) -> Result<Option<Path>> {
    if !field.required && !schema.fields().iter().any(|root| *root.name() == field.name) {
        return Ok(None);
    }
    let (path, found) = find_path(schema, &field.name)?;
    let innermost = innermost(&found);
    let holds = match innermost {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Values::Text,
        DataType::Null => Values::Null,
        _ => Values::Other,
    };
    if can_be_text(Some(&found), holds, field) {
        return Ok(Some(path));
    }
    let described = match fields_of(&found) {
        Some(fields) => format!("a struct with the fields {}", list_names(names_of(fields))),
        None => found.to_string(),
    };
    let name = escape_id(&field.name);
    let advice = match innermost {
        DataType::Struct(_) => format!("name one of its fields, such as `{name}.NAME`"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            "cast the column to strings".to_owned()
        }
        _ => "name another column, or convert this one".to_owned(),
    };
    let message = format!("its type is {described}; the column must hold {}", wanted_values(field));
    Err(Error::new(ErrorKind::Input, message).at(format!("column `{name}`")).advice(advice))
}

/// Finds the column or the nested field with a name, by the rule of the fields of a file: a column of
/// that very name comes first, then the longest name that leads into a struct.
fn find_path(schema: &Schema, name: &str) -> Result<(Path, DataType)> {
    let roots = schema.fields();
    let is_whole = roots.iter().any(|root| root.name() == name);
    let rest_of = |root: &FieldRef| {
        name.strip_prefix(root.name().as_str()).and_then(|rest| rest.strip_prefix('.'))
    };
    let mut outer: Vec<&FieldRef> = roots.iter().filter(|root| rest_of(root).is_some()).collect();
    outer.sort_by_key(|root| std::cmp::Reverse(root.name().len()));
    let Some(longest) = outer.first().filter(|_| !is_whole) else {
        let root = find_root(schema, name)?;
        let data_type = as_in_parquet(&roots[root]).data_type().clone();
        return Ok((Path { root, names: Vec::new() }, data_type));
    };
    for field in &outer {
        let root = find_root(schema, field.name())?;
        let data_type = as_in_parquet(&roots[root]).data_type().clone();
        let mut names = Vec::new();
        match descend(&data_type, rest_of(field).unwrap_or_default(), &mut names) {
            Descent::Found(data_type) => return Ok((Path { root, names }, data_type)),
            Descent::Twice => {
                let message = format!("there are two fields `{}`", escape_id(name));
                return Err(Error::new(ErrorKind::Input, message).advice("rename one of them"));
            }
            Descent::None => {}
        }
    }
    let outer = escape_id(longest.name());
    let message = match fields_of(longest.data_type()) {
        None => format!("there is no field `{}`; `{outer}` is no struct", escape_id(name)),
        Some(fields) => format!(
            "there is no field `{}`; the fields of `{outer}` are {}",
            escape_id(name),
            list_names(names_of(fields))
        ),
    };
    Err(Error::new(ErrorKind::Input, message).advice("name one of the table's columns or fields"))
}

/// The root column with a name.
fn find_root(schema: &Schema, name: &str) -> Result<usize> {
    let mut named = schema.fields().iter().enumerate().filter(|(_, root)| root.name() == name);
    let refuse = |message: String| Error::new(ErrorKind::Input, message);
    match (named.next(), named.next()) {
        (Some((position, _)), None) => Ok(position),
        (Some(_), Some(_)) => Err(refuse(format!("there are two columns `{}`", escape_id(name)))
            .advice("rename one of them")),
        (None, _) if schema.fields().is_empty() => Err(refuse("the table has no columns".into())),
        (None, _) => {
            let names = || names_of(schema.fields());
            let hint = nearest(name, names());
            let (name, listed) = (escape_id(name), list_names(names()));
            Err(refuse(format!("there is no column `{name}`{hint}{COLUMN_LIST}{listed}"))
                .advice("name one of them"))
        }
    }
}

/// What the rest of a name leads to.
enum Descent {
    /// The type, in the lists that were passed on the way.
    Found(DataType),
    /// Two fields have the name.
    Twice,
    None,
}

/// Follows the rest of a name below a type. The longest name of a field that fits is tried first.
fn descend(data_type: &DataType, rest: &str, names: &mut Vec<String>) -> Descent {
    if let Some(item) = item_of(data_type) {
        return match descend(item.data_type(), rest, names) {
            Descent::Found(inner) => {
                Descent::Found(DataType::List(Arc::new(Field::new(item.name(), inner, true))))
            }
            other => other,
        };
    }
    let DataType::Struct(fields) = data_type else { return Descent::None };
    let fits = |field: &&FieldRef| {
        rest.strip_prefix(field.name().as_str()).is_some_and(|r| r.is_empty() || r.starts_with('.'))
    };
    let mut fitting: Vec<&FieldRef> = fields.iter().filter(fits).collect();
    fitting.sort_by_key(|field| std::cmp::Reverse(field.name().len()));
    if fitting.windows(2).any(|pair| pair[0].name() == pair[1].name()) {
        return Descent::Twice;
    }
    for field in fitting {
        names.push(field.name().clone());
        let below = rest.get(field.name().len() + 1..);
        match below.map(|below| descend(field.data_type(), below, names)) {
            None => return Descent::Found(field.data_type().clone()),
            Some(Descent::None) => {}
            Some(found) => return found,
        }
        names.pop();
    }
    Descent::None
}

/// The item of a list.
fn item_of(data_type: &DataType) -> Option<&FieldRef> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item)
        }
        _ => None,
    }
}

/// The type inside all lists.
fn innermost(data_type: &DataType) -> &DataType {
    item_of(data_type).map_or(data_type, |item| innermost(item.data_type()))
}

/// The fields of a struct, or of the structs of a list.
fn fields_of(data_type: &DataType) -> Option<&arrow::datatypes::Fields> {
    match innermost(data_type) {
        DataType::Struct(fields) => Some(fields),
        _ => None,
    }
}

fn names_of(fields: &arrow::datatypes::Fields) -> impl Iterator<Item = &str> {
    fields.iter().map(|field| field.name().as_str())
}

/// The field as it is read from a Parquet file: encodings are none of its type, and times have the
/// units of the format.
fn as_in_parquet(field: &FieldRef) -> FieldRef {
    let data_type = type_in_parquet(field.data_type());
    match data_type == *field.data_type() {
        true => field.clone(),
        false => Arc::new(Field::new(field.name(), data_type, true)),
    }
}

fn type_in_parquet(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, value) => match type_in_parquet(value) {
            DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
            value => value,
        },
        DataType::RunEndEncoded(_, value) => type_in_parquet(value.data_type()),
        DataType::Date64 => DataType::Date32,
        DataType::Duration(_) => DataType::Int64,
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::List(item) => DataType::List(as_in_parquet(item)),
        DataType::LargeList(item) => DataType::LargeList(as_in_parquet(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(as_in_parquet(item), *size),
        DataType::ListView(item) => DataType::List(as_in_parquet(item)),
        DataType::LargeListView(item) => DataType::LargeList(as_in_parquet(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(as_in_parquet).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Array, ArrayRef, BinaryArray, Date64Array, Float32Array, Int64Array, ListBuilder,
        StringArray, StringBuilder, StructArray,
    };

    use super::*;
    use crate::text::TaskColumns;

    fn strings(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
        let field =
            |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let arrays = columns.iter().map(|(_, column)| column.clone()).collect();
        RecordBatch::try_new(Arc::new(schema), arrays).expect("a batch")
    }

    fn texts(recipe: &TextRecipe, batch: &RecordBatch) -> Result<Vec<String>> {
        let columns = BatchColumns::find(batch.schema_ref(), recipe)?;
        let texts = columns.texts(0, batch)?;
        Ok((0..texts.len()).map(|row| texts.value(row).to_owned()).collect())
    }

    fn template(template: &str) -> TextRecipe {
        TextRecipe::template(template).expect("a template")
    }

    fn task() -> TextRecipe {
        let columns = TaskColumns {
            title: "title".into(),
            description: Some("description".into()),
            files: Some("files".into()),
            files_required: false,
        };
        TextRecipe::task(columns, &Default::default())
    }

    #[test]
    fn texts_have_the_forms_of_a_file() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), None, Some("b")]);
        lists.append_null();
        let words = strings(&[Some("x"), None]);
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
        let inner = Field::new("deep", DataType::Int64, true);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
        let columns = [
            ("word", cast(&words, &dictionary).expect("a dictionary")),
            ("day", Arc::new(Date64Array::from(vec![Some(1_641_600_000_000), None])) as ArrayRef),
            ("list", Arc::new(lists.finish())),
            ("float", Arc::new(Float32Array::from(vec![0.1, 4.0]))),
            ("outer", Arc::new(StructArray::from(vec![(Arc::new(inner), numbers)]))),
            ("unused", Arc::new(BinaryArray::from(vec![b"\xff".as_slice(), b""]))),
        ];
        let recipe = template("{word} {day} {list} {float} {outer.deep}");
        let found = texts(&recipe, &batch(&columns)).expect("texts");
        assert_eq!(found, ["x 2022-01-08 a, b 0.1 7", "   4.0 8"]);
    }

    #[test]
    fn task_rows_need_no_files_and_may_be_empty() {
        let columns =
            [("title", strings(&[Some("t"), None])), ("description", strings(&[Some("d"), None]))];
        assert_eq!(texts(&task(), &batch(&columns)).expect("texts"), ["t\nd", ""]);
    }

    #[test]
    fn wrong_columns_are_named_with_what_helps() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let inner = Arc::new(Field::new("deep", DataType::Int64, true));
        let table = batch(&[
            ("title", strings(&[Some("t")])),
            ("number", numbers.clone()),
            ("outer", Arc::new(StructArray::from(vec![(inner, numbers)]))),
            ("bytes", Arc::new(BinaryArray::from(vec![b"a".as_slice()]))),
        ]);
        for (recipe, expected) in [
            (
                TextRecipe::columns(vec!["titel".into()]),
                "there is no column `titel`; did you mean `title`?; the columns are `title`, \
                 `number`, `outer`, `bytes`",
            ),
            (
                template("{outer}"),
                "column `outer`: its type is a struct with the fields `deep`; the column must hold \
                 strings, numbers, booleans, dates, times or lists of them",
            ),
            (
                template("{outer.no}"),
                "there is no field `outer.no`; the fields of `outer` are `deep`",
            ),
            (template("{title.no}"), "there is no field `title.no`; `title` is no struct"),
            (
                template("{bytes}"),
                "column `bytes`: its type is Binary; the column must hold strings, numbers, \
                 booleans, dates, times or lists of them",
            ),
            (
                task(),
                "there is no column `description`; the columns are `title`, `number`, `outer`, `bytes`",
            ),
        ] {
            let error = texts(&recipe, &table).expect_err(expected);
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Input, expected));
            assert!(error.advice_text().is_some(), "{expected}");
        }
    }

    #[test]
    fn needed_columns_are_those_of_the_recipe() {
        let names = ["b", "a", "a.b", "ab", "c"];
        assert_eq!(BatchColumns::needed(&template("{a.b} {b}"), &names), ["b", "a", "a.b"]);
        assert_eq!(BatchColumns::needed(&template("{x}"), &names), Vec::<&str>::new());
    }
}
