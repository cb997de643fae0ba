//! Settings of real directories that change every vector: each is followed as transformers follows it, or refused by name.

use std::fs;

use reembed_testing::golden_models::{self, GoldenModel};
use serde_json::{Value, json};

use super::config::{ModelConfig, TextOptions};
use super::description::{self, ModelDescription};
use super::source;
use super::tokenizer::TextTokenizer;
use crate::error::{ErrorKind, Result};

/// Edits a file of a model; one that is not there begins as an empty object.
fn edit(model: &GoldenModel, file: &str, edit: impl FnOnce(&mut Value)) {
    let path = model.path().join(file);
    let mut content = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).expect("JSON"),
        Err(_) => json!({}),
    };
    edit(&mut content);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(path, content.to_string()).expect("a file");
}

fn open(model: &GoldenModel) -> Result<(ModelDescription, TextTokenizer)> {
    let config = ModelConfig::from_directory(model.path());
    let files = source::resolve(&config.source, &|_| ())?;
    let description = description::read(&files, &TextOptions::default())?;
    let tokenizer = TextTokenizer::new(&files, &description)?;
    Ok((description, tokenizer))
}

fn opened(model: &GoldenModel) -> (ModelDescription, TextTokenizer) {
    open(model).unwrap_or_else(|error| panic!("{}: {error}", model.name))
}

