//! The syntax of `text.template`: literal text with columns in braces.

use super::{Holds, Line, Part, TextField, TextRecipe};

/// What is wrong with a template, as a clause about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No column is named.
    #[error("names no column; write one in braces, such as {{title}}")]
    NoField,
    /// A `{}`.
    #[error("has {{}} without the name of a column")]
    EmptyName,
    /// A `{` that is not closed in its line.
    #[error("has a {{ that is not closed in its line; write {{{{ for a brace")]
    Unclosed,
    /// A `}` that closes nothing.
    #[error("has a }} that closes nothing; write }}}} for a brace")]
    Unopened,
}

/// Parses a template. Inside of a name too, `{{` and `}}` are braces.
pub fn parse(template: &str) -> Result<TextRecipe, TemplateError> {
    let mut recipe = TextRecipe { lines: Vec::new(), fields: Vec::new() };
    for line in template.split('\n') {
        let line = parse_line(line, &mut recipe.fields)?;
        recipe.lines.push(line);
    }
    match recipe.fields.is_empty() {
        true => Err(TemplateError::NoField),
        false => Ok(recipe),
    }
}

/// Literal text in a template.
pub fn escape(literal: &str) -> String {
    literal.replace('{', "{{").replace('}', "}}")
}

fn parse_line(line: &str, fields: &mut Vec<TextField>) -> Result<Line, TemplateError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = line.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '{' | '}' if rest.peek() == Some(&char) => {
                rest.next();
                literal.push(char);
            }
            '}' => return Err(TemplateError::Unopened),
            '{' => {
                let name = parse_name(&mut rest)?;
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(Part::Field(position_of(name, fields)));
            }
            char => literal.push(char),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

/// The name up to the closing brace.
fn parse_name(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
) -> Result<String, TemplateError> {
    let mut name = String::new();
    while let Some(char) = rest.next() {
        match char {
            '{' | '}' if rest.peek() == Some(&char) => {
                rest.next();
                name.push(char);
            }
            '{' => return Err(TemplateError::Unclosed),
            '}' if name.is_empty() => return Err(TemplateError::EmptyName),
            '}' => return Ok(name),
            char => name.push(char),
        }
    }
    Err(TemplateError::Unclosed)
}

/// The position of the field with a name, which is added if it is new.
fn position_of(name: String, fields: &mut Vec<TextField>) -> usize {
    if let Some(position) = fields.iter().position(|field| field.name == name) {
        return position;
    }
    fields.push(TextField {
        name,
        key: "text.template",
        holds: Holds::Plain,
        required: true,
        separator: None,
    });
    fields.len() - 1
}
