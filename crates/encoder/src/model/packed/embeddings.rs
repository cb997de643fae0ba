//! The embeddings of tokens: the first value of the residual stream.

use reembed_kernels::{AlignedBuffer, Arithmetic, F32Linear, LayerNorm, Residual};

use super::shape::{PackedError, PackedShape};
use super::tensors::Tensors;
use crate::model::spec::Positions;
use crate::model::tensor_names::EncoderTensors;

/// The tables of embeddings, and what follows them.
#[derive(Debug)]
pub(super) struct Embeddings {
    /// Values of a row of the tables.
    width: usize,
    /// `(vocabulary, width)`.
    word: AlignedBuffer,
    /// The factor of the word embedding.
    scale: f32,
    /// What is added to it: the sums of position and first token type, `(rows, width)`; of a model without
    /// positions one row, or none.
    added: AlignedBuffer,
    positions: Positions,
    norm: Option<LayerNorm>,
    projection: Option<F32Linear>,
}

impl Embeddings {
    /// Computes the embedding of each token. `scratch` has the rows of a block, if there is a projection.
    pub fn embed(
        &self,
        arithmetic: Arithmetic,
        texts: &[&[u32]],
        scratch: &mut [f32],
        hidden: &mut Residual,
    ) {
        let Some(projection) = &self.projection else {
            return hidden.fill(arithmetic, |rows| {
                self.fill(&mut self.rows(texts), rows);
                if let Some(norm) = &self.norm {
                    norm.normalize(arithmetic.isa(), rows);
                }
            });
        };
        let together = (scratch.len() / self.width).max(1);
        let outputs = projection.outputs();
        hidden.fill(arithmetic, |rows| {
            let mut tokens = self.rows(texts);
            for block in rows.chunks_mut(together * outputs) {
                let embedded = &mut scratch[..block.len() / outputs * self.width];
                self.fill(&mut tokens, embedded);
                if let Some(norm) = &self.norm {
                    norm.normalize(arithmetic.isa(), embedded);
                }
                projection.forward(arithmetic.isa(), embedded, None, block);
            }
        });
    }

    /// The next tokens of all texts, each with the row that is added to its word embedding.
    fn rows<'t>(&'t self, texts: &'t [&'t [u32]]) -> impl Iterator<Item = (u32, &'t [f32])> {
        texts.iter().flat_map(move |text| {
            let mut counted = 0;
            text.iter().enumerate().map(move |(at, token)| {
                let row = match self.positions {
                    Positions::None => 0,
                    Positions::FromZero { .. } => at,
                    Positions::AfterPadding { padding, .. } if *token == padding => {
                        padding as usize
                    }
                    Positions::AfterPadding { padding, .. } => {
                        counted += 1;
                        padding as usize + counted
                    }
                };
                (*token, self.added.get(row * self.width..(row + 1) * self.width).unwrap_or(&[]))
            })
        })
    }

    /// Writes the sums of the next tokens, `(rows, width)`.
    fn fill<'t>(&self, tokens: &mut impl Iterator<Item = (u32, &'t [f32])>, rows: &mut [f32]) {
        for (sum, (token, added)) in rows.chunks_exact_mut(self.width).zip(tokens) {
            let word = &self.word[token as usize * self.width..][..self.width];
            if added.is_empty() {
                sum.iter_mut().zip(word).for_each(|(sum, word)| *sum = word * self.scale);
                continue;
            }
            for ((sum, word), added) in sum.iter_mut().zip(word).zip(added) {
                *sum = word + added;
            }
        }
    }

    pub fn load(
        shape: &PackedShape,
        names: &EncoderTensors,
        tensors: &Tensors,
    ) -> Result<Self, PackedError> {
        let spec = &shape.encoder.embeddings;
        let width = spec.width;
        let token_type = names.token_type.as_ref();
        let token_type = token_type.map(|table| tensors.table(table)).transpose()?;
        let added = match (&names.position, token_type) {
            (Some(position), token_type) => {
                let mut added = tensors.table(position)?;
                for row in added.chunks_exact_mut(width) {
                    for (position, token_type) in
                        row.iter_mut().zip(token_type.iter().flat_map(|t| t.iter()))
                    {
                        *position += token_type;
                    }
                }
                added
            }
            (None, Some(token_type)) => AlignedBuffer::from_slice(&token_type[..width])?,
            (None, None) => AlignedBuffer::default(),
        };
        let norm =
            names.embedding_norm.as_ref().map(|norm| tensors.layer_norm(norm)).transpose()?;
        let projection = names.projection.as_ref();
        let projection = projection.map(|layer| tensors.f32_linear(layer)).transpose()?;
        Ok(Embeddings {
            width,
            word: tensors.table(&names.word)?,
            scale: spec.scale as f32,
            added,
            positions: spec.positions,
            norm,
            projection,
        })
    }
}