#[test]
fn what_would_change_vectors_in_silence_is_refused_by_name() {
    type Edit = fn(&mut Value);
    let tokenizer = "tokenizer.json";
    let cases: [(&str, &str, Edit, &[&str]); 35] = [
        (
            "albert-mean",
            "tokenizer_config.json",
            |c| c["do_lower_case"] = json!(false),
            &["`do_lower_case`: is false", "has Lowercase"],
        ),
        (
            "albert-mean",
            "tokenizer_config.json",
            |c| c["keep_accents"] = json!(true),
            &["`keep_accents`", "has StripAccents"],
        ),
        (
            "bert-dense-identity",
            "2_Dense/config.json",
            |c| c["use_residual"] = json!(true),
            &["2_Dense/config.json", "`use_residual`"],
        ),
        (
            "bert-dense-identity",
            "2_Dense/config.json",
            |c| c["activation_function"] = json!("my_package.Identity"),
            &["`activation_function`", "my_package.Identity"],
        ),
        (
            "bert-dense-identity",
            "3_Normalize/config.json",
            |c| c["module_input_name"] = json!("token_embeddings"),
            &["3_Normalize/config.json", "`module_input_name`"],
        ),
        (
            "modernbert-mean",
            "config.json",
            |c| c["rope_scaling"] = json!({ "rope_type": "linear", "factor": 4.0 }),
            &["`rope_scaling`"],
        ),
        (
            "nomic-mean",
            "config.json",
            |c| c["rope_scaling"] = json!({ "type": "dynamic", "factor": 2.0 }),
            &["`rope_scaling`"],
        ),
        (
            "qwen3-lasttoken",
            "config.json",
            |c| c["rope_parameters"] = json!({ "type": "yarn", "factor": 4.0 }),
            &["`rope_parameters`", "yarn"],
        ),
        (
            "gemma3-mean",
            "config.json",
            |c| {
                c["use_bidirectional_attention"] = json!(false);
                c["is_causal"] = json!(false);
            },
            &["`is_causal`"],
        ),
        (
            "bert-max",
            tokenizer,
            |t| t["normalizer"] = json!(null),
            &["`tokenizer_class`", "no normalizer"],
        ),
        (
            "bert-max",
            tokenizer,
            |t| t["normalizer"] = json!({ "type": "Lowercase" }),
            &["`tokenizer_class`", "Lowercase"],
        ),
        (
            "bert-max",
            tokenizer,
            |t| t["normalizer"]["clean_text"] = json!(false),
            &["`tokenizer_class`", "`clean_text`"],
        ),
        (
            "distilbert-cls",
            tokenizer,
            |t| t["pre_tokenizer"] = json!({ "type": "Whitespace" }),
            &["`tokenizer_class`", "Whitespace"],
        ),
        (
            "bert-max",
            tokenizer,
            |t| t["post_processor"] = json!(null),
            &["`cls_token`", "no token"],
        ),
        (
            "xlm-roberta-mean",
            tokenizer,
            |t| t["post_processor"] = json!(null),
            &["`bos_token`", "no token"],
        ),
        (
            "roberta-mean",
            "tokenizer_config.json",
            |c| c["add_prefix_space"] = json!(true),
            &["`add_prefix_space`", "is true"],
        ),
        (
            "mpnet-mean",
            tokenizer,
            |t| t["normalizer"]["handle_chinese_chars"] = json!(false),
            &["`tokenize_chinese_chars`", "is true"],
        ),
        (
            "nomic-mean",
            tokenizer,
            |t| t["normalizer"] = json!(null),
            &["`tokenizer_class`", "no normalizer"],
        ),
        (
            "qwen3-lasttoken",
            tokenizer,
            |t| t["normalizer"] = json!({ "type": "NFKC" }),
            &["`tokenizer_class`", "Qwen2Tokenizer", "NFKC for a normalizer, not NFC"],
        ),
        (
            "qwen3-lasttoken",
            tokenizer,
            |t| t["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!(r"\s+"),
            &["`tokenizer_class`", "another pre-tokenizer"],
        ),
        (
            "gemma3-mean",
            tokenizer,
            |t| t["normalizer"]["content"] = json!("_"),
            &["`tokenizer_class`", "GemmaTokenizer", "another normalizer"],
        ),
        (
            "qwen3-lasttoken",
            "tokenizer_config.json",
            |c| forget(c, "</think>"),
            &["`added_tokens_decoder`", "</think>"],
        ),
        (
            "roberta-mean",
            "tokenizer_config.json",
            |c| forget(c, "<mask>"),
            &["`added_tokens_decoder`", "<mask>"],
        ),
        (
            "bert-max",
            tokenizer,
            |t| t["added_tokens"][4]["content"] = json!("fix"),
            &["`added_tokens_decoder`", "\"fix\""],
        ),
        (
            "bert-max",
            tokenizer,
            |t| t["model"]["max_input_chars_per_word"] = json!(200),
            &["`tokenizer_class`", "`max_input_chars_per_word` 200, not 100"],
        ),
        (
            "bert-max",
            tokenizer,
            |t| t["model"]["continuing_subword_prefix"] = json!("@@"),
            &["`tokenizer_class`", "\"@@\", not \"##\""],
        ),
        (
            "bert-max",
            tokenizer,
            |t| t["model"]["unk_token"] = json!("[PAD]"),
            &["`unk_token`", "is \"[UNK]\"", "\"[PAD]\""],
        ),
        (
            "mpnet-mean",
            "tokenizer_config.json",
            |c| c["unk_token"] = json!("<pad>"),
            &["`unk_token`", "is \"<pad>\""],
        ),
        (
            "roberta-mean",
            tokenizer,
            |t| t["normalizer"] = json!({ "type": "Lowercase" }),
            &["`tokenizer_class`", "the normalizer Lowercase, not none"],
        ),
        (
            "roberta-mean",
            tokenizer,
            |t| t["pre_tokenizer"] = json!({ "type": "Whitespace" }),
            &["`tokenizer_class`", "another pre-tokenizer"],
        ),
        (
            "albert-mean",
            tokenizer,
            |t| t["normalizer"]["normalizers"][0]["content"] = json!("'"),
            &["`tokenizer_class`", "AlbertTokenizer", "another normalizer"],
        ),
        (
            "gemma3-mean",
            tokenizer,
            |t| t["model"]["byte_fallback"] = json!(false),
            &["`tokenizer_class`", "without `byte_fallback`"],
        ),
        (
            "gemma3-mean",
            "tokenizer_config.json",
            |c| c["tokenizer_class"] = json!("LlamaTokenizerFast"),
            &["`tokenizer_class`", "LlamaTokenizerFast", "builds by itself"],
        ),
        (
            "qwen3-lasttoken",
            "config.json",
            |c| c["auto_map"] = json!({ "AutoModel": "modeling.Own" }),
            &["`model_type`", "is \"qwen3\"", "code that comes with the model"],
        ),
        (
            "bert-max",
            "sentence_bert_config.json",
            |c| c["max_seq_length"] = json!(100_000),
            &["`max_seq_length`", "out of range"],
        ),
    ];
    for (name, file, change, words) in cases {
        let model = golden_models::write(name);
        opened(&model);
        edit(&model, file, change);
        let error = open(&model).err().unwrap_or_else(|| panic!("{name}, {words:?}: opened"));
        let said = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Model, "{name}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{name}: {said} lacks {words:?}");
    }
}

