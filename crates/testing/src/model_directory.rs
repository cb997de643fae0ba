//! Small seeded BERT models in the directory layout of sentence-transformers, and ways to break them.
//!
//! A [`ModelDirectory`] says what the model is; [`ModelDirectory::write`] puts it into a temporary directory and gives
//! the [`WrittenModel`], whose methods damage single files the way the world does. The weights of a tensor depend
//! on the seed and on its name alone; tokenizer and file shapes follow those of all-MiniLM-L6-v2, baked-in
//! truncation and padding to 128 tokens included. Nothing here knows the crate.

// Each test binary that takes this module in uses some of it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// What a model is made of; built like `ModelDirectory::tiny().layers(3).pooling(Pooling::Cls).write()`.
#[derive(Debug, Clone)]
pub struct ModelDirectory {
    hidden: usize,
    layers: usize,
    heads: usize,
    intermediate: usize,
    activation: String,
    max_positions: usize,
    token_types: usize,
    layer_norm_eps: f64,
    pooling: Pooling,
    normalize: bool,
    max_seq_length: Option<usize>,
    prompt: Option<String>,
    tensor_prefix: String,
    dtype: Dtype,
    position_ids: bool,
    pooler: bool,
    lower_case: bool,
    baked_length: Option<usize>,
    tokenizer_config: Option<Value>,
    seed: u64,
}

/// How the vectors of the tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    Mean,
    Cls,
    Max,
    MeanSqrtLen,
    WeightedMean,
    LastToken,
}

/// The values of a tensor that is no weight of a layer.
#[derive(Debug, Clone)]
pub enum Numbers {
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// How the weights are cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Default for ModelDirectory {
    fn default() -> Self {
        Self::new()
    }
}

impl ModelDirectory {
    /// The same as [`ModelDirectory::tiny`].
    pub fn new() -> Self {
        ModelDirectory {
            hidden: 32,
            layers: 2,
            heads: 4,
            intermediate: 64,
            activation: "gelu".to_owned(),
            max_positions: 512,
            token_types: 2,
            layer_norm_eps: 1e-12,
            pooling: Pooling::Mean,
            normalize: true,
            max_seq_length: Some(256),
            prompt: None,
            tensor_prefix: String::new(),
            dtype: Dtype::F32,
            position_ids: true,
            pooler: true,
            lower_case: true,
            baked_length: Some(128),
            tokenizer_config: None,
            seed: 0,
        }
    }

    /// The fastest one: 32 wide, 2 layers of 4 heads.
    pub fn tiny() -> Self {
        Self::new()
    }

    /// all-MiniLM-L12-v2 in small: twelve layers, heads 32 wide, 128 tokens.
    pub fn like_minilm_l12() -> Self {
        Self::new().hidden(96).layers(12).heads(3).intermediate(384).max_seq_length(128)
    }

    /// bge-*-en-v1.5 in small: the vector of `[CLS]`, heads 64 wide, 512 tokens.
    pub fn like_bge() -> Self {
        Self::new()
            .hidden(128)
            .layers(3)
            .heads(2)
            .intermediate(512)
            .pooling(Pooling::Cls)
            .max_seq_length(512)
    }

    /// e5-*-v2 in small: a prompt before each text, 512 tokens, no tensor of position ids.
    pub fn like_e5() -> Self {
        Self::new()
            .hidden(64)
            .layers(4)
            .heads(2)
            .intermediate(256)
            .max_seq_length(512)
            .prompt(Some("query: "))
            .position_ids(false)
    }

    /// gte-* in small: half-precision weights, 512 tokens, no tensor of position ids.
    pub fn like_gte() -> Self {
        Self::new()
            .hidden(96)
            .layers(4)
            .heads(3)
            .intermediate(384)
            .max_seq_length(512)
            .dtype(Dtype::F16)
            .position_ids(false)
    }

    pub fn hidden(mut self, hidden: usize) -> Self {
        self.hidden = hidden;
        self
    }

    pub fn layers(mut self, layers: usize) -> Self {
        self.layers = layers;
        self
    }

    pub fn heads(mut self, heads: usize) -> Self {
        self.heads = heads;
        self
    }

