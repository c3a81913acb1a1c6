//! The agent as a whole: its engine and driver in a simulated world.

mod properties;
mod world;