#[test]
fn the_steps_of_a_file_that_says_so_itself_are_followed() {
    let model = golden_models::write("bert-max");
    edit(&model, "tokenizer.json", |t| t["normalizer"] = json!(null));
    edit(&model, "tokenizer_config.json", |c| {
        c["tokenizer_class"] = json!("PreTrainedTokenizerFast");
    });
    opened(&model);
    // The class of config.json counts where there is no other.
    edit(&model, "tokenizer_config.json", |c| c["tokenizer_class"] = json!(null));
    assert!(open(&model).is_err(), "BERT's own class");
    edit(&model, "config.json", |c| c["tokenizer_class"] = json!("PreTrainedTokenizerFast"));
    opened(&model);
}

#[test]
fn words_of_xlm_roberta_end_at_white_space_whatever_its_file_says() {
    let marks = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always" });
    for name in ["xlm-roberta-mean", "camembert-mean", "bert-unigram"] {
        let model = golden_models::write(name);
        let (plain, own) = opened(&model);
        edit(&model, "tokenizer.json", |t| {
            t["pre_tokenizer"] = marks.clone();
            let spaces = json!({ "Regex": " {2,}" });
            let step = json!({ "type": "Replace", "pattern": spaces, "content": " " });
            t["normalizer"] = json!({ "type": "Sequence", "normalizers": [t["normalizer"], step] });
        });
        let (changed, found) = opened(&model);
        for text in ["hello ", "hello\n", " two  words ", "hello", ""] {
            let ids = |tokenizer: &TextTokenizer| tokenizer.tokenize(text).expect("ids").ids;
            assert_eq!(ids(&found), ids(&own), "{name}: {text:?}");
        }
        assert_eq!((plain.tokens.words, changed.tokens.words.is_some()), (None, true), "{name}");
    }
}

#[test]
fn qwen3_that_is_not_causal_sees_both_sides() {
    let model = golden_models::write("qwen3-lasttoken");
    assert_eq!(opened(&model).0.encoder.attention.full.seen, [None, Some(0)]);
    edit(&model, "config.json", |c| c["is_causal"] = json!(false));
    assert_eq!(opened(&model).0.encoder.attention.full.seen, [None, None]);
}

#[test]
fn the_newer_key_of_a_rotation_wins() {
    let theta = |name: &str, change: fn(&mut Value)| {
        let model = golden_models::write(name);
        edit(&model, "config.json", change);
        let attention = opened(&model).0.encoder.attention;
        [attention.full.theta, attention.local.theta]
    };
    let both = theta("qwen3-lasttoken", |c| {
        c["rope_theta"] = json!(10_000.0);
        c["rope_parameters"] = json!({ "rope_type": "default", "rope_theta": 5e5 });
    });
    assert_eq!(both[0], Some(5e5));
    let both = theta("modernbert-cls", |c| c["local_rope_theta"] = json!(77.0));
    assert_eq!(both, [Some(160_000.0), Some(10_000.0)]);
    let both = theta("gemma3-mean", |c| {
        let of = |theta: f64| json!({ "rope_type": "default", "rope_theta": theta });
        c["rope_parameters"] = json!({ "full_attention": of(3e5), "sliding_attention": of(2e4) });
    });
    assert_eq!(both, [Some(3e5), Some(2e4)]);
}

