//! The activation buffers of the packed encoder. Their size is known before a batch runs, and all
//! are allocated together.

use std::ops::Range;

use reembed_kernels::{
    Activations, AlignedBuffer, Arena, BufferLayout, BufferSize, Heads, Precision, Residual,
    attend_scratch_size,
};

use super::shape::{PackedError, PackedShape};
use crate::model::spec::EncoderSpec;

/// Tokens of a block: they go through the second half of a layer together, from the output
/// projection of the attention to the last layer norm.
///
/// Where activations are f32, a block stays in L2 (48 × (2 × 384 + 1536) f32 are 442 KB) and the weights stream. With
/// AMX the weights of a layer stay in L2 and the rows of a long block stream. See docs/engine.md.
const fn block_tokens(precision: Precision) -> usize {
    match precision {
        // A multiple of the rows of each micro-tile.
        Precision::F32 | Precision::Int16 | Precision::Int8 => 48,
        Precision::Bf16 | Precision::Bf16x3 => 1024,
        // As in f32, and a multiple of 32 rows.
        Precision::Bf16Avx512 => 64,
    }
}

/// The activation buffers of one worker, kept from batch to batch.
#[derive(Debug, Default)]
pub struct Workspace {
    floats: AlignedBuffer,
    halves: AlignedBuffer<u16>,
}

/// Bytes that a batch needs: the workspace and the vectors. They depend on `tokens`, not on the
/// lengths of texts: no buffer grows with the square of a length.
pub fn bytes_for(shape: &PackedShape, precision: Precision, rows: usize, tokens: usize) -> usize {
    let vectors = rows.saturating_mul(shape.dim).saturating_mul(size_of::<f32>());
    size_in_bytes(BufferLayouts::new(shape, precision, tokens).size()).saturating_add(vectors)
}

fn size_in_bytes(size: BufferSize) -> usize {
    let floats = AlignedBuffer::<f32>::bytes_for(size.floats);
    floats.saturating_add(AlignedBuffer::<u16>::bytes_for(size.halves))
}

impl Workspace {
    /// An empty workspace. The first batch allocates its memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// A workspace with the memory for batches of `tokens` tokens.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn with_capacity(
        shape: &PackedShape,
        precision: Precision,
        tokens: usize,
    ) -> Result<Self, PackedError> {
        let mut workspace = Self::new();
        workspace.reserve(shape, precision, tokens)?;
        Ok(workspace)
    }

    /// Allocates the memory for batches of `tokens` tokens, unless it has that much.
    ///
    /// # Errors
    /// `OutOfMemory`; the workspace is then empty and can be used again.
    pub fn reserve(
        &mut self,
        shape: &PackedShape,
        precision: Precision,
        tokens: usize,
    ) -> Result<(), PackedError> {
        self.buffers(shape, precision, tokens).map(drop)
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        size_in_bytes(self.size())
    }

    /// Frees its memory. The next batch allocates again.
    pub fn release(&mut self) {
        *self = Self::default();
    }

    fn size(&self) -> BufferSize {
        BufferSize { floats: self.floats.len(), halves: self.halves.len() }
    }

    /// The buffers for a batch. Only a batch larger than all before allocates; if that fails, the
    /// workspace is empty and can be used again with a smaller batch.
    pub(super) fn buffers(
        &mut self,
        shape: &PackedShape,
        precision: Precision,
        tokens: usize,
    ) -> Result<Buffers<'_>, PackedError> {
        let layouts = BufferLayouts::new(shape, precision, tokens);
        let (needed, allocated) = (layouts.size(), self.size());
        if allocated.floats < needed.floats || allocated.halves < needed.halves {
            // Freeing first keeps the peak at the new size.
            self.release();
            let too_large = |_| PackedError::OutOfMemory { tokens, bytes: size_in_bytes(needed) };
            let floats = AlignedBuffer::zeroed(needed.floats).map_err(too_large)?;
            let halves = AlignedBuffer::zeroed(needed.halves).map_err(too_large)?;
            *self = Workspace { floats, halves };
        }
        let mut arena = Arena {
            floats: &mut self.floats[..needed.floats],
            halves: &mut self.halves[..needed.halves],
        };
        let buffers = Buffers {
            hidden: Residual::take(precision, tokens, shape.encoder.hidden, &mut arena),
            qkv: layouts.qkv.take(&mut arena),
            context: layouts.context.take(&mut arena),
            projected: arena.take(layouts.projected).floats,
            normalized: layouts.normalized.take(&mut arena),
            wide: arena.take(layouts.wide).floats,
            intermediate: layouts.intermediate.take(&mut arena),
            scratch: arena.take(layouts.scratch),
            tokens,
            block: block_tokens(precision),
        };
        debug_assert!(
            arena.floats.is_empty() && arena.halves.is_empty(),
            "the buffers use all of `needed`"
        );
        Ok(buffers)
    }
}

