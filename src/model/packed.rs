//! BERT on the CPU over packed tokens, from token ids to vectors.
//!
//! The tokens of all texts of a batch lie one after the other, without padding. Linear layers see one matrix
//! of `(tokens, hidden)`; attention takes one text at a time. A text's vector has the same bits alone and in
//! any company, and on every instruction set: see [`crate::kernels`]. So it is in each precision; which one it is,
//! and what activations look like in it, only the kernels know.
//!
//! A [`PackedModel`] is shared by all workers. A worker is a thread with a [`Workspace`] of its own; no
//! threads are started here.

#[cfg(test)]
pub(super) mod tests;

use std::borrow::Cow;
use std::fmt;

use rayon::prelude::*;

use crate::kernels::{
    Activation, AlignedBuffer, AllocationError, Arithmetic, Dense, Heads, LayerNorm, Residual,
    attend, l2_normalize, mean_of_rows,
};
use crate::model::description::{ModelDescription, Pooling};
use crate::model::workspace::{Buffers, Workspace};

/// What the forward pass has to know of a model's architecture.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedShape {
    /// Width of a token's vector; a multiple of `attention_heads`.
    pub hidden: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads of each layer.
    pub attention_heads: usize,
    /// Width between the two feed-forward layers.
    pub intermediate: usize,
    /// Rows of the word embeddings.
    pub vocabulary: usize,
    /// Rows of the position embeddings: most tokens of a text.
    pub positions: usize,
    /// Rows of the token type embeddings. A text is always of the first type.
    pub token_types: usize,
    /// Added to the variance in every layer norm.
    pub layer_norm_epsilon: f32,
    /// Between the two feed-forward layers.
    pub activation: Activation,
    /// How the vectors of a text's tokens become one.
    pub pooling: Pooling,
    /// Whether that one is scaled to length 1.
    pub normalize: bool,
}

impl From<&ModelDescription> for PackedShape {
    fn from(description: &ModelDescription) -> Self {
        let bert = &description.bert;
        PackedShape {
            hidden: bert.hidden,
            layers: bert.layers,
            attention_heads: bert.heads,
            intermediate: bert.intermediate,
            vocabulary: bert.vocab_size,
            positions: bert.max_positions,
            token_types: bert.token_types,
            layer_norm_epsilon: bert.layer_norm_eps as f32,
            activation: bert.activation,
            pooling: description.pooling,
            normalize: description.normalize,
        }
    }
}

/// Why a model cannot be packed, or a batch cannot run.
#[derive(Debug, Clone, PartialEq)]
pub enum PackedError {
    /// The shape contradicts itself.
    Shape(&'static str),
    /// The checkpoint lacks a tensor.
    MissingTensor(String),
    /// A tensor does not have the size that the shape asks for.
    TensorSize {
        /// Name in the checkpoint.
        name: String,
        /// Values that the shape asks for.
        expected: usize,
        /// Values that it has.
        found: usize,
    },
    /// The memory for the weights could not be had.
    WeightMemory(AllocationError),
    /// The memory for a batch could not be had. A smaller one may fit.
    OutOfMemory {
        /// Tokens that go through the model together.
        tokens: usize,
        /// Bytes that were asked for.
        bytes: usize,
    },
    /// A text has no tokens; not even an empty one should, for special tokens are tokens.
    NoTokens {
        /// Position in the batch.
        row: usize,
    },
    /// A text has more tokens than the model has positions.
    TooLong {
        /// Position in the batch.
        row: usize,
        /// Tokens of the text.
        tokens: usize,
        /// Positions of the model.
        positions: usize,
    },
    /// A token id is not in the vocabulary.
    UnknownToken {
        /// Position in the batch.
        row: usize,
        /// The id.
        token: u32,
    },
    /// The place for the vectors is not `rows × hidden` long.
    OutputSize {
        /// Values that the batch gives.
        expected: usize,
        /// Values that there is room for.
        found: usize,
    },
}

/// The weights of a BERT model, packed for the kernels.
#[derive(Debug)]
pub struct PackedModel {
    arithmetic: Arithmetic,
    shape: PackedShape,
    embeddings: Embeddings,
    layers: Vec<Layer>,
}

impl PackedModel {
    /// Packs the weights that `tensor` gives by their names in the checkpoint, such as
    /// `encoder.layer.0.output.dense.weight`: row-major `(outputs, inputs)`, as torch stores them. Layers are
    /// packed in parallel, on the threads of the pool that this is called in.
    pub fn new<'t>(
        arithmetic: Arithmetic,
        shape: PackedShape,
        tensor: impl Fn(&str) -> Option<Cow<'t, [f32]>> + Sync,
    ) -> Result<Self, PackedError> {
        shape.check()?;
        let tensors = || Tensors { find: &tensor, arithmetic };
        let layer = |index| Layer::load(&shape, index, &mut tensors());
        let (embeddings, layers) = rayon::join(
            || Embeddings::load(&shape, &mut tensors()),
            || (0..shape.layers).into_par_iter().map(layer).collect::<Vec<_>>(),
        );
        let (embeddings, layers) = (embeddings?, layers.into_iter().collect::<Result<_, _>>()?);
        Ok(PackedModel { arithmetic, shape, embeddings, layers })
    }

