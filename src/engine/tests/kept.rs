//! A shed that the operator who stopped its case keeps.

use super::desk::done;
use super::holding::{IN_FORCE, aborted_ends, restores, shed};
use crate::model::event::InForce;
use crate::model::incident::Phase;

// Mutation: a kept shed whose case ends before the shed does.
#[test]
fn a_shed_that_is_kept_still_ends_at_its_expiry() {
    for until in IN_FORCE {
        let mut desk = shed();
        until(&mut desk);
        let expires = desk.case().expires_at.expect("a shed expires");
        desk.abort();
        assert!(desk.write().is_none() && desk.case().in_force().is_some());
        assert_eq!((desk.case().phase, desk.case().deadline), (Phase::Holding, Some(expires)));
        assert!(desk.case().is_aborted());
        desk.wake();
        assert!(desk.at == expires && restores(&desk), "{:?}", desk.asked);
        desk.executes(done());
        aborted_ends(&desk);
    }
    // And sooner, if somebody wants that after all.
    let mut desk = shed();
    desk.executes(done());
    desk.abort();
    desk.aborts(Some(InForce::Undo));
    assert!(restores(&desk));
    desk.executes(done());
    aborted_ends(&desk);
}
