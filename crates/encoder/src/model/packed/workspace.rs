//! The memory that a batch needs on its way through the packed encoder: priced before, taken at once.

use std::ops::Range;

use reembed_kernels::{
    Activations, AlignedBuffer, Arena, BufferLayout, BufferSize, Heads, Precision, Residual,
    attend_scratch_size,
};

use super::shape::{PackedError, PackedShape};

/// Tokens that go through the second half of a layer together, from the attention's output dense to the last layer
/// norm.
///
/// In f32 a block and all that is made of it stay in L2, 48 × (2 × 384 + 1536) f32 are 442 KB, while the weights
/// pass by; a multiple of the rows of every tile of registers. Tiles are so fast that the weights have to stay there
/// instead, those of one layer at a time: so the block is long, and its rows pass by.
const fn block(precision: Precision) -> usize {
    match precision {
        Precision::F32 => 48,
        Precision::Bf16 | Precision::Bf16x3 => 1024,
        // Slower than tiles: as in f32, but whole squares.
        Precision::Bf16Avx512 => 64,
    }
}

/// Every activation buffer of one worker, taken together and kept from batch to batch.
#[derive(Debug, Default)]
pub struct Workspace {
    floats: AlignedBuffer,
    halves: AlignedBuffer<u16>,
}

/// Bytes that a batch of so many texts and tokens costs: the workspace, and the vectors that come out.
/// Lengths do not matter: scratch never grows with the square of one.
pub fn bytes_for(shape: &PackedShape, precision: Precision, rows: usize, tokens: usize) -> usize {
    let vectors = rows.saturating_mul(shape.hidden).saturating_mul(size_of::<f32>());
    bytes_of(Forms::of(shape, precision, tokens).room()).saturating_add(vectors)
}

fn bytes_of(room: BufferSize) -> usize {
    let floats = AlignedBuffer::<f32>::bytes_for(room.floats);
    floats.saturating_add(AlignedBuffer::<u16>::bytes_for(room.halves))
}

impl Workspace {
    /// A workspace that takes its memory with the first batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// A workspace that has the memory for batches of so many tokens.
    pub fn with_capacity(
        shape: &PackedShape,
        precision: Precision,
        tokens: usize,
    ) -> Result<Self, PackedError> {
        let mut workspace = Self::new();
        workspace.reserve(shape, precision, tokens)?;
        Ok(workspace)
    }

    /// Takes the memory for batches of so many tokens, if it has less.
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

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        bytes_of(self.room())
    }

    /// Gives its memory back, and takes what it needs with the next batch.
    pub fn release(&mut self) {
        *self = Self::default();
    }

    fn room(&self) -> BufferSize {
        BufferSize { floats: self.floats.len(), halves: self.halves.len() }
    }

    /// The buffers for a batch. Only a batch larger than all before takes new memory; where that fails, the
    /// workspace is empty and can be used again with a smaller batch.
    pub(super) fn buffers(
        &mut self,
        shape: &PackedShape,
        precision: Precision,
        tokens: usize,
    ) -> Result<Buffers<'_>, PackedError> {
        let forms = Forms::of(shape, precision, tokens);
        let (room, there) = (forms.room(), self.room());
        if there.floats < room.floats || there.halves < room.halves {
            // The old memory goes first: both together would be the peak.
            self.release();
            let too_large = |_| PackedError::OutOfMemory { tokens, bytes: bytes_of(room) };
            let floats = AlignedBuffer::zeroed(room.floats).map_err(too_large)?;
            let halves = AlignedBuffer::zeroed(room.halves).map_err(too_large)?;
            *self = Workspace { floats, halves };
        }
        let mut arena = Arena {
            floats: &mut self.floats[..room.floats],
            halves: &mut self.halves[..room.halves],
        };
        let buffers = Buffers {
            hidden: Residual::take(precision, tokens, shape.hidden, &mut arena),
            qkv: forms.qkv.take(&mut arena),
            context: forms.context.take(&mut arena),
            projected: arena.take(forms.projected).floats,
            intermediate: forms.intermediate.take(&mut arena),
            scratch: arena.take(forms.scratch),
            tokens,
            block: block(precision),
        };
        debug_assert!(
            arena.floats.is_empty() && arena.halves.is_empty(),
            "the price is what is used"
        );
        Ok(buffers)
    }
}

