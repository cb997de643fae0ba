//! What files beside `tokenizer.json` say about tokens, as transformers reads it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::Deserialize;
use serde_json::Value;

use super::architecture::Architecture;
use super::config::Truncation;
use super::json::{json, quote, refuse};
use super::source::ModelFiles;
use crate::error::Result;

/// The file in which transformers keeps most of it.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "config.json";
const ADDED_TOKENS: &str = "added_tokens.json";
const SPECIAL_TOKENS: &str = "special_tokens_map.json";

/// What files beside `tokenizer.json` say about tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSettings {
    /// Tokens that `tokenizer.json` does not have, in the order in which they get their ids.
    pub added: Vec<AddedTokenSpec>,
    /// Whether a special token in a text is split like any other text.
    pub splits_special_tokens: bool,
    /// The first and the last token of every text, with their keys, where transformers puts them there itself.
    pub frame: Option<[(&'static str, String); 2]>,
    /// Whether a text that is too long loses its start.
    pub cuts_start: bool,
    /// How transformers splits a text into words in front of a Unigram model, where `tokenizer.json` says otherwise.
    pub words: Option<PieceWords>,
    /// Tokens to which `tokenizer.json` truncates a text.
    file_length: Option<NonZeroUsize>,
}

/// Words as XLM-RoBERTa's and CamemBERT's tokenizers have them: split at white space, with a `▁` before each, or before
/// none that begins a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceWords {
    /// Whether the first word has a `▁`.
    pub is_first_marked: bool,
}

/// A token that is matched as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AddedTokenSpec {
    /// Its text.
    pub content: String,
    /// Whether it is matched as a word only.
    #[serde(default)]
    pub single_word: bool,
    /// Whether white space before it belongs to it.
    #[serde(default)]
    pub lstrip: bool,
    /// Whether white space after it belongs to it.
    #[serde(default)]
    pub rstrip: bool,
    /// Whether it is matched in the normalized text; `None`: unless it is special.
    pub normalized: Option<bool>,
    /// Whether it is no text.
    #[serde(default)]
    pub special: bool,
}

impl AddedTokenSpec {
    fn special(content: &str) -> Self {
        AddedTokenSpec {
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
            special: true,
        }
    }
}

/// The settings with which transformers overrides `tokenizer.json`.
#[derive(Deserialize, Default)]
pub(super) struct TokenizerConfig {
    /// transformers writes 1e30 for no limit.
    pub model_max_length: Option<f64>,
    tokenizer_class: Option<String>,
    do_lower_case: Option<bool>,
    /// Absent or `null`: the same as `do_lower_case`.
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
    truncation_side: Option<String>,
    split_special_tokens: Option<bool>,
    add_prefix_space: Option<bool>,
    keep_accents: Option<bool>,
    added_tokens_decoder: Option<BTreeMap<u32, AddedTokenSpec>>,
    additional_special_tokens: Option<Value>,
    extra_special_tokens: Option<Value>,
    bos_token: Option<Value>,
    eos_token: Option<Value>,
    unk_token: Option<Value>,
    sep_token: Option<Value>,
    pad_token: Option<Value>,
    cls_token: Option<Value>,
    mask_token: Option<Value>,
}

/// The part of `tokenizer.json` that transformers overrides.
#[derive(Deserialize)]
struct TokenizerFile {
    normalizer: Option<Normalizer>,
    pre_tokenizer: Option<Value>,
    model: Option<ModelPart>,
    truncation: Option<TruncationPart>,
    #[serde(default)]
    added_tokens: Vec<AddedTokenSpec>,
}

#[derive(Deserialize)]
struct ModelPart {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct TruncationPart {
    direction: Option<String>,
    max_length: Option<NonZeroUsize>,
}

#[derive(Deserialize)]
struct Normalizer {
    #[serde(rename = "type")]
    kind: String,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
    handle_chinese_chars: Option<bool>,
    clean_text: Option<bool>,
    #[serde(default)]
    normalizers: Vec<Value>,
}

/// What `config.json` says about the tokenizer, where `tokenizer_config.json` does not.
#[derive(Deserialize)]
struct ModelConfigClass {
    tokenizer_class: Option<String>,
}

/// A tokenizer that transformers builds itself: of `tokenizer.json` it takes the vocabulary alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RebuiltTokenizer {
    Bert,
    Mpnet,
    Roberta,
    Albert,
    /// XLM-RoBERTa's and CamemBERT's.
    Pieces,
}