    /// Its architecture.
    pub fn shape(&self) -> &PackedShape {
        &self.shape
    }

    /// Its precision, and what it runs on.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Embeds a batch of texts, each given as its token ids with the special tokens. `vectors` gets one row
    /// of `hidden` f32 for each text, in order. After an error its contents are of no use.
    pub fn forward(
        &self,
        workspace: &mut Workspace,
        texts: &[&[u32]],
        vectors: &mut [f32],
    ) -> Result<(), PackedError> {
        let tokens = self.check(texts, vectors)?;
        let (with, shape) = (self.arithmetic, &self.shape);
        let mut buffers = workspace.buffers(shape, with.precision(), tokens)?;
        self.embeddings.embed(with, texts, &mut buffers.hidden);
        for layer in &self.layers {
            layer.attend(with, shape.heads(), texts, &mut buffers);
            layer.feed_forward(with, shape.activation, &mut buffers);
        }
        self.pool(texts, buffers.hidden.values(), vectors);
        Ok(())
    }

    /// Refuses a batch that cannot run, and counts its tokens.
    fn check(&self, texts: &[&[u32]], vectors: &[f32]) -> Result<usize, PackedError> {
        let expected = texts.len().saturating_mul(self.shape.hidden);
        if vectors.len() != expected {
            return Err(PackedError::OutputSize { expected, found: vectors.len() });
        }
        for (row, text) in texts.iter().enumerate() {
            if text.is_empty() {
                return Err(PackedError::NoTokens { row });
            }
            if text.len() > self.shape.positions {
                let positions = self.shape.positions;
                return Err(PackedError::TooLong { row, tokens: text.len(), positions });
            }
            let known = |token: &u32| (*token as usize) < self.shape.vocabulary;
            if let Some(token) = text.iter().copied().find(|token| !known(token)) {
                return Err(PackedError::UnknownToken { row, token });
            }
        }
        Ok(texts.iter().map(|text| text.len()).sum())
    }

    /// One vector from the token vectors of each text.
    fn pool(&self, texts: &[&[u32]], mut hidden: &[f32], vectors: &mut [f32]) {
        let width = self.shape.hidden;
        for (text, vector) in texts.iter().zip(vectors.chunks_exact_mut(width)) {
            let (tokens, rest) = hidden.split_at(text.len() * width);
            match self.shape.pooling {
                Pooling::Mean => mean_of_rows(tokens, vector),
                Pooling::Cls => vector.copy_from_slice(&tokens[..width]),
            }
            if self.shape.normalize {
                l2_normalize(self.arithmetic.isa(), vector);
            }
            hidden = rest;
        }
    }
}

#[derive(Debug)]
struct Embeddings {
    /// `(vocabulary, hidden)`.
    word: AlignedBuffer,
    /// `(positions, hidden)`: position and first token type, added once for all.
    position: AlignedBuffer,
    norm: LayerNorm,
}