#[test]
fn the_length_is_found_under_older_names() {
    let model = golden_models::write("xlm-roberta-mean");
    fs::remove_file(model.path().join("sentence_bert_config.json")).expect("a file");
    edit(&model, "sentence_xlm-roberta_config.json", |c| c["max_seq_length"] = json!(17));
    assert_eq!(opened(&model).0.max_seq_length.get(), 17);
    // An empty one says nothing, and the first that does counts.
    edit(&model, "sentence_bert_config.json", |_| ());
    assert_eq!(opened(&model).0.max_seq_length.get(), 17);
    edit(&model, "sentence_roberta_config.json", |c| c["max_seq_length"] = json!("long"));
    let said = open(&model).err().expect("no length").to_string();
    assert!(said.contains("sentence_roberta_config.json: `max_seq_length`"), "{said}");
}

/// What `added_tokens_decoder` says about a token.
fn decoder<'c>(config: &'c mut Value, content: &str) -> &'c mut Value {
    let tokens = config["added_tokens_decoder"].as_object_mut().expect("tokens");
    tokens.values_mut().find(|token| token["content"] == content).expect("the token")
}

fn strip_right(token: &mut Value) {
    token["lstrip"] = json!(false);
    token["rstrip"] = json!(true);
}

fn forget(config: &mut Value, content: &str) {
    let tokens = config["added_tokens_decoder"].as_object_mut().expect("tokens");
    tokens.retain(|_, token| token["content"] != content);
}

/// The ids of tokens in the vocabulary of a model.
fn ids(model: &GoldenModel, tokens: &[&str]) -> Vec<u32> {
    let bytes = fs::read(model.path().join("tokenizer.json")).expect("a file");
    let file: Value = serde_json::from_slice(&bytes).expect("JSON");
    let id = |token: &&str| {
        let added = file["added_tokens"].as_array().expect("a list").iter();
        let added = added.filter(|added| added["content"] == **token).map(|added| &added["id"]);
        let id = added.chain([&file["model"]["vocab"][token]]).find_map(Value::as_u64);
        id.unwrap_or_else(|| panic!("no {token}")) as u32
    };
    tokens.iter().map(id).collect()
}

/// The expected tokens are those of transformers 5.23.
#[test]
fn tokens_are_matched_as_the_configuration_of_the_tokenizer_says() {
    type Edit = fn(&mut Value);
    let config = "tokenizer_config.json";
    let cases: [(&str, &str, Edit, &str, &[&str]); 6] = [
        (
            "bert-max",
            config,
            |c| decoder(c, "[MASK]")["single_word"] = json!(true),
            "a[MASK]b",
            &["[CLS]", "a", "[UNK]", "ma", "##s", "##k", "[UNK]", "b", "[SEP]"],
        ),
        (
            "modernbert-mean",
            config,
            |c| strip_right(decoder(c, "[MASK]")),
            "a [MASK] b",
            &["[CLS]", "a", "Ġ", "[MASK]", "b", "[SEP]"],
        ),
        (
            "qwen3-lasttoken",
            config,
            |c| strip_right(decoder(c, "</think>")),
            "a </think> b",
            &["a", "Ġ", "</think>", "b", "<|endoftext|>"],
        ),
        (
            "gemma3-mean",
            config,
            |c| strip_right(decoder(c, "<end_of_turn>")),
            "a <end_of_turn> b",
            &["<bos>", "a", "▁", "<end_of_turn>", "b", "<eos>"],
        ),
        (
            "roberta-mean",
            config,
            |c| strip_right(decoder(c, "<mask>")),
            "a <mask> b",
            &["<s>", "a", "Ġ", "<mask>", "b", "</s>"],
        ),
        // What tokenizer.json says of the same token counts less.
        (
            "bert-max",
            "tokenizer.json",
            |t| t["added_tokens"][4]["single_word"] = json!(true),
            "a[MASK]b",
            &["[CLS]", "a", "[MASK]", "b", "[SEP]"],
        ),
    ];
    for (name, file, change, text, tokens) in cases {
        let model = golden_models::write(name);
        let plain = opened(&model).0.tokens.in_identity(false);
        edit(&model, file, change);
        let (description, tokenizer) = opened(&model);
        assert_eq!(tokenizer.tokenize(text).expect("ids").ids, ids(&model, tokens), "{name}");
        assert_ne!(description.tokens.in_identity(false), plain, "{name}: part of the identity");
    }
}