/// Reads what the files of a model say about tokens.
///
/// # Errors
/// `Model`, naming file and key, if transformers would follow a setting that reembed cannot.
pub(super) fn read(
    files: &ModelFiles,
    config: &TokenizerConfig,
    architecture: Architecture,
) -> Result<TokenSettings> {
    let Some(file) = json::<TokenizerFile>(files, TOKENIZER)? else {
        return Ok(TokenSettings::default());
    };
    // A Unigram model whose class says WordPiece has the pieces that it was trained with.
    let kind = file.model.as_ref().and_then(|model| model.kind.as_deref());
    let named: Option<ModelConfigClass> = json(files, CONFIG)?;
    let class = config.tokenizer_class.clone().or_else(|| named?.tokenizer_class);
    let rebuilt = rebuilt(class.as_deref(), architecture).filter(|rebuilt| match rebuilt {
        RebuiltTokenizer::Bert | RebuiltTokenizer::Mpnet => {
            kind.is_none_or(|kind| kind == "WordPiece")
        }
        RebuiltTokenizer::Roberta => kind.is_none_or(|kind| kind == "BPE"),
        RebuiltTokenizer::Albert | RebuiltTokenizer::Pieces => {
            kind.is_none_or(|kind| kind == "Unigram")
        }
    });
    let is_bert = matches!(rebuilt, Some(RebuiltTokenizer::Bert | RebuiltTokenizer::Mpnet));
    // What is no tokenizer at all is refused where it is read.
    if is_bert && file.model.is_some() {
        check_is_bert(files, &file)?;
    }
    check_normalizer(files, config, is_bert, file.normalizer.as_ref())?;
    if rebuilt == Some(RebuiltTokenizer::Roberta) {
        check_prefix(files, config, file.pre_tokenizer.as_ref())?;
    }
    if rebuilt == Some(RebuiltTokenizer::Albert) {
        check_albert(files, config, file.normalizer.as_ref())?;
    }
    let is_first_marked = config.add_prefix_space.unwrap_or(true);
    let words = (rebuilt == Some(RebuiltTokenizer::Pieces)
        && !has_piece_words(&file, is_first_marked))
    .then_some(PieceWords { is_first_marked });
    let side = config
        .truncation_side
        .as_deref()
        .or_else(|| file.truncation.as_ref()?.direction.as_deref());
    let cuts_start = match side.map(str::to_ascii_lowercase).as_deref() {
        None | Some("right") => false,
        Some("left") => true,
        Some(other) => {
            return Err(refuse(files, TOKENIZER_CONFIG, "truncation_side")
                .with(format!("{} is not supported; left and right are", quote(other))));
        }
    };
    let named: BTreeMap<String, Value> = json(files, SPECIAL_TOKENS)?.unwrap_or_default();
    let token = |own: &Option<Value>, key: &'static str, default: &str| {
        let token = own.as_ref().or_else(|| named.get(key)).and_then(content);
        (key, token.unwrap_or_else(|| default.to_owned()))
    };
    let frame = rebuilt.map(|rebuilt| match rebuilt {
        RebuiltTokenizer::Bert | RebuiltTokenizer::Albert => [
            token(&config.cls_token, "cls_token", "[CLS]"),
            token(&config.sep_token, "sep_token", "[SEP]"),
        ],
        RebuiltTokenizer::Mpnet | RebuiltTokenizer::Roberta => [
            token(&config.cls_token, "cls_token", "<s>"),
            token(&config.sep_token, "sep_token", "</s>"),
        ],
        RebuiltTokenizer::Pieces => [
            token(&config.bos_token, "bos_token", "<s>"),
            token(&config.eos_token, "eos_token", "</s>"),
        ],
    });
    Ok(TokenSettings {
        added: if files.is_static {
            Vec::new()
        } else {
            added_tokens(files, config, &file.added_tokens)?
        },
        splits_special_tokens: config.split_special_tokens.unwrap_or(false),
        frame,
        words,
        cuts_start,
        file_length: file.truncation.and_then(|truncation| truncation.max_length),
    })
}

