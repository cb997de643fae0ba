//! Which tensors an encoder has in its checkpoint: one table of names for each family.
//!
//! The names are those of `transformers`, and where published checkpoints differ, theirs too.

use super::architecture::Architecture;
use super::spec::{EncoderSpec, NormKind, NormPlace, Positions, Step};

/// The names of one family. A linear layer and a norm are named without `.weight` and `.bias`; an empty
/// name is a part that the family does not have.
#[derive(Debug, PartialEq, Eq)]
pub struct TensorNames {
    /// A tensor that tells this table from others of the same architecture.
    pub probe: &'static str,
    /// What may stand before every name: that of the encoder inside a larger model.
    prefixes: &'static [&'static str],
    word: &'static str,
    position: &'static str,
    token_type: &'static str,
    embedding_norm: &'static str,
    projection: &'static str,
    relative: &'static str,
    last_norm: &'static str,
    /// What stands before the names of a layer; `#` is its number.
    layer: &'static str,
    /// Query, key and value, or all in one tensor.
    qkv: &'static [&'static str],
    query_norm: &'static str,
    key_norm: &'static str,
    attention_output: &'static str,
    /// Gate and value, or all in one tensor; one name without a gate.
    inner: &'static [&'static str],
    output: &'static str,
    /// The norms around the attention and the feed-forward network: before and after each.
    norms: [&'static str; 4],
}

const BERT: TensorNames = TensorNames {
    probe: "embeddings.word_embeddings.weight",
    prefixes: &["", "bert."],
    word: "embeddings.word_embeddings.weight",
    position: "embeddings.position_embeddings.weight",
    token_type: "embeddings.token_type_embeddings.weight",
    embedding_norm: "embeddings.LayerNorm",
    projection: "",
    relative: "",
    last_norm: "",
    layer: "encoder.layer.#.",
    qkv: &["attention.self.query", "attention.self.key", "attention.self.value"],
    query_norm: "",
    key_norm: "",
    attention_output: "attention.output.dense",
    inner: &["intermediate.dense"],
    output: "output.dense",
    norms: ["", "attention.output.LayerNorm", "", "output.LayerNorm"],
};
const ROBERTA: TensorNames = TensorNames { prefixes: &["", "roberta."], ..BERT };
const ELECTRA: TensorNames =
    TensorNames { prefixes: &["", "electra."], projection: "embeddings_project", ..BERT };