#[test]
fn token_with_a_name_is_what_its_text_says() {
    for (name, text, change) in [
        ("bert-max", "a[MASK]b", (|c| forget(c, "[MASK]")) as fn(&mut Value)),
        ("qwen3-lasttoken", "a <|endoftext|> b", |c| strip_right(decoder(c, "<|endoftext|>"))),
    ] {
        let model = golden_models::write(name);
        let own = opened(&model).1.tokenize(text).expect("ids");
        edit(&model, "tokenizer_config.json", change);
        assert_eq!(opened(&model).1.tokenize(text).expect("ids"), own, "{name}");
    }
}

#[test]
fn own_keys_count_beside_older_names_of_the_same() {
    let model = golden_models::write("nomic-hub");
    let plain = opened(&model).0.encoder;
    edit(&model, "config.json", |c| {
        c["hidden_size"] = c["n_embd"].clone();
        c["num_hidden_layers"] = c["n_layer"].clone();
        c["n_head"] = json!(7);
        c["num_attention_heads"] = json!(plain.attention.heads);
        c["layer_norm_eps"] = json!(null);
    });
    assert_eq!(opened(&model).0.encoder, plain);
    let model = golden_models::write("bert-max");
    edit(&model, "1_Pooling/config.json", |c| {
        let width = c["word_embedding_dimension"].as_u64().or(c["embedding_dimension"].as_u64());
        c["word_embedding_dimension"] = json!(width);
        c["embedding_dimension"] = json!(width);
    });
    opened(&model);
    edit(&model, "1_Pooling/config.json", |c| c["embedding_dimension"] = json!(5));
    let said = open(&model).err().expect("another width").to_string();
    assert!(said.contains("`embedding_dimension`: is 5"), "{said}");
}

#[test]
fn rotation_has_no_end() {
    for name in ["modernbert-cls", "nomic-mean", "qwen3-lasttoken", "gemma3-mean"] {
        let model = golden_models::write(name);
        let most = opened(&model).0.encoder.max_tokens;
        edit(&model, "sentence_bert_config.json", |c| c["max_seq_length"] = json!(most + 9));
        let (description, tokenizer) = opened(&model);
        assert_eq!(description.max_seq_length.get(), most + 9, "{name}");
        assert_eq!(description.encoder.max_tokens, most + 9, "{name}");
        let long = tokenizer.tokenize(&"a ".repeat(2 * most)).expect("ids");
        assert_eq!((long.ids.len(), long.truncated), (most + 9, true), "{name}");
        edit(&model, "sentence_bert_config.json", |c| c["max_seq_length"] = json!(1u64 << 40));
        assert!(open(&model).is_err(), "{name}: more than any memory");
    }
}

#[test]
fn words_of_albert_end_at_white_space_whatever_its_file_says() {
    let model = golden_models::write("albert-mean");
    let own = opened(&model).1;
    edit(&model, "tokenizer.json", |t| {
        t["pre_tokenizer"] =
            json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always" });
        let spaces = json!({ "Regex": " {2,}" });
        let step = json!({ "type": "Replace", "pattern": spaces, "content": " " });
        t["normalizer"]["normalizers"].as_array_mut().expect("steps").push(step);
    });
    let found = opened(&model).1;
    for text in ["hello ", "Hello\n", " two  words ", "``q''", "é", ""] {
        let ids = |tokenizer: &TextTokenizer| tokenizer.tokenize(text).expect("ids").ids;
        assert_eq!(ids(&found), ids(&own), "{text:?}");
    }
}

