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

/// The three vectors of a token that attention reads, in the order in which they lie in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Projection {
    Query,
    Key,
    Value,
}
