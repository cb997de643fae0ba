//! How a hidden vector divides into attention heads.

/// The heads of a hidden vector. They lie one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Number of heads.
    pub count: usize,
    /// Values of one head.
    pub size: usize,
}

impl Heads {
    /// One head that is the whole vector.
    pub fn single(width: usize) -> Self {
        Heads { count: 1, size: width }
    }

    /// Values of the hidden vector.
    pub fn width(self) -> usize {
        self.count * self.size
    }
}

/// The heads of an attention, and the divisor of its scores.
///
/// With fewer key heads than query heads, neighbouring query heads share a key head and a value head
/// (Ainslie et al., 2023, <https://arxiv.org/abs/2305.13245>).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionHeads {
    /// The heads of the queries and of the context.
    pub queries: Heads,
    /// Number of heads of the keys, and of the values; a divisor of the number of query heads.
    pub keys: usize,
    /// The scores are divided by its root. In most models it is the size of a head.
    pub divisor: f32,
}

impl From<Heads> for AttentionHeads {
    /// Each query head has a key head of its own, and the size of a head divides the scores.
    fn from(heads: Heads) -> Self {
        AttentionHeads { queries: heads, keys: heads.count, divisor: heads.size as f32 }
    }
}

impl AttentionHeads {
    /// The heads of query, key and value of a token, in this order.
    pub fn qkv(self) -> Heads {
        let count = self.queries.count.saturating_add(self.keys.saturating_mul(2));
        Heads { count, ..self.queries }
    }

    /// Query heads that share a key head.
    pub(crate) fn group(self) -> usize {
        self.queries.count / self.keys.max(1)
    }

    /// The position among the heads of [`AttentionHeads::qkv`] of what a query head reads.
    #[inline(always)]
    pub(crate) fn position(self, projection: Projection, query_head: usize) -> usize {
        match projection {
            Projection::Query => query_head,
            Projection::Key => self.queries.count + query_head / self.group(),
            Projection::Value => self.queries.count + self.keys + query_head / self.group(),
        }
    }

    /// The factor of a score in the exponent of `exp2`: exp2 is cheaper than exp, so it contains log2(e).
    pub(crate) fn scale(self) -> f32 {
        std::f32::consts::LOG2_E / self.divisor.sqrt()
    }
}

/// The three vectors of a token that attention reads, in the order in which they lie in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Projection {
    Query,
    Key,
    Value,
}
