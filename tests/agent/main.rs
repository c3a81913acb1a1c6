//! Tests of the agent that need nothing but Rust: on the simulated cluster, on journals, on the binary.

mod api;
mod binary;
mod healing;
mod journal;
mod stage;
