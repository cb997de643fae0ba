//! The pipeline over files, with a fake encoder or a tiny model: rows keep their values and order for any
//! batch size, a failure leaves no files, and a failed stage does not hang the others.

mod carried;
mod columns;
mod failures;
mod footer;
mod limit;
mod order;
mod recipes;
mod setup;
mod texts;
mod vector_forms;
