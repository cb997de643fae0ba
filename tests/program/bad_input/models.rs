//! Invalid model directories.

use std::fs;

use reembed_testing::model_directory::{ModelDirectory, Pooling, WrittenModel};
use serde_json::json;

use super::case::{Case, Expect, Job, Site, fails, refused, site, succeeds};
use super::table::Table;

const WORDS: &str = "embeddings.word_embeddings.weight";
const QUERY: &str = "encoder.layer.1.attention.self.query.weight";

/// A good model after `damage`.
fn broken(
    name: &'static str,
    made: &'static str,
    expect: Expect,
    damage: impl Fn(&WrittenModel) -> &WrittenModel + Send + Sync + 'static,
) -> Case {
    directory(name, made, expect, ModelDirectory::tiny, damage)
}

fn directory(
    name: &'static str,
    made: &'static str,
    expect: Expect,
    model: impl Fn() -> ModelDirectory + Send + Sync + 'static,
    damage: impl Fn(&WrittenModel) -> &WrittenModel + Send + Sync + 'static,
) -> Case {
    site(name, made, expect, move |site: &Site| {
        let job = site.job();
        fs::write(&job.input, Table::tasks(3).bytes()).expect("the input");
        let written = model().write();
        damage(&written);
        // The temporary directory is removed when this function returns; the case has its own.
        let path = site.root.join("model");
        copy(written.path(), &path);
        Job { model: path, ..job }
    })
    .names("model")
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

pub fn cases() -> Vec<Case> {
    let tensor = |name, made, says, damage: fn(&WrittenModel) -> &WrittenModel| {
        broken(name, made, refused(says), damage).names("model/model.safetensors")
    };
    let config = |name, made, says, damage: fn(&WrittenModel) -> &WrittenModel| {
        broken(name, made, refused(says), damage).names("model/config.json")
    };
    vec![
        broken("good model", "two layers, 32 wide", succeeds(3), |m| m),
        site(
            "no model",
            "a directory that is not there",
            refused(&["the directory does not exist"]),
            |site| {
                let job = site.job();
                fs::write(&job.input, Table::tasks(3).bytes()).expect("the input");
                Job { model: site.root.join("model"), ..job }
            },
        )
        .names("model"),
        site("file for a model", "a file in the place of the directory", refused(&[]), |site| {
            let job = site.job();
            fs::write(&job.input, Table::tasks(3).bytes()).expect("the input");
            fs::write(site.root.join("model"), "x").expect("a file");
            Job { model: site.root.join("model"), ..job }
        })
        .names("model"),
        broken("no config.json", "without it", refused(&["config.json is missing"]), |m| {
            m.remove_file("config.json")
        }),
        broken("no tokenizer.json", "without it", refused(&["tokenizer.json is missing"]), |m| {
            m.remove_file("tokenizer.json")
        }),
        broken(
            "no weights",
            "without model.safetensors",
            refused(&["model.safetensors is missing"]),
            |m| m.remove_file("model.safetensors"),
        ),
        broken(
            "no pooling config",
            "without 1_Pooling/config.json",
            refused(&["1_Pooling/config.json"]),
            |m| m.remove_file("1_Pooling/config.json"),
        ),
        broken(
            "pickled weights",
            "pytorch_model.bin alone",
            refused(&["pytorch_model.bin", "pickle"]),
            |m| m.pickle_weights(),
        ),
        tensor("cut weights", "100 bytes less", &["complete safetensors"], |m| {
            m.truncate("model.safetensors", 100)
        }),
        broken(
            "weights of 0 bytes",
            "an empty model.safetensors",
            refused(&["model.safetensors"]),
            |m| m.replace_file("model.safetensors", b""),
        ),
        broken(
            "weights are a page",
            "HTML in model.safetensors",
            refused(&["model.safetensors"]),
            |m| m.replace_file("model.safetensors", b"<!DOCTYPE html><title>Log in</title>"),
        ),
        broken(
            "weights are a pointer",
            "a Git LFS pointer in model.safetensors",
            refused(&["model.safetensors"]),
            |m| {
                m.replace_file(
                    "model.safetensors",
                    b"version https://git-lfs.github.com/spec/v1\noid sha256:53aa\nsize 90868376\n",
                )
            },
        ),
        broken(
            "header of 2⁶³ bytes",
            "the weights' first eight bytes",
            refused(&["model.safetensors"]),
            |m| m.claim_header_length(1 << 63),
        ),
        broken(
            "header of 0 bytes",
            "the weights' first eight bytes",
            refused(&["model.safetensors"]),
            |m| m.claim_header_length(0),
        ),
        tensor("header cut", "the weights' header is shorter than it is", &["safetensors"], |m| {
            m.claim_header_length(100)
        }),
        tensor("NaN", "a tensor of NaN", &[QUERY, "NaN"], |m| m.fill_with_nan(QUERY)),
        tensor("infinity", "one infinite weight", &[WORDS, "value 7", "inf"], |m| {
            m.poke(WORDS, 7, f32::INFINITY)
        }),
        tensor("wrong shape", "a tensor of another shape", &[QUERY, "[32, 16]"], |m| {
            m.reshape(QUERY, &[32, 16])
        }),
        tensor("missing tensor", "without one tensor", &[QUERY, "missing"], |m| {
            m.remove_tensor(QUERY)
        }),
        tensor("renamed tensor", "one tensor under another name", &[QUERY, "missing"], |m| {
            m.rename_tensor(QUERY, "query")
        }),
        tensor("tensor of integers", "one tensor as I32", &[QUERY, "I32"], |m| {
            m.claim_integers(QUERY)
        }),
        tensor(
            "wrong vocabulary",
            "vocab_size one more than the embeddings have rows",
            &[WORDS],
            |m| {
                let size = ModelDirectory::tiny().vocab_size() + 1;
                m.set_vocab_size(size)
            },
        ),
        broken(
            "token without a row",
            "a token beyond the embeddings",
            refused(&[WORDS, "rows"]),
            |m| m.add_token_without_row("zebra"),
        )
        .names("model/tokenizer.json"),
        broken("huge weights", "weights near the largest f32", fails(&["row"]), |m| {
            for index in 0..32 {
                m.poke("encoder.layer.1.output.dense.bias", index, f32::MAX);
            }
            m
        })
        .names("tasks.parquet"),
        broken("not JSON", "config.json cut in half", refused(&["config.json: not JSON"]), |m| {
            m.truncate("config.json", 200)
        }),
        config("config.json is a list", "`[]`", &["JSON"], |m| {
            m.replace_file("config.json", b"[]")
        }),
        broken(
            "config.json is deep",
            "a list in a list, 10,000 deep",
            refused(&["config.json: not JSON"]),
            |m| m.replace_file("config.json", "[".repeat(10_000).as_bytes()),
        ),
        config("missing size", "no hidden_size", &["hidden_size"], |m| {
            m.edit_json("config.json", |c| {
                drop(c.as_object_mut().expect("an object").remove("hidden_size"))
            })
        }),
        config("size of 0", "no layers", &["num_hidden_layers", "0"], |m| {
            m.edit_json("config.json", |c| c["num_hidden_layers"] = json!(0))
        }),
        config("negative size", "-32 wide", &["-32"], |m| {
            m.edit_json("config.json", |c| c["hidden_size"] = json!(-32))
        }),
        config("huge size", "2⁶⁰ wide", &["hidden_size"], |m| {
            m.edit_json("config.json", |c| c["hidden_size"] = json!(1u64 << 60))
        }),
        tensor("many layers", "16,000,000 layers", &["16000000 layers"], |m| {
            m.edit_json("config.json", |c| c["num_hidden_layers"] = json!(16_000_000))
        }),
        config(
            "heads that do not divide",
            "5 heads, 32 wide",
            &["num_attention_heads", "5"],
            |m| m.edit_json("config.json", |c| c["num_attention_heads"] = json!(5)),
        ),
        config("another architecture", "T5", &["model_type", "t5", "architecture"], |m| {
            m.set_architecture("t5", "T5EncoderModel")
        }),
        config("unknown activation", "swiglu", &["hidden_act", "swiglu"], |m| {
            m.set_activation("swiglu")
        }),
        config(
            "relative positions",
            "relative_key",
            &["position_embedding_type", "relative_key"],
            |m| m.set_position_embedding_type("relative_key"),
        ),
        config("epsilon of 0", "layer_norm_eps = 0", &["layer_norm_eps"], |m| {
            m.edit_json("config.json", |c| c["layer_norm_eps"] = json!(0.0))
        }),
        config(
            "control characters in a name",
            "a model type of escape and newline",
            &["model_type"],
            |m| {
                m.edit_json("config.json", |c| c["model_type"] = json!("\u{1b}[2J\nx".repeat(1000)))
            },
        ),
        broken("one more module", "an LSTM module", refused(&["modules.json", "LSTM"]), |m| {
            m.add_module("LSTM")
        }),
        broken("no modules", "an empty list in modules.json", refused(&["modules.json"]), |m| {
            m.replace_file("modules.json", b"[]")
        }),
        broken(
            "module out of the directory",
            "a module at `../../etc`",
            refused(&["modules.json", "../../etc"]),
            |m| m.edit_json("modules.json", |list| list[1]["path"] = json!("../../etc")),
        ),
        broken("modules are not a list", "`{}` in modules.json", refused(&["modules.json"]), |m| {
            m.replace_file("modules.json", b"{}")
        }),
        directory(
            "max pooling",
            "the largest values",
            succeeds(3),
            || ModelDirectory::tiny().pooling(Pooling::Max),
            |m| m,
        ),
        broken("unknown pooling", "the median", refused(&["pooling_mode", "median"]), |m| {
            m.edit_json("1_Pooling/config.json", |c| c["pooling_mode"] = json!("median"))
        })
        .names("model/1_Pooling/config.json"),
        broken("two poolings", "mean and cls", succeeds(3), |m| {
            m.set_pooling_flag("pooling_mode_cls_token", true)
        }),
        broken("no pooling", "none of them, which is the mean", succeeds(3), |m| {
            m.set_pooling_flag("pooling_mode_mean_tokens", false)
        }),
        broken(
            "other width in the pooling",
            "word_embedding_dimension = 384",
            refused(&["word_embedding_dimension", "384"]),
            |m| {
                m.edit_json("1_Pooling/config.json", |c| c["word_embedding_dimension"] = json!(384))
            },
        )
        .names("model/1_Pooling/config.json"),
        directory(
            "too long a length",
            "max_seq_length beyond the positions",
            refused(&["max_seq_length", "1000"]),
            || ModelDirectory::tiny().max_seq_length(1000),
            |m| m,
        )
        .names("model/sentence_bert_config.json"),
        directory(
            "too short a length",
            "max_seq_length = 2",
            refused(&["max_seq_length", "2"]),
            || ModelDirectory::tiny().max_seq_length(2),
            |m| m,
        )
        .names("model/sentence_bert_config.json"),
        broken(
            "tokenizer is no tokenizer",
            "`{}` in tokenizer.json",
            refused(&["not a tokenizer"]),
            |m| m.replace_file("tokenizer.json", b"{}"),
        )
        .names("model/tokenizer.json"),
        broken(
            "tokenizer without [UNK]",
            "an unknown token that is not in the vocabulary",
            fails(&["row 1", "the tokenizer failed"]),
            |m| {
                // The file counts; with BERT's own class the two would be compared.
                m.edit_json("config.json", |c| {
                    c["tokenizer_class"] = json!("PreTrainedTokenizerFast");
                });
                m.edit_json("tokenizer.json", |t| t["model"]["unk_token"] = json!("[NONE]"));
                m.edit_json("tokenizer.json", |t| {
                    let vocab = t["model"]["vocab"].as_object_mut().expect("a vocabulary");
                    vocab.retain(|token, _| token.starts_with('['));
                })
            },
        )
        .names("tasks.parquet"),
        broken("long prompt", "a prompt that takes all the tokens", succeeds(3), |m| {
            m.edit_json("config_sentence_transformers.json", |c| {
                c["prompts"] = json!({ "query": "fix the login loop ".repeat(100) });
                c["default_prompt_name"] = json!("query");
            })
        }),
        broken(
            "missing prompt",
            "a default prompt that is not there",
            refused(&["default_prompt_name", "query"]),
            |m| {
                m.edit_json("config_sentence_transformers.json", |c| {
                    c["default_prompt_name"] = json!("query")
                })
            },
        )
        .names("model/config_sentence_transformers.json"),
    ]
}
