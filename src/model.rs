//! The nouns: plain data that every layer shares.
//!
//! Nothing here decides, reads a clock, or talks to the world. Types that cross a layer boundary live
//! here, so that layers never need to import each other. Everything serialises, because the journal
//! stores events and changes exactly as they are; renaming a field is a change of the journal's format.

pub mod action;
pub mod change;
pub mod digest;
pub mod duration;
pub mod effect;
pub mod event;
pub mod facts;
pub mod history;
pub mod incident;
pub mod indicator;
pub mod mark;
pub mod plan;
pub mod rate;
pub mod reason;
pub mod record;
pub mod signal;
pub mod subject;
pub mod verdict;
