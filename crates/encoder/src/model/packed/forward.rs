//! The forward pass over packed tokens: token ids in, vectors out.
//!
//! The tokens of all texts of a batch are consecutive, without padding. Linear layers see one
//! matrix `(tokens, hidden)`; attention sees one text at a time. A vector has the same bits in any
//! batch and on every instruction set: see [`reembed_kernels`], which also decides the number
//! format of the activations.
//!
//! What an encoder is made of is an [`EncoderSpec`]: one forward pass runs every architecture.
//!
//! Workers share a [`PackedModel`]; each has its own [`Workspace`]. Only [`PackedModel::new`] uses
//! several threads.

use std::borrow::Cow;

use rayon::prelude::*;
use reembed_kernels::{Arithmetic, Rotary, ScoreBias};

use super::embeddings::Embeddings;
use super::head::Head;
use super::layer::{Layer, Surroundings};
use super::shape::{PackedError, PackedShape};
use super::tensors::{Norm, Tensors};
use super::workspace::Workspace;
use crate::model::spec::{EncoderSpec, LayerAttention};
use crate::model::tensor_names::{EncoderTensors, RELATIVE_BUCKETS};

#[cfg(test)]
mod tests;

/// The weights of a model, packed for the kernels.
#[derive(Debug)]
pub struct PackedModel {
    arithmetic: Arithmetic,
    shape: PackedShape,
    embeddings: Embeddings,
    /// One for each group of layers that share their weights.
    layers: Vec<Layer>,
    /// What the layers see, in the order of the layers.
    seen: Vec<LayerAttention>,
    rotaries: Vec<(f64, Rotary)>,
    windows: Vec<([Option<usize>; 2], ScoreBias)>,
    relative: Option<ScoreBias>,
    last_norm: Option<Norm>,
    head: Head,
}

