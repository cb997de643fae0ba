//! Expands rules into text: picks a choice and replaces its references.

use std::collections::HashMap;

use super::dice::Dice;
use super::grammar::Grammar;
use super::template::Reference;

/// Writes the texts of one row.
pub struct Author<'a> {
    grammar: &'a Grammar,
    pub dice: Dice,
    /// The text of each sticky rule of this row.
    kept: HashMap<&'static str, String>,
    /// The last choice of each rule; the next choice differs.
    last: HashMap<&'static str, usize>,
}

impl<'a> Author<'a> {
    pub fn new(grammar: &'a Grammar, dice: Dice) -> Self {
        Author { grammar, dice, kept: HashMap::new(), last: HashMap::new() }
    }

    /// Expands the rule with this name.
    pub fn write(&mut self, name: &str) -> String {
        let grammar = self.grammar;
        let Some((name, rule)) = grammar.rule(name) else {
            debug_assert!(false, "the grammar has no rule `{name}`");
            return String::new();
        };
        if let Some(kept) = self.kept.get(name) {
            return kept.clone();
        }
        let roll = self.dice.below(rule.weight());
        let mut position = rule.choices.partition_point(|choice| choice.weight_so_far <= roll);
        if self.last.get(name) == Some(&position) {
            position = (position + 1) % rule.choices.len();
        }
        self.last.insert(name, position);
        let text = self.expand(rule.choices[position].template);
        if rule.is_sticky {
            self.kept.insert(name, text.clone());
        }
        text
    }

    /// Replaces the references of a template.
    fn expand(&mut self, template: &str) -> String {
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['@', '\\']) {
            text.push_str(&rest[..at]);
            let is_escape = rest[at..].starts_with('\\');
            rest = &rest[at + 1..];
            if is_escape {
                let (character, length) = match rest.as_bytes().first() {
                    Some(b'n') => ('\n', 1),
                    Some(b't') => ('\t', 1),
                    Some(b'p') => ('|', 1),
                    _ => ('\\', 0),
                };
                text.push(character);
                rest = &rest[length..];
            } else {
                let reference = Reference::parse(rest);
                rest = &rest[reference.length..];
                let value = self.resolve(reference.name);
                reference.style.apply(&value, &mut text);
            }
        }
        text.push_str(rest);
        text
    }

    /// The value of a name, a range or a number of digits.
    fn resolve(&mut self, name: &str) -> String {
        if let Some((first, last)) = name.split_once("..") {
            let (first, last) = (parse_number(first), parse_number(last));
            return (first + self.dice.below(last + 1 - first)).to_string();
        }
        if let Some(digits) = name.strip_prefix('x').and_then(|digits| digits.parse().ok()) {
            return (0..digits).map(|_| HEX[self.dice.below(16) as usize]).collect();
        }
        if name.contains('@') {
            let name = self.expand(name);
            return self.write(&name);
        }
        self.write(name)
    }
}

const HEX: [char; 16] =
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];

fn parse_number(digits: &str) -> u64 {
    let number = digits.parse();
    debug_assert!(number.is_ok(), "the grammar has a bad number `{digits}`");
    number.unwrap_or(0)
}
