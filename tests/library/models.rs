//! Small seeded models of every supported architecture: their vectors, and the error for every invalid model.

use std::error::Error as _;
use std::num::NonZeroUsize;

use reembed::{BatchOptions, Embedder, ErrorKind, TaskRow};
use reembed_encoder::batch::{RowNames, TokenBatch};
use reembed_encoder::limit::{BatchLimit, Pace, TokenCount};
use reembed_encoder::model::config::TextOptions;
use reembed_encoder::model::tokenizer::{TextTokenizer, tokenize_texts};
use reembed_encoder::model::{self, Model, description, source};
use reembed_testing::model_directory::{Dtype, ModelDirectory, Numbers, Pooling, WrittenModel};
use serde_json::json;

use crate::common::{bits, distance, length, load, model_config, task};

const TEXTS: [&str; 9] = [
    "fix the login loop",
    "Users are sent back to the sign-in page, again and again.",
    "a",
    "Café, naïve; ÜBER 42 files!",
    "中文 日本語 mixed with english words",
    "the job takes minutes because texts are embedded one at a time; batch them and measure the rate",
    "x [SEP] y",
    " ",
    "unknown: ☃ ☄",
];

/// Every kind of supported model, with the width of its vectors.
fn zoo() -> Vec<(&'static str, ModelDirectory, usize)> {
    vec![
        ("MiniLM-L12", ModelDirectory::like_minilm_l12(), 96),
        ("bge", ModelDirectory::like_bge(), 128),
        ("e5", ModelDirectory::like_e5(), 64),
        ("gte", ModelDirectory::like_gte(), 96),
        ("tiny", ModelDirectory::tiny(), 32),
        ("relu", ModelDirectory::tiny().activation("relu"), 32),
        ("gelu_new", ModelDirectory::tiny().activation("gelu_new"), 32),
        ("gelu_pytorch_tanh", ModelDirectory::tiny().activation("gelu_pytorch_tanh"), 32),
        ("f16", ModelDirectory::tiny().dtype(Dtype::F16), 32),
        ("bf16", ModelDirectory::tiny().dtype(Dtype::Bf16), 32),
        ("bert. before each name", ModelDirectory::tiny().tensor_prefix("bert."), 32),
        ("not normalised", ModelDirectory::tiny().normalize(false), 32),
        ("no pooler, one token type", ModelDirectory::tiny().pooler(false).token_types(1), 32),
        ("one layer, one head", ModelDirectory::tiny().layers(1).heads(1).hidden(24), 24),
    ]
}

#[test]
fn every_model_embeds_alike_alone_and_in_batches() {
    let rows: Vec<TaskRow> = (0..3)
        .flat_map(|round| TEXTS.map(|text| (round, text)))
        .enumerate()
        .map(|(n, (round, text))| {
            task(format!("T-{n}"), format!("{text} {}", "word ".repeat(round * n)))
        })
        .collect();
    let engines = ["compute.engine = \"packed\"", "compute.engine = \"candle\""];
    let zoo = zoo().into_iter().flat_map(|kind| engines.map(|engine| (kind.clone(), engine)));
    for ((name, directory, dim), engine) in zoo {
        let written = directory.write();
        let embedder = Embedder::open(&model_config(written.path(), &[engine])).expect(name);
        assert_eq!(embedder.dim(), dim, "{name}");
        assert_eq!(embedder.is_batch_invariant(), engine.contains("packed"), "{name}");
        let alone: Vec<Vec<f32>> =
            rows.iter().map(|row| embedder.compute_embedding(row).expect("a vector")).collect();
        for size in [1, 4, 32] {
            let batch_size = NonZeroUsize::new(size);
            let options = BatchOptions { batch_size, ..BatchOptions::default() };
            let together = embedder.compute_embeddings_batch(&rows, &options).expect("vectors");
            assert_eq!((together.len(), together.dim()), (rows.len(), dim), "{name}");
            for (row, (alone, together)) in alone.iter().zip(together.rows()).enumerate() {
                let found = distance(alone, together);
                let same = match embedder.is_batch_invariant() {
                    true => bits(alone) == bits(together),
                    false => found <= 1e-6,
                };
                assert!(same, "{name}, batch size {size}, row {row}: off by {found:e}");
            }
        }
        for vector in &alone {
            let is_unit = (length(vector) - 1.0).abs() < 1e-5;
            assert_eq!(is_unit, name != "not normalised", "{name}: length {}", length(vector));
        }
        assert!(distance(&alone[0], &alone[1]) > 1e-3, "{name}: all texts have the same vector");
    }
}