/// The buffers of one batch. What they hold before does not matter.
pub(super) struct Buffers<'a> {
    /// `(tokens, hidden)`: the residual stream.
    pub hidden: Residual<'a>,
    /// `(tokens, 3 hidden)`: query, key and value of each token.
    pub qkv: Activations<'a>,
    /// `(tokens, hidden)`: what attention gives.
    pub context: Activations<'a>,
    /// `(block, hidden)`, in f32: what is to be added to the residual stream.
    pub projected: &'a mut [f32],
    /// `(block, intermediate)`: between the two feed-forward layers.
    pub intermediate: Activations<'a>,
    /// For the attention of one sequence.
    pub scratch: Arena<'a>,
    tokens: usize,
    block: usize,
}

impl Buffers<'_> {
    /// The tokens that go through the second half of a layer together.
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (tokens, block) = (self.tokens, self.block);
        (0..tokens).step_by(block).map(move |first| first..tokens.min(first + block))
    }
}

/// What each buffer looks like.
struct Forms {
    hidden: BufferSize,
    qkv: BufferLayout,
    context: BufferLayout,
    projected: BufferSize,
    intermediate: BufferLayout,
    scratch: BufferSize,
}

impl Forms {
    fn of(shape: &PackedShape, precision: Precision, tokens: usize) -> Self {
        let heads = shape.heads();
        let three = Heads { count: heads.count.saturating_mul(3), ..heads };
        let block = block(precision).min(tokens);
        let projected = match precision {
            Precision::F32 => block.saturating_mul(shape.hidden),
            Precision::Bf16 | Precision::Bf16x3 | Precision::Bf16Avx512 => 0,
        };
        Forms {
            hidden: Residual::size(precision, tokens, shape.hidden),
            qkv: BufferLayout::for_attention(precision, tokens, three),
            context: BufferLayout::for_linear(precision, tokens, heads),
            projected: BufferSize { floats: projected, halves: 0 },
            intermediate: BufferLayout::for_linear(
                precision,
                block,
                Heads::single(shape.intermediate),
            ),
            scratch: attend_scratch_size(precision, tokens.min(shape.positions), heads),
        }
    }

    fn room(&self) -> BufferSize {
        let forms = [self.qkv, self.context, self.intermediate].map(BufferLayout::size);
        let others = [self.hidden, self.projected, self.scratch];
        forms.into_iter().chain(others).fold(BufferSize::default(), BufferSize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::packed::tests::small_shape;

    #[test]
    fn the_price_is_what_is_taken() {
        let shape = small_shape();
        for precision in Precision::ALL {
            for tokens in [1, 47, 500, 1500] {
                let workspace =
                    Workspace::with_capacity(&shape, precision, tokens).expect("it is small");
                let vectors = 3 * shape.hidden * size_of::<f32>();
                let price = bytes_for(&shape, precision, 3, tokens);
                assert_eq!(price, workspace.bytes() + vectors, "{tokens} tokens in {precision}");
            }
        }
    }

    #[test]
    fn a_batch_costs_no_more_in_parts_than_its_price_and_one_text_for_each_further_part() {
        let shape = small_shape();
        for precision in Precision::ALL {
            let bytes = |rows, tokens| bytes_for(&shape, precision, rows, tokens);
            for longest in [1, 31, 70] {
                for parts in 2..6 {
                    let whole = bytes(parts * 4, parts * 4 * longest);
                    let in_parts: usize = (0..parts).map(|_| bytes(4, 4 * longest)).sum();
                    let priced = whole + (parts - 1) * bytes(0, longest);
                    assert!(in_parts <= priced, "{precision}: {in_parts} of {priced}");
                }
            }
        }
    }

    #[test]
    fn memory_is_kept_and_never_shrinks_by_itself() {
        let shape = small_shape();
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
    fn what_does_not_fit_is_an_error_that_leaves_the_workspace_usable() {
        let shape = small_shape();
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