#[test]
fn keys_that_change_no_vector_are_read_over() {
    let model = golden_models::write("bert-max");
    let plain = opened(&model).0;
    edit(&model, "sentence_bert_config.json", |c| {
        c["model_args"] = json!({ "add_pooling_layer": false, "attn_implementation": "sdpa" });
        c["tokenizer_args"] = json!({ "padding_side": "left" });
        c["config_args"] = json!({ "trust_remote_code": true });
    });
    assert_eq!(opened(&model).0, plain);
    edit(&model, "sentence_bert_config.json", |c| {
        c["tokenizer_args"] = json!({ "use_fast": false })
    });
    assert!(open(&model).is_err());
}

#[test]
fn map_of_special_tokens_counts_more_than_the_configuration() {
    let without_list = || {
        let model = golden_models::write("bert-max");
        edit(&model, "tokenizer_config.json", |c| c["added_tokens_decoder"] = json!(null));
        model
    };
    let model = without_list();
    edit(&model, "tokenizer_config.json", |c| c["unk_token"] = json!("<unk>"));
    edit(&model, "special_tokens_map.json", |map| *map = json!({ "unk_token": "[UNK]" }));
    opened(&model);
    let model = without_list();
    edit(&model, "special_tokens_map.json", |map| *map = json!({ "unk_token": "[PAD]" }));
    let said = open(&model).err().expect("another token").to_string();
    assert!(said.contains("`unk_token`: is \"[PAD]\""), "{said}");
}

#[test]
fn herbert_has_steps_of_its_own() {
    let model = golden_models::write("bert-max");
    let vocabulary =
        ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a</w>", "b</w>", "a", "b", "ab</w>"];
    let ids: serde_json::Map<String, Value> =
        (0..).zip(vocabulary).map(|(id, token)| (token.to_owned(), json!(id))).collect();
    let special = |id: usize| {
        let content = vocabulary[id];
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true })
    };
    edit(&model, "tokenizer.json", |t| {
        t["model"] = json!({ "type": "BPE", "vocab": ids, "merges": [["a", "b</w>"]],
            "unk_token": "<unk>", "end_of_word_suffix": "</w>" });
        t["normalizer"]["lowercase"] = json!(false);
        t["normalizer"]["strip_accents"] = json!(false);
        t["post_processor"] =
            json!({ "type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0] });
        t["decoder"] = json!({ "type": "BPEDecoder", "suffix": "</w>" });
        t["added_tokens"] = (0..5).map(special).collect();
    });
    edit(&model, "tokenizer_config.json", |c| {
        *c = json!({ "tokenizer_class": "HerbertTokenizerFast", "model_max_length": 64 });
    });
    edit(&model, "special_tokens_map.json", |map| *map = json!({}));
    let found = opened(&model).1.tokenize("ab A b").expect("ids").ids;
    assert_eq!(found, [0, 9, 3, 6, 2]);
    edit(&model, "tokenizer.json", |t| t["normalizer"]["lowercase"] = json!(true));
    let said = open(&model).err().expect("another normalizer").to_string();
    assert!(said.contains("HerbertTokenizer, but tokenizer.json has another normalizer"), "{said}");
}

#[test]
fn class_of_llama_over_bytes_is_the_file() {
    let model = golden_models::write("qwen3-lasttoken");
    let own = opened(&model).1.tokenize("a </think> b").expect("ids");
    edit(&model, "tokenizer_config.json", |c| c["tokenizer_class"] = json!("LlamaTokenizer"));
    assert_eq!(opened(&model).1.tokenize("a </think> b").expect("ids"), own);
}