impl TokenSettings {
    /// The maximum length of a model that has its tokenizer's: that of `tokenizer.json`, and at most `max`.
    pub(super) fn file_length(&self, max: usize) -> NonZeroUsize {
        let max = NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN);
        self.file_length.map_or(max, |length| length.min(max))
    }

    /// What a text loses that is too long, unless the user chose.
    pub(super) fn truncation(&self, chosen: Truncation) -> Truncation {
        match chosen {
            Truncation::End if self.cuts_start => Truncation::Start,
            other => other,
        }
    }

    /// What of it changes ids and is in no file that identifies a model; `None`: nothing.
    /// `lower_case`: a text is converted to lower case first.
    pub(super) fn in_identity(&self, lower_case: bool) -> Option<String> {
        let added = self.added.iter().map(|token| {
            let flags = [token.single_word, token.lstrip, token.rstrip, token.special];
            let flags = flags.map(|flag| if flag { '1' } else { '0' }).iter().collect::<String>();
            let normalized = token.normalized.unwrap_or(!token.special);
            format!("added {:?} {flags}{}", token.content, u8::from(normalized))
        });
        let split = self.splits_special_tokens.then(|| "special tokens are split".to_owned());
        // Version 0.1 converted special tokens too, so its vectors may differ.
        let lower = lower_case.then(|| "lower case after special tokens".to_owned());
        let words = self.words.map(|words| {
            let mark = if words.is_first_marked { "" } else { ", the first unmarked" };
            format!("words are split at white space{mark}")
        });
        let all: Vec<String> = added.chain(split).chain(lower).chain(words).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// The tokens that transformers adds to those of `tokenizer.json`, in its order.
fn added_tokens(
    files: &ModelFiles,
    config: &TokenizerConfig,
    own: &[AddedTokenSpec],
) -> Result<Vec<AddedTokenSpec>> {
    let mut added: Vec<AddedTokenSpec> = Vec::new();
    let mut add = |token: AddedTokenSpec| {
        let is_known = |known: &AddedTokenSpec| known.content == token.content;
        if !own.iter().any(is_known) && !added.iter().any(is_known) {
            added.push(token);
        }
    };
    let mut named: Vec<Value> = Vec::new();
    match &config.added_tokens_decoder {
        Some(tokens) => tokens.values().cloned().for_each(&mut add),
        None => {
            let map: BTreeMap<String, Value> = json(files, SPECIAL_TOKENS)?.unwrap_or_default();
            named.extend(map.into_values());
            let tokens: BTreeMap<String, u32> = json(files, ADDED_TOKENS)?.unwrap_or_default();
            let mut tokens: Vec<(u32, String)> =
                tokens.into_iter().map(|(token, id)| (id, token)).collect();
            tokens.sort();
            for (_, token) in tokens {
                let is_special = names_token(&named, &token) || config.names(&token);
                let mut token = AddedTokenSpec::special(&token);
                token.special = is_special;
                add(token);
            }
        }
    }
    named.extend(config.named().into_iter().flatten().cloned());
    for value in &named {
        for value in list(value) {
            match value {
                Value::String(text) => add(AddedTokenSpec::special(text)),
                Value::Object(_) => {
                    if let Ok(token) = serde_json::from_value::<AddedTokenSpec>(value.clone()) {
                        add(AddedTokenSpec { special: true, ..token });
                    }
                }
                _ => {}
            }
        }
    }
    Ok(added)
}

/// The values of a key that may be one token or several.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        Value::Object(map) if !map.contains_key("content") => map.values().collect(),
        one => vec![one],
    }
}

/// The text of a token.
fn content(token: &Value) -> Option<String> {
    let text = token.as_str().or_else(|| token.get("content")?.as_str());
    text.map(str::to_owned)
}

fn names_token(values: &[Value], token: &str) -> bool {
    values.iter().flat_map(list).any(|value| content(value).as_deref() == Some(token))
}

