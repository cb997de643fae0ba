//! The tokenizers that transformers builds itself: of `tokenizer.json` they have the vocabulary alone, so a file with other
//! steps than theirs is refused, or followed as they would.
//!
//! Reference: `models/*/tokenization_*.py` of transformers 5.

use serde_json::{Value, json};

use super::files::{
    ModelPart, Normalizer, TOKENIZER, TOKENIZER_CONFIG, TokenizerConfig, TokenizerFile,
};
use crate::error::Result;
use crate::model::architecture::Architecture;
use crate::model::json::{quote, refuse};
use crate::model::source::ModelFiles;

/// A tokenizer that transformers builds itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebuiltTokenizer {
    Bert,
    Herbert,
    Mpnet,
    Roberta,
    Albert,
    /// XLM-RoBERTa's and CamemBERT's.
    Pieces,
    Qwen2,
    Gemma,
    /// One whose steps are not known here.
    Other,
}

/// The classes of [`RebuiltTokenizer::Other`].
const OTHERS: [&str; 47] = [
    "BarthezTokenizer",
    "BertJapaneseTokenizer",
    "BertweetTokenizer",
    "BigBirdTokenizer",
    "BlenderbotTokenizer",
    "CLIPTokenizer",
    "CodeGenTokenizer",
    "CodeLlamaTokenizer",
    "CohereTokenizer",
    "DPRContextEncoderTokenizer",
    "DPRQuestionEncoderTokenizer",
    "DPRReaderTokenizer",
    "DebertaTokenizer",
    "DebertaV2Tokenizer",
    "EsmcTokenizer",
    "FunnelTokenizer",
    "GPT2Tokenizer",
    "GPTNeoXTokenizer",
    "LasrTokenizer",
    "LayoutLMv2Tokenizer",
    "LayoutLMv3Tokenizer",
    "LayoutXLMTokenizer",
    "LlamaTokenizer",
    "LukeTokenizer",
    "MBart50Tokenizer",
    "MBartTokenizer",
    "MLukeTokenizer",
    "MarkupLMTokenizer",
    "NllbTokenizer",
    "NougatTokenizer",
    "OpenAIGPTTokenizer",
    "PegasusTokenizer",
    "PhobertTokenizer",
    "Qwen3_5Tokenizer",
    "ReformerTokenizer",
    "RemBertTokenizer",
    "RoFormerTokenizer",
    "SeamlessM4TTokenizer",
    "Siglip2Tokenizer",
    "SplinterTokenizer",
    "T5Tokenizer",
    "Tipsv2Tokenizer",
    "UdopTokenizer",
    "VideoPrismTokenizer",
    "WhisperTokenizer",
    "XGLMTokenizer",
    "XLNetTokenizer",
];

