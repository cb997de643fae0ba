//! BERT (Devlin et al., 2018, <https://arxiv.org/abs/1810.04805>) over packed tokens: token ids in,
//! vectors out.
//!
//! The tokens of all texts of a batch are consecutive, without padding. Linear layers see one
//! matrix `(tokens, hidden)`; attention sees one text at a time. A vector has the same bits in any
//! batch and on every instruction set: see [`reembed_kernels`], which also decides the number
//! format of the activations.
//!
//! Workers share a [`PackedModel`]; each has its own [`Workspace`]. Only [`PackedModel::new`] uses
//! several threads.

use std::borrow::Cow;

use rayon::prelude::*;
use reembed_kernels::{
    Activation, AlignedBuffer, Arithmetic, Dense, Heads, LayerNorm, Residual, attend, l2_normalize,
    mean_of_rows,
};

use super::shape::{PackedError, PackedShape};
use super::workspace::{Buffers, Workspace};
use crate::model::description::Pooling;

#[cfg(test)]
mod tests;

/// The weights of a BERT model, packed for the kernels.
#[derive(Debug)]
pub struct PackedModel {
    arithmetic: Arithmetic,
    shape: PackedShape,
    embeddings: Embeddings,
    layers: Vec<Layer>,
}

impl PackedModel {
    /// Packs the weights of a model.
    ///
    /// `tensor` returns a tensor by its Hugging Face name, such as
    /// `encoder.layer.0.output.dense.weight`, row-major `(outputs, inputs)` as in torch. Layers are
    /// packed in parallel in the current rayon pool.
    ///
    /// # Errors
    /// [`PackedError::Shape`], [`PackedError::MissingTensor`], [`PackedError::TensorSize`] or
    /// [`PackedError::WeightMemory`].
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

    /// The shape of the model.
    pub fn shape(&self) -> &PackedShape {
        &self.shape
    }

    /// The precision, and the instruction set and unit that compute it.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Embeds a batch of texts, given as token ids with the special tokens.
    ///
    /// Writes one row of `hidden` f32 for each text into `vectors`, `(texts.len(), hidden)`,
    /// row-major. `vectors` is unspecified after an error.
    ///
    /// # Errors
    /// [`PackedError::OutOfMemory`] if a smaller batch may fit; the errors of an invalid batch,
    /// which name the text.
    pub fn forward(
        &self,
        workspace: &mut Workspace,
        texts: &[&[u32]],
        vectors: &mut [f32],
    ) -> Result<(), PackedError> {
        let tokens = self.check(texts, vectors)?;
        let (arithmetic, shape) = (self.arithmetic, &self.shape);
        let mut buffers = workspace.buffers(shape, arithmetic.precision(), tokens)?;
        self.embeddings.embed(arithmetic, texts, &mut buffers.hidden);
        for layer in &self.layers {
            layer.attend(arithmetic, shape.heads(), texts, &mut buffers);
            layer.feed_forward(arithmetic, shape.activation, &mut buffers);
        }
        self.pool(texts, buffers.hidden.values(), vectors);
        Ok(())
    }

    /// Checks a batch and returns its number of tokens.
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

    /// Pools the token vectors of each text, and normalises the result.
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
    /// `(positions, hidden)`: the sum of position and first token type.
    position: AlignedBuffer,
    norm: LayerNorm,
}

impl Embeddings {
    /// Computes the normalised sum of word, position and token-type embedding of each token.
    fn embed(&self, arithmetic: Arithmetic, texts: &[&[u32]], hidden: &mut Residual) {
        let width = self.norm.width();
        hidden.fill_and_normalize(arithmetic, &self.norm, |hidden| {
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
    /// The query, key and value projections of all heads, as one linear layer.
    qkv: Dense,
    attention_output: Dense,
    attention_norm: LayerNorm,
    intermediate: Dense,
    output: Dense,
    output_norm: LayerNorm,
}

impl Layer {
    /// Computes multi-head attention, text by text, from the residual stream to the context.
    fn attend(
        &self,
        arithmetic: Arithmetic,
        heads: Heads,
        texts: &[&[u32]],
        buffers: &mut Buffers,
    ) {
        let Buffers { hidden, qkv, scratch, context, .. } = buffers;
        self.qkv.project(arithmetic, hidden.as_input(), qkv);
        let mut first = 0;
        for text in texts {
            let tokens = first..first + text.len();
            first = tokens.end;
            attend(arithmetic, qkv, heads, tokens, scratch, context);
        }
    }

    /// Computes the output projection and the feed-forward network, each added to the residual
    /// stream and normalised. Tokens are independent here, so each block goes all the way while it
    /// is in the cache.
    fn feed_forward(&self, arithmetic: Arithmetic, activation: Activation, buffers: &mut Buffers) {
        let (attention, forward) = (&self.attention_norm, &self.output_norm);
        for tokens in buffers.blocks() {
            let mut hidden = buffers.hidden.rows_mut(tokens.clone());
            let mut intermediate = buffers.intermediate.rows_mut(0..tokens.len());
            let context = buffers.context.rows_mut(tokens);
            let projected = &mut *buffers.projected;

            let context = context.as_input();
            self.attention_output.add_and_normalize(
                arithmetic,
                context,
                attention,
                projected,
                &mut hidden,
            );

            self.intermediate.activate(
                arithmetic,
                hidden.as_input(),
                Some(activation),
                &mut intermediate,
            );
            let intermediate = intermediate.as_input();
            self.output.add_and_normalize(
                arithmetic,
                intermediate,
                forward,
                projected,
                &mut hidden,
            );
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

/// The tensors of a checkpoint by their name.
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

    /// Packs linear layers with the same input as one.
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
