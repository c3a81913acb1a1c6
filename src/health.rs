//! Health, purely: readings to levels, on edges to signals, and over time to proof of revisions.

mod board;
mod prover;

pub use board::{Board, SOURCE, judge, probe};
pub use prover::{InForce, Proven, Prover};
