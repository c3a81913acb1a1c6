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
pub mod merge;
pub mod pause;
pub mod plan;
pub mod proxy;
pub mod rate;
pub mod reason;
pub mod record;
pub mod redact;
pub mod series;
pub mod signal;
pub mod storm;
pub mod subject;
pub mod verdict;
