//! Virtual functions: their number, their vectors, and the attributes that the PF's driver enforces.

pub mod attributes;
pub mod count;
pub mod vectors;
