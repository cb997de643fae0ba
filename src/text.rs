//! The text recipe: how the columns of a row make its input text.
//!
//! A recipe is a list of lines. A line has literal text and fields, and a field is a column of the
//! table or a value inside one. The three ways to write a recipe make the same thing:
//!
//! ```text
//!   input.title, description, files   {title} ⏎ {description} ⏎ Files: {files}
//!   text.columns = ["a", "b"]         {a} ⏎ {b}
//!   text.template = "…"               as it is written
//! ```
//!
//! - A null and an empty string are empty, and so is a list without items. Nulls in a list are left
//!   out; its items are joined by `, `.
//! - A line whose fields are all empty is left out; a line without fields stays.
//! - A row whose fields are all empty has the empty text, whatever else the recipe says.
//! - Values are taken as they are: not trimmed, not normalised.

mod template;

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use reembed_encoder::model::chunk_size::ChunkSize;
use reembed_encoder::task::TextTemplate;

use template::escape;
pub use template::{Piece, TemplateError};

/// What stands between the items of a list.
pub const LIST_SEPARATOR: &str = ", ";

/// How the columns of a row make its input text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRecipe {
    lines: Vec<Line>,
    fields: Vec<TextField>,
    /// The chunks that a text is split into, each a row of the output; `None` if a text is one.
    chunk: Option<ChunkSize>,
}

/// A line of a recipe.
type Line = Vec<Part>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    /// The position of the field in the recipe.
    Field(usize),
}

/// A column that a recipe names, or a value inside one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextField {
    /// The name of the column. Dots lead into structs: `payload.title`.
    pub name: String,
    /// The setting that names it.
    pub key: &'static str,
    /// What it must hold.
    pub holds: Holds,
    /// Whether a table without it is refused.
    pub required: bool,
    /// What separates the items of a list that is written as one string (`text.split`).
    pub separator: Option<String>,
}

/// What a field must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Strings.
    Text,
    /// Lists of strings.
    Texts,
    /// Strings, numbers, booleans, dates or times, or lists of them.
    Plain,
}

/// The columns of a task row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskColumns {
    /// Strings.
    pub title: String,
    /// Strings; `None` if the table has no such column.
    pub description: Option<String>,
    /// Lists of strings; `None` if the table has no such column.
    pub files: Option<String>,
    /// Whether the user set `files`, so that the column must exist.
    pub files_required: bool,
}

/// The values of one row.
pub trait RowValues {
    /// Whether a field is empty.
    fn is_empty(&self, field: usize) -> bool;

    /// Appends the value of a field.
    ///
    /// # Errors
    /// The error of the writer.
    fn write(&self, field: usize, text: &mut dyn Write) -> fmt::Result;
}

impl TextRecipe {
    /// The recipe of a task row: the lines of [`TextTemplate`].
    pub fn task(columns: TaskColumns, template: &TextTemplate) -> TextRecipe {
        let TaskColumns { title, description, files, files_required } = columns;
        let mut recipe = TextRecipe { lines: Vec::new(), fields: Vec::new(), chunk: None };
        let mut add = |prefix: &str, name, key, holds, required| {
            let field = TextField { name, key, holds, required, separator: None };
            let literal = (!prefix.is_empty()).then(|| Part::Literal(prefix.to_owned()));
            recipe
                .lines
                .push(literal.into_iter().chain([Part::Field(recipe.fields.len())]).collect());
            recipe.fields.push(field);
        };
        add("", title, "input.title", Holds::Text, true);
        if let Some(description) = description {
            add("", description, "input.description", Holds::Text, true);
        }
        if let Some(files) = files {
            let prefix = &template.files_prefix;
            add(prefix, files, "input.files", Holds::Texts, files_required);
        }
        recipe
    }

    /// The values of these columns, a line each. `names` are different from one another.
    pub fn columns(names: Vec<String>) -> TextRecipe {
        let lines = (0..names.len()).map(|field| vec![Part::Field(field)]).collect();
        let field = |name| TextField {
            name,
            key: "text.columns",
            holds: Holds::Plain,
            required: true,
            separator: None,
        };
        TextRecipe { lines, fields: names.into_iter().map(field).collect(), chunk: None }
    }

    /// Parses a template such as `title: {title}\nbody: {body}`. `{{` and `}}` are braces.
    ///
    /// # Errors
    /// What is wrong with it, as a clause about it.
    pub fn template(template: &str) -> Result<TextRecipe, TemplateError> {
        template::parse(template).map(TextRecipe::from_lines)
    }