    pub fn intermediate(mut self, intermediate: usize) -> Self {
        self.intermediate = intermediate;
        self
    }

    /// `hidden_act` of config.json.
    pub fn activation(mut self, activation: &str) -> Self {
        self.activation = activation.to_owned();
        self
    }

    /// `max_position_embeddings` of config.json.
    pub fn max_positions(mut self, positions: usize) -> Self {
        self.max_positions = positions;
        self
    }

    pub fn token_types(mut self, token_types: usize) -> Self {
        self.token_types = token_types;
        self
    }

    pub fn layer_norm_eps(mut self, eps: f64) -> Self {
        self.layer_norm_eps = eps;
        self
    }

    pub fn pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = pooling;
        self
    }

    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = normalize;
        self
    }

    pub fn max_seq_length(mut self, tokens: usize) -> Self {
        self.max_seq_length = Some(tokens);
        self
    }

    /// `sentence_bert_config.json` then says `null`, as some directories do.
    pub fn without_max_seq_length(mut self) -> Self {
        self.max_seq_length = None;
        self
    }

    /// The default prompt of `config_sentence_transformers.json`.
    pub fn prompt(mut self, prompt: Option<&str>) -> Self {
        self.prompt = prompt.map(str::to_owned);
        self
    }

    /// What stands before the name of each tensor: nothing, or `bert.`.
    pub fn tensor_prefix(mut self, prefix: &str) -> Self {
        self.tensor_prefix = prefix.to_owned();
        self
    }

    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// Whether the file holds `embeddings.position_ids`, an `I64` that older exports have.
    pub fn position_ids(mut self, has_them: bool) -> Self {
        self.position_ids = has_them;
        self
    }

    /// Whether the file holds BERT's pooler, which sentence models do not use.
    pub fn pooler(mut self, has_one: bool) -> Self {
        self.pooler = has_one;
        self
    }

    pub fn lower_case(mut self, lower_case: bool) -> Self {
        self.lower_case = lower_case;
        self
    }

    /// Length to which `tokenizer.json` cuts and pads every text; `None` for neither.
    pub fn baked_length(mut self, tokens: Option<usize>) -> Self {
        self.baked_length = tokens;
        self
    }

    /// What `tokenizer_config.json` says; there is none unless it is given.
    pub fn tokenizer_config(mut self, config: Value) -> Self {
        self.tokenizer_config = Some(config);
        self
    }

    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Number of tokens, and of rows of the word embeddings.
    pub fn vocab_size(&self) -> usize {
        vocabulary().len()
    }

    /// Writes the directory into a temporary one, which goes when the value is dropped.
    pub fn write(&self) -> WrittenModel {
        let directory = tempfile::tempdir().expect("a temporary directory");
        self.write_to(directory.path());
        WrittenModel { directory, tensor_prefix: self.tensor_prefix.clone() }
    }

    /// Writes the files into `directory`, which is made if it is not there.
    pub fn write_to(&self, directory: &Path) {
        fs::create_dir_all(directory.join("1_Pooling")).expect("the model's directory");
        for (name, content) in [
            ("config.json", self.config()),
            ("tokenizer.json", self.tokenizer()),
            ("modules.json", self.modules()),
            ("1_Pooling/config.json", self.pooling_config()),
            (
                "sentence_bert_config.json",
                json!({ "max_seq_length": self.max_seq_length, "do_lower_case": false }),
            ),
            ("config_sentence_transformers.json", self.sentence_transformers_config()),
        ] {
            write_json(&directory.join(name), &content);
        }
        if let Some(config) = &self.tokenizer_config {
            write_json(&directory.join("tokenizer_config.json"), config);
        }
        write_tensors(&directory.join("model.safetensors"), &self.tensors());
    }

    fn config(&self) -> Value {
        json!({
            "architectures": ["BertModel"],
            "attention_probs_dropout_prob": 0.1,
            "gradient_checkpointing": false,
            "hidden_act": self.activation,
            "hidden_dropout_prob": 0.1,
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate,
            "layer_norm_eps": self.layer_norm_eps,
            "max_position_embeddings": self.max_positions,
            "model_type": "bert",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "pad_token_id": 0,
            "position_embedding_type": "absolute",
            "transformers_version": "4.8.2",
            "type_vocab_size": self.token_types,
            "use_cache": true,
            "vocab_size": self.vocab_size(),
        })
    }

    fn modules(&self) -> Value {
        let mut modules = vec![("", "Transformer"), ("1_Pooling", "Pooling")];
        if self.normalize {
            modules.push(("2_Normalize", "Normalize"));
        }
        modules
            .iter()
            .enumerate()
            .map(|(idx, (path, class))| {
                let class = format!("sentence_transformers.models.{class}");
                json!({ "idx": idx, "name": idx.to_string(), "path": path, "type": class })
            })
            .collect()
    }

    fn pooling_config(&self) -> Value {
        json!({
            "word_embedding_dimension": self.hidden,
            "pooling_mode_cls_token": self.pooling == Pooling::Cls,
            "pooling_mode_mean_tokens": self.pooling == Pooling::Mean,
            "pooling_mode_max_tokens": self.pooling == Pooling::Max,
            "pooling_mode_mean_sqrt_len_tokens": self.pooling == Pooling::MeanSqrtLen,
            "pooling_mode_weightedmean_tokens": self.pooling == Pooling::WeightedMean,
            "pooling_mode_lasttoken": self.pooling == Pooling::LastToken,
            "include_prompt": true,
        })
    }

    fn sentence_transformers_config(&self) -> Value {
        let mut config = json!({
            "__version__": {
                "sentence_transformers": "2.7.0",
                "transformers": "4.39.3",
                "pytorch": "2.1.0",
            },
        });
        if let Some(prompt) = &self.prompt {
            config["prompts"] = json!({ "query": prompt, "passage": "passage: " });
            config["default_prompt_name"] = json!("query");
            config["similarity_fn_name"] = json!("cosine");
        }
        config
    }

    fn tokenizer(&self) -> Value {
        let vocabulary = vocabulary();
        let id_of = |token: &str| vocabulary.iter().position(|known| known == token);
        let vocab: Map<String, Value> =
            vocabulary.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
        let added: Vec<Value> = SPECIAL_TOKENS
            .iter()
            .map(|token| {
                json!({
                    "id": id_of(token),
                    "special": true,
                    "content": token,
                    "single_word": false,
                    "lstrip": false,
                    "rstrip": false,
                    "normalized": false,
                })
            })
            .collect();
        let special =
            |token: &str, part| json!({ "SpecialToken": { "id": token, "type_id": part } });
        let sequence = |name: &str, part| json!({ "Sequence": { "id": name, "type_id": part } });
        let entry = |token: &str| json!({ "id": token, "ids": [id_of(token)], "tokens": [token] });
        json!({
            "version": "1.0",
            "truncation": self.baked_length.map(|length| json!({
                "max_length": length,
                "strategy": "LongestFirst",
                "stride": 0,
            })),
            "padding": self.baked_length.map(|length| json!({
                "strategy": { "Fixed": length },
                "direction": "Right",
                "pad_to_multiple_of": null,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            })),
            "added_tokens": added,
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": true,
                "handle_chinese_chars": true,
                "strip_accents": null,
                "lowercase": self.lower_case,
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)],
                "pair": [
                    special("[CLS]", 0),
                    sequence("A", 0),
                    special("[SEP]", 0),
                    sequence("B", 1),
                    special("[SEP]", 1),
                ],
                "special_tokens": { "[CLS]": entry("[CLS]"), "[SEP]": entry("[SEP]") },
            },
            "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": vocab,
            },
        })
    }

    fn tensors(&self) -> Vec<Tensor> {
        let (hidden, wide) = (self.hidden, self.intermediate);
        let mut tensors = Vec::new();
        if self.position_ids {
            tensors.push(Tensor {
                name: format!("{}embeddings.position_ids", self.tensor_prefix),
                dtype: "I64".to_owned(),
                shape: vec![1, self.max_positions],
                bytes: (0..self.max_positions as i64).flat_map(i64::to_le_bytes).collect(),
            });
        }
        let mut add = |name: String, shape: &[usize], mean: f32, deviation: f32| {
            let mut dice = Dice::new(self.seed, &name);
            let count = shape.iter().product();
            let values: Vec<f32> = (0..count).map(|_| mean + deviation * dice.normal()).collect();
            tensors.push(Tensor {
                name: format!("{}{name}", self.tensor_prefix),
                dtype: self.dtype.name().to_owned(),
                shape: shape.to_vec(),
                bytes: self.dtype.bytes(&values),
            });
        };
        for (name, rows) in [
            ("word", self.vocab_size()),
            ("position", self.max_positions),
            ("token_type", self.token_types),
        ] {
            let deviation = if name == "word" { 0.08 } else { 0.03 };
            add(format!("embeddings.{name}_embeddings.weight"), &[rows, hidden], 0.0, deviation);
        }
        let mut norms = vec!["embeddings".to_owned()];
        let mut dense = Vec::new();
        for layer in (0..self.layers).map(|layer| format!("encoder.layer.{layer}")) {
            for part in ["query", "key", "value"] {
                dense.push((format!("{layer}.attention.self.{part}"), hidden, hidden));
            }
            dense.push((format!("{layer}.attention.output.dense"), hidden, hidden));
            dense.push((format!("{layer}.intermediate.dense"), wide, hidden));
            dense.push((format!("{layer}.output.dense"), hidden, wide));
            norms.push(format!("{layer}.attention.output"));
            norms.push(format!("{layer}.output"));
        }
        if self.pooler {
            dense.push(("pooler.dense".to_owned(), hidden, hidden));
        }
        for (name, rows, columns) in dense {
            add(format!("{name}.weight"), &[rows, columns], 0.0, 0.08);
            add(format!("{name}.bias"), &[rows], 0.0, 0.03);
        }
        for name in norms {
            add(format!("{name}.LayerNorm.weight"), &[hidden], 1.0, 0.08);
            add(format!("{name}.LayerNorm.bias"), &[hidden], 0.0, 0.03);
        }
        tensors
    }
}