/// How Qwen2's tokenizer splits a text into words.
const QWEN2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl RebuiltTokenizer {
    /// That of a class or, if a directory names none, of the architecture; `None` if transformers follows all of
    /// `file`.
    pub fn of(
        class: Option<&str>,
        architecture: Architecture,
        file: &TokenizerFile,
    ) -> Option<Self> {
        // Whatever class a directory names: transformers knows that those of ModernBERT are wrong.
        if architecture == Architecture::ModernBert {
            return None;
        }
        let rebuilt = match class.map(|class| class.trim_end_matches("Fast")) {
            Some(
                "BertTokenizer"
                | "ConvBertTokenizer"
                | "DistilBertTokenizer"
                | "ElectraTokenizer"
                | "LayoutLMTokenizer"
                | "LxmertTokenizer"
                | "MobileBertTokenizer"
                | "SqueezeBertTokenizer",
            ) => Self::Bert,
            Some("HerbertTokenizer") => Self::Herbert,
            Some("MPNetTokenizer") => Self::Mpnet,
            Some(
                "BartTokenizer"
                | "LEDTokenizer"
                | "LongformerTokenizer"
                | "MvpTokenizer"
                | "RobertaTokenizer",
            ) => Self::Roberta,
            // transformers knows that Llama 3 names the wrong class.
            Some("LlamaTokenizer") if has_bytes(file) => return None,
            Some("AlbertTokenizer") => Self::Albert,
            Some("XLMRobertaTokenizer" | "CamembertTokenizer") => Self::Pieces,
            Some("Qwen2Tokenizer") => Self::Qwen2,
            Some("GemmaTokenizer") => Self::Gemma,
            Some(other) if OTHERS.contains(&other) => Self::Other,
            Some(_) => return None,
            None => match architecture {
                Architecture::Bert
                | Architecture::DistilBert
                | Architecture::Electra
                | Architecture::NomicBert => Self::Bert,
                Architecture::Mpnet => Self::Mpnet,
                Architecture::Roberta => Self::Roberta,
                Architecture::Albert => Self::Albert,
                Architecture::XlmRoberta | Architecture::Camembert => Self::Pieces,
                Architecture::Qwen3 => Self::Qwen2,
                Architecture::Gemma3 => Self::Gemma,
                Architecture::ModernBert | Architecture::StaticEmbedding => return None,
            },
        };
        // A Unigram model whose class says WordPiece has the pieces that it was trained with.
        let model = file.model.as_ref().and_then(|model| model.kind.as_deref());
        let is_its_model = |own| model.is_none_or(|model| model == own);
        rebuilt.model().is_none_or(is_its_model).then_some(rebuilt)
    }

    /// The token of what is in no vocabulary, when no file names one.
    pub fn unknown(self) -> &'static str {
        match self {
            Self::Bert | Self::Mpnet => "[UNK]",
            _ => "<unk>",
        }
    }

    /// Whether its words are those of BERT.
    pub fn is_bert(self) -> bool {
        matches!(self, Self::Bert | Self::Mpnet)
    }

    /// The kind of its vocabulary, where it is known.
    fn model(self) -> Option<&'static str> {
        match self {
            Self::Bert | Self::Mpnet => Some("WordPiece"),
            Self::Herbert | Self::Roberta | Self::Qwen2 | Self::Gemma => Some("BPE"),
            Self::Albert | Self::Pieces => Some("Unigram"),
            Self::Other => None,
        }
    }

    /// Whether it has a special token of that text when no file names one.
    pub fn names(self, token: &str) -> bool {
        let names: &[&str] = match self {
            Self::Bert => &["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"],
            Self::Albert => &["[CLS]", "[SEP]", "<unk>", "<pad>", "[MASK]"],
            Self::Herbert | Self::Roberta | Self::Pieces => {
                &["<s>", "</s>", "<unk>", "<pad>", "<mask>"]
            }
            Self::Qwen2 => &["<|endoftext|>"],
            Self::Gemma => &["<unk>", "<bos>", "<eos>", "<pad>", "<mask>"],
            // They are matched in the normalized text.
            Self::Mpnet | Self::Other => &[],
        };
        names.contains(&token)
    }

    /// Refuses a `tokenizer.json` with other steps than its own. `unknown`: the token of what is in no vocabulary.
    ///
    /// # Errors
    /// `Model`, naming the key that transformers follows and what the file has.
    pub fn check(
        self,
        files: &ModelFiles,
        config: &TokenizerConfig,
        file: &TokenizerFile,
        unknown: &str,
    ) -> Result<()> {
        // What is no tokenizer at all is refused where it is read.
        let Some(model) = &file.model else { return Ok(()) };
        match self {
            Self::Bert | Self::Mpnet => check_is_bert(files, file, model, unknown),
            Self::Herbert => check_herbert(files, file, model, unknown),
            Self::Roberta => check_roberta(files, config, file),
            Self::Albert => check_albert(files, config, file.normalizer.as_ref()),
            // Followed: see `has_piece_words`.
            Self::Pieces => Ok(()),
            Self::Qwen2 => check_qwen2(files, config, file),
            Self::Gemma => check_gemma(files, file, model),
            Self::Other => {
                let class = config.tokenizer_class.as_deref().unwrap_or_default();
                Err(refuse(files, TOKENIZER_CONFIG, "tokenizer_class")
                    .with(format!(
                        "{} is a class that transformers builds by itself, and it is not supported",
                        quote(class)
                    ))
                    .advice(AS_IT_IS))
            }
        }
    }
}

