//! The main job over files, with a fake encoder where arithmetic does not matter and a tiny model where it does:
//! what goes in comes out, whatever the sizes and whatever runs out of memory; what fails leaves no trace; no
//! stage's death hangs the others.

mod columns;
mod failures;
mod footer;
mod limit;
mod order;
mod setup;
mod texts;
