//! The architectures that reembed runs, by `model_type` of `config.json`.

use std::fmt;

use serde::Deserialize;

/// An architecture of encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Lan et al., 2019, <https://arxiv.org/abs/1909.11942>.
    Albert,
    /// Devlin et al., 2018, <https://arxiv.org/abs/1810.04805>.
    Bert,
    /// Martin et al., 2019, <https://arxiv.org/abs/1911.03894>.
    Camembert,
    /// Sanh et al., 2019, <https://arxiv.org/abs/1910.01108>.
    DistilBert,
    /// Clark et al., 2020, <https://arxiv.org/abs/2003.10555>.
    Electra,
    /// The text model of Gemma 3, 2025, <https://arxiv.org/abs/2503.19786>.
    Gemma3,
    /// Token embeddings alone, without layers: StaticEmbedding of sentence-transformers, model2vec.
    StaticEmbedding,
    /// Warner et al., 2024, <https://arxiv.org/abs/2412.13663>.
    ModernBert,
    /// Song et al., 2020, <https://arxiv.org/abs/2004.09297>.
    Mpnet,
    /// Nussbaum et al., 2024, <https://arxiv.org/abs/2402.01613>.
    NomicBert,
    /// Yang et al., 2025, <https://arxiv.org/abs/2505.09388>.
    Qwen3,
    /// Liu et al., 2019, <https://arxiv.org/abs/1907.11692>.
    Roberta,
    /// Conneau et al., 2019, <https://arxiv.org/abs/1911.02116>.
    XlmRoberta,
}

/// Each architecture with its `model_type` and its name.
const TABLE: [(Architecture, &str, &str); 13] = [
    (Architecture::Albert, "albert", "ALBERT"),
    (Architecture::Bert, "bert", "BERT"),
    (Architecture::Camembert, "camembert", "CamemBERT"),
    (Architecture::DistilBert, "distilbert", "DistilBERT"),
    (Architecture::Electra, "electra", "ELECTRA"),
    (Architecture::Gemma3, "gemma3_text", "Gemma 3"),
    (Architecture::StaticEmbedding, "model2vec", "static embeddings"),
    (Architecture::ModernBert, "modernbert", "ModernBERT"),
    (Architecture::Mpnet, "mpnet", "MPNet"),
    (Architecture::NomicBert, "nomic_bert", "NomicBERT"),
    (Architecture::Qwen3, "qwen3", "Qwen3"),
    (Architecture::Roberta, "roberta", "RoBERTa"),
    (Architecture::XlmRoberta, "xlm-roberta", "XLM-RoBERTa"),
];

/// The key of `config.json` that names the architecture.
pub const KEY: &str = "model_type";

/// What to do about an architecture that is not supported.
pub const CURE: &str =
    "choose a model of a supported architecture; docs/models.md names such models";

impl Architecture {
    /// Every architecture, by its `model_type`.
    pub fn all() -> impl Iterator<Item = Architecture> {
        TABLE.iter().map(|(architecture, ..)| *architecture)
    }

    /// `model_type` in `config.json`.
    pub fn model_type(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// Models of this architecture that people use.
    pub fn examples(self) -> &'static [&'static str] {
        match self {
            Architecture::Albert => &["paraphrase-albert-small-v2"],
            Architecture::Bert => {
                &["all-MiniLM-L6-v2", "bge", "e5", "paraphrase-multilingual-MiniLM-L12-v2", "LaBSE"]
            }
            Architecture::Camembert => &["sentence-camembert-base"],
            Architecture::DistilBert => {
                &["msmarco-distilbert-base-tas-b", "distiluse-base-multilingual-cased-v2"]
            }
            Architecture::Electra => &["KoELECTRA"],
            Architecture::Gemma3 => &["embeddinggemma-300m"],
            Architecture::StaticEmbedding => &["potion-base-8M", "static-retrieval-mrl-en-v1"],
            Architecture::ModernBert => {
                &["gte-modernbert-base", "modernbert-embed-base", "granite-embedding-r2"]
            }
            Architecture::Mpnet => &["all-mpnet-base-v2", "multi-qa-mpnet-base-dot-v1"],
            Architecture::NomicBert => &["nomic-embed-text-v1.5"],
            Architecture::Qwen3 => &["Qwen3-Embedding-0.6B"],
            Architecture::Roberta => &["all-distilroberta-v1", "all-roberta-large-v1"],
            Architecture::XlmRoberta => &["multilingual-e5-base", "bge-m3 (dense)"],
        }
    }

    /// The architecture that a `config.json` names. Nothing else of it is looked at.
    ///
    /// # Errors
    /// What is wrong with the key, as a sentence that begins after its name: it is missing, or names an
    /// architecture that is not supported.
    pub fn judge(config: &[u8]) -> Result<Architecture, String> {
        #[derive(Deserialize)]
        struct Config {
            model_type: Option<String>,
            #[serde(default)]
            auto_map: serde_json::Value,
        }
        let supported = || TABLE.map(|(_, model_type, _)| model_type).join(", ");
        let config: Config = serde_json::from_slice(config)
            .map_err(|_| format!("cannot be read: the file is not the JSON object of a model; the supported architectures are {}", supported()))?;
        let Some(name) = config.model_type else {
            return Err(format!("is missing; the supported architectures are {}", supported()));
        };
        const OWN_CODE: &str = ": its forward pass is code that comes with the model (`auto_map`), and reembed runs no such code";
        let found = TABLE.iter().find(|(_, model_type, _)| *model_type == name);
        let found = found.map(|(architecture, ..)| *architecture);
        let name = format!("{:?}", name.chars().take(80).collect::<String>());
        let has_code = config.auto_map["AutoModel"].is_string();
        match found {
            // transformers has that forward pass by now, so nobody needs the code any more.
            Some(Architecture::NomicBert) => Ok(Architecture::NomicBert),
            Some(_) if has_code => Err(format!(
                "is {name}, a supported architecture, but not in this model{OWN_CODE}; without `auto_map` in config.json \
                 its weights are read as those of {name}"
            )),
            Some(found) => Ok(found),
            None => {
                let code = if config.auto_map.is_null() { "" } else { OWN_CODE };
                Err(format!(
                    "{name} is an architecture that is not supported{code}; supported are {}",
                    supported()
                ))
            }
        }
    }
}

/// The name that people use.
impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TABLE[*self as usize].2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_each_architecture_at_its_place() {
        for (place, (architecture, model_type, name)) in TABLE.iter().enumerate() {
            assert_eq!(*architecture as usize, place, "{name}");
            let config = format!("{{\"model_type\": {model_type:?}, \"hidden_size\": \"?\"}}");
            assert_eq!(Architecture::judge(config.as_bytes()), Ok(*architecture));
        }
        assert!(TABLE.is_sorted_by_key(|(_, model_type, _)| *model_type));
    }

    #[test]
    fn unknown_architecture_is_named_with_those_that_are_known() {
        for (config, says) in [
            (r#"{"model_type": "t5"}"#, r#""t5" is an architecture that is not supported; "#),
            (r#"{"model_type": "new", "auto_map": {"AutoModel": "m.New"}}"#, "runs no such code"),
            (r#"{"model_type": null}"#, "is missing"),
            ("[]", "JSON"),
        ] {
            let why = Architecture::judge(config.as_bytes()).expect_err("not supported");
            assert!(why.contains(says) && why.contains("bert, camembert"), "{config}: {why}");
        }
    }
}