impl Embeddings {
    /// The sum of each token's word, position and token type, normalised.
    fn embed(&self, with: Arithmetic, texts: &[&[u32]], hidden: &mut Residual) {
        let width = self.norm.width();
        hidden.begin(with, &self.norm, |hidden| {
            let mut rows = hidden.chunks_exact_mut(width);
            for text in texts {
                let positions = self.position.chunks_exact(width);
                for ((token, position), sum) in text.iter().zip(positions).zip(&mut rows) {
                    let word = &self.word[*token as usize * width..][..width];
                    for ((sum, word), position) in sum.iter_mut().zip(word).zip(position) {
                        *sum = word + position;
                    }
                }
            }
        });
    }

    fn load(shape: &PackedShape, tensors: &mut Tensors) -> Result<Self, PackedError> {
        let width = shape.hidden;
        let name = |name: &str| format!("embeddings.{name}_embeddings.weight");
        let word = tensors.get(&name("word"), shape.vocabulary.saturating_mul(width))?;
        let token_type =
            tensors.get(&name("token_type"), shape.token_types.saturating_mul(width))?;
        let position = tensors.get(&name("position"), shape.positions.saturating_mul(width))?;
        let mut position = AlignedBuffer::copied(&position)?;
        for row in position.chunks_exact_mut(width) {
            for (position, token_type) in row.iter_mut().zip(&*token_type) {
                *position += token_type;
            }
        }
        let norm = tensors.layer_norm("embeddings.LayerNorm", shape)?;
        Ok(Embeddings { word: AlignedBuffer::copied(&word)?, position, norm })
    }
}

/// One layer of the encoder.
#[derive(Debug)]
struct Layer {
    /// Query, key and value of all heads, side by side.
    qkv: Dense,
    attention_output: Dense,
    attention_norm: LayerNorm,
    intermediate: Dense,
    output: Dense,
    output_norm: LayerNorm,
}

impl Layer {
    /// Multi-head attention, text by text, from the residual stream to the context.
    fn attend(&self, with: Arithmetic, heads: Heads, texts: &[&[u32]], buffers: &mut Buffers) {
        let Buffers { hidden, qkv, scratch, context, .. } = buffers;
        self.qkv.project(with, hidden.input(), qkv);
        let mut first = 0;
        for text in texts {
            let tokens = first..first + text.len();
            first = tokens.end;
            attend(with, qkv, heads, tokens, scratch, context);
        }
    }

    /// From the context back to the residual stream: the output projection, then the feed-forward network,
    /// each added to what came in and normalised. No token sees another here, so a block of them goes all the
    /// way while it is in the cache.
    fn feed_forward(&self, with: Arithmetic, activation: Activation, buffers: &mut Buffers) {
        let (attention, forward) = (&self.attention_norm, &self.output_norm);
        for tokens in buffers.blocks() {
            let mut hidden = buffers.hidden.part(tokens.clone());
            let mut intermediate = buffers.intermediate.part(0..tokens.len());
            let context = buffers.context.part(tokens);
            let projected = &mut *buffers.projected;

            let context = context.input();
            self.attention_output.add_and_normalize(
                with,
                context,
                attention,
                projected,
                &mut hidden,
            );

            self.intermediate.activate(with, hidden.input(), Some(activation), &mut intermediate);
            let intermediate = intermediate.input();
            self.output.add_and_normalize(with, intermediate, forward, projected, &mut hidden);
        }
    }

    fn load(shape: &PackedShape, index: usize, tensors: &mut Tensors) -> Result<Self, PackedError> {
        let (heads, hidden) = (shape.heads(), Heads::undivided(shape.hidden));
        let intermediate = Heads::undivided(shape.intermediate);
        let name = |name: &str| format!("encoder.layer.{index}.{name}");
        let (query, key, value) = (
            name("attention.self.query"),
            name("attention.self.key"),
            name("attention.self.value"),
        );
        Ok(Layer {
            qkv: tensors.dense(&[&query, &key, &value], hidden, heads)?,
            attention_output: tensors.dense(&[&name("attention.output.dense")], heads, hidden)?,
            attention_norm: tensors.layer_norm(&name("attention.output.LayerNorm"), shape)?,
            intermediate: tensors.dense(&[&name("intermediate.dense")], hidden, intermediate)?,
            output: tensors.dense(&[&name("output.dense")], intermediate, hidden)?,
            output_norm: tensors.layer_norm(&name("output.LayerNorm"), shape)?,
        })
    }
}