/// A model on disk. Its methods read it, or damage it; each damage leaves everything else as it was.
#[derive(Debug)]
pub struct WrittenModel {
    directory: TempDir,
    tensor_prefix: String,
}

impl WrittenModel {
    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file of the directory, `config.json` or `1_Pooling/config.json`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The names of the tensors as the file has them, in order.
    pub fn tensor_names(&self) -> Vec<String> {
        self.tensors().into_iter().map(|tensor| tensor.name).collect()
    }

    /// Shape and values of an `F32` tensor; the name is without prefix.
    pub fn tensor(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let tensors = self.tensors();
        let tensor = &tensors[self.position_of(&tensors, name)];
        assert_eq!(tensor.dtype, "F32", "{name}");
        let values =
            tensor.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        (tensor.shape.clone(), values.collect())
    }

    /// Changes a JSON file by hand.
    pub fn edit_json(&self, file: &str, edit: impl FnOnce(&mut Value)) -> &Self {
        let path = self.file(file);
        let mut value = serde_json::from_slice(&fs::read(&path).expect(file)).expect(file);
        edit(&mut value);
        write_json(&path, &value);
        self
    }

    /// Puts any bytes in the place of a file.
    pub fn replace_file(&self, file: &str, bytes: &[u8]) -> &Self {
        fs::write(self.file(file), bytes).expect(file);
        self
    }

