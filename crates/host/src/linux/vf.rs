//! Virtual functions: their number, and the attributes that the PF's driver enforces.

pub mod attributes;
pub mod count;