const AS_IT_IS: &str = "set it to \"PreTrainedTokenizerFast\", with which transformers follows all of tokenizer.json, or \
     save the tokenizer again with transformers";

/// Refuses a `tokenizer.json` that has other steps than BERT's, which transformers would put in their place.
fn check_is_bert(
    files: &ModelFiles,
    file: &TokenizerFile,
    model: &ModelPart,
    unknown: &str,
) -> Result<()> {
    check_unknown(files, model.unk_token.as_deref().unwrap_or("[UNK]"), unknown)?;
    let most = model.max_input_chars_per_word.unwrap_or(100);
    if most != 100 {
        let found = format!("`max_input_chars_per_word` {most}, not 100");
        return refuse_steps(files, "BertTokenizer", Some(found));
    }
    let prefix = model.continuing_subword_prefix.as_deref().unwrap_or("##");
    if prefix != "##" {
        let found = format!("`continuing_subword_prefix` {}, not \"##\"", quote(prefix));
        return refuse_steps(files, "BertTokenizer", Some(found));
    }
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
    refuse_steps(files, "BertTokenizer", Some(found))
}

/// Refuses a `tokenizer.json` that has other steps than HerBERT's tokenizer.
fn check_herbert(
    files: &ModelFiles,
    file: &TokenizerFile,
    model: &ModelPart,
    unknown: &str,
) -> Result<()> {
    check_unknown(files, model.unk_token.as_deref().unwrap_or_default(), unknown)?;
    let is_own = file.normalizer.as_ref().is_some_and(|one| {
        one.kind == "BertNormalizer"
            && one.lowercase == Some(false)
            && one.strip_accents != Some(true)
            && one.clean_text != Some(false)
            && one.handle_chinese_chars != Some(false)
    });
    let normalizer = (!is_own).then(|| "another normalizer".to_owned());
    let is_own = file.pre_tokenizer.as_ref().is_some_and(|one| one["type"] == "BertPreTokenizer");
    let words = (!is_own).then(|| "another pre-tokenizer".to_owned());
    let is_own = model.end_of_word_suffix.as_deref() == Some("</w>");
    let suffix = (!is_own).then(|| "another `end_of_word_suffix`".to_owned());
    refuse_steps(files, "HerbertTokenizer", normalizer.or(words).or(suffix))
}

/// Refuses a `tokenizer.json` that has another token for what is in no vocabulary.
fn check_unknown(files: &ModelFiles, found: &str, expected: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(refuse(files, TOKENIZER_CONFIG, "unk_token")
        .with(format!("is {}, but that of {TOKENIZER} is {}", quote(expected), quote(found)))
        .advice("save the tokenizer again with transformers, which makes them agree"))
}

/// Whether a tokenizer has bytes for letters.
fn has_bytes(file: &TokenizerFile) -> bool {
    let is_of_bytes = |step: &Value| {
        let steps = step["pretokenizers"].as_array().or_else(|| step["decoders"].as_array());
        let inner = steps.into_iter().flatten();
        std::iter::once(step).chain(inner).any(|step| step["type"] == "ByteLevel")
    };
    [&file.pre_tokenizer, &file.decoder].into_iter().flatten().any(is_of_bytes)
}

/// Refuses a `tokenizer.json` that has other steps than Qwen2's tokenizer.
fn check_qwen2(files: &ModelFiles, config: &TokenizerConfig, file: &TokenizerFile) -> Result<()> {
    let found = match file.normalizer.as_ref().map(|one| one.kind.as_str()) {
        Some("NFC") => None,
        other => Some(format!("{} for a normalizer, not NFC", other.unwrap_or("none"))),
    };
    let steps = file.pre_tokenizer.as_ref().and_then(|step| step["pretokenizers"].as_array());
    let is_own = steps.is_some_and(|steps| match &steps[..] {
        [words, bytes] => {
            words["type"] == "Split"
                && words["pattern"]["Regex"] == QWEN2_WORDS
                && words["behavior"] == "Isolated"
                && words["invert"] != Value::Bool(true)
                && bytes["type"] == "ByteLevel"
                && bytes["use_regex"] == Value::Bool(false)
                && bytes["add_prefix_space"] == config.add_prefix_space.unwrap_or(false)
        }
        _ => false,
    });
    let words = (!is_own).then(|| "another pre-tokenizer".to_owned());
    refuse_steps(files, "Qwen2Tokenizer", found.or(words))
}