    pub fn remove_file(&self, file: &str) -> &Self {
        fs::remove_file(self.file(file)).expect(file);
        self
    }

    /// Cuts the last `bytes` off a file: a download that broke off.
    pub fn truncate(&self, file: &str, bytes: usize) -> &Self {
        let mut content = fs::read(self.file(file)).expect(file);
        content.truncate(content.len().saturating_sub(bytes));
        self.replace_file(file, &content)
    }

    /// Turns over all bits of the byte at `offset`, which counts from the end if it is negative.
    pub fn flip_byte(&self, file: &str, offset: isize) -> &Self {
        let mut content = fs::read(self.file(file)).expect(file);
        let at = if offset < 0 { content.len() - offset.unsigned_abs() } else { offset as usize };
        content[at] ^= 0xff;
        self.replace_file(file, &content)
    }

    /// Claims a header of that many bytes in the first eight of `model.safetensors`.
    pub fn claim_header_length(&self, length: u64) -> &Self {
        let mut content = fs::read(self.file(WEIGHTS)).expect(WEIGHTS);
        content[..8].copy_from_slice(&length.to_le_bytes());
        self.replace_file(WEIGHTS, &content)
    }

    /// Overwrites every value of a tensor with a quiet NaN.
    pub fn fill_with_nan(&self, tensor: &str) -> &Self {
        self.edit_tensor(tensor, |tensor| {
            let count = tensor.shape.iter().product();
            tensor.bytes = Dtype::of(tensor).bytes(&vec![f32::NAN; count]);
        })
    }

