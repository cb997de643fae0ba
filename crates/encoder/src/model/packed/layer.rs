//! One layer of an encoder: attention and feed-forward network, with their norms.

use std::ops::Range;
use std::slice::from_ref;

use reembed_kernels::{
    Activation, Activations, Arithmetic, AttentionHeads, Dense, Heads, Input, LayerNorm, Residual,
    RmsNorm, Rotary, ScoreBias, attend, gate_rows,
};

use super::shape::{PackedError, PackedShape};
use super::tensors::{Norm, Tensors};
use super::workspace::{Buffers, projects_by_block};
use crate::model::spec::{EncoderSpec, NormPlace};
use crate::model::tensor_names::{LayerTensors, NormTensors};

/// The weights of a layer.
#[derive(Debug)]
pub(super) struct Layer {
    heads: AttentionHeads,
    activation: Activation,
    /// Whether queries, keys and values are computed block by block, in f32 at first.
    is_by_block: bool,
    /// The query, key and value projections of all heads, as one linear layer.
    qkv: Dense,
    /// The norms of the heads of queries and of keys.
    head_norms: Option<[RmsNorm; 2]>,
    attention_output: Dense,
    inner: Dense,
    /// Outputs of the gate; `None` if there is no gate.
    gated: Option<usize>,
    output: Dense,
    norms: Norms,
}

/// The norms of a layer.
#[derive(Debug)]
enum Norms {
    /// After attention and after the feed-forward network, each with the residual.
    After { attention: LayerNorm, output: LayerNorm },
    /// Before and after both, without the residual.
    Before {
        attention: Option<Norm>,
        after_attention: Option<Norm>,
        inner: Norm,
        after_output: Option<Norm>,
    },
}

/// What the layers with the same window and angles share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'m> {
    pub rotary: Option<&'m Rotary>,
    pub bias: Option<&'m ScoreBias>,
}

impl Layer {
    /// Computes multi-head attention, text by text, from the residual stream to the context.
    pub fn attend(
        &self,
        arithmetic: Arithmetic,
        around: Surroundings<'_>,
        texts: &[&[u32]],
        buffers: &mut Buffers,
    ) {
        match self.is_by_block {
            true => self.project_blocks(arithmetic, around.rotary, texts, buffers),
            false => self.qkv.project(arithmetic, buffers.hidden.as_input(), &mut buffers.qkv),
        }
        let Buffers { qkv, scratch, context, .. } = buffers;
        let mut first = 0;
        for text in texts {
            let tokens = first..first + text.len();
            first = tokens.end;
            attend(arithmetic, qkv, self.heads, around.bias, tokens, scratch, context);
        }
    }

    /// Queries, keys and values, block by block: norm, projection, norm of the heads, rotation.
    fn project_blocks(
        &self,
        arithmetic: Arithmetic,
        rotary: Option<&Rotary>,
        texts: &[&[u32]],
        buffers: &mut Buffers,
    ) {
        let isa = arithmetic.isa();
        let AttentionHeads { queries, keys, .. } = self.heads;
        let all = self.heads.qkv();
        let (query_width, rotated) = (queries.width(), queries.width() + keys * queries.size);
        let mut positions = texts.iter().flat_map(|text| 0..text.len());
        let norm = match &self.norms {
            Norms::Before { attention, .. } => attention.as_ref(),
            Norms::After { .. } => None,
        };
        for tokens in buffers.blocks() {
            if let Some(norm) = norm {
                normalize_block(arithmetic, norm, &tokens, buffers);
            }
            let Buffers { hidden, normalized, wide, qkv, .. } = &mut *buffers;
            let (hidden, normalized) = match norm {
                Some(_) => (None, Some(normalized.rows_mut(0..tokens.len()))),
                None => (Some(hidden.rows_mut(tokens.clone())), None),
            };
            let input = normalized.as_ref().map(|rows| rows.as_input());
            let Some(input) = input.or(hidden.as_ref().map(|rows| rows.as_input())) else { return };
            let rows = &mut wide[..tokens.len() * all.width()];
            self.qkv.project_rows(arithmetic, input, rows);
            for (row, position) in rows.chunks_exact_mut(all.width()).zip(&mut positions) {
                if let Some([query_norm, key_norm]) = &self.head_norms {
                    query_norm.normalize(isa, &mut row[..query_width]);
                    key_norm.normalize(isa, &mut row[query_width..rotated]);
                }
                if let Some(rotary) = rotary {
                    rotary.rotate(isa, position, &mut row[..rotated]);
                }
            }
            qkv.write_rows(arithmetic, tokens.start, rows, all);
        }
    }

