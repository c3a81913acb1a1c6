//! Somebody takes back what was done.

use super::desk::{Desk, done};
use crate::model::incident::Phase;
use crate::model::indicator::Level;
use crate::model::plan::Outcome;
use crate::model::reason::Reason;

// Mutations: `nth(1)` to `nth(0)`, or to `nth(2)`; `taken_back_by` for an undo that we made ourselves.
#[test]
fn who_takes_an_act_back_is_fought_once_more_and_then_named() {
    let mut desk = Desk::under("mode: enforce\nattempts: { max: 9, refill: 1h }");
    desk.breaks("cart");
    for _ in 0..2 {
        desk.plans();
        desk.executes(done());
        desk.probes(Level::Critical);
        desk.executes(Outcome::AlreadyDone);
    }
    assert_eq!(desk.ended(), (Phase::Escalated, &Reason::TakenBack { by: "kubectl".to_owned() }));
    assert_eq!(desk.case().attempts, 2);
}
