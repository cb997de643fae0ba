//! What happens while texts are embedded. The caller passes a callback; nothing here prints.

use crate::limit::LimitChange;

/// Something that happened to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodeEvent {
    /// A batch is about to go through the model. If the process dies now, this batch was the one in flight.
    Trying(InFlight),
    /// A batch went through the model.
    Batch {
        /// Its texts.
        rows: usize,
        /// Their tokens, without padding.
        tokens: usize,
    },
    /// The batch limit moved.
    Limit(LimitChange),
}

/// A batch on its way through the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Number of texts.
    pub rows: usize,
    /// Its first row in the order of the input, by position and id.
    pub first: String,
    /// Its last row.
    pub last: String,
    /// Bytes that it takes beside the model, where that is known.
    pub bytes: Option<u64>,
}
