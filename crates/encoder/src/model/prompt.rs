//! The text before every input text: which one a model gets, and when the user should choose one.
//!
//! Prompts are those of `config_sentence_transformers.json`:
//! <https://sbert.net/docs/sentence_transformer/usage/custom_models.html>.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::json::{json, quote, refuse};
use super::source::{ModelFiles, ModelLabel};
use crate::error::{Error, ErrorKind, Result};

pub(super) const FILE: &str = "config_sentence_transformers.json";

/// The prompt that the user wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PromptChoice {
    /// The default prompt of the model, which may be none.
    #[default]
    ModelDefault,
    /// This text; empty for none.
    Text(String),
    /// The prompt that the model declares under this name.
    Named(String),
}

/// The prompt of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The text before every input text; may be empty.
    pub text: String,
    /// The names of the prompts that the model declares, if nobody chose one or none of them.
    pub not_chosen: Vec<String>,
    /// The prompts that the model declares, by their names; some may be empty.
    pub declared: BTreeMap<String, String>,
}

/// What the user should know about the prompt of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptWarning {
    /// The model declares prompts and no default, and none was chosen.
    NotChosen {
        /// Their names.
        names: Vec<String>,
    },
    /// Models of this name were trained with a prefix, and there is none.
    PrefixExpected(PrefixConvention),
}

/// The prefixes of a family of models that does not declare them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixConvention {
    /// The part of a model's name that tells the family.
    family: &'static str,
    /// The prefix of texts that are searched for.
    document: &'static str,
    /// The prefix of texts to search with.
    query: &'static str,
}

/// Wang et al., 2022, <https://arxiv.org/abs/2212.03533>: every text has one of the two prefixes.
const CONVENTIONS: [PrefixConvention; 1] =
    [PrefixConvention { family: "e5", document: "passage: ", query: "query: " }];

#[derive(Deserialize, Default)]
struct PromptConfig {
    #[serde(default)]
    prompts: BTreeMap<String, Option<String>>,
    default_prompt_name: Option<String>,
}

/// Chooses the prompt of a model.
///
/// # Errors
/// `Config` if the model does not declare the chosen name; `Model` if its own default is not
/// declared.
pub(super) fn choose(files: &ModelFiles, choice: &PromptChoice) -> Result<Prompt> {
    let PromptConfig { prompts, default_prompt_name } = json(files, FILE)?.unwrap_or_default();
    let declared: BTreeMap<String, String> =
        prompts.into_iter().map(|(name, text)| (name, text.unwrap_or_default())).collect();
    let mut not_chosen = Vec::new();
    let text = match (choice, &default_prompt_name) {
        (PromptChoice::Text(text), _) => text.clone(),
        (PromptChoice::Named(name), _) => match declared.get(name) {
            Some(text) => text.clone(),
            None => return Err(unknown_name(files, name, &declared)),
        },
        (PromptChoice::ModelDefault, Some(name)) => match declared.get(name) {
            Some(text) => text.clone(),
            None => {
                return Err(refuse(files, FILE, "default_prompt_name")
                    .with(format!("names {}, which is not among the prompts", quote(name)))
                    .advice("set `model.prompt`, or fetch the model again"));
            }
        },
        (PromptChoice::ModelDefault, None) => {
            let with_text = declared.iter().filter(|(_, text)| !text.is_empty());
            not_chosen = with_text.map(|(name, _)| name.clone()).collect();
            String::new()
        }
    };
    Ok(Prompt { text, not_chosen, declared })
}

fn unknown_name(files: &ModelFiles, name: &str, declared: &BTreeMap<String, String>) -> Error {
    let names: Vec<&String> = declared.keys().collect();
    let declared = match names[..] {
        [] => "it declares none".to_owned(),
        _ => format!("it declares {}", list(&names)),
    };
    let message = format!(
        "`model.prompt_name` is {}, a prompt that the model does not declare; {declared}",
        quote(name)
    );
    Error::new(ErrorKind::Config, message)
        .in_file(files.path_of(FILE))
        .advice("set a declared name, or set `model.prompt` to the text itself")
}

/// The warning about the prompt of the model `label`, if there is something to choose.
pub(super) fn warning(
    label: &ModelLabel,
    choice: &PromptChoice,
    prompt: &Prompt,
) -> Option<PromptWarning> {
    if !prompt.not_chosen.is_empty() {
        return Some(PromptWarning::NotChosen { names: prompt.not_chosen.clone() });
    }
    if *choice != PromptChoice::ModelDefault || !prompt.text.is_empty() {
        return None;
    }
    let name = label.as_str().rsplit('/').next().unwrap_or("").to_ascii_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let convention = CONVENTIONS.into_iter().find(|known| words.any(|word| word == known.family));
    convention.map(PromptWarning::PrefixExpected)
}

/// One sentence.
impl fmt::Display for PromptWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PromptWarning::NotChosen { names } => write!(
                f,
                "the model declares the prompts {}, and none is used; choose one with \
                 `model.prompt_name`, or set `model.prompt` to \"\" for none",
                list(names)
            ),
            PromptWarning::PrefixExpected(PrefixConvention { family, document, query }) => write!(
                f,
                "models of the family {family} expect a prefix before every text, and there is \
                 none; set `model.prompt` to {document:?} for texts that are searched, to \
                 {query:?} for texts to search with, or to \"\" for none"
            ),
        }
    }
}

/// `"a", "b"`, each name without control characters and not too long.
fn list(names: &[impl AsRef<str>]) -> String {
    let names: Vec<String> = names.iter().map(|name| quote(name.as_ref())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e5_is_known_by_a_word_of_its_name() {
        let none =
            Prompt { text: String::new(), not_chosen: Vec::new(), declared: BTreeMap::new() };
        let query = Prompt { text: "query: ".to_owned(), ..none.clone() };
        let default = PromptChoice::ModelDefault;
        let empty = PromptChoice::Text(String::new());
        for (id, choice, prompt, warns) in [
            ("intfloat/e5-small-v2", &default, &none, true),
            ("intfloat/multilingual-e5-base", &default, &none, true),
            ("models E5_mine", &default, &none, true),
            ("intfloat/e5-small-v2", &empty, &none, false),
            ("intfloat/e5-small-v2", &default, &query, false),
            ("e5/other", &default, &none, false),
            ("org/base50", &default, &none, false),
            ("BAAI/bge-small-en-v1.5", &default, &none, false),
            ("sentence-transformers/all-MiniLM-L6-v2", &default, &none, false),
        ] {
            let found = warning(&ModelLabel::from_id(id), choice, prompt);
            let expected = warns.then_some(PromptWarning::PrefixExpected(CONVENTIONS[0]));
            assert_eq!(found, expected, "{id}, {choice:?}, {prompt:?}");
        }
    }
}