const MPNET: TensorNames = TensorNames {
    prefixes: &["", "mpnet."],
    token_type: "",
    relative: "encoder.relative_attention_bias.weight",
    qkv: &["attention.attn.q", "attention.attn.k", "attention.attn.v"],
    attention_output: "attention.attn.o",
    norms: ["", "attention.LayerNorm", "", "output.LayerNorm"],
    ..BERT
};
const DISTILBERT: TensorNames = TensorNames {
    prefixes: &["", "distilbert."],
    token_type: "",
    layer: "transformer.layer.#.",
    qkv: &["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    attention_output: "attention.out_lin",
    inner: &["ffn.lin1"],
    output: "ffn.lin2",
    norms: ["", "sa_layer_norm", "", "output_layer_norm"],
    ..BERT
};
const ALBERT: TensorNames = TensorNames {
    prefixes: &["", "albert."],
    projection: "encoder.embedding_hidden_mapping_in",
    layer: "encoder.albert_layer_groups.#.albert_layers.0.",
    qkv: &["attention.query", "attention.key", "attention.value"],
    attention_output: "attention.dense",
    inner: &["ffn"],
    output: "ffn_output",
    norms: ["", "attention.LayerNorm", "", "full_layer_layer_norm"],
    ..BERT
};
const MODERNBERT: TensorNames = TensorNames {
    probe: "embeddings.tok_embeddings.weight",
    prefixes: &["", "model."],
    word: "embeddings.tok_embeddings.weight",
    position: "",
    token_type: "",
    embedding_norm: "embeddings.norm",
    last_norm: "final_norm",
    layer: "layers.#.",
    qkv: &["attn.Wqkv"],
    attention_output: "attn.Wo",
    inner: &["mlp.Wi"],
    output: "mlp.Wo",
    norms: ["attn_norm", "", "mlp_norm", ""],
    ..BERT
};
const NOMIC: TensorNames = TensorNames {
    probe: "embeddings.LayerNorm.weight",
    prefixes: &["", "nomic_bert."],
    position: "",
    layer: "layers.#.",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    attention_output: "self_attn.o_proj",
    inner: &["mlp.gate_proj", "mlp.up_proj"],
    output: "mlp.down_proj",
    norms: ["", "post_attention_layernorm", "", "post_mlp_layernorm"],
    ..BERT
};
/// As nomic-ai publishes it.
const NOMIC_PUBLISHED: TensorNames = TensorNames {
    probe: "emb_ln.weight",
    prefixes: &["", "bert."],
    embedding_norm: "emb_ln",
    layer: "encoder.layers.#.",
    qkv: &["attn.Wqkv"],
    attention_output: "attn.out_proj",
    inner: &["mlp.fc12", "mlp.fc11"],
    output: "mlp.fc2",
    norms: ["", "norm1", "", "norm2"],
    ..NOMIC
};
const QWEN3: TensorNames = TensorNames {
    probe: "embed_tokens.weight",
    prefixes: &["", "model."],
    word: "embed_tokens.weight",
    position: "",
    token_type: "",
    embedding_norm: "",
    last_norm: "norm",
    layer: "layers.#.",
    query_norm: "self_attn.q_norm",
    key_norm: "self_attn.k_norm",
    norms: ["input_layernorm", "", "post_attention_layernorm", ""],
    ..NOMIC
};
const GEMMA3: TensorNames = TensorNames {
    prefixes: &["", "model.", "language_model.", "model.language_model."],
    norms: [
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ],
    ..QWEN3
};

const STATIC: TensorNames =
    TensorNames { probe: "embedding.weight", prefixes: &[""], word: "embedding.weight", ..BERT };
/// As model2vec saves it.
const MODEL2VEC: TensorNames =
    TensorNames { probe: "embeddings", prefixes: &[""], word: "embeddings", ..BERT };
/// The row of each token in a quantized vocabulary of model2vec.
pub const MODEL2VEC_MAPPING: &str = "mapping";
/// The factor of each token's row.
pub const MODEL2VEC_WEIGHTS: &str = "weights";

impl TensorNames {
    /// The tables of an architecture, the usual one first.
    pub fn of(architecture: Architecture) -> &'static [TensorNames] {
        match architecture {
            Architecture::Albert => &[ALBERT],
            Architecture::Bert => &[BERT],
            Architecture::Camembert | Architecture::Roberta | Architecture::XlmRoberta => {
                &[ROBERTA]
            }
            Architecture::DistilBert => &[DISTILBERT],
            Architecture::Electra => &[ELECTRA],
            Architecture::Gemma3 => &[GEMMA3],
            Architecture::ModernBert => &[MODERNBERT],
            Architecture::Mpnet => &[MPNET],
            Architecture::NomicBert => &[NOMIC, NOMIC_PUBLISHED],
            Architecture::Qwen3 => &[QWEN3],
            Architecture::StaticEmbedding => &[STATIC, MODEL2VEC],
        }
    }

    /// The name of the word embedding of an architecture.
    pub fn word_embedding(architecture: Architecture) -> &'static str {
        Self::of(architecture).first().map_or("", |names| names.word)
    }

    /// The table and the prefix of a checkpoint that has the tensors for which `exists` is true. The usual
    /// ones if it has none that any table expects.
    pub fn find(
        architecture: Architecture,
        exists: impl Fn(&str) -> bool,
    ) -> (&'static TensorNames, &'static str) {
        let tables = Self::of(architecture);
        let candidates = tables
            .iter()
            .flat_map(|table| table.prefixes.iter().map(move |prefix| (table, *prefix)));
        let fits =
            |(table, prefix): &(&TensorNames, &str)| exists(&format!("{prefix}{}", table.probe));
        candidates.clone().find(fits).or_else(|| candidates.clone().next()).unwrap_or((&BERT, ""))
    }
}

/// A linear layer of a checkpoint: `name.weight`, `(outputs, inputs)`, and perhaps `name.bias`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearTensors {
    /// Its name.
    pub name: String,
    /// Values of an output row.
    pub outputs: usize,
    /// Values of an input row.
    pub inputs: usize,
    /// Whether it has a bias.
    pub has_bias: bool,
}

/// A norm of a checkpoint: `name.weight` and perhaps `name.bias`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormTensors {
    /// Its name.
    pub name: String,
    /// Values of a row.
    pub width: usize,
    /// Whether it has a bias.
    pub has_bias: bool,
}

/// A table of vectors, `(rows, width)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableTensor {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: usize,
    /// Values of a row.
    pub width: usize,
}

