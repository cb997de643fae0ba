//! The memory that a batch needs on its way through the packed encoder: priced before, taken at once.

use crate::kernels::{AlignedBuffer, attention_scratch};
use crate::model::packed::{PackedError, PackedShape};

/// Tokens that go through the second half of a layer together, in L2 from the attention's output dense to
/// the last layer norm: 48 × (2 × 384 + 1536) f32 are 442 KB. A multiple of the rows of every tile.
pub const BLOCK: usize = 48;

/// Every activation buffer of one worker, in one allocation that is kept from batch to batch.
#[derive(Debug, Default)]
pub struct Workspace {
    arena: AlignedBuffer,
}

/// Bytes that a batch of so many texts and tokens costs: the workspace, and the vectors that come out.
/// Lengths do not matter: scratch never grows with the square of one.
pub fn bytes_for(shape: &PackedShape, rows: usize, tokens: usize) -> usize {
    let vectors = rows.saturating_mul(shape.hidden).saturating_mul(size_of::<f32>());
    AlignedBuffer::bytes_for(Sizes::of(shape, tokens).total()).saturating_add(vectors)
}

impl Workspace {
    /// A workspace that takes its memory with the first batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// A workspace that has the memory for batches of so many tokens.
    pub fn with_capacity(shape: &PackedShape, tokens: usize) -> Result<Self, PackedError> {
        let mut workspace = Self::new();
        workspace.buffers(shape, 0, tokens)?;
        Ok(workspace)
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        AlignedBuffer::bytes_for(self.arena.len())
    }

    /// Gives its memory back, and takes what it needs with the next batch.
    pub fn release(&mut self) {
        self.arena = AlignedBuffer::default();
    }

    /// The buffers for a batch. Only a batch larger than all before takes new memory; where that fails, the
    /// workspace is empty and can be used again with a smaller batch.
    pub(super) fn buffers(
        &mut self,
        shape: &PackedShape,
        rows: usize,
        tokens: usize,
    ) -> Result<Buffers<'_>, PackedError> {
        let sizes = Sizes::of(shape, tokens);
        if self.arena.len() < sizes.total() {
            // The old memory goes first: both together would be the peak.
            self.release();
            self.arena = AlignedBuffer::zeroed(sizes.total())
                .map_err(|error| PackedError::OutOfMemory { rows, tokens, bytes: error.bytes })?;
        }
        let mut rest = &mut *self.arena;
        let mut take = |len: usize| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            part
        };
        Ok(Buffers {
            hidden: take(sizes.hidden),
            qkv: take(sizes.qkv),
            context: take(sizes.hidden),
            projected: take(sizes.projected),
            intermediate: take(sizes.intermediate),
            scratch: take(sizes.scratch),
        })
    }
}

/// The buffers of one batch. What they hold before does not matter.
pub(super) struct Buffers<'a> {
    /// `(tokens, hidden)`: the residual stream.
    pub hidden: &'a mut [f32],
    /// `(tokens, 3 hidden)`: query, key and value of each token.
    pub qkv: &'a mut [f32],
    /// `(tokens, hidden)`: what attention gives.
    pub context: &'a mut [f32],
    /// `(BLOCK, hidden)`: what is to be added to the residual stream.
    pub projected: &'a mut [f32],
    /// `(BLOCK, intermediate)`: between the two feed-forward layers.
    pub intermediate: &'a mut [f32],
    /// For the attention of one sequence.
    pub scratch: &'a mut [f32],
}

/// f32 of each buffer.
struct Sizes {
    hidden: usize,
    qkv: usize,
    projected: usize,
    intermediate: usize,
    scratch: usize,
}

impl Sizes {
    fn of(shape: &PackedShape, tokens: usize) -> Self {
        let hidden = tokens.saturating_mul(shape.hidden);
        Sizes {
            hidden,
            qkv: hidden.saturating_mul(3),
            projected: BLOCK.saturating_mul(shape.hidden),
            intermediate: BLOCK.saturating_mul(shape.intermediate),
            scratch: attention_scratch(tokens.min(shape.positions), shape.heads()),
        }
    }

    fn total(&self) -> usize {
        [self.hidden, self.qkv, self.hidden, self.projected, self.intermediate, self.scratch]
            .into_iter()
            .fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::packed::tests::small_shape;

    #[test]
    fn the_price_is_what_is_taken() {
        let shape = small_shape();
        for tokens in [1, 47, 500] {
            let workspace = Workspace::with_capacity(&shape, tokens).expect("it is small");
            let vectors = 3 * shape.hidden * size_of::<f32>();
            assert_eq!(bytes_for(&shape, 3, tokens), workspace.bytes() + vectors);
        }
    }

    #[test]
    fn memory_is_kept_and_never_shrinks_by_itself() {
        let shape = small_shape();
        let mut workspace = Workspace::with_capacity(&shape, 100).expect("it is small");
        let before = workspace.arena.as_ptr();
        workspace.buffers(&shape, 1, 10).expect("it is there");
        workspace.buffers(&shape, 1, 100).expect("it is there");
        assert_eq!(workspace.arena.as_ptr(), before);
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_leaves_the_workspace_usable() {
        let shape = small_shape();
        let mut workspace = Workspace::new();
        for tokens in [usize::MAX, usize::MAX / 64, 1 << 50] {
            let error = workspace.buffers(&shape, 9, tokens).err().expect("it cannot fit");
            assert!(
                matches!(error, PackedError::OutOfMemory { rows: 9, tokens: t, .. } if t == tokens)
            );
            workspace.buffers(&shape, 1, 10).expect("a smaller batch fits");
        }
    }
}