/// The buffers of one batch. Their initial content does not matter.
pub(super) struct Buffers<'a> {
    /// `(tokens, hidden)`: the residual stream.
    pub hidden: Residual<'a>,
    /// `(tokens, heads of query, key and value)`.
    pub qkv: Activations<'a>,
    /// `(tokens, heads of the queries)`: the result of attention.
    pub context: Activations<'a>,
    /// `(block, hidden)`, f32: the output of a projection before it is added to the residual
    /// stream.
    pub projected: &'a mut [f32],
    /// `(block, hidden)`: the input of a layer whose norm comes first.
    pub normalized: Activations<'a>,
    /// `(block, widest)`, f32: rows that something happens to before they are rounded.
    pub wide: &'a mut [f32],
    /// `(block, intermediate)`: inside the feed-forward network.
    pub intermediate: Activations<'a>,
    /// The scratch space of the attention of one text.
    pub scratch: Arena<'a>,
    tokens: usize,
    block: usize,
}

impl Buffers<'_> {
    /// The ranges of tokens of each block.
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (tokens, block) = (self.tokens, self.block);
        (0..tokens).step_by(block).map(move |first| first..tokens.min(first + block))
    }
}

/// The layout or size of each buffer.
struct BufferLayouts {
    hidden: BufferSize,
    qkv: BufferLayout,
    context: BufferLayout,
    projected: BufferSize,
    normalized: BufferLayout,
    wide: BufferSize,
    intermediate: BufferLayout,
    scratch: BufferSize,
}

impl BufferLayouts {
    fn new(shape: &PackedShape, precision: Precision, tokens: usize) -> Self {
        let spec = &shape.encoder;
        let heads = spec.attention_heads();
        let (hidden, inner) = (Heads::single(spec.hidden), Heads::single(spec.feed_forward.width));
        // Without layers there are embeddings only.
        let in_layers = if spec.layers == 0 { 0 } else { tokens };
        let block = block_tokens(precision).min(in_layers);
        let floats = |width: usize| BufferSize { floats: block.saturating_mul(width), halves: 0 };
        let is_before = spec.normalizes_before();
        // In bf16 a projection is added to the residual stream before it is stored anywhere.
        let has_projected = is_before || precision.has_f32_activations();
        let normalized = if is_before { block } else { 0 };
        BufferLayouts {
            hidden: Residual::size(precision, tokens, spec.hidden),
            qkv: BufferLayout::for_attention(precision, in_layers, heads.qkv()),
            context: BufferLayout::for_linear(precision, in_layers, heads.queries),
            projected: floats(if has_projected { spec.hidden } else { 0 }),
            normalized: BufferLayout::for_linear(precision, normalized, hidden),
            wide: floats(widest_row(spec)),
            intermediate: BufferLayout::for_linear(precision, block, inner),
            scratch: attend_scratch_size(precision, in_layers.min(shape.max_tokens), heads.queries),
        }
    }

    fn size(&self) -> BufferSize {
        let layouts = [self.qkv, self.context, self.normalized, self.intermediate];
        let layouts = layouts.map(BufferLayout::size);
        let others = [self.hidden, self.projected, self.wide, self.scratch];
        layouts.into_iter().chain(others).fold(BufferSize::default(), BufferSize::saturating_add)
    }
}