/// The tensors of an encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderTensors {
    /// The word embedding.
    pub word: TableTensor,
    /// The position embedding.
    pub position: Option<TableTensor>,
    /// The token-type embedding.
    pub token_type: Option<TableTensor>,
    /// The norm of the embeddings.
    pub embedding_norm: Option<NormTensors>,
    /// The linear layer after the embeddings.
    pub projection: Option<LinearTensors>,
    /// The bias of each bucket of relative positions, by head.
    pub relative: Option<TableTensor>,
    /// The layers that have weights of their own.
    pub layers: Vec<LayerTensors>,
    /// The norm after all layers.
    pub last_norm: Option<NormTensors>,
}

/// The tensors of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerTensors {
    /// Query, key and value, or all in one.
    pub qkv: Vec<LinearTensors>,
    /// The norms of the heads of queries and of keys.
    pub head_norms: Option<[NormTensors; 2]>,
    /// From the context to the token vector.
    pub attention_output: LinearTensors,
    /// The first half of the feed-forward network: gate and value, if it has a gate.
    pub inner: Vec<LinearTensors>,
    /// Its second half.
    pub output: LinearTensors,
    /// The norms before and after the attention, and before and after the feed-forward network.
    pub norms: [Option<NormTensors>; 4],
}

/// Buckets of relative positions of MPNet.
pub const RELATIVE_BUCKETS: usize = 32;

impl EncoderTensors {
    /// The tensors of an encoder under the names of a table.
    pub fn new(spec: &EncoderSpec, names: &TensorNames) -> Self {
        let width = spec.embeddings.width;
        let table = |name: &str, rows, width| TableTensor { name: name.to_owned(), rows, width };
        let position = match spec.embeddings.positions {
            Positions::None => None,
            Positions::FromZero { rows } | Positions::AfterPadding { rows, .. } => Some(rows),
        };
        let has_token_types = spec.embeddings.token_types > 0;
        let relative = || table(names.relative, RELATIVE_BUCKETS, spec.attention.heads);
        let projection = LinearTensors {
            name: names.projection.to_owned(),
            outputs: spec.hidden,
            inputs: width,
            has_bias: true,
        };
        EncoderTensors {
            word: table(names.word, spec.vocab_size, width),
            position: position.map(|rows| table(names.position, rows, width)),
            token_type: has_token_types
                .then(|| table(names.token_type, spec.embeddings.token_types, width)),
            embedding_norm: spec
                .embeddings
                .is_normalized
                .then(|| norm(spec, names.embedding_norm.to_owned(), width)),
            projection: spec.embeddings.is_projected.then_some(projection),
            relative: spec.attention.is_relative.then(relative),
            layers: (0..spec.layer_groups)
                .map(|layer| LayerTensors::new(spec, names, layer))
                .collect(),
            last_norm: spec
                .normalizes_before()
                .then(|| norm(spec, names.last_norm.to_owned(), spec.hidden)),
        }
    }

    /// Each tensor with its shape.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let mut shapes = Vec::new();
        let tables = [Some(&self.word), self.position.as_ref(), self.token_type.as_ref()];
        for table in tables.into_iter().chain([self.relative.as_ref()]).flatten() {
            shapes.push((table.name.clone(), vec![table.rows, table.width]));
        }
        let mut norms: Vec<&NormTensors> = self.embedding_norm.iter().collect();
        let mut linears: Vec<&LinearTensors> = self.projection.iter().collect();
        for layer in &self.layers {
            linears.extend(layer.qkv.iter().chain([&layer.attention_output]));
            linears.extend(layer.inner.iter().chain([&layer.output]));
            norms.extend(layer.head_norms.iter().flatten());
            norms.extend(layer.norms.iter().flatten());
        }
        norms.extend(&self.last_norm);
        for linear in linears {
            linear.add_shapes(&mut shapes);
        }
        for NormTensors { name, width, has_bias } in norms {
            shapes.push((format!("{name}.weight"), vec![*width]));
            shapes.extend(has_bias.then(|| (format!("{name}.bias"), vec![*width])));
        }
        shapes
    }
}

impl LinearTensors {
    /// The linear layer of a step after the pooling; `None` if it has none. Its tensors are in a file of
    /// its own, and its name here begins with the directory.
    pub fn of_step(step: &Step) -> Option<Self> {
        let Step::Dense(dense) = step else { return None };
        Some(LinearTensors {
            name: format!("{}/linear", dense.directory),
            outputs: dense.outputs,
            inputs: dense.inputs,
            has_bias: dense.has_bias,
        })
    }