    /// Computes the output projection and the feed-forward network, each added to the residual
    /// stream. Tokens are independent here, so each block goes all the way while it is in the cache.
    pub fn feed_forward(&self, arithmetic: Arithmetic, buffers: &mut Buffers) {
        for tokens in buffers.blocks() {
            match &self.norms {
                Norms::After { attention, output } => {
                    self.feed_forward_after(arithmetic, [attention, output], tokens, buffers);
                }
                Norms::Before { after_attention, inner, after_output, .. } => {
                    let norms = [after_attention.as_ref(), after_output.as_ref()];
                    self.feed_forward_before(arithmetic, inner, norms, tokens, buffers);
                }
            }
        }
    }

    /// A block of a model whose norms come after the residual.
    fn feed_forward_after(
        &self,
        arithmetic: Arithmetic,
        [attention, output]: [&LayerNorm; 2],
        tokens: Range<usize>,
        buffers: &mut Buffers,
    ) {
        let Buffers { hidden, context, projected, intermediate, wide, .. } = buffers;
        let mut hidden = hidden.rows_mut(tokens.clone());
        let mut intermediate = intermediate.rows_mut(0..tokens.len());
        let context = context.rows_mut(tokens);
        let context = context.as_input();
        self.attention_output.add_and_normalize(
            arithmetic,
            context,
            attention,
            projected,
            &mut hidden,
        );
        self.compute_inner(arithmetic, hidden.as_input(), wide, &mut intermediate);
        let intermediate = intermediate.as_input();
        self.output.add_and_normalize(arithmetic, intermediate, output, projected, &mut hidden);
    }

    /// A block of a model whose norms come before what they feed. `norms` come after it.
    fn feed_forward_before(
        &self,
        arithmetic: Arithmetic,
        inner: &Norm,
        norms: [Option<&Norm>; 2],
        tokens: Range<usize>,
        buffers: &mut Buffers,
    ) {
        let context = buffers.context.rows_mut(tokens.clone());
        let mut hidden = buffers.hidden.rows_mut(tokens.clone());
        let projected = &mut buffers.projected[..hidden.values().len()];
        let context = context.as_input();
        add_product(arithmetic, &self.attention_output, context, norms[0], projected, &mut hidden);

        normalize_block(arithmetic, inner, &tokens, buffers);
        let Buffers { hidden, projected, normalized, intermediate, wide, .. } = buffers;
        let normalized = normalized.rows_mut(0..tokens.len());
        let mut intermediate = intermediate.rows_mut(0..tokens.len());
        self.compute_inner(arithmetic, normalized.as_input(), wide, &mut intermediate);

        let mut hidden = hidden.rows_mut(tokens);
        let projected = &mut projected[..hidden.values().len()];
        let intermediate = intermediate.as_input();
        add_product(arithmetic, &self.output, intermediate, norms[1], projected, &mut hidden);
    }

    /// The first half of the feed-forward network. `wide` is scratch.
    fn compute_inner(
        &self,
        arithmetic: Arithmetic,
        input: Input,
        wide: &mut [f32],
        intermediate: &mut Activations,
    ) {
        let Some(width) = self.gated else {
            return self.inner.activate(arithmetic, input, Some(self.activation), intermediate);
        };
        let count = intermediate.rows();
        let rows = &mut wide[..count * 2 * width];
        self.inner.project_rows(arithmetic, input, rows);
        gate_rows(arithmetic.isa(), self.activation, width, rows);
        intermediate.write_rows(arithmetic, 0, &rows[..count * width], Heads::single(width));
    }