impl TokenizerConfig {
    /// The keys that name special tokens, in the order of transformers.
    fn named(&self) -> [Option<&Value>; 9] {
        [
            &self.bos_token,
            &self.eos_token,
            &self.unk_token,
            &self.sep_token,
            &self.pad_token,
            &self.cls_token,
            &self.mask_token,
            &self.additional_special_tokens,
            &self.extra_special_tokens,
        ]
        .map(Option::as_ref)
    }

    fn names(&self, token: &str) -> bool {
        let values: Vec<Value> = self.named().into_iter().flatten().cloned().collect();
        names_token(&values, token)
    }
}

/// The tokenizer that transformers builds itself; `None` if it follows all of `tokenizer.json`.
fn rebuilt(class: Option<&str>, architecture: Architecture) -> Option<RebuiltTokenizer> {
    // Whatever class a directory names: transformers knows that those of ModernBERT are wrong.
    if architecture == Architecture::ModernBert {
        return None;
    }
    match class.map(|class| class.trim_end_matches("Fast")) {
        Some("BertTokenizer" | "DistilBertTokenizer" | "ElectraTokenizer") => {
            Some(RebuiltTokenizer::Bert)
        }
        Some("MPNetTokenizer") => Some(RebuiltTokenizer::Mpnet),
        Some("RobertaTokenizer") => Some(RebuiltTokenizer::Roberta),
        Some("AlbertTokenizer") => Some(RebuiltTokenizer::Albert),
        Some("XLMRobertaTokenizer" | "CamembertTokenizer") => Some(RebuiltTokenizer::Pieces),
        Some(_) => None,
        None => match architecture {
            Architecture::Bert
            | Architecture::DistilBert
            | Architecture::Electra
            | Architecture::NomicBert => Some(RebuiltTokenizer::Bert),
            Architecture::Mpnet => Some(RebuiltTokenizer::Mpnet),
            Architecture::Roberta => Some(RebuiltTokenizer::Roberta),
            Architecture::Albert => Some(RebuiltTokenizer::Albert),
            Architecture::XlmRoberta | Architecture::Camembert => Some(RebuiltTokenizer::Pieces),
            Architecture::Gemma3
            | Architecture::ModernBert
            | Architecture::Qwen3
            | Architecture::StaticEmbedding => None,
        },
    }
}

const AS_IT_IS: &str = "set it to \"PreTrainedTokenizerFast\", with which transformers follows all of tokenizer.json, or \
     save the tokenizer again with transformers";

/// Refuses a `tokenizer.json` that has other steps than BERT's, which transformers would put in their place.
fn check_is_bert(files: &ModelFiles, file: &TokenizerFile) -> Result<()> {
    let normalizer = file.normalizer.as_ref();
    let words = file.pre_tokenizer.as_ref().and_then(|step| step["type"].as_str());
    let found = match (normalizer, words) {
        (None, _) => "no normalizer".to_owned(),
        (Some(one), _) if one.kind != "BertNormalizer" => format!("the normalizer {}", one.kind),
        (Some(one), _) if one.clean_text == Some(false) => "`clean_text` false".to_owned(),
        (_, None) => "no pre-tokenizer".to_owned(),
        (_, Some(kind)) if kind != "BertPreTokenizer" => format!("the pre-tokenizer {kind}"),
        _ => return Ok(()),
    };
    Err(refuse(files, TOKENIZER_CONFIG, "tokenizer_class")
        .with(format!(
            "has, or has by default, the steps of a BertTokenizer, but tokenizer.json has {found}"
        ))
        .advice(AS_IT_IS))
}

/// Refuses a `tokenizer.json` of RoBERTa that writes a space before a text, or does not, against the configuration.
fn check_prefix(files: &ModelFiles, config: &TokenizerConfig, words: Option<&Value>) -> Result<()> {
    let Some(step) = words.filter(|step| step["type"] == "ByteLevel") else { return Ok(()) };
    let (expected, found) =
        (config.add_prefix_space.unwrap_or(false), step["add_prefix_space"] == Value::Bool(true));
    if expected == found {
        return Ok(());
    }
    Err(refuse(files, TOKENIZER_CONFIG, "add_prefix_space")
        .with(format!("is {expected}, but that of the pre-tokenizer in {TOKENIZER} is {found}"))
        .advice("save the tokenizer again with transformers, which makes them agree"))
}