    /// Overwrites one value of a tensor: an infinity, a NaN, a huge number.
    pub fn poke(&self, tensor: &str, index: usize, value: f32) -> &Self {
        self.edit_tensor(tensor, |tensor| {
            let bytes = Dtype::of(tensor).bytes(&[value]);
            tensor.bytes[index * bytes.len()..][..bytes.len()].copy_from_slice(&bytes);
        })
    }

    /// Gives a tensor another shape, in a file that is well formed: values are cut or repeated.
    pub fn reshape(&self, tensor: &str, shape: &[usize]) -> &Self {
        self.edit_tensor(tensor, |tensor| {
            let width = tensor.bytes.len() / tensor.shape.iter().product::<usize>();
            let length = width * shape.iter().product::<usize>();
            tensor.bytes = tensor.bytes.iter().copied().cycle().take(length).collect();
            tensor.shape = shape.to_vec();
        })
    }

    /// Gives a tensor another name, prefix included; the old name is then missing.
    pub fn rename_tensor(&self, tensor: &str, name: &str) -> &Self {
        self.edit_tensor(tensor, |tensor| tensor.name = name.to_owned())
    }

    /// Caches a tensor as `I32`, which no weight is.
    pub fn claim_integers(&self, tensor: &str) -> &Self {
        self.edit_tensor(tensor, |tensor| {
            let count = tensor.shape.iter().product::<usize>();
            tensor.dtype = "I32".to_owned();
            tensor.bytes = vec![0; count * 4];
        })
    }

    pub fn remove_tensor(&self, tensor: &str) -> &Self {
        let mut tensors = self.tensors();
        let position = self.position_of(&tensors, tensor);
        tensors.remove(position);
        write_tensors(&self.file(WEIGHTS), &tensors);
        self
    }

    /// `vocab_size` of config.json; the embeddings keep their rows.
    pub fn set_vocab_size(&self, size: usize) -> &Self {
        self.edit_json("config.json", |config| config["vocab_size"] = json!(size))
    }

    /// A token in the tokenizer that the embeddings have no row for.
    pub fn add_token_without_row(&self, token: &str) -> &Self {
        self.edit_json("tokenizer.json", |tokenizer| {
            let vocab = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
            vocab.insert(token.to_owned(), json!(vocab.len()));
        })
    }

    /// Weights in the pickled format of old, and no others. The file begins as such a file does; it holds nothing.
    pub fn pickle_weights(&self) -> &Self {
        self.remove_file(WEIGHTS)
            .replace_file("pytorch_model.bin", b"PK\x03\x04\x00\x00archive/data.pkl")
    }

    /// Makes a static embedding of the word embeddings: in a directory of its own or in the model's (`.`),
    /// under this name of a tensor.
    pub fn make_static(&self, directory: &str, tensor: &str) -> &Self {
        let mut tensors = self.tensors();
        let word = self.position_of(&tensors, "embeddings.word_embeddings.weight");
        let word = Tensor { name: tensor.to_owned(), ..tensors.swap_remove(word) };
        fs::create_dir_all(self.file(directory)).expect("a directory");
        for file in [WEIGHTS, "config.json", "sentence_bert_config.json"] {
            self.remove_file(file);
        }
        let tokenizer = fs::read(self.file("tokenizer.json")).expect("a tokenizer");
        self.remove_file("tokenizer.json");
        fs::write(self.file(directory).join("tokenizer.json"), tokenizer).expect("a tokenizer");
        write_tensors(&self.file(directory).join(WEIGHTS), &[word]);
        let class = |name: &str| format!("sentence_transformers.models.{name}");
        let modules = json!([
            { "idx": 0, "name": "0", "path": directory, "type": class("StaticEmbedding") },
            { "idx": 1, "name": "1", "path": "1_Normalize", "type": class("Normalize") },
        ]);
        self.edit_json("modules.json", |list| *list = modules)
    }