    /// A recipe of these lines.
    pub fn from_lines(lines: Vec<Vec<Piece>>) -> TextRecipe {
        let mut recipe = TextRecipe { lines: Vec::new(), fields: Vec::new(), chunk: None };
        for line in lines {
            let line = line.into_iter().map(|piece| match piece {
                Piece::Literal(literal) => Part::Literal(literal),
                Piece::Column(name) => Part::Field(recipe.field(name)),
            });
            let line = line.collect();
            recipe.lines.push(line);
        }
        recipe
    }

    /// Its lines.
    pub fn to_lines(&self) -> Vec<Vec<Piece>> {
        let piece = |part: &Part| match part {
            Part::Literal(literal) => Piece::Literal(literal.clone()),
            Part::Field(field) => Piece::Column(self.fields[*field].name.clone()),
        };
        self.lines.iter().map(|line| line.iter().map(piece).collect()).collect()
    }

    /// The position of the field with a name, which is added if it is new.
    fn field(&mut self, name: String) -> usize {
        if let Some(position) = self.fields.iter().position(|field| field.name == name) {
            return position;
        }
        let (key, holds) = ("text.template", Holds::Plain);
        self.fields.push(TextField { name, key, holds, required: true, separator: None });
        self.fields.len() - 1
    }

    /// The same recipe, in which columns are strings that hold lists: their separators by name.
    ///
    /// # Errors
    /// A clause about the first column that the recipe does not name, or about an empty separator.
    pub fn with_split(mut self, split: &BTreeMap<String, String>) -> Result<TextRecipe, String> {
        for (name, separator) in split {
            if separator.is_empty() {
                return Err(format!("has an empty separator for {name:?}"));
            }
            let Some(field) = self.fields.iter_mut().find(|field| field.name == *name) else {
                let known: Vec<String> =
                    self.fields.iter().map(|field| format!("{:?}", field.name)).collect();
                return Err(format!(
                    "names {name:?}, which is no column of the text; those are {}",
                    known.join(", ")
                ));
            };
            field.separator = Some(separator.clone());
        }
        Ok(self)
    }

    /// The same recipe, whose texts are split into chunks of this size.
    #[must_use]
    pub fn with_chunk(self, chunk: Option<ChunkSize>) -> TextRecipe {
        TextRecipe { chunk, ..self }
    }

    /// The size of the chunks that a text is split into, each a row of the output.
    pub fn chunk(&self) -> Option<ChunkSize> {
        self.chunk
    }

    /// The same recipe, in which only the fields that `has` names must be there.
    #[must_use]
    pub fn with_present(mut self, has: impl Fn(&str) -> bool) -> TextRecipe {
        self.fields.iter_mut().for_each(|field| field.required = has(&field.name));
        self
    }

    /// The recipe without the lines of columns that `has` does not name, for comparisons.
    #[must_use]
    pub fn of_present(&self, has: impl Fn(&str) -> bool) -> TextRecipe {
        let is_kept = |line: &Vec<Piece>| {
            line.iter().all(|piece| !matches!(piece, Piece::Column(name) if !has(name)))
        };
        let lines = self.to_lines().into_iter().filter(is_kept).collect();
        TextRecipe::from_lines(lines).with_chunk(self.chunk)
    }

    /// The fields, each once.
    pub fn fields(&self) -> &[TextField] {
        &self.fields
    }

    /// The separators of strings that hold lists, by the name of the field.
    pub fn split(&self) -> BTreeMap<String, String> {
        let separator = |field: &TextField| Some((field.name.clone(), field.separator.clone()?));
        self.fields.iter().filter_map(separator).collect()
    }

    /// Appends the text of a row.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn write(&self, text: &mut impl Write, row: &impl RowValues) -> fmt::Result {
        if (0..self.fields.len()).all(|field| row.is_empty(field)) {
            return Ok(());
        }
        let mut is_first = true;
        for line in &self.lines {
            let mut fields = line.iter().filter_map(|part| match part {
                Part::Field(field) => Some(*field),
                Part::Literal(_) => None,
            });
            let has_fields = fields.clone().next().is_some();
            if has_fields && fields.all(|field| row.is_empty(field)) {
                continue;
            }
            if !std::mem::replace(&mut is_first, false) {
                text.write_char('\n')?;
            }
            for part in line {
                match part {
                    Part::Literal(literal) => text.write_str(literal)?,
                    Part::Field(field) => row.write(*field, text)?,
                }
            }
        }
        Ok(())
    }
}

/// As a template: that of `text.template`.
impl fmt::Display for TextRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.lines.iter().enumerate() {
            if number > 0 {
                f.write_char('\n')?;
            }
            for part in line {
                match part {
                    Part::Literal(literal) => f.write_str(&escape(literal))?,
                    Part::Field(field) => {
                        write!(f, "{{{}}}", self.fields[*field].name)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
