//! The mesh of the proving ground: a stand-in for istiod that drives real Envoys.
//!
//! This is test code and no part of the product. It exists because istiod is not to be had as a module. What
//! it makes of VirtualServices and DestinationRules is held against what a real istiod made of the same
//! objects (`truth`), and it shares no code with the product's own reading of them, so that it shares no
//! misreading either.
//!
//! In reading order: `objects` (what is translated), `translate` and below it (objects to Envoy's words),
//! `truth` (the check).

mod hosts;
mod objects;
mod translate;
mod truth;

use libtest_mimic::Trial;

/// All trials of this part.
pub(crate) fn trials() -> Vec<Trial> {
    truth::trials()
}