impl PackedShape {
    /// How a token's vector is divided into heads.
    pub fn heads(&self) -> Heads {
        Heads { count: self.attention_heads, size: self.hidden / self.attention_heads.max(1) }
    }

    fn check(&self) -> Result<(), PackedError> {
        let sizes = [self.hidden, self.attention_heads, self.intermediate, self.vocabulary];
        if sizes.contains(&0) || self.positions == 0 || self.token_types == 0 {
            return Err(PackedError::Shape("a size is zero"));
        }
        if !self.hidden.is_multiple_of(self.attention_heads) {
            return Err(PackedError::Shape("the hidden size is not a multiple of the heads"));
        }
        Ok(())
    }
}

/// The checkpoint, by name.
struct Tensors<'f, 't> {
    find: &'f dyn Fn(&str) -> Option<Cow<'t, [f32]>>,
    arithmetic: Arithmetic,
}

impl<'t> Tensors<'_, 't> {
    fn get(&mut self, name: &str, expected: usize) -> Result<Cow<'t, [f32]>, PackedError> {
        let tensor =
            (self.find)(name).ok_or_else(|| PackedError::MissingTensor(name.to_owned()))?;
        if tensor.len() != expected {
            let found = tensor.len();
            return Err(PackedError::TensorSize { name: name.to_owned(), expected, found });
        }
        Ok(tensor)
    }

    /// Linear layers of the same input, packed side by side.
    fn dense(
        &mut self,
        names: &[&str],
        inputs: Heads,
        outputs: Heads,
    ) -> Result<Dense, PackedError> {
        let mut parts = Vec::new();
        for name in names {
            let size = outputs.width().saturating_mul(inputs.width());
            let weight = self.get(&format!("{name}.weight"), size)?;
            let bias = self.get(&format!("{name}.bias"), outputs.width())?;
            parts.push((weight, bias));
        }
        let parts: Vec<_> = parts.iter().map(|(weight, bias)| (&**weight, &**bias)).collect();
        Ok(Dense::pack(self.arithmetic, inputs, outputs, &parts)?)
    }

    fn layer_norm(&mut self, name: &str, shape: &PackedShape) -> Result<LayerNorm, PackedError> {
        let weight = self.get(&format!("{name}.weight"), shape.hidden)?;
        let bias = self.get(&format!("{name}.bias"), shape.hidden)?;
        Ok(LayerNorm::new(&weight, &bias, shape.layer_norm_epsilon)?)
    }
}

impl From<AllocationError> for PackedError {
    fn from(error: AllocationError) -> Self {
        PackedError::WeightMemory(error)
    }
}

impl fmt::Display for PackedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(why) => write!(f, "the model's shape is not one of BERT: {why}"),
            Self::MissingTensor(name) => write!(f, "the checkpoint has no tensor `{name}`"),
            Self::TensorSize { name, expected, found } => {
                write!(f, "tensor `{name}` has {found} values where the config asks for {expected}")
            }
            Self::WeightMemory(error) => write!(f, "the weights do not fit: {error}"),
            Self::OutOfMemory { tokens, bytes } => {
                write!(f, "{tokens} tokens need {bytes} bytes, which could not be had")
            }
            Self::NoTokens { row } => write!(f, "text {row} of the batch has no tokens"),
            Self::TooLong { row, tokens, positions } => write!(
                f,
                "text {row} of the batch has {tokens} tokens where the model has {positions} positions"
            ),
            Self::UnknownToken { row, token } => {
                write!(
                    f,
                    "text {row} of the batch has token {token}, which is not in the vocabulary"
                )
            }
            Self::OutputSize { expected, found } => {
                write!(f, "the batch gives {expected} values and there is room for {found}")
            }
        }
    }
}

impl std::error::Error for PackedError {}