/// Refuses a `tokenizer.json` of ALBERT that lower-cases or strips accents against the configuration.
fn check_albert(
    files: &ModelFiles,
    config: &TokenizerConfig,
    normalizer: Option<&Normalizer>,
) -> Result<()> {
    let steps = normalizer.map(|one| one.normalizers.as_slice()).unwrap_or_default();
    let has = |kind: &str| steps.iter().any(|step| step["type"] == kind);
    for (key, expected, kind, is_there) in [
        ("do_lower_case", config.do_lower_case.unwrap_or(true), "Lowercase", true),
        ("keep_accents", config.keep_accents.unwrap_or(false), "StripAccents", false),
    ] {
        if expected != (has(kind) == is_there) {
            let found = if has(kind) { "has" } else { "has no" };
            return Err(refuse(files, TOKENIZER_CONFIG, key)
                .with(format!("is {expected}, but the normalizer in {TOKENIZER} {found} {kind}"))
                .advice("save the tokenizer again with transformers, which makes them agree"));
        }
    }
    Ok(())
}

/// Whether `tokenizer.json` makes words as the tokenizers of XLM-RoBERTa and CamemBERT do.
fn has_piece_words(file: &TokenizerFile, is_first_marked: bool) -> bool {
    let is_plain = file.normalizer.as_ref().is_none_or(|one| one.kind == "Precompiled");
    let scheme = if is_first_marked { "always" } else { "never" };
    let Some(steps) = file.pre_tokenizer.as_ref().and_then(|step| step["pretokenizers"].as_array())
    else {
        return false;
    };
    let [words, marks] = &steps[..] else { return false };
    is_plain
        && words["type"] == "WhitespaceSplit"
        && marks["type"] == "Metaspace"
        && marks["split"] != Value::Bool(false)
        && match &marks["prepend_scheme"] {
            Value::String(found) => found == scheme,
            // Before schemes there was a switch.
            _ => marks["add_prefix_space"].as_bool().unwrap_or(true) == is_first_marked,
        }
}

/// Refuses a directory whose `tokenizer_config.json` and `tokenizer.json` contradict each other:
/// transformers follows the first, reembed the second. What the first does not say is the default of the
/// class, if that builds the normalizer itself.
fn check_normalizer(
    files: &ModelFiles,
    config: &TokenizerConfig,
    is_bert: bool,
    normalizer: Option<&Normalizer>,
) -> Result<()> {
    let Some(normalizer) = normalizer.filter(|normalizer| normalizer.kind == "BertNormalizer")
    else {
        return Ok(());
    };
    let default = is_bert.then_some(true);
    let lower_case = normalizer.lowercase.unwrap_or(true);
    let wants_lower_case = config.do_lower_case.or(default);
    for (key, expected, name, found) in [
        ("do_lower_case", wants_lower_case, "lowercase", lower_case),
        (
            "strip_accents",
            config.strip_accents.or(if is_bert { wants_lower_case } else { None }),
            "strip_accents",
            normalizer.strip_accents.unwrap_or(lower_case),
        ),
        (
            "tokenize_chinese_chars",
            config.tokenize_chinese_chars.or(default),
            "handle_chinese_chars",
            normalizer.handle_chinese_chars.unwrap_or(true),
        ),
    ] {
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(refuse(files, TOKENIZER_CONFIG, key)
                .with(format!(
                    "is {expected}, but `{name}` of the normalizer in {TOKENIZER} is {found}"
                ))
                .advice("save the tokenizer again with transformers, which makes them agree"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_has_what_changes_ids_and_nothing_else() {
        let plain = TokenSettings { cuts_start: true, ..TokenSettings::default() };
        assert_eq!(plain.in_identity(false), None);
        let added = vec![AddedTokenSpec { lstrip: true, ..AddedTokenSpec::special("[ENT]") }];
        let all = TokenSettings { added, splits_special_tokens: true, ..plain };
        assert_eq!(
            all.in_identity(true).as_deref(),
            Some(
                "added \"[ENT]\" 01010; special tokens are split; lower case after special tokens"
            )
        );
    }
}