/// Refuses a `tokenizer.json` that has other steps than Gemma's tokenizer.
fn check_gemma(files: &ModelFiles, file: &TokenizerFile, model: &ModelPart) -> Result<()> {
    if model.byte_fallback != Some(true) {
        let found = "a vocabulary without `byte_fallback`".to_owned();
        return refuse_steps(files, "GemmaTokenizer", Some(found));
    }
    let is_own = file.normalizer.as_ref().is_some_and(|one| {
        one.kind == "Replace" && one.pattern["String"] == " " && one.content.as_deref() == Some("▁")
    });
    let normalizer = (!is_own).then(|| "another normalizer".to_owned());
    // No text has a space after that, so the pre-tokenizer that splits at spaces may be missing.
    let is_own = file
        .pre_tokenizer
        .as_ref()
        .is_none_or(|step| step["type"] == "Split" && step["pattern"]["String"] == " ");
    let words = (!is_own).then(|| "another pre-tokenizer".to_owned());
    refuse_steps(files, "GemmaTokenizer", normalizer.or(words))
}

fn refuse_steps(files: &ModelFiles, class: &str, found: Option<String>) -> Result<()> {
    let Some(found) = found else { return Ok(()) };
    Err(refuse(files, TOKENIZER_CONFIG, "tokenizer_class")
        .with(format!(
            "has, or has by default, the steps of a {class}, but tokenizer.json has {found}"
        ))
        .advice(AS_IT_IS))
}

/// Refuses a `tokenizer.json` that has other steps than RoBERTa's tokenizer, or writes a space before a text, or does not,
/// against the configuration.
fn check_roberta(files: &ModelFiles, config: &TokenizerConfig, file: &TokenizerFile) -> Result<()> {
    if let Some(normalizer) = &file.normalizer {
        let found = format!("the normalizer {}, not none", normalizer.kind);
        return refuse_steps(files, "RobertaTokenizer", Some(found));
    }
    let words = file.pre_tokenizer.as_ref();
    let is_own =
        |step: &&Value| step["type"] == "ByteLevel" && step["use_regex"] != Value::Bool(false);
    let Some(step) = words.filter(is_own) else {
        return refuse_steps(files, "RobertaTokenizer", Some("another pre-tokenizer".to_owned()));
    };
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
    let quotes = ["``", "''"]
        .map(|quote| json!({ "type": "Replace", "pattern": { "String": quote }, "content": "\"" }));
    // Converters wrote it; where texts are split at white space it changes nothing.
    let is_needless = |step: &&Value| step["pattern"]["Regex"] == " {2,}";
    let found: Vec<&Value> = steps.iter().filter(|step| !is_needless(step)).collect();
    let kinds = ["NFKD", "StripAccents", "Lowercase", "Precompiled"];
    let expected = kinds.into_iter().filter(|kind| match *kind {
        "NFKD" => has("StripAccents"),
        kind => has(kind),
    });
    let is_own = found.len() >= 2
        && found[..2].iter().zip(&quotes).all(|(step, own)| *step == own)
        && found[2..].iter().map(|step| &step["type"]).eq(expected);
    let found = (!is_own).then(|| "another normalizer".to_owned());
    refuse_steps(files, "AlbertTokenizer", found)
}

/// Whether `tokenizer.json` makes words as the tokenizers of XLM-RoBERTa, CamemBERT and ALBERT do.
pub fn has_piece_words(
    rebuilt: RebuiltTokenizer,
    file: &TokenizerFile,
    is_first_marked: bool,
) -> bool {
    let is_plain = rebuilt == RebuiltTokenizer::Albert
        || file.normalizer.as_ref().is_none_or(|one| one.kind == "Precompiled");
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
pub fn check_normalizer(
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
