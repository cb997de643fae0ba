//! The syntax of `text.template`: literal text with columns in braces.

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text.
    Literal(String),
    /// The name of a column.
    Column(String),
}

/// What is wrong with a template, as a clause about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No column is named.
    #[error("names no column; write one in braces, such as {{title}}")]
    NoColumn,
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

/// Parses a template: the parts of each line. A name ends at the first `}`; outside of names `{{` and
/// `}}` are braces.
pub fn parse(template: &str) -> Result<Vec<Vec<Piece>>, TemplateError> {
    let lines = template.split('\n').map(parse_line).collect::<Result<Vec<_>, _>>()?;
    let has_column = lines.iter().flatten().any(|piece| matches!(piece, Piece::Column(_)));
    if has_column { Ok(lines) } else { Err(TemplateError::NoColumn) }
}

/// Literal text in a template.
pub fn escape(literal: &str) -> String {
    literal.replace('{', "{{").replace('}', "}}")
}

fn parse_line(line: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        literal.push_str(before);
        rest = &brace[1..];
        let doubled = rest.starts_with(&brace[..1]);
        match (brace.starts_with('{'), doubled) {
            (_, true) => {
                literal.push_str(&brace[..1]);
                rest = &rest[1..];
            }
            (false, false) => return Err(TemplateError::Unopened),
            (true, false) => {
                let (name, after) = rest.split_once('}').ok_or(TemplateError::Unclosed)?;
                match name {
                    "" => return Err(TemplateError::EmptyName),
                    name if name.contains('{') => return Err(TemplateError::Unclosed),
                    name => {
                        let literal = std::mem::take(&mut literal);
                        pieces.extend((!literal.is_empty()).then_some(Piece::Literal(literal)));
                        pieces.push(Piece::Column(name.to_owned()));
                    }
                }
                rest = after;
            }
        }
    }
    literal.push_str(rest);
    pieces.extend((!literal.is_empty()).then_some(Piece::Literal(literal)));
    Ok(pieces)
}
