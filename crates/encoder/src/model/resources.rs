//! Threads and memory of a model, and the errors when there are not enough.

use std::num::NonZeroUsize;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, ErrorKind, Result};

/// Starts `threads` threads for `user`, which the error names.
pub(super) fn start_threads(threads: NonZeroUsize, user: &str) -> Result<ThreadPool> {
    ThreadPoolBuilder::new().num_threads(threads.get()).build().map_err(|cause| {
        Error::new(ErrorKind::Internal, format!("cannot start {threads} threads for {user}"))
            .advice("set a smaller `compute.threads`, or raise the limit on threads (`ulimit -u`)")
            .caused_by(cause)
    })
}

/// The error of an allocation of `bytes` for the weights or files of a model.
pub(super) fn out_of_memory(bytes: usize) -> Error {
    Error::new(
        ErrorKind::OutOfMemory,
        format!("the model does not fit in memory: allocating {bytes} bytes failed"),
    )
    .advice("free memory, or raise the memory limit of the container or `ulimit -v`")
}
