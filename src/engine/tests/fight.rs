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

/// The API server hangs in the act for longer than the write may take: it is taken for lost.
fn taken_for_lost(desk: &mut Desk) {
    desk.breaks("cart");
    desk.plans();
    desk.executes(Outcome::Unknown { why: "time-out".to_owned() });
    desk.wake();
    desk.finds("bad");
    assert_eq!((desk.case().phase, desk.case().attempts), (Phase::Inspecting, 1));
}

/// What was taken for lost is there: it is verified as our own, and its target rests from it.
fn is_ours(desk: &mut Desk) {
    assert!(desk.write().is_none(), "nothing is written twice");
    assert_eq!(desk.case().phase, Phase::Soaking);
    let known = &desk.state.attempts[&desk.case().key];
    let rests = desk.state.ledger.last_on(&desk.case().subject).is_some();
    assert_eq!((known.unwritten, rests), (desk.case().unwritten, true));
    desk.probes(Level::Healthy);
    assert!(matches!(desk.ended(), (Phase::Resolved, Reason::Recovered { .. })), "{:?}", desk.ended());
}

// Mutations: `inspected` that plans in any case (nobody verifies, and people are called for a route that is good);
// `charges::written` that does not take back what it said of a lost write.
#[test]
fn a_write_that_arrives_after_it_was_taken_for_lost_is_verified_and_not_made_again() {
    let mut desk = Desk::under("mode: enforce\nattempts: { max: 5, refill: 1h }");
    taken_for_lost(&mut desk);
    desk.finds("good");
    assert_eq!((desk.case().attempts, desk.case().unwritten), (1, 0));
    is_ours(&mut desk);
}

// Mutations: `raced` that counts the lost one too (two of them are somebody else at work, and the case ends);
// `awaited` that looks at the last step only.
#[test]
fn the_second_try_of_a_write_that_arrives_late_is_no_fight_with_ourselves() {
    let mut desk = Desk::under("mode: enforce\nattempts: { max: 5, refill: 1h }");
    taken_for_lost(&mut desk);
    desk.plans();
    desk.executes(Outcome::Stale { why: "it has changed".to_owned() });
    assert_eq!(desk.case().phase, Phase::Inspecting);
    desk.finds("good");
    assert_eq!((desk.case().attempts, desk.case().unwritten), (2, 1));
    is_ours(&mut desk);
}

// Mutation: `awaited` for any stale step. What somebody else did is not ours to call a success.
#[test]
fn the_good_revision_of_somebody_else_is_not_taken_for_our_own_write() {
    let mut desk = Desk::under("mode: enforce\nattempts: { max: 5, refill: 1h }");
    desk.breaks("cart");
    desk.plans();
    desk.executes(Outcome::Stale { why: "it has changed".to_owned() });
    desk.finds("good");
    assert_ne!(desk.case().phase, Phase::Soaking);
}