impl PackedModel {
    /// Packs the weights of a model.
    ///
    /// `tensor` returns a tensor by one of the names of `names`, such as
    /// `encoder.layer.0.output.dense.weight`, row-major `(outputs, inputs)` as in torch. Layers are
    /// packed in parallel in the current rayon pool.
    ///
    /// # Errors
    /// [`PackedError::Shape`], [`PackedError::MissingTensor`], [`PackedError::TensorSize`] or
    /// [`PackedError::WeightMemory`].
    pub fn new<'t>(
        arithmetic: Arithmetic,
        shape: PackedShape,
        names: &EncoderTensors,
        tensor: impl Fn(&str) -> Option<Cow<'t, [f32]>> + Sync,
    ) -> Result<Self, PackedError> {
        shape.check()?;
        let spec = &shape.encoder;
        let tensors = Tensors { find: &tensor, arithmetic, norm: &spec.norm };
        let layer = |names| Layer::load(&shape, names, &tensors);
        let (embeddings, layers) = rayon::join(
            || Embeddings::load(&shape, names, &tensors),
            || names.layers.par_iter().map(layer).collect::<Vec<_>>(),
        );
        let (embeddings, layers) = (embeddings?, layers.into_iter().collect::<Result<_, _>>()?);
        let seen: Vec<_> = (0..spec.layers).map(|layer| spec.layer_attention(layer)).collect();
        let mut rotaries: Vec<(f64, Rotary)> = Vec::new();
        let mut windows: Vec<([Option<usize>; 2], ScoreBias)> = Vec::new();
        for LayerAttention { seen, theta } in &seen {
            if let Some(theta) = theta.filter(|theta| rotaries.iter().all(|(own, _)| own != theta))
            {
                let size = spec.attention.head_size;
                rotaries.push((theta, Rotary::new(size, theta, shape.max_tokens)?));
            }
            if *seen != [None; 2] && windows.iter().all(|(own, _)| own != seen) {
                windows.push((*seen, ScoreBias::window(*seen)?));
            }
        }
        let relative = match &names.relative {
            Some(table) => Some(relative_bias(spec, &tensors.table(table)?)?),
            None => None,
        };
        let last_norm = names.last_norm.as_ref().map(|norm| tensors.norm(norm)).transpose()?;
        let head = Head::load(&shape, &tensors)?;
        Ok(PackedModel {
            arithmetic,
            embeddings,
            layers,
            seen,
            rotaries,
            windows,
            relative,
            last_norm,
            head,
            shape,
        })
    }

    /// The shape of the model.
    pub fn shape(&self) -> &PackedShape {
        &self.shape
    }

    /// The precision, and the instruction set and unit that compute it.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Embeds a batch of texts, given as token ids with the special tokens. The first `unpooled` of each are attended to
    /// and not pooled.
    ///
    /// Writes one row of `dim` f32 for each text into `vectors`, `(texts.len(), dim)`,
    /// row-major. `vectors` is unspecified after an error.
    ///
    /// # Errors
    /// [`PackedError::OutOfMemory`] if a smaller batch may fit; the errors of an invalid batch,
    /// which name the text.
    pub fn forward(
        &self,
        workspace: &mut Workspace,
        texts: &[&[u32]],
        unpooled: usize,
        vectors: &mut [f32],
    ) -> Result<(), PackedError> {
        let tokens = self.check(texts, unpooled, vectors)?;
        let (arithmetic, shape) = (self.arithmetic, &self.shape);
        let mut buffers = workspace.buffers(shape, arithmetic.precision(), tokens)?;
        self.embeddings.embed(arithmetic, texts, buffers.wide, &mut buffers.hidden);
        for (number, seen) in self.seen.iter().enumerate() {
            let Some(layer) = self.layers.get(shape.encoder.group_of_layer(number)) else { break };
            layer.attend(arithmetic, self.surroundings(seen), texts, &mut buffers);
            layer.feed_forward(arithmetic, &mut buffers);
        }
        let isa = arithmetic.isa();
        if let Some(norm) = &self.last_norm {
            buffers.hidden.update(|rows| norm.normalize(isa, rows));
        }
        let mut rest = buffers.hidden.values();
        for (text, vector) in texts.iter().zip(vectors.chunks_exact_mut(shape.dim)) {
            let (tokens, others) = rest.split_at(text.len() * shape.encoder.hidden);
            self.head.apply(isa, tokens, unpooled, vector);
            rest = others;
        }
        Ok(())
    }

    /// What a layer that sees this much has around it.
    fn surroundings(&self, seen: &LayerAttention) -> Surroundings<'_> {
        let rotary = self.rotaries.iter().find(|(theta, _)| Some(*theta) == seen.theta);
        let window = self.windows.iter().find(|(own, _)| *own == seen.seen);
        Surroundings {
            rotary: rotary.map(|(_, rotary)| rotary),
            bias: window.map(|(_, bias)| bias).or(self.relative.as_ref()),
        }
    }

    /// Checks a batch and returns its number of tokens.
    fn check(
        &self,
        texts: &[&[u32]],
        unpooled: usize,
        vectors: &[f32],
    ) -> Result<usize, PackedError> {
        let PackedShape { encoder, dim, max_tokens, .. } = &self.shape;
        let expected = texts.len().saturating_mul(*dim);
        if vectors.len() != expected {
            return Err(PackedError::OutputSize { expected, found: vectors.len() });
        }
        for (row, text) in texts.iter().enumerate() {
            if text.is_empty() {
                return Err(PackedError::NoTokens { row });
            }
            if text.len() > *max_tokens {
                return Err(PackedError::TooLong { row, tokens: text.len(), max: *max_tokens });
            }
            if text.len() <= unpooled {
                return Err(PackedError::NothingPooled { row });
            }
            let known = |token: &u32| (*token as usize) < encoder.vocab_size;
            if let Some(token) = text.iter().copied().find(|token| !known(token)) {
                return Err(PackedError::UnknownToken { row, token });
            }
        }
        Ok(texts.iter().map(|text| text.len()).sum())
    }
}

/// The bias of MPNet by relative position, from the table `(buckets, heads)`.
fn relative_bias(spec: &EncoderSpec, table: &[f32]) -> Result<ScoreBias, PackedError> {
    let heads = spec.attention.heads;
    let value = |head: usize, distance: isize| table[bucket(distance) * heads + head];
    Ok(ScoreBias::relative(heads, FARTHEST_BUCKET, value)?)
}

/// The distance from which on all keys on one side are in one bucket.
const FARTHEST_BUCKET: usize = 91;

/// The bucket of a distance from query to key (Raffel et al., 2019, <https://arxiv.org/abs/1910.10683>):
/// half of the buckets for each side, of which half have one distance each and the others grow with it.
fn bucket(distance: isize) -> usize {
    /// The first distance of each bucket that has several.
    const STARTS: [usize; 8] = [8, 12, 16, 23, 32, 46, 64, FARTHEST_BUCKET];
    let side = if distance > 0 { RELATIVE_BUCKETS / 2 } else { 0 };
    let distance = distance.unsigned_abs();
    let several = STARTS.iter().filter(|start| **start <= distance).count();
    side + if several == 0 { distance } else { 7 + several }
}
