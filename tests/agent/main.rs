//! Tests of the agent that need nothing but Rust: its engine in a made-up world, the whole of it on the
//! simulated cluster, its journals, its binary.

mod api;
mod binary;
mod counts;
mod healing;
mod health;
mod journal;
mod live;
mod operators;
mod owed;
mod properties;
mod sim;
mod simulation;
mod stage;
mod stub;
mod tools;
mod watches;
mod world;