    /// Adds each of its tensors with its shape.
    pub fn add_shapes(&self, shapes: &mut Vec<(String, Vec<usize>)>) {
        let LinearTensors { name, outputs, inputs, has_bias } = self;
        shapes.push((format!("{name}.weight"), vec![*outputs, *inputs]));
        shapes.extend(has_bias.then(|| (format!("{name}.bias"), vec![*outputs])));
    }
}

impl LayerTensors {
    fn new(spec: &EncoderSpec, names: &TensorNames, layer: usize) -> Self {
        let prefix = names.layer.replace('#', &layer.to_string());
        let name = |name: &str| format!("{prefix}{name}");
        let heads = spec.attention_heads();
        let (hidden, inner) = (spec.hidden, spec.feed_forward.width);
        let (queries, keys) = (heads.queries.width(), heads.keys * heads.queries.size);
        let linear = |part: &str, outputs, inputs, has_bias| LinearTensors {
            name: name(part),
            outputs,
            inputs,
            has_bias,
        };
        let attention =
            |part: &str, outputs, inputs| linear(part, outputs, inputs, spec.attention.has_bias);
        let forward =
            |part: &str, outputs, inputs| linear(part, outputs, inputs, spec.feed_forward.has_bias);
        let qkv = match names.qkv {
            [all] => vec![attention(all, queries + 2 * keys, hidden)],
            parts => {
                let widths = [queries, keys, keys];
                parts
                    .iter()
                    .zip(widths)
                    .map(|(part, width)| attention(part, width, hidden))
                    .collect()
            }
        };
        let gates = if spec.feed_forward.is_gated { 2 } else { 1 };
        let each = gates * inner / names.inner.len().max(1);
        let head_norm = |part: &str| NormTensors {
            name: name(part),
            width: heads.queries.size,
            has_bias: false,
        };
        let (has_before, has_after) = match spec.norm.place {
            NormPlace::After => ([false; 2], true),
            NormPlace::Before { first, and_after } => ([first || layer > 0, true], and_after),
        };
        let wanted = [has_before[0], has_after, has_before[1], has_after];
        let norms = std::array::from_fn(|place| {
            wanted[place].then(|| norm(spec, name(names.norms[place]), hidden))
        });
        LayerTensors {
            qkv,
            head_norms: spec
                .attention
                .normalizes_heads
                .then(|| [head_norm(names.query_norm), head_norm(names.key_norm)]),
            attention_output: attention(names.attention_output, hidden, queries),
            inner: names.inner.iter().map(|part| forward(part, each, hidden)).collect(),
            output: forward(names.output, hidden, inner),
            norms,
        }
    }
}

fn norm(spec: &EncoderSpec, name: String, width: usize) -> NormTensors {
    let has_bias = spec.norm.kind == NormKind::Layer && spec.norm.has_bias;
    NormTensors { name, width, has_bias }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_and_prefix_are_those_of_the_checkpoint() {
        let find = |architecture, tensor: &str| {
            let (names, prefix) = TensorNames::find(architecture, |name| name == tensor);
            (names.layer, prefix)
        };
        let word = "bert.embeddings.word_embeddings.weight";
        assert_eq!(find(Architecture::Bert, word), (BERT.layer, "bert."));
        assert_eq!(find(Architecture::Bert, &word[5..]), (BERT.layer, ""));
        let published = (NOMIC_PUBLISHED.layer, "");
        assert_eq!(find(Architecture::NomicBert, "emb_ln.weight"), published);
        assert_eq!(find(Architecture::Qwen3, "model.embed_tokens.weight"), (QWEN3.layer, "model."));
    }

    #[test]
    fn bert_has_its_tensors() {
        let tensors = EncoderTensors::new(&EncoderSpec::small(), &BERT);
        let shapes = tensors.shapes();
        // 3 embeddings, a norm of two tensors, and in each layer 6 linear layers and 2 norms.
        assert_eq!(shapes.len(), 3 + 2 + 3 * (6 + 2) * 2);
        for (name, shape) in [
            ("embeddings.word_embeddings.weight", &[101, 72][..]),
            ("encoder.layer.2.attention.self.key.weight", &[72, 72]),
            ("encoder.layer.0.intermediate.dense.bias", &[149]),
            ("encoder.layer.1.output.LayerNorm.weight", &[72]),
        ] {
            let found = shapes.iter().find(|(found, _)| found == name);
            assert_eq!(found.map(|(_, shape)| &shape[..]), Some(shape), "{name}");
        }
    }
}