/// Values of the widest row that is f32 in every precision: projections that are rotated, normalised or
/// gated, embeddings that are projected, and the input of a layer whose norm comes first. BERT has none.
fn widest_row(spec: &EncoderSpec) -> usize {
    let qkv = if projects_by_block(spec) { spec.attention_heads().qkv().width() } else { 0 };
    let gated = if spec.feed_forward.is_gated { 2 * spec.feed_forward.width } else { 0 };
    let embedding = if spec.embeddings.is_projected { spec.embeddings.width } else { 0 };
    let hidden = if spec.normalizes_before() { spec.hidden } else { 0 };
    qkv.max(gated).max(embedding).max(hidden)
}

/// Whether something happens between the residual stream, the projection of queries and keys, and the
/// attention: then they are computed block by block, and are f32 until they are complete.
pub(super) fn projects_by_block(spec: &EncoderSpec) -> bool {
    let thetas = [spec.attention.full.theta, spec.attention.local.theta];
    let rotates = thetas.iter().any(Option::is_some);
    spec.normalizes_before() || spec.attention.normalizes_heads || rotates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_for_is_the_size_of_workspace_and_vectors() {
        let shape = PackedShape::small();
        for precision in Precision::ALL {
            for tokens in [1, 47, 500, 1500] {
                let workspace =
                    Workspace::with_capacity(&shape, precision, tokens).expect("it is small");
                let vectors = 3 * shape.dim * size_of::<f32>();
                let bytes = bytes_for(&shape, precision, 3, tokens);
                assert_eq!(bytes, workspace.bytes() + vectors, "{tokens} tokens in {precision}");
            }
        }
    }

    #[test]
    fn parts_need_at_most_one_more_text_each_than_the_batch() {
        let shape = PackedShape::small();
        for precision in Precision::ALL {
            let bytes = |rows, tokens| bytes_for(&shape, precision, rows, tokens);
            for longest in [1, 31, 70] {
                for parts in 2..6 {
                    let whole = bytes(parts * 4, parts * 4 * longest);
                    let in_parts: usize = (0..parts).map(|_| bytes(4, 4 * longest)).sum();
                    let bound = whole + (parts - 1) * bytes(0, longest);
                    assert!(in_parts <= bound, "{precision}: {in_parts} of {bound}");
                }
            }
        }
    }

    #[test]
    fn memory_of_a_text_grows_with_its_length_and_not_its_square() {
        let mut shape = PackedShape::small();
        shape.max_tokens = 8192;
        for precision in Precision::ALL {
            let bytes = |tokens| bytes_for(&shape, precision, 1, tokens) as f64;
            let steps = [2048, 4096, 6144].map(|tokens| bytes(tokens + 2048) - bytes(tokens));
            let growth = steps[2] / steps[0];
            assert!((0.99..1.01).contains(&growth), "{precision}: {steps:?}");
        }
    }

    #[test]
    fn workspace_keeps_its_memory_for_smaller_batches() {
        let shape = PackedShape::small();
        for precision in Precision::ALL {
            let mut workspace =
                Workspace::with_capacity(&shape, precision, 100).expect("it is small");
            let before = (workspace.floats.as_ptr(), workspace.halves.as_ptr());
            workspace.buffers(&shape, precision, 10).expect("it is there");
            workspace.buffers(&shape, precision, 100).expect("it is there");
            assert_eq!((workspace.floats.as_ptr(), workspace.halves.as_ptr()), before);
        }
    }

    #[test]
    fn workspace_is_usable_after_out_of_memory() {
        let shape = PackedShape::small();
        for precision in Precision::ALL {
            let mut workspace = Workspace::new();
            for tokens in [usize::MAX, usize::MAX / 64, 1 << 50] {
                let error =
                    workspace.buffers(&shape, precision, tokens).err().expect("it cannot fit");
                assert!(matches!(error, PackedError::OutOfMemory { tokens: t, .. } if t == tokens));
                workspace.buffers(&shape, precision, 10).expect("a smaller batch fits");
            }
        }
    }
}
