//! Fixtures that the tests of more than one crate use.
