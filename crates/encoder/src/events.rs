//! Events of the inference stage. The caller passes a callback; the library never prints.

use crate::limit::LimitChange;

/// An event of the inference stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodeEvent {
    /// A batch is about to go through the model. A process that dies now dies with this batch. If
    /// the batch before it is not done, that one did not fit in memory: its parts count no more, and
    /// its texts start again.
    BatchStarted(InFlight),
    /// A part of the batch went through the model. The encoder's threads report parts, in any order;
    /// an encoder that runs a batch as a whole reports none.
    PartDone {
        /// Number of rows whose last missing chunk was in this part.
        rows: usize,
        /// Tokens of the part's texts, without padding.
        tokens: usize,
    },
    /// A batch went through the model. It counts the whole batch, parts that were reported included.
    BatchDone {
        /// Number of rows whose vector is known now. A row with several chunks counts when the
        /// last of them is done, so that the sum over all batches is the number of rows.
        rows: usize,
        /// Tokens of all texts, without padding.
        tokens: usize,
    },
    /// The batch limit changed.
    LimitChanged(LimitChange),
}

/// The batch that is going through the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Number of texts. Each chunk of a text is one.
    pub rows: usize,
    /// The name of its first row in the order of the input, as [`RowNames::name`] gives it.
    ///
    /// [`RowNames::name`]: crate::batch::RowNames::name
    pub first: String,
    /// The name of its last row.
    pub last: String,
    /// Bytes that it needs beside the weights; `None` if the device's allocator decides.
    pub bytes: Option<u64>,
}
