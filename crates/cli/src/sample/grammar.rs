//! The grammar of the sample: rules by name, each with its choices. The words are in `grammar/`.

use std::collections::HashMap;

/// The rules by name.
pub struct Grammar(HashMap<&'static str, Rule>);

/// The texts that a name may expand to.
#[derive(Default)]
pub struct Rule {
    /// Whether a row keeps its first choice.
    pub is_sticky: bool,
    pub choices: Vec<Choice>,
}

pub struct Choice {
    /// The sum of the weights up to this choice.
    pub weight_so_far: u64,
    pub template: &'static str,
}

/// The source of the grammar. A line without indentation names a rule; `=` makes it sticky. The indented lines below it
/// are its choices, separated by ` | `; `*3 ` triples a weight. [`template`](super::template) has the syntax of a choice.
const TEXTS: [&str; 7] = [
    include_str!("grammar/areas.txt"),
    include_str!("grammar/facts.txt"),
    include_str!("grammar/titles.txt"),
    include_str!("grammar/bodies.txt"),
    include_str!("grammar/evidence.txt"),
    include_str!("grammar/paths.txt"),
    include_str!("grammar/languages.txt"),
];

impl Grammar {
    /// Parses the built-in grammar.
    pub fn load() -> Self {
        let mut rules = HashMap::<&str, Rule>::new();
        let mut name = "";
        let lines = TEXTS.into_iter().flat_map(str::lines);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let Some(choices) = line.strip_prefix("  ") else {
                name = line.trim_start_matches('=');
                rules.entry(name).or_default().is_sticky = line.starts_with('=');
                continue;
            };
            let rule = rules.entry(name).or_default();
            for choice in choices.split(" | ") {
                let (weight, template) = parse_choice(choice);
                let weight_so_far = rule.weight() + weight;
                rule.choices.push(Choice { weight_so_far, template });
            }
        }
        Grammar(rules)
    }

    /// The rule with this name, and the name with a static lifetime.
    pub fn rule(&self, name: &str) -> Option<(&'static str, &Rule)> {
        self.0.get_key_value(name).map(|(name, rule)| (*name, rule))
    }
}

impl Rule {
    pub fn weight(&self) -> u64 {
        self.choices.last().map_or(0, |choice| choice.weight_so_far)
    }
}

/// Splits `*3 text` into weight and template.
fn parse_choice(choice: &'static str) -> (u64, &'static str) {
    choice
        .strip_prefix('*')
        .and_then(|rest| rest.split_once(' '))
        .and_then(|(weight, template)| Some((weight.parse().ok()?, template)))
        .unwrap_or((1, choice))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::template::Reference;
    use super::*;

    #[test]
    fn every_rule_is_used_and_every_reference_resolves() {
        let grammar = Grammar::load();
        let mut used = HashSet::from(["title", "body", "path", "foreign.title", "foreign.body"]);
        let named: HashMap<&'static str, Vec<&str>> = HashMap::from(
            ["area", "kind", "stack", "tongue"]
                .map(|name| (name, grammar.0[name].choices.iter().map(|c| c.template).collect())),
        );
        for (name, rule) in &grammar.0 {
            assert!(rule.weight() > 0, "`{name}` has no choices");
            for choice in &rule.choices {
                let mut rest = choice.template;
                while let Some(at) = rest.find('@') {
                    let reference = Reference::parse(&rest[at + 1..]);
                    rest = &rest[at + 1 + reference.length..];
                    let target = reference.name;
                    if let Some((first, last)) = target.split_once("..") {
                        let [first, last] = [first, last].map(|digits| digits.parse::<u64>());
                        let (first, last) = (first.expect("a number"), last.expect("a number"));
                        assert!(first <= last, "`{name}` counts {target}");
                    } else if let Some((outer, inner)) =
                        target.strip_prefix('@').and_then(|target| target.split_once('.'))
                    {
                        let (outer, chosen) = named.get_key_value(outer).expect("a known choice");
                        used.insert(outer);
                        for chosen in chosen {
                            let full = format!("{chosen}.{inner}");
                            let known = grammar.0.get_key_value(full.as_str());
                            used.insert(known.unwrap_or_else(|| panic!("no rule `{full}`")).0);
                        }
                    } else if target.strip_prefix('x').is_none_or(|n| n.parse::<u8>().is_err()) {
                        let known = grammar.0.get_key_value(target);
                        used.insert(known.unwrap_or_else(|| panic!("`{name}` needs `{target}`")).0);
                    }
                }
            }
        }
        let unused: Vec<_> = grammar.0.keys().filter(|name| !used.contains(*name)).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }
}
