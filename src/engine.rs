//! To be written.
pub mod gate;