    /// Adds a tensor of one dimension to the weights: of integers, or of f64.
    pub fn add_numbers(&self, name: &str, numbers: &Numbers) -> &Self {
        let (dtype, count, bytes): (_, _, Vec<u8>) = match numbers {
            Numbers::I64(all) => {
                ("I64", all.len(), all.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            Numbers::F64(all) => {
                ("F64", all.len(), all.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
        };
        let mut tensors = self.tensors();
        let (name, dtype) = (name.to_owned(), dtype.to_owned());
        tensors.push(Tensor { name, dtype, shape: vec![count], bytes });
        write_tensors(&self.file(WEIGHTS), &tensors);
        self
    }

    /// Replaces all values of a tensor.
    pub fn set_values(&self, tensor: &str, values: &[f32]) -> &Self {
        self.edit_tensor(tensor, |tensor| {
            let bytes: Vec<u8> = Dtype::of(tensor).bytes(values);
            assert_eq!(bytes.len(), tensor.bytes.len(), "as many values");
            tensor.bytes = bytes;
        })
    }

    /// Keeps the first rows of a tensor of two dimensions.
    pub fn keep_rows(&self, tensor: &str, rows: usize) -> &Self {
        self.edit_tensor(tensor, |tensor| {
            let row = tensor.bytes.len() / tensor.shape[0];
            tensor.shape[0] = rows;
            tensor.bytes.truncate(rows * row);
        })
    }

    /// Adds a row to a tensor of two dimensions.
    pub fn add_row(&self, tensor: &str, row: &[f32]) -> &Self {
        self.edit_tensor(tensor, |tensor| {
            let dtype = Dtype::of(tensor);
            assert_eq!(tensor.shape[1], row.len(), "a row has the width of the tensor");
            tensor.shape[0] += 1;
            tensor.bytes.extend(dtype.bytes(row));
        })
    }

    /// One more module, `Dense` or `sentence_transformers.models.Dense`.
    pub fn add_module(&self, class: &str) -> &Self {
        self.edit_json("modules.json", |modules| {
            let modules = modules.as_array_mut().expect("a list of modules");
            let (idx, prefix) = (modules.len(), "sentence_transformers.models.");
            let short = class.rsplit('.').next().unwrap_or(class);
            let class =
                if class.contains('.') { class.to_owned() } else { format!("{prefix}{class}") };
            let path = format!("{idx}_{short}");
            modules
                .push(json!({ "idx": idx, "name": idx.to_string(), "path": path, "type": class }));
        })
    }

    /// `hidden_act` of config.json.
    pub fn set_activation(&self, activation: &str) -> &Self {
        self.edit_json("config.json", |config| config["hidden_act"] = json!(activation))
    }

    /// `model_type` and `architectures` of config.json, as in `("roberta", "RobertaModel")`.
    pub fn set_architecture(&self, model_type: &str, class: &str) -> &Self {
        self.edit_json("config.json", |config| {
            config["model_type"] = json!(model_type);
            config["architectures"] = json!([class]);
        })
    }

    /// `position_embedding_type` of config.json, `relative_key` for one that is not absolute.
    pub fn set_position_embedding_type(&self, kind: &str) -> &Self {
        self.edit_json("config.json", |config| config["position_embedding_type"] = json!(kind))
    }

    /// Sets one of the flags of `1_Pooling/config.json`, so that two modes or none may be on.
    pub fn set_pooling_flag(&self, flag: &str, on: bool) -> &Self {
        self.edit_json("1_Pooling/config.json", |config| config[flag] = json!(on))
    }

    fn tensors(&self) -> Vec<Tensor> {
        read_tensors(&self.file(WEIGHTS))
    }

    fn position_of(&self, tensors: &[Tensor], name: &str) -> usize {
        let full = format!("{}{name}", self.tensor_prefix);
        let position = tensors.iter().position(|tensor| tensor.name == full || tensor.name == name);
        position.unwrap_or_else(|| panic!("the model has no tensor `{full}`"))
    }

    fn edit_tensor(&self, name: &str, edit: impl FnOnce(&mut Tensor)) -> &Self {
        let mut tensors = self.tensors();
        let position = self.position_of(&tensors, name);
        edit(&mut tensors[position]);
        write_tensors(&self.file(WEIGHTS), &tensors);
        self
    }
}

const WEIGHTS: &str = "model.safetensors";

fn write_json(path: &Path, value: &Value) {
    let text = serde_json::to_string_pretty(value).expect("plain JSON");
    fs::write(path, text).expect("a file of the model");
}

/// A tensor as a safetensors file holds it.
pub(crate) struct Tensor {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// The format: the length of the header in eight bytes, the header as JSON padded with spaces to a multiple of
/// eight, the values of all tensors without gaps.
pub(crate) fn write_tensors(path: &Path, tensors: &[Tensor]) {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut end = 0;
    for tensor in tensors {
        let start = end;
        end += tensor.bytes.len();
        header.insert(
            tensor.name.clone(),
            json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end] }),
        );
    }
    let mut header = serde_json::to_vec(&header).expect("plain JSON");
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(tensors.iter().flat_map(|tensor| &tensor.bytes));
    fs::write(path, file).expect("the weights");
}

fn read_tensors(path: &Path) -> Vec<Tensor> {
    let file = fs::read(path).expect("the weights");
    let (length, rest) = file.split_first_chunk().expect("a length");
    let (header, values) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: Map<String, Value> = serde_json::from_slice(header).expect("a header");
    let number = |value: &Value| value.as_u64().expect("a number") as usize;
    let mut tensors: Vec<(usize, Tensor)> = header
        .into_iter()
        .filter(|(name, _)| name != "__metadata__")
        .map(|(name, entry)| {
            let [start, end] = [0, 1].map(|side| number(&entry["data_offsets"][side]));
            let tensor = Tensor {
                name,
                dtype: entry["dtype"].as_str().expect("a type").to_owned(),
                shape: entry["shape"].as_array().expect("a shape").iter().map(number).collect(),
                bytes: values[start..end].to_vec(),
            };
            (start, tensor)
        })
        .collect();
    tensors.sort_by_key(|(start, _)| *start);
    tensors.into_iter().map(|(_, tensor)| tensor).collect()
}

impl Dtype {
    fn of(tensor: &Tensor) -> Self {
        let all = [Dtype::F32, Dtype::F16, Dtype::Bf16];
        let dtype = all.into_iter().find(|dtype| dtype.name() == tensor.dtype);
        dtype.unwrap_or_else(|| panic!("`{}` holds {}", tensor.name, tensor.dtype))
    }

    fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::Bf16 => "BF16",
        }
    }