    pub fn load(
        shape: &PackedShape,
        names: &LayerTensors,
        tensors: &Tensors,
    ) -> Result<Self, PackedError> {
        let spec = &shape.encoder;
        let heads = spec.attention_heads();
        let (hidden, inner) = (Heads::single(spec.hidden), Heads::single(spec.feed_forward.width));
        let is_by_block = projects_by_block(spec);
        // Rows that are f32 at first have no heads in memory.
        let all = heads.qkv();
        let qkv_outputs = if is_by_block { Heads::single(all.width()) } else { all };
        let gated = spec.feed_forward.is_gated.then_some(spec.feed_forward.width);
        let inner_outputs = gated.map_or(inner, |width| Heads::single(2 * width));
        let head_norms = match &names.head_norms {
            Some([query, key]) => Some([tensors.rms_norm(query)?, tensors.rms_norm(key)?]),
            None => None,
        };
        Ok(Layer {
            heads,
            activation: spec.feed_forward.activation,
            is_by_block,
            qkv: tensors.dense(&names.qkv, hidden, qkv_outputs)?,
            head_norms,
            attention_output: tensors.dense(
                from_ref(&names.attention_output),
                heads.queries,
                hidden,
            )?,
            inner: tensors.dense(&names.inner, hidden, inner_outputs)?,
            gated,
            output: tensors.dense(from_ref(&names.output), inner, hidden)?,
            norms: Norms::load(spec, &names.norms, tensors)?,
        })
    }
}

impl Norms {
    fn load(
        spec: &EncoderSpec,
        [before_attention, after_attention, before_inner, after_output]: &[Option<NormTensors>; 4],
        tensors: &Tensors,
    ) -> Result<Self, PackedError> {
        let norm =
            |norm: &Option<NormTensors>| norm.as_ref().map(|norm| tensors.norm(norm)).transpose();
        let missing = || PackedError::Shape("a layer has no norm where it needs one");
        match spec.norm.place {
            NormPlace::After => {
                let norm = |norm: &Option<NormTensors>| {
                    tensors.layer_norm(norm.as_ref().ok_or_else(missing)?)
                };
                Ok(Norms::After { attention: norm(after_attention)?, output: norm(after_output)? })
            }
            NormPlace::Before { .. } => Ok(Norms::Before {
                attention: norm(before_attention)?,
                after_attention: norm(after_attention)?,
                inner: norm(before_inner)?.ok_or_else(missing)?,
                after_output: norm(after_output)?,
            }),
        }
    }
}

/// Adds a product, perhaps normalised, to the residual stream. `projected` is scratch of its size.
fn add_product(
    arithmetic: Arithmetic,
    layer: &Dense,
    input: Input,
    norm: Option<&Norm>,
    projected: &mut [f32],
    hidden: &mut Residual,
) {
    layer.project_rows(arithmetic, input, projected);
    if let Some(norm) = norm {
        norm.normalize(arithmetic.isa(), projected);
    }
    hidden.add(projected);
}

/// Writes the normalised rows of a block of the residual stream to the input of the next product.
fn normalize_block(
    arithmetic: Arithmetic,
    norm: &Norm,
    tokens: &Range<usize>,
    buffers: &mut Buffers,
) {
    let Buffers { hidden, normalized, wide, .. } = buffers;
    let width = hidden.width();
    let rows = &mut wide[..tokens.len() * width];
    rows.copy_from_slice(&hidden.values()[tokens.start * width..tokens.end * width]);
    norm.normalize(arithmetic.isa(), rows);
    normalized.rows_mut(0..tokens.len()).write_rows(arithmetic, 0, rows, Heads::single(width));
}
