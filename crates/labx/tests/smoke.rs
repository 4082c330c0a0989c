//! Lab smoke test.
