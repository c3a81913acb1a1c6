//! A try to take back that nobody answered, and one that is not to be had.

use super::ENFORCE;
use super::desk::{Desk, done, later};
use super::holding::{expired, restores};
use crate::model::incident::Phase;
use crate::model::indicator::Level;
use crate::model::plan::{Direction, Outcome};
use crate::model::reason::Reason;

// Mutation: a try before the write of the one before cannot arrive any more.
#[test]
fn a_restore_that_nobody_answered_is_tried_again_and_found_done() {
    let mut desk = expired();
    let until = desk.case().permit_until.unwrap();
    desk.at = later(desk.at, 14);
    desk.executes(Outcome::Unknown { why: "time-out".to_owned() });
    assert!(desk.write().is_none());
    desk.wake();
    assert!(restores(&desk) && desk.at >= later(until, 12));
    desk.executes(Outcome::AlreadyDone);
    assert!(matches!(desk.ended(), (Phase::Resolved, Reason::Recovered { .. })), "{:?}", desk.ended());
}

// Mutations: `owed::again` that gives up at once, or never.
#[test]
fn an_undo_that_no_expiry_asks_for_is_given_up_after_a_day() {
    let mut desk = Desk::under(ENFORCE);
    desk.breaks("cart");
    desk.plans();
    desk.executes(done());
    desk.probes(Level::Critical);
    let began = desk.at;
    loop {
        assert_eq!(desk.write().unwrap().direction, Direction::Undo);
        desk.executes(Outcome::Unknown { why: "failed calling webhook".to_owned() });
        if desk.case().phase.is_end() {
            break;
        }
        desk.wake();
    }
    assert!(matches!(desk.ended(), (Phase::Escalated, Reason::UndoFailed { .. })), "{:?}", desk.ended());
    let hours = desk.at.duration_since(began).as_hours();
    assert!((23..=25).contains(&hours), "{hours} hours");
    assert!(desk.case().steps.len() < 4, "what is tried for a day is listed once");
}

// Mutations: `taken_back_by` that blames others for our own try; a restart after which nobody knows of that.
#[test]
fn an_undo_that_arrived_without_an_answer_was_ours() {
    [true, false].into_iter().for_each(arrived);
}

fn arrived(restarted: bool) {
    let mut desk = Desk::under(ENFORCE);
    desk.breaks("cart");
    desk.plans();
    desk.executes(done());
    desk.probes(Level::Critical);
    if restarted {
        desk.start();
    } else {
        desk.executes(Outcome::Unknown { why: "time-out".to_owned() });
    }
    desk.wake();
    desk.executes(Outcome::AlreadyDone);
    let reasons: Vec<&Reason> = desk.case().reasons.iter().map(|timed| &timed.reason).collect();
    assert!(reasons.contains(&&Reason::Undone), "{reasons:?}");
}
