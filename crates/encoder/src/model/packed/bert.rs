//! BERT on the CPU over packed tokens, from token ids to vectors.
//!
//! The tokens of all texts of a batch lie one after the other, without padding. Linear layers see one matrix
//! of `(tokens, hidden)`; attention takes one text at a time. A text's vector has the same bits alone and in
//! any company, and on every instruction set: see [`reembed_kernels`]. So it is in each precision; which one it is,
//! and what activations look like in it, only the kernels know.
//!
//! A [`PackedModel`] is shared by all workers. A worker is a thread with a [`Workspace`] of its own; no
//! threads are started here.

use std::borrow::Cow;

use rayon::prelude::*;
use reembed_kernels::{
    Activation, AlignedBuffer, Arithmetic, Dense, Heads, LayerNorm, Residual, attend, l2_normalize,
    mean_of_rows,
};

use super::shape::{PackedError, PackedShape};
use super::workspace::{Buffers, Workspace};
use crate::model::description::Pooling;

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
        hidden.fill_and_normalize(with, &self.norm, |hidden| {
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
        let mut position = AlignedBuffer::from_slice(&position)?;
        for row in position.chunks_exact_mut(width) {
            for (position, token_type) in row.iter_mut().zip(&*token_type) {
                *position += token_type;
            }
        }
        let norm = tensors.layer_norm("embeddings.LayerNorm", shape)?;
        Ok(Embeddings { word: AlignedBuffer::from_slice(&word)?, position, norm })
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
        self.qkv.project(with, hidden.as_input(), qkv);
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
            let mut hidden = buffers.hidden.rows_mut(tokens.clone());
            let mut intermediate = buffers.intermediate.rows_mut(0..tokens.len());
            let context = buffers.context.rows_mut(tokens);
            let projected = &mut *buffers.projected;

            let context = context.as_input();
            self.attention_output.add_and_normalize(
                with,
                context,
                attention,
                projected,
                &mut hidden,
            );

            self.intermediate.activate(
                with,
                hidden.as_input(),
                Some(activation),
                &mut intermediate,
            );
            let intermediate = intermediate.as_input();
            self.output.add_and_normalize(with, intermediate, forward, projected, &mut hidden);
        }
    }

    fn load(shape: &PackedShape, index: usize, tensors: &mut Tensors) -> Result<Self, PackedError> {
        let (heads, hidden) = (shape.heads(), Heads::single(shape.hidden));
        let intermediate = Heads::single(shape.intermediate);
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