    /// The narrow types lose the low bits; rounding does not matter to a random weight.
    fn bytes(self, values: &[f32]) -> Vec<u8> {
        let bits = values.iter().map(|value| value.to_bits());
        match self {
            Dtype::F32 => bits.flat_map(u32::to_le_bytes).collect(),
            Dtype::Bf16 => bits.flat_map(|bits| ((bits >> 16) as u16).to_le_bytes()).collect(),
            Dtype::F16 => bits.flat_map(|bits| half_bits(bits).to_le_bytes()).collect(),
        }
    }
}

/// An f32 cut down to half precision; what is too small becomes zero, what is too large infinite.
fn half_bits(bits: u32) -> u16 {
    let sign = (bits >> 16) as u16 & 0x8000;
    let exponent = (bits >> 23 & 0xff) as i32 - 127;
    let fraction = (bits >> 13 & 0x3ff) as u16;
    match exponent {
        128 if bits & 0x7f_ffff != 0 => sign | 0x7e00,
        16.. => sign | 0x7c00,
        -14..16 => sign | ((exponent + 15) as u16) << 10 | fraction,
        _ => sign,
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014), begun from the seed and the FNV-1a hash of a name.
struct Dice(u64);

impl Dice {
    fn new(seed: u64, name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Dice(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1 << 24) as f32
    }

    /// Nearly normal, with the same bits on every machine: the sum of twelve uniform numbers, less its mean.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}

const SPECIAL_TOKENS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// The special tokens at the ids that they have in BERT, all printable ASCII, some letters of other scripts, and
/// words and pieces in the order in which they stand below.
fn vocabulary() -> Vec<String> {
    let mut tokens = vec!["[PAD]".to_owned()];
    tokens.extend((0..99).map(|number| format!("[unused{number}]")));
    tokens.extend(SPECIAL_TOKENS[1..].iter().map(|token| (*token).to_owned()));
    let letters =
        || ('!'..='~').chain("äöüßéñабвгдежзиклмнопрстуяαβγ中文日本語の한国€–“”…🚀".chars());
    tokens.extend(letters().map(String::from));
    tokens.extend(letters().map(|letter| format!("##{letter}")));
    tokens.extend((10..100).map(|number| number.to_string()));
    tokens.extend((0..100).map(|number| format!("##{number:02}")));
    tokens.extend(WORDS.split_whitespace().map(str::to_owned));
    tokens.extend(PIECES.split_whitespace().map(|piece| format!("##{piece}")));
    let mut seen = std::collections::HashSet::new();
    tokens.retain(|token| seen.insert(token.clone()));
    tokens
}

const WORDS: &str = "
    the of and to in is was for on as with by he that at from his it an were are which this be had or has
    first one their its new after but who not they have her she two been other when there all during into
    school time may years more most only over city some world would where later up such used many can state
    about national out known university united then made also these between years team if than no film did
    up under more people so them some him up year work page test code file files user users error data add
    fix bug build run start stop open close save load read write update delete create remove change move copy
    send get set put list table row rows column key value name title text line lines word number date day week
    month hour minute second today login logout session token password account email mail message button form
    field menu screen window panel dialog icon color image video link path directory upload download export
    import report chart search filter sort query index cache queue batch job task event log trace metric alert
    server client service request response status header body api endpoint route schema model view model train
    vector embedding score rank batch size memory disk cpu gpu network connection timeout retry limit rate
    price invoice payment order customer product cart tax refund plan month total count sum average min max
    admin role group owner guest member permission access policy secret security version release branch merge
    commit review deploy rollback config setting feature flag option default true false null none empty full
    slow fast long short old wrong right bad good high low small large big last next same different missing
    broken fails failed failing crash crashes hangs after before while because should must cannot does do we
    you your our my me us how what why which where here now again always never every any each both few own
    please see below above using use without within across against per via like just still already yet only
    support handle return returns show shows hide check make keep need needs want wants find found call calls
    case issue problem question answer idea step steps expected actual result results description summary note
    docs guide example readme java python rust script sql html json css http https www com org io localhost
    mobile phone app apps web site browser chrome safari android linux windows mac db postgres redis kafka s3
    cloud cluster node nodes pod container image docker backup restore snapshot replica shard partition stream
    migration refactor design cleanup upgrade incident outage root cause timeline impact action item owner
    monday tuesday wednesday thursday friday saturday sunday january february march april june july august
    und der die das nicht le la les de des el los que para con il non een het och на не
";

const PIECES: &str = "
    s ed ing er ers ly ion ions tion tions ation ations ment ments ness able ible al ally ous ive ity ies ism
    ist ists en es est ful less ship ward wise age ance ence ant ent ary ery ory ish ize izes ized izing ise
    ify ified fy ure ures th ty ling let ette an ian ic ical ics id ide ine ing in on or ors ar at ate ates
    ated ating it ite ites ut ute utes um us is as os a e o re de un dis non pre pro con com sub super inter
    trans over under out up down off back back end line lines file files name names time times date data base
    base code coded key keys word words set sets get map list type types id ids db log logs test tests run runs
    bar car der ger ler ner per ser ter ver wer ber fer her mer ker ches ck ct ctor ld le ll ls lt ma me mi mo mp
    na nd ne ng ni no nt nts ou ow pa pe ph pi pl po pp qu ra rd ri rk rl rm rn ro rs rt ru sa sc se sh si sk sl
    so sp ss st sts su ta te ti to tr ts tt tu ul ur ve vi vo wa we wi wo xt ya ye yo za ze zi zo able ware work
    flow path page point port load low high side way room box card form view state less plus max min
";