#[test]
fn encoder_agrees_with_naive_f64_forward_pass() {
    let tiny = ModelDirectory::tiny;
    for (name, directory, naive) in [
        ("gelu, mean", tiny(), Naive::default()),
        ("relu", tiny().activation("relu"), Naive { activation: relu, ..Naive::default() }),
        (
            "gelu_new",
            tiny().activation("gelu_new"),
            Naive { activation: gelu_tanh, ..Naive::default() },
        ),
        ("cls", tiny().pooling(Pooling::Cls), Naive { cls: true, ..Naive::default() }),
        (
            "not normalised, other sizes",
            tiny().normalize(false).layers(3).heads(2).hidden(48).intermediate(80).seed(7),
            Naive { normalize: false, heads: 2, layers: 3, ..Naive::default() },
        ),
        ("a large epsilon", tiny().layer_norm_eps(0.05), Naive { eps: 0.05, ..Naive::default() }),
    ] {
        let written = directory.write();
        let engines = ["packed", "candle"].map(|engine| {
            let engine = format!("compute.engine = {engine:?}");
            model::load(&model_config(written.path(), &[&engine]), &|_| ()).expect("a model")
        });
        let long = "every word of a long text counts, ".repeat(40);
        for text in TEXTS.into_iter().chain([long.as_str()]) {
            let ids = engines[0].tokenizer.tokenize(text).expect("ids").ids;
            let expected = naive.forward(&written, &ids);
            for model in &engines {
                let engine = model.encoder.numerics();
                let found = encode(model, &ids);
                assert_eq!(found.len(), expected.len(), "{name}");
                for (found, expected) in found.iter().zip(&expected) {
                    let difference = (f64::from(*found) - expected).abs();
                    assert!(
                        difference < 1e-5,
                        "{name}, {engine}, {text:.20}: off by {difference:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn configured_prompt_replaces_the_model_s_own() {
    let e5 = ModelDirectory::like_e5().write();
    let plain = ModelDirectory::like_e5().prompt(None).write();
    let vector = |directory: &WrittenModel, settings: &[&str], text: &str| {
        let model =
            model::load(&model_config(directory.path(), settings), &|_| ()).expect("a model");
        Embedder::new(model).compute_embedding(&task("T", text)).expect("a vector")
    };
    let own = vector(&e5, &[], "fix the build");
    assert_eq!(own, vector(&plain, &[], "query: fix the build"));
    assert_eq!(own, vector(&plain, &["model.prompt = \"query: \""], "fix the build"));
    let passage = vector(&e5, &["model.prompt = \"passage: \""], "fix the build");
    assert_eq!(passage, vector(&plain, &[], "passage: fix the build"));
    let none = vector(&e5, &["model.prompt = \"\""], "fix the build");
    assert_eq!(none, vector(&plain, &[], "fix the build"));
    for (one, other) in [(&own, &passage), (&own, &none), (&passage, &none)] {
        assert!(distance(one, other) > 1e-4);
    }
}

#[test]
fn another_prompt_needs_no_other_weights() {
    for is_pooled in [true, false] {
        let own = ModelDirectory::like_e5().write();
        own.edit_json("1_Pooling/config.json", |c| c["include_prompt"] = json!(is_pooled));
        let embedder = |settings: &[&str]| {
            let config = model_config(own.path(), settings);
            Embedder::new(model::load(&config, &|_| ()).expect("a model"))
        };
        let opened = embedder(&[]);
        for prompt in ["passage: ", "", "a rather long prompt before it: "] {
            let other = opened.with_prompt(prompt).expect("a prompt");
            let configured = embedder(&[&format!("model.prompt = {prompt:?}")]);
            let texts = ["fix the build", "", "a"];
            let found = other.embed(&texts).expect("vectors");
            assert_eq!(
                found,
                configured.embed(&texts).expect("vectors"),
                "{is_pooled}, {prompt:?}"
            );
            assert_eq!(other.identity(), configured.identity(), "{is_pooled}, {prompt:?}");
            let pooled = embedder(&["model.prompt = \"\""]).embed(&[format!("{prompt}a")]);
            let is_text = found.row(2) == pooled.expect("a vector").row(0);
            assert_eq!(is_text, is_pooled || prompt.is_empty(), "{is_pooled}, {prompt:?}");
        }
        let endless = opened.with_prompt(&"endless ".repeat(1000));
        match endless {
            Err(error) => {
                assert!(!is_pooled && error.to_string().contains("no token for a text"), "{error}");
            }
            Ok(_) => assert!(is_pooled, "a prompt without end"),
        }
    }
}

#[test]
fn the_length_is_the_model_s_and_not_the_128_of_its_tokenizer() {
    let words = |count: usize| vec!["word"; count].join(" ");
    fn up_to(tokens: impl Into<serde_json::Value>) -> serde_json::Value {
        json!({ "model_max_length": tokens.into() })
    }
    for (directory, words_in, ids, truncated) in [
        (ModelDirectory::tiny(), 198, 200, false),
        (ModelDirectory::tiny(), 254, 256, false),
        (ModelDirectory::tiny(), 255, 256, true),
        (ModelDirectory::tiny(), 10_000, 256, true),
        (ModelDirectory::like_minilm_l12(), 198, 128, true),
        (ModelDirectory::like_bge(), 198, 200, false),
        (ModelDirectory::like_bge(), 600, 512, true),
        // Without a length in the directory, the tokenizer's applies, capped by the position embeddings.
        (ModelDirectory::tiny().without_max_seq_length(), 600, 512, true),
        (
            ModelDirectory::tiny().without_max_seq_length().tokenizer_config(up_to(200)),
            600,
            200,
            true,
        ),
        (
            ModelDirectory::tiny().without_max_seq_length().tokenizer_config(up_to(1e30)),
            600,
            512,
            true,
        ),
        (ModelDirectory::tiny().tokenizer_config(up_to(128)), 600, 256, true),
        (ModelDirectory::tiny().baked_length(None), 198, 200, false),
        (ModelDirectory::tiny(), 1, 3, false),
    ] {
        let model = load(directory.write().path());
        let text = model.tokenizer.tokenize(&words(words_in)).expect("ids");
        assert_eq!(
            (text.ids.len(), text.truncated),
            (ids, truncated),
            "{words_in} words: {directory:?}"
        );
        let last = text.ids[text.ids.len() - 1];
        let separator = model.tokenizer.tokenize("").expect("ids").ids[1];
        assert_eq!(last, separator, "a truncated text must end in [SEP]");
    }
}

#[test]
fn a_long_text_loses_its_end_or_its_start() {
    // Ids of Python's tokenizers 0.23.3, with `enable_truncation(8, direction=…)`.
    const END: [u32; 8] = [101, 670, 568, 715, 179, 319, 319, 102];
    const START: [u32; 8] = [101, 1128, 1129, 1217, 313, 1058, 323, 102];
    let text = "fix the login loop and rotate the database credentials";
    for lower_case in [false, true] {
        let written = ModelDirectory::tiny().write();
        written.edit_json("sentence_bert_config.json", |c| c["do_lower_case"] = json!(lower_case));
        let ids = |settings: &[&str], text: &str| {
            let model = model::load(&model_config(written.path(), settings), &|_| ());
            model.expect("a model").tokenizer.tokenize(text).expect("ids")
        };
        let eight = "text.max_length = 8";
        for (truncate, kept) in [("end", END), ("start", START)] {
            let truncate = format!("text.truncate = {truncate:?}");
            let found = ids(&[eight, &truncate], text);
            assert_eq!(found.ids, kept, "{truncate}");
            assert!(found.truncated);
            // Longer than what is tokenized as a whole, with the interesting part at both ends.
            for filler in ["word ", "文", "a\u{301}!", "[SEP]", "\u{200d} "] {
                let long = [text, &filler.repeat(3000), text].join(" ");
                let found = ids(&[eight, &truncate], &long);
                assert_eq!(found.ids, kept, "{truncate}, {filler:?}");
                assert!(found.truncated);
            }
            assert!(!ids(&[&truncate], text).truncated, "{truncate}: it is short enough");
        }
    }
}

#[test]
fn length_above_the_model_s_own_is_refused() {
    let written = ModelDirectory::tiny().write();
    let load = |settings: &str| model::load(&model_config(written.path(), &[settings]), &|_| ());
    let error = load("text.max_length = 257").err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`text.max_length` is 257"), "{error}");
    assert!(error.advice_text().is_some_and(|advice| advice.contains("at most 256")));
    assert!(load("text.max_length = 256").is_ok());
}

#[test]
fn truncation_at_the_start_is_another_fingerprint() {
    let written = ModelDirectory::tiny().write();
    let identity = |settings: &[&str]| {
        model::load(&model_config(written.path(), settings), &|_| ())
            .expect("a model")
            .facts
            .identity
    };
    let today = identity(&[]).fingerprint();
    for (setting, is_same) in [("end", true), ("error", true), ("start", false)] {
        let identity = identity(&[&format!("text.truncate = {setting:?}")]);
        assert_eq!(identity.fingerprint() == today, is_same, "{setting}");
        let json = serde_json::to_string(&identity).expect("JSON");
        assert_eq!(json.contains("\"truncation\":\"start\""), !is_same, "{json}");
    }
    assert_ne!(identity(&["text.max_length = 200"]).fingerprint(), today);
}

#[test]
fn tokenization_is_the_same_on_any_number_of_threads() {
    let written = ModelDirectory::tiny().max_seq_length(16).write();
    let config = model_config(written.path(), &[]);
    let files = source::resolve(&config.source, &|_| ()).expect("its files");
    let description = description::read(&files, &TextOptions::default()).expect("a description");
    let tokenizer = |threads| {
        let threads = NonZeroUsize::new(threads).expect("not zero");
        let tokenizer = TextTokenizer::new(&files, &description).expect("a tokenizer");
        tokenizer.with_threads(threads).expect("threads")
    };
    let texts: Vec<String> = (0..200).map(|n| format!("word {}", "and ".repeat(n % 20))).collect();
    let names = RowNames::new(1000, (0..200).map(|n| format!("T-{n}")));
    let size = |n| NonZeroUsize::new(n).expect("not zero");
    let counting = TokenCount::Padded;
    let limit = BatchLimit { rows: size(7), tokens: size(1000), counting, pace: Pace::NONE };
    let on = |threads| {
        let texts = texts.iter().map(String::as_str).enumerate();
        tokenize_texts(&tokenizer(threads), &names, texts.len(), texts, limit).expect("batches")
    };
    let one = on(1);
    assert!(one.truncated.len() > 20, "{:?}", one.truncated);
    for threads in [2, 5] {
        assert_eq!(on(threads), one, "{threads} threads");
    }
}

#[test]
fn text_without_tokens_is_an_error_naming_the_row() {
    let written = ModelDirectory::tiny().normalize(false).write();
    written.edit_json("tokenizer.json", |tokenizer| tokenizer["post_processor"] = json!(null));
    // A class that follows the file: BERT's own would have [CLS] and [SEP].
    let class = json!({ "tokenizer_class": "PreTrainedTokenizerFast" });
    written.replace_file("tokenizer_config.json", class.to_string().as_bytes());
    let model = load(written.path());
    let names = RowNames::new(40, ["A", "B"]);
    let limit = BatchLimit {
        rows: NonZeroUsize::MAX,
        tokens: NonZeroUsize::MAX,
        counting: TokenCount::Padded,
        pace: Pace::NONE,
    };
    let on =
        |second| tokenize_texts(&model.tokenizer, &names, 2, [(0, "word"), (1, second)], limit);
    for text in ["", "  ", "\u{200d}"] {
        let error = on(text).expect_err("no token");
        assert_eq!(error.kind(), ErrorKind::Encode, "{text:?}");
        assert!(
            error.to_string().starts_with("row 42 (id B): the tokenizer returns no token"),
            "{error}"
        );
        assert!(error.advice_text().is_some_and(|advice| advice.contains("`output.on_empty`")));
    }
    assert_eq!(on("word").expect("a batch").batches[0].len(), 2);
    // A row that needs no vector is not passed on.
    let first = tokenize_texts(&model.tokenizer, &names, 2, [(0, "word")], limit);
    assert_eq!(first.expect("a batch").batches[0].len(), 1);
}

#[test]
fn tokens_of_a_refused_text_are_counted_as_far_as_is_cheap() {
    let written = ModelDirectory::tiny().max_seq_length(16).write();
    let config = model_config(written.path(), &["text.truncate = \"error\""]);
    let tokenizer = model::load(&config, &|_| ()).expect("a model").tokenizer;
    let refusal = |text: &str| {
        let error = tokenizer.tokenize(text).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::Data);
        error.to_string()
    };
    let words = |count: usize| "word ".repeat(count);
    let exact = |tokens: usize| format!("its text has {tokens} tokens, and the maximum is 16");
    // Two tokens are special. Bytes that make no token cost nothing.
    assert_eq!(tokenizer.tokenize(&words(14)).expect("ids").ids.len(), 16);
    assert_eq!(refusal(&words(15)), exact(17));
    assert_eq!(refusal(&words(10_000)), exact(10_002));
    assert_eq!(refusal(&format!("{}{}word", words(14), " ".repeat(1 << 20))), exact(17));
    // The first 64 KiB are counted, here 13 108 words, whatever the length of the text.
    let at_least = "its text has at least 13110 tokens, and the maximum is 16";
    for count in [14_000, 6_000_000] {
        assert_eq!(refusal(&words(count)), at_least, "{count} words");
    }
}

#[test]
fn what_reembed_does_not_run_is_refused_naming_file_and_key() {
    type Damage = fn(&WrittenModel);
    const WORDS: &str = "embeddings.word_embeddings.weight";
    const QUERY: &str = "encoder.layer.1.attention.self.query.weight";
    let rows: &[(&str, Damage, &str, &[&str])] = &[
        ("pickled weights", |m| _ = m.pickle_weights(), "", &["pytorch_model.bin", "run any code"]),
        (
            "no weights",
            |m| _ = m.remove_file("model.safetensors"),
            "",
            &["model.safetensors is missing"],
        ),
        (
            "weights cut short",
            |m| _ = m.truncate("model.safetensors", 100),
            "model.safetensors",
            &["not a complete safetensors file"],
        ),
        (
            "a header longer than the file",
            |m| _ = m.claim_header_length(1 << 40),
            "",
            &["model.safetensors", "not a safetensors file"],
        ),
        (
            "a header that ends too soon",
            |m| _ = m.claim_header_length(100),
            "model.safetensors",
            &["not a complete safetensors file"],
        ),
        (
            "a flipped header",
            |m| _ = m.flip_byte("model.safetensors", 8),
            "",
            &["not a safetensors file"],
        ),
        (
            "a flipped byte inside the header",
            |m| _ = m.flip_byte("model.safetensors", 40),
            "model.safetensors",
            &["not a complete safetensors file"],
        ),
        (
            "a shape that does not fit",
            |m| _ = m.reshape("encoder.layer.0.output.dense.weight", &[32, 63]),
            "model.safetensors",
            &["tensor `encoder.layer.0.output.dense.weight`", "[32, 63]", "[32, 64]"],
        ),
        (
            "a transposed tensor",
            |m| _ = m.reshape("encoder.layer.1.intermediate.dense.weight", &[32, 64]),
            "model.safetensors",
            &["tensor `encoder.layer.1.intermediate.dense.weight`", "[32, 64]", "[64, 32]"],
        ),
        (
            "a missing tensor",
            |m| _ = m.remove_tensor("encoder.layer.1.attention.self.query.bias"),
            "model.safetensors",
            &["tensor `encoder.layer.1.attention.self.query.bias`", "is missing"],
        ),
        (
            "a renamed tensor",
            |m| _ = m.rename_tensor("embeddings.LayerNorm.weight", "embeddings.LayerNorm.scale"),
            "model.safetensors",
            &["tensor `embeddings.LayerNorm.weight`", "is missing"],
        ),
        (
            "NaN",
            |m| _ = m.fill_with_nan(QUERY),
            "model.safetensors",
            &[QUERY, "NaN", "not a finite number"],
        ),
        (
            "one infinity",
            |m| _ = m.poke(WORDS, 77, f32::NEG_INFINITY),
            "model.safetensors",
            &[WORDS, "value 77 is -inf"],
        ),
        (
            "integers",
            |m| _ = m.claim_integers("encoder.layer.0.attention.output.dense.bias"),
            "model.safetensors",
            &["tensor `encoder.layer.0.attention.output.dense.bias`", "I32"],
        ),
        (
            "another vocabulary size",
            |m| _ = m.set_vocab_size(30_522),
            "model.safetensors",
            &[WORDS, "has the shape"],
        ),
        (
            "a word embedding with a row less",
            |m| {
                let rows = m.tensor(WORDS).0[0];
                m.set_vocab_size(rows + 1);
            },
            "model.safetensors",
            &[WORDS, "has the shape"],
        ),
        (
            "a token without a row",
            |m| _ = m.add_token_without_row("zebra"),
            "tokenizer.json",
            &["token ids up to", WORDS],
        ),
        (
            "no tokenizer",
            |m| _ = m.remove_file("tokenizer.json"),
            "",
            &["tokenizer.json is missing"],
        ),
        (
            "something else than a tokenizer",
            |m| _ = m.replace_file("tokenizer.json", b"{\"hello\": 1}"),
            "tokenizer.json",
            &["is not a tokenizer"],
        ),
        (
            "a login page in the place of a config",
            |m| _ = m.replace_file("config.json", b"<html>please log in</html>"),
            "",
            &["config.json", "not JSON"],
        ),
        ("no config", |m| _ = m.remove_file("config.json"), "", &["config.json is missing"]),
        (
            "no list of modules, which would say that the pooling is the directory's own",
            |m| {
                m.remove_file("modules.json").set_pooling_flag("pooling_mode_mean_tokens", false);
                m.set_pooling_flag("pooling_mode_cls_token", true);
            },
            "",
            &["modules.json is missing", "1_Pooling/config.json", "sentence_bert_config.json"],
        ),
        (
            "neither list of modules nor pooling, but prompts",
            |m| {
                m.remove_file("modules.json").remove_file("1_Pooling/config.json");
                m.remove_file("sentence_bert_config.json");
            },
            "",
            &["modules.json is missing", "config_sentence_transformers.json", "incomplete"],
        ),
        (
            "a tokenizer that is said to keep capitals and does not",
            |m| _ = m.replace_file("tokenizer_config.json", b"{\"do_lower_case\": false}"),
            "tokenizer_config.json",
            &[
                "`do_lower_case`: is false",
                "`lowercase` of the normalizer in tokenizer.json is true",
            ],
        ),
        (
            "a tokenizer that is said to keep accents and does not",
            |m| {
                let config = b"{\"do_lower_case\": true, \"strip_accents\": false}";
                m.replace_file("tokenizer_config.json", config);
            },
            "tokenizer_config.json",
            &["`strip_accents`: is false", "tokenizer.json is true"],
        ),
        (
            "a tokenizer that is said to keep ideographs together and does not",
            |m| {
                let config = b"{\"tokenize_chinese_chars\": false}";
                m.replace_file("tokenizer_config.json", config);
            },
            "tokenizer_config.json",
            &["`tokenize_chinese_chars`: is false", "`handle_chinese_chars`", "is true"],
        ),
        (
            "a tokenizer of no length",
            |m| {
                m.remove_file("sentence_bert_config.json");
                m.replace_file("tokenizer_config.json", b"{\"model_max_length\": 2}");
            },
            "tokenizer_config.json",
            &["`model_max_length`: is 2", "3 to 512"],
        ),
        (
            "a config without a size",
            |m| {
                m.edit_json("config.json", |config| {
                    config.as_object_mut().expect("an object").remove("hidden_size");
                });
            },
            "config.json",
            &["does not have the expected JSON structure"],
        ),
        (
            "a module that is not run",
            |m| _ = m.add_module("LSTM"),
            "modules.json",
            &["`type`", "sentence_transformers.models.LSTM"],
        ),
        (
            "a module of the model's own code",
            |m| _ = m.add_module("custom_code.Normalize"),
            "modules.json",
            &["`type`", "custom_code.Normalize"],
        ),
        (
            "a Dense module without its files",
            |m| _ = m.add_module("Dense"),
            "",
            &["3_Dense/config.json is missing"],
        ),
        (
            "modules in another order",
            |m| {
                m.edit_json("modules.json", |modules| {
                    modules.as_array_mut().expect("modules").swap(1, 2);
                });
            },
            "modules.json",
            &["`type`", "in this order"],
        ),
        (
            "no pooling config",
            |m| _ = m.remove_file("1_Pooling/config.json"),
            "",
            &["1_Pooling/config.json is missing"],
        ),
        (
            "a pooling that nobody has",
            |m| {
                m.edit_json("1_Pooling/config.json", |c| {
                    c["pooling_mode"] = json!(["mean", "median"])
                });
            },
            "1_Pooling/config.json",
            &["`pooling_mode`", "median"],
        ),
        (
            "a pooling of another width",
            |m| {
                m.edit_json("1_Pooling/config.json", |c| {
                    c["word_embedding_dimension"] = json!(384)
                });
            },
            "1_Pooling/config.json",
            &["`word_embedding_dimension`", "384"],
        ),
        (
            "an activation that nobody has",
            |m| _ = m.set_activation("swiglu"),
            "config.json",
            &["`hidden_act`", "\"swiglu\""],
        ),
        (
            "T5, of which no other key is looked at",
            |m| {
                m.replace_file("config.json", b"{\"model_type\": \"t5\", \"d_model\": []}");
                m.remove_file("tokenizer.json");
            },
            "config.json",
            &["`model_type`", "\"t5\" is an architecture that is not supported", "xlm-roberta"],
        ),
        (
            "an argument of the tokenizer",
            |m| {
                let file = "sentence_bert_config.json";
                m.edit_json(file, |c| c["tokenizer_args"] = json!({ "do_lower_case": false }));
            },
            "sentence_bert_config.json",
            &["`tokenizer_args`", "do_lower_case"],
        ),
        (
            "the output of the pooler",
            |m| {
                let text = json!({ "method": "forward", "method_output_name": "pooler_output" });
                m.edit_json("sentence_bert_config.json", |c| {
                    c["modality_config"] = json!({ "text": text });
                });
            },
            "sentence_bert_config.json",
            &["`modality_config`", "pooler_output"],
        ),
        (
            "a sparse encoder",
            |m| {
                let file = "config_sentence_transformers.json";
                m.edit_json(file, |c| c["model_type"] = json!("SparseEncoder"));
            },
            "config_sentence_transformers.json",
            &["`model_type`", "SparseEncoder"],
        ),
        (
            "a cased tokenizer that transformers would lower-case",
            |m| {
                m.edit_json("tokenizer.json", |t| t["normalizer"]["lowercase"] = json!(false));
                m.replace_file("tokenizer_config.json", b"{\"model_max_length\": 512}");
            },
            "tokenizer_config.json",
            &["`do_lower_case`: is true", "is false"],
        ),
        (
            "another first token",
            |m| _ = m.replace_file("tokenizer_config.json", b"{\"cls_token\": \"[MASK]\"}"),
            "tokenizer_config.json",
            &["`cls_token`", "\"[MASK]\"", "\"[CLS]\""],
        ),
        (
            "an adapter",
            |m| _ = m.replace_file("adapter_config.json", b"{}"),
            "",
            &["adapter_config.json", "adapters are not supported"],
        ),
        (
            "a vocabulary that transformers could convert",
            |m| _ = m.remove_file("tokenizer.json").replace_file("vocab.txt", b"[PAD]"),
            "",
            &["tokenizer.json is missing", "vocab.txt alone"],
        ),
        (
            "relative positions",
            |m| _ = m.set_position_embedding_type("relative_key"),
            "config.json",
            &["`position_embedding_type`", "\"relative_key\""],
        ),
        (
            "a decoder",
            |m| _ = m.edit_json("config.json", |config| config["is_decoder"] = json!(true)),
            "config.json",
            &["`is_decoder`"],
        ),
        (
            "heads that do not divide the width",
            |m| _ = m.edit_json("config.json", |config| config["num_attention_heads"] = json!(5)),
            "config.json",
            &["`num_attention_heads`", "5"],
        ),
        (
            "no layers",
            |m| _ = m.edit_json("config.json", |config| config["num_hidden_layers"] = json!(0)),
            "config.json",
            &["`num_hidden_layers`"],
        ),
        (
            "a negative epsilon",
            |m| _ = m.edit_json("config.json", |config| config["layer_norm_eps"] = json!(-1.0)),
            "config.json",
            &["`layer_norm_eps`"],
        ),
        (
            "more tokens than positions",
            |m| {
                m.edit_json("sentence_bert_config.json", |c| c["max_seq_length"] = json!(513));
            },
            "sentence_bert_config.json",
            &["`max_seq_length`", "513", "512"],
        ),
        (
            "a default prompt that is not there",
            |m| {
                m.edit_json("config_sentence_transformers.json", |c| {
                    c["default_prompt_name"] = json!("search");
                });
            },
            "config_sentence_transformers.json",
            &["`default_prompt_name`", "\"search\""],
        ),
    ];
    let mut wrong = Vec::new();
    for (name, damage, file, words) in rows {
        let written = ModelDirectory::tiny().write();
        load(written.path());
        damage(&written);
        let config = model_config(written.path(), &[]);
        let error = match model::load(&config, &|_| ()) {
            Ok(_) => {
                wrong.push(format!("{name}: it was loaded"));
                continue;
            }
            Err(error) => error,
        };
        let said = error.to_string();
        let path = error.place().file().map(|path| path.to_owned()).unwrap_or_default();
        let right_file =
            path == written.path().join(file) || (file.is_empty() && path == written.path());
        let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
        if error.kind() != ErrorKind::Model || !right_file || !missing.is_empty() {
            wrong.push(format!("{name}: {said:?} ({:?}) lacks {missing:?}", error.kind()));
        }
        if error.advice_text().is_none() && error.source().is_none() {
            wrong.push(format!("{name}: {said:?} has neither advice nor cause"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_bare_transformer_gives_the_mean_of_its_tokens_as_it_comes() {
    let written = ModelDirectory::tiny().pooling(Pooling::Cls).write();
    for file in ["modules.json", "1_Pooling/config.json", "sentence_bert_config.json"] {
        written.remove_file(file);
    }
    written.remove_file("config_sentence_transformers.json");
    // transformers writes this file to every directory; here it repeats the other settings.
    let config = json!({
        "tokenizer_class": "BertTokenizer",
        "model_max_length": 100,
        "do_lower_case": true,
        "strip_accents": null,
        "tokenize_chinese_chars": true,
    });
    written.replace_file("tokenizer_config.json", config.to_string().as_bytes());
    let model = load(written.path());
    let identity = &model.facts.identity;
    let found = (identity.pooling.as_str(), identity.normalized, identity.max_seq_length);
    assert_eq!(found, ("mean", false, 100));
}

#[test]
fn a_tokenizer_config_that_changes_nothing_is_no_other_model() {
    let fingerprint =
        |directory: ModelDirectory| load(directory.write().path()).facts.identity.fingerprint();
    let minilm = json!({ "model_max_length": 512, "do_lower_case": true, "strip_accents": null });
    let plain = fingerprint(ModelDirectory::tiny());
    assert_eq!(fingerprint(ModelDirectory::tiny().tokenizer_config(minilm)), plain);
    // Without another maximum length in the directory, this one applies.
    let shorter = json!({ "model_max_length": 200 });
    let free = ModelDirectory::tiny().without_max_seq_length();
    assert_ne!(fingerprint(free.clone().tokenizer_config(shorter)), fingerprint(free));
}

#[test]
fn candle_refuses_what_it_lacks_by_name() {
    for (directory, name) in [
        (ModelDirectory::tiny().pooling(Pooling::Max), "pooling max"),
        (ModelDirectory::tiny().pooling(Pooling::LastToken), "pooling lasttoken"),
        (ModelDirectory::tiny().activation("silu"), "activation Silu"),
    ] {
        let written = directory.write();
        load(written.path());
        let candle = model_config(written.path(), &["compute.engine = \"candle\""]);
        let error = model::load(&candle, &|_| ()).err().expect(name);
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// The vectors of some texts, each in another form of the same directory.
fn vectors_of(written: &WrittenModel) -> Vec<Vec<f32>> {
    let embedder = Embedder::new(load(written.path()));
    let texts = TEXTS.map(str::to_owned);
    embedder.embed(&texts).expect("vectors").rows().map(<[f32]>::to_vec).collect()
}

#[test]
fn other_forms_of_a_directory_have_its_vectors() {
    type Change = fn(&WrittenModel);
    let plain = vectors_of(&ModelDirectory::tiny().write());
    let forms: [(&str, Change); 8] = [
        ("gamma and beta", |m| {
            for name in m.tensor_names() {
                let old = name.replace("LayerNorm.weight", "LayerNorm.gamma");
                m.rename_tensor(&name, &old.replace("LayerNorm.bias", "LayerNorm.beta"));
            }
        }),
        ("a directory of the transformer", |m| {
            std::fs::create_dir(m.file("0_Transformer")).expect("a directory");
            for file in
                ["config.json", "tokenizer.json", "sentence_bert_config.json", "model.safetensors"]
            {
                std::fs::rename(m.file(file), m.file(&format!("0_Transformer/{file}")))
                    .expect("moved");
            }
            m.edit_json("modules.json", |modules| modules[0]["path"] = json!("0_Transformer"));
        }),
        ("a list of one pooling", |m| {
            let pooling = json!({ "embedding_dimension": 32, "pooling_mode": ["mean"] });
            m.edit_json("1_Pooling/config.json", |c| *c = pooling);
        }),
        ("no pooling said", |m| {
            m.edit_json("1_Pooling/config.json", |c| {
                *c = json!({ "word_embedding_dimension": 32 })
            });
        }),
        ("a flag that is null", |m| {
            m.edit_json("1_Pooling/config.json", |c| c["pooling_mode_cls_token"] = json!(null));
        }),
        ("no padding token", |m| {
            _ = m.edit_json("config.json", |c| c["pad_token_id"] = json!(null));
        }),
        ("modules that change nothing", |m| _ = m.add_module("Dropout").add_module("Normalize")),
        ("another name of gelu", |m| _ = m.set_activation("gelu_python")),
    ];
    for (form, change) in forms {
        let written = ModelDirectory::tiny().write();
        change(&written);
        for (found, expected) in vectors_of(&written).iter().zip(&plain) {
            // A vector that is scaled twice may differ in its last bits.
            assert!(distance(found, expected) < 1e-6, "{form}");
        }
    }
}

#[test]
fn long_text_loses_its_start_where_the_model_says_so() {
    let options = |written: &WrittenModel, settings: &[&str]| {
        model::load(&model_config(written.path(), settings), &|_| ()).expect("a model")
    };
    let plain = ModelDirectory::tiny().max_seq_length(8).write();
    let start = options(&plain, &["text.truncate = \"start\""]);
    let text = "fix the login loop and rotate the database credentials";
    let kept = start.tokenizer.tokenize(text).expect("ids").ids;
    let by_config = ModelDirectory::tiny()
        .max_seq_length(8)
        .tokenizer_config(json!({ "truncation_side": "left" }))
        .write();
    let by_tokenizer = ModelDirectory::tiny().max_seq_length(8).write();
    by_tokenizer.edit_json("tokenizer.json", |t| t["truncation"]["direction"] = json!("Left"));
    for written in [by_config, by_tokenizer] {
        let model = options(&written, &[]);
        assert_eq!(model.tokenizer.tokenize(text).expect("ids").ids, kept);
        assert_eq!(model.facts.identity.truncation.as_deref(), Some("start"));
    }
    assert_ne!(load(plain.path()).tokenizer.tokenize(text).expect("ids").ids, kept);
}

#[test]
fn tokens_are_added_wherever_transformers_reads_them() {
    let words = ModelDirectory::tiny().vocab_size();
    let with_row = || {
        let written = ModelDirectory::tiny().write();
        let row = vec![0.5; 32];
        written.add_row("embeddings.word_embeddings.weight", &row).set_vocab_size(words + 1);
        written
    };
    let decoder = json!({ words.to_string(): { "content": "[ENT]", "special": true } });
    let plain = load(with_row().path());
    let forms: [(&str, serde_json::Value); 4] = [
        ("added_tokens.json", json!({ "[ENT]": words })),
        ("tokenizer_config.json", json!({ "added_tokens_decoder": decoder })),
        ("tokenizer_config.json", json!({ "additional_special_tokens": ["[ENT]"] })),
        ("special_tokens_map.json", json!({ "additional_special_tokens": ["[ENT]"] })),
    ];
    for (file, content) in forms {
        let written = with_row();
        written.replace_file(file, content.to_string().as_bytes());
        let model = load(written.path());
        let ids = model.tokenizer.tokenize("the [ENT] file").expect("ids").ids;
        assert_eq!(ids.len(), 5, "{file}: {ids:?}");
        assert_eq!(ids[2], words as u32, "{file}");
        let (own, other) = (&model.facts.identity, &plain.facts.identity);
        assert!(own.tokens.as_ref().is_some_and(|tokens| tokens.contains("[ENT]")), "{file}");
        assert_ne!(own.fingerprint(), other.fingerprint(), "{file}");
        assert!(own.differences(other).iter().any(|difference| difference.starts_with("tokens ")));
    }
    assert!(plain.tokenizer.tokenize("the [ENT] file").expect("ids").ids.len() > 5);
}

#[test]
fn special_token_in_a_text_is_split_where_the_model_says_so() {
    let ids = |directory: ModelDirectory| {
        let model = load(directory.write().path());
        (model.tokenizer.tokenize("a [MASK] b").expect("ids").ids, model.facts.identity.tokens)
    };
    let (whole, none) = ids(ModelDirectory::tiny());
    let split = json!({ "split_special_tokens": true });
    let (split, tokens) = ids(ModelDirectory::tiny().tokenizer_config(split));
    assert!(split.len() > whole.len(), "{split:?} and {whole:?}");
    assert_eq!((none, tokens.as_deref()), (None, Some("special tokens are split")));
}

#[test]
fn lower_case_comes_after_the_special_tokens() {
    let cased = || {
        let config = json!({ "tokenizer_class": "PreTrainedTokenizerFast" });
        ModelDirectory::tiny().lower_case(false).tokenizer_config(config).write()
    };
    let ids = |written: &WrittenModel, text: &str| {
        load(written.path()).tokenizer.tokenize(text).expect("ids").ids
    };
    let (plain, lower) = (cased(), cased());
    lower.edit_json("sentence_bert_config.json", |config| config["do_lower_case"] = json!(true));
    assert_eq!(ids(&lower, "Fix THE [MASK] file"), ids(&plain, "fix the [MASK] file"));
    assert_ne!(ids(&lower, "a [MASK] b"), ids(&plain, "a [mask] b"));
    // Each letter alone, as the tokenizers library does it: no final sigma.
    assert_eq!(ids(&lower, "ΑΣ"), ids(&plain, "ασ"));
}

#[test]
fn static_embedding_is_the_mean_of_its_tokens() {
    let plain = ModelDirectory::tiny().write();
    let (shape, words) = plain.tensor("embeddings.word_embeddings.weight");
    let with_special = load(plain.path()).tokenizer;
    for (directory, tensor) in [("0_StaticEmbedding", "embedding.weight"), (".", "embeddings")] {
        let written = ModelDirectory::tiny().baked_length(None).write();
        written.make_static(directory, tensor);
        let embedder = Embedder::new(load(written.path()));
        assert_eq!((embedder.dim(), embedder.identity().max_seq_length), (32, 8192));
        for text in TEXTS.into_iter().filter(|text| !text.trim().is_empty()) {
            let ids = with_special.tokenize(text).expect("ids").ids;
            let mut mean = vec![0.0; shape[1]];
            for id in &ids[1..ids.len() - 1] {
                let row = &words[*id as usize * shape[1]..][..shape[1]];
                mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            let norm = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
            let vector = embedder.embed(&[text]).expect("a vector");
            for (found, sum) in vector.row(0).iter().zip(&mean) {
                assert!((f64::from(*found) - sum / norm).abs() < 1e-6, "{directory}, {text:?}");
            }
        }
        let error = embedder.embed(&["a", ""]).expect_err("no token");
        assert!(error.to_string().contains("row 2"), "{error}");
        let error = load_error(&written, &["compute.engine = \"candle\""]);
        assert!(error.to_string().contains("static embeddings"), "{error}");
    }
}

#[test]
fn tokens_of_a_quantized_vocabulary_share_rows() {
    const ROWS: usize = 7;
    let whole = || {
        let written = ModelDirectory::tiny().baked_length(None).write();
        written.make_static(".", "embeddings");
        written
    };
    let (shape, table) = whole().tensor("embeddings");
    let [tokens, width] = shape[..] else { panic!("a table") };
    let mapping: Vec<i64> = (0..tokens as i64).map(|token| token * 5 % ROWS as i64).collect();
    let factors: Vec<f64> = (0..tokens).map(|token| 0.1 + (token % 11) as f64 / 3.0).collect();
    let vectors = |written: &WrittenModel| {
        let embedder = Embedder::new(load(written.path()));
        let texts: Vec<&str> = TEXTS.into_iter().filter(|text| !text.trim().is_empty()).collect();
        embedder.embed(&texts).expect("vectors").into_values()
    };
    for (has_mapping, has_factors) in [(true, true), (true, false), (false, true)] {
        let quantized = whole();
        if has_mapping {
            quantized.keep_rows("embeddings", ROWS);
            quantized.add_numbers("mapping", &Numbers::I64(mapping.clone()));
        }
        if has_factors {
            quantized.add_numbers("weights", &Numbers::F64(factors.clone()));
        }
        let plain = whole();
        let folded = (0..tokens * width).map(|place| {
            let (token, at) = (place / width, place % width);
            let row = if has_mapping { mapping[token] as usize } else { token };
            let factor = if has_factors { factors[token] } else { 1.0 };
            (f64::from(table[row * width + at]) * factor) as f32
        });
        plain.set_values("embeddings", &folded.collect::<Vec<_>>());
        assert_eq!(vectors(&quantized), vectors(&plain), "{has_mapping}, {has_factors}");
    }

    let wrong: [(&str, Numbers, &str); 5] = [
        ("mapping", Numbers::I64(vec![ROWS as i64; tokens]), "names row 7 for token 0"),
        ("mapping", Numbers::I64(vec![-1; tokens]), "names row -1"),
        ("mapping", Numbers::F64(vec![0.0; tokens]), "has the type F64"),
        ("weights", Numbers::F64(vec![f64::NAN; tokens]), "is not finite"),
        ("weights", Numbers::F64(vec![1.0; tokens + 1]), "and the table has"),
    ];
    for (name, numbers, says) in wrong {
        let written = whole();
        written.keep_rows("embeddings", if name == "mapping" { ROWS } else { tokens });
        written.add_numbers(name, &numbers);
        let error = load_error(&written, &[]).to_string();
        assert!(error.contains(&format!("tensor `{name}`")) && error.contains(says), "{error}");
    }
    let written = whole();
    written.add_numbers("mapping", &Numbers::I64(mapping));
    written.add_numbers("weights", &Numbers::F64(factors[..9].to_vec()));
    let error = load_error(&written, &[]).to_string();
    assert!(error.contains("tensor `weights`: has the shape [9]"), "{error}");
}

fn load_error(written: &WrittenModel, settings: &[&str]) -> reembed::Error {
    model::load(&model_config(written.path(), settings), &|_| ()).err().expect("refused")
}

#[test]
fn vector_of_length_zero_is_refused_where_it_is_made() {
    let written = ModelDirectory::tiny().write();
    for name in ["encoder.layer.1.output.LayerNorm.weight", "encoder.layer.1.output.LayerNorm.bias"]
    {
        (0..32).for_each(|index| _ = written.poke(name, index, 0.0));
    }
    let embedder = Embedder::new(load(written.path()));
    let error = embedder.embed(&["a", "b"]).expect_err("no direction");
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(error.to_string().starts_with("row 1: its vector has length 0"), "{error}");
}

#[test]
fn a_pinned_hash_that_differs_is_refused_with_both_hashes() {
    let written = ModelDirectory::tiny().write();
    let pinned = "0".repeat(64);
    let pins = format!("model.sha256 = {{ \"config.json\" = \"{pinned}\" }}");
    let error =
        model::load(&model_config(written.path(), &[&pins]), &|_| ()).err().expect("refused");
    let found = load(written.path()).facts.identity.files["config.json"].clone();
    let said = error.to_string();
    assert!(
        said.contains("config.json") && said.contains(&pinned) && said.contains(&found),
        "{said}"
    );
}

#[cfg(not(feature = "cuda"))]
#[test]
fn gpu_without_cuda_build_is_refused_with_advice() {
    let written = ModelDirectory::tiny().write();
    let config = model_config(written.path(), &["compute.device = \"cuda:0\""]);
    let error = model::load(&config, &|_| ()).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("cuda:0"), "{error}");
    assert!(error.advice_text().is_some_and(|advice| advice.contains("--features cuda")));
}

#[test]
fn fingerprint_depends_on_files_and_prompt_not_directory() {
    let fingerprint = |directory: &WrittenModel, settings: &[&str]| {
        let model =
            model::load(&model_config(directory.path(), settings), &|_| ()).expect("a model");
        model.facts.identity.fingerprint()
    };
    let (one, again) = (ModelDirectory::tiny().write(), ModelDirectory::tiny().write());
    let own = fingerprint(&one, &[]);
    assert_eq!(own, fingerprint(&again, &[]));
    assert_ne!(own, fingerprint(&ModelDirectory::tiny().seed(1).write(), &[]));
    assert_ne!(own, fingerprint(&one, &["model.prompt = \"query: \""]));
}

/// The vector of one text directly from the encoder.
fn encode(model: &Model, ids: &[u32]) -> Vec<f32> {
    let mut batch = TokenBatch::default();
    batch.push(0, ids);
    let mut vector = vec![0.0; model.encoder.dim()];
    model.encoder.encode(&batch, &mut vector).expect("a vector");
    vector
}

/// Reference BERT (Devlin et al., 2018) for one text, token by token in double precision.
struct Naive {
    layers: usize,
    heads: usize,
    eps: f64,
    activation: fn(f64) -> f64,
    cls: bool,
    normalize: bool,
}

impl Default for Naive {
    /// The parameters of [`ModelDirectory::tiny`].
    fn default() -> Self {
        Naive { layers: 2, heads: 4, eps: 1e-12, activation: gelu, cls: false, normalize: true }
    }
}

/// One vector per token.
type Hidden = Vec<Vec<f64>>;

impl Naive {
    fn forward(&self, model: &WrittenModel, ids: &[u32]) -> Vec<f64> {
        let [words, positions, types] = ["word", "position", "token_type"]
            .map(|name| matrix(model, &format!("embeddings.{name}_embeddings.weight")));
        let embedded: Hidden = ids
            .iter()
            .zip(&positions)
            .map(|(id, position)| add(&add(&words[*id as usize], position), &types[0]))
            .collect();
        let mut hidden = self.norm(model, "embeddings.LayerNorm", &embedded);
        for layer in 0..self.layers {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}");
            let [queries, keys, values] = ["query", "key", "value"]
                .map(|part| linear(model, &name(&format!("attention.self.{part}")), &hidden));
            let context = self.attention(&queries, &keys, &values);
            let context = linear(model, &name("attention.output.dense"), &context);
            hidden = self.norm(model, &name("attention.output.LayerNorm"), &sum(&hidden, &context));
            let mut wide = linear(model, &name("intermediate.dense"), &hidden);
            wide.iter_mut().flatten().for_each(|x| *x = (self.activation)(*x));
            let narrow = linear(model, &name("output.dense"), &wide);
            hidden = self.norm(model, &name("output.LayerNorm"), &sum(&hidden, &narrow));
        }
        let pooled = if self.cls {
            hidden[0].clone()
        } else {
            let zero = vec![0.0; hidden[0].len()];
            let total = hidden.iter().fold(zero, |total, token| add(&total, token));
            total.iter().map(|x| x / hidden.len() as f64).collect()
        };
        let length = if self.normalize { dot(&pooled, &pooled).sqrt() } else { 1.0 };
        pooled.iter().map(|x| x / length).collect()
    }

    fn attention(&self, queries: &Hidden, keys: &Hidden, values: &Hidden) -> Hidden {
        let width = queries[0].len() / self.heads;
        let of_head = |vector: &Vec<f64>, head: usize| vector[head * width..][..width].to_vec();
        let attend = |query: &Vec<f64>| {
            let heads = (0..self.heads).flat_map(|head| {
                let query = of_head(query, head);
                let scores = keys.iter().map(|key| dot(&query, &of_head(key, head)));
                let scores: Vec<f64> =
                    scores.map(|score| (score / (width as f64).sqrt()).exp()).collect();
                let total: f64 = scores.iter().sum();
                (0..width)
                    .map(move |at| {
                        let weighted = scores
                            .iter()
                            .zip(values)
                            .map(|(s, v)| s / total * v[head * width + at]);
                        weighted.sum::<f64>()
                    })
                    .collect::<Vec<f64>>()
            });
            heads.collect()
        };
        queries.iter().map(attend).collect()
    }

    fn norm(&self, model: &WrittenModel, name: &str, hidden: &Hidden) -> Hidden {
        let [weight, bias] = ["weight", "bias"].map(|part| row(model, &format!("{name}.{part}")));
        let norm = |token: &Vec<f64>| {
            let count = token.len() as f64;
            let mean = token.iter().sum::<f64>() / count;
            let variance = token.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let scaled = token.iter().map(|x| (x - mean) / (variance + self.eps).sqrt());
            scaled.zip(weight.iter().zip(&bias)).map(|(x, (w, b))| x * w + b).collect()
        };
        hidden.iter().map(norm).collect()
    }
}

/// A tensor of any shape as a flat row.
fn row(model: &WrittenModel, name: &str) -> Vec<f64> {
    model.tensor(name).1.into_iter().map(f64::from).collect()
}

fn matrix(model: &WrittenModel, name: &str) -> Hidden {
    let (shape, _) = model.tensor(name);
    row(model, name).chunks_exact(shape[1]).map(<[f64]>::to_vec).collect()
}

fn linear(model: &WrittenModel, name: &str, hidden: &Hidden) -> Hidden {
    let weights = matrix(model, &format!("{name}.weight"));
    let bias = row(model, &format!("{name}.bias"));
    let apply = |token: &Vec<f64>| {
        weights.iter().zip(&bias).map(|(weights, bias)| dot(weights, token) + bias).collect()
    };
    hidden.iter().map(apply).collect()
}

fn sum(a: &Hidden, b: &Hidden) -> Hidden {
    a.iter().zip(b).map(|(a, b)| add(a, b)).collect()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn relu(x: f64) -> f64 {
    x.max(0.0)
}

/// x · Φ(x).
fn gelu(x: f64) -> f64 {
    x * 0.5 * (1.0 + erf(x / 2f64.sqrt()))
}

fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    0.5 * x * (1.0 + inner.tanh())
}

/// erf(x) = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (2n+1)‼; all terms have one sign (Abramowitz and Stegun, 7.1.6).
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let mut term = x;
    let mut total = x;
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        total += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * total
}

#[test]
fn the_error_function_of_the_naive_pass_is_right() {
    for (x, expected) in
        [(0.0, 0.0), (0.5, 0.520_499_877_813_046_5), (-1.0, -0.842_700_792_949_714_9)]
    {
        assert!((erf(x) - expected).abs() < 1e-14, "erf({x})");
    }
    assert!((erf(3.0) - 0.999_977_909_503_001_4).abs() < 1e-14);
}
