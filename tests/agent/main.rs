//! The agent as a whole: its engine and driver in a simulated world.

mod counts;
mod properties;
mod world;
